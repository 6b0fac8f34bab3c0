"""Combinations of options among which every pair of values is found: a fraction of the product."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

Meeting = tuple[tuple[int, int], ...]


def covering(*choices: Sequence[Any], strength: int = 2) -> list[tuple[Any, ...]]:
    """Rows of one value of each choice: any values of two choices (of strength) meet in one.

    Greedy, and the same every time: the next row is the one of the product with most new meetings.
    """
    rows = list(itertools.product(*(range(len(choice)) for choice in choices)))
    missing = {meeting for row in rows for meeting in _meetings(row, strength)}
    found = []
    while missing:
        best = max(rows, key=lambda row: sum(m in missing for m in _meetings(row, strength)))
        missing.difference_update(_meetings(best, strength))
        found.append(tuple(choice[i] for choice, i in zip(choices, best, strict=True)))
    return found


def _meetings(row: Sequence[int], strength: int) -> Iterator[Meeting]:
    return itertools.combinations(enumerate(row), strength)
