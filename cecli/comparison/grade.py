"""How good numbers are for the precision they are given in: from exact to wrong, never absolutely.

exact: the correctly rounded value. accurate: within a few units in the last place. acceptable: what
the textbook formula reaches in that precision. inaccurate: a digit is right. wrong: none is.

The textbook formula p_i − q_i errs by u·k·(|g_i| + q_i·scale), u the unit roundoff of the type,
k = 4 + |v_i − m| + log₂ C, v the logits after softcap and temperature, m their largest and scale
what the row is multiplied by: p_t − 1 may cancel, but no other class may be 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cecli.comparison.textbook import Batch
from cecli.input.candidate import Candidate
from cecli.problem.dtypes import Floats, Integers
from cecli.problem.precision import round_to_type, spacing, type_precision

Grade = Literal["exact", "accurate", "acceptable", "inaccurate", "wrong"]
GRADES: tuple[Grade, ...] = ("exact", "accurate", "acceptable", "inaccurate", "wrong")
ACCEPTABLE = GRADES.index("acceptable")
ACCURATE_ULPS = 4.0
ONE_DIGIT = 0.1
# However wide the spread of the logits, nothing that has lost half of itself is acceptable.
LARGEST_RATE = 0.5
# So many numbers are judged at once, which stay in cache.
AT_ONCE = 2**15


@dataclass(frozen=True, eq=False)
class Allowance:
    """What acceptable numbers may be off by: rate·size + least, and the unit of typed ones.

    rate: the relative error of a term; total: all of it. Arrays of the shape that is judged.
    """

    rate: Floats
    total: Floats


def gradient_allowance(
    batch: Batch, right: Floats, candidate: Candidate, rtol: float | None
) -> Allowance:
    """What each component of a gradient, (n, C), may be off by."""
    if rtol is not None:
        return _relative_allowance(right, candidate, rtol)
    precision = type_precision(candidate.type)
    with np.errstate(all="ignore"):
        distance = batch.maximum - batch.scaled
        distance[~np.isfinite(distance)] = 0.0
        steps = distance + (4.0 + math.log2(batch.classes))
        if batch.softcap is not None:
            # tanh rounds the capped logits, and none is larger than the cap
            steps += np.abs(batch.maximum) + np.abs(batch.maximum - distance)
        rate = np.minimum(precision.epsilon / 2.0 * steps, LARGEST_RATE)
        scale = batch.slope / batch.divisor
        size = np.abs(right) + np.where(batch.kept, batch.mass * scale, 0.0)
        if batch.z_loss:
            factor = 2.0 * batch.z_factor * np.abs(batch.log_sum_exp)
            size += np.where(batch.kept, factor * batch.softmax * batch.slope, 0.0)
        least = precision.smallest_subnormal * np.maximum(1.0, batch.total * scale)
    total = rate * size + np.where(size > 0.0, least, 0.0)
    return Allowance(rate, total if candidate.unit is None else total + candidate.unit)


def loss_sizes(batch: Batch) -> Floats:
    """(n,) the size of what each row's part of the loss is summed from, but for the loss itself."""
    with np.errstate(all="ignore"):
        size = batch.total / batch.divisor
        if batch.z_loss:
            size = size + batch.z_factor * batch.log_sum_exp**2
        return np.where(batch.kept, size, 0.0)[:, 0]


def loss_allowance(
    sizes: Floats,
    classes: int,
    samples: int,
    right: Floats,
    candidate: Candidate,
    rtol: float | None,
) -> Allowance:
    """What the loss may be off by: one number, or with reduction none one for each row.

    sizes: their `loss_sizes`, summed where they are. The logarithm of a sum next to 1 is off by u,
    however small it is.
    """
    if rtol is not None:
        return _relative_allowance(right, candidate, rtol)
    precision = type_precision(candidate.type)
    steps = 4.0 + math.log2(classes) + math.log2(max(1, samples))
    rate = np.full(right.shape, min(precision.epsilon / 2.0 * steps, LARGEST_RATE))
    allowed = rate * (np.abs(right) + sizes) + precision.smallest_subnormal
    return Allowance(rate, allowed if candidate.unit is None else allowed + candidate.unit)


def _relative_allowance(right: Floats, candidate: Candidate, rtol: float) -> Allowance:
    least = type_precision(candidate.type).smallest_subnormal
    allowed = rtol * np.abs(right) + np.where(right == 0.0, 0.0, least)
    return Allowance(np.full(right.shape, rtol), allowed)


@dataclass(frozen=True, eq=False)
class Numbers:
    """Some of the numbers that were judged, (k,) each.

    place: which they are, counted row by row. right: what they should be. allowed: what they may be
    off by.
    """

    place: Integers
    candidate: Floats
    right: Floats
    allowed: Floats

    @property
    def difference(self) -> Floats:
        """candidate − right, 0 where both are the same infinity."""
        with np.errstate(invalid="ignore"):
            return np.where(self.candidate == self.right, 0.0, self.candidate - self.right)

    @property
    def excess(self) -> Floats:
        """The difference over what is allowed, infinite for NaN."""
        return _excess(_error(self.difference), self.allowed)

    def take(self, which: Integers) -> Numbers:
        """Some of them."""
        return Numbers(
            self.place[which], self.candidate[which], self.right[which], self.allowed[which]
        )

    def worst(self, count: int) -> Numbers:
        """So many that are furthest off, these first; of equal ones the first."""
        order = np.lexsort((self.place, -self.excess))[:count]
        return self.take(order)

    @classmethod
    def joined(cls, parts: Sequence[Numbers]) -> Numbers:
        """Those of several."""
        return cls(
            np.concatenate([part.place for part in parts]),
            np.concatenate([part.candidate for part in parts]),
            np.concatenate([part.right for part in parts]),
            np.concatenate([part.allowed for part in parts]),
        )


@dataclass(frozen=True, eq=False, repr=False)
class Graded:
    """How numbers were graded.

    max_abs_error, max_rel_error, max_ulp_error: the largest, each by itself; a unit in the last
    place is that of the type, or with by_digits that of the last digit typed. worst: index of the
    number that is furthest off, measured by what is allowed. off, total: how many are below
    acceptable, and all. max_rel_error_off: the largest among those. shown: the numbers themselves,
    all in their order where they are few, else the worst of them, the worst first.
    """

    grade: Grade
    precision: str
    by_digits: bool
    max_abs_error: float
    max_rel_error: float
    max_ulp_error: float
    max_rel_error_off: float
    worst: tuple[int, ...]
    off: int
    total: int
    shown: Numbers = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether all numbers are acceptable or better."""
        return GRADES.index(self.grade) <= ACCEPTABLE

    @property
    def worst_number(self) -> Numbers:
        """The number that is furthest off, alone; none where there are none."""
        return self.shown.worst(1)

    def __repr__(self) -> str:
        """How many are off, and the one furthest off, in a line."""
        judged = f"judged as {self.precision}"
        count = f"{self.off:,} of {self.total:,} off, " if self.total > 1 else ""
        if not self.total or not self.max_abs_error:
            return count + judged
        place = f"the worst at {self.worst}, " if self.worst else ""
        number = self.worst_number
        found, right = float(number.candidate[0]), float(number.right[0])
        return f"{count}{judged}; {place}{found:.6g} where {right:.6g} is right"


@dataclass(frozen=True, eq=False)
class Marks:
    """What some numbers come to: how many have each grade, the largest errors, the worst."""

    counts: Integers
    max_abs_error: float
    max_rel_error: float
    max_ulp_error: float
    max_rel_error_off: float
    worst: Numbers

    def merged(self, other: Marks, keep: int) -> Marks:
        """Those of both, with so many of the worst."""
        return Marks(
            counts=self.counts + other.counts,
            max_abs_error=max(self.max_abs_error, other.max_abs_error),
            max_rel_error=max(self.max_rel_error, other.max_rel_error),
            max_ulp_error=max(self.max_ulp_error, other.max_ulp_error),
            max_rel_error_off=max(self.max_rel_error_off, other.max_rel_error_off),
            worst=Numbers.joined([self.worst, other.worst]).worst(keep),
        )


def no_marks() -> Marks:
    """Those of no numbers."""
    nothing = np.zeros(0)
    none = Numbers(np.zeros(0, dtype=np.int64), nothing, nothing, nothing)
    return Marks(np.zeros(len(GRADES), np.int64), 0.0, 0.0, 0.0, 0.0, none)


def _error(difference: Floats) -> Floats:
    return np.where(np.isnan(difference), math.inf, np.abs(difference))


def _excess(error: Floats, allowed: Floats) -> Floats:
    with np.errstate(all="ignore"):
        return np.where(error == 0.0, 0.0, error / allowed)


@dataclass(frozen=True, eq=False)
class Ranked:
    """Of each number its grade's rank, its error, that over the right one, and its ulp.

    allowed, excess: what it may be off by, and the error over that.
    """

    ranks: Integers
    error: Floats
    relative: Floats
    ulp: Floats
    allowed: Floats
    excess: Floats


def ranked(candidate: Candidate, right: Floats, allowance: Allowance) -> Ranked:
    """Grade each number; right: what they should be, correctly rounded, of the same shape."""
    values, unit = candidate.values, candidate.unit
    allowed = allowance.total
    with np.errstate(all="ignore"):
        if np.isinf(right).any():  # an infinite number is the right one or it is not
            allowed = np.where(np.isinf(right), 0.0, allowed)
        equal = values == right
        error = np.asarray(np.abs(values - right))
        error[equal], error[np.isnan(error)] = 0.0, math.inf
        ulp = spacing(right, candidate.type)
        few = ACCURATE_ULPS * ulp
        if unit is None:
            best = values == round_to_type(right, candidate.type)
        else:
            best = error <= unit / 2.0 + ulp / 2.0
            ulp = np.where(unit > 0.0, unit, ulp)
            few = np.where(unit > 0.0, unit, few)
        relative, excess = np.asarray(error / np.abs(right)), np.asarray(error / allowed)
        relative[error == 0.0] = excess[error == 0.0] = 0.0
        acceptable = error <= allowed
        ranks = np.where(acceptable, 2, 4)
        ranks -= acceptable & (error <= few)
        ranks -= ~acceptable & (relative < ONE_DIGIT)
        ranks[best & acceptable] = 0
        return Ranked(ranks, error, relative, ulp, allowed, excess)


def mark(
    candidate: Candidate,
    right: Floats,
    allowance: Allowance,
    first: int = 0,
    keep: int = 1,
) -> tuple[Marks, NDArray[np.bool_]]:
    """Grade numbers, and tell which are below acceptable.

    right: as in `ranked`. first: the place of the first of them. keep: so many of the
    worst.
    """
    unit = None if candidate.unit is None else candidate.unit.reshape(-1)
    values, flat, rate, total = (
        array.reshape(-1) for array in (candidate.values, right, allowance.rate, allowance.total)
    )
    marks, off = no_marks(), np.empty(right.shape, dtype=bool)
    for start in range(0, flat.size, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        some = candidate.with_values(values[part], None if unit is None else unit[part])
        allowed = Allowance(rate[part], total[part])
        own, off.reshape(-1)[part] = _marked(some, flat[part], allowed, first + start, keep)
        marks = own if not start else marks.merged(own, keep)
    return marks, off


def _marked(
    candidate: Candidate,
    right: Floats,
    allowance: Allowance,
    first: int,
    keep: int,
) -> tuple[Marks, NDArray[np.bool_]]:
    """The same of numbers that stay in cache, (k,)."""
    found = ranked(candidate, right, allowance)
    off = found.ranks > ACCEPTABLE
    chosen = np.arange(right.size) if right.size <= keep else _largest(found.excess, keep)

    def some(which: Integers) -> Numbers:
        return Numbers(first + which, candidate.values[which], right[which], found.allowed[which])

    marks = Marks(
        np.bincount(found.ranks, minlength=len(GRADES)),
        float(found.error.max(initial=0.0)),
        float(found.relative.max(initial=0.0)),
        float((found.error / found.ulp).max(initial=0.0)),
        float(found.relative.max(initial=0.0, where=off)),
        some(chosen),
    )
    return marks, off


def _largest(numbers: Floats, count: int) -> Integers:
    """Where the largest of many numbers are; of equal ones the first."""
    least = np.partition(numbers, len(numbers) - count)[len(numbers) - count]
    above, equal = np.flatnonzero(numbers > least), np.flatnonzero(numbers == least)
    return np.append(above, equal[: count - len(above)])


def graded(marks: Marks, candidate: Candidate, shape: tuple[int, ...], keep: int) -> Graded:
    """What the marks come to; shape: of the numbers as they were judged."""
    ranks = np.flatnonzero(marks.counts)
    total, worst = int(marks.counts.sum()), marks.worst.worst(1).place
    place = np.unravel_index(int(worst[0]) if len(worst) else 0, shape) if shape else ()
    shown = marks.worst
    if total <= keep:
        shown = shown.take(np.argsort(shown.place))
    return Graded(
        grade=GRADES[int(ranks[-1])] if len(ranks) else "exact",
        precision=candidate.precision,
        by_digits=candidate.unit is not None and bool(candidate.unit.any()),
        max_abs_error=marks.max_abs_error,
        max_rel_error=marks.max_rel_error,
        max_ulp_error=marks.max_ulp_error,
        max_rel_error_off=marks.max_rel_error_off,
        worst=tuple(int(i) for i in place) if total else (),
        off=int(marks.counts[ACCEPTABLE + 1 :].sum()),
        total=total,
        shown=shown,
    )
