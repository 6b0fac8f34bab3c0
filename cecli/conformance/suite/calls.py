"""The cases of how an implementation is called: memory layout, upstream gradients, side effects."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from cecli.conformance.model import Case
from cecli.conformance.suite.makers import LIGER, Array, case, logits, random, targets
from cecli.conformance.suite.sizes import crowded_rows, mostly_equal


def cases() -> Iterator[Case]:
    """Every one of them."""
    yield from _layout()
    yield from _upstream()
    yield from _unmodified()
    yield from _deterministic()


def _inside(values: Array, shape: tuple[int, int], place: tuple[slice, slice]) -> Array:
    """The values as a part of a larger array; all around them is NaN."""
    whole = np.full(shape, math.nan, dtype=values.dtype)
    whole[place] = values
    return whole[place]


def every_other_class(values: Array) -> Array:
    """Every second column of a larger array."""
    rows, classes = values.shape
    return _inside(values, (rows, 2 * classes), (slice(None), slice(0, None, 2)))


def every_other_row(values: Array) -> Array:
    """Every second row of a larger array."""
    rows, classes = values.shape
    return _inside(values, (2 * rows, classes), (slice(0, None, 2), slice(None)))


def first_columns(values: Array) -> Array:
    """The first columns of a larger array, as of a padded vocabulary."""
    rows, classes = values.shape
    return _inside(values, (rows, classes + 3), (slice(None), slice(0, classes)))


def inner_part(values: Array) -> Array:
    """A part that neither begins nor ends with the array it is of."""
    rows, classes = values.shape
    return _inside(values, (rows + 2, classes + 4), (slice(1, 1 + rows), slice(2, 2 + classes)))


def one_row_for_all(values: Array) -> Array:
    """The first row, for all rows the same memory: a stride of 0."""
    return np.lib.stride_tricks.as_strided(values[:1].copy(), values.shape, (0, values.itemsize))


def _layout() -> Iterator[Case]:
    source = "https://github.com/NVIDIA/TransformerEngine/issues/2734"
    for name, layout, reason in (
        ("fortran", np.asfortranarray, "samples and not classes lie side by side"),
        ("every-other-class", every_other_class, "classes are not side by side in memory"),
        ("every-other-row", every_other_row, "rows are further apart than they are long"),
        ("padded-classes", first_columns, "rows are further apart than they are long"),
        ("inner-part", inner_part, "the array starts and ends inside another"),
    ):
        seen = source if "rows" in reason else None
        arrays = random(5, 7, seed="layout")
        yield case(f"layout/{name}", reason, arrays, source=seen, layout=layout)
    expanded = (np.tile([[0.5, -1.0, 2.0, 0.25]], (3, 1)), [0, 2, 3])
    yield case(
        "layout/expanded",
        "all rows are the same memory",
        expanded,
        source="https://github.com/unslothai/unsloth/pull/10713",
        layout=one_row_for_all,
    )
    wide = random(3, 1025, seed="layout")
    yield case(
        "layout/fortran-wide",
        "blocks of columns in Fortran's order",
        wide,
        layout=np.asfortranarray,
    )


def _upstream() -> Iterator[Case]:
    scaled = "the gradient is multiplied by that of whatever the loss goes into"
    arrays = random(6, 5, seed="upstream")
    for name, factor in (("2", 2.0), ("minus-one-half", -0.5), ("1024", 1024.0)):
        yield case(f"upstream/{name}", scaled, arrays, upstream=factor)
    yield case("upstream/0", "nothing depends on the loss", arrays, upstream=0.0)
    yield case("upstream/sum", scaled, arrays, upstream=0.25, reduction="sum")
    each = "each row is multiplied by its own"
    source = LIGER + "issues/968"
    uneven = [0.5, -2.0, 4.0, 1.0, 0.125, 8.0]
    none: dict[str, Any] = {"reduction": "none"}
    yield case("upstream/uneven", each, arrays, source=source, upstream=uneven, **none)
    yield case(
        "upstream/uneven-large",
        each,
        lambda: (mostly_equal("upstream", 4, 1025), [0, 1024, 700, 3]),
        source=LIGER + "pull/1298",
        upstream=[1.0, 2.0, -4.0, 0.5],
        **none,
    )
    masked = "rows masked from outside have an upstream gradient of 0"
    some = [1.0, 0.0, 2.0, 0.0, 0.0, 0.5]
    yield case("upstream/some-0", masked, arrays, source=source, upstream=some, **none)
    first = [0.0, 1.0, 1.0, 0.5, 2.0, 0.0]
    yield case(
        "upstream/first-0", masked, arrays, source=LIGER + "issues/678", upstream=first, **none
    )
    yield case("upstream/alike", scaled, arrays, upstream=[0.5] * 6, **none)


def _some_ignored() -> tuple[Any, Any]:
    values, target = logits("unmodified", 6, 5), targets("unmodified", 6, 5)
    target[[1, 4]] = -100
    return values, target


def _unmodified() -> Iterator[Case]:
    reason = "what overwrites its logits spoils them for everybody else"
    liger = LIGER + "pull/1251"

    def kept(slug: str, arrays: Any, source: str | None = None, **options: Any) -> Case:
        name = f"unmodified/{slug}"
        return case(name, reason, arrays, source=source, tests="unmodified", **options)

    plain = random(6, 5, seed="unmodified")
    yield kept("float64", plain, liger)
    megatron = "https://github.com/NVIDIA/Megatron-LM/pull/1594"
    yield kept("float32", plain, megatron, dtype="float32")
    yield kept("many-classes", _many_classes, liger)
    yield kept("none", plain, reduction="none")
    yield kept("masked", ([[0.5, -math.inf, 1.0], [-math.inf, 2.0, 1.0]], [0, 2]))
    yield kept("ignored", _some_ignored, ignore_index=-100)
    yield kept("temperature", plain, temperature=2.0)
    yield kept("softcap", plain, softcap=3.0)
    yield kept("weight", plain, weight=[0.5, 2.0, 1.0, 3.0, 0.25])
    yield kept("smoothing", plain, label_smoothing=0.1)
    yield kept("soft-target", (logits("kept", 2, 4), [[0.5, 0.5, 0, 0], [0.25] * 4]), soft=True)


def _many_classes() -> tuple[Any, Any]:
    return mostly_equal("many classes", 3, 1000), [999, 0, 500]


def _deterministic() -> Iterator[Case]:
    reason = "a second call with another in between replies the same, bit for bit"
    source = "https://github.com/pytorch/pytorch/issues/46024"

    def again(slug: str, arrays: Any, **options: Any) -> Case:
        name = f"deterministic/{slug}"
        return case(name, reason, arrays, tests="deterministic", **options)

    yield again("small", random(5, 4, seed="again"))
    yield again("many-classes", _many_classes)
    yield again("many-rows", crowded_rows(2001))
    yield again("none", random(40, 7, 2.0, seed="again"), reduction="none")
    yield again("float32", random(9, 33, 2.0, seed="again"), dtype="float32")
    weight = [0.1, 2.0, 0.7, 3.3]
    yield again("weight", random(25, 4, 2.0, seed="again"), source=source, weight=weight)
