"""The targets of many rows, checked a piece at a time, since they may be in a file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.problem.dtypes import Floats, Integers, as_doubles
from cecli.problem.rows import Joined, Rows, rows_of, sample_name

AT_ONCE = 2**18
SOFT_TARGET_SLACK = 0.01 + 2.0**-40  # with room for the rounding of a sum


def as_indices(
    given: NDArray[Any], shape: tuple[int, ...], batch_shape: tuple[int, ...], axis: int
) -> NDArray[Any]:
    """Class indices from what is as good: a dimension of one more, whole floats, rows of one-hot.

    Any other target stays as it is. shape, batch_shape: of the logits, with the classes on axis.
    Raises CecliError for floats that are not whole, and for rows of 0 and 1 that are not one-hot.
    """
    kept = tuple(np.insert(np.array(batch_shape, dtype=np.int64), axis % len(shape), 1).tolist())
    is_soft = given.dtype.kind == "f" and given.shape == shape
    if given.shape in (kept, (*batch_shape, 1)) and given.shape != batch_shape and not is_soft:
        given = given.reshape(batch_shape)
    if given.dtype.kind == "f" and given.shape == batch_shape:
        return _whole(given)
    if given.dtype.kind in "biu" and given.shape == shape and batch_shape != shape:
        return _classes_of_one_hot(given, axis)
    return given


def _whole(given: NDArray[Any]) -> Integers:
    given = as_doubles(given)
    with np.errstate(invalid="ignore"):
        wrong = ~((np.rint(given) == given) & (np.abs(given) < 2.0**63))
    if wrong.any():
        first = int(wrong.argmax())
        place = sample_name(first, given.shape)
        raise CecliError(
            f"target {given.flat[first]:g}{place}: a class index is a whole number", about="target"
        )
    return given.astype(np.int64)


def _classes_of_one_hot(given: NDArray[Any], axis: int) -> NDArray[Any]:
    """The classes of rows of 0 and 1; other integers as they are."""
    if given.dtype.kind != "b" and (given.min(initial=0) < 0 or given.max(initial=0) > 1):
        return given
    ones = given.sum(axis=axis, dtype=np.int64)
    wrong = ones != 1
    if wrong.any():
        first = int(wrong.argmax())
        raise CecliError(
            f"target{sample_name(first, ones.shape)} has {ones.flat[first]} ones: one-hot rows "
            "have one; probabilities of several classes are floats that sum to 1",
            about="target",
        )
    return np.asarray(given.argmax(axis=axis))


@dataclass(frozen=True, eq=False, repr=False)
class ClassIndices:
    """Targets that are class indices.

    given: integers of any type, as they were given. rows (N,): the same. classes: how many there
    are. ignore_index: the target of rows that do not count, or None. weights (N,): of the samples,
    of which those of 0 do not count either, or None.
    """

    given: NDArray[Any] | Joined | Rows
    rows: Rows
    classes: int
    ignore_index: int | None
    weights: Floats | None = None

    @property
    def keeps_all(self) -> bool:
        """Whether nothing says of any row that it does not count."""
        return self.ignore_index is None and self.weights is None

    def kept(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Which of the rows from start to stop are not ignored."""
        kept = np.ones(stop - start, dtype=bool)
        if self.ignore_index is not None:
            kept = np.asarray(self.rows[start:stop] != self.ignore_index)
        return kept if self.weights is None else kept & (self.weights[start:stop] > 0.0)

    def columns(self, start: int, stop: int) -> Integers:
        """The classes of the rows from start to stop, 0 where a row is ignored."""
        columns = self.rows[start:stop]
        if not self.keeps_all:
            columns = np.where(self.kept(start, stop), columns, 0)
        return np.ascontiguousarray(columns, dtype=np.int64)

    @cached_property
    def kept_count(self) -> int:
        """How many rows are not ignored. Raises CecliError for a class that there is not."""
        total = 0
        for start, stop in self._pieces():
            kept, columns = self.kept(start, stop), self.rows[start:stop]
            wrong = kept & ((columns < 0) | (columns >= self.classes))
            if wrong.any():
                first = int(wrong.argmax())
                self._refuse(start + first, int(columns[first]))
            total += int(np.count_nonzero(kept))
        return total

    def _refuse(self, row: int, target: int) -> None:
        file, place = self.rows.called(row)
        hint = ""
        if target == -100:
            hint = "; if it marks samples to ignore, say so: ignore_index (--ignore-index) -100"
        elif target == self.classes and not self._has_zero():
            hint = "; do they count from 1?"
        valid = (
            f"the {self.classes} classes are 0 to {self.classes - 1}"
            if self.classes > 1
            else "the only class is 0"
        )
        raise CecliError(
            f"{file}target {target}{place} is out of range: {valid}{hint}",
            about=None if file else "target",
        )

    def _has_zero(self) -> bool:
        return any(bool((self.rows[start:stop] == 0).any()) for start, stop in self._pieces())

    @cached_property
    def counts(self) -> Integers:
        """(C,) how many of the rows kept have each class as their target."""
        counts = np.zeros(self.classes, dtype=np.int64)
        for start, stop in self._pieces():
            columns = self.columns(start, stop)[self.kept(start, stop)]
            counts += np.bincount(columns, minlength=self.classes)
        return counts

    def total_weight(self, weight: Floats) -> float:
        """Σ weight[target] over the rows kept, correctly rounded: each weight times its count."""
        counts = self.counts
        # Two factors of 26 bits each have a product that no double rounds.
        high = (weight.view(np.int64) & -(2**27)).view(np.float64)
        few = counts & (2**26 - 1)
        with np.errstate(over="ignore"):
            products = [
                part * count for part in (high, weight - high) for count in (few, counts - few)
            ]
        try:
            return math.fsum(np.concatenate(products).tolist())
        except OverflowError:
            return math.inf

    def only(self, rows: Integers) -> ClassIndices:
        """Those of some of the rows."""
        chosen = self.rows[rows]
        weights = None if self.weights is None else self.weights[rows]
        own = rows_of(chosen, None)
        return ClassIndices(chosen, own, self.classes, self.ignore_index, weights)

    def one(self, row: int) -> ClassIndices:
        """That of one row alone, without a dimension of samples."""
        own = self.rows[row]
        return ClassIndices(own, rows_of(own, None), self.classes, None)

    def _pieces(self) -> Iterator[tuple[int, int]]:
        samples = len(self.rows)
        return ((start, min(start + AT_ONCE, samples)) for start in range(0, samples, AT_ONCE))


@dataclass(frozen=True, eq=False, repr=False)
class Probabilities:
    """Soft targets: given, floats of the logits' shape, and rows (N, C), the same.

    weights (N,): of the samples, of which those of 0 may hold anything, or None.
    """

    given: NDArray[Any] | Joined | Rows
    rows: Rows
    weights: Floats | None = None

    def kept(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Which of the rows from start to stop count."""
        if self.weights is None:
            return np.ones(stop - start, dtype=bool)
        return np.asarray(self.weights[start:stop] > 0.0)

    @cached_property
    def kept_count(self) -> int:
        """How many rows count."""
        return len(self.rows) if self.weights is None else int(np.count_nonzero(self.weights))

    def checked(self, start: int, stop: int) -> Floats:
        """The probabilities of the rows from start to stop, as doubles.

        Raises CecliError for what is negative or does not sum to one.
        """
        soft = as_doubles(self.rows[start:stop])
        if self.weights is not None:
            soft[~self.kept(start, stop)] = 1.0 / soft.shape[1]
        # where there is a NaN, both the least and the largest are NaN
        if soft.size and not (soft.min() >= 0.0 and soft.max() < np.inf):
            bad = ~((soft >= 0) & (soft < np.inf))
            row, column = np.argwhere(bad)[0].tolist()
            file, place = self.rows.called(start + row)
            raise CecliError(
                f"{file}soft target{place} has {soft[row, column]:g} for class "
                f"{column}: probabilities are 0 or more",
                about=None if file else "soft_target",
            )
        totals = soft.sum(axis=1)
        off = np.abs(totals - 1.0) > SOFT_TARGET_SLACK
        if off.any():
            row = int(off.argmax())
            file, place = self.rows.called(start + row)
            hint = "; a sample that does not count has --sample-weight 0" if not totals[row] else ""
            raise CecliError(
                f"{file}soft target{place} sums to {totals[row]:.6g}: probabilities sum to 1{hint}",
                about=None if file else "soft_target",
            )
        return soft

    def only(self, rows: Integers) -> Probabilities:
        """Those of some of the rows."""
        chosen = self.rows.only(rows)
        weights = None if self.weights is None else self.weights[rows]
        return Probabilities(chosen, chosen, weights)

    def one(self, row: int) -> Probabilities:
        """That of one row alone, without a dimension of samples, whatever its weight."""
        own = self.rows[row]
        return Probabilities(own, rows_of(own, -1))
