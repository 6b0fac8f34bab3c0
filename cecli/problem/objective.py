"""How logits become a loss: the options of the objective and their ranges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import index
from typing import Literal

from numpy.typing import ArrayLike

from cecli.errors import CecliError

Reduction = Literal["mean", "sum", "none"]

REDUCTIONS = ("mean", "sum", "none")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Objective:
    """How logits become a loss; names, defaults and meaning are PyTorch's where PyTorch has them.

    z is first capped to softcap·tanh(z/softcap), then divided by the temperature. label_smoothing
    moves that much of the target's mass evenly onto all classes, weight multiplies each class's
    mass, ignore_index names the target whose samples do not count, and z_loss·logsumexp² is added.
    sample_weight multiplies all that a sample adds: one of weight 0 does not count, whatever it
    holds, and the mean divides by the sum of the weights. divisor is what the mean divides by
    instead of its own count.
    """

    weight: ArrayLike | None = None
    ignore_index: int | None = None
    label_smoothing: float = 0.0
    reduction: Reduction = "mean"
    temperature: float = 1.0
    softcap: float | None = None
    z_loss: float = 0.0
    sample_weight: ArrayLike | None = None
    divisor: float | None = None
    axis: int = -1

    def __post_init__(self) -> None:
        _require_number("temperature", self.temperature, above_zero=True)
        if self.softcap is not None:
            _require_number("softcap", self.softcap, above_zero=True)
        _require_number("z_loss", self.z_loss)
        _require_number("label_smoothing", self.label_smoothing, largest=1.0)
        _require_integer("axis", self.axis)
        if self.ignore_index is not None:
            _require_integer("ignore_index", self.ignore_index)
        reduction: object = self.reduction
        if not isinstance(reduction, str) or reduction not in REDUCTIONS:
            raise CecliError(f"reduction is {self.reduction!r}: it must be mean, sum or none")
        if self.divisor is not None:
            _require_number("divisor", self.divisor, above_zero=True)
            if self.reduction != "mean":
                raise CecliError(f"divisor is for the mean: reduction {self.reduction} has none")


def _require_integer(name: str, value: int) -> None:
    try:
        fits = -(2**63) <= index(value) < 2**63
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise CecliError(f"{name} is {value!r}: it must be an integer of 64 bits")


def _require_number(
    name: str, value: float, *, above_zero: bool = False, largest: float = math.inf
) -> None:
    try:
        if getattr(value, "ndim", 0) or getattr(value, "mask", False):
            raise TypeError  # NumPy would warn, and take it
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise CecliError(f"{name} is {value!r}: it must be a number") from None
    if math.isfinite(number) and (number > 0 if above_zero else 0 <= number <= largest):
        return
    if above_zero:
        wanted = "greater than 0 and finite"
    elif math.isinf(largest):
        wanted = "0 or more and finite"
    else:
        wanted = f"between 0 and {largest:g}"
    raise CecliError(f"{name} is {number:g}: it must be {wanted}")
