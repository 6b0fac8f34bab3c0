"""The numerical gradient, and how well an analytic one agrees with it.

The differences are taken of the loss's definition: no formula of the gradient takes part. What a
component may be off by follows from the terms it is summed from; no tolerance is flat. The ordinary
methods in double precision are there to be looked at, judged against their own error bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cecli.api import solve
from cecli.core.evaluate import losses_of
from cecli.core.probabilities import From, logits_from
from cecli.errors import CecliError
from cecli.gradcheck.differences import (
    Component,
    DecimalDifferences,
    ProgressCallback,
    plan_check,
)
from cecli.gradcheck.float_differences import FloatDifferences
from cecli.machine.float_mode import in_standard_mode
from cecli.problem.dtypes import Floats, Integers, as_doubles, as_real_array
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem

Method = Literal["decimal", "central", "forward"]

USUAL_STEPS = {"decimal": 1e-20, "central": 1e-5, "forward": 1e-8}
SMALLEST_SCALE, SMALLEST_STEP = 1e-280, 1e-300
# How many components a notebook shows.
MOST_SHOWN = 10
# A gradient of up to so many numbers is held in memory for its check; of a larger one so many are
# drawn, row by row, of which `plan_check` takes what there is time for.
MOST_HELD, MOST_DRAWN = 2**22, 2**20


@dataclass(frozen=True, eq=False, repr=False)
class GradientCheck:
    """What `check_gradient` returns.

    passed: every component that was checked is within its tolerance. method, step: how the
    numerical gradient was taken. max_abs_error, max_rel_error: over the components checked, the
    latter relative to the numerical value (or the smallest normal number, where that is larger).
    worst: index in the gradient of the component that is furthest off for its tolerance.
    checked, total: components; seed: of the sample, None where all were checked.
    indices (checked, ndim), analytic, numeric, difference, tolerance (checked,): each of them.
    excess (checked,): the difference over the tolerance before either is rounded, at most 1 where
    they agree.
    """

    passed: bool
    method: Method
    step: float
    max_abs_error: float
    max_rel_error: float
    worst: tuple[int, ...]
    checked: int
    total: int
    seed: int | None
    indices: Integers
    analytic: Floats
    numeric: Floats
    difference: Floats
    tolerance: Floats
    excess: Floats

    def __repr__(self) -> str:
        """The verdict, what was checked and how far off it is."""
        sampled = "" if self.seed is None else f" (drawn with seed {self.seed})"
        errors = f"largest error {self.max_abs_error:.3g}, relative {self.max_rel_error:.3g}"
        return (
            f"GradientCheck: {'passed' if self.passed else 'FAILED'}, {errors}, "
            f"worst at {self.worst}\n"
            f"  {self.checked:,} of {self.total:,} components checked{sampled}: "
            f"{self.method} differences, h = {self.step:g}"
        )

    def _repr_html_(self) -> str:
        """The same with the components that are furthest off for their tolerance."""
        from cecli.text.html import PageColumn, listed, notebook, numbers, paragraph

        excess = np.where(np.isnan(self.excess), np.inf, self.excess)
        worst = np.argsort(-excess, kind="stable")[:MOST_SHOWN]
        places = [", ".join(map(str, place)) for place in self.indices[worst].tolist()]
        columns = [
            PageColumn("component", "text", places),
            numbers("analytic", self.analytic[worst].tolist()),
            numbers("numeric", self.numeric[worst].tolist()),
            numbers("difference", self.difference[worst].tolist(), 2),
            numbers("allowed", self.tolerance[worst].tolist(), 2),
        ]
        off = [place for place, value in enumerate(excess[worst].tolist()) if value > 1.0]
        head, line = repr(self).split("\n")
        verdict = paragraph(head, "passed" if self.passed else "failed")
        return notebook(verdict, listed(columns, off), paragraph(line, "dim"))


@in_standard_mode
def check_gradient(
    logits: ArrayLike,
    target: ArrayLike,
    grad: ArrayLike,
    *,
    method: Method = "decimal",
    step: float | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    from_: From = "logits",
    **objective: Any,
) -> GradientCheck:
    """Hold anybody's gradient of the cross-entropy against finite differences of the loss.

    Args:
        logits, target: as for `cross_entropy`.
        grad: real numbers of the logits' shape, judged at the precision of their type.
        method: "decimal" (central differences in decimal arithmetic, the one that proves
            something), or "central" or "forward", the ordinary ones in double precision.
        step: h, at most 1; None is 1e-20·min(1, temperature, softcap), 1e-5 and 1e-8.
        seed: where checking everything would take more than about five seconds, a sample is drawn
            with it: in each row drawn the target, the largest logit, the smallest probability and
            others at random.
        progress: is called with the fraction that is done.
        from_, **objective: the options of `cross_entropy`, such as ``weight`` and ``axis``.

    Returns:
        GradientCheck: with ``.passed``, the largest errors, and each component's ``.analytic``,
        ``.numeric``, ``.difference`` and ``.tolerance``.

    Raises:
        CecliError: for bad input, and where the loss is infinite.

    Examples:
        >>> import cecli
        >>> cecli.check_gradient([2.0, 1.0, 0.1], 0, [-0.34099886, 0.24243297, 0.09856589])
        GradientCheck: FAILED, largest error 1.11e-09, relative 4.15e-09, worst at (2,)
          3 of 3 components checked: decimal differences, h = 1e-20
        >>> grad = cecli.cross_entropy([2.0, 1.0, 0.1], 0).grad
        >>> cecli.check_gradient([2.0, 1.0, 0.1], 0, grad).passed
        True
    """
    checked = Objective(**objective)
    problem = Problem.of(logits_from(logits, from_, checked.axis), target, checked)
    return check(problem, as_real_array("grad", grad), method, step, seed, progress)


def check(
    problem: Problem,
    grad: NDArray[Any],
    method: Method = "decimal",
    step: float | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    *,
    is_finite: bool = False,
) -> GradientCheck:
    """`check_gradient` of a problem that is checked already; is_finite: its loss is known to be."""
    step = _checked_step(problem, method, step)
    if grad.shape != problem.shape:
        raise CecliError(
            f"the gradient has shape {grad.shape}: it must be of the logits' shape {problem.shape}",
            about="grad",
        )
    analytic = as_doubles(problem.to_rows(grad))
    if not analytic.size:
        raise CecliError("there is nothing to check: the batch has no samples")
    if not is_finite:
        infinite = ~np.isfinite(np.add(*losses_of(problem)))
        _require_finite_loss(problem, int(infinite.argmax()) if infinite.any() else None)
    kind = DecimalDifferences if method == "decimal" else FloatDifferences
    differences = kind(problem, step, 1 if method == "forward" else 2, grad.dtype)
    plan = plan_check(problem, analytic, differences.cost, seed)
    differences.report_to(progress, plan)
    results: list[Component] = []
    for row, columns in plan.rows:
        results += differences.check_row(row, columns, analytic[row, columns].tolist())
    rows = np.concatenate([np.full(len(columns), row) for row, columns in plan.rows])
    columns = np.concatenate([columns for _, columns in plan.rows])
    numeric, difference, tolerance, relative, excess = np.array(results).T
    indices = problem.indices_of(rows, columns)
    return GradientCheck(
        passed=bool((excess <= 1.0).all()),
        method=method,
        step=step,
        max_abs_error=float(np.abs(difference).max()),
        max_rel_error=float(relative.max()),
        worst=tuple(indices[np.where(np.isnan(excess), np.inf, excess).argmax()].tolist()),
        checked=len(rows),
        total=analytic.size,
        seed=seed if plan.sampled else None,
        indices=indices,
        analytic=analytic[rows, columns],
        numeric=numeric,
        difference=difference,
        tolerance=tolerance,
        excess=excess,
    )


def is_held(problem: Problem) -> bool:
    """Whether a gradient of so many numbers is held in memory for its check."""
    return problem.samples * problem.classes <= MOST_HELD


def check_own(
    problem: Problem,
    grad: NDArray[Any] | None,
    infinite: int | None,
    method: Method = "decimal",
    step: float | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
    *,
    exact: bool = False,
) -> GradientCheck:
    """Check the gradient that was computed here, as `check_gradient` does.

    grad: None where it is too large to be held; rows drawn with seed are then computed again, and
    checked.
    infinite: the first row with an infinite loss. exact: which arithmetic the gradient is of.
    """
    step = _checked_step(problem, method, step)
    _require_finite_loss(problem, infinite)
    if grad is not None and is_held(problem):  # the same check whatever else is shown
        return check(problem, grad, method, step, seed, progress, is_finite=True)
    random = np.random.default_rng(seed)
    count = min(problem.samples, max(1, MOST_DRAWN // problem.classes))
    rows = np.sort(random.choice(problem.samples, count, replace=False))
    drawn = problem.only(rows)
    own = solve(drawn, exact=exact, keep_logits=False).grad
    found = check(drawn, own, method, step, seed, progress, is_finite=True)
    indices = problem.indices_of(rows[found.indices[:, 0]], found.indices[:, 1])
    worst = problem.indices_of(rows[[found.worst[0]]], np.array([found.worst[1]]))[0]
    total = problem.samples * problem.classes
    return replace(found, indices=indices, worst=tuple(worst.tolist()), total=total, seed=seed)


def _checked_step(problem: Problem, method: Method, step: float | None) -> float:
    if method not in USUAL_STEPS:
        raise CecliError(f"the method is {method!r}: it must be decimal, central or forward")
    objective = problem.objective
    smallest = min(1.0, objective.temperature, objective.softcap or 1.0)
    if smallest < SMALLEST_SCALE:
        raise CecliError(
            f"a temperature or softcap of {smallest:g} leaves no room for a step: "
            f"a check needs at least {SMALLEST_SCALE:g}"
        )
    if step is None:
        return USUAL_STEPS[method] * float(smallest if method == "decimal" else 1.0)
    if not SMALLEST_STEP <= step <= 1.0:
        raise CecliError(f"the step is {step:g}: it must be at least {SMALLEST_STEP:g}, at most 1")
    return float(step)


def _require_finite_loss(problem: Problem, infinite: int | None) -> None:
    """infinite: the first row whose loss is."""
    if infinite is not None:
        raise CecliError(
            f"the loss{problem.place(infinite)} is infinite: it has no derivative to check"
        )
