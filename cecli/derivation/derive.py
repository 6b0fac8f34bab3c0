"""The derivation of one sample's gradient, from its logits on."""

from __future__ import annotations

from dataclasses import replace
from decimal import localcontext
from typing import TYPE_CHECKING

import numpy as np

from cecli.derivation.backward import backward
from cecli.derivation.closing import closing
from cecli.derivation.forward import forward
from cecli.derivation.model import MOST_CLASSES, ClassResult, Derivation, Example
from cecli.derivation.numbers import PRECISION, Pencil
from cecli.errors import CecliError
from cecli.exact.row import DecimalRow, decimal_row
from cecli.machine.decimals import wide_context
from cecli.problem.problem import Problem
from cecli.text.messages import printable

if TYPE_CHECKING:
    from cecli.gradcheck.check import GradientCheck


def own_problem(problem: Problem, sample: int | None) -> Problem:
    """One sample of a problem as a problem of its own, with the batch's objective.

    sample: its row, counted from 0 in the order of the batch; None is the first. Raises CecliError
    where there is no such sample, or where it does not count.
    """
    count, row = problem.samples, sample or 0
    if row >= count:
        valid = "there is one sample, 0" if count == 1 else f"the samples are 0 to {count - 1}"
        raise CecliError(f"sample {row} is out of range: {valid if count else 'there are none'}")
    if problem.sample_weight is not None or problem.objective.divisor is not None:
        raise CecliError("weights of samples and a divisor of one's own are not explained")
    block = problem.block(row, row + 1)  # what is wrong with its numbers is said of this sample
    if not block.all_kept and not block.kept[0]:
        raise CecliError(
            f"sample {row} is ignored, so that its loss and gradient are 0: "
            "choose another one with --sample"
        )
    is_mean = problem.batch_shape and problem.objective.reduction == "mean"
    weighs_all = problem.weight is None or block.index is None or problem.weight[block.index[0]]
    if is_mean and not weighs_all:
        raise CecliError(
            f"the true class of sample {row} has the weight 0, so that its own mean is undefined: "
            "choose another one with --sample, or --reduction sum"
        )
    return problem.sample(row)


def derive(
    problem: Problem,
    sample: int | None,
    own: Problem,
    check: GradientCheck | None,
    *,
    labels: tuple[str, ...] | None = None,
    digits: int = 6,
    top: int = MOST_CLASSES,
) -> Derivation:
    """The steps from a sample's logits to its gradient, and what the batch makes of it.

    own: what `own_problem` makes of the sample, its loss undivided. check: the finite differences
    of that loss; None where it is infinite. digits: after the point. top: at most so many classes
    are worked out, the target among them.
    """
    with localcontext(wide_context(PRECISION)):
        worked = decimal_row(own.block(0, 1))
        example = Example(
            problem=problem,
            row=sample or 0,
            own=own,
            worked=worked,
            pencil=Pencil(digits),
            shown=_shown(own, worked, top),
            check=check,
        )
        steps = forward(example)
        steps += backward(example) + closing(example)
        numbered = [replace(step, number=number) for number, step in enumerate(steps, 1)]
        return Derivation(
            premises=_premises(example, labels),
            steps=tuple(numbered),
            sample=example.row if problem.batch_shape else None,
            results=tuple(_result(example, i, labels) for i in example.shown),
            more=len(example.hidden),
            true_class=None if own.index is None else example.shown.index(int(own.index[0])),
            loss=example.pencil.write("L", worked.full_loss),
        )


def _result(example: Example, i: int, labels: tuple[str, ...] | None) -> ClassResult:
    worked, pencil = example.worked, example.pencil
    probability, grad = worked.probability[i], worked.grad[i]
    return ClassResult(
        name=str(i) if labels is None else _printable(labels[i]),
        logit=pencil.as_typed(example.logit(i)),
        target=float(worked.target[i]),
        probability=float(probability),
        grad=float(grad),
        texts=(pencil.write("p", probability), pencil.write("g", grad)),
    )


def _shown(own: Problem, worked: DecimalRow, top: int) -> tuple[int, ...]:
    """All classes where they are few, else the target and the most probable ones.

    Of soft targets that is the class of the largest mass; of a class index its own, though weights
    and smoothing may put more on another.
    """
    classes = range(len(worked.target))
    if len(classes) <= top:
        return tuple(classes)
    target = max(classes, key=worked.target.__getitem__)
    if own.index is not None:
        target = int(own.index[0])
    others = sorted((i for i in classes if i != target), key=lambda i: -worked.scaled[i])
    return tuple(sorted([target, *others[: top - 1]]))


def _premises(example: Example, labels: tuple[str, ...] | None) -> tuple[str, ...]:
    own = example.own
    logits = [f"$z_{i} = {example.pencil.as_typed(example.logit(i))}$" for i in example.shown]
    more = f", and {len(example.hidden):,} more" if example.hidden else ""
    where = (
        f"Sample {example.row} of {example.problem.samples:,}. "
        if example.problem.batch_shape
        else ""
    )
    count = f"{own.classes:,} class{'es' if own.classes != 1 else ''}"
    premises = [
        f"{where}Given are the logits of {count}, {', '.join(logits)}{more}; {_target(example)}."
    ]
    if labels is not None:
        names = ", ".join(f"{i} is {_printable(labels[i])}" for i in example.shown)
        premises.append(f"The classes: {names}.")
    masked = int(np.isneginf(own.rows).sum())
    if masked:
        premises.append(
            "A logit of −inf masks its class: its probability is 0, and no sum has a part of it."
        )
    wanted = "Wanted is $∂L/∂z_i$: how fast the loss $L$ grows with each logit."
    return (*premises, wanted)


def _target(example: Example) -> str:
    if example.own.index is not None:
        return f"the true class is $t = {int(example.own.index[0])}$"
    soft = np.asarray(example.own.soft)[0]
    name = (
        "y"
        if not (example.own.objective.label_smoothing or example.own.weight is not None)
        else "q"
    )
    shown = [
        f"${name}_{i} = {example.pencil.as_typed(example.typed('y', soft[i]))}$"
        for i in example.shown
    ]
    return f"the target is a probability for each class, {', '.join(shown)}"


def _printable(label: str) -> str:
    """A label that can do no harm: no control characters, and none that begins a formula."""
    return printable(label).replace("$", "·")
