"""Rows of logits relative to their maximum: exponentials, and their sums without a lost digit.

What v_i − m loses to rounding is kept and folded into the exponential; sums are as good as
correctly rounded; what is next to the subnormal numbers is computed at a larger scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cecli.core.error_free import (
    LARGEST_ON_GRID,
    divide,
    remainder_of,
    small_buffer,
    subtract_on_grid,
    subtracts_exactly,
    sum_rows,
)
from cecli.problem.dtypes import Floats, Integers, Logits, row_maxima
from cecli.problem.problem import Block

# e^x is a normal number above this; below it exponentials are taken at e^TAIL_SHIFT the scale.
TAIL_START = -650.0
TAIL_SHIFT = 700.0
TAIL_SCALE = math.exp(-TAIL_SHIFT)
SMALLEST_PLAIN_REST = 2.0**-900
# A row's e^{v − m} are cut at a unit this far below the largest sum they can have.
SPLIT_BITS = 52
# Up to here the difference of two logits cannot overflow, whatever the smaller one is.
LARGEST_PLAIN_LOGIT = 2.0**969


@dataclass(frozen=True, eq=False)
class Shifted:
    """Rows v (the logits, capped and divided by the temperature) relative to their maximum m.

    logits (N, C), maximum (N,): capped, but not yet divided by the temperature. lossless: whether
    they are float32 whose differences are doubles. lowest, highest: of all logits but −∞.
    exponentials (N, C): e^{v − m}. sum (N,): of those, 1 + R. rest, left_out (N,):
    R = rest·scale + left_out, the latter below the digits of the former. scale: 1, or (N,) if R is
    next to the subnormal numbers in some row. sech (N, C): of z/softcap, whose square is dv/dz
    times the temperature; None without a softcap.
    """

    logits: Logits
    maximum: Floats
    temperature: float
    lossless: bool
    lowest: float
    highest: float
    exponentials: Floats
    sum: Floats
    rest: Floats
    left_out: Floats
    scale: Floats | float
    sech: Floats | None
    kept: NDArray[np.bool_]

    @property
    def has_tails(self) -> bool:
        """Whether scale is not 1 in some row."""
        return isinstance(self.scale, np.ndarray)

    @cached_property
    def top(self) -> Integers:
        """(N,) the column of the maximum, the first of several."""
        return np.asarray(self.logits.argmax(axis=1))

    @property
    def plain_rest(self) -> Floats:
        """(N,) R, with fewer digits where it is next to the subnormal numbers."""
        return self.rest * self.scale if self.has_tails else self.rest

    @cached_property
    def log_sum(self) -> Floats:
        """(N,) log1p(R) over scale."""
        # the derivative of log1p(R) is 1 / (1 + R)
        log_sum = np.log1p(self.rest) + self.left_out / self.sum
        # log1p(R) = R to the last digit where R is as small as that
        return np.where(self.scale == 1.0, log_sum, self.rest) if self.has_tails else log_sum

    @property
    def log_sum_exp(self) -> Floats:
        """(N,) log Σ_j e^{v_j} = m + log1p(R)"""
        return self.maximum / self.temperature + self.log_sum * self.scale

    def difference(self, picked: Logits | None = None) -> tuple[Floats, Floats | float]:
        """v − m as a double and what rounding left out: of one logit a row, (N,), or of all."""
        if picked is None:
            picked, maximum = self.logits, self.maximum[:, None]
        else:
            maximum = self.maximum
        return _difference(picked, maximum, self.temperature, self.lossless)


def shift(block: Block) -> Shifted:
    """The rows of a block relative to their maximum, ready for the functions below."""
    objective = block.problem.objective
    logits, maximum = block.logits, block.maximum
    temperature, sech = float(objective.temperature), None
    if objective.softcap is not None:
        logits, sech = _cap(logits.astype(np.float64), float(objective.softcap))
        maximum = row_maxima(logits)
    highest = float(maximum.max(initial=-np.inf))
    if highest > LARGEST_PLAIN_LOGIT:
        logits, maximum, temperature = logits * 0.5, maximum * 0.5, temperature * 0.5
        highest *= 0.5
    lowest = float(logits.min(initial=np.inf))
    masked = lowest == -np.inf
    if masked:
        lowest = float(np.where(logits == -np.inf, np.inf, logits).min())
    lossless = subtracts_exactly(logits, max(-lowest, highest))
    exponentials, remainder = _row_differences(logits, maximum, temperature, lossless, highest)
    np.exp(exponentials, out=exponentials)
    total, low = _split_sums(exponentials)
    if isinstance(remainder, np.ndarray):
        if masked:
            remainder[np.isnan(remainder)] = 0.0
        added = np.multiply(remainder, exponentials, out=remainder)
        low += np.einsum("ij->i", added)
        exponentials += added
    # without the maximum's own 1, which leaves no trace in what is exact
    others = total - 1.0
    rest = others + low
    left_out = low - (rest - others)
    scale = _settle_small(rest, left_out, exponentials, logits, maximum, temperature)
    return Shifted(
        logits=logits,
        maximum=maximum,
        temperature=temperature,
        lossless=lossless,
        lowest=lowest,
        highest=highest,
        exponentials=exponentials,
        sum=total + low,
        rest=rest,
        left_out=left_out,
        scale=scale,
        sech=sech,
        kept=block.kept,
    )


def _cap(logits: Floats, softcap: float) -> tuple[Floats, Floats]:
    """c·tanh(z/c), and the root of its derivative: sech(z/c) = 2a / (1 + a²), a = e^{−|z/c|}."""
    ratio, remainder = divide(logits, np.zeros_like(logits), softcap)
    decay = np.exp(-np.abs(ratio))
    decay -= decay * (np.sign(ratio) * remainder)
    masked = logits == -np.inf
    capped = np.where(masked, -np.inf, softcap * np.tanh(ratio))
    return capped, np.where(masked, 1.0, 2.0 * decay / (1.0 + decay * decay))


def _difference(
    logits: Logits, maximum: Floats, temperature: float, lossless: bool
) -> tuple[Floats, Floats | float]:
    """(logits − maximum) / temperature as a double, and what rounding left out if it is finite."""
    remainder: Floats | float = 0.0
    with small_buffer(logits):
        difference: Floats = np.subtract(logits, maximum)
        if not lossless:
            remainder = remainder_of(logits, maximum, difference)
    if isinstance(remainder, np.ndarray) and not difference.min(initial=0) > -LARGEST_PLAIN_LOGIT:
        remainder[~np.isfinite(remainder)] = 0.0
    if temperature == 1.0:
        return difference, remainder
    return divide(difference, remainder, temperature)


def tail_exponentials(logits: Logits, maximum: Floats, temperature: float) -> Floats:
    """e^{(logits − maximum) / temperature} over TAIL_SCALE."""
    exponentials, remainder = _difference(logits, maximum, temperature, False)
    exponentials += TAIL_SHIFT
    np.exp(exponentials, out=exponentials)
    exponentials += exponentials * remainder
    return exponentials


def _row_differences(
    logits: Logits, maximum: Floats, temperature: float, lossless: bool, highest: float
) -> tuple[Floats, Floats | float]:
    """v − m of each row as a double, and what rounding left out; NaN where that is masked."""
    maximum = maximum[:, None]
    if temperature != 1.0 or logits.dtype != np.float64:
        return _difference(logits, maximum, temperature, lossless)
    doubles: Floats = logits.astype(np.float64, copy=False)
    # What is too far below the maximum for the grid has e^{v − m} = 0 all the same.
    if maximum.min(initial=0.0) >= -LARGEST_ON_GRID and highest <= LARGEST_ON_GRID:
        return subtract_on_grid(doubles, maximum)
    difference, remainder = _difference(doubles, maximum, temperature, lossless)
    left_out = np.asarray(remainder)
    on_grid = np.flatnonzero(np.abs(maximum) <= LARGEST_ON_GRID)
    difference[on_grid], left_out[on_grid] = subtract_on_grid(doubles[on_grid], maximum[on_grid])
    return difference, left_out


def _split_sums(exponentials: Floats) -> tuple[Floats, Floats]:
    """Σ_j e^{v_j − m} as two sums, (N,), the first of them exact, the second far below it.

    Each term is cut, by adding and subtracting a number, into a multiple of a unit and what is
    below it. Sums of the multiples are exact.
    """
    power = _splitter(exponentials.shape[1])
    high = exponentials + power
    high -= power
    total = np.einsum("ij->i", high)
    np.subtract(exponentials, high, out=high)
    return total, high.sum(axis=1)


def _splitter(classes: int) -> float:
    return 1.5 * 2.0 ** math.ceil(math.log2(classes))


def _settle_small(
    rest: Floats,
    left_out: Floats,
    exponentials: Floats,
    logits: Logits,
    maximum: Floats,
    temperature: float,
) -> Floats | float:
    """Sum R anew in the rows where it is so small that the sums of what was cut off matter.

    Returns the scale that rest has then.
    """
    classes = exponentials.shape[1]
    smallest_exact = 16 * classes * _splitter(classes) * 2.0**-SPLIT_BITS
    if rest.min(initial=np.inf) >= smallest_exact:
        return 1.0
    small = np.flatnonzero(rest < smallest_exact)
    rest[small], small_scale = _small_rest(
        exponentials[small], logits[small], maximum[small], temperature
    )
    left_out[small] = 0.0
    if isinstance(small_scale, float):
        return small_scale
    scale = np.ones_like(rest)
    scale[small] = small_scale
    return scale


def _small_rest(
    exponentials: Floats, logits: Logits, maximum: Floats, temperature: float
) -> tuple[Floats, Floats | float]:
    """R as rest·scale: summed without the maximum, and at e^TAIL_SHIFT the scale where tiny."""
    each, top = np.arange(len(logits)), logits.argmax(axis=1)
    exponentials[each, top] = 0.0
    rest = sum_rows(exponentials)
    tiny = np.flatnonzero(rest < SMALLEST_PLAIN_REST)
    if not len(tiny):
        return rest, 1.0
    terms = tail_exponentials(logits[tiny], maximum[tiny, None], temperature)
    terms[np.arange(len(tiny)), top[tiny]] = 0.0
    rest[tiny] = sum_rows(terms)
    scale = np.ones_like(rest)
    scale[tiny] = TAIL_SCALE
    return rest, scale
