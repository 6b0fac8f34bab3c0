"""Combinations of options among which every pair of values is found: a fraction of the product."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any


def covering(*choices: Sequence[Any], strength: int = 2) -> list[tuple[Any, ...]]:
    """Rows of one value of each choice: any values of two choices (of strength) meet in one.

    Greedy, and the same every time: the next row is the one of the product with most new meetings.
    """
    rows = itertools.product(*(range(len(choice)) for choice in choices))
    meetings = {row: set(itertools.combinations(enumerate(row), strength)) for row in rows}
    missing = set().union(*meetings.values())
    found = []
    while missing:
        best = max(meetings, key=lambda row: len(missing & meetings[row]))
        missing -= meetings[best]
        found.append(tuple(choice[i] for choice, i in zip(choices, best, strict=True)))
    return found
