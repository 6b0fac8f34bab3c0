"""One pass over the blocks of a problem, in doubles: arrays, losses and what is counted of rows.

What a block comes to is handed on when the blocks before it were, and is forgotten: a batch may be
larger than memory. The formulas stand in `rows`, and once more, compiled, in `machine/kernel.c`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.core import rare
from cecli.core.rows import work_out as definition
from cecli.core.totals import Part, Totals, tally_of
from cecli.machine.blocks import each_block
from cecli.machine.compiled import kernel
from cecli.machine.plan import RARE, UNUSABLE, ArrayName, MassName, Plan, Results, Rows
from cecli.problem.dtypes import Floats
from cecli.problem.objective import Objective
from cecli.problem.problem import Block, Problem
from cecli.problem.result import CrossEntropy


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
    return each_block(problem, part_of(problem, wanted), jobs, checked=False)


def part_of(problem: Problem, wanted: Wanted) -> Callable[[Block], Part]:
    """What makes the part of a block of the problem, which need not be checked."""
    if wanted.losses:
        _ = problem.divisor  # what is wrong with it is said before anything is computed
    plan = plan_of(problem, wanted.array, wanted.losses)
    unweighted = None
    if wanted.worst is not None and wanted.losses and _changes_losses(problem.objective):
        unweighted = plan_of(problem.unweighted(), None, True)

    def work(block: Block) -> Part:
        return _part_of(block, wanted, plan, unweighted)

    return work


def plan_of(problem: Problem, array: ArrayName | None, losses: bool) -> Plan:
    """How the rows of a problem are worked out."""
    objective = problem.objective
    mass: MassName = "none"
    if losses and problem.has_target:
        mass = "soft"
        if problem.indexed:
            mass = "smoothed" if objective.label_smoothing else "one-hot"
    return Plan(
        classes=problem.classes,
        array=array,
        mass=mass,
        temperature=float(objective.temperature),
        softcap=None if objective.softcap is None else float(objective.softcap),
        z_loss=float(objective.z_loss) if losses else 0.0,
        smoothing=float(objective.label_smoothing) if losses else 0.0,
        weight=problem.weight if losses else None,
        divisor=(problem.divisor or 1.0) if array == "grad" else 1.0,
        z_divisor=(problem.z_loss_divisor or 1.0) if array == "grad" else 1.0,
    )


def _part_of(block: Block, wanted: Wanted, plan: Plan, unweighted: Plan | None) -> Part:
    place = None if wanted.array is None else _place_for(block, wanted.into)
    has_plain = unweighted is not None and block.index is not None
    weights = block.weights if wanted.losses else None
    # Weighted numbers are rounded to the problem's type when they are weighted.
    rows = place if weights is None or place is None else np.empty(place.shape)
    results = evaluate(plan, block, rows, plain=has_plain)
    if weights is not None:
        _weigh(results, weights, place)
    part = Part(block.start, block.start + len(block.kept), array=place)
    if not wanted.losses:
        return part
    part = replace(part, losses=results.losses, z_losses=results.z_losses)
    if wanted.worst is None:
        return part
    plain = None
    if unweighted is not None:
        plain = results.plain if has_plain else evaluate(unweighted, block).losses
    return replace(part, plain=plain, tally=tally_of(block, part.total, wanted.worst))


def evaluate(
    plan: Plan, block: Block, array: NDArray[Any] | None = None, *, plain: bool = False
) -> Results:
    """What the rows of a block come to; those of an array are stored in place.

    plain: whether the losses without weights and smoothing are asked for.

    By the compiled kernel where there is one, else by the definition: the bits are the same.
    """
    names = [*(["z_losses"] if plan.z_loss else []), *(["plain"] if plain else [])]
    kept = None if block.all_kept else block.kept
    if plan.mass == "none":
        rows = Rows(logits=block.logits, kept=kept)
    else:
        rows = Rows(logits=block.logits, kept=kept, column=block.index, soft=block.soft)
    results = Results.room(len(rows), array, *names)
    with np.errstate(all="ignore"):
        if plan.in_range:
            compiled = kernel()
            (definition if compiled is None else compiled.work_out)(plan, rows, results)
        else:
            rare.work_out(plan, rows, results)
    if (results.flags == UNUSABLE).any():
        block.refuse()
    rare_ones = np.flatnonzero(results.flags == RARE)
    if len(rare_ones):
        with np.errstate(all="ignore"):
            rare.put(plan, rows, results, rare_ones)
    return results


def _weigh(results: Results, weights: Floats, place: NDArray[Any] | None) -> None:
    """Multiply all that the samples add by their weights, the rows of the array into place."""
    with np.errstate(all="ignore"):
        results.losses[...] *= weights
        if results.z_losses is not None:
            results.z_losses[...] *= weights
        if results.array is not None and place is not None:
            place[...] = results.array * weights[:, None] + 0.0  # a zero is never −0


def _changes_losses(objective: Objective) -> bool:
    weights = (objective.weight, objective.sample_weight)
    return any(weight is not None for weight in weights) or bool(objective.label_smoothing)


def _place_for(block: Block, into: NDArray[Any] | None) -> NDArray[Any]:
    """Where the rows of a block are stored."""
    if into is None:
        return np.empty(block.logits.shape, dtype=block.problem.dtype)
    return into[block.start : block.start + len(block.kept)]


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
