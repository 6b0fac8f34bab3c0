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
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

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
# What arithmetic in doubles is off by, in relation to the terms of a component: it promises a
# quarter of that. And at the lower end of the doubles.
DOUBT, LEAST_DOUBT = 2.0**-48, 2.0**-1070
# A probability of e to the minus this is 0, whatever a double may multiply it by.
FAR = 1500.0
# How much what is acceptable, or a unit in the last place, may move with what is in doubt.
MOVES = 2.0**-24


@dataclass(frozen=True, eq=False)
class Allowance:
    """What acceptable numbers may be off by: rate·size + least, and the unit of typed ones.

    rate: the relative error of a term; total: all of it. doubt: what the right numbers themselves
    may be off by, None where they are exact. Arrays of the shape that is judged.
    """

    rate: Floats
    total: Floats
    doubt: Floats | None = None

    def take(self, which: Integers | slice) -> Allowance:
        """Those of some of the numbers, by their first axis."""
        doubt = None if self.doubt is None else self.doubt[which]
        return Allowance(self.rate[which], self.total[which], doubt)


def gradient_allowance(
    batch: Batch, right: Floats, candidate: Candidate, rtol: float | None, *, exact: bool = True
) -> Allowance:
    """What each component of a gradient, (n, C), may be off by.

    exact: whether the right numbers are correctly rounded; otherwise they are what arithmetic in
    doubles makes.
    """
    with np.errstate(all="ignore"):
        doubt = None if exact else _doubts(batch, right)
        if rtol is not None:
            return replace(_relative_allowance(right, candidate, rtol), doubt=doubt)
        size = _sizes(batch, right)
        precision = type_precision(candidate.type)
        distance = batch.maximum - batch.scaled
        distance[~np.isfinite(distance)] = 0.0
        steps = distance + (4.0 + math.log2(batch.classes))
        if batch.softcap is not None:
            # tanh rounds the capped logits, and none is larger than the cap
            steps += np.abs(batch.maximum) + np.abs(batch.maximum - distance)
        rate = np.minimum(precision.epsilon / 2.0 * steps, LARGEST_RATE)
        scale = batch.slope / batch.divisor
        least = precision.smallest_subnormal * np.maximum(1.0, batch.total * scale)
        total = rate * size + np.where(size > 0.0, least, 0.0)
        if candidate.unit is not None:
            total = total + candidate.unit
    return Allowance(rate, total, doubt)


def _sizes(batch: Batch, right: Floats) -> Floats:
    """(n, C) how large the terms are that each component of the gradient is summed from."""
    size = np.abs(right) + np.where(batch.kept, batch.mass * (batch.slope / batch.divisor), 0.0)
    if batch.z_loss:
        factor = 2.0 * batch.z_factor * np.abs(batch.log_sum_exp)
        size += np.where(batch.kept, factor * batch.softmax * batch.slope, 0.0)
    return np.asarray(size)


def _doubts(batch: Batch, right: Floats) -> Floats:
    """(n, C) what arithmetic in doubles may be off by from the correctly rounded components.

    Of class indices alone it does not cancel: p_t − 1 is the sum of the other classes.
    """
    cancels = batch.index is None or batch.smoothing or batch.z_loss
    near = batch.kept & (batch.maximum - batch.scaled < FAR)
    size = _sizes(batch, right) if cancels else np.abs(right)
    return DOUBT * size + np.where(near, LEAST_DOUBT, 0.0)


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

    def least_excess(self, keep: int) -> float:
        """What the least of so many of the worst exceeds by; 0 of fewer."""
        if len(self.worst.place) < keep:
            return 0.0
        return float(self.worst.excess.min())

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
    """Of each number its grade's rank, its error, that over the right one, and that in ulps.

    allowed, excess: what it may be off by, and the error over that.
    """

    ranks: Integers
    error: Floats
    relative: Floats
    in_ulps: Floats
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
        limits = _limits(unit, spacing(right, candidate.type))
        if unit is None:
            best = values == round_to_type(right, candidate.type)
        else:
            best = error <= limits.best
        relative, excess = np.asarray(error / np.abs(right)), np.asarray(error / allowed)
        relative[error == 0.0] = excess[error == 0.0] = 0.0
        acceptable = error <= allowed
        ranks = np.where(acceptable, 2, 4)
        ranks -= acceptable & (error <= limits.few)
        ranks -= ~acceptable & (relative < ONE_DIGIT)
        ranks[best & acceptable] = 0
        return Ranked(ranks, error, relative, error / limits.ulp, allowed, excess)


def within_type(values: Floats, right: Floats, type_: str) -> Floats:
    """The right numbers, infinite where a candidate is and its type has no other for them."""
    if not np.isinf(values).any():
        return right
    return np.where(np.isinf(values) & (values == round_to_type(right, type_)), values, right)


class _Limits(NamedTuple):
    """Of the best numbers and of accurate ones the largest error, and what an ulp is."""

    best: Floats
    few: Floats
    ulp: Floats


def _limits(unit: Floats | None, ulp: Floats) -> _Limits:
    """For numbers typed to a unit, or 0 where they are whole, and a type's unit in the last place.

    unit: None of numbers of a type, the best of which are the right ones rounded to it.
    """
    if unit is None:
        return _Limits(ulp / 2.0, ACCURATE_ULPS * ulp, ulp)
    return _Limits(
        unit / 2.0 + ulp / 2.0,
        np.where(unit > 0.0, unit, ACCURATE_ULPS * ulp),
        np.where(unit > 0.0, unit, ulp),
    )


class Marked(NamedTuple):
    """What numbers come to: their marks, and of each whether it is below acceptable.

    open: whether only the exact right number tells its grade, or that none is further off; None
    where the right numbers are exact.
    """

    marks: Marks
    off: NDArray[np.bool_]
    open: NDArray[np.bool_] | None = None


def mark(
    candidate: Candidate,
    right: Floats,
    allowance: Allowance,
    first: int = 0,
    keep: int = 1,
    before: Marks | None = None,
) -> Marked:
    """Grade numbers, and tell which are below acceptable.

    right: as in `ranked`, or in doubt. first: the place of the first of them. keep: so many of the
    worst. before: marks of numbers before the first, which others have to surpass.
    """
    unit = None if candidate.unit is None else candidate.unit.reshape(-1)
    values = candidate.values.reshape(-1)
    flat = within_type(values, right.reshape(-1), candidate.type)
    allowed = Allowance(
        allowance.rate.reshape(-1),
        allowance.total.reshape(-1),
        None if allowance.doubt is None else allowance.doubt.reshape(-1),
    )
    before, marks, parts = before or no_marks(), no_marks(), []
    for start in range(0, flat.size, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        some = candidate.with_values(values[part], None if unit is None else unit[part])
        own = _marked(some, flat[part], allowed.take(part), first + start, keep, before)
        marks = own.marks if not start else marks.merged(own.marks, keep)
        parts.append(own)
    off = [own.off for own in parts]
    open_ = [own.open for own in parts if own.open is not None]
    return Marked(
        marks,
        np.concatenate(off or [np.zeros(0, dtype=bool)]).reshape(right.shape),
        np.concatenate(open_).reshape(right.shape) if open_ else None,
    )


def _marked(
    candidate: Candidate,
    right: Floats,
    allowance: Allowance,
    first: int,
    keep: int,
    before: Marks,
) -> Marked:
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
        float(found.in_ulps.max(initial=0.0)),
        float(found.relative.max(initial=0.0, where=off)),
        some(chosen),
    )
    if allowance.doubt is None:
        return Marked(marks, off)
    with np.errstate(all="ignore"):
        return Marked(marks, off, _open(candidate, right, allowance.doubt, found, before, keep))


# --- Right numbers in doubt -----------------------------------------------------------------------


def _open(
    candidate: Candidate,
    right: Floats,
    doubt: Floats,
    found: Ranked,
    before: Marks,
    keep: int,
) -> NDArray[np.bool_]:
    """Which numbers, (k,), another right one so near might grade otherwise, or lead by a figure."""
    size, error = np.abs(right), found.error
    smaller, larger = np.maximum(size - doubt, 0.0), size + doubt
    low, high = (_limits(candidate.unit, spacing(end, candidate.type)) for end in (smaller, larger))
    margin = 2.0 * doubt + MOVES * error
    least, most = error - margin, error + margin
    open_: NDArray[np.bool_] = ~np.isfinite(doubt) | np.isinf(candidate.values)
    for lower, upper in (
        (low.best, high.best),
        (low.few, high.few),
        (found.allowed, found.allowed),
        (ONE_DIGIT * size, ONE_DIGIT * size),
    ):
        open_ |= (least <= upper) & (most > lower)
    least, most = error - doubt, error + doubt
    wrong_zero = candidate.values == 0.0  # is off by all of the right number
    relative = (
        np.where(wrong_zero, size > doubt, _over(least, larger)),
        np.where(wrong_zero, larger > 0.0, _over(most, smaller)),
    )
    for lower, upper, known, count in (
        (least, most, before.max_abs_error, 1),
        (*relative, before.max_rel_error, 1),
        (_over(least, high.ulp), _over(most, low.ulp), before.max_ulp_error, 1),
        (
            _over(least, found.allowed),
            _over(most + doubt, found.allowed),
            before.least_excess(keep),
            keep,
        ),
    ):
        open_[_leading(lower, upper, known, count)] = True
    off = np.flatnonzero(found.ranks > ACCEPTABLE)
    lower, upper = (ends[off] for ends in relative)
    open_[off[_leading(lower, upper, before.max_rel_error_off, 1)]] = True
    return open_


def _over(error: Floats, by: Floats) -> Floats:
    return np.where(error == 0.0, 0.0, error / by)


def _leading(lower: Floats, upper: Floats, known: float, count: int) -> Integers:
    """Where numbers between lower and upper may be among the count largest, none of them known."""
    places = np.flatnonzero(~(upper <= known))
    if len(places) > count:
        sure = lower[places]
        sure[np.isnan(sure)] = -math.inf
        least = np.partition(sure, len(sure) - count)[len(sure) - count]
        places = places[~(upper[places] <= least) | (lower[places] >= least)]
    return places


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
