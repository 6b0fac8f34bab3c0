"""One pass over the blocks of a problem, in doubles: arrays, losses and what is counted of rows.

What a block comes to is handed on when the blocks before it were, and is forgotten: a batch may be
larger than memory. The formulas stand in `rows`, how no digit is lost in them in `shifted`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cecli.core.rows import grad_rows, log_softmax_rows, loss_rows, softmax_rows, z_loss_rows
from cecli.core.shifted import Shifted, shift
from cecli.core.target import Mass, mass_of
from cecli.core.totals import Part, Totals, tally_of
from cecli.machine.blocks import each_block
from cecli.problem.dtypes import Floats
from cecli.problem.objective import Objective
from cecli.problem.problem import Block, Problem
from cecli.problem.result import CrossEntropy

ArrayName = Literal["softmax", "log_softmax", "grad"]


@dataclass(frozen=True, eq=False)
class Wanted:
    """What is asked of each row.

    array: its row of which array, in the problem's dtype. into: the whole array (N, C) that the
    rows are stored in; without one each block has its own. losses: whether it has a target. worst:
    how many of the highest losses are told; None counts nothing.
    """

    array: ArrayName | None = None
    into: NDArray[Any] | None = None
    losses: bool = True
    worst: int | None = None


def sweep(problem: Problem, wanted: Wanted, jobs: int | None = None) -> Iterator[Part]:
    """The parts of a problem, one for each block, in the order of the rows."""
    unweighted = problem.unweighted()
    if wanted.losses:
        _ = problem.divisor  # what is wrong with it is said before anything is computed

    def work(block: Block) -> Part:
        with np.errstate(all="ignore"):
            return _part_of(block, wanted, unweighted)

    return each_block(problem, work, jobs)


def _part_of(block: Block, wanted: Wanted, unweighted: Problem) -> Part:
    shifted, z_loss = shift(block), block.problem.objective.z_loss
    part = Part(block.start, block.start + len(block.kept))
    mass = mass_of(block) if wanted.losses else None
    if wanted.array is not None:
        place = _place_for(block, wanted.into)
        _store_rows(wanted.array, shifted, mass, block.problem, place)
        part = replace(part, array=place)
    if mass is not None:
        losses = loss_rows(shifted, mass)
        z_losses = z_loss_rows(shifted, z_loss) if z_loss else None
        part = replace(part, losses=losses, z_losses=z_losses)
    if wanted.worst is None or mass is None:
        return part
    plain = None
    if _changes_losses(block.problem.objective):
        plain = loss_rows(shifted, mass_of(replace(block, problem=unweighted)))
    return replace(part, plain=plain, tally=tally_of(block, part.total, wanted.worst))


def _changes_losses(objective: Objective) -> bool:
    return objective.weight is not None or bool(objective.label_smoothing)


def _place_for(block: Block, into: NDArray[Any] | None) -> NDArray[Any]:
    """Where the rows of a block are stored."""
    if into is None:
        return np.empty(block.logits.shape, dtype=block.problem.dtype)
    return into[block.start : block.start + len(block.kept)]


def _store_rows(
    name: ArrayName, shifted: Shifted, mass: Mass | None, problem: Problem, place: NDArray[Any]
) -> None:
    """Store an array's rows in place."""
    if name == "softmax":
        softmax_rows(shifted, place)
    elif name == "log_softmax":
        log_softmax_rows(shifted, place)
    elif mass is None:
        raise ValueError("a gradient needs a target, as the losses do")
    else:
        grad_rows(shifted, mass, problem, place)


# --- Of a whole problem ---------------------------------------------------------------------------


def totals_of(problem: Problem, worst: int = 0) -> Totals:
    """The totals of all rows."""
    totals = Totals(worst)
    for part in sweep(problem, Wanted(worst=worst)):
        totals.add(part)
    return totals


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
