"""Double arithmetic that keeps what rounding leaves out.

Sources: Knuth, The Art of Computer Programming 2, 4.2.2 (the remainder of a subtraction); Dekker,
"A floating-point technique for extending the available precision", Numer. Math. 1971 (the exact
product behind the remainder of a division); Rump, Ogita & Oishi, "Accurate floating-point
summation part I", SIAM J. Sci. Comput. 2008 (the split that makes a sum exact).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cecli.problem.dtypes import Floats, Logits

BUFFER_UNIT, LARGEST_BUFFER = 16, 1024  # numbers
# Adding this to a double of less than 2¹⁹ rounds it to a multiple of 2⁻³².
GRID = 1.5 * 2.0**20
LARGEST_ON_GRID = 2.0**18


def remainder_of(left: Logits, right: Floats, difference: Floats) -> Floats:
    """What rounding left out of difference = left − right, exactly."""
    virtual = difference - left
    remainder = difference - virtual
    np.subtract(left, remainder, out=remainder)
    virtual += right
    remainder -= virtual
    return remainder


def subtract_on_grid(left: Floats, right: Floats) -> tuple[Floats, Floats]:
    """left − right as the exact difference of both rounded to a grid, and what that left out.

    For |right| ≤ LARGEST_ON_GRID and |left| < 2¹⁹ the sum of the two parts is right to 2⁻⁸⁴, the
    second being at most 2⁻³². A left that is further below gets a rounded difference, and one of −∞
    leaves NaN. Takes two thirds of the time of a subtraction and `remainder_of`.
    """
    with small_buffer(left):
        remainder, top = left + GRID, right + GRID
        difference = remainder - top
        remainder -= GRID
        np.subtract(left, remainder, out=remainder)
        remainder -= right - (top - GRID)
    return difference, remainder


def subtracts_exactly(logits: Logits, largest: float) -> bool:
    """Whether any two of the logits differ by a double, so that nothing is lost in subtracting.

    largest: no finite one's magnitude is above it. Single-precision numbers of 2^e or more are
    multiples of 2^(e − 23). If 2^(e + 29) is above all of them, differences are less than
    2^(e + 30) and, as such multiples, of 53 bits or fewer. Zeros and infinities change nothing in
    that.
    """
    if logits.dtype != np.float32 or not logits.size:
        return False
    magnitude = np.abs(logits)
    smallest = magnitude.min()
    if smallest == 0.0:
        magnitude[magnitude == 0.0] = np.inf
        smallest = magnitude.min()
    return bool(largest <= float(smallest) * 2.0**28)


def divide(high: Floats, low: Floats | float, divisor: float) -> tuple[Floats, Floats]:
    """(high + low) / divisor as a rounded quotient and what the rounding left out.

    The latter is 0 where it is not finite.
    """
    mantissa, exponent = math.frexp(divisor)
    high, low = np.ldexp(high, -exponent), np.ldexp(low, -exponent)
    quotient = high / mantissa
    product = quotient * mantissa
    quotient_high, quotient_low = _halves(quotient)
    mantissa_high, mantissa_low = _halves(np.float64(mantissa))
    error = quotient_low * mantissa_low - (
        ((product - quotient_high * mantissa_high) - quotient_low * mantissa_high)
        - quotient_high * mantissa_low
    )
    remainder = ((high - product) - error + low) / mantissa
    return quotient, np.where(np.isfinite(remainder), remainder, 0.0)


def _halves(number: Any) -> tuple[Any, Any]:
    """A double as the sum of two of 26 bits each."""
    scaled = number * (2.0**27 + 1.0)
    high = scaled - (scaled - number)
    return high, number - high


def sum_rows(terms: Floats) -> Floats:
    """Row sums of terms ≥ 0, correctly rounded but for a few 2⁻¹⁰⁰ and so in any order alike.

    Adding and subtracting a power of two above the sum cuts each term to few enough digits that
    those parts add up without rounding; what was cut off hardly matters.
    """
    rough = terms.sum(axis=1)
    power = np.ldexp(1.0, np.frexp(rough)[1])[:, None]
    with small_buffer(terms):
        high = terms + power
        high -= power
    total: Floats = np.einsum("ij->i", high)
    np.subtract(terms, high, out=high)
    total += high.sum(axis=1)
    return np.where(np.isfinite(total), total, rough)


def times_square(numbers: Floats, root: Floats | None) -> Floats:
    """numbers·root², where the square alone might be subnormal; None stands for 1."""
    return numbers if root is None else numbers * root * root


def scaled_product(terms: Floats, factor: Floats | float, scale: Floats | float) -> Floats:
    """terms·factor·scale for a scale ≤ 1, so that nothing overflows and only the end is rounded.

    The terms themselves where there is nothing to multiply.
    """
    if isinstance(scale, float) and scale == 1.0:
        return terms if isinstance(factor, float) and factor == 1.0 else terms * factor
    return np.where(factor > 1.0, terms * (factor * scale), terms * factor * scale)


@contextmanager
def small_buffer(rows: Logits) -> Iterator[None]:
    """Where rows meet one number a row: a buffer of NumPy's that holds no more than one of them.

    Through one that holds several, as its own does up to 8,192 columns, the number of each row goes
    too, once for each column, which takes longer than the arithmetic. A type is converted in it.
    """
    longest = max(rows.shape[0] if rows.flags.f_contiguous else rows.shape[-1], 1)
    size = np.setbufsize(min(LARGEST_BUFFER, -(-longest // BUFFER_UNIT) * BUFFER_UNIT))
    try:
        yield
    finally:
        np.setbufsize(size)
