"""The derivation of one sample's gradient, step by step, as data: nothing here is printed.

A step is a formula, the same with the sample's numbers in it, and the result. Formulas are written
as in `notation`, numbers as in `pencil`; every number comes from `worked`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cecli.derivation.notation import over
from cecli.derivation.pencil import Number, Pencil
from cecli.derivation.worked import PRECISION, ZERO, Worked, work_out
from cecli.errors import CecliError
from cecli.machine.decimals import wide_context
from cecli.problem.problem import Problem
from cecli.text.numbers import format_given

if TYPE_CHECKING:
    from cecli.gradcheck.check import GradientCheck

MOST_CLASSES = 8
# From here on 1 − ŷ_t is not to be had by subtracting: more than four digits of it are lost.
SATURATED = Decimal("1e-4")


@dataclass(frozen=True)
class Step:
    """One step of a derivation.

    id: its name for programs. text: paragraphs before the formulas, remark: paragraphs after the
    numbers; both are prose with formulas between dollar signs. formula: lines in the notation;
    substitution: lines with the numbers. matrix: rows of numbers in the notation. values: the
    results, plain numbers or lists of them, one for each class.
    """

    id: str
    title: str
    text: tuple[str, ...] = ()
    formula: tuple[str, ...] = ()
    substitution: tuple[str, ...] = ()
    matrix: tuple[tuple[str, ...], ...] = ()
    remark: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Derivation:
    """What is given, in prose with formulas, and the steps; sample: its number in a batch."""

    given: tuple[str, ...]
    steps: tuple[Step, ...]
    sample: int | None


@dataclass(frozen=True, eq=False)
class Case:
    """What every step starts from: the sample, its numbers, and which classes are worked out.

    problem, row: the sample in its batch. own: the sample alone, its loss undivided. shown: the
    classes worked out, all or the most probable. check: of own's gradient, None where the loss is
    infinite.
    """

    problem: Problem
    row: int
    own: Problem
    worked: Worked
    pencil: Pencil
    shown: tuple[int, ...]
    check: GradientCheck | None

    @property
    def true_class(self) -> int | None:
        """t, where all the target's mass is 1 and stands on one class."""
        own = self.own
        if own.index is None or own.objective.label_smoothing or own.weight is not None:
            return None
        return int(own.index[0])

    @property
    def symbol(self) -> str:
        """What the softmax is taken of: the logits z, capped u, or divided by a temperature, v."""
        objective = self.own.objective
        if objective.temperature != 1.0:
            return "v"
        return "z" if objective.softcap is None else "u"

    @property
    def is_rescaled(self) -> bool:
        """Whether the softmax is taken of something else than the logits."""
        return self.symbol != "z"

    @cached_property
    def saturated(self) -> bool:
        """Whether the true class's probability is next to 1."""
        return self.true_class is not None and self.worked.beside[self.true_class] < SATURATED

    @cached_property
    def hidden(self) -> tuple[int, ...]:
        """The classes that are not worked out."""
        shown = set(self.shown)
        return tuple(i for i in range(self.own.classes) if i not in shown)

    def number(self, quantity: str, value: Decimal) -> Number:
        """A number, to be written in an equation."""
        return Number(quantity, value)

    def typed(self, quantity: str, value: float) -> Number:
        """A number that somebody typed, to be written as they did."""
        return Number(quantity, Decimal(value), format_given(float(value), self.pencil.digits))

    def logit(self, i: int) -> Number:
        """z_i as it was typed."""
        return self.typed("z", float(self.own.rows[0, i]))

    def terms(self, quantity: str, values: list[Decimal]) -> list[Number]:
        """The numbers of the classes worked out, and as one more what the others come to."""
        numbers = [Number(quantity, values[i]) for i in self.shown]
        if self.hidden:
            numbers.append(Number(quantity, sum((values[i] for i in self.hidden), ZERO)))
        return numbers

    def sum_of_others(
        self, symbol: str, quantity: str, values: list[Decimal], total: Number
    ) -> str:
        """The true class left out, the sum of the others: symbols where they say it, else terms."""
        t = self.true_class
        classes = [i for i in self.shown if i != t and values[i]]
        rest = sum((values[i] for i in self.hidden), ZERO)
        if len(classes) + bool(rest) < 2:
            name = f"{symbol}_{classes[0]} = " if classes else ""
            return name + self.pencil.write(quantity, total.value)
        terms = [Number(quantity, values[i]) for i in classes]
        return self.pencil.add([*terms, Number(quantity, rest)] if rest else terms, total)

    def others(self) -> tuple[str, ...]:
        """A remark on the last term of a sum, where not all classes are worked out."""
        count = len(self.hidden)
        if not count:
            return ()
        which = "the class" if count == 1 else f"the {count:,} classes"
        return (f"The last term is what {which} not shown come{'s' if count == 1 else ''} to.",)


def own_problem(problem: Problem, sample: int | None) -> Problem:
    """One sample of a problem as a problem of its own, with the batch's objective.

    sample: its row, counted from 0 in the order of the batch; None is the first. Raises CecliError
    where there is no such sample, or where it does not count.
    """
    count, row = problem.samples, sample or 0
    if row >= count:
        valid = "there is one sample, 0" if count == 1 else f"the samples are 0 to {count - 1}"
        raise CecliError(f"sample {row} is out of range: {valid if count else 'there are none'}")
    problem.block(row, row + 1)  # what is wrong with its numbers is said of this sample
    own = problem.only(np.array([row]), divided=False)
    if not own.kept[0]:
        raise CecliError(
            f"sample {row} is ignored, so that its loss and gradient are 0: "
            "choose another one with --sample"
        )
    target = own.target_rows[0]
    is_mean = problem.batch_shape and problem.objective.reduction == "mean"
    weights = problem.weight if is_mean and target.ndim == 0 else None
    if weights is not None and not weights[target]:
        raise CecliError(
            f"the true class of sample {row} has the weight 0, so that its own mean is undefined: "
            "choose another one with --sample, or --reduction sum"
        )
    objective = replace(problem.objective, axis=-1, ignore_index=None)
    return Problem(own.logits[0], target, objective)


def undivided(own: Problem) -> Problem:
    """The same sample, its loss not divided by anything."""
    return Problem(own.logits, own.target, replace(own.objective, reduction="sum"))


def derive(
    problem: Problem,
    sample: int | None,
    check: GradientCheck | None,
    *,
    labels: tuple[str, ...] | None = None,
    digits: int = 6,
    top: int = MOST_CLASSES,
) -> Derivation:
    """The steps from a sample's logits to its gradient, and what the batch makes of it.

    check: the finite differences of the sample's own, undivided loss; None where it is infinite.
    digits: after the point. top: at most so many classes are worked out, the target among them.
    Raises CecliError as `own_problem` does.
    """
    from cecli.derivation.backward import backward
    from cecli.derivation.closing import closing
    from cecli.derivation.forward import forward

    own = undivided(own_problem(problem, sample))
    with localcontext(wide_context(PRECISION)):
        worked = work_out(own)
        case = Case(
            problem=problem,
            row=sample or 0,
            own=own,
            worked=worked,
            pencil=Pencil(digits),
            shown=_shown(worked, top),
            check=check,
        )
        steps = forward(case)
        steps += backward(case) + closing(case)
        given = _given(case, labels)
    return Derivation(given, tuple(steps), case.row if problem.batch_shape else None)


def _shown(worked: Worked, top: int) -> tuple[int, ...]:
    """All classes where they are few, else the target and the most probable ones."""
    classes = range(len(worked.target))
    if len(classes) <= top:
        return tuple(classes)
    target = max(classes, key=worked.target.__getitem__)
    others = sorted((i for i in classes if i != target), key=lambda i: -worked.scaled[i])
    return tuple(sorted([target, *others[: top - 1]]))


def _given(case: Case, labels: tuple[str, ...] | None) -> tuple[str, ...]:
    own = case.own
    logits = [f"$z_{i} = {case.pencil.given(case.logit(i))}$" for i in case.shown]
    more = f", and {len(case.hidden):,} more" if case.hidden else ""
    where = f"Sample {case.row} of {case.problem.samples:,}. " if case.problem.batch_shape else ""
    count = f"{own.classes:,} class{'es' if own.classes != 1 else ''}"
    given = [f"{where}Given are the logits of {count}, {', '.join(logits)}{more}; {_target(case)}."]
    if labels is not None:
        names = ", ".join(f"{i} is {_printable(labels[i])}" for i in case.shown)
        given.append(f"The classes: {names}.")
    masked = int(np.isneginf(own.rows).sum())
    if masked:
        given.append(
            "A logit of −inf masks its class: its probability is 0, and no sum has a part of it."
        )
    wanted = "Wanted is $∂L/∂z_i$: how fast the loss $L$ grows with each logit."
    return (*given, wanted)


def _target(case: Case) -> str:
    if case.own.index is not None:
        return f"the true class is $t = {int(case.own.index[0])}$"
    soft = np.asarray(case.own.soft)[0]
    name = "y" if not (case.own.objective.label_smoothing or case.own.weight is not None) else "q"
    shown = [f"${name}_{i} = {case.pencil.given(case.typed('y', soft[i]))}$" for i in case.shown]
    return f"the target is a probability for each class, {', '.join(shown)}"


def _printable(label: str) -> str:
    """A label that can do no harm: no control characters, and none that begins a formula."""
    return "".join(c if c.isprintable() and c != "$" else "·" for c in label)


def plain_number(value: Decimal) -> float:
    """A value for programs: the nearest double."""
    return float(value) + 0.0


def plain_numbers(values: list[Decimal]) -> list[float]:
    """Values for programs: the nearest doubles."""
    return [plain_number(value) for value in values]


def quotient_rule_of(k: str, i: str) -> str:
    """The derivative of a_k / S by the quotient rule, and that as a product of shares."""
    share = over(f"a_{k}", "S")
    if k == i:
        return f"{over(f'a_{k} · S − a_{k} · a_{k}', 'S²')} = {share} · {over(f'S − a_{k}', 'S')}"
    return f"{over(f'0 · S − a_{k} · a_{i}', 'S²')} = −{share} · {over(f'a_{i}', 'S')}"
