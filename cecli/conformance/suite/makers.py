"""What cases are made of: numbers that are the same on every machine, and features read off.

Random numbers are integers of NumPy's SeedSequence, whose stream is fixed, divided by another
integer: no exponential, no distribution and no BLAS has a part in any input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cecli.conformance.model import ARRAY_OPTIONS, Case, Inputs, Property
from cecli.problem.precision import round_to_type

# Where what went wrong in published code is told.
PYTORCH = "https://github.com/pytorch/pytorch/"
LIGER = "https://github.com/linkedin/Liger-Kernel/"

Array = NDArray[Any]
Arrays = Callable[[], tuple[Any, Any]]


def case(
    name: str,
    reason: str,
    arrays: Arrays | tuple[ArrayLike, ArrayLike],
    *,
    source: str | None = None,
    tests: Property = "result",
    soft: bool = False,
    upstream: float | Sequence[float] = 1.0,
    dtype: str = "float64",
    layout: Callable[[Array], Array] | None = None,
    since: int = 1,
    **options: Any,
) -> Case:
    """A case whose features are those of its options.

    arrays: logits and target, or what makes them. soft: the target is class probabilities. layout:
    how the logits are laid out in memory in the end.
    """

    def make() -> Inputs:
        logits, target = arrays() if callable(arrays) else arrays
        values = as_type(logits, dtype)
        return Inputs(
            logits=layout(values) if layout else values,
            target=as_type(target, dtype) if soft else np.array(target, dtype=np.int64),
            options={
                key: as_type(value, dtype) if key in ARRAY_OPTIONS else value
                for key, value in options.items()
            },
            upstream=upstream if isinstance(upstream, float) else np.array(upstream),
            dtype=dtype,
            layout=layout,
        )

    features = {key.replace("_", "-") for key in options if key != "reduction"}
    features |= {options.get("reduction", "mean"), dtype} - {"mean", "float64"}
    features |= {"soft-target"} if soft else set()
    features |= {"upstream"} if upstream != 1.0 else set()
    features |= {"arrays"} if layout or tests in ("unmodified", "kept") else set()
    return Case(name, reason, make, frozenset(features), source, tests, since)


def as_type(numbers: ArrayLike, dtype: str) -> Array:
    """A new array of numbers rounded to a type; bfloat16 numbers are held in float32."""
    values = np.array(numbers, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        rounded = round_to_type(values, dtype)
    return rounded.astype("float32" if dtype == "bfloat16" else dtype)


def integers(seed: str, count: int, below: int) -> NDArray[np.int64]:
    """Random integers from 0 to below − 1, (count,), always the same for one seed."""
    drawn = np.random.SeedSequence(crc32(seed.encode())).generate_state(count, np.uint64)
    return (drawn % np.uint64(below)).astype(np.int64)


def logits(seed: str, rows: int, classes: int, largest: float = 4.0) -> NDArray[np.float64]:
    """Random logits from −largest to largest, (rows, classes), each with all its digits."""
    drawn = integers(seed, rows * classes, 2_000_001) - 1_000_000
    return (drawn * largest / 1_000_003).reshape(rows, classes)


def few_logits(seed: str, rows: int, classes: int, values: Sequence[float]) -> NDArray[np.float64]:
    """Random choices of a few values, (rows, classes): what is exact of one holds for its like."""
    return np.array(values)[integers(seed, rows * classes, len(values))].reshape(rows, classes)


def targets(seed: str, rows: int, classes: int) -> NDArray[np.int64]:
    """Random classes, (rows,)."""
    return integers(seed + " targets", rows, classes)


def random(rows: int, classes: int, largest: float = 4.0, seed: str = "") -> Arrays:
    """What makes random logits and targets."""
    seed = f"{seed} {rows} {classes} {largest:g}"
    return lambda: (logits(seed, rows, classes, largest), targets(seed, rows, classes))
