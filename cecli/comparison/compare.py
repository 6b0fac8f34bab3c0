"""Somebody's gradient or loss against the exact one: how good it is, and what went wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cecli.comparison.grade import GRADES, Grade, Graded, Marks, graded, loss_allowance, mark
from cecli.comparison.mistake import TRANSPOSED, Diagnosis
from cecli.comparison.survey import (
    Gradient,
    Reference,
    Survey,
    confirmed,
    losses_by,
    right_rows,
    sample_of,
    survey,
)
from cecli.core.probabilities import From, logits_from
from cecli.errors import CecliError
from cecli.input.candidate import Candidate, candidate_of_array
from cecli.machine.float_mode import in_standard_mode
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem

if TYPE_CHECKING:
    from cecli.api import Pass
    from cecli.comparison.evidence import Evidence
    from cecli.gradcheck.differences import ProgressCallback

# How many of the worst numbers are kept, as a notebook shows them.
MOST_SHOWN = 10


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """What `compare` returns.

    passed: whether all that was given is acceptable or better. grade: of the worst of it. grad,
    loss: how each was graded, None where it was not given. rtol: as it was given. diagnosis: the
    mistakes that explain what is wrong, the simplest first; more than one where they cannot be told
    apart. description: lines on a wrong gradient that nothing explains. max_abs_error,
    max_rel_error, max_ulp_error, worst, off, total: the figures of the gradient, or of the loss
    where that alone was given. run: the pass that found what was compared with.
    """

    passed: bool
    grade: Grade
    diagnosis: tuple[Diagnosis, ...]
    description: tuple[str, ...]
    grad: Graded | None
    loss: Graded | None
    rtol: float | None
    run: Pass | None

    @property
    def figures(self) -> Graded:
        """Those of the gradient, or of the loss where that alone was given."""
        figures = self.grad or self.loss
        if figures is None:
            raise CecliError(NOTHING_GIVEN)
        return figures

    @property
    def max_abs_error(self) -> float:
        """The largest absolute difference."""
        return self.figures.max_abs_error

    @property
    def max_rel_error(self) -> float:
        """The largest difference in relation to the exact value."""
        return self.figures.max_rel_error

    @property
    def max_ulp_error(self) -> float:
        """The largest difference in units in the last place, or of the last digit typed."""
        return self.figures.max_ulp_error

    @property
    def worst(self) -> tuple[int, ...]:
        """Index of what is furthest off, measured by what is allowed."""
        return self.figures.worst

    @property
    def off(self) -> int:
        """How many are below acceptable."""
        return self.figures.off

    @property
    def total(self) -> int:
        """How many there are."""
        return self.figures.total

    def __repr__(self) -> str:
        """The verdict in a few lines, for the message of a failed test."""
        ids = ", ".join(dict.fromkeys(found.id for found in self.diagnosis))
        verdict = self.grade if self.passed else self.grade.upper()
        lines = [f"{verdict}: {ids}" if ids else verdict]
        for name, judged in (("gradient", self.grad), ("loss", self.loss)):
            if judged is not None:
                lines.append(f"{name}: {judged}")
        lines += [str(found) for found in self.diagnosis]
        return "\n".join([*lines, *self.description])

    def __reduce__(self) -> tuple[Any, ...]:
        """A comparison can be pickled; what it was compared with stays behind."""
        kept = {**vars(self), "run": None}
        return Comparison, tuple(kept.values())

    def _repr_html_(self) -> str:
        """The same for a notebook, with the numbers that are furthest off."""
        from cecli.text.html import PageColumn, listed, notebook, numbers, paragraph

        head, *lines = repr(self).split("\n")
        pieces = [paragraph(head, "passed" if self.passed else "failed")]
        for judged in (self.grad, self.loss):
            if judged is None or judged.passed or not judged.total:
                continue
            shown = judged.shown.worst(MOST_SHOWN)
            columns = [
                PageColumn("place, row by row", "text", list(map(str, shown.place.tolist()))),
                numbers("yours", shown.candidate.tolist()),
                numbers("exact", shown.right.tolist()),
                numbers("difference", shown.difference.tolist(), 2),
                numbers("allowed", shown.allowed.tolist(), 2),
            ]
            off = [place for place, value in enumerate(shown.excess.tolist()) if value > 1.0]
            pieces.append(listed(columns, off))
        return notebook(*pieces, *map(paragraph, lines))


NOTHING_GIVEN = "nothing to compare: give grad, loss or both"


@in_standard_mode
def compare(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    grad: ArrayLike | None = None,
    loss: ArrayLike | None = None,
    rtol: float | None = None,
    from_: From = "logits",
    **objective: Any,
) -> Comparison:
    """Grade a gradient, a loss or both, and name the mistake that explains what is wrong.

    Args:
        logits, target: as for `cross_entropy`.
        grad: an array of the logits' shape; one of exactly the transposed shape is compared
            transposed, and fails.
        loss: the reduced loss; with reduction "none" one for each sample.
        rtol: the relative error to allow; None is what the precision of the numbers allows. Arrays
            whose values all are float32, float16 or bfloat16 numbers are judged as that type.
        from_, **objective: the options of `cross_entropy`, such as ``weight`` and ``reduction``.

    Returns:
        Comparison: with ``.passed``, ``.grade``, ``.diagnosis`` (the mistakes that explain the
        numbers, the simplest first, each with ``.id``, ``.explanation`` and ``.remedy``) and
        figures of the errors.

    Raises:
        CecliError: for whatever `cross_entropy` refuses, another shape, and nothing to compare.

    Examples:
        >>> import cecli
        >>> comparison = cecli.compare([2.0, 1.0, 0.1], 0, grad=cecli.softmax([2.0, 1.0, 0.1]))
        >>> comparison.passed, comparison.grade
        (False, 'wrong')
        >>> comparison.diagnosis[0].id
        'missing-one-hot'
        >>> cecli.compare([2.0, 1.0, 0.1], 0, loss=0.4170300162778335).grade
        'exact'
    """
    checked = Objective(**objective)
    problem = Problem.of(logits_from(logits, from_, checked.axis), target, checked)
    return compare_candidates(
        problem,
        None if grad is None else candidate_of_array(grad, "grad"),
        None if loss is None else candidate_of_array(loss, "loss"),
        rtol,
    )


def compare_candidates(
    problem: Problem,
    grad: Candidate | None,
    loss: Candidate | None,
    rtol: float | None = None,
    *,
    keep: int = MOST_SHOWN,
    exact: bool = False,
    progress: ProgressCallback | None = None,
) -> Comparison:
    """`compare` of numbers that bring their precision along.

    keep: how many of the worst numbers are shown. exact: whether every right number is correctly
    rounded, even where that changes no grade and no figure, and the loss of a large problem with
    them. progress is told the share of the rows read, from the beginning again where what is wrong
    takes another pass.
    """
    if grad is None and loss is None:
        raise CecliError(NOTHING_GIVEN)
    if rtol is not None and not 0.0 <= rtol < math.inf:
        raise CecliError(f"rtol is {rtol:g}: it must be 0 or more and finite")
    if grad is not None:
        _require_shape(problem, grad)
    # a loss is a number of all rows
    reference = Reference(problem, exact=exact or loss is not None)
    return compare_with(reference, grad, loss, rtol, keep=max(1, keep), progress=progress)


def compare_with(
    reference: Reference,
    grad: Candidate | None,
    loss: Candidate | None,
    rtol: float | None = None,
    *,
    diagnose: bool = True,
    keep: int = MOST_SHOWN,
    progress: ProgressCallback | None = None,
) -> Comparison:
    """`compare_candidates` where the right numbers are known.

    diagnose: look for what explains a wrong result.
    """
    shape, transposed = reference.problem.shape, False
    if grad is not None and grad.shape != shape:
        transposed = True
        unit = None if grad.unit is None else grad.unit.T
        grad = grad.with_values(np.asarray(grad.given).T, unit)
    gradient = None if grad is None else Gradient(reference, grad, rtol)
    each = reference.problem.divisor is None
    diagnosis: tuple[Diagnosis, ...] = ()
    description: tuple[str, ...] = ()
    of_grad = of_loss = None
    with np.errstate(all="ignore"):
        found = survey(reference, gradient, keep=keep, each_loss=each, progress=progress)
        if gradient is not None and found.marks is not None:
            of_grad = _graded_gradient(gradient, found.marks, keep)
            if diagnose and (transposed or not of_grad.passed):
                diagnosis, description = _explained(gradient, found, of_grad, transposed, progress)
        if loss is not None:
            of_loss, explained = _judged_loss(
                reference, found, loss, rtol, diagnose, keep, progress
            )
            if of_grad is not None and not of_grad.passed and _has_few_digits(loss):
                explained = tuple(one for one in explained if _agrees(one, diagnosis))
            diagnosis += explained
    both = [one for one in (of_grad, of_loss) if one is not None]
    return Comparison(
        passed=not transposed and all(one.passed for one in both),
        grade="wrong" if transposed else max((one.grade for one in both), key=GRADES.index),
        diagnosis=diagnosis,
        description=description,
        grad=of_grad,
        loss=of_loss,
        rtol=rtol,
        run=reference.run,
    )


def _has_few_digits(loss: Candidate) -> bool:
    """Whether one of some hundred numbers may be as near to it by chance."""
    return loss.type != "float64" or loss.unit is not None or _decimals_of_loss(loss) is not None


def _agrees(of_loss: Diagnosis, of_grad: tuple[Diagnosis, ...]) -> bool:
    """Whether what explains a loss goes with what explains the wrong gradient.

    Whoever applies an option that nobody asked for has its gradient, too.
    """
    return not of_loss.id.startswith("unasked-") or of_loss.id in {found.id for found in of_grad}


def _require_shape(problem: Problem, grad: Candidate) -> None:
    if grad.shape == problem.shape or (len(grad.shape) == 2 and grad.shape == problem.shape[::-1]):
        return
    raise CecliError(
        f"the gradient has shape {grad.shape}, where the logits have {problem.shape}: "
        "they must agree",
        about="grad",
    )


def _graded_gradient(gradient: Gradient, marks: Marks, keep: int) -> Graded:
    problem = gradient.reference.problem
    found = graded(marks, gradient.candidate, (problem.samples, problem.classes), keep)
    if not found.total:
        return found
    index = problem.indices_of(*(np.array([i]) for i in found.worst))[0]
    return replace(found, worst=tuple(index.tolist()))


def _explained(
    gradient: Gradient,
    found: Survey,
    of_grad: Graded,
    transposed: bool,
    progress: ProgressCallback | None,
) -> tuple[tuple[Diagnosis, ...], tuple[str, ...]]:
    """The mistakes that explain a gradient, or lines on it where none does."""
    from cecli.comparison.description import describe
    from cecli.comparison.search import TOO_SMALL

    first: tuple[Diagnosis, ...] = ()
    if transposed:
        largest = found.facts.largest if found.facts is not None else 0.0
        fit = of_grad.max_abs_error / (largest or 1.0) if of_grad.passed else 0.0
        first = (TRANSPOSED.found(fit=fit),)
    if of_grad.passed or found.facts is None:
        return first, ()
    sample = sample_of(gradient, found)
    explained = _diagnosed(gradient, found, sample, progress)
    if all(one.reason == TOO_SMALL for one in explained):
        explained = _besides_rounding(gradient, progress) or explained
    if explained:
        return first + explained, ()
    lines = describe(sample, found.facts)
    if transposed:
        return (), ("its shape is the transposed one; turned back:", *lines)
    return (), lines


def _diagnosed(
    gradient: Gradient, found: Survey, sample: Evidence, progress: ProgressCallback | None
) -> tuple[Diagnosis, ...]:
    from cecli.comparison.search import WrongGradient, diagnose_gradient

    if found.facts is None:
        return ()
    return diagnose_gradient(
        WrongGradient(
            sample,
            found.facts,
            gradient.reference.textbook,
            lambda hypotheses: confirmed(gradient, sample, hypotheses, progress),
            lambda rows: right_rows(gradient, sample, rows),
        )
    )


def _besides_rounding(
    gradient: Gradient, progress: ProgressCallback | None
) -> tuple[Diagnosis, ...]:
    """The mistakes that explain a gradient whose numbers are rounded to some decimals as well."""
    decimals = gradient.decimals()
    if decimals is None:
        return ()
    coarse = gradient.with_decimals(decimals)
    found = survey(gradient.reference, coarse, keep=MOST_SHOWN, progress=progress)
    if found.facts is None or not found.facts.off:
        return ()
    return tuple(
        replace(one, explanation=one.explanation + _besides(decimals))
        for one in _diagnosed(coarse, found, sample_of(coarse, found), progress)
    )


def _judged_loss(
    reference: Reference,
    found: Survey,
    loss: Candidate,
    rtol: float | None,
    diagnose: bool,
    keep: int,
    progress: ProgressCallback | None,
) -> tuple[Graded, tuple[Diagnosis, ...]]:
    problem = reference.problem
    right = _right_loss(reference, found)
    if loss.shape != right.shape and loss.values.size == right.size == 1:
        unit = None if loss.unit is None else loss.unit.reshape(right.shape)
        loss = loss.with_values(loss.values.reshape(right.shape), unit)
    if loss.shape != right.shape:
        raise CecliError(
            f"the loss has shape {loss.shape}, where that of the problem has {right.shape}"
            + ("" if right.ndim else ": one number"),
            about="loss",
        )
    sizes = found.loss_sizes.reshape(right.shape)
    allowance = loss_allowance(sizes, problem.classes, problem.samples, right, loss, rtol)
    marks = mark(loss, right, allowance, keep=keep).marks
    judged = graded(marks, loss, right.shape, keep)
    if judged.passed or not diagnose:
        return judged, ()
    from cecli.comparison.search import WrongLoss, diagnose_loss

    wrong = WrongLoss(
        values=loss.values.reshape(-1),
        right=right.reshape(-1),
        rate=allowance.rate.reshape(-1),
        unit=np.zeros(right.size) if loss.unit is None else loss.unit.reshape(-1),
        type=loss.type,
        allowed=allowance.total.reshape(-1),
        each=right.ndim > 0,
        predict=lambda makes: losses_by(reference, makes, each=right.ndim > 0, progress=progress),
    )
    some = reference.textbook.rows(np.arange(min(problem.samples, 1)))
    explained = diagnose_loss(wrong, some)
    decimals = _decimals_of_loss(loss)
    if explained or decimals is None:
        return judged, explained
    coarse = replace(wrong, unit=np.full(right.size, 10.0**-decimals))
    return judged, tuple(
        replace(one, explanation=one.explanation + _besides(decimals))
        for one in diagnose_loss(coarse, some)
    )


def _decimals_of_loss(loss: Candidate) -> int | None:
    """To how many decimals it is rounded, where it was not typed; None where it is to none."""
    from cecli.comparison.structure import decimals_of

    return None if loss.unit is not None else decimals_of(np.atleast_1d(loss.values), loss.type)


def _besides(decimals: int) -> str:
    return f" The numbers are rounded to {decimals} decimals, too."


def _right_loss(reference: Reference, found: Survey) -> NDArray[np.float64]:
    problem = reference.problem
    if problem.divisor is not None:
        return np.asarray(reference.run.loss)
    losses = reference.result.losses if found.losses is None else found.losses
    return losses.reshape(problem.batch_shape)
