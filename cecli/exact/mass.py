"""The target mass of a row, and what sums over rows are divided by, as fractions.

Apart from `mass`, so that who computes in doubles does not wait for `fractions` to load.
"""

from __future__ import annotations

from fractions import Fraction

from cecli.problem.problem import Problem


def exact_mass(problem: Problem, row: int) -> list[Fraction]:
    """y_k = weight_k · ((1 − ε)·q_k + ε/C) of one row; all 0 for no target.

    Classes of the same probability and weight share one object.
    """
    classes, smoothing = problem.classes, Fraction(float(problem.objective.label_smoothing))
    target = [0.0] * classes
    if problem.soft is not None:
        target = problem.soft[row].tolist()
    elif problem.index is not None:
        target[problem.index[row]] = 1.0
    else:
        return [Fraction(0)] * classes
    weight = [1.0] * classes if problem.weight is None else problem.weight.tolist()
    pairs = list(zip(target, weight, strict=True))
    mass = {
        (q, w): Fraction(w) * ((1 - smoothing) * Fraction(q) + smoothing / classes)
        for q, w in set(pairs)
    }
    return [mass[pair] for pair in pairs]


def exact_divisors(problem: Problem) -> tuple[Fraction, Fraction]:
    """What the sums of the loss and of the z-loss are divided by, unrounded; 1 for no mean."""
    z_divisor = Fraction(problem.z_loss_divisor or 1.0)
    if problem.objective.reduction != "mean" or problem.weight is None or problem.index is None:
        return Fraction(problem.divisor or 1.0), z_divisor
    weights = problem.weight[problem.index[problem.kept]]
    return sum((Fraction(w) for w in weights.tolist()), Fraction(0)), z_divisor
