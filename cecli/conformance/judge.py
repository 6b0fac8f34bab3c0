"""What a reply to a case is worth: graded as `compare` grades, and by the same diagnosis."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cecli.comparison.catalogue import mistake_called
from cecli.comparison.compare import Comparison, compare_with
from cecli.comparison.grade import ACCEPTABLE, Grade, Graded, gradient_allowance, ranked
from cecli.comparison.mistake import Diagnosis
from cecli.comparison.survey import Reference
from cecli.conformance.model import Case, Failure, Inputs, Reply, Verdict
from cecli.input.candidate import Candidate
from cecli.problem.dtypes import Floats
from cecli.problem.objective import Objective
from cecli.problem.precision import round_to_type, type_precision
from cecli.problem.problem import Problem

# from the finest to the coarsest
PRECISIONS = ("float64", "float32", "float16", "bfloat16")
# With a greater share than this of its digits right, a result has no mistake but rounding.
TELLING = 0.5
# What explains a wrong result is looked for in cases of so many components: the same mistake is
# made in a small case too, and there it is found at once.
MOST_DIAGNOSED = 10_000


@dataclass(frozen=True)
class Judged:
    """How the loss or the gradient of a case was graded: the figures of `grade.Graded`.

    worst: index of what is furthest off, measured by what is allowed; exact, candidate: it. off,
    total: how many are below acceptable, and all.
    """

    grade: Grade
    precision: str
    max_abs_error: float
    max_rel_error: float
    max_ulp_error: float
    worst: tuple[int, ...]
    exact: float
    candidate: float
    off: int
    total: int

    @classmethod
    def of(cls, graded: Graded) -> Judged:
        """The figures alone, so that nobody holds on to the arrays."""
        number = graded.worst_number
        return cls(
            grade=graded.grade,
            precision=graded.precision,
            max_abs_error=graded.max_abs_error,
            max_rel_error=graded.max_rel_error,
            max_ulp_error=graded.max_ulp_error,
            worst=graded.worst,
            exact=float(number.right[0]),
            candidate=float(number.candidate[0]),
            off=graded.off,
            total=graded.total,
        )


def judge(case: Case, inputs: Inputs, reply: Reply) -> Verdict:
    """The verdict on a reply to inputs that nobody has changed.

    Numbers are judged at the precision of the input, or at that of the reply where it is lower. A
    reply of another shape or with NaN in it has failed, whatever the rest.
    """
    problem = problem_of(inputs)
    reference = Reference(problem)
    result = reference.result
    try:
        losses, grad = _numbers("loss", reply.loss), _numbers("gradient", reply.grad)
        _check_shapes(problem, losses, grad)
    except Failure as failure:
        return Verdict(case, "failed", str(failure))
    fault = _fault(losses, grad)
    precision = max(inputs.dtype, reply.precision or "float64", key=PRECISIONS.index)
    of_grad = of_loss = None
    with np.errstate(all="ignore"):
        if grad is not None:
            divided = _without_upstream(grad, inputs, result.grad)
            of_grad = Candidate(round_to_type(divided, precision), precision)
        if losses is not None:
            rounded = round_to_type(losses, precision).reshape(np.shape(result.loss))
            of_loss = Candidate(rounded, precision)
    few = problem.samples * problem.classes <= MOST_DIAGNOSED
    compared = compare_with(reference, of_grad, of_loss, diagnose=few, keep=1)
    digits = _digits(compared)
    telling = fault is not None or digits < TELLING * -math.log10(type_precision(precision).epsilon)
    diagnosis = compared.diagnosis if telling else ()
    flushed = None if compared.passed else _flushed(reference, compared, of_grad, of_loss)
    if flushed is not None:
        diagnosis = (mistake_called("flush-to-zero").found(f" normal one of {precision}"),)
    multiplied = bool(np.any(np.not_equal(inputs.upstream, 1.0)))
    if multiplied and grad is not None and not compared.passed:
        diagnosis = upstream_diagnosis(reference, inputs, grad, precision) or diagnosis
    loss_judged, grad_judged = (
        None if graded is None else Judged.of(graded) for graded in (compared.loss, compared.grad)
    )
    return Verdict(
        case,
        "failed" if fault else compared.grade,
        fault or flushed,
        digits=digits if compared.grade == "inaccurate" and not fault else None,
        max_ulp_error=max(j.max_ulp_error for j in (loss_judged, grad_judged) if j is not None),
        loss=loss_judged,
        grad=grad_judged,
        diagnosis=diagnosis,
    )


def problem_of(inputs: Inputs) -> Problem:
    """The inputs as a problem whose results are doubles."""
    return Problem.of(
        inputs.logits.astype(np.float64), inputs.target, Objective(**dict(inputs.options))
    )


def unlike(first: Reply, second: Reply) -> str | None:
    """In what two replies to the same inputs differ, bit by bit."""
    for name, before, after in (
        ("loss", first.loss, second.loss),
        ("gradient", first.grad, second.grad),
    ):
        if before is None or after is None:
            continue
        one, other = np.asarray(before), np.asarray(after)
        if one.tobytes() != other.tobytes():
            apart = ""
            if one.shape == other.shape:
                apart = f", by up to {np.abs(one - other).max():.2g}"
            return f"a second call gives another {name}{apart}"
    return None


def _numbers(name: str, values: object) -> Floats | None:
    """Doubles of whatever was replied."""
    if values is None:
        return None
    try:
        array = np.asarray(values)
        if array.dtype.kind in "iufOV":  # bfloat16 is of kind V
            return array.astype(np.float64)
    except (TypeError, ValueError):
        pass
    raise Failure(f"the {name} is not made of real numbers")


def _check_shapes(problem: Problem, losses: Floats | None, grad: Floats | None) -> None:
    """Raise Failure for what has another shape than asked, or where there is nothing."""
    if losses is None and grad is None:
        raise Failure("there is neither a loss nor a gradient")
    if grad is not None and grad.shape != problem.shape:
        shapes = f"{grad.shape}, where the logits have {problem.shape}"
        raise Failure(f"the gradient has shape {shapes}")
    wanted = problem.batch_shape if problem.divisor is None else ()
    if losses is not None and losses.shape != wanted and not losses.size == math.prod(wanted) == 1:
        raise Failure(f"the loss has shape {losses.shape}, where it should have {wanted}")


def _fault(losses: Floats | None, grad: Floats | None) -> str | None:
    """Where there is a number that is none."""
    bad = np.isnan(grad) if grad is not None else np.zeros((0, 0), bool)
    if bad.any():
        row, column = np.argwhere(bad)[0].tolist()
        count = int(bad.sum())
        others = f", and in {count - 1:,} more places" if count > 1 else ""
        return f"the gradient has NaN at row {row}, class {column}{others}"
    if losses is not None and np.isnan(losses).any():
        return "the loss is NaN"
    return None


def _without_upstream(grad: Floats, inputs: Inputs, right: NDArray[np.float64]) -> Floats:
    """The gradient divided by what it was to be multiplied by: a power of two, so nothing is lost.

    Where that is 0 nothing but 0 is right.
    """
    upstream = np.reshape(inputs.upstream, (-1, 1))
    with np.errstate(all="ignore"):
        multiplied = np.where(grad == 0.0, right, math.inf)
        return np.where(upstream == 0.0, multiplied, grad / upstream)


def _flushed(
    reference: Reference, compared: Comparison, grad: Candidate | None, loss: Candidate | None
) -> str | None:
    """Whether all that is off are subnormal numbers, of which 0 was made: told so."""
    result, told = reference.result, None
    for graded, own, right in (
        (compared.grad, grad, result.grad),
        (compared.loss, loss, np.asarray(result.loss)),
    ):
        if graded is None or own is None or graded.passed:
            continue
        least = type_precision(own.type).smallest_normal
        flushed = (own.values == 0.0) & (right != 0.0) & (np.abs(right) < least)
        if not flushed.any():
            return None
        others = own.with_values(np.where(flushed, right, own.values))
        both = (others, None) if right is result.grad else (None, others)
        if not compare_with(reference, *both, diagnose=False).passed:
            return None
        told = f"numbers below {least:.3g}, the smallest normal one of {own.type}, are flushed to 0"
    return told


def upstream_diagnosis(
    reference: Reference, inputs: Inputs, grad: Floats, precision: str
) -> tuple[Diagnosis, ...]:
    """Whether the gradient is right but for what it was multiplied by."""
    batch, right = reference.textbook.everything, reference.result.grad
    each = np.reshape(inputs.upstream, (-1, 1))
    for factor, explanation in (
        (1.0, "It is not multiplied by the upstream gradient."),
        (each[0], "All rows are multiplied by the first row's upstream gradient."),
        (each.mean(), "All rows are multiplied by the mean of the upstream gradients."),
    ):
        candidate = Candidate(np.asarray(grad / factor) if np.all(factor) else grad, precision)
        allowance = gradient_allowance(batch, right, candidate, None)
        if (ranked(candidate, right, allowance).ranks <= ACCEPTABLE).all():
            remedy = "Multiply the gradient of each row by that row's upstream gradient."
            return (Diagnosis("upstream", explanation, remedy, 0.0),)
    return ()


def _digits(compared: Comparison) -> float:
    """How many decimal digits are right of the number that has fewest of those below acceptable."""
    both = [graded for graded in (compared.grad, compared.loss) if graded is not None]
    worst = max(graded.max_rel_error_off for graded in both)
    return -math.log10(worst) if worst else math.inf
