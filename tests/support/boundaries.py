"""Logits whose results lie as near to a rounding boundary as is wanted, on either side of it."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from mpmath import mp

Result = Literal["softmax", "log_softmax"]

BITS = 1600  # of e^−600, with room for what is beside it
TERMS = 4
FORMATS = {"float64": (53, -1074), "float32": (24, -149), "float16": (11, -24)}


def row_near_boundary(
    random: np.random.Generator, dtype: str, result: Result, column: int, exponent: int
) -> list[float] | None:
    """A row of logits, [0, −x, …]: the result of the column is a midpoint times 1 ± 2^−exponent.

    The logits behind the first two tune Σ e^z, each with its 53 digits. None where the midpoint is
    on the wrong side.
    """
    digits, least = FORMATS[dtype]
    with mp.workprec(BITS):
        x = random.uniform(0.01, 30.0) * random.choice([1, 1, 20])
        power = mp.exp(-mp.mpf(x))
        own = mp.log(1 + power) + column * mp.mpf(x)
        value = own if result == "log_softmax" else mp.exp(-own)
        unit = mp.mpf(2) ** max(int(mp.floor(mp.log(value, 2))) - digits + 1, least)
        # more classes make a probability smaller, and its logarithm larger
        boundary = (mp.floor(value / unit) + mp.mpf(0.5)) * unit
        if result == "softmax" and boundary >= value:
            boundary -= unit
        elif result == "log_softmax" and boundary <= value:
            boundary += unit
        boundary *= 1 + int(random.choice([-1, 1])) * mp.mpf(2) ** -exponent
        if boundary <= 0:
            return None
        wanted = mp.exp(boundary) if result == "log_softmax" else 1 / boundary
        left = wanted * (power if column else 1) - 1 - power
        return _tuned(x, left)


def _tuned(x: float, left: Any) -> list[float] | None:
    logits = [0.0, -x]
    for _ in range(TERMS):
        if left <= 0:
            return None
        exact = -mp.log(left)
        below = float(exact)
        if mp.mpf(below) < exact:
            below = math.nextafter(below, math.inf)
        logits.append(-below)
        left -= mp.exp(-mp.mpf(below))
    return logits
