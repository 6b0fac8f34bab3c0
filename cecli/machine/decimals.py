"""Elementary functions in the standard library's decimal arithmetic, at the context's precision.

Every operation of `decimal` is correctly rounded; what is composed of several of them here has a
relative error of a few units in the last digit, also where the obvious formula would cancel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, getcontext, localcontext
from fractions import Fraction
from typing import Any

import numpy as np

# Below e^SMALLEST_EXPONENT an exponential rounds to zero after any factor that a double can hold;
# STICKY, a positive number as small, stands in for it and keeps the direction of rounding.
SMALLEST_EXPONENT = -5000
STICKY = Decimal("1e-2172")


def wide_context(precision: int) -> Context:
    """A context of that many digits whose exponents never run out."""
    return Context(prec=precision, Emax=MAX_EMAX, Emin=MIN_EMIN)


def as_decimal(number: Fraction | float) -> Decimal:
    """A fraction or double, rounded to the context's precision."""
    fraction = Fraction(number)
    return Decimal(fraction.numerator) / Decimal(fraction.denominator)


def exponential(x: Decimal) -> Decimal:
    """e^x for x ≤ 0, never zero."""
    return x.exp() if x > SMALLEST_EXPONENT else STICKY


def log1p(x: Decimal) -> Decimal:
    """log(1 + x) for x ≥ 0."""
    precision = getcontext().prec
    if x.adjusted() < -precision // 3:
        return x - x * x / 2 + x * x * x / 3
    with localcontext(wide_context(2 * precision)):
        logarithm = (1 + x).ln()
    return +logarithm


def cap(logit: float | Decimal, softcap: float | None) -> Decimal:
    """softcap·tanh(z/softcap), or z itself without a softcap."""
    if softcap is None:
        return Decimal(logit)
    return Decimal(softcap) * tanh(Decimal(logit) / Decimal(softcap))


def tanh(x: Decimal) -> Decimal:
    """(1 − e^{−2|x|}) / (1 + e^{−2|x|}) with the sign of x."""
    precision = getcontext().prec
    if x.adjusted() < -precision // 3:
        return x - x * x * x / 3
    with localcontext(wide_context(2 * precision)):
        decay = exponential(-2 * abs(x))
        size = (1 - decay) / (1 + decay)
    return (+size).copy_sign(x)


def cap_slope(logit: float | Decimal, softcap: float | None) -> Decimal:
    """d cap(z) / dz = 1 − tanh²(z/softcap) = 4a / (1 + a)² with a = e^{−2|z/softcap|}."""
    if softcap is None:
        return Decimal(1)
    decay = exponential(-2 * abs(Decimal(logit) / Decimal(softcap)))
    return 4 * decay / (1 + decay) ** 2


def sums_without_each(
    terms: Sequence[Decimal], counts: Sequence[int] | None = None
) -> list[Decimal]:
    """For each of some terms ≥ 0 the sum of all the others, without cancellation.

    counts: how often each term stands in the sum, of which it is left out once; by default once.
    """
    counts = counts or [1] * len(terms)
    total = sum((term * count for term, count in zip(terms, counts, strict=True)), Decimal(0))
    sums = [total - term for term in terms]
    # Only the largest term can be more than half of the total.
    largest = max(range(len(terms)), key=terms.__getitem__)
    left = [count - (i == largest) for i, count in enumerate(counts)]
    sums[largest] = sum((t * count for t, count in zip(terms, left, strict=True)), Decimal(0))
    return sums


def round_to(number: Decimal | Fraction, dtype: np.dtype[Any]) -> float:
    """The float nearest to a number, of 64, 32 or 16 bits: rounded once, subnormal ones too."""
    try:
        nearest = float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
    if dtype == np.float64 or math.isinf(nearest):
        return nearest
    exact = Fraction(number)
    if exact != Fraction(nearest):
        # Rounded to odd, a double keeps on which side of every shorter tie the number lies.
        if abs(Fraction(nearest)) > abs(exact):
            nearest = math.nextafter(nearest, 0.0)
        nearest = float((np.float64(nearest).view(np.int64) | 1).view(np.float64))
    with np.errstate(over="ignore", under="ignore"):
        return float(np.array(nearest).astype(dtype))
