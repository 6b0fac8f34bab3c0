"""The cases of input in float32, float16 and bfloat16: exact is what the widened input gives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from cecli.conformance.model import Case
from cecli.conformance.suite.makers import PYTORCH, case, random
from cecli.conformance.suite.sizes import mostly_equal

OPTAX = "https://github.com/google-deepmind/optax/issues/1020"
EXECUTORCH = "https://github.com/pytorch/executorch/pull/20089"
# In each type: an offset and an amount by which one logit may lead.
RANGES = {
    "float32": (1e4, 25.0, 85.0),
    "float16": (512.0, 9.0, 11.0),
    "bfloat16": (1e4, 9.0, 85.0),
}


def cases() -> Iterator[Case]:
    """Every one of them."""
    for dtype in RANGES:
        yield from _of(dtype)


def _of(dtype: str) -> Iterator[Case]:
    offset, ahead, behind = RANGES[dtype]
    half = dtype != "float32"
    source = OPTAX if dtype == "bfloat16" else None
    sums, means = (EXECUTORCH, PYTORCH + "pull/166232") if half else (None, None)
    seed = "precision"
    yield case(
        f"{dtype}/small-batch",
        "results have few digits, and need no more",
        random(7, 5, seed=seed),
        dtype=dtype,
    )
    rounded = "the loss is rounded where it need not be"
    hundred = random(8, 100, seed=seed)
    yield case(f"{dtype}/hundred-classes", rounded, hundred, source=source, dtype=dtype)
    shifted = (np.array([[0.0, 1.0, -2.0], [3.0, 0.5, 1.0]]) + offset, [1, 2])
    yield case(f"{dtype}/offset", "an offset takes the digits of a sum", shifted, dtype=dtype)
    certain = ([[ahead, 0.0, 0.0], [0.0, -1.0, ahead]], [0, 2])
    yield case(f"{dtype}/saturation", "1 + tiny is 1 sooner", certain, dtype=dtype)
    far = ([[0.0, -behind, 1.0], [behind / 2, 0.0, -behind / 2]], [1, 2])
    yield case(f"{dtype}/far-losers", "e to a power vanishes sooner", far, dtype=dtype)
    accumulated = "a sum kept in the type of the logits stops growing"
    many = (np.zeros((2, 4097)), [0, 4096])
    yield case(f"{dtype}/many-equal", accumulated, many, source=sums, dtype=dtype)

    def mostly() -> tuple[Any, Any]:
        return mostly_equal(dtype, 2, 5000), [17, 4999]

    yield case(f"{dtype}/mostly-equal", accumulated, mostly, source=sums, dtype=dtype)
    long = "a mean is taken of a sum that is too large or too long for the type"
    rows = (np.tile([[1.0, 25.0, -7.0], [25.0, 9.0, 0.0]], (3000, 1)), [0, 1] * 3000)
    yield case(f"{dtype}/many-rows", long, rows, source=means, dtype=dtype)
    masked = ([[0.5, -math.inf, 1.0], [-math.inf, 2.0, -math.inf]], [0, 1])
    yield case(f"{dtype}/masked", "−∞ in every type", masked, dtype=dtype)
    largest = ([[60000.0, -60000.0, 59968.0], [-60000.0, -60000.0, 0.0]], [0, 2])
    yield case(f"{dtype}/large", "differences overflow the type", largest, dtype=dtype)
