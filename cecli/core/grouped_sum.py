"""Sums over rows that come piece by piece, the same however they are cut."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from cecli.core.error_free import sum_rows

if TYPE_CHECKING:
    from cecli.problem.dtypes import Floats

ROWS_PER_GROUP = 1024
# Numbers wait until there are so many that to sum them is worth an interruption of other threads.
WORTHWHILE = 2**17
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
        self._waiting: list[Floats] = []

    def __getstate__(self) -> dict[str, Any]:
        # What is sent to another process is small.
        self._sum_whole_groups()
        return vars(self)

    def add(self, values: Floats) -> None:
        """Take the numbers of the rows that follow, (n,)."""
        self._waiting.append(values)
        if sum(map(len, self._waiting)) >= WORTHWHILE:
            self._sum_whole_groups()

    def extend(self, other: GroupedSum) -> None:
        """Take the sum of the rows that follow; the rows up to them make whole groups."""
        if len(self._sum_whole_groups()):
            raise ValueError("only whole groups of rows can be followed by another sum")
        self._sums.extend(other._sums)
        self._shrunk.extend(other._shrunk)
        self._waiting = list(other._waiting)

    def total(self, divisor: float = 1.0) -> float:
        """Σ / divisor of all that was taken."""
        last = np.zeros((1, ROWS_PER_GROUP))
        rest = self._sum_whole_groups()
        last[0, : len(rest)] = rest
        sums, shrunk = _group_sums(last)
        sums += self._sums
        shrunk += self._shrunk
        with np.errstate(all="ignore"):
            if not shrunk:
                return float(np.float64(math.fsum(sums)) / divisor)
            total = math.fsum([*shrunk, *(SHRINK * value for value in sums)])
            return float(np.float64(total) / divisor / SHRINK)

    def _sum_whole_groups(self) -> Floats:
        """Sum what is waiting; what does not make a group waits on, and is returned."""
        values = np.concatenate([np.zeros(0), *self._waiting])
        whole = len(values) // ROWS_PER_GROUP * ROWS_PER_GROUP
        sums, shrunk = _group_sums(values[:whole].reshape(-1, ROWS_PER_GROUP))
        self._sums.extend(sums)
        self._shrunk.extend(shrunk)
        rest = values[whole:].copy()
        self._waiting = [rest]
        return rest


def _group_sums(groups: Floats) -> tuple[list[float], list[float]]:
    """The sums of groups (n, ROWS_PER_GROUP), those of large numbers by themselves and shrunk."""
    with np.errstate(all="ignore"):
        large = groups.max(axis=1, initial=0.0) > LARGEST_PLAIN
        if not large.any():
            return sum_rows(groups).tolist(), []
        return sum_rows(groups[~large]).tolist(), sum_rows(groups[large] * SHRINK).tolist()
