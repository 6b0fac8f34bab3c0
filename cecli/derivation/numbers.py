"""Equations with the numbers of a derivation in them that a reader can check.

Every number comes from the row in decimal arithmetic (`exact.row`). `Pencil` writes them: the
numbers printed give the result.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import product
from typing import NamedTuple

from cecli.derivation.notation import tag
from cecli.text.numbers import format_number

PRECISION = 70
ZERO, ONE = Decimal(0), Decimal(1)
# Two logits that a softcap of 1 leaves next to each other differ by e⁻²⁰⁰, in the 87th digit.
MOST_FURTHER_DIGITS = 120
# What rounds up or down by so small a part of it is half way, where readers differ.
NUDGE = Decimal("1e-40")


class Quantity(NamedTuple):
    """A number and the symbol of what it is, as in `QUANTITIES`; typed: how somebody typed it."""

    symbol: str
    value: Decimal
    typed: str = ""


class Pencil:
    """Writes numbers and equations with so many digits after the point.

    A result has that many; the operands it is computed from get further ones until the result,
    computed from what is printed, is the result that is printed. A result that lies half way
    between two roundings, where that may never happen, is shown with one digit more.
    """

    def __init__(self, digits: int) -> None:
        self.digits = digits

    def shorter(self, digits: int) -> Pencil:
        """One that writes no more digits than that."""
        return Pencil(min(self.digits, digits))

    def write(self, quantity: str, value: Decimal) -> str:
        """One number in the notation of formulas."""
        return tag(quantity, format_number(value, self.digits))

    def as_typed(self, number: Quantity) -> str:
        """One number as it was typed, in the notation of formulas."""
        return tag(number.symbol, number.typed)

    def equate(
        self,
        pattern: str,
        operands: Sequence[Quantity],
        result: Quantity,
        compute: Callable[..., Decimal],
    ) -> str:
        """`pattern = result`, the operands at {0}, {1}, … of the pattern.

        compute takes the operands and gives the result.
        """
        shown, further_digits = range(self.digits, self.digits + 3), range(MOST_FURTHER_DIGITS)
        for digits, further, as_typed in product(shown, further_digits, (True, False)):
            texts = [self._text(operand, further, as_typed) for operand in operands]
            found = compute(*map(parse, texts))
            if _same(found, result.value, operands, digits):
                break
        expression = _filled(pattern, [operand.symbol for operand in operands], texts)
        return f"{expression} = {tag(result.symbol, format_number(result.value, digits))}"

    def add(self, terms: Sequence[Quantity], result: Quantity) -> str:
        """`term + term + … = result`"""
        pattern = " + ".join(f"{{{place}}}" for place in range(len(terms)))
        return self.equate(pattern, terms, result, lambda *values: sum(values, Decimal(0)))

    def _text(self, operand: Quantity, further: int, as_typed: bool) -> str:
        if operand.typed and as_typed:
            return operand.typed
        return format_number(operand.value, self.digits + further)


def _same(found: Decimal, result: Decimal, operands: Sequence[Quantity], digits: int) -> bool:
    """Whether what was found is shown as the result is."""
    if result or not operands:
        nearby = (found, found * (1 - NUDGE), found * (1 + NUDGE))
        return {format_number(value, digits) for value in nearby} == {format_number(result, digits)}
    # Nothing rounds to 0 by itself; what is left has to vanish among the digits shown.
    largest = max(operand.value.copy_abs() for operand in operands)
    place = min(-digits, largest.adjusted() - digits + 1) if largest else 0
    return abs(found) < Decimal("0.5").scaleb(place)


def parse(text: str) -> Decimal:
    """The number that a text shows."""
    return Decimal(text.replace("−", "-"))


def _filled(pattern: str, quantities: Sequence[str], texts: Sequence[str]) -> str:
    """The pattern with its operands, in parentheses where an operator or a power needs them."""

    def fill(match: re.Match[str]) -> str:
        place = int(match[1])
        number = tag(quantities[place], texts[place])
        before, behind = pattern[: match.start()], pattern[match.end() :]
        if "e" in texts[place] and behind.startswith("^"):
            return f"({number})"
        inside = not before or before.endswith(("(", "⟨", "log "))
        return number if inside or not texts[place].startswith("-") else f"({number})"

    return re.sub(r"\{(\d+)\}", fill, pattern)


def multiply(*factors: Decimal) -> Decimal:
    """The product of all factors."""
    return math.prod(factors, start=Decimal(1))


def times_complement(p: Decimal) -> Decimal:
    """p(1 − p)"""
    return p * (1 - p)
