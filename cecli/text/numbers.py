"""Numbers as text for people: a fixed point where that keeps their digits, else an exponent."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal

LARGEST_FIXED = 1e16


def format_number(number: float | Decimal, digits: int) -> str:
    """A number with that many digits after the point.

    One so small that fewer than half of them would be left, or too large to be known to the unit,
    gets an exponent instead: nothing but zero, which is shown as 0, ever looks like zero. The minus
    is that of the keyboard, so that a number can be pasted.
    """
    if number == 0:
        return "0"
    if number != number:
        return "NaN"
    # Not math.isinf: a Decimal may be larger than any double.
    if number in (math.inf, -math.inf):
        return "inf" if number > 0 else "-inf"
    size = -number if number < 0 else number
    kept = min(digits, max(2, (digits + 1) // 2))
    if 10.0 ** (kept - 1 - digits) <= size < LARGEST_FIXED:
        text = f"{size:.{digits}f}"
    else:
        # A Decimal writes e-5 where a float writes e-05.
        text = re.sub(r"e([+-])(\d)$", r"e\g<1>0\2", f"{size:.{max(0, digits - 1)}e}")
    return f"-{text}" if number < 0 else text


def format_typed(number: float, digits: int) -> str:
    """A number that somebody typed: as they did where that is short, else as `format_number`."""
    if not math.isfinite(number):
        return format_number(number, digits)
    text = repr(abs(number) + 0.0)
    if len(text) > digits + 4:
        text = format_number(abs(number), digits)
    return f"-{text}" if number < 0 else text


def format_divisor(number: float, digits: int) -> str:
    """A count as an integer, a sum of weights as `format_typed`."""
    is_count = number.is_integer() and number < LARGEST_FIXED
    return f"{int(number):,}" if is_count else format_typed(number, digits)


def format_bytes(size: int) -> str:
    """A size in bytes, in the decimal units that disks are sold by."""
    for power, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        if size >= 1000**power:
            share = size / 1000**power
            return f"{share:.1f} {unit}" if share < 10 else f"{share:.0f} {unit}"
    return f"{size} bytes"


def align(texts: Sequence[str]) -> list[str]:
    """Pad texts of numbers with spaces so that their points stand in one column."""
    before = [_length_before_point(text) for text in texts]
    left = max(before, default=0)
    padded = [" " * (left - width) + text for width, text in zip(before, texts, strict=True)]
    width = max(map(len, padded), default=0)
    return [text.ljust(width) for text in padded]


def _length_before_point(text: str) -> int:
    for place, character in enumerate(text):
        if character in ".e":
            return place
    return len(text)
