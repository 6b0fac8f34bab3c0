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

from cecli.core.rows import Mass, OneHot, first_maximum, laid_out, mass_of, parts
from cecli.machine.double_double import capped_widely
from cecli.machine.elementary import (
    BIAS,
    LARGEST_PLAIN,
    Floats,
    Integers,
    difference,
    exp_parts,
    fold,
    log1p_scaled,
    product,
)
from cecli.machine.plan import FINE, OPTIONAL, UNUSABLE, Factor, Plan, Results, Rows

NOTHING = -(2**40)  # the exponent of 0
FARTHEST = -(2.0**20)  # e to that is 0 whatever it is multiplied by


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

    def column(self) -> Wide:
        """(N,) numbers as (N, 1)."""
        return Wide(self.mantissa[:, None], self.exponent[:, None])

    def pick(self, column: Integers) -> Wide:
        """(N,) of (N, C) numbers one of each row."""
        each = np.arange(len(column))
        return Wide(self.mantissa[each, column], self.exponent[each, column])


def put(plan: Plan, rows: Rows, results: Results, which: Integers) -> None:
    """Work out some of the rows, and put what they come to where it belongs."""
    array = None if results.array is None else results.array[which]
    names = [name for name in OPTIONAL if getattr(results, name) is not None]
    own = Results.room(len(which), array, *names)
    work_out(plan, rows.part(which), own)
    for name, numbers in vars(results).items():
        if numbers is not None:
            numbers[which] = getattr(own, name)


def work_out(plan: Plan, rows: Rows, results: Results) -> None:
    """Fill the results of the rows, as `rows.work_out` does; no row is left to be done."""
    with np.errstate(all="ignore"):
        for part in parts(len(rows), plan.classes):
            _work_out(plan, rows.part(part), results.part(part))


def _work_out(plan: Plan, rows: Rows, results: Results) -> None:
    logits, kept = laid_out(rows)
    logits = np.ascontiguousarray(logits, dtype=np.float64)
    each, top = np.arange(len(logits)), first_maximum(logits)
    high, low, slope, unit = _capped(plan, logits, top)
    # v = (high + low)·2^unit / temperature, the temperature being t·2^exponent
    mantissa, exponent = math.frexp(plan.temperature)
    x, remainder = difference(high, high[each, top, None])
    remainder += low - low[each, top, None]
    shift = np.clip(unit - exponent, -5000, 5000)[:, None]
    x, remainder = np.ldexp(x, shift), np.ldexp(remainder, shift)
    above, below = mantissa.as_integer_ratio()
    x, remainder = product(x, remainder, Factor.of(below, above))
    remainder = np.where(np.abs(x) < LARGEST_PLAIN, remainder, 0.0)
    near = x > FARTHEST
    series, k = exp_parts(np.where(near, x, 0.0), np.where(near, remainder, 0.0))
    terms = Wide.of(np.where(near, series, 0.0), k)
    rest, log_sum, sum_ = _sum(terms, top)
    mass = mass_of(plan, rows, kept, top, lambda: (x, remainder))
    highest = Wide.of(high[each, top] + low[each, top], unit)
    log_sum_exp = highest.times(Wide.of_fraction(1 / Fraction(plan.temperature))).doubles()
    log_sum_exp = log_sum_exp + log_sum.doubles()
    z_term = Wide.of(np.zeros(len(logits)))
    z_loss = np.zeros(len(logits))
    if plan.z_loss:
        z_loss = ((log_sum_exp * plan.z_loss) * log_sum_exp) * kept
        z_term = Wide.of(plan.z_loss, 1).times(Wide.of(log_sum_exp * kept))
        z_term = z_term.times(_rate(plan.z_divisor, plan.temperature))
    ignored = kept == 0.0
    loss, plain = _losses(mass, log_sum, x, remainder)
    results.put("losses", np.where(ignored, 0.0, loss + 0.0))
    results.put("z_losses", np.where(ignored, 0.0, z_loss))
    results.put("plain", np.where(ignored, 0.0, plain + 0.0))
    results.put("log_sum_exp", np.where(ignored, 0.0, log_sum_exp + 0.0))
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


def _capped(
    plan: Plan, logits: Floats, top: Integers
) -> tuple[Floats, Floats, Wide | None, Integers]:
    """The logits, capped if need be, in two parts over 2^unit; their derivative; unit (N,)."""
    samples = len(logits)
    if plan.softcap is None:
        # half of the largest numbers has differences that do not overflow
        unit = (logits[np.arange(samples), top] > LARGEST_PLAIN).astype(np.int64)
        return np.ldexp(logits, -unit[:, None]), np.zeros_like(logits), None, unit
    mantissa, exponent = math.frexp(plan.softcap)
    high, low, series, k = capped_widely(np.ldexp(logits, -exponent), mantissa)
    decay = Wide.of(series, k.astype(np.int64))
    one_more = 1.0 + decay.doubles()
    slope = decay.times(Wide.of(4.0)).over(one_more).over(one_more)
    masked = logits == -np.inf
    slope = Wide(np.where(masked, 0.5, slope.mantissa), np.where(masked, 1, slope.exponent))
    return high, low, slope, np.full(samples, exponent)


def _sum(terms: Wide, top: Integers) -> tuple[Wide, Wide, Floats]:
    """(N,) R, log1p(R) and 1 + R."""
    each = np.arange(len(top))
    others = Wide(terms.mantissa.copy(), terms.exponent.copy())
    others.mantissa[each, top], others.exponent[each, top] = 0.0, NOTHING
    largest = others.exponent.max(axis=1)
    high, low = fold(others.at(largest[:, None]))
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


def _losses(
    mass: Mass | None, log_sum: Wide, x: Floats, remainder: Floats
) -> tuple[Floats, Floats]:
    """L = Y log1p(R) − Σ_i y_i (v_i − m); and for a class index the same with Y = 1."""
    one = log_sum.doubles()
    if mass is None:
        return one, one
    near = log_sum.times(Wide.of(mass.amount)).doubles()
    plain = one
    if mass.column is not None:
        each = np.arange(len(one))
        high, low = x[each, mass.column], remainder[each, mass.column]
        plain = (one - low) - high
        if isinstance(mass, OneHot):
            far = high * mass.amount
            loss = np.where(far == -np.inf, np.inf, (near - low * mass.amount) - far)
            return np.where(mass.amount == 0.0, 0.0, loss), plain
    return near + mass.dot, plain


def _grad(
    plan: Plan,
    mass: Mass | None,
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
    per_mass = Wide.of(mass.amount).times(rate)
    share = per_mass.plus(z_term).over(sum_)
    parts = terms.times(share.column())
    if isinstance(mass, OneHot):
        column = mass.column
        target = terms.pick(column)
        others = Wide.of(1.0).minus(target).plus(rest)
        own = target.times(z_term.over(sum_)).minus(others.times(per_mass.over(sum_)))
    else:
        column = top
        parts = parts.minus(Wide.of(mass.mass).times(rate))
        up = Wide.of(mass.others).times(rate).plus(z_term).over(sum_)
        own = up.minus(rest.times(Wide.of(mass.top).times(rate).over(sum_)))
    each = np.arange(len(column))
    parts.mantissa[each, column], parts.exponent[each, column] = own
    return (parts if slope is None else parts.times(slope)).doubles()
