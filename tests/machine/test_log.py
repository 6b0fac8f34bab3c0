"""The definition's logarithm: right, and the same bits everywhere."""

from __future__ import annotations

import zlib
from fractions import Fraction

import mpmath
import numpy as np

from cecli.machine.elementary import log
from support.oracle import ulps

CHECKSUM = 3404859447


def numbers() -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Every size of double from the smallest to 2, by integer arithmetic."""
    steps = np.arange(1, 5001, dtype=np.uint64) * np.uint64(0x4000000000000000 // 5000)
    near_one = np.float64(1.0).view(np.uint64) + np.arange(-50, 50).astype(np.uint64)
    return np.concatenate([steps, near_one, np.arange(1, 20, dtype=np.uint64)]).view(np.float64)


def test_it_is_right_to_an_ulp() -> None:
    x = numbers()
    with mpmath.workdps(60):
        for number, found in zip(x.tolist(), log(x).tolist(), strict=True):
            exact = mpmath.log(mpmath.mpf(number))
            assert ulps(found, Fraction(int(exact * 2**200), 2**200)) <= 1.0, number
    assert log(np.array([0.0, 1.0])).tolist() == [-np.inf, 0.0]


def test_its_bits_never_change() -> None:
    assert zlib.crc32(log(numbers()).tobytes()) == CHECKSUM
