"""Numerical gradients of a problem row by row, and how far an analytic one is from them.

A component is the central difference (L(z + h e_i) − L(z − h e_i)) / 2h of the loss's definition
L = Σ_k y_k (log Σ_j e^{v_j} − v_k), in decimal arithmetic of so many digits that h = 1e-20 costs
nothing. Neither the core nor the exact arithmetic takes part. Where all components would take too
long, `plan_check` draws a sample of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.gradcheck.bounds import Tolerances, tolerances_of
from cecli.machine.decimals import as_decimal, cap, exponential, sums_without_each, wide_context
from cecli.machine.rational import RationalRow, exact_divisors
from cecli.problem.dtypes import Floats, Integers
from cecli.problem.precision import type_precision
from cecli.problem.problem import Problem

ProgressCallback = Callable[[float], None]

PRECISION = 90
# A probability this many digits short of 1 is zero in double precision.
LARGEST_SPAN = 330
ZERO, ONE = Decimal(0), Decimal(1)
LARGEST_DOUBLE = float(np.finfo(np.float64).max)
DOUBLES = -LARGEST_DOUBLE, LARGEST_DOUBLE
# Where checking everything takes longer, a sample is checked.
SECONDS = 5.0
FEWEST_COLUMNS = 10
COLUMNS_BEFORE_MORE_ROWS = 100


class Cost(NamedTuple):
    """Seconds a row takes before its first component, and seconds a component takes."""

    row: float
    component: float


class CheckPlan(NamedTuple):
    """The rows to check, each with its columns in ascending order."""

    rows: list[tuple[int, Integers]]
    sampled: bool


class Component(NamedTuple):
    """One component: its numerical value, and what the analytic one is off by.

    relative: to the numerical value. excess: the difference over the tolerance, at most 1 if right.
    """

    numeric: float
    difference: float
    tolerance: float
    relative: float
    excess: float


class Differences:
    """Finite differences of one problem, row by row, held against an analytic gradient."""

    cost: Cost

    def __init__(self, problem: Problem, step: float, order: int, dtype: np.dtype[Any]) -> None:
        self.problem, self.step, self.order, self.dtype = problem, step, order, dtype
        self._progress: ProgressCallback | None = None
        self._expected, self._done = 1.0, 0.0
        self._divisors = exact_divisors(problem)

    def report_to(self, progress: ProgressCallback | None, plan: CheckPlan) -> None:
        """Tell progress, as work goes on, which fraction of the plan's seconds is done."""
        self._progress = progress
        self._expected = sum(
            self.cost.row + len(columns) * self.cost.component for _, columns in plan.rows
        )

    def _worked(self, seconds: float) -> None:
        self._done += seconds
        if self._progress is not None:
            self._progress(min(1.0, self._done / self._expected))

    def rational_row(self, number: int) -> RationalRow:
        """A row of the problem."""
        return RationalRow(self.problem.block(number, number + 1), 0, self._divisors)

    def numeric_row(self, number: int, columns: Integers) -> tuple[list[Decimal], Tolerances]:
        """The numerical gradient of some columns of a row, and what they may be off by."""
        raise NotImplementedError

    def check_row(self, number: int, columns: Integers, analytic: list[float]) -> list[Component]:
        """Hold an analytic gradient against the numerical one."""
        if self.problem.kept[number]:
            with np.errstate(all="ignore"):
                numeric, tolerances = self.numeric_row(number, columns)
        else:
            numeric, tolerances = [Decimal(0)] * len(columns), Tolerances.zero(len(columns))
        precision = type_precision(self.dtype.name)
        smallest_normal, largest = Decimal(precision.smallest_normal), Decimal(precision.largest)
        results = []
        with localcontext(wide_context(PRECISION)) as context:
            # A component that must be zero has no tolerance, and a NaN is to fail like any other.
            context.clear_traps()
            for value, exact, allowed, truncation in zip(
                analytic, numeric, tolerances.total, tolerances.truncation, strict=True
            ):
                difference = Decimal(value) - exact
                if (
                    math.isinf(value)
                    and value * float(exact) > 0
                    and abs(exact) + allowed > largest
                ):
                    difference = Decimal(0)  # what no number of the type can hold
                relative = abs(difference) / max(abs(exact), smallest_normal)
                if 0 < abs(exact) <= truncation:
                    relative = Decimal(0)
                excess = abs(difference) / allowed if difference else Decimal(0)
                numbers = (exact, difference, allowed, relative, excess)
                results.append(Component(*map(float, numbers)))
        return results


class DecimalDifferences(Differences):
    """Central differences of the definition, with as many digits as it takes."""

    def __init__(self, problem: Problem, step: float, order: int, dtype: np.dtype[Any]) -> None:
        super().__init__(problem, step, order, dtype)
        self._digits = _digits(problem, step)
        # Measured: an exponential or logarithm of 50 digits takes 12 µs, of 400 about 550 µs, and
        # of 1,600 about 20 ms.
        digits = float(self._digits.max())
        seconds = 12e-6 * (digits / 50.0) ** 1.85 * max(1.0, digits / 400.0) ** 0.75
        self.cost = Cost(row=200e-6 + problem.classes * seconds, component=30e-6 + 4.0 * seconds)

    def numeric_row(self, number: int, columns: Integers) -> tuple[list[Decimal], Tolerances]:
        """As `Differences.numeric_row`."""
        row, digits = self.rational_row(number), int(self._digits[number])
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
            places = [unmasked.get(i) for i in columns.tolist()]
            probabilities = [ZERO if k is None else exponentials[k] / sum_ for k in places]
            beside = [ONE if k is None else others[k] / sum_ for k in places]
            return numeric, tolerances_of(
                row, probabilities, beside, self.step, self.order, self.dtype, columns
            )


def _digits(problem: Problem, step: float) -> Integers:
    """(N,) digits for h and for what e^{v − m}, the slope of the cap and logsumexp² span."""
    temperature, softcap = float(problem.objective.temperature), problem.objective.softcap
    unmasked = problem.rows > -np.inf
    largest = np.max(problem.rows, axis=1)
    smallest = np.min(problem.rows, axis=1, initial=np.inf, where=unmasked)
    size = np.maximum(np.abs(largest), np.abs(smallest))
    with np.errstate(over="ignore"):
        bounds = np.clip([largest / temperature, smallest / temperature], *DOUBLES)
        span = bounds[0] - bounds[1]
        if softcap is not None:
            span = np.minimum(span, 2.0 * softcap / temperature) + 2.0 * size / softcap
            size = np.minimum(size, softcap)
        in_front = np.log10(np.maximum(1.0, np.minimum(size / temperature, LARGEST_DOUBLE)))
    largest_span = LARGEST_SPAN + _digits_of_weights(problem)
    digits = PRECISION + np.minimum(span / math.log(10), largest_span) + in_front
    if problem.objective.z_loss:
        digits += 2.0 * in_front
        # lse² of one class alone, which may be as small as any logit beside the step
        alone = (unmasked.sum(axis=1) == 1) & (size > 0.0)
        below = math.log10(temperature) - np.log10(np.where(alone, size, temperature))
        digits += np.maximum(0.0, below)
    digits += _digits_between_terms(problem)
    digits += 2.0 * max(0.0, -math.log10(step) - 20.0) + max(0.0, math.log10(temperature))
    return np.asarray(np.ceil(digits), dtype=np.int64)


def _digits_of_weights(problem: Problem) -> float:
    """How many digits short of 1 a number may be beyond LARGEST_SPAN, for what its weight makes."""
    digits = -math.log10(problem.divisor or 1.0)
    for weights in (problem.weight, problem.sample_weight):
        largest = 1.0 if weights is None else float(weights.max(initial=0.0))
        digits += math.log10(largest or 1.0)
    return max(0.0, digits)


def _digits_between_terms(problem: Problem) -> Floats:
    """(N,) digits between the largest and the smallest factor of a term of the loss."""
    objective = problem.objective
    weight = np.ones(1) if problem.weight is None else problem.weight[problem.weight > 0.0]
    largest, smallest = np.log10([weight.max(initial=1.0), weight.min(initial=1.0)])
    terms = np.full(problem.samples, min(smallest, 0.0))
    if problem.soft is not None:
        soft = np.min(problem.soft, axis=1, initial=1.0, where=problem.soft > 0.0)
        terms = np.minimum(terms, smallest + np.log10(soft.astype(np.float64)))
    if objective.label_smoothing:
        share = math.log10(objective.label_smoothing) - math.log10(problem.classes)
        terms = np.minimum(terms, smallest + share)
    if objective.z_loss:
        terms = np.minimum(terms, math.log10(objective.z_loss))
    return np.asarray(max(largest, 0.0) - terms)


def plan_check(problem: Problem, grad: NDArray[Any], cost: Cost, seed: int) -> CheckPlan:
    """Everything where that takes about SECONDS by the cost given, else a sample drawn with seed.

    grad (N, C): rows and components that are not finite are always among those checked. So are, in
    each row drawn, the target (or the largest target mass), the largest logit and the smallest
    probability that is not masked. The sample depends on the seed and the costs, never on a clock.
    """
    count, classes = problem.rows.shape
    everything = np.arange(classes)
    if count * (cost.row + classes * cost.component) <= SECONDS:
        return CheckPlan([(row, everything) for row in range(count)], sampled=False)
    columns = min(classes, COLUMNS_BEFORE_MORE_ROWS)
    rows = max(1, min(count, int(SECONDS / (cost.row + columns * cost.component))))
    affordable = int((SECONDS / rows - cost.row) / cost.component)
    columns = min(classes, max(FEWEST_COLUMNS, affordable))
    random = np.random.default_rng(seed)
    broken = ~np.isfinite(grad)
    chosen = _draw(random, count, np.flatnonzero(broken.any(axis=1))[:rows], rows)
    return CheckPlan(
        [
            (
                row,
                everything
                if columns == classes
                else _draw(random, classes, _notable(problem, row, broken[row], columns), columns),
            )
            for row in chosen.tolist()
        ],
        sampled=True,
    )


def _notable(problem: Problem, row: int, broken: NDArray[np.bool_], columns: int) -> Integers:
    logits = problem.rows[row]
    target = problem.target_rows[row]
    target = target if target.ndim == 0 else target.argmax()
    unmasked = np.flatnonzero(logits > -np.inf)
    smallest = unmasked[logits[unmasked].argmin()]
    first = np.array([target, logits.argmax(), smallest])
    return np.concatenate([first, np.flatnonzero(broken)[: max(0, columns - 3)]])


def _draw(random: np.random.Generator, size: int, always: Integers, wanted: int) -> Integers:
    """wanted of 0 … size − 1, those of always among them, in ascending order."""
    always = np.unique(always)
    others = np.setdiff1d(np.arange(size), always, assume_unique=True)
    drawn = random.choice(
        others, size=min(len(others), max(0, wanted - len(always))), replace=False
    )
    return np.sort(np.concatenate([always, drawn]))
