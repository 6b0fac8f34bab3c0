"""Sums over rows that come piece by piece, the same however they are cut."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

import numpy as np

from cecli.accurate import sum_rows

if TYPE_CHECKING:
    from cecli.real_arrays import Floats

ROWS_PER_GROUP = 1024
# Sums of numbers beyond this might overflow although their mean does not.
LARGEST_PLAIN = 2.0**900
SHRINK = 2.0**-100


class GroupedSum:
    """Σ of numbers ≥ 0, one for each row: groups of 1,024 rows are summed, then their sums.

    A group's sum and the sum of all groups are as good as correctly rounded, and which rows make a
    group depends on nothing but their number: blocks, threads and machines leave no trace.
    """

    def __init__(self) -> None:
        self._sums, self._shrunk = array("d"), array("d")
        self._waiting = np.zeros(0)

    def add(self, values: Floats) -> None:
        """Take the numbers of the rows that follow, (n,)."""
        values = np.concatenate([self._waiting, values])
        whole = len(values) // ROWS_PER_GROUP * ROWS_PER_GROUP
        if whole:
            self._sum(values[:whole].reshape(-1, ROWS_PER_GROUP))
        self._waiting = values[whole:]

    def extend(self, other: GroupedSum) -> None:
        """Take the sum of the rows that follow; the rows up to them make whole groups."""
        if len(self._waiting):
            raise ValueError("only whole groups of rows can be followed by another sum")
        self._sums.extend(other._sums)
        self._shrunk.extend(other._shrunk)
        self._waiting = other._waiting

    def total(self, divisor: float = 1.0) -> float:
        """Σ / divisor of all that was taken."""
        last = np.zeros((1, ROWS_PER_GROUP))
        last[0, : len(self._waiting)] = self._waiting
        every = GroupedSum()
        every.extend(self)
        every._sum(last)
        with np.errstate(all="ignore"):
            if not every._shrunk:
                return float(np.float64(math.fsum(every._sums)) / divisor)
            total = math.fsum([*every._shrunk, *(SHRINK * value for value in every._sums)])
            return float(np.float64(total) / divisor / SHRINK)

    def _sum(self, groups: Floats) -> None:
        with np.errstate(all="ignore"):
            large = groups.max(axis=1) > LARGEST_PLAIN
            self._sums.extend(sum_rows(groups[~large]).tolist())
            if large.any():
                self._shrunk.extend(sum_rows(groups[large] * SHRINK).tolist())
