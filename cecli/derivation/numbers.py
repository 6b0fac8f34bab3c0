"""The numbers of one sample's derivation, and equations with them that a reader can check.

`Worked` has every number in decimal arithmetic, straight from the formulas. `Pencil` writes them:
the numbers printed give the result.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import product
from typing import NamedTuple

from cecli.derivation.notation import tag
from cecli.machine.decimals import as_decimal, cap, cap_slope, log1p, sums_without_each
from cecli.machine.rational import exact_mass
from cecli.problem.problem import Problem
from cecli.text.numbers import format_number

PRECISION = 70
ZERO, ONE = Decimal(0), Decimal(1)
# Two logits that a softcap of 1 leaves next to each other differ by e⁻²⁰⁰, in the 87th digit.
MOST_FURTHER_DIGITS = 120
# What rounds up or down by so small a part of it is half way, where readers differ.
NUDGE = Decimal("1e-40")


@dataclass(frozen=True, eq=False)
class Worked:
    """The numbers, one for each class where they are lists, at the context's precision.

    logits z; capped u = c·tanh(z/c); scaled v = u/T; difference d = v − m; powers a = e^d, with the
    sum S; probability ŷ = a/S, beside 1 − ŷ (summed from the other classes); target y, with
    the sum total; surprise −log ŷ; loss −Σ y log ŷ. slope: dv/dz. z_loss: the factor λ.
    """

    logits: list[Decimal]
    capped: list[Decimal]
    scaled: list[Decimal]
    target: list[Decimal]
    slope: list[Decimal]
    z_loss: Decimal

    @cached_property
    def top(self) -> Decimal:
        """m, the largest v."""
        return max(self.scaled)

    @cached_property
    def difference(self) -> list[Decimal]:
        """d_i = v_i − m"""
        return [v - self.top for v in self.scaled]

    @cached_property
    def powers(self) -> list[Decimal]:
        """a_i = e^d_i"""
        return [d.exp() for d in self.difference]

    @cached_property
    def sum(self) -> Decimal:
        """S = Σ_j a_j"""
        return sum(self.powers, ZERO)

    @cached_property
    def rest(self) -> Decimal:
        """S − 1: the sum without the largest power, which is 1."""
        return sums_without_each(self.powers)[self.powers.index(ONE)]

    @cached_property
    def probability(self) -> list[Decimal]:
        """ŷ_i = a_i / S"""
        return [a / self.sum for a in self.powers]

    @cached_property
    def beside(self) -> list[Decimal]:
        """1 − ŷ_i, without the subtraction."""
        return [others / self.sum for others in sums_without_each(self.powers)]

    @cached_property
    def surprise(self) -> list[Decimal]:
        """−log ŷ_i = log S − d_i, infinite for a masked class."""
        log_sum = log1p(self.rest)
        return [log_sum - d for d in self.difference]

    @cached_property
    def total(self) -> Decimal:
        """Y = Σ_i y_i"""
        return sum(self.target, ZERO)

    @cached_property
    def loss(self) -> Decimal:
        """L = −Σ_i y_i log ŷ_i, infinite where a class with target mass has no probability."""
        if any(y and not a for y, a in zip(self.target, self.powers, strict=True)):
            return Decimal(math.inf)
        pairs = zip(self.target, self.surprise, strict=True)
        return sum((y * s for y, s in pairs if y), ZERO)

    @cached_property
    def log_sum_exp(self) -> Decimal:
        """lse = m + log S"""
        return self.top + log1p(self.rest)

    @cached_property
    def full_loss(self) -> Decimal:
        """L with the z-loss λ·lse²."""
        return self.loss + self.z_loss * self.log_sum_exp**2

    @cached_property
    def grad_plain(self) -> list[Decimal]:
        """∂L/∂v_i = Yŷ_i − y_i, of the cross-entropy alone, without cancellation."""
        parts = zip(self.target, self.probability, self.beside, strict=True)
        return [(self.total - y) * p - y * rest for y, p, rest in parts]

    @cached_property
    def grad_z_loss(self) -> list[Decimal]:
        """2λ·lse·ŷ_i"""
        return [2 * self.z_loss * self.log_sum_exp * p for p in self.probability]

    @cached_property
    def grad(self) -> list[Decimal]:
        """∂L/∂z_i of the whole loss."""
        parts = zip(self.grad_plain, self.grad_z_loss, self.slope, strict=True)
        return [(plain + z_part) * slope for plain, z_part, slope in parts]


def work_out(problem: Problem, row: int = 0, logits: Sequence[Decimal] | None = None) -> Worked:
    """The numbers of one row of a problem, or of other logits with its target and objective."""
    objective = problem.objective
    softcap = None if objective.softcap is None else float(objective.softcap)
    temperature = as_decimal(float(objective.temperature))
    own = list(logits) if logits is not None else [Decimal(z) for z in problem.rows[row].tolist()]
    masked = [z == -math.inf for z in own]
    capped = [z if off else cap(z, softcap) for z, off in zip(own, masked, strict=True)]
    return Worked(
        logits=own,
        capped=capped,
        scaled=[u / temperature for u in capped],
        target=[as_decimal(y) for y in exact_mass(problem, row)],
        slope=[
            (ONE if off else cap_slope(z, softcap)) / temperature
            for z, off in zip(own, masked, strict=True)
        ],
        z_loss=as_decimal(float(objective.z_loss)),
    )


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
        return number if inside or not texts[place].startswith("−") else f"({number})"

    return re.sub(r"\{(\d+)\}", fill, pattern)


def multiply(*factors: Decimal) -> Decimal:
    """The product of all factors."""
    return math.prod(factors, start=Decimal(1))


def times_complement(p: Decimal) -> Decimal:
    """p(1 − p)"""
    return p * (1 - p)
