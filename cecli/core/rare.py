"""Rows that the common arithmetic cannot do: numbers next to overflow, options out of its range.

The formulas are those of `rows`, on numbers whose exponent has no bounds, so that nothing but a
result can overflow or become subnormal. Slow, and seldom needed; both executors come here.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.core.rows import first_maximum, laid_out, parts
from cecli.machine.double_double import capped_widely
from cecli.machine.elementary import (
    BIAS,
    LARGEST_PLAIN,
    difference,
    exp_parts,
    fold,
    log1p_scaled,
    product,
)
from cecli.machine.plan import BEYOND, FINE, OPTIONAL, UNUSABLE, Factor, LogitRows, Plan, Results
from cecli.problem.dtypes import Floats, Integers

NOTHING = -(2**40)  # the exponent of 0
FARTHEST = -(2.0**20)  # e to that is 0 whatever it is multiplied by
SATURATED, LINEAR, LARGEST_EXACT = 2.0**20, 2.0**-30, 2.0**900


class Wide(NamedTuple):
    """Numbers mantissa·2^exponent, the exponent being an integer of any size."""

    mantissa: Floats
    exponent: Integers

    @classmethod
    def of(cls, numbers: Floats | float, exponent: Integers | int = 0) -> Wide:
        """numbers·2^exponent"""
        mantissa, own = np.frexp(np.asarray(numbers, dtype=np.float64))
        return cls(mantissa, np.where(mantissa == 0.0, NOTHING, own + np.asarray(exponent)))

    @classmethod
    def of_fraction(cls, number: Fraction) -> Wide:
        """The nearest number to a positive fraction."""
        exponent = number.numerator.bit_length() - number.denominator.bit_length()
        return cls.of(float(number / Fraction(2) ** exponent), exponent)

    def times(self, other: Wide) -> Wide:
        """The rounded product."""
        return Wide.of(self.mantissa * other.mantissa, self.exponent + other.exponent)

    def over(self, divisor: Floats) -> Wide:
        """The rounded quotient."""
        return Wide.of(self.mantissa / divisor, self.exponent)

    def plus(self, other: Wide) -> Wide:
        """The rounded sum."""
        exponent = np.maximum(self.exponent, other.exponent)
        return Wide.of(self.at(exponent) + other.at(exponent), exponent)

    def minus(self, other: Wide) -> Wide:
        """The rounded difference."""
        return self.plus(Wide(-other.mantissa, other.exponent))

    def at(self, exponent: Integers | int) -> Floats:
        """The numbers over 2^exponent, as doubles."""
        shift = np.clip(self.exponent - exponent, -5000, 5000).astype(np.int32)
        return np.asarray(np.ldexp(self.mantissa, shift))

    def doubles(self) -> Floats:
        """The nearest doubles."""
        return self.at(0)

    def zero_where(self, nothing: NDArray[np.bool_]) -> Wide:
        """The same with some of the numbers 0."""
        mantissa = np.where(nothing, 0.0, self.mantissa)
        return Wide(mantissa, np.where(nothing, NOTHING, self.exponent))

    def put(self, rows: Integers, column: Integers, own: Wide) -> None:
        """Replace one number of each of (N, C)."""
        self.mantissa[rows, column], self.exponent[rows, column] = own

    def folded(self) -> tuple[Floats, Floats, Integers]:
        """(N,) the sums of rows (N, C) over 2^exponent: what is rounded, the rest, the exponent."""
        exponent = self.exponent.max(axis=1)
        return (*fold(self.at(exponent[:, None])), exponent)

    def sum(self) -> Wide:
        """(N,) the rounded sums of rows (N, C)."""
        high, low, exponent = self.folded()
        return Wide.of(np.where(np.isinf(high), high, high + low), exponent)

    def column(self) -> Wide:
        """(N,) numbers as (N, 1)."""
        return Wide(self.mantissa[:, None], self.exponent[:, None])

    def pick(self, column: Integers) -> Wide:
        """(N,) of (N, C) numbers one of each row."""
        each = np.arange(len(column))
        return Wide(self.mantissa[each, column], self.exponent[each, column])


def put(plan: Plan, rows: LogitRows, results: Results, which: Integers) -> None:
    """Work out some of the rows, and put what they come to where it belongs."""
    array = None if results.array is None else results.array[which]
    names = [name for name in OPTIONAL if getattr(results, name) is not None]
    own = Results.room(len(which), array, *names)
    work_out(plan, rows.part(which), own)
    for name, numbers in vars(results).items():
        if numbers is not None:
            numbers[which] = getattr(own, name)


def work_out(plan: Plan, rows: LogitRows, results: Results) -> None:
    """Fill the results of the rows, as `rows.work_out` does; no row is left to be done."""
    with np.errstate(all="ignore"):
        for part in parts(len(rows), plan.classes):
            _work_out(plan, rows.part(part), results.part(part))


def _work_out(plan: Plan, rows: LogitRows, results: Results) -> None:
    logits, kept = laid_out(rows)
    logits = np.ascontiguousarray(logits, dtype=np.float64)
    each, top = np.arange(len(logits)), first_maximum(logits)
    high, low, slope, unit = _capped(plan, logits, top)
    # v = (high + low)·2^unit / temperature, the temperature being t·2^exponent
    mantissa, exponent = math.frexp(plan.temperature)
    x, remainder = difference(high, high[each, top, None])
    remainder += low - low[each, top, None]
    far = _over_temperature(x, remainder, mantissa, (unit - exponent)[:, None])
    x = far[0].doubles()
    remainder = np.where(np.abs(x) < LARGEST_PLAIN, far[1].doubles(), 0.0)
    near = x > FARTHEST
    series, k = exp_parts(np.where(near, x, 0.0), np.where(near, remainder, 0.0))
    terms = Wide.of(np.where(near, series, 0.0), k)
    rest, log_sum, sum_ = _sum(terms, top)
    kept = kept if rows.weights is None else kept * rows.weights
    mass = _mass(plan, rows, kept, top)
    highest = Wide.of(high[each, top] + low[each, top], unit)
    log_sum_exp = highest.times(Wide.of_fraction(1 / Fraction(plan.temperature))).plus(log_sum)
    per_row = Wide.of(plan.z_loss).times(log_sum_exp).times(Wide.of(kept))
    z_term = per_row.times(Wide.of(2.0)).times(_rate(plan.z_divisor, plan.temperature))
    ignored = kept == 0.0
    loss, plain = _losses(mass, log_sum, *far)
    own = {"losses": loss, "z_losses": per_row.times(log_sum_exp), "plain": plain}
    for name, number in own.items():
        results.put(name, np.where(ignored, 0.0, number.doubles() + 0.0))
    beyond = np.stack([number.at(BEYOND) for number in own.values()], axis=1)
    results.put("beyond", np.where(ignored[:, None], 0.0, beyond))
    results.put("log_sum_exp", np.where(ignored, 0.0, log_sum_exp.doubles() + 0.0))
    usable = np.isfinite(logits[each, top]) & ~np.isnan(logits).any(axis=1)
    results.flags[...] = np.where(usable, FINE, UNUSABLE)
    if results.array is None or plan.array is None:
        return
    if plan.array == "log_softmax":
        array = x + (remainder - log_sum.doubles()[:, None])
    elif plan.array == "softmax":
        array = terms.times(Wide.of(1.0 / sum_).column()).doubles()
    else:
        array = _grad(plan, mass, terms, slope, rest, sum_, z_term, top)
    results.array[...] = array
    results.array[...] += 0.0  # a zero is never −0
    results.array[ignored] = 0.0 if plan.array == "grad" else np.nan


def _over_temperature(
    high: Floats, low: Floats, mantissa: float, shift: Integers
) -> tuple[Wide, Wide]:
    """(high + low)·2^shift/mantissa in two parts, the second 0 where the product overflows."""
    above, below = mantissa.as_integer_ratio()
    large = ~(np.abs(high) < LARGEST_EXACT)
    first, second = product(
        np.where(large, 0.0, high), np.where(large, 0.0, low), Factor.of(below, above)
    )
    simple = Wide.of(high, shift).over(np.asarray(mantissa))
    found = Wide.of(first, shift)
    return Wide(
        np.where(large, simple.mantissa, found.mantissa),
        np.where(large, simple.exponent, found.exponent),
    ), Wide.of(second, shift)


def _capped(
    plan: Plan, logits: Floats, top: Integers
) -> tuple[Floats, Floats, Wide | None, Integers]:
    """The logits, capped if need be, in two parts over 2^unit; their derivative; unit (N,)."""
    samples = len(logits)
    # half of the largest numbers has differences that do not overflow
    unit = (logits[np.arange(samples), top] > LARGEST_PLAIN).astype(np.int64)
    halved = np.ldexp(logits, -unit[:, None])
    if plan.softcap is None:
        return halved, np.zeros_like(logits), None, unit
    mantissa, exponent = math.frexp(plan.softcap)
    masked = logits == -np.inf
    ratio = np.where(masked, logits, np.clip(np.ldexp(logits, -exponent), -SATURATED, SATURATED))
    high, low, series, k = capped_widely(ratio, mantissa)
    decay = Wide.of(series, k.astype(np.int64))
    one_more = 1.0 + decay.doubles()
    slope = decay.times(Wide.of(4.0)).over(one_more).over(one_more)
    slope = Wide(np.where(masked, 0.5, slope.mantissa), np.where(masked, 1, slope.exponent))
    if exponent <= 0:
        return high, low, slope, np.full(samples, exponent)
    # c·tanh(z/c) is z to the last digit where z/c is as small as that
    linear = np.abs(ratio) < LINEAR
    high = np.where(linear, halved, np.ldexp(high, exponent - unit[:, None]))
    low = np.where(linear, 0.0, np.ldexp(low, exponent - unit[:, None]))
    return high, low, slope, unit


class WideMass(NamedTuple):
    """Mass y, as in `rows.OneHot` and `rows.Spread`.

    amount (N,): the total Y. column (N,): the target's, where it is a class index. each (N, C): y,
    or None where all is on that class; others, top (N,): of the total, what is not on the maximum's
    class, and what is.
    """

    amount: Wide
    column: Integers | None
    each: Wide | None
    others: Wide
    top: Wide


def _mass(plan: Plan, rows: LogitRows, kept: Floats, top: Integers) -> WideMass | None:
    """y = weight·((1 − ε) q + ε/C), times kept: the row's own weight, 0 where it does not count."""
    if plan.mass == "none":
        return None
    column, samples = rows.column, len(kept)
    weight = np.ones(plan.classes) if plan.weight is None else plan.weight
    counted = Wide.of(kept)
    nothing = Wide.of(np.zeros(samples))
    if column is not None and plan.mass == "one-hot":
        amount = Wide.of(weight[column]).times(counted)
        return WideMass(amount, column, None, nothing, nothing)
    base = Wide.of(plan.smoothing).over(np.asarray(float(plan.classes)))
    if column is not None:
        shape = (samples, plan.classes)
        spread = Wide(np.full(shape, base.mantissa), np.full(shape, base.exponent))
        own = Wide.of(np.full(samples, plan.keep)).plus(base)
        spread.put(np.arange(samples), column, own)
    else:
        spread = Wide.of(np.asarray(rows.soft, np.float64))
        if plan.smoothing:
            spread = spread.times(Wide.of(plan.keep)).plus(base)
    spread = spread.times(Wide.of(weight)).times(counted.column())
    each = np.arange(samples)
    on_top, others = spread.pick(top), Wide(spread.mantissa.copy(), spread.exponent.copy())
    others.put(each, top, nothing)
    others = others.sum()
    return WideMass(others.plus(on_top), column, spread, others, on_top)


def _sum(terms: Wide, top: Integers) -> tuple[Wide, Wide, Floats]:
    """(N,) R, log1p(R) and 1 + R."""
    each = np.arange(len(top))
    others = Wide(terms.mantissa.copy(), terms.exponent.copy())
    others.put(each, top, Wide.of(0.0))
    high, low, largest = others.folded()
    rest = Wide.of(high + low, largest)
    scaled = Wide.of(high, largest).at(-BIAS), Wide.of(low, largest).at(-BIAS)
    total = scaled[0] + scaled[1]
    log_scaled, sum_, _ = log1p_scaled(total, (scaled[0] - total) + scaled[1])
    # log1p(R) = R to the last digit where R is as small as that
    small = rest.exponent < -60
    logarithm = Wide.of(log_scaled, -BIAS)
    log_sum = Wide(
        np.where(small, rest.mantissa, logarithm.mantissa),
        np.where(small, rest.exponent, logarithm.exponent),
    )
    return rest, log_sum, sum_


def _rate(divisor: float, temperature: float) -> Wide:
    return Wide.of_fraction(1 / (Fraction(divisor) * Fraction(temperature)))


def _losses(mass: WideMass | None, log_sum: Wide, x: Wide, remainder: Wide) -> tuple[Wide, Wide]:
    """L = Y log1p(R) − Σ_i y_i (v_i − m); and for a class index the same with Y = 1."""
    if mass is None:
        return log_sum, log_sum
    near, plain = log_sum.times(mass.amount), log_sum
    if mass.column is not None:
        high, low = x.pick(mass.column), remainder.pick(mass.column)
        plain = log_sum.minus(low).minus(high)
    if mass.each is None and mass.column is not None:
        loss = near.minus(low.times(mass.amount)).minus(high.times(mass.amount))
        return loss.zero_where(mass.amount.mantissa == 0.0), plain
    assert mass.each is not None
    terms = mass.each.times(x.plus(remainder))
    # no share of the target is not even infinitely far away
    terms = Wide(-terms.mantissa, terms.exponent).zero_where(mass.each.mantissa == 0.0)
    return near.plus(terms.sum()).zero_where(mass.amount.mantissa == 0.0), plain


def _grad(
    plan: Plan,
    mass: WideMass | None,
    terms: Wide,
    slope: Wide | None,
    rest: Wide,
    sum_: Floats,
    z_term: Wide,
    top: Integers,
) -> NDArray[Any]:
    """As `rows` has it: Y ŷ_i − y_i, summed from the other classes where ŷ_i may be next to 1."""
    if mass is None:
        raise ValueError("a gradient needs a target")
    rate = _rate(plan.divisor, plan.temperature)
    per_mass = mass.amount.times(rate)
    share = per_mass.plus(z_term).over(sum_)
    parts = terms.times(share.column())
    if mass.each is None and mass.column is not None:
        column = mass.column
        target = terms.pick(column)
        others = Wide.of(1.0).minus(target).plus(rest)
        own = target.times(z_term.over(sum_)).minus(others.times(per_mass.over(sum_)))
    else:
        assert mass.each is not None
        column = top
        parts = parts.minus(mass.each.times(rate))
        up = mass.others.times(rate).plus(z_term).over(sum_)
        own = up.minus(rest.times(mass.top.times(rate).over(sum_)))
    parts.put(np.arange(len(column)), column, own)
    return (parts if slope is None else parts.times(slope)).doubles()
