"""The precision of floating point types, and numbers rounded to them; bfloat16 included."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cecli.problem.dtypes import Floats
from cecli.problem.foreign import BFLOAT16


class TypePrecision(NamedTuple):
    """Of a floating point type: the spacing above 1, the smallest normal and subnormal numbers."""

    epsilon: float
    smallest_normal: float
    smallest_subnormal: float

    @property
    def largest(self) -> float:
        """The largest number: (2 − ε)·2^e, where the smallest normal number is 2^(1 − e)."""
        return (2.0 - self.epsilon) * (2.0 / self.smallest_normal)


_PRECISIONS = {
    "bfloat16": TypePrecision(2.0**-7, 2.0**-126, 2.0**-133),
    BFLOAT16.name: TypePrecision(2.0**-7, 2.0**-126, 2.0**-133),
    "float16": TypePrecision(2.0**-10, 2.0**-14, 2.0**-24),
    "float32": TypePrecision(2.0**-23, 2.0**-126, 2.0**-149),
    "float64": TypePrecision(2.0**-52, 2.0**-1022, 2.0**-1074),
}


def type_precision(name: str) -> TypePrecision:
    """The precision a gradient of the type of this name is judged at; integers count as doubles."""
    return _PRECISIONS.get(name, _PRECISIONS["float64"])


def spacing(numbers: Floats, type_: str) -> Floats:
    """The unit in the last place of each number, in a type."""
    precision = type_precision(type_)
    with np.errstate(invalid="ignore"):
        exponent = np.where(numbers == 0.0, -2000, np.frexp(np.abs(numbers))[1] - 1)
    least = precision.smallest_subnormal
    units: Floats = np.maximum(np.ldexp(precision.epsilon, exponent), least)
    return units


def round_to_type(numbers: Floats, type_: str) -> Floats:
    """Each number rounded to the nearest of a type."""
    if type_ == "float64":
        return numbers
    if type_ == "bfloat16":
        unit = spacing(numbers, type_)
        return np.rint(numbers / unit) * unit
    with np.errstate(over="ignore", under="ignore"):
        return numbers.astype(type_).astype(np.float64)
