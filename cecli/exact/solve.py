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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from cecli.exact.row import GUARD_DIGITS, INFINITE, INFINITY, ONE, ZERO, Enclosure, ExactRow, Number
from cecli.machine.decimals import as_decimal, round_to, wide_context
from cecli.machine.rational import exact_divisors
from cecli.problem.dtypes import Floats
from cecli.problem.problem import Block, Problem
from cecli.problem.wanted import Predictions, RowArray, Wanted

FIRST_PRECISION = 40
# Digits enough to count so many rows that nobody will ever have them.
DIGITS_OF_A_COUNT = 20
MOST_DIGITS_OF_KL = 400
DOUBLE = np.dtype(np.float64)
Rounded = TypeVar("Rounded")
# A block takes about half a second, and the results of so many numbers are kept for rows like them.
NUMBERS_AT_ONCE = 2**13
MOST_KEPT = 2**18


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


class _UnsettledError(Exception):
    """The two ends of an enclosure round to different numbers."""


class _Rounded(NamedTuple):
    """One row's results: arrays in the order in which they are asked for."""

    arrays: list[list[float]]
    loss: float
    log_sum_exp: float
    probability: float
    predicted_probability: float
    target_probability: float
    unrounded: tuple[Number, Number, Number]


def sweep(problem: Problem, wanted: Wanted, sums: ExactSums) -> Iterator[SolvedRows]:
    """The rows of a problem, block by block, which are added to the sums.

    Rows of the same logits and target are alike: they are evaluated once, if not far apart.
    """
    known: dict[tuple[int, bytes], _Rounded] = {}
    room = max(1, MOST_KEPT // problem.classes)
    size = max(1, NUMBERS_AT_ONCE // problem.classes)
    for start in range(0, problem.samples, size):
        block = problem.block(start, min(start + size, problem.samples))
        if len(known) > room:
            known.clear()
        yield _solved(block, wanted, sums, known)


def _solved(
    block: Block, wanted: Wanted, sums: ExactSums, known: dict[tuple[int, bytes], _Rounded]
) -> SolvedRows:
    count, predicted = len(block.kept), block.logits.argmax(axis=1)
    losses, probabilities = np.zeros(count), np.full((4, count), math.nan)
    arrays: dict[RowArray, NDArray[Any]] = {}
    first = wanted.first_array if block.start < wanted.first else None
    for array in dict.fromkeys([*wanted.arrays, *([] if first is None else [first])]):
        whole = wanted.arrays.get(array)
        own = np.empty(block.logits.shape, array.dtype)
        arrays[array] = own if whole is None else whole[block.start : block.start + count]
        arrays[array][...] = 0.0 if array.name == "grad" else math.nan
    for place in np.flatnonzero(block.kept).tolist():
        key = _key(block, place, len(arrays))
        if key not in known:
            row = ExactRow(block, place, sums.divisors)
            known[key] = _rounded_row(block, place, row, int(predicted[place]), [*arrays])
        found = known[key]
        for stored, numbers in zip(arrays.values(), found.arrays, strict=True):
            stored[place] = numbers
        losses[place] = found.loss
        probabilities[:, place] = found[2:6]
        sums.add(found.unrounded)
    return SolvedRows(
        block=block,
        losses=losses,
        log_sum_exp=probabilities[0],
        arrays=arrays,
        predictions=Predictions(
            predicted=predicted,
            probability=probabilities[1].astype(block.problem.dtype),
            predicted_probability=probabilities[2],
            target_probability=None if block.index is None else probabilities[3],
        ),
        first_rows=None if first is None else arrays[first][: wanted.first - block.start],
    )


def _key(block: Block, place: int, arrays: int) -> tuple[int, bytes]:
    """What rows must share to be alike: logits, target and weight, and what is asked of them."""
    target = block.soft if block.index is None else block.index
    given = [each[place] for each in (block.logits, target, block.weights) if each is not None]
    return arrays, b"".join(numbers.tobytes() for numbers in given)


def _rounded_row(
    block: Block, place: int, row: ExactRow, predicted: int, arrays: list[RowArray]
) -> _Rounded:
    """A row's results, from the first precision that settles how each of them is rounded."""
    index = predicted if block.index is None else int(block.index[place])
    precision = FIRST_PRECISION
    while True:
        result = row.at(precision)
        loss = _total([(result.cross_entropy, ONE), (result.z_loss, ONE)], precision)
        numbers = {name: getattr(result, name) for name, _ in arrays}
        try:
            return _Rounded(
                arrays=[_each_rounded(numbers[name], dtype) for name, dtype in arrays],
                loss=_rounded(loss),
                log_sum_exp=_rounded(result.log_sum_exp),
                probability=_rounded(result.softmax[predicted], block.problem.dtype),
                predicted_probability=_rounded(result.softmax[predicted]),
                target_probability=_rounded(result.softmax[index]),
                unrounded=(result.cross_entropy, result.z_loss, result.plain),
            )
        except _UnsettledError:
            precision *= 2


# --- What the rows come to together ---------------------------------------------------------------


class _Sum:
    """Σ of numbers ≥ 0: what is rational by itself, and an enclosure of the rest."""

    def __init__(self) -> None:
        self.rational, self.enclosed = ZERO, Enclosure(Decimal(0), Decimal(0))

    def add(self, number: Number) -> None:
        """Take one more number, at the context's precision."""
        if isinstance(number, Fraction):
            self.rational += number
        else:
            value, bound = self.enclosed
            self.enclosed = Enclosure(value + number.value, bound + number.bound)

    def over(self, divisor: Fraction) -> list[tuple[Number, Fraction]]:
        """Its parts, to be divided."""
        if not self.enclosed.value:
            return [(self.rational, divisor)]
        return [(self.rational, divisor), (self.enclosed, divisor)]


class ExactSums:
    """What the rows of a problem come to together, unrounded: the losses of those taken so far."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._sums = _Sum(), _Sum(), _Sum()

    @cached_property
    def divisors(self) -> tuple[Fraction, Fraction]:
        """What the losses and the z-losses are divided by."""
        return exact_divisors(self._problem)

    def add(self, numbers: tuple[Number, Number, Number]) -> None:
        """Take a row: its cross-entropy, its z-loss, and the former without weights."""
        self._add(self._sums, numbers, FIRST_PRECISION)

    def loss(self) -> float:
        """The loss of all rows, correctly rounded."""

        def reduced(sums: tuple[_Sum, _Sum, _Sum], precision: int) -> float:
            divisor, z_divisor = self.divisors
            terms = [*sums[0].over(divisor), *sums[1].over(z_divisor)]
            return _rounded(_total(terms, precision))

        return self._settled(reduced)

    def perplexity_and_bits(self) -> tuple[float, float]:
        """e to the mean cross-entropy without weights, and that in bits, each correctly rounded."""
        count = Fraction(self._problem.kept_count)

        def rounded(sums: tuple[_Sum, _Sum, _Sum], precision: int) -> tuple[float, float]:
            return _perplexity_and_bits(_total(sums[2].over(count), precision), precision)

        return self._settled(rounded)

    def kl(self) -> float:
        """The mean KL(q‖ŷ) = L − H(q) of soft targets, without weights, correctly rounded."""
        count = Fraction(self._problem.kept_count)

        def rounded(sums: tuple[_Sum, _Sum, _Sum], precision: int) -> float:
            loss, entropy = _total(sums[2].over(count), precision), self._entropy(precision)
            if loss == INFINITE:
                return math.inf
            with localcontext(wide_context(precision + GUARD_DIGITS)):
                value, bound = Decimal(0), Decimal(0)
                if isinstance(loss, Enclosure):
                    value, bound = loss.value, loss.bound
                by = as_decimal(count)
                found = Enclosure(value - entropy.value / by, bound + entropy.bound / by)
            # Two numbers that are equal never differ, whatever the precision.
            if precision > MOST_DIGITS_OF_KL and abs(found.value) <= found.bound:
                return 0.0
            return _rounded(found)

        return self._settled(rounded)

    def _entropy(self, precision: int) -> Enclosure:
        """Σ H(q) over the rows kept."""
        problem, total, size = self._problem, Decimal(0), Decimal(0)
        at_once = max(1, NUMBERS_AT_ONCE // problem.classes)
        with localcontext(wide_context(precision + GUARD_DIGITS + DIGITS_OF_A_COUNT)):
            for start in range(0, problem.samples, at_once):
                block = problem.block(start, min(start + at_once, problem.samples))
                soft = np.zeros(0) if block.soft is None else block.soft[block.kept]
                for share in soft[soft > 0.0].tolist():
                    term = -as_decimal(Fraction(share)) * as_decimal(Fraction(share)).ln()
                    total, size = total + term, size + abs(term)
            return Enclosure(total, size.scaleb(-precision))

    def _settled(self, rounded: Callable[[tuple[_Sum, _Sum, _Sum], int], Rounded]) -> Rounded:
        precision, sums = FIRST_PRECISION, self._sums
        while True:
            try:
                return rounded(sums, precision)
            except _UnsettledError:
                precision *= 2
                sums = self._evaluated_at(precision)

    def _evaluated_at(self, precision: int) -> tuple[_Sum, _Sum, _Sum]:
        """The sums of all rows, each evaluated once more at a higher precision."""
        sums = _Sum(), _Sum(), _Sum()
        size = max(1, NUMBERS_AT_ONCE // self._problem.classes)
        for start in range(0, self._problem.samples, size):
            block = self._problem.block(start, min(start + size, self._problem.samples))
            for place in np.flatnonzero(block.kept).tolist():
                result = ExactRow(block, place, self.divisors).at(precision)
                numbers = result.cross_entropy, result.z_loss, result.plain
                self._add(sums, numbers, precision)
        return sums

    @staticmethod
    def _add(sums: tuple[_Sum, ...], numbers: tuple[Number, ...], precision: int) -> None:
        with localcontext(wide_context(precision + GUARD_DIGITS + DIGITS_OF_A_COUNT)):
            for own, number in zip(sums, numbers, strict=True):
                own.add(number)


def _perplexity_and_bits(loss: Number, precision: int) -> tuple[float, float]:
    if isinstance(loss, Fraction):
        return 1.0, 0.0  # a loss is rational only where each sample has one class alone
    if loss == INFINITE:
        return math.inf, math.inf
    with localcontext(wide_context(precision + GUARD_DIGITS)):
        low, high = (loss.value - loss.bound).exp(), (loss.value + loss.bound).exp()
        bits = Enclosure(loss.value / Decimal(2).ln(), 2 * loss.bound)
        return _rounded(Enclosure((low + high) / 2, high - low)), _rounded(bits)


# --- Rounding -------------------------------------------------------------------------------------


def _total(terms: list[tuple[Number, Fraction]], precision: int) -> Number:
    """Σ number/divisor"""
    fractions = [number / by for number, by in terms if isinstance(number, Fraction)]
    rational = sum(fractions, ZERO)
    if len(fractions) == len(terms):
        return rational
    with localcontext(wide_context(precision + GUARD_DIGITS + len(str(len(terms))))):
        value, bound = as_decimal(rational), Decimal(0)
        for number, by in terms:
            if isinstance(number, Enclosure):
                value += number.value / as_decimal(by)
                bound += number.bound / as_decimal(by)
        if value == INFINITY:
            return INFINITE
        return Enclosure(value, bound + value.scaleb(-precision))


def _rounded(number: Number, dtype: np.dtype[Any] = DOUBLE) -> float:
    if isinstance(number, Fraction):
        return round_to(number, dtype) + 0.0  # no zero is −0
    with localcontext(wide_context(2 * len(number.value.as_tuple().digits) + GUARD_DIGITS)):
        low = round_to(number.value - number.bound, dtype)
        high = round_to(number.value + number.bound, dtype)
    if low != high:
        raise _UnsettledError
    return low + 0.0


def _each_rounded(numbers: list[Number], dtype: np.dtype[Any]) -> list[float]:
    """Each number rounded; classes that are alike share one object, which is rounded once."""
    different = {id(number): number for number in numbers}
    rounded = {key: _rounded(number, dtype) for key, number in different.items()}
    return [rounded[id(number)] for number in numbers]
