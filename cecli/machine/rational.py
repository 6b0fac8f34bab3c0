"""A row of a problem as rational numbers: its logits, its target mass, and what it is divided by.

What the exact arithmetic, the derivation and the decimal differences start from; the formulas of
none of them. Apart from the core's target mass, so that who computes in doubles does not wait for
`fractions` to load.
"""

from __future__ import annotations

import math
from fractions import Fraction

from cecli.problem.problem import Block, Problem


def exact_mass(block: Block, place: int) -> list[Fraction]:
    """y_k = weight_k · ((1 − ε)·q_k + ε/C) of one row of a block; all 0 for no target.

    Where samples have weights, times that of the row. Classes of the same probability and weight
    share one object.
    """
    problem = block.problem
    classes, smoothing = problem.classes, Fraction(float(problem.objective.label_smoothing))
    target = [0.0] * classes
    if block.soft is not None:
        target = block.soft[place].tolist()
    elif block.index is not None:
        target[block.index[place]] = 1.0
    else:
        return [Fraction(0)] * classes
    weight = [1.0] * classes if problem.weight is None else problem.weight.tolist()
    pairs = list(zip(target, weight, strict=True))
    own = exact_weight(block, place)
    mass = {
        (q, w): own * Fraction(w) * ((1 - smoothing) * Fraction(q) + smoothing / classes)
        for q, w in set(pairs)
    }
    return [mass[pair] for pair in pairs]


def exact_weight(block: Block, place: int) -> Fraction:
    """What all that a row of a block adds is multiplied by."""
    return Fraction(1 if block.weights is None else float(block.weights[place]))


def exact_divisors(problem: Problem) -> tuple[Fraction, Fraction]:
    """What the sums of the loss and of the z-loss are divided by, unrounded; 1 for no mean."""
    divisors, weight = problem.divisors, problem.weight
    if divisors.shares is not None:
        return divisors.of_shares
    z_divisor = Fraction(divisors.z_losses or 1.0)
    if divisors.counts is None or weight is None:
        return Fraction(divisors.losses or 1.0), z_divisor
    pairs = zip(weight.tolist(), divisors.counts.tolist(), strict=True)
    return sum((Fraction(w) * n for w, n in pairs if n), Fraction(0)), z_divisor


class RationalRow:
    """One row of a block, every number a double or a fraction of them.

    unmasked: the classes whose logit is not −inf. mass: y of each class, with the sample's weight
    in it, which z_loss is multiplied by too. divisor, z_divisor: what the losses and the z-losses
    of the problem are divided by, as `exact_divisors` has them.
    """

    def __init__(self, block: Block, place: int, divisors: tuple[Fraction, Fraction]) -> None:
        objective = block.problem.objective
        self.logits: list[float] = block.logits[place].tolist()
        self.unmasked = [i for i, z in enumerate(self.logits) if z > -math.inf]
        self.mass = exact_mass(block, place)
        self.divisor, self.z_divisor = divisors
        self.temperature = Fraction(float(objective.temperature))
        self.softcap = None if objective.softcap is None else float(objective.softcap)
        self.weight = exact_weight(block, place)
        self.z_loss = self.weight * Fraction(float(objective.z_loss))
