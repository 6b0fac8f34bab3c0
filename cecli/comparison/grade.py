"""How good numbers are for the precision they are given in: from exact to wrong, never absolutely.

exact: the correctly rounded value. accurate: within a few units in the last place. acceptable: what
the textbook formula reaches in that precision. inaccurate: a digit is right. wrong: none is.

The textbook formula p_i − q_i errs by u·k·(|g_i| + q_i·scale), u the unit roundoff of the type,
k = 4 + |v_i − m| + log₂ C, v the logits after softcap and temperature, m their largest and scale
what the row is multiplied by: p_t − 1 may cancel, but no other class may be 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cecli.comparison.textbook import Batch
from cecli.input.candidate import Candidate
from cecli.problem.dtypes import Floats
from cecli.problem.precision import round_to_type, spacing, type_precision

Grade = Literal["exact", "accurate", "acceptable", "inaccurate", "wrong"]
GRADES: tuple[Grade, ...] = ("exact", "accurate", "acceptable", "inaccurate", "wrong")
ACCEPTABLE = GRADES.index("acceptable")
ACCURATE_ULPS = 4.0
ONE_DIGIT = 0.1
# However wide the spread of the logits, nothing that has lost half of itself is acceptable.
LARGEST_RATE = 0.5


@dataclass(frozen=True, eq=False)
class Allowance:
    """What acceptable numbers may be off by: rate·size + least, and the unit of typed ones.

    rate: the relative error of a term; total: all of it. Arrays of the shape that is judged.
    """

    rate: Floats
    total: Floats


def gradient_allowance(
    batch: Batch, exact: Floats, candidate: Candidate, rtol: float | None
) -> Allowance:
    """What each component of a gradient, (N, C), may be off by."""
    if rtol is not None:
        return _relative_allowance(exact, candidate, rtol)
    precision = type_precision(candidate.type)
    with np.errstate(all="ignore"):
        distance = batch.maximum - batch.scaled
        distance[~np.isfinite(distance)] = 0.0
        steps = 4.0 + distance + math.log2(batch.classes)
        if batch.softcap is not None:
            # tanh rounds the capped logits, and none is larger than the cap
            steps += np.abs(batch.maximum) + np.abs(batch.maximum - distance)
        rate = np.minimum(precision.epsilon / 2.0 * steps, LARGEST_RATE)
        scale = batch.slope / batch.divisor
        size = np.abs(exact) + np.where(batch.kept, batch.mass * scale, 0.0)
        if batch.z_loss:
            factor = 2.0 * batch.z_loss / batch.z_divisor * np.abs(batch.log_sum_exp)
            size += np.where(batch.kept, factor * batch.softmax * batch.slope, 0.0)
        least = precision.smallest_subnormal * np.maximum(1.0, batch.total * scale)
    total = rate * size + np.where(size > 0.0, least, 0.0)
    return Allowance(rate, total if candidate.unit is None else total + candidate.unit)


def loss_allowance(
    batch: Batch, exact: Floats, candidate: Candidate, rtol: float | None
) -> Allowance:
    """The same for the loss: one number, or with reduction none one for each row.

    The logarithm of a sum next to 1 is off by u, however small it is.
    """
    if rtol is not None:
        return _relative_allowance(exact, candidate, rtol)
    precision = type_precision(candidate.type)
    with np.errstate(all="ignore"):
        size = batch.total / batch.divisor
        if batch.z_loss:
            size = size + batch.z_loss / batch.z_divisor * batch.log_sum_exp**2
        size = np.where(batch.kept, size, 0.0)
    size = size.reshape(exact.shape) if exact.ndim else size.sum()
    steps = 4.0 + math.log2(batch.classes) + math.log2(max(1, batch.samples))
    rate = np.full(exact.shape, min(precision.epsilon / 2.0 * steps, LARGEST_RATE))
    allowed = rate * (np.abs(exact) + size) + precision.smallest_subnormal
    return Allowance(rate, allowed if candidate.unit is None else allowed + candidate.unit)


def _relative_allowance(exact: Floats, candidate: Candidate, rtol: float) -> Allowance:
    least = type_precision(candidate.type).smallest_subnormal
    allowed = rtol * np.abs(exact) + np.where(exact == 0.0, 0.0, least)
    return Allowance(np.full(exact.shape, rtol), allowed)


@dataclass(frozen=True, eq=False, repr=False)
class Graded:
    """What `grade` returns.

    max_abs_error, max_rel_error, max_ulp_error: the largest, each by itself; a unit in the last
    place is that of the type, or with by_digits that of the last digit typed. worst: index of the
    number that is furthest off, measured by what is allowed; place: where the arrays, flat, have
    it. off, total: how many are below acceptable, and all.
    exact, candidate, difference, allowed, excess (difference over allowed): arrays of one shape.
    """

    grade: Grade
    precision: str
    by_digits: bool
    max_abs_error: float
    max_rel_error: float
    max_ulp_error: float
    worst: tuple[int, ...]
    off: int
    total: int
    exact: Floats
    candidate: Floats
    difference: Floats
    allowed: Floats
    excess: Floats
    place: int

    def __repr__(self) -> str:
        """How many are off, and the one furthest off, in a line."""
        judged = f"judged as {self.precision}"
        count = f"{self.off:,} of {self.total:,} off, " if self.total > 1 else ""
        if not self.total or not self.max_abs_error:
            return count + judged
        place = f"the worst at {self.worst}, " if self.worst else ""
        found, right = (float(a.reshape(-1)[self.place]) for a in (self.candidate, self.exact))
        return f"{count}{judged}; {place}{found:.6g} where {right:.6g} is right"

    @property
    def passed(self) -> bool:
        """Whether all numbers are acceptable or better."""
        return GRADES.index(self.grade) <= ACCEPTABLE


def grade(
    candidate: Candidate, exact: Floats, allowance: Allowance, *, certain: bool = True
) -> Graded:
    """Grade numbers by the worst of them.

    exact: what they should be, of the same shape. certain: these are correctly rounded; where they
    are not, no double is called exact.
    """
    # an infinite number is the right one or it is not
    allowed = np.where(np.isinf(exact), 0.0, allowance.total)
    with np.errstate(all="ignore"):
        difference = np.where(candidate.values == exact, 0.0, candidate.values - exact)
        error = np.where(np.isnan(difference), math.inf, np.abs(difference))
        ulp = spacing(exact, candidate.type)
        few = ACCURATE_ULPS * ulp
        if candidate.unit is None:
            best = candidate.values == round_to_type(exact, candidate.type)
            best &= certain or candidate.type != "float64"
        else:
            best = error <= candidate.unit / 2.0 + ulp / 2.0
            ulp = np.where(candidate.unit > 0.0, candidate.unit, ulp)
            few = np.where(candidate.unit > 0.0, candidate.unit, ACCURATE_ULPS * ulp)
        relative = np.where(error == 0.0, 0.0, error / np.abs(exact))
        excess = np.where(error == 0.0, 0.0, error / allowed)
        ulps = error / ulp
        ranks = np.select(
            [
                best & (error <= allowed),
                error <= np.minimum(few, allowed),
                error <= allowed,
                relative < ONE_DIGIT,
            ],
            list(range(len(GRADES) - 1)),
            len(GRADES) - 1,
        )
    worst = int(excess.argmax()) if excess.size else 0
    return Graded(
        grade=GRADES[int(ranks.max(initial=0))],
        precision=candidate.precision,
        by_digits=candidate.unit is not None and bool(candidate.unit.any()),
        max_abs_error=float(error.max(initial=0.0)),
        max_rel_error=float(relative.max(initial=0.0)),
        max_ulp_error=float(ulps.max(initial=0.0)),
        worst=tuple(int(i) for i in np.unravel_index(worst, exact.shape)) if exact.ndim else (),
        off=int((ranks > ACCEPTABLE).sum()),
        total=exact.size,
        exact=exact,
        candidate=candidate.values,
        difference=difference,
        allowed=allowed,
        excess=excess,
        place=worst,
    )
