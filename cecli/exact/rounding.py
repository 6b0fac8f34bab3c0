"""Numbers in enclosures rounded to a format, or found to need more digits."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np

from cecli.exact.row import GUARD_DIGITS, INFINITE, INFINITY, ZERO, Enclosure, Number
from cecli.machine.decimals import as_decimal, round_to, wide_context

FIRST_PRECISION = 40
DOUBLE = np.dtype(np.float64)


class UnsettledError(Exception):
    """The two ends of an enclosure round to different numbers."""


def rounded(number: Number, dtype: np.dtype[Any] = DOUBLE) -> float:
    """The number of a type that all of an enclosure rounds to.

    Raises UnsettledError where there is none.
    """
    if isinstance(number, Fraction):
        return round_to(number, dtype) + 0.0  # no zero is −0
    value, bound = number
    digits = len(value.as_tuple().digits) + max(0, value.adjusted() - bound.adjusted())
    with localcontext(wide_context(digits + GUARD_DIGITS)):
        low, high = round_to(value - bound, dtype), round_to(value + bound, dtype)
    if low != high:
        raise UnsettledError
    return low + 0.0


def rounded_tie(number: Enclosure) -> float:
    """The double that rounding gives of the midpoint between two doubles within an enclosure.

    For a number that is rational, although no arithmetic of it is: no precision settles one that
    lies just there.
    """
    value, bound = number
    with localcontext(wide_context(len(value.as_tuple().digits) + GUARD_DIGITS)):
        ends = round_to(value - bound, DOUBLE), round_to(value + bound, DOUBLE)
    return float(sum(map(Fraction, ends)) / 2)  # which is rounded to even


def total(terms: list[tuple[Number, Fraction]], precision: int) -> Number:
    """Σ number/divisor"""
    fractions = [number / by for number, by in terms if isinstance(number, Fraction)]
    rational = sum(fractions, ZERO)
    if len(fractions) == len(terms):
        return rational
    with localcontext(wide_context(precision + GUARD_DIGITS + len(str(len(terms))))):
        value, bound = as_decimal(rational), Decimal(0)
        for number, by in terms:
            if isinstance(number, Enclosure):
                value += number.value / as_decimal(by)
                bound += number.bound / as_decimal(by)
        if value == INFINITY:
            return INFINITE
        return Enclosure(value, bound + value.scaleb(-precision))
