"""The cases whose difficulty lies in how many classes or rows there are, and where they lie."""

from __future__ import annotations

import mmap
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cecli.conformance.model import Case
from cecli.conformance.suite.makers import (
    Array,
    Arrays,
    case,
    few_logits,
    integers,
    logits,
    targets,
)

# Few values, so that the exact results are few as well.
VALUES = (-0.7, -0.3, -3.1, -1.1)
FAR_BELOW = 60.0
MOST_OTHERS = 24
MANY_CLASSES = 10_000
CLASS_COUNTS = (
    *(3, 7, 9, 15, 17, 31, 33, 63, 65, 127, 128, 129, 255, 257, 511, 513, 1000),
    *(1023, 1024, 1025, 2047, 2049, 4095, 4096, 4097, 8193),
    *(32000, 32769, 50257, 65535, 65537, 131073),
)
ROW_COUNTS = (1, 2, 3, 7, 15, 17, 31, 33, 63, 65, 127, 129, 255, 257, 1023, 1025, 4097, 65537)
DIFFERENT_ROWS = 65
UNTOUCHED = 2**31


def cases() -> Iterator[Case]:
    """Every one of them."""
    yield from _classes()
    yield from _rows()


def large_cases() -> Iterator[Case]:
    """Those that need address space, though hardly any memory; and every number of classes."""
    strided = "an index of 32 bits overflows where a row begins 2³¹ numbers after the first"
    pytorch = "https://github.com/pytorch/pytorch/issues/"
    for dtype, source in (("float32", "85786"), ("float16", "111484")):
        yield case(
            f"large/row-stride-{dtype}",
            strided,
            lambda: (logits("large", 4, 33), targets("large", 4, 33)),
            source=pytorch + source,
            dtype=dtype,
            layout=lambda values: _far_apart(values, rows=True),
        )
    yield case(
        "large/class-stride",
        "an index of 32 bits overflows within a row",
        lambda: (logits("large classes", 2, 5), [4, 0]),
        dtype="float32",
        layout=lambda values: _far_apart(values, rows=False),
    )
    around = (2**power + more for power in range(1, 18) for more in (-1, 0, 1))
    for count in sorted({*around} - {1, *CLASS_COUNTS}):
        yield case(
            f"large/classes-{count}",
            "a block may be as long as any power of two",
            _with_last_class(count),
            source="https://github.com/unslothai/unsloth/pull/10616",
            since=2,
        )


def _classes() -> Iterator[Case]:
    verl = "https://github.com/verl-project/verl/issues/2899"
    for count in CLASS_COUNTS:
        reason = "the last classes stand in a block that is not full"
        source: str | None = verl
        if count in (32769, 65537, 131073):
            reason = "one class more than a block or an index of 16 bits can hold"
            source = "https://github.com/unslothai/unsloth/issues/19"
        elif count & (count - 1) == 0:
            reason, source = "the classes fill their block to the last", None
        yield case(f"classes/{count}", reason, _with_last_class(count), source=source)


def _with_last_class(count: int) -> Arrays:
    """Rows in which the last class matters, and in which a padding of zeros would."""

    def make() -> tuple[NDArray[np.float64], list[int]]:
        values = mostly_equal(f"classes {count}", 3, count)
        values[0] -= FAR_BELOW
        values[:2, -1] = -FAR_BELOW - 1.75, -0.9
        if count > MANY_CLASSES:
            return values[:2], [count - 1, 0]
        return values, [count - 1, 0, count // 2]

    return make


def mostly_equal(seed: str, rows: int, classes: int) -> NDArray[np.float64]:
    """Logits of which most are 0, and some in each row one of a few below 0.

    The exponential of most is exactly 1, whose sum no order of the additions rounds: a loop is as
    good as a tree, and a case is not about that.
    """
    values = np.zeros((rows, classes))
    for row in range(rows):
        places = integers(f"{seed} {row}", min(MOST_OTHERS, classes - 1), classes)
        values[row, places] = few_logits(f"{seed} {row}", 1, len(places), VALUES)
    return values


def _rows() -> Iterator[Case]:
    for count in ROW_COUNTS:
        reason = "the last rows stand in a block that is not full"
        source = None
        if count == 65537:
            reason = "a grid of kernels may have no more than 65,535 rows"
            source = "https://github.com/torch/cunn/issues/144"
        yield case(f"rows/{count}", reason, crowded_rows(count), source=source)


def crowded_rows(count: int) -> Arrays:
    """Rows with a loss of their own, in a crowd of rows so certain that theirs is 0."""

    def make() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        values = np.tile([[800.0, 0.0, -800.0]], (count, 1))
        index = np.zeros(count, dtype=np.int64)
        telling = np.unique(integers(f"rows {count}", DIFFERENT_ROWS, count))
        if count <= DIFFERENT_ROWS:
            telling = np.arange(count)
        values[telling] = logits("rows", DIFFERENT_ROWS, 3, 3.0)[: len(telling)]
        index[telling] = targets("rows", DIFFERENT_ROWS, 3)[: len(telling)]
        values[-1], index[-1] = [-2.5, 3.0, 0.75], 0
        return values, index

    return make


def _far_apart(values: Array, *, rows: bool) -> Array:
    """The same array in memory of which most is never touched: 2³¹ numbers to its last row."""
    samples, classes = values.shape
    row_stride = -(-UNTOUCHED // (samples - 1)) if rows else classes
    class_stride = 1 if rows else -(-UNTOUCHED // (classes - 1))
    if not rows:
        row_stride = 1
    count = (samples - 1) * row_stride + (classes - 1) * class_stride + 1
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
    memory = mmap.mmap(-1, count * values.itemsize, flags=flags)
    whole = np.frombuffer(memory, values.dtype)
    strides = (row_stride * values.itemsize, class_stride * values.itemsize)
    spread = np.lib.stride_tricks.as_strided(whole, values.shape, strides)
    spread[...] = values
    return spread
