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

from cecli.conformance import Case, Inputs, Property

Array = NDArray[Any]
Arrays = Callable[[], tuple[ArrayLike, ArrayLike]]


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
    **options: Any,
) -> Case:
    """A case whose features are those of its options.

    arrays: logits and target, or what makes them. soft: the target is class probabilities. layout:
    how the logits are laid out in memory in the end.
    """

    def make() -> Inputs:
        logits, target = arrays() if callable(arrays) else arrays
        values = np.array(logits, dtype="float32" if dtype == "bfloat16" else dtype)
        return Inputs(
            logits=layout(values) if layout else values,
            target=np.array(target, dtype=values.dtype if soft else np.int64),
            options={
                key: np.array(value, dtype=values.dtype) if key == "weight" else value
                for key, value in options.items()
            },
            upstream=upstream if isinstance(upstream, float) else np.array(upstream),
            dtype=dtype,
        )

    features = {key.replace("_", "-") for key in options if key != "reduction"}
    features |= {options.get("reduction", "mean"), dtype} - {"mean", "float64"}
    features |= {"soft-target"} if soft else set()
    features |= {"upstream"} if upstream != 1.0 else set()
    features |= {"arrays"} if layout or tests == "unmodified" else set()
    return Case(name, reason, make, frozenset(features), source, tests)


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
