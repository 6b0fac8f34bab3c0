"""How well predicted gradients explain one that is judged: rows of it, with all that is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.comparison.grade import Allowance, within_type
from cecli.comparison.mistake import Diagnosis
from cecli.comparison.textbook import Batch, over_classes
from cecli.input.candidate import Candidate
from cecli.problem.dtypes import Floats, Integers
from cecli.problem.precision import round_to_type, type_precision

# A wrong formula errs a little differently from the right one; half types have no room for that.
MARGIN, COARSEST_WITH_MARGIN = 4.0, 2.0**-20
# An explanation has to be much better than that the gradient is right.
SHARE_OF_THE_ERROR = 0.5
INFORMATIVE = 8.0
# Components that a mistake is sought with at first.
FIRST_COMPONENTS = 2**12


class Match(NamedTuple):
    """How closely a prediction fits: in relation to what rounding explains, and absolutely."""

    ratio: float
    error: float

    def worse(self, other: Match) -> Match:
        """The worse of both, each by itself."""
        return Match(max(self.ratio, other.ratio), max(self.error, other.error))


Found = list[tuple[Match, Diagnosis]]


class Evidence:
    """Rows of a gradient that is judged, (n, C), and what they may be off by from a prediction.

    numbers (n,): which rows these are. batch: the same rows of the problem. right (n, C): what
    they should be.
    """

    def __init__(
        self,
        numbers: Integers,
        batch: Batch,
        candidate: Candidate,
        right: Floats,
        allowance: Allowance,
    ) -> None:
        self.numbers, self.batch, self.candidate = numbers, batch, candidate
        self.right, self.allowance = right, allowance
        self.values, self.unit, self.type = candidate.values, candidate.unit, candidate.type
        precision = type_precision(self.type)
        self.least = precision.smallest_subnormal
        self.margin = 1.0 if precision.epsilon > COARSEST_WITH_MARGIN else MARGIN

    def take(self, rows: Integers) -> Evidence:
        """The evidence of some of the rows alone."""
        unit = None if self.unit is None else self.unit[rows]
        return Evidence(
            self.numbers[rows],
            self.batch.take(rows),
            self.candidate.with_values(self.values[rows], unit),
            self.right[rows],
            self.allowance.take(rows),
        )

    @cached_property
    def few(self) -> Evidence:
        """A few of the rows that are off: what does not explain these explains nothing."""
        count = max(1, FIRST_COMPONENTS // max(1, self.batch.classes))
        rows = np.flatnonzero(self.off.any(axis=1))
        if len(self.right) <= count or not len(rows):
            return self
        share = self.fits(self.right)[0][rows]
        return self.take(np.sort(rows[np.argsort(-share, kind="stable")[:count]]))

    def slack(self, predicted: Floats) -> Floats:
        """What the components may be off by from predicted ones, (…, n, C).

        The right gradient may be larger than both by far: what is off by as much as a row's own
        numbers are large tells nothing of it.
        """
        unit = 0.0 if self.unit is None else self.unit
        rounding = self.allowance.total - unit + self.allowance.rate * np.abs(predicted)
        rounding = np.minimum(rounding, self._most)
        rounding += np.where(predicted == 0.0, 0.0, self.least)
        return np.asarray(self.margin * rounding + unit)

    @cached_property
    def _most(self) -> Floats:
        """(n, 1) the most that rounding explains in each row."""
        finite = np.where(np.isfinite(self.values), np.abs(self.values), 0.0)
        return over_classes(np.maximum, finite) / INFORMATIVE

    def fits(self, predicted: Floats) -> tuple[Floats, Floats]:
        """The largest ratio of error and slack, and the largest error, of each row (…, n).

        What is NaN, or the same infinity, in both agrees.
        """
        error = np.abs(self.values - predicted)
        rounded = round_to_type(predicted, self.type)
        error[(self.values == rounded) | (np.isnan(self.values) & np.isnan(predicted))] = 0.0
        ratio = np.where(error == 0.0, 0.0, error / self.slack(predicted))
        broken = np.isnan(ratio)
        ratio[broken] = error[broken] = np.inf
        return _largest(ratio), _largest(error)

    def match(self, predicted: Floats) -> Match:
        """How closely all rows fit."""
        ratio, error = self.fits(predicted)
        return Match(float(ratio.max(initial=0.0)), float(error.max(initial=0.0)))

    @cached_property
    def off(self) -> NDArray[np.bool_]:
        """(n, C) which components are not acceptable."""
        should = within_type(self.values, self.right, self.type)
        error = np.abs(self.values - should)
        right: NDArray[np.bool_] = (error <= self.allowance.total) | (self.values == should)
        return ~right

    @cached_property
    def limit(self) -> float:
        """The largest ratio of a match."""
        return min(1.0, SHARE_OF_THE_ERROR * self.match(self.right).ratio)

    def informed(self, parameters: int = 0) -> int:
        """How many components say something of their own, where each row's sum is known.

        parameters: how many of each row say what a prediction's own are.
        """
        clear = np.isfinite(self.values) & (
            np.abs(self.values) > INFORMATIVE * self.slack(self.values)
        )
        count = over_classes(np.add, clear.astype(np.int64))
        return int(np.maximum(count - 1 - parameters, 0).sum())

    @cached_property
    def row_factors(self) -> tuple[Floats, Floats]:
        """(n, 1) the factors of the right rows that leave least, and how far off they may be."""
        return self.factor_of(self.right)

    @cached_property
    def sum_factors(self) -> tuple[Floats, Floats]:
        """(n, 1) what to multiply each row's p by, and how far off that may be."""
        batch = self.batch
        scale = np.where(batch.kept, batch.slope / batch.divisor, 0.0)
        return self.factor_of(batch.total * batch.softmax * scale, -batch.mass * scale)

    def factor_of(self, predicted: Floats, others: Floats | float = 0.0) -> tuple[Floats, Floats]:
        """(n, 1) the factor of each row's prediction that leaves least beside others.

        And how far off it may be.
        """
        slack = self.slack(self.values)
        tolerance = np.maximum(slack, np.finfo(np.float64).tiny) / np.abs(predicted)
        weight = weights_of(slack)
        weighted = predicted * weight
        largest = over_classes(np.maximum, np.abs(weighted))
        weight, weighted = weight / largest, weighted / largest
        square = over_classes(np.add, weighted * weighted)
        product = over_classes(np.add, (self.values - others) * weight * weighted)
        factor: Floats = np.where(square > 0.0, product / square, 1.0)
        return factor, over_classes(np.minimum, tolerance)


def weights_of(slack: Floats) -> Floats:
    """What components weigh beside others: the more, the less is left open.

    Where nothing is, all is 0, as for masked classes, and tells nothing.
    """
    return np.where(slack > 0.0, 1.0 / np.maximum(slack, np.finfo(np.float64).tiny), 0.0)


def _largest(numbers: Floats) -> Floats:
    """Of each row (…, n), 0 where there are no classes."""
    if not numbers.shape[-1]:
        return np.zeros(numbers.shape[:-1])
    return over_classes(np.maximum, numbers)[..., 0]


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """What may explain a gradient: what it predicts of rows, and what it is called then.

    diagnosis: without its fit. watch: is shown the rows as they are gone through, in their order;
    name: the diagnosis where it depends on what was seen, None where that speaks against it.
    holds: whether all rows are known to agree, so that a sample of them is enough.
    """

    diagnosis: Diagnosis
    predict: Callable[[Evidence], Floats | None]
    watch: Callable[[Evidence], object] | None = None
    name: Callable[[list[object]], Diagnosis | None] | None = None
    holds: bool = False
