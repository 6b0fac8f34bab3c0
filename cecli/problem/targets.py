"""The true class of each of many rows: a piece at a time, since they may be in a file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.problem.dtypes import Floats, Integers

AT_ONCE = 2**18


@dataclass(frozen=True, eq=False)
class ClassIndices:
    """Targets that are class indices.

    given (N,): integers of any type. classes: how many there are. ignore_index: the target of rows
    that do not count, or None.
    """

    given: NDArray[Any]
    classes: int
    ignore_index: int | None

    def kept(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Which of the rows from start to stop are not ignored."""
        if self.ignore_index is None:
            return np.ones(stop - start, dtype=bool)
        return np.asarray(self.given[start:stop] != self.ignore_index)

    def columns(self, start: int, stop: int) -> Integers:
        """The classes of the rows from start to stop, 0 where a row is ignored."""
        given = self.given[start:stop]
        if self.ignore_index is not None:
            given = np.where(self.kept(start, stop), given, 0)
        return given.astype(np.int64, copy=False)

    def count(self) -> tuple[int, int | None]:
        """How many rows are kept, and the first of them whose class there is not."""
        total = 0
        for start, stop in self._pieces():
            kept, given = self.kept(start, stop), self.given[start:stop]
            wrong = kept & ((given < 0) | (given >= self.classes))
            if wrong.any():
                return total, start + int(wrong.argmax())
            total += int(np.count_nonzero(kept))
        return total, None

    def total_weight(self, weight: Floats) -> float:
        """Σ weight[target] over the rows kept, correctly rounded: each weight times its count."""
        counts = np.zeros(self.classes, dtype=np.int64)
        for start, stop in self._pieces():
            columns = self.columns(start, stop)[self.kept(start, stop)]
            counts += np.bincount(columns, minlength=self.classes)
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

    def _pieces(self) -> Iterator[tuple[int, int]]:
        samples = len(self.given)
        return ((start, min(start + AT_ONCE, samples)) for start in range(0, samples, AT_ONCE))
