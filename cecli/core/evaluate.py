"""One pass over the blocks of a problem, in doubles: arrays, losses and what is counted of rows.

What a block comes to is handed on when the blocks before it were, and is forgotten: a batch may be
larger than memory. The formulas stand in `rows`, and once more, compiled, in `machine/kernel.c`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.core.totals import Part, tally_of
from cecli.machine.blocks import each_block
from cecli.machine.compiled import kernel
from cecli.machine.elementary import fold, log
from cecli.machine.plan import (
    BEYOND,
    FINE,
    OPTIONAL,
    RARE,
    UNUSABLE,
    LogitRows,
    MassName,
    Plan,
    Results,
)
from cecli.problem.dtypes import Floats, Integers
from cecli.problem.objective import Objective
from cecli.problem.problem import Block, Problem
from cecli.problem.wanted import Predictions, RowsName, Wanted

SMALLEST_NORMAL = 2.0**-1022
FARTHEST_WEIGHTED = -4000.0  # e to that is 0 whatever the weights and the divisor are


def sweep(problem: Problem, wanted: Wanted, jobs: int | None = None) -> Iterator[Part]:
    """The parts of a problem, one for each block, in the order of the rows."""
    return each_block(problem, part_of(problem, wanted), jobs, checked=False)


def part_of(problem: Problem, wanted: Wanted) -> Callable[[Block], Part]:
    """What makes the part of a block of the problem, which need not be checked."""
    if wanted.losses:
        _ = problem.divisors  # what is wrong with them is said before anything is computed
    plans = _Plans.of(problem, wanted)

    def work(block: Block) -> Part:
        return _part_of(block, wanted, plans)

    return work


class _Plans(NamedTuple):
    """How the rows are worked out for what is wanted of them.

    arrays: one for each array, or one without; the first gives the losses too. unweighted: for
    those without weights and smoothing, where they differ. softmax, first: for the first rows.
    """

    arrays: list[Plan]
    unweighted: Plan | None
    softmax: Plan | None
    first: Plan | None

    @classmethod
    def of(cls, problem: Problem, wanted: Wanted) -> _Plans:
        """The plans for the rows of a problem."""
        names: list[RowsName | None] = [array.name for array in wanted.arrays] or [None]
        losses, first = wanted.losses, wanted.first_array
        counted = wanted.worst is not None and losses
        differ = counted and _changes_losses(problem.objective)
        return cls(
            [
                plan_of(problem, name, losses and (number == 0 or name == "grad"))
                for number, name in enumerate(names)
            ],
            plan_of(problem.unweighted(), None, True) if differ else None,
            plan_of(problem, "softmax", False) if wanted.first else None,
            None if first is None else plan_of(problem, first.name, first.name == "grad"),
        )


def plan_of(problem: Problem, array: RowsName | None, losses: bool) -> Plan:
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


def _part_of(block: Block, wanted: Wanted, plans: _Plans) -> Part:
    start, stop = block.start, block.start + len(block.kept)
    arrays = {
        array: np.empty(block.logits.shape, array.dtype) if whole is None else whole[start:stop]
        for array, whole in wanted.arrays.items()
    }
    has_plain = plans.unweighted is not None and block.index is not None
    places: list[NDArray[Any] | None] = [*arrays.values()] or [None]
    results = _weighted(
        plans.arrays[0], block, places[0], plain=has_plain, log_sum_exp=wanted.log_sum_exp
    )
    for plan, place in zip(plans.arrays[1:], places[1:], strict=True):
        _weighted(plan, block, place)
    part = Part(start, stop, arrays=arrays)
    if wanted.logits is not None:
        wanted.logits[start:stop] = block.logits
        wanted.logits[start:stop][~block.kept] = 0.0
    if results.log_sum_exp is not None:
        part = replace(part, log_sum_exp=np.where(block.kept, results.log_sum_exp, np.nan))
    if start < wanted.first:
        part = _with_first_rows(part, block, wanted, plans)
    if not wanted.losses:
        return part
    beyond = _overflowing(plans.arrays[0], block, results, block.weights)
    part = replace(part, losses=results.losses, z_losses=results.z_losses, beyond=beyond)
    if wanted.worst is None:
        return part
    plain = results.plain
    if plans.unweighted is not None and not has_plain:
        unweighted = evaluate(plans.unweighted, block)
        plain = unweighted.losses
        own = _overflowing(plans.unweighted, block, unweighted, None)
        beyond |= {"plain": own["losses"]} if own else {}
    entropies = None if block.soft is None else _entropies(block.soft, block.kept)
    tally = tally_of(block, part.total, wanted.worst)
    return replace(part, plain=plain, entropies=entropies, tally=tally)


def _overflowing(
    plan: Plan, block: Block, results: Results, weights: Floats | None
) -> dict[str, Floats]:
    """Those losses that are infinite as doubles, over 2^BEYOND, by the names of the results.

    weights: of the samples, which the losses are multiplied by already: one that is a double after
    all is put in its place.
    """
    found: dict[str, Floats] = {}
    for column, name in enumerate(("losses", "z_losses", "plain")):
        numbers: Floats | None = getattr(results, name)
        if numbers is None or not np.isinf(numbers).any():
            continue
        which = np.flatnonzero(np.isinf(numbers))
        from cecli.core import rare

        own = replace(Results.room(len(which), None), beyond=np.empty((len(which), 3)))
        rare.work_out(plan, _rows(block).part(which), own)
        beyond = np.asarray(own.beyond)[:, column]
        with np.errstate(all="ignore"):
            if weights is not None and name != "plain":
                beyond = beyond * weights[which]
            numbers[which] = np.ldexp(beyond, BEYOND)
        found[name] = beyond[np.isinf(numbers[which])]
    return found


def _rows(block: Block) -> LogitRows:
    """The rows of a block, to be worked out with its target."""
    kept = None if block.all_kept else block.kept
    return LogitRows(logits=block.logits, kept=kept, column=block.index, soft=block.soft)


def _entropies(soft: Floats, kept: NDArray[np.bool_]) -> Floats:
    """(n,) H(q) = −Σ q log q, 0 where a row is ignored."""
    terms = -soft * log(np.where(soft > 0.0, soft, 1.0))
    return np.where(kept, np.add(*fold(terms)), 0.0)


def _with_first_rows(part: Part, block: Block, wanted: Wanted, plans: _Plans) -> Part:
    """The part with what is told of the first rows alone."""
    if part.stop > wanted.first:
        block = block.problem.block(part.start, wanted.first, checked=False)
    rows = None
    if plans.first is not None and wanted.first_array is not None:
        rows = np.empty(block.logits.shape, wanted.first_array.dtype)
        _weighted(plans.first, block, rows)
    softmax = np.empty(block.logits.shape)
    if plans.softmax is not None:
        evaluate(plans.softmax, block, softmax)
    each = np.arange(len(softmax))
    predicted = np.where(block.kept, block.logits.argmax(axis=1), 0)
    probability = softmax[each, predicted]
    predictions = Predictions(
        predicted=predicted,
        probability=probability.astype(block.problem.dtype),
        predicted_probability=probability,
        target_probability=None if block.index is None else softmax[each, block.index],
    )
    return replace(part, predictions=predictions, first_rows=rows)


def _weighted(
    plan: Plan,
    block: Block,
    place: NDArray[Any] | None,
    *,
    plain: bool = False,
    log_sum_exp: bool = False,
) -> Results:
    """`evaluate`, and all that a sample adds multiplied by its weight."""
    weights = None if plan.mass == "none" else block.weights
    if weights is None:
        return evaluate(plan, block, place, plain=plain, log_sum_exp=log_sum_exp)
    # A weighted gradient is rounded to its type when it is weighted.
    is_grad = plan.array == "grad" and place is not None
    rows = np.empty(block.logits.shape) if is_grad else place
    results = evaluate(plan, block, rows, plain=plain, log_sum_exp=log_sum_exp)
    with np.errstate(all="ignore"):
        _weigh(plan, block, "losses", results.losses, weights)
        if results.z_losses is not None:
            _weigh(plan, block, "z_losses", results.z_losses, weights)
        if is_grad and place is not None and rows is not None:
            _weigh(plan, block, "array", rows, weights)
            place[...] = rows + 0.0  # a zero is never −0
    return results


def _weigh(plan: Plan, block: Block, name: str, numbers: NDArray[Any], weights: Floats) -> None:
    """Multiply one of the results, (n,) or (n, C), by the weights of the rows."""
    which = _losing_digits(plan, block, name, numbers, weights)
    numbers *= weights if numbers.ndim == 1 else weights[:, None]
    if len(which):
        numbers[which] = _weighted_widely(plan, block, name, which)


def _losing_digits(
    plan: Plan, block: Block, name: str, numbers: NDArray[Any], weights: Floats
) -> Integers:
    """Which rows' numbers, (n,) or (n, C), have not the digits that their weight is to multiply.

    That is so of what is subnormal, or infinite, before it is weighted; and of a 0 of which a large
    weight makes something else.
    """
    size = np.abs(numbers.reshape(len(weights), -1))
    if size.min(initial=1.0) >= SMALLEST_NORMAL and size.max(initial=1.0) < np.inf:
        return np.empty(0, np.int64)
    counted = block.kept & (weights != 1.0)
    lost = (size < SMALLEST_NORMAL) & (size > 0.0) | np.isinf(size) & (weights < 1.0)[:, None]
    found = lost.any(axis=1) & counted
    nothing = np.flatnonzero((size == 0.0).any(axis=1) & counted & (weights > 1.0) & ~found)
    if name != "z_losses" and len(nothing):
        found[nothing] = _is_more_than_nothing(plan, block, size[nothing] == 0.0, nothing)
    else:
        found[nothing] = True
    return np.flatnonzero(found)


def _is_more_than_nothing(
    plan: Plan, block: Block, zeros: NDArray[np.bool_], which: Integers
) -> NDArray[np.bool_]:
    """Which of some rows have a 0 that is a number too small for a double.

    It is none at a class that is masked, or next to such alone, or where the target's weight is 0.
    """
    logits = np.asarray(block.logits[which], np.float64)
    below = (logits - logits.max(axis=1, keepdims=True)) / plan.temperature
    near = (below > FARTHEST_WEIGHTED) | (logits > -np.inf) & (plan.softcap is not None)
    several: NDArray[np.bool_] = near.sum(axis=1) > 1
    if block.index is not None and plan.weight is not None and not plan.smoothing:
        several &= plan.weight[block.index[which]] > 0.0
    several |= bool(plan.z_loss)
    if zeros.shape[1] != plan.classes:
        return several
    matters = near & several[:, None]
    if block.soft is not None:
        matters |= ~near & (block.soft[which] > 0.0)
    elif block.index is not None:
        each, column = np.arange(len(which)), block.index[which]
        matters[each, column] |= ~near[each, column]
    return np.asarray((zeros & matters).any(axis=1))


def _weighted_widely(plan: Plan, block: Block, name: str, which: Integers) -> Floats:
    """One of the results of some rows, weighted before it is a double."""
    from cecli.core import rare

    rows = replace(_rows(block), weights=block.weights).part(which)
    array = np.empty((len(which), plan.classes)) if name == "array" else None
    own = Results.room(len(which), array, *({name} & {"z_losses"}))
    rare.work_out(plan, rows, own)
    return np.asarray(getattr(own, name))


def evaluate(
    plan: Plan,
    block: Block,
    array: NDArray[Any] | None = None,
    *,
    plain: bool = False,
    log_sum_exp: bool = False,
) -> Results:
    """What the rows of a block come to; those of an array are stored in place.

    plain: whether the losses without weights and smoothing are asked for; log_sum_exp: likewise.

    By the compiled kernel where there is one, else by the definition: the bits are the same.
    """
    asked = {"z_losses": bool(plan.z_loss), "plain": plain, "log_sum_exp": log_sum_exp}
    names = [name for name, is_asked in asked.items() if is_asked]
    rows = _rows(block)
    if plan.mass == "none":
        rows = replace(rows, column=None, soft=None)
    results = Results.room(len(rows), array, *names)
    with np.errstate(all="ignore"):
        rare_ones = _work_out(plan, rows, results)
        if len(rare_ones):
            _put_each_alone(plan, rows, results, rare_ones)
    if (results.flags == UNUSABLE).any():
        block.refuse()
    return results


def _put_each_alone(plan: Plan, rows: LogitRows, results: Results, which: Integers) -> None:
    """Fill some rows of each result as if it alone were asked for.

    What the common arithmetic cannot do for one result must leave no trace in another, whose bits
    are those that it has where the first is not asked for.
    """
    from cecli.core import rare

    own_rows = rows.part(which)
    without_target = replace(own_rows, column=None, soft=None)
    results.flags[which] = FINE
    for own_plan, names in _alone(plan, results):
        array = None
        if results.array is not None and "array" in names:
            array = np.empty((len(which), plan.classes), results.array.dtype)
        own = Results.room(len(which), array, *(name for name in names if name in OPTIONAL))
        asked = without_target if own_plan.mass == "none" else own_rows
        rare_ones = _work_out(own_plan, asked, own)
        if len(rare_ones):
            rare.put(own_plan, asked, own, rare_ones)
        for name in names:
            getattr(results, name)[which] = getattr(own, name)
        results.flags[which] = np.maximum(results.flags[which], own.flags)


def _alone(plan: Plan, results: Results) -> list[tuple[Plan, list[str]]]:
    """For each of the results a plan that asks for nothing else, and what it gives."""
    undivided = replace(plan, array=None, divisor=1.0, z_divisor=1.0)
    plain = replace(undivided, z_loss=0.0, smoothing=0.0, weight=None)
    plans: list[tuple[Plan, list[str]]] = []
    if results.array is not None:
        is_grad = plan.array == "grad"
        plans.append(
            (plan if is_grad else replace(plain, array=plan.array, mass="none"), ["array"])
        )
    if results.log_sum_exp is not None:
        plans.append((replace(plain, mass="none"), ["log_sum_exp"]))
    if plan.mass == "none":
        return plans
    losses = ["losses"] if results.z_losses is None else ["losses", "z_losses"]
    plans.append((undivided, losses))
    if results.plain is not None:
        plans.append((replace(plain, mass="one-hot"), ["plain"]))
    return plans


def _work_out(plan: Plan, rows: LogitRows, results: Results) -> Integers:
    """Fill the results; which rows the common arithmetic has left, all where options rule it out.

    By the compiled kernel where there is one, else by the definition.
    """
    if not plan.in_range:
        return np.arange(len(rows))
    compiled = kernel()
    if compiled is not None:
        compiled.work_out(plan, rows, results)
    else:
        from cecli.core.rows import work_out

        work_out(plan, rows, results)
    return np.flatnonzero(results.flags == RARE)


def _changes_losses(objective: Objective) -> bool:
    weights = (objective.weight, objective.sample_weight)
    return any(weight is not None for weight in weights) or bool(objective.label_smoothing)


# --- Of a whole problem ---------------------------------------------------------------------------


def losses_of(problem: Problem) -> tuple[Floats, Floats]:
    """(N,) the cross-entropy and the z-loss of each row, not yet divided by anything."""
    losses, z_losses = np.empty(problem.samples), np.zeros(problem.samples)
    for part in sweep(problem, Wanted()):
        losses[part.start : part.stop] = part.losses
        if part.z_losses is not None:
            z_losses[part.start : part.stop] = part.z_losses
    return losses, z_losses
