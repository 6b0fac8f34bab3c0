"""Somebody's gradient or loss against the exact one: how good it is, and what went wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from cecli.api import solve
from cecli.comparison.grade import GRADES, Grade, Graded, grade, gradient_allowance, loss_allowance
from cecli.comparison.textbook import batch_of
from cecli.errors import CecliError
from cecli.input.candidate import Candidate, candidate_of_array
from cecli.machine.float_mode import in_standard_mode
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem
from cecli.problem.result import CrossEntropy

if TYPE_CHECKING:
    from cecli.comparison.search import Diagnosis
    from cecli.comparison.textbook import Batch

# Up to here the numbers to compare with are correctly rounded, at about 50 µs each.
MOST_EXACT = 4000


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """What `compare` returns.

    passed: whether all that was given is acceptable or better. grade: of the worst of it. grad,
    loss: how each was graded, None where it was not candidate. diagnosis: the mistakes that explain
    what is wrong, the simplest first; more than one where they cannot be told apart. description:
    lines on a wrong gradient that nothing explains. max_abs_error, max_rel_error, max_ulp_error,
    worst, off, total: the figures of the gradient, or of the loss where that alone was given.
    """

    passed: bool
    grade: Grade
    diagnosis: tuple[Diagnosis, ...]
    description: tuple[str, ...]
    grad: Graded | None
    loss: Graded | None
    result: CrossEntropy
    rtol: float | None

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
        for name, graded in (("gradient", self.grad), ("loss", self.loss)):
            if graded is not None:
                lines.append(f"{name}: {graded}")
        lines += [str(found) for found in self.diagnosis]
        return "\n".join([*lines, *self.description])


NOTHING_GIVEN = "nothing to compare: give a gradient (--grad) or a loss (--loss)"


@in_standard_mode
def compare(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    grad: ArrayLike | None = None,
    loss: ArrayLike | None = None,
    rtol: float | None = None,
    **objective: Any,
) -> Comparison:
    """Grade a gradient, a loss or both, and name the mistake that explains what is wrong.

    logits, target, objective: as for `cross_entropy`. grad: an array of the logits' shape; one of
    exactly the transposed shape is compared transposed, and fails. loss: the reduced loss, with
    reduction none one for each sample. Arrays whose values all are float32, float16 or bfloat16
    numbers are judged as that type. rtol: the relative error to allow instead.
    Raises CecliError for whatever cannot be computed, and for another shape.
    """
    problem = Problem.of(logits, target, Objective(**objective))
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
    exact: bool = False,
) -> Comparison:
    """`compare` of numbers that bring their precision along.

    exact: compare with correctly rounded numbers whatever the size; else only small problems are.
    """
    if grad is None and loss is None:
        raise CecliError(NOTHING_GIVEN)
    if rtol is not None and not 0.0 <= rtol < math.inf:
        raise CecliError(f"rtol is {rtol:g}: it must be 0 or more and finite")
    problem = in_doubles(problem)
    transposed = grad is not None and _is_transposed(problem, grad)
    if grad is not None:
        grad = _as_rows(problem, grad, transposed)
    exact = exact or problem.rows.size <= MOST_EXACT
    result = solve(problem, exact=exact)
    return compare_with(problem, result, grad, loss, rtol, exact=exact, transposed=transposed)


def compare_with(
    problem: Problem,
    result: CrossEntropy,
    grad: Candidate | None,
    loss: Candidate | None,
    rtol: float | None = None,
    *,
    exact: bool = True,
    transposed: bool = False,
    diagnose: bool = True,
) -> Comparison:
    """`compare_candidates` where the right numbers are known.

    problem: in doubles, and result what it comes to. grad: rows (N, C). exact: the result is
    correctly rounded. transposed: the gradient was turned round to have that shape. diagnose: look
    for what explains a wrong result.
    """
    batch = batch_of(problem)
    grades: dict[str, Graded] = {}
    diagnosis: tuple[Diagnosis, ...] = ()
    description: tuple[str, ...] = ()
    if grad is not None:
        grades["grad"], diagnosis, description = _judge_gradient(
            problem, batch, result, grad, rtol, exact, transposed, diagnose
        )
    if loss is not None:
        grades["loss"], found = _judge_loss(batch, result, loss, rtol, exact, diagnose)
        diagnosis += found
    worst = max((graded.grade for graded in grades.values()), key=GRADES.index)
    return Comparison(
        passed=not transposed and all(graded.passed for graded in grades.values()),
        grade="wrong" if transposed else worst,
        diagnosis=diagnosis,
        description=description,
        grad=grades.get("grad"),
        loss=grades.get("loss"),
        result=result,
        rtol=rtol,
    )


def in_doubles(problem: Problem) -> Problem:
    """The problem with logits as doubles, so that its results are rounded to no other type."""
    if problem.logits.dtype == np.float64:
        return problem
    return Problem.of(problem.logits.astype(np.float64), problem.target, problem.objective)


def _is_transposed(problem: Problem, grad: Candidate) -> bool:
    shape = grad.values.shape
    if shape == problem.shape:
        return False
    if len(shape) == 2 and shape == problem.shape[::-1]:
        return True
    raise CecliError(
        f"the gradient has shape {shape}, where the logits have {problem.shape}: they must agree"
    )


def _as_rows(problem: Problem, grad: Candidate, transposed: bool) -> Candidate:
    def rows(array: Any) -> Any:
        return problem.to_rows(array.T if transposed else array)

    return grad.with_values(rows(grad.values), None if grad.unit is None else rows(grad.unit))


def _judge_gradient(
    problem: Problem,
    batch: Batch,
    result: CrossEntropy,
    grad: Candidate,
    rtol: float | None,
    exact: bool,
    transposed: bool,
    diagnose: bool,
) -> tuple[Graded, tuple[Diagnosis, ...], tuple[str, ...]]:
    right = problem.to_rows(result.grad)
    allowance = gradient_allowance(batch, right, grad, rtol)
    graded = grade(grad, right, allowance, certain=exact)
    index = problem.indices_of(*(np.array([i]) for i in graded.worst))[0]
    graded = replace(graded, worst=tuple(index.tolist()))
    if not diagnose or (graded.passed and not transposed):
        return graded, (), ()
    from cecli.comparison.catalogue import TRANSPOSED
    from cecli.comparison.description import describe
    from cecli.comparison.evidence import Evidence
    from cecli.comparison.search import Diagnosis, diagnose_gradient
    from cecli.comparison.textbook import with_softmax_across

    first: tuple[Diagnosis, ...] = ()
    if transposed:
        largest = float(np.abs(grad.values).max(initial=0.0)) or 1.0
        fit = graded.max_abs_error / largest if graded.passed else 0.0
        first = (Diagnosis(TRANSPOSED.id, TRANSPOSED.explanation, TRANSPOSED.remedy, fit),)
        if graded.passed:
            return graded, first, ()
    with np.errstate(all="ignore"):
        evidence = Evidence(with_softmax_across(batch, problem), grad, right, allowance)
    found = diagnose_gradient(evidence)
    if found:
        return graded, first + found, ()
    lines = describe(evidence)
    if transposed:
        return graded, (), ("its shape is the transposed one; turned back:", *lines)
    return graded, (), lines


def _judge_loss(
    batch: Batch,
    result: CrossEntropy,
    loss: Candidate,
    rtol: float | None,
    exact: bool,
    diagnose: bool,
) -> tuple[Graded, tuple[Diagnosis, ...]]:
    right = np.asarray(result.loss, dtype=np.float64)
    if loss.values.shape != right.shape and loss.values.size == right.size == 1:
        unit = None if loss.unit is None else loss.unit.reshape(right.shape)
        loss = loss.with_values(loss.values.reshape(right.shape), unit)
    if loss.values.shape != right.shape:
        raise CecliError(
            f"the loss has shape {loss.values.shape}, where that of the problem has {right.shape}"
            + ("" if right.ndim else ": one number")
        )
    allowance = loss_allowance(batch, right, loss, rtol)
    graded = grade(loss, right, allowance, certain=exact)
    if graded.passed or not diagnose:
        return graded, ()
    from cecli.comparison.search import diagnose_loss

    with np.errstate(all="ignore"):
        return graded, diagnose_loss(batch, graded, allowance)
