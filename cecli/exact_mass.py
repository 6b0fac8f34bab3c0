"""The target mass of a row, and what sums over rows are divided by, as fractions.

Apart from `mass`, so that who computes in doubles does not wait for `fractions` to load.
"""

from __future__ import annotations

from fractions import Fraction

from cecli.problem import Problem


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
