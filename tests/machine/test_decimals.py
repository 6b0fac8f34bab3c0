"""Rounding to a shorter type, held against the same by fractions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from cecli.machine.decimals import round_to
from support import oracle


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("beside", [-1, 0, 1])
@pytest.mark.parametrize("sign", [-1, 1])
def test_next_to_a_tie_a_number_is_rounded_once(dtype: Any, beside: int, sign: int) -> None:
    kind = np.finfo(dtype)
    random = np.random.default_rng(5)
    floats = random.uniform(kind.smallest_subnormal, 64 * kind.smallest_normal, 40).tolist()
    for number in [*floats, *random.uniform(0.1, 1e4, 40), float(kind.smallest_normal)]:
        low = dtype(number)
        tie = (Fraction(float(low)) + Fraction(float(np.nextafter(low, dtype(np.inf))))) / 2
        # no double lies as near to the tie, so that a double would be the tie itself
        value = sign * tie * (1 + beside * Fraction(1, 2**80))
        assert round_to(value, np.dtype(dtype)) == oracle.round_to(value, dtype)
