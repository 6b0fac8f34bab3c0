"""Whole arrays and results of a problem, in doubles.

The formulas stand in `rows`, how no digit is lost in them in `shifted`.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.core.sweep import ArrayName, Totals, Wanted, sweep
from cecli.problem.dtypes import Floats
from cecli.problem.problem import Problem
from cecli.problem.result import CrossEntropy


def softmax_of(problem: Problem) -> NDArray[Any]:
    """`softmax` of a problem that is checked already."""
    return _array_of(problem, "softmax")


def log_softmax_of(problem: Problem) -> NDArray[Any]:
    """`log_softmax` of a problem that is checked already."""
    return _array_of(problem, "log_softmax")


def _array_of(problem: Problem, name: ArrayName) -> NDArray[Any]:
    array = np.empty((problem.samples, problem.classes), dtype=problem.dtype)
    deque(sweep(problem, Wanted(name, array, losses=False)), maxlen=0)
    return problem.restore(array)


def solve(problem: Problem) -> CrossEntropy:
    """`cross_entropy` of a problem that is checked already."""
    divisor, z_loss_divisor = problem.divisor, problem.z_loss_divisor
    grad = np.empty((problem.samples, problem.classes), dtype=problem.dtype)
    each, totals = np.empty(problem.samples), Totals(worst=0)
    for part in sweep(problem, Wanted("grad", grad)):
        each[part.start : part.start + len(part.total)] = part.total
        totals.add(part)
    losses = each.reshape(problem.batch_shape)
    return CrossEntropy(
        losses=losses,
        loss=losses if divisor is None else reduced_loss(problem, totals),
        grad=problem.restore(grad),
        divisor=divisor,
        z_loss_divisor=z_loss_divisor if problem.objective.z_loss else None,
        probabilities=lambda: (softmax_of(problem), log_softmax_of(problem)),
    )


def reduced_loss(problem: Problem, totals: Totals) -> float:
    """The loss of all rows, by whatever the problem divides it."""
    loss = totals.losses.total(problem.divisor or 1.0)
    return loss + totals.z_losses.total(problem.z_loss_divisor or 1.0)


def losses_of(problem: Problem) -> tuple[Floats, Floats]:
    """(N,) the cross-entropy and the z-loss of each row, not yet divided by anything."""
    losses, z_losses = np.empty(problem.samples), np.zeros(problem.samples)
    for part in sweep(problem, Wanted()):
        rows = slice(part.start, part.start + len(part.total))
        losses[rows] = part.losses
        if part.z_losses is not None:
            z_losses[rows] = part.z_losses
    return losses, z_losses
