"""The numerical gradient, and how well an analytic one agrees with it.

A component is the central difference (L(z + h e_i) − L(z − h e_i)) / 2h of the loss's definition
L = Σ_k y_k (log Σ_j e^{v_j} − v_k), in decimal arithmetic of so many digits that h = 1e-20 costs
nothing: no formula of the gradient takes part. What a component may be off by follows from the
terms it is summed from; no tolerance is flat. The ordinary methods in double precision are there to
be looked at: central and forward differences, judged against their own error bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cecli.core import losses_of, softmax
from cecli.decimals import as_decimal, cap, exponential, sums_without_each, wide_context
from cecli.errors import CecliError
from cecli.exact import ExactRow
from cecli.problem import Floats, Integers, Objective, Problem
from cecli.sampling import Cost, Plan, plan_check
from cecli.tolerance import Tolerances, tolerances_of, type_precision

Method = Literal["decimal", "central", "forward"]
Progress = Callable[[float], None]

USUAL_STEPS = {"decimal": 1e-20, "central": 1e-5, "forward": 1e-8}
SMALLEST_SCALE, SMALLEST_STEP = 1e-280, 1e-300
PRECISION = 90
# A probability this many digits short of 1 is zero in double precision.
LARGEST_SPAN = 330
LARGEST_BLOCK = 2**21
LARGEST_DOUBLE = float(np.finfo(np.float64).max)


@dataclass(frozen=True, eq=False)
class GradientCheck:
    """What `check_gradient` returns.

    passed: every component that was checked is within its tolerance. method, step: how the
    numerical gradient was taken. max_abs_error, max_rel_error: over the components checked, the
    latter relative to the numerical value (or the smallest normal number, where that is larger).
    worst: index in the gradient of the component that is furthest off for its tolerance.
    checked, total: components; seed: of the sample, None where all were checked.
    indices (checked, ndim), analytic, numeric, difference, tolerance (checked,): each of them.
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


def check_gradient(
    logits: ArrayLike,
    target: ArrayLike,
    grad: ArrayLike,
    *,
    method: Method = "decimal",
    step: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **objective: Any,
) -> GradientCheck:
    """Hold anybody's gradient of the cross-entropy against finite differences of the loss.

    logits, target and the objective's keywords (weight, reduction, axis, …) are those of
    `cross_entropy`. grad: real numbers of the logits' shape, judged at the precision of its type.
    method: decimal (central differences in decimal arithmetic, the one that proves something),
    or central or forward, the ordinary ones in double precision. step: h, at most 1; default
    1e-20·min(1, temperature, softcap), 1e-5 and 1e-8. Where checking everything would take more
    than about five seconds, a sample drawn with seed is checked: in each row drawn the target, the
    largest logit, the smallest probability and others at random. progress is called with the
    fraction done. Raises CecliError for bad input and where the loss is infinite.
    """
    problem = Problem(logits, target, Objective(**objective))
    return check(problem, np.asarray(grad), method, step, seed, progress)


def check(
    problem: Problem,
    grad: NDArray[Any],
    method: Method = "decimal",
    step: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> GradientCheck:
    """`check_gradient` of a problem that is checked already."""
    step = _checked_step(problem, method, step)
    if grad.shape != problem.shape or not _is_real(grad.dtype):
        raise CecliError(
            f"the gradient has shape {grad.shape} and type {grad.dtype}: "
            f"it must be real numbers of the logits' shape {problem.shape}"
        )
    analytic = problem.to_rows(grad).astype(np.float64)
    if not analytic.size:
        raise CecliError("there is nothing to check: the batch has no samples")
    _require_finite_loss(problem)
    kind = _DecimalDifferences if method == "decimal" else _FloatDifferences
    differences = kind(problem, step, 1 if method == "forward" else 2, grad.dtype)
    plan = plan_check(problem, analytic, differences.cost, seed)
    differences.report_to(progress, plan)
    results: list[_Component] = []
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
    )


class _Component(NamedTuple):
    numeric: float
    difference: float
    tolerance: float
    relative: float
    excess: float


class _Differences:
    """Finite differences of one problem, row by row, held against an analytic gradient."""

    cost: Cost

    def __init__(self, problem: Problem, step: float, order: int, dtype: np.dtype[Any]) -> None:
        self.problem, self.step, self.order, self.dtype = problem, step, order, dtype
        self._progress: Progress | None = None
        self._expected, self._done = 1.0, 0.0

    def report_to(self, progress: Progress | None, plan: Plan) -> None:
        """Tell progress, as work goes on, which fraction of the plan's seconds is done."""
        self._progress = progress
        self._expected = sum(
            self.cost.row + len(columns) * self.cost.component for _, columns in plan.rows
        )

    def _worked(self, seconds: float) -> None:
        self._done += seconds
        if self._progress is not None:
            self._progress(min(1.0, self._done / self._expected))

    def numeric_row(self, number: int, columns: Integers) -> tuple[list[Decimal], Tolerances]:
        """The numerical gradient of some columns of a row, and what they may be off by."""
        raise NotImplementedError

    def check_row(self, number: int, columns: Integers, analytic: list[float]) -> list[_Component]:
        """Hold an analytic gradient against the numerical one."""
        if self.problem.kept[number]:
            with np.errstate(all="ignore"):
                numeric, tolerances = self.numeric_row(number, columns)
        else:
            numeric, tolerances = [Decimal(0)] * len(columns), Tolerances.zero(len(columns))
        smallest_normal = Decimal(type_precision(self.dtype).smallest_normal)
        results = []
        with localcontext(wide_context(PRECISION)) as context:
            # A component that must be zero has no tolerance, and a NaN is to fail like any other.
            context.clear_traps()
            for value, exact, allowed, truncation in zip(
                analytic, numeric, tolerances.total, tolerances.truncation, strict=True
            ):
                difference = Decimal(value) - exact
                relative = abs(difference) / max(abs(exact), smallest_normal)
                if 0 < abs(exact) <= truncation:
                    relative = Decimal(0)
                excess = abs(difference) / allowed if difference else Decimal(0)
                numbers = (exact, difference, allowed, relative, excess)
                results.append(_Component(*map(float, numbers)))
        return results


class _DecimalDifferences(_Differences):
    """Central differences of the definition, with as many digits as it takes."""

    def __init__(self, problem: Problem, step: float, order: int, dtype: np.dtype[Any]) -> None:
        super().__init__(problem, step, order, dtype)
        self._digits = _digits(problem, step)
        # Measured: an exponential or logarithm of 50 digits takes 12 µs, of 400 about 550 µs.
        seconds = 12e-6 * (float(self._digits.max()) / 50.0) ** 1.85
        self.cost = Cost(row=200e-6 + problem.classes * seconds, component=30e-6 + 4.0 * seconds)

    def numeric_row(self, number: int, columns: Integers) -> tuple[list[Decimal], Tolerances]:
        """As `_Differences.numeric_row`."""
        row, digits = ExactRow(self.problem, number), int(self._digits[number])
        with localcontext(wide_context(digits)):
            h, temperature = Decimal(self.step), as_decimal(row.temperature)
            unmasked = {i: place for place, i in enumerate(row.unmasked)}
            top = max(row.unmasked, key=row.logits.__getitem__)
            maximum = cap(row.logits[top], row.softcap)
            shift, z_factor = maximum / temperature, as_decimal(row.z_loss / row.z_divisor)

            def relative_logit(i: int, step: Decimal) -> Decimal:
                """v_i − m where z_i is moved by a step."""
                if row.softcap is None:
                    return (Decimal(row.logits[i]) - maximum + step) / temperature
                return (cap(Decimal(row.logits[i]) + step, row.softcap) - maximum) / temperature

            exponentials = []
            for i in row.unmasked:
                exponentials.append(exponential(relative_logit(i, Decimal(0))))
                self._worked(self.cost.row / len(row.unmasked))
            others = sums_without_each(exponentials)
            total_mass = as_decimal(sum(row.mass) / row.divisor)

            def loss(i: int, step: Decimal) -> tuple[Decimal, Decimal]:
                """L where z_i is moved by a step, without the −y_k v_k that this leaves alone.

                Also the size of what it is summed from, on which its rounding depends.
                """
                v = relative_logit(i, step)
                log_sum = (others[unmasked[i]] + exponential(v)).ln()
                mass = as_decimal(row.mass[i] / row.divisor)
                z_term = z_factor * (shift + log_sum) ** 2
                size = total_mass * (1 + log_sum) + mass * abs(v) + z_factor + z_term
                return total_mass * log_sum - mass * v + z_term, size

            noise = Decimal(10) ** (3 - digits) / h
            numeric = []
            for i in columns.tolist():
                difference = Decimal(0)
                if i in unmasked:
                    (above, size), (below, _) = loss(i, h), loss(i, -h)
                    difference = (above - below) / (2 * h)
                    if abs(difference) <= noise * size:
                        difference = Decimal(0)
                numeric.append(difference)
                self._worked(self.cost.component)
            sum_ = exponentials[unmasked[top]] + others[unmasked[top]]
            probabilities = np.zeros(len(row.logits))
            probabilities[row.unmasked] = [float(e / sum_) for e in exponentials]
            beside = 1.0 - probabilities
            beside[top] = float(others[unmasked[top]] / sum_)
            return numeric, tolerances_of(
                row, probabilities, beside, columns, self.step, self.order, self.dtype
            )


class _FloatDifferences(_Differences):
    """Central or forward differences in double precision, as they are usually taken."""

    def __init__(self, problem: Problem, step: float, order: int, dtype: np.dtype[Any]) -> None:
        super().__init__(problem, step, order, dtype)
        # Measured: two losses of a row take about 60 ns a class.
        self.cost = Cost(row=1e-3, component=2e-6 + 60e-9 * problem.classes)

    def numeric_row(self, number: int, columns: Integers) -> tuple[list[Decimal], Tolerances]:
        """As `_Differences.numeric_row`."""
        problem, row = self.problem, ExactRow(self.problem, number)
        block = max(1, LARGEST_BLOCK // problem.classes)
        numeric, losses = [], []
        for start in range(0, len(columns), block):
            part = columns[start : start + block]
            above = self._moved_losses(row, number, part, self.step)
            below = self._moved_losses(row, number, part, -self.step if self.order == 2 else 0.0)
            numeric += ((above - below) / (self.order * self.step)).tolist()
            losses += np.maximum(np.abs(above), np.abs(below)).tolist()
            self._worked(len(part) * self.cost.component)
        logits, top = problem.rows[number], problem.rows[number].argmax()
        probabilities = softmax(logits, temperature=float(row.temperature), softcap=row.softcap)
        beside = 1.0 - probabilities
        beside[top] = np.delete(probabilities, top).sum()
        tolerances = tolerances_of(
            row, probabilities, beside, columns, self.step, self.order, self.dtype, np.array(losses)
        )
        return [Decimal(value) for value in numeric], tolerances

    def _moved_losses(self, row: ExactRow, number: int, columns: Integers, step: float) -> Floats:
        """(components,) what the row adds to the reduced loss where one logit each is moved."""
        moved = np.tile(self.problem.rows[number], (len(columns), 1))
        moved[np.arange(len(columns)), columns] += step
        target = self.problem.target_rows[number : number + 1]
        objective = replace(self.problem.objective, reduction="none", ignore_index=None, axis=-1)
        losses, z_losses = losses_of(
            Problem(moved, np.repeat(target, len(columns), axis=0), objective)
        )
        return losses / float(row.divisor) + z_losses / float(row.z_divisor)


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


def _require_finite_loss(problem: Problem) -> None:
    infinite = ~np.isfinite(np.add(*losses_of(problem)))
    if infinite.any():
        raise CecliError(
            f"the loss{problem.place(infinite.argmax())} is infinite: it has no derivative to check"
        )


def _digits(problem: Problem, step: float) -> Integers:
    """(N,) digits for h and for what e^{v − m}, the slope of the cap and logsumexp² span."""
    temperature, softcap = float(problem.objective.temperature), problem.objective.softcap
    unmasked = problem.rows > -np.inf
    largest = np.max(problem.rows, axis=1)
    smallest = np.min(problem.rows, axis=1, initial=np.inf, where=unmasked)
    size = np.maximum(np.abs(largest), np.abs(smallest))
    with np.errstate(over="ignore"):
        span = largest / temperature - smallest / temperature
        if softcap is not None:
            span = np.minimum(span, 2.0 * softcap / temperature) + 2.0 * size / softcap
            size = np.minimum(size, softcap)
        in_front = np.log10(np.maximum(1.0, np.minimum(size / temperature, LARGEST_DOUBLE)))
    digits = PRECISION + np.minimum(span / math.log(10), LARGEST_SPAN) + in_front
    if problem.objective.z_loss:
        digits += 2.0 * in_front
    digits += 2.0 * max(0.0, -math.log10(step) - 20.0) + max(0.0, math.log10(temperature))
    return np.asarray(np.ceil(digits), dtype=np.int64)


def _is_real(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iuf" or dtype.name == "bfloat16"
