"""Arrays of real numbers as they are given: which types there are, and how they are widened."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cecli.errors import About, CecliError
from cecli.problem.foreign import BFLOAT16, array_of, type_name
from cecli.problem.rows import Joined, Rows

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Logits = NDArray[np.float32] | Floats
# Numbers as they were given, perhaps in several files.
AnyArray = NDArray[Any] | Joined | Rows


def result_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What results of logits of that type are: float32 for half and single precision."""
    short = dtype.name in ("float16", "float32", "bfloat16") or dtype == BFLOAT16
    return np.dtype(np.float32 if short or is_float8(dtype) else np.float64)


def is_float8(dtype: np.dtype[Any]) -> bool:
    """Whether a type is one of those of eight bits that ml_dtypes adds to NumPy."""
    return dtype.itemsize == 1 and dtype.name.startswith("float8_")


def widened(array: NDArray[Any]) -> NDArray[Any]:
    """bfloat16, the upper half of float32, and float8 as float32."""
    if is_float8(array.dtype):
        return array.astype(np.float32)
    if array.dtype != BFLOAT16:
        return array
    return (array.view("<u2").astype(np.uint32) << 16).view(np.float32)


def as_doubles(array: NDArray[Any]) -> Floats:
    """A copy in float64; a signalling NaN is one like any other."""
    with np.errstate(invalid="ignore"):
        return np.array(widened(array), dtype=np.float64, order="C")


def first_rounded(
    array: NDArray[Any], kept: NDArray[np.bool_] | None = None
) -> tuple[int, ...] | None:
    """The place of the first integer that no double holds: it would be rounded in silence.

    kept: the rows that are looked at, all where it is None.
    """
    if array.dtype.kind not in "iu" or array.dtype.itemsize < 8:
        return None
    size = np.abs(array).astype(np.uint64)
    if size.max(initial=0) <= 2**53:
        return None
    # 53 binary digits hold it where it is less than 2^53 times its lowest digit.
    lowest = size & (~size + np.uint64(1))
    rounded = (size >> np.uint64(53) >= lowest) & (size > 0)
    if kept is not None:
        rounded[~kept] = False
    return tuple(np.argwhere(rounded)[0].tolist()) if rounded.any() else None


def no_double(value: np.integer[Any]) -> str:
    """What an error says of such an integer."""
    return f"{value}: no double holds this integer, the nearest is {int(float(value))}"


def as_logits(array: NDArray[Any]) -> Logits:
    """Half and single precision as float32, all else as float64: the array itself where it is."""
    return np.asarray(widened(array), dtype=result_dtype(array.dtype), order="C")


def row_maxima(rows: Logits) -> Floats:
    """(N,) the largest of each row, NaN where there is one."""
    if not rows.flags.c_contiguous or not rows.size:
        return np.asarray(rows.max(axis=1), dtype=np.float64)
    # The same, but for what NumPy does before and after each row.
    starts = np.arange(0, rows.size, rows.shape[1])
    return np.asarray(np.maximum.reduceat(rows.reshape(-1), starts), dtype=np.float64)


def as_real_array(name: About, values: ArrayLike) -> NDArray[Any]:
    """An array of real numbers; CecliError, with the name, for anything else."""
    array = array_of(name, values)
    _require_real(name, array.dtype)
    return array


def as_any_array(name: About, values: ArrayLike | Joined | Rows) -> AnyArray:
    """The same, where the numbers may be in several files."""
    if not isinstance(values, Joined | Rows):
        return as_real_array(name, values)
    _require_real(name, values.dtype)
    return values


def _require_real(name: About, dtype: np.dtype[Any]) -> None:
    short = dtype.name == "bfloat16" or dtype == BFLOAT16 or is_float8(dtype)
    if dtype.kind not in "iuf" and not short and not (dtype.kind == "b" and name == "target"):
        raise CecliError(
            f"{name} must be an array of real numbers; it holds {type_name(dtype)}", about=name
        )
