"""How well a predicted gradient explains the one that was given, block by block of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import NamedTuple

import numpy as np

from cecli.comparison.grade import Allowance
from cecli.comparison.textbook import Batch
from cecli.input.candidate import Candidate
from cecli.problem.dtypes import Floats, Integers
from cecli.problem.precision import round_to_type, type_precision

# A wrong formula errs a little differently from the right one; half types have no room for that.
MARGIN, COARSEST_WITH_MARGIN = 4.0, 2.0**-20
COMPONENTS_PER_BLOCK = 2**18
FIRST_COMPONENTS, FIRST_ROWS = 2**12, 32
# An explanation has to be much better than that the gradient is right.
SHARE_OF_THE_ERROR = 0.5
INFORMATIVE = 8.0

Predict = Callable[[Batch, Integers | slice], Floats | None]


class Match(NamedTuple):
    """How closely a prediction fits: in relation to what rounding explains, and to its size."""

    ratio: float
    fit: float


class Evidence:
    """A gradient that was given, (N, C), and what it may be off by from any prediction."""

    def __init__(
        self, batch: Batch, candidate: Candidate, exact: Floats, allowance: Allowance
    ) -> None:
        self.batch = batch
        self.candidate = candidate
        self.exact = exact
        self.allowance = allowance
        self.least = type_precision(candidate.type).smallest_subnormal
        coarse = type_precision(candidate.type).epsilon > COARSEST_WITH_MARGIN
        self.margin = 1.0 if coarse else MARGIN
        self.largest = float(
            np.abs(candidate.values[np.isfinite(candidate.values)]).max(initial=0.0)
        )

    def take(self, rows: Integers | slice) -> Evidence:
        """The evidence of some rows alone."""
        unit = self.candidate.unit
        candidate = self.candidate.with_values(
            self.candidate.values[rows], None if unit is None else unit[rows]
        )
        allowance = Allowance(self.allowance.rate[rows], self.allowance.total[rows])
        return Evidence(self.batch.take(rows), candidate, self.exact[rows], allowance)

    def slack(self, predicted: Floats, rows: Integers | slice) -> Floats:
        """What the candidate components may be off by from predicted ones."""
        unit = 0.0 if self.candidate.unit is None else self.candidate.unit[rows]
        rounding = self.allowance.total[rows] - unit
        rounding = rounding + self.allowance.rate[rows] * np.abs(predicted)
        rounding += np.where(predicted == 0.0, 0.0, self.least)
        return self.margin * rounding + unit

    def compare(self, predicted: Floats, rows: Integers | slice) -> Match:
        """The worst of some rows; what is NaN, or the same infinity, in both agrees."""
        candidate = self.candidate.values[rows]
        error = np.abs(candidate - predicted)
        with np.errstate(over="ignore", under="ignore"):
            rounded = round_to_type(predicted, self.candidate.type)
        error[(candidate == rounded) | (np.isnan(candidate) & np.isnan(predicted))] = 0.0
        ratio = np.where(error == 0.0, 0.0, error / self.slack(predicted, rows))
        if np.isnan(ratio).any():
            return Match(np.inf, np.inf)
        fit = float(error.max(initial=0.0)) / self.largest if self.largest else 0.0
        return Match(float(ratio.max(initial=0.0)), fit)

    @cached_property
    def off_rows(self) -> Integers:
        """The rows in which something is not acceptable."""
        error = np.abs(self.candidate.values - self.exact)
        right = (error <= self.allowance.total) | (self.candidate.values == self.exact)
        return np.flatnonzero(~right.all(axis=1))

    @cached_property
    def first(self) -> Integers:
        """Some of the rows furthest off: what does not explain these explains nothing."""
        count = max(1, min(FIRST_ROWS, FIRST_COMPONENTS // self.batch.classes))
        rows = self.off_rows
        if len(rows) > count:
            error = np.abs(self.candidate.values[rows] - self.exact[rows])
            share = np.where(error == 0.0, 0.0, error / self.allowance.total[rows])
            share = np.nan_to_num(share, nan=0.0, posinf=np.inf).max(axis=1)
            rows = rows[np.argsort(-share, kind="stable")[:count]]
        return np.sort(rows)

    @cached_property
    def first_batch(self) -> Batch:
        """The batch of those rows, so that what they have in common is computed once."""
        return self.batch.take(self.first)

    @cached_property
    def limit(self) -> float:
        """The largest ratio of a match."""
        right = self.compare(self.exact, slice(None)).ratio
        return min(1.0, SHARE_OF_THE_ERROR * right)

    @cached_property
    def informed(self) -> int:
        """How many components say something of their own, where each row's sum is known."""
        candidate = self.candidate.values[self.first]
        clear = np.isfinite(candidate) & (
            np.abs(candidate) > INFORMATIVE * self.slack(candidate, self.first)
        )
        return int(np.maximum(clear.sum(axis=1) - 1, 0).sum())

    def match(self, predict: Predict) -> Match | None:
        """How well a prediction fits all rows, or None where it does not."""
        worst = Match(0.0, 0.0)
        for rows, batch in self._blocks():
            predicted = predict(batch, rows)
            if predicted is None:
                return None
            match = self.compare(predicted, rows)
            if not match.ratio <= self.limit:
                return None
            worst = Match(max(worst.ratio, match.ratio), max(worst.fit, match.fit))
        return worst

    def _blocks(self) -> Iterator[tuple[Integers | slice, Batch]]:
        yield self.first, self.first_batch
        count = len(self.exact)
        if len(self.first) == count:
            return
        size = max(1, COMPONENTS_PER_BLOCK // self.batch.classes)
        for start in range(0, count, size):
            rows = slice(start, start + size)
            yield rows, self.batch.take(rows)
