"""The target mass y of a problem's rows: y_k = weight_k · ((1 − ε)·q_k + ε/C), 0 where ignored.

With a class index and no smoothing it stands on one class of each row, and nothing of the size of
the logits is made; soft targets and smoothing spread it over all classes. As fractions it is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from cecli.accurate import sum_rows
from cecli.problem import Floats, Integers, Problem


@dataclass(frozen=True, eq=False)
class OneHot:
    """Mass on one class of each row: its column (N,) and the amount, which is the total (N,)."""

    column: Integers
    total: Floats

    def split(self, columns: Integers) -> tuple[Floats, Floats]:
        """(N,) y at one column of each row, and Σ y over the others."""
        there = columns == self.column
        return np.where(there, self.total, 0.0), np.where(there, 0.0, self.total)

    def dot(self, distances: Floats, left_out: Floats) -> tuple[Floats, Floats]:
        """(N,) Σ_i y_i distances_i and the same of what their rounding left out.

        A class without mass takes no part, not even where its distance is infinite.
        """
        each = np.arange(len(self.column))
        amount = self.total * distances[each, self.column]
        return np.where(self.total == 0.0, 0.0, amount), self.total * left_out[each, self.column]

    def subtract_from(self, grad: Floats, divisor: float, sech: Floats | None) -> None:
        """grad −= y · sech² / divisor"""
        each = np.arange(len(self.column))
        amount = self.total / divisor
        if sech is not None:
            amount = amount * sech[each, self.column] * sech[each, self.column]
        grad[each, self.column] -= amount


@dataclass(frozen=True, eq=False)
class Spread:
    """Mass over all classes, (N, C): soft targets and label smoothing. Methods as in `OneHot`."""

    mass: Floats

    @cached_property
    def total(self) -> Floats:
        """(N,) Y = Σ_i y_i"""
        return sum_rows(self.mass)

    def split(self, columns: Integers) -> tuple[Floats, Floats]:
        """(N,) y at one column of each row, and Σ y over the others."""
        each = np.arange(len(columns))
        others = self.mass.copy()
        others[each, columns] = 0.0
        return self.mass[each, columns], sum_rows(others)

    def dot(self, distances: Floats, left_out: Floats) -> tuple[Floats, Floats]:
        """(N,) Σ_i y_i distances_i and the same of what their rounding left out."""
        terms = np.where(self.mass == 0.0, 0.0, self.mass * distances)
        return sum_rows(terms), (self.mass * left_out).sum(axis=1)

    def subtract_from(self, grad: Floats, divisor: float, sech: Floats | None) -> None:
        """grad −= y · sech² / divisor"""
        amount = self.mass / divisor
        grad -= amount if sech is None else amount * sech * sech


Mass = OneHot | Spread


def mass_of(problem: Problem) -> Mass:
    """The target mass of a problem's rows."""
    smoothing, weight, index = problem.objective.label_smoothing, problem.weight, problem.index
    if index is not None and not smoothing:
        amount = problem.kept.astype(np.float64)
        return OneHot(index, amount if weight is None else amount * weight[index])
    if problem.soft is not None:
        mass = problem.soft.copy()
    else:
        mass = np.zeros_like(problem.rows)
        mass[np.arange(len(mass)), index] = 1.0
    if smoothing:
        mass = (1.0 - smoothing) * mass + smoothing / problem.classes
    if weight is not None:
        mass *= weight
    mass[~problem.kept] = 0.0
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
