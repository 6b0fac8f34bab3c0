"""Softmax, log-softmax, loss and gradient of rows of logits: the definition, in NumPy.

For one row with logits v (capped and over the temperature), target mass y of total Y, m = max v
and R = Σ_{j≠top} e^{v_j − m}, top being the first class of the maximum:

    softmax      ŷ_i    = e^{v_i − m} / (1 + R)
    log-softmax         = (v_i − m) − log1p(R)
    loss         L      = Y log1p(R) − Σ_i y_i (v_i − m)
    gradient     ∂L/∂v_i = Y ŷ_i − y_i

Nothing in these lines cancels, but for ŷ_i ≈ y_i (by nature) and ŷ_i ≈ 1, where the gradient is
summed from the other classes. Every operation is one of `machine.elementary`'s kind, so that the
compiled `kernel.c`, which has the same formulas in the same order, gives the same bits. An array's
layout decides in which order memory is gone through, and nothing else.

Source: Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions",
IMA J. Numer. Anal. 2021, for the shifted formulas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.machine.elementary import (
    BIAS,
    LARGEST_PLAIN,
    SCALE,
    SMALLEST_EXPONENT,
    UNSCALE,
    capped,
    difference,
    exp_scaled,
    fold,
    log1p_scaled,
    product,
)
from cecli.machine.plan import FINE, RARE, UNUSABLE, LogitRows, Plan, Results
from cecli.problem.dtypes import Floats, Integers

FEW_CLASSES = 64
AT_ONCE = 2**16  # numbers of all rows that are worked on together
HALF_UNSCALE = 2.0 ** (-BIAS // 2)
SMALLEST_FACTOR, LARGEST_FACTOR = 2.0**-400, 2.0**64

Parts = tuple[Floats, Floats]  # a number and what it leaves out, or two that belong together


def work_out(plan: Plan, rows: LogitRows, results: Results) -> None:
    """Fill the results of the rows; the plan is in range."""
    with np.errstate(all="ignore"):
        for part in parts(len(rows), plan.classes):
            _work_out(plan, rows.part(part), results.part(part))


def parts(samples: int, classes: int) -> Iterator[slice]:
    """So many rows at a time that they stay in cache with all that is made of them."""
    step = max(1, AT_ONCE // classes)
    return (slice(start, start + step) for start in range(0, samples, step))


@dataclass(frozen=True, eq=False, repr=False)
class Shifted:
    """Rows v relative to their maximum.

    logits (N, C), lows (N, C) or None: as given, or capped in two parts. maximum, maximum_low
    (N,): the same of the largest. top (N,): its column, the first of several. exactly: whether
    v − m needs no second part. scaled (N, C): 2^BIAS·e^{v − m}. rest (N,): 2^BIAS·R.
    log_scaled (N,): 2^BIAS·log1p(R). sum, lost (N,): 1 + R, and which part of it was rounded off.
    slopes (N, C): 2^BIAS times the derivative of
    the capped logit, or None.
    """

    plan: Plan
    logits: NDArray[Any]
    lows: Floats | None
    slopes: Floats | None
    maximum: Floats
    maximum_low: Floats
    top: Integers
    exactly: bool
    scaled: Floats
    rest: Floats
    log_scaled: Floats
    sum: Floats
    lost: Floats

    def pick(self, numbers: NDArray[Any], column: Integers) -> NDArray[Any]:
        """(N,) one number of each row."""
        picked: NDArray[Any] = numbers[np.arange(len(column)), column]
        return picked

    def difference(self) -> tuple[Floats, Floats]:
        """v − m in two parts, the second 0 where the first is next to overflow."""
        high, low = _differences(
            self.plan, self.logits, self.lows, self.maximum[:, None], self.maximum_low[:, None]
        )
        return high, _left_out(high, low)

    def difference_at(self, column: Integers) -> tuple[Floats, Floats]:
        """The same of one class in each row."""
        logits = self.pick(self.logits, column)
        lows = None if self.lows is None else self.pick(self.lows, column)
        high, low = _differences(self.plan, logits, lows, self.maximum, self.maximum_low)
        return high, _left_out(high, low)


def shift(plan: Plan, logits: NDArray[Any]) -> Shifted:
    """Rows relative to their maximum."""
    top = first_maximum(logits)
    each = np.arange(len(top))
    lows = slopes = None
    maximum = logits[each, top].astype(np.float64)
    maximum_low = np.zeros_like(maximum)
    exactly = not plan.tempered and plan.softcap is None and _subtracts_exactly(logits, maximum)
    if plan.softcap is not None:
        logits, lows, slopes = capped(
            logits.astype(np.float64), plan.cap_limit, plan.cap, plan.cap_inverse
        )
        maximum, maximum_low = logits[each, top], lows[each, top]
    if exactly:
        x, remainder = logits.astype(np.float64), None
        x -= maximum[:, None]
    else:
        x, remainder = _differences(plan, logits, lows, maximum[:, None], maximum_low[:, None])
    scaled = exp_scaled(x, remainder, x)
    # what the maximum adds to the sum is exactly 1
    scaled[each, top] = 0.0
    high, low = fold(scaled)
    scaled[each, top] = SCALE
    rest = high + low
    log_scaled, sum_, lost = log1p_scaled(rest, (high - rest) + low)
    return Shifted(
        plan,
        logits,
        lows,
        slopes,
        maximum,
        maximum_low,
        top,
        exactly,
        scaled,
        rest,
        log_scaled,
        sum_,
        lost,
    )


def first_maximum(logits: NDArray[Any]) -> Integers:
    """(N,) the column of each row's maximum, the first of several."""
    if logits.shape[1] > FEW_CLASSES:
        return np.asarray(logits.argmax(axis=1))
    best, place = logits[:, 0].copy(), np.zeros(len(logits), np.int64)
    for column in range(1, logits.shape[1]):
        np.copyto(place, column, where=logits[:, column] > best)
        np.maximum(best, logits[:, column], out=best)
    return place


def _subtracts_exactly(logits: NDArray[Any], maximum: Floats) -> bool:
    """Whether every difference from a maximum that matters is a double: nothing is left out.

    Single-precision numbers of 2^e or more are multiples of 2^(e − 23). Those of less than
    2^(e + 29) differ by less than 2^(e + 30), and by such multiples: by numbers of 53 bits. What is
    SMALLEST_EXPONENT below the maximum does not matter, and zeros change nothing.
    """
    if logits.dtype != np.float32:
        return False
    # a zero becomes the largest
    sizes = logits.view(np.uint32) & np.uint32(0x7FFFFFFF)
    sizes -= np.uint32(1)
    smallest = np.uint32(sizes.min() + np.uint32(1)).view(np.float32)
    largest = np.abs(maximum).max() - SMALLEST_EXPONENT
    return bool(largest <= float(smallest) * 2.0**28)


def _differences(
    plan: Plan, logits: NDArray[Any], lows: Floats | None, maximum: Floats, maximum_low: Floats
) -> tuple[Floats, Floats]:
    """v − m in two parts."""
    if lows is None:
        high, low = difference(logits.astype(np.float64, copy=False), maximum)
    else:
        high, low = logits - maximum, lows - maximum_low
    return product(high, low, plan.inverse) if plan.tempered else (high, low)


def _left_out(high: Floats, low: Floats) -> Floats:
    return np.where(np.abs(high) < LARGEST_PLAIN, low, 0.0)


@dataclass(frozen=True, eq=False, repr=False)
class OneHot:
    """All of a row's mass on one class: its column (N,), and how much, the total Y (N,)."""

    amount: Floats
    column: Integers


@dataclass(frozen=True, eq=False, repr=False)
class Spread:
    """Mass y on all classes (N, C): soft targets and label smoothing.

    amount (N,): the total Y, others without the maximum's class and top on that. dot (N,):
    Σ_i y_i (m − v_i). column (N,): the target's, where it is a class index.
    """

    amount: Floats
    mass: Floats
    others: Floats
    top: Floats
    dot: Floats
    column: Integers | None


Mass = OneHot | Spread


def mass_of(
    plan: Plan, rows: LogitRows, kept: Floats, top: Integers, differences: Callable[[], Parts]
) -> Mass | None:
    """y = weight·((1 − ε) q + ε/C); 0 in the rows that do not count.

    top (N,): the column of the maximum. differences: v − m in two parts, asked for if need be.
    """
    if plan.mass == "none":
        return None
    column = rows.column
    if column is not None and plan.mass == "one-hot":
        own = np.ones(len(column)) if plan.weight is None else plan.weight[column]
        return OneHot(np.where(kept == 0.0, 0.0, own), column)
    high, low = differences()
    spread = np.empty_like(high)
    if column is not None:
        others, on_top = _smoothed_mass(plan, column, top, spread)
    else:
        others, on_top = _soft_mass(plan, rows.soft, top, spread)
    terms = -(high + low)
    terms *= spread
    terms[spread == 0.0] = 0.0
    dot, dot_low = fold(terms)
    dot = np.where(dot == np.inf, np.inf, dot + dot_low) * kept
    others, on_top = others * kept, on_top * kept
    return Spread(others + on_top, spread, others, on_top, dot, column)


def _smoothed_mass(plan: Plan, column: Integers, top: Integers, spread: Floats) -> Parts:
    """The mass of class indices in spread; (N,) that beside the maximum's and the maximum's."""
    each = np.arange(len(spread))
    own = np.ones(len(column)) if plan.weight is None else plan.weight[column]
    spread[...] = plan.base_each if plan.base is None else plan.base
    high, low = plan.base_total
    others = (high - spread[each, top]) + low
    others = others + np.where(top == column, 0.0, plan.keep * own)
    spread[each, column] = (plan.keep + plan.base_each) * own
    return others, spread[each, top]


def _soft_mass(plan: Plan, soft: NDArray[Any] | None, top: Integers, spread: Floats) -> Parts:
    """The same of soft targets."""
    each = np.arange(len(spread))
    spread[...] = soft
    if plan.smoothing:
        spread *= plan.keep
        spread += plan.base_each
    if plan.weight is not None:
        spread *= plan.weight
    on_top = spread[each, top]
    spread[each, top] = 0.0
    others = np.add(*fold(spread))
    spread[each, top] = on_top
    return others, on_top


def _work_out(plan: Plan, rows: LogitRows, results: Results) -> None:
    logits, kept = laid_out(rows)
    shifted = shift(plan, logits)
    mass = mass_of(plan, rows, kept, shifted.top, shifted.difference)
    # ignored rows are worked out as rows of zeros, and told apart at the end
    one = shifted.log_scaled * UNSCALE
    log_sum_exp = (shifted.maximum + shifted.maximum_low) / plan.temperature + one
    z_term = np.zeros_like(one)
    z_loss = np.zeros_like(one)
    if plan.z_loss:
        z_loss = ((log_sum_exp * plan.z_loss) * log_sum_exp) * kept
        z_term = (((plan.z_loss * 2.0) * log_sum_exp) * plan.z_rate) * kept
    loss, plain = _losses(shifted, mass, one)
    fine = shifted.maximum <= LARGEST_PLAIN
    if plan.array == "grad":
        fine &= _in_range(z_term)
    if mass is not None:
        fine &= _in_range(mass.amount)
    if plan.array is not None and results.array is not None:
        array, factor = _array(plan, shifted, mass, z_term)
        fine &= _in_range(factor)
        results.array[...] = array
        results.array[...] += 0.0  # a zero is never −0
        if rows.kept is not None:
            results.array[~rows.kept] = 0.0 if plan.array == "grad" else np.nan
    ignored = kept == 0.0
    results.put("losses", np.where(ignored, 0.0, loss + 0.0))
    results.put("z_losses", np.where(ignored, 0.0, z_loss))
    results.put("plain", np.where(ignored, 0.0, plain + 0.0))
    results.put("log_sum_exp", np.where(ignored, 0.0, log_sum_exp + 0.0))
    largest = logits[np.arange(len(one)), shifted.top]
    usable = np.isfinite(largest) & (shifted.rest < np.inf)
    flags = np.where(usable, np.where(fine, FINE, RARE), UNUSABLE)
    results.flags[...] = np.where(ignored, FINE, flags)


def laid_out(rows: LogitRows) -> tuple[NDArray[Any], Floats]:
    """The logits, zeros in rows that do not count; and 1 for each row that does.

    Few classes are stored column by column: operations are long all the same.
    """
    logits = rows.logits
    if logits.shape[1] <= FEW_CLASSES:
        logits = np.asfortranarray(logits)
    if rows.kept is None or rows.kept.all():
        return logits, np.ones(len(logits))
    logits = logits.copy(order="K")
    logits[~rows.kept] = 0.0
    return logits, rows.kept.astype(np.float64)


def _in_range(factor: Floats) -> NDArray[np.bool_]:
    size = np.abs(factor)
    in_range: NDArray[np.bool_] = (size == 0.0) | (
        (size >= SMALLEST_FACTOR) & (size <= LARGEST_FACTOR)
    )
    return in_range


def _losses(shifted: Shifted, mass: Mass | None, one: Floats) -> tuple[Floats, Floats]:
    """L = Y log1p(R) − Σ_i y_i (v_i − m); and for a class index the same with Y = 1."""
    if mass is None:
        return one, one
    near, plain = shifted.log_scaled * (mass.amount * UNSCALE), one
    if mass.column is not None:
        high, low = shifted.difference_at(mass.column)
        plain = (one - low) - high
        if isinstance(mass, OneHot):
            far = high * mass.amount
            loss = np.where(far == -np.inf, np.inf, (near - low * mass.amount) - far)
            return np.where(mass.amount == 0.0, 0.0, loss), plain
    return near + mass.dot, plain


def _array(
    plan: Plan, shifted: Shifted, mass: Mass | None, z_term: Floats
) -> tuple[Floats, Floats]:
    """The array that is asked for, (N, C), and what its exponentials were multiplied by, (N,)."""
    if plan.array == "softmax":
        factor = _corrected(1.0 / shifted.sum, -shifted.lost)
        return _scaled_by(replace(shifted, slopes=None), factor), factor
    if plan.array == "log_softmax":
        high, low = shifted.difference()
        low -= (shifted.log_scaled * UNSCALE)[:, None]
        high += low
        return high, np.ones_like(z_term)
    if mass is None:
        raise ValueError("a gradient needs a target")
    if isinstance(mass, OneHot):
        return _one_hot_grad(plan, shifted, mass, z_term)
    return _spread_grad(plan, shifted, mass, z_term)


def _one_hot_grad(
    plan: Plan, shifted: Shifted, mass: OneHot, z_term: Floats
) -> tuple[Floats, Floats]:
    """Y ŷ_i, and at the target −Y (1 − ŷ_t) with 1 − ŷ_t = ((1 − e^{v_t − m}) + R) / (1 + R)."""
    column = mass.column
    share = (mass.amount * plan.rate) / shifted.sum
    share = _corrected(share, plan.rate_low - shifted.lost)
    target = shifted.pick(shifted.scaled, column)
    own = (SCALE - target) + shifted.rest
    if shifted.slopes is not None:
        slope = shifted.pick(shifted.slopes, column)
        own = (own * slope) * UNSCALE
        target = (target * slope) * UNSCALE
    own = own * (share * UNSCALE)
    if plan.z_loss:
        z_term = z_term / shifted.sum
        share = share + z_term
        own = own - target * (z_term * UNSCALE)
    grad = _scaled_by(shifted, share)
    grad[np.arange(len(own)), column] = -own
    return grad, share


def _spread_grad(
    plan: Plan, shifted: Shifted, mass: Spread, z_term: Floats
) -> tuple[Floats, Floats]:
    """Y ŷ_i − y_i, and at the maximum (Y − y) ŷ − y (1 − ŷ), both parts ≥ 0."""
    reciprocal = 1.0 / shifted.sum
    share = (mass.amount * plan.rate + z_term) / shifted.sum
    share = _corrected(share, plan.rate_low - shifted.lost)
    up = (mass.others * plan.rate + z_term) * reciprocal
    own = (mass.top * plan.rate) * reciprocal
    flat = mass.mass * plan.rate
    grad = shifted.scaled
    if shifted.slopes is None:
        grad *= (share * UNSCALE)[:, None]
        grad -= flat
        top = up - shifted.rest * (own * UNSCALE)
    else:
        grad *= share[:, None]
        flat *= SCALE
        grad -= flat
        grad = _sloped(grad, shifted.slopes)
        slope = shifted.pick(shifted.slopes, shifted.top)
        top = _sloped(up * SCALE - shifted.rest * own, slope)
    grad[np.arange(len(top)), shifted.top] = top
    return grad, share


def _sloped(numbers: Floats, slope: Floats) -> Floats:
    """numbers·slope, both 2^BIAS times as large as they are: rounded once, also if subnormal."""
    return ((numbers * HALF_UNSCALE) * (slope * HALF_UNSCALE)) * UNSCALE


def _corrected(numbers: Floats, part: Floats) -> Floats:
    """Numbers of which a small part was left out."""
    return numbers + numbers * part


def _scaled_by(shifted: Shifted, share: Floats) -> Floats:
    """share·e^{v − m}, times the derivative of the capped logit if any; in place of scaled."""
    terms = shifted.scaled
    if shifted.slopes is not None:
        terms *= shifted.slopes
        terms *= UNSCALE
    terms *= (share * UNSCALE)[:, None]
    return terms
