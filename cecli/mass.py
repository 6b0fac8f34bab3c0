"""The target mass y of a problem's rows: y_k = weight_k · ((1 − ε)·q_k + ε/C), 0 where ignored.

With a class index and no smoothing it stands on one class of each row, and nothing of the size of
the logits is made; soft targets and smoothing spread it over all classes. As fractions it is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cecli.accurate import scaled_product, sum_rows, times_square
from cecli.problem import Block, Floats, Integers, Problem

if TYPE_CHECKING:
    from cecli.rows import Shifted


@dataclass(frozen=True, eq=False)
class OneHot:
    """Mass on one class of each row: its column (N,) and the amount, which is the total (N,)."""

    column: Integers
    total: Floats

    def dot(self, difference: Floats, remainder: Floats) -> tuple[Floats, Floats]:
        """(N,) Σ_i y_i (m − v_i), in two parts: rounded, and what that left out.

        A class without mass takes no part, not even where its distance is infinite.
        """
        each = np.arange(len(self.column))
        amount = self.total * -difference[each, self.column]
        left_out = self.total * -remainder[each, self.column]
        return np.where(self.total == 0.0, 0.0, amount), left_out

    def finish(self, grad: Floats, shifted: Shifted, divisor: float, z_term: Floats) -> None:
        """Turn factor·ŷ_t into its gradient, with 1 − ŷ_t summed from the other classes.

        1 − ŷ_t = ((1 − e^{v_t − m}) + R) / (1 + R), which is R / (1 + R) for the largest logit.
        """
        each = np.arange(len(self.column))
        target = shifted.exponentials[each, self.column]
        rest = shifted.rest * shifted.scale
        others = np.where(target == 1.0, shifted.rest, (1.0 - target) + rest)
        scale = np.where(target == 1.0, shifted.scale, 1.0)
        sech = None if shifted.sech is None else shifted.sech[each, self.column]
        own = times_square(others / shifted.sum, sech)
        grad[each, self.column] = times_square(
            z_term / shifted.sum * target, sech
        ) - scaled_product(own, self.total / divisor, scale)


@dataclass(frozen=True, eq=False)
class Spread:
    """Mass over all classes, (N, C): soft targets and label smoothing. Methods as in `OneHot`."""

    mass: Floats

    @cached_property
    def total(self) -> Floats:
        """(N,) Y = Σ_i y_i"""
        return sum_rows(self.mass)

    def dot(self, difference: Floats, remainder: Floats) -> tuple[Floats, Floats]:
        """(N,) Σ_i y_i (m − v_i), in two parts: rounded, and what that left out."""
        terms = np.where(self.mass == 0.0, 0.0, self.mass * -difference)
        return sum_rows(terms), -(self.mass * remainder).sum(axis=1)

    def finish(self, grad: Floats, shifted: Shifted, divisor: float, z_term: Floats) -> None:
        """Subtract y; at the largest logit (Y − y_i) ŷ_i − y_i (1 − ŷ_i), both parts ≥ 0."""
        grad -= times_square(self.mass / divisor, shifted.sech)
        top = shifted.top
        each = np.arange(len(top))
        others = self.mass.copy()
        others[each, top] = 0.0
        sech = None if shifted.sech is None else shifted.sech[each, top]
        up = times_square((sum_rows(others) / divisor + z_term) / shifted.sum, sech)
        down = times_square(shifted.rest / shifted.sum, sech)
        grad[each, top] = up - scaled_product(down, self.mass[each, top] / divisor, shifted.scale)


Mass = OneHot | Spread


def mass_of(block: Block) -> Mass:
    """The target mass of a block's rows."""
    problem, index = block.problem, block.index
    smoothing, weight = problem.objective.label_smoothing, problem.weight
    if index is not None and not smoothing:
        amount = block.kept.astype(np.float64)
        return OneHot(index, amount if weight is None else amount * weight[index])
    if block.soft is not None:
        mass = block.soft.copy()
    else:
        mass = np.zeros_like(block.logits)
        mass[np.arange(len(mass)), index] = 1.0
    if smoothing:
        mass = (1.0 - smoothing) * mass + smoothing / problem.classes
    if weight is not None:
        mass *= weight
    mass[~block.kept] = 0.0
    return Spread(mass)


def exact_mass(problem: Problem, row: int) -> list[Fraction]:
    """y_k = weight_k · ((1 − ε)·q_k + ε/C) of one row; empty probabilities for no target."""
    smoothing = Fraction(float(problem.objective.label_smoothing))
    mass = [Fraction(0)] * problem.classes
    if problem.soft is not None:
        mass = [Fraction(q) for q in problem.soft[row].tolist()]
    elif problem.index is not None:
        mass[problem.index[row]] = Fraction(1)
    else:
        return mass
    if smoothing:
        mass = [(1 - smoothing) * q + smoothing / problem.classes for q in mass]
    if problem.weight is not None:
        weight = problem.weight.tolist()
        mass = [Fraction(w) * y if y else Fraction(0) for w, y in zip(weight, mass, strict=True)]
    return mass


def exact_divisors(problem: Problem) -> tuple[Fraction, Fraction]:
    """What the sums of the loss and of the z-loss are divided by, unrounded; 1 for no mean."""
    z_divisor = Fraction(problem.z_loss_divisor or 1.0)
    if problem.objective.reduction != "mean" or problem.weight is None or problem.index is None:
        return Fraction(problem.divisor or 1.0), z_divisor
    weights = problem.weight[problem.index[problem.kept]]
    return sum((Fraction(w) for w in weights.tolist()), Fraction(0)), z_divisor
