"""What is asked of rows of logits, and what they come to: the same for NumPy and for the kernel.

NumPy is not needed to make a plan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cecli.problem.dtypes import Floats, Integers
    from cecli.problem.wanted import RowsName

MassName = Literal["none", "one-hot", "smoothed", "soft"]

# Beyond these a result may lose digits to overflow or underflow: such rows are done another way.
SMALLEST_TEMPERATURE, LARGEST_TEMPERATURE = 2.0**-64, 2.0**64
SMALLEST_SOFTCAP, LARGEST_SOFTCAP = 2.0**-64, 2.0**7
# What a smaller weight, or share of the target, is multiplied by may need digits that it has not.
SMALLEST_FACTOR = 2.0**-200
SPLITTER = 2.0**27 + 1.0  # cuts a double in two of 26 bits each
SATURATED = 400.0  # 1/cosh² of so much is far below the smallest number


class Factor(NamedTuple):
    """A number as the nearest double, what that leaves out, and the double cut in two."""

    value: float
    low: float
    head: float
    tail: float

    @classmethod
    def of(cls, numerator: int, denominator: int) -> Factor:
        """The factor nearest to a fraction: a quotient of integers is rounded once."""
        value = numerator / denominator
        scaled = value * SPLITTER
        head = scaled - (scaled - value)
        above, below = value.as_integer_ratio()
        low = (numerator * below - above * denominator) / (denominator * below)
        return cls(value, low, head, value - head)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Plan:
    """How every row of a problem is worked out.

    array: what is stored of it, if anything. mass: how the target's mass y lies on the classes.
    temperature, softcap, z_loss, smoothing: the objective's. weight (C,): of the classes, or None.
    divisor, z_divisor: what loss and z-loss, and so the gradient, are divided by.
    """

    classes: int
    array: RowsName | None
    mass: MassName
    temperature: float = 1.0
    softcap: float | None = None
    z_loss: float = 0.0
    smoothing: float = 0.0
    weight: Floats | None = None
    divisor: float = 1.0
    z_divisor: float = 1.0

    @cached_property
    def rate(self) -> float:
        """1 / (divisor·temperature)"""
        return _reciprocal(self.divisor, self.temperature)

    @cached_property
    def rate_low(self) -> float:
        """Which part of the rate its rounding left out."""
        if not 0.0 < self.rate < math.inf:
            return 0.0
        above, below = _product(self.divisor, self.temperature, self.rate)
        return (below - above) / below

    @cached_property
    def z_rate(self) -> float:
        """1 / (z_divisor·temperature)"""
        return _reciprocal(self.z_divisor, self.temperature)

    @property
    def tempered(self) -> bool:
        """Whether logits are divided by anything."""
        return self.temperature != 1.0

    @cached_property
    def inverse(self) -> Factor:
        """1/temperature"""
        above, below = self.temperature.as_integer_ratio()
        return Factor.of(below, above)

    @cached_property
    def cap(self) -> Factor:
        """2·softcap"""
        above, below = (self.softcap or 1.0).as_integer_ratio()
        return Factor.of(2 * above, below)

    @cached_property
    def cap_inverse(self) -> Factor:
        """−2/softcap"""
        above, below = (self.softcap or 1.0).as_integer_ratio()
        return Factor.of(-2 * below, above)

    @property
    def cap_limit(self) -> float:
        """From where on a capped logit does not change any more."""
        return SATURATED * (self.softcap or 1.0)

    @property
    def keep(self) -> float:
        """What smoothing leaves on the target."""
        return 1.0 - self.smoothing

    @property
    def base_each(self) -> float:
        """What smoothing puts on every class, before its weight."""
        return self.smoothing / self.classes

    @cached_property
    def base(self) -> Floats | None:
        """(C,) what smoothing puts on every class; None where all have the same."""
        return None if self.weight is None else self.weight * self.base_each

    @cached_property
    def base_total(self) -> tuple[float, float]:
        """The sum of the base, as a double and what that leaves out."""
        if self.base is None:
            above, below = self.base_each.as_integer_ratio()
            factor = Factor.of(above * self.classes, below)
            return factor.value, factor.low
        terms = self.base.tolist()
        total = math.fsum(terms)  # which is rounded once
        return total, math.fsum([-total, *terms])

    @cached_property
    def in_range(self) -> bool:
        """Whether the options are such that rows can be done the common way."""
        weights = [] if self.weight is None else self.weight.tolist()
        factors = [number for number in (self.smoothing, self.z_loss, *weights) if number]
        return (
            SMALLEST_TEMPERATURE <= self.temperature <= LARGEST_TEMPERATURE
            and (self.softcap is None or SMALLEST_SOFTCAP <= self.softcap <= LARGEST_SOFTCAP)
            and min(factors, default=1.0) >= SMALLEST_FACTOR
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LogitRows:
    """Rows to be worked out.

    logits (N, C): float32 or float64, each row's contiguous. kept (N,): which count; None for all.
    column (N,): the class of each row's target. soft (N, C): its probabilities instead, of either
    type. weights (N,): what the target and the z-loss of each row are multiplied by where rows are
    done the other way; the common arithmetic leaves that to who calls it.
    """

    logits: NDArray[Any]
    kept: NDArray[np.bool_] | None = None
    column: Integers | None = None
    soft: NDArray[Any] | None = None
    weights: Floats | None = None

    def __len__(self) -> int:
        return len(self.logits)

    def part(self, which: slice | Integers) -> LogitRows:
        """Some of the rows."""
        return LogitRows(
            logits=self.logits[which],
            kept=None if self.kept is None else self.kept[which],
            column=None if self.column is None else self.column[which],
            soft=None if self.soft is None else self.soft[which],
            weights=None if self.weights is None else self.weights[which],
        )


@dataclass(frozen=True, eq=False, repr=False)
class Results:
    """What rows come to; arrays that are filled in place, None for what is not asked for.

    array (N, C): of the plan. losses, z_losses, plain, log_sum_exp (N,): the cross-entropy, the
    z-loss, the cross-entropy without weights and smoothing (for class indices), log Σ_j e^{v_j}.
    flags (N,): FINE, RARE (to be done another way) or UNUSABLE (NaN, +∞ or nothing but −∞).
    beyond (N, 3): losses, z_losses and plain over 2^BEYOND, of rows that are done the other way.
    """

    array: NDArray[Any] | None
    losses: Floats
    flags: NDArray[np.uint8]
    z_losses: Floats | None = None
    plain: Floats | None = None
    log_sum_exp: Floats | None = None
    beyond: Floats | None = None

    @classmethod
    def room(cls, samples: int, array: NDArray[Any] | None, *names: str) -> Results:
        """Room for so many rows, with those of OPTIONAL that are named."""
        import numpy as np

        more = {name: np.empty(samples) for name in names}
        return cls(array, np.empty(samples), np.empty(samples, np.uint8), **more)

    def part(self, which: slice) -> Results:
        """The room of some of the rows."""
        return Results(**{name: _part(array, which) for name, array in vars(self).items()})

    def put(self, name: str, numbers: NDArray[Any]) -> None:
        """Fill one of the arrays, if it is asked for."""
        array = getattr(self, name)
        if array is not None:
            array[...] = numbers


def _part(array: NDArray[Any] | None, which: slice) -> Any:
    return None if array is None else array[which]


FINE, RARE, UNUSABLE = range(3)
OPTIONAL = ("z_losses", "plain", "log_sum_exp")
# Losses beyond the doubles are summed over two to the power of this.
BEYOND = 1000


def _reciprocal(divisor: float, temperature: float) -> float:
    above, below = _product(divisor, temperature)
    try:
        return below / above
    except OverflowError:
        return float("inf")


def _product(*numbers: float) -> tuple[int, int]:
    """The exact product of numbers, as a fraction."""
    ratios = [number.as_integer_ratio() for number in numbers]
    return math.prod(above for above, _ in ratios), math.prod(below for _, below in ratios)
