"""The same results, every number the correctly rounded value of the exact result.

The definitions are evaluated in the standard library's decimal arithmetic, whose every operation
is correctly rounded, so that the bits are the same on every machine. Each number carries a bound on
its error; while the two ends of a number's interval round to different doubles, its row is
evaluated again at twice the precision (Ziv, "Fast evaluation of elementary mathematical functions
with correctly rounded last bit", ACM TOMS 1991).

That would go on for ever for a result that is exactly zero or exactly half way between two floating
point numbers. e^x is transcendental for every rational x ≠ 0 (Lindemann), so this can happen only
where all logits of a row that are not masked are equal; what is rational there is computed as
fractions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.exact.pairs import PairRows, Pairs, nothing, pairs_for
from cecli.exact.plan import SUMS
from cecli.exact.rounding import DOUBLE, FIRST_PRECISION, UnsettledError, rounded, total
from cecli.exact.row import ONE, ExactRow, Number, RowResult
from cecli.exact.sums import RowSums, row_sums, sum_of_pairs
from cecli.machine.compiled import exact_numbers
from cecli.problem.dtypes import Floats, Integers
from cecli.problem.problem import Block, Problem
from cecli.problem.wanted import Predictions, RowArray, Wanted

# A block takes about half a second in decimal arithmetic, which has one thread at a time, and the
# results of so many numbers are kept for rows like them; in pairs it takes some milliseconds.
BLOCK_BYTES = 2**16
PAIRS_BLOCK_BYTES = 2**19
MOST_KEPT = 2**18

Losses = tuple[Number, Number, Number]


@dataclass(frozen=True, eq=False)
class SolvedRows:
    """What a block's rows come to, correctly rounded.

    losses (n,): with the z-loss. log_sum_exp (n,). arrays (n, C): those that were asked for.
    predictions: of all rows. first_rows: of those among the first ones of the problem.
    """

    block: Block
    losses: Floats
    log_sum_exp: Floats
    arrays: Mapping[RowArray, NDArray[Any]]
    predictions: Predictions
    first_rows: NDArray[Any] | None


class _Known(NamedTuple):
    """A row that decimal arithmetic has settled: its arrays, its numbers, and its losses."""

    arrays: list[NDArray[Any]]
    numbers: list[float]
    losses: Losses


class Solver:
    """Settles the rows of one problem: in pairs what they settle, the rest in decimal arithmetic.

    Rows of the same logits and target are alike: decimal arithmetic settles one of them, if they
    are not far apart.
    """

    def __init__(
        self, problem: Problem, wanted: Wanted, divisors: tuple[Fraction, Fraction]
    ) -> None:
        self._wanted, self._divisors = wanted, divisors
        self._pairs: Pairs | None = pairs_for(problem, divisors)
        self._known: dict[tuple[int, bytes], _Known] = {}
        self._room = max(1, MOST_KEPT // problem.classes)

    @property
    def takes_long(self) -> bool:
        """Whether all is left to decimal arithmetic."""
        return self._pairs is None

    def most_bytes(self) -> int:
        """How many bytes of logits a block has at the most."""
        return BLOCK_BYTES if self._pairs is None else PAIRS_BLOCK_BYTES

    def jobs(self, jobs: int | None) -> int | None:
        """How many threads are worth it, of so many; default one a core."""
        return 1 if self._pairs is None else jobs

    def solve(self, block: Block) -> tuple[SolvedRows, RowSums]:
        """What a block's rows come to, and together; threads may do this at the same time."""
        wanted, count = self._wanted, len(block.kept)
        first = wanted.first_array if block.start < wanted.first else None
        arrays: dict[RowArray, NDArray[Any]] = {}
        for array in dict.fromkeys([*wanted.arrays, *([] if first is None else [first])]):
            whole = wanted.arrays.get(array)
            if whole is None:
                arrays[array] = np.empty(block.logits.shape, array.dtype)
            else:
                arrays[array] = whole[block.start : block.start + count]
        predicted = np.where(block.kept, block.logits.argmax(axis=1), 0)
        found = nothing(block, arrays) if self._pairs is None else self._pairs.rows(block, arrays)
        sums = self._settle_open(block, arrays, found, predicted)
        if wanted.worst is not None and block.soft is not None:
            sums.add_entropies(block.soft[block.kept])
        numbers = found.numbers
        each = len(numbers) - (block.index is None)
        exact_numbers.add(total=each * count + sum(rows.size for rows in arrays.values()))
        predictions = Predictions(
            predicted=predicted,
            probability=numbers["probability"].astype(block.problem.dtype),
            predicted_probability=numbers["predicted_probability"],
            target_probability=None if block.index is None else numbers["target_probability"],
        )
        first_rows = None if first is None else arrays[first][: wanted.first - block.start]
        rows = SolvedRows(
            block, numbers["losses"], numbers["log_sum_exp"], arrays, predictions, first_rows
        )
        return rows, sums

    def _settle_open(
        self,
        block: Block,
        arrays: Mapping[RowArray, NDArray[Any]],
        found: PairRows,
        predicted: Integers,
    ) -> RowSums:
        """Settle in place what is open of a block's rows; what the rows come to together."""
        summed = block.kept & ~np.isnan(found.sums).any(axis=(1, 2))
        missing = []
        for place in np.flatnonzero(found.open).tolist():
            row = _OpenRow(block, place, int(predicted[place]), arrays, found.numbers)
            exact_numbers.add(decimal=row.count)
            losses = self._settle_alike(row) if found.whole[place] else row.settle(self._divisors)
            if not summed[place]:
                missing.append(losses)
        sums = row_sums(missing, FIRST_PRECISION)
        whole = found.sums if summed.all() else found.sums[summed]
        cross_entropy, z_loss, plain = (whole[:, place] for place in range(len(SUMS)))
        enclosed = sum_of_pairs(cross_entropy)
        # without weights and smoothing they are the same
        same = np.array_equal(cross_entropy, plain)
        own = [enclosed, sum_of_pairs(z_loss), enclosed if same else sum_of_pairs(plain)]
        sums.add(own)
        return sums

    def _settle_alike(self, row: _OpenRow) -> Losses:
        """Settle a row all of which is open, as one that is alike was if there is one."""
        key = row.key
        known = self._known.get(key)
        if known is None:
            losses = row.settle(self._divisors)
            if len(self._known) >= self._room:
                self._known.clear()
            self._known[key] = _Known(*row.copies(), losses)
            return losses
        row.store(known)
        return known.losses


class _OpenNumber(NamedTuple):
    """One number that is open: which result it is, of which class, and where it is stored."""

    result: str
    column: int
    dtype: np.dtype[Any]
    store: NDArray[Any]
    place: int


class _OpenRow:
    """A row of a block of whose results some are open: NaN in the arrays and numbers given."""

    def __init__(
        self,
        block: Block,
        place: int,
        predicted: int,
        arrays: Mapping[RowArray, NDArray[Any]],
        numbers: Mapping[str, Floats],
    ) -> None:
        self._block, self._place, self._predicted = block, place, predicted
        self._arrays = {array: rows[place] for array, rows in arrays.items()}
        self._numbers = numbers

    def _open_numbers(self) -> Iterator[_OpenNumber]:
        for array, row in self._arrays.items():
            for column in np.flatnonzero(np.isnan(row)).tolist():
                yield _OpenNumber(array.name, column, array.dtype, row, column)
        yield from self._beside_arrays()

    def _beside_arrays(self) -> Iterator[_OpenNumber]:
        block, place = self._block, self._place
        own = {
            "losses": ("losses", 0, DOUBLE),
            "log_sum_exp": ("log_sum_exp", 0, DOUBLE),
            "probability": ("softmax", self._predicted, block.problem.dtype),
            "predicted_probability": ("softmax", self._predicted, DOUBLE),
        }
        if block.index is not None:
            own["target_probability"] = ("softmax", int(block.index[place]), DOUBLE)
        for name, (result, column, dtype) in own.items():
            if np.isnan(self._numbers[name][place]):
                yield _OpenNumber(result, column, dtype, self._numbers[name], place)

    @property
    def count(self) -> int:
        """How many numbers are open."""
        in_arrays = sum(int(np.isnan(row).sum()) for row in self._arrays.values())
        return in_arrays + sum(1 for _ in self._beside_arrays())

    def settle(self, divisors: tuple[Fraction, Fraction]) -> Losses:
        """Store what is open, correctly rounded; the losses at the first precision."""
        row = ExactRow(self._block, self._place, divisors)
        left, losses = list(self._open_numbers()), None
        precision = FIRST_PRECISION
        while left or losses is None:
            result = row.at(precision, {number.column for number in left})
            losses = losses or result.losses
            left = _settled(left, result, precision)
            precision *= 2
        return losses

    @property
    def key(self) -> tuple[int, bytes]:
        """What rows must share to be alike: all that they are given, and what is asked of them."""
        block, place = self._block, self._place
        target = block.soft if block.index is None else block.index
        given = [own for own in (block.logits, target, block.weights) if own is not None]
        return len(self._arrays), b"".join(own[place].tobytes() for own in given)

    def copies(self) -> tuple[list[NDArray[Any]], list[float]]:
        """The rows of the arrays, and the numbers."""
        arrays = [row.copy() for row in self._arrays.values()]
        return arrays, [float(numbers[self._place]) for numbers in self._numbers.values()]

    def store(self, known: _Known) -> None:
        """Take the results of a row that is alike."""
        for row, settled in zip(self._arrays.values(), known.arrays, strict=True):
            row[...] = settled
        for numbers, own in zip(self._numbers.values(), known.numbers, strict=True):
            numbers[self._place] = own


def _settled(left: list[_OpenNumber], result: RowResult, precision: int) -> list[_OpenNumber]:
    """Store those of some numbers that are settled; the others.

    Classes that are alike share one object, which is rounded once.
    """
    loss = total([(result.cross_entropy, ONE), (result.z_loss, ONE)], precision)
    found: dict[tuple[int, np.dtype[Any]], float] = {}
    still = []
    for number in left:
        if number.result == "losses":
            own = loss
        elif number.result == "log_sum_exp":
            own = result.log_sum_exp
        else:
            own = getattr(result, number.result)[number.column]
        key = id(own), number.dtype
        if key not in found:
            try:
                found[key] = rounded(own, number.dtype)
            except UnsettledError:
                found[key] = math.nan
        if math.isnan(found[key]):
            still.append(number)
        else:
            number.store[number.place] = found[key]
    return still
