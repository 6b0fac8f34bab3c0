"""Every number of one sample's derivation, in decimal arithmetic, straight from the formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from cecli.machine.decimals import as_decimal, cap, cap_slope, log1p, sums_without_each
from cecli.machine.rational import exact_mass
from cecli.problem.problem import Problem

PRECISION = 70
ZERO, ONE = Decimal(0), Decimal(1)


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
    given = list(logits) if logits is not None else [Decimal(z) for z in problem.rows[row].tolist()]
    masked = [z == -math.inf for z in given]
    capped = [z if off else cap(z, softcap) for z, off in zip(given, masked, strict=True)]
    return Worked(
        logits=given,
        capped=capped,
        scaled=[u / temperature for u in capped],
        target=[as_decimal(y) for y in exact_mass(problem, row)],
        slope=[
            (ONE if off else cap_slope(z, softcap)) / temperature
            for z, off in zip(given, masked, strict=True)
        ],
        z_loss=as_decimal(float(objective.z_loss)),
    )
