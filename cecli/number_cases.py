"""The cases whose difficulty lies in the numbers themselves: no options, few classes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from cecli.case_makers import case, random
from cecli.conformance import Case

MASKED = -math.inf
LARGEST = 1.7976931348623157e308


def cases() -> Iterator[Case]:
    """Every one of them."""
    yield from _ordinary()
    yield from _saturation()


def _ordinary() -> Iterator[Case]:
    yield case("ordinary/readme", "three classes, one sample", ([[2.0, 1.0, 0.1]], [0]))
    yield case("ordinary/two-classes", "logistic regression in disguise", random(6, 2))
    yield case("ordinary/small-batch", "the mean divides by N, and not by N·C", random(7, 5))


def _saturation() -> Iterator[Case]:
    reason = "log(1 + tiny) is 0, and p − 1 has no digit left"
    yield case("saturation/40-ahead", reason, ([[40.0, 0.0, 0.0]], [0]))
    yield case("saturation/100-ahead", reason, ([[100.0, 0.0]], [0]))
