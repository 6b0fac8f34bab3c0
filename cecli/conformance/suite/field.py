"""The cases that suite 2 has added: what went wrong in published code, each with where.

They belong to the families of the other modules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from cecli.conformance.model import Case
from cecli.conformance.suite.makers import Array, Arrays, logits, random, targets
from cecli.conformance.suite.makers import case as as_case
from cecli.conformance.suite.sizes import crowded_rows, mostly_equal

GITHUB = "https://github.com/"
MASKED = -math.inf
TILE = 1024


def case(name: str, reason: str, arrays: Any, source: str, **more: Any) -> Case:
    """A case of suite 2."""
    return as_case(name, reason, arrays, source=GITHUB + source, since=2, **more)


def cases() -> Iterator[Case]:
    """Every one of them."""
    yield from _shards()
    yield from _tiles()
    yield from _capped()
    yield from _ignored()
    yield from _weighted()
    yield from _layout()
    yield from _kept()
    yield from _precision()


def _shards() -> Iterator[Case]:
    """Classes that several devices or blocks have between them."""
    yield case(
        "shift/shards",
        "each shard has a maximum and a sum of its own, and counts once",
        ([[-900.0, -901.5, -902.0, -903.0, 5.0, 4.0, 3.5, 2.0]] * 2, [0, 6]),
        "NVIDIA/Megatron-LM/issues/7452",
    )
    uneven = logits("shards", 6, 8) + np.repeat([0.0, 3.0], 4)
    yield case(
        "smoothing/shards",
        "ε/C counts all classes, and the mean is over all, not over those of a shard",
        (uneven, targets("shards", 6, 8)),
        "NVIDIA/Megatron-LM/issues/7464",
        label_smoothing=0.1,
    )
    yield case(
        "smoothing/underflow",
        "the logarithm of a probability that has vanished is not −∞ but the distance",
        random(4, 8, 1000.0, seed="smoothing underflow"),
        "NVIDIA/Megatron-LM/pull/5522",
        label_smoothing=0.1,
    )
    for name, extra in (("", {}), ("-ignored", {"ignore_index": -100})):
        yield case(
            f"z-loss/smoothing{name}",
            "smoothing shares out the target, and z-loss is added once",
            _with_ignored(6, 5, (1, 4) if extra else ()),
            "linkedin/Liger-Kernel/pull/239",
            label_smoothing=0.1,
            z_loss=0.01,
            **extra,
        )


def _with_ignored(rows: int, classes: int, ignored: tuple[int, ...], index: int = -100) -> Arrays:
    def make() -> tuple[Any, Any]:
        values = logits(f"field {rows}", rows, classes)
        target = targets(f"field {rows}", rows, classes)
        target[list(ignored)] = index
        return values, target

    return make


def _tiles() -> Iterator[Case]:
    """Blocks of classes that hold nothing, or less than a block."""
    whole = "a block of nothing but −∞: its maximum is −∞, and −∞ − (−∞) is NaN"
    for name, masked in (("first", slice(0, TILE)), ("last", slice(TILE, None))):
        yield case(
            f"masks/{name}-tile",
            whole,
            _with_tile(masked),
            "flashinfer-ai/flashinfer/pull/1178",
        )
    yield case(
        "masks/middle-tile",
        "a block of nothing but −∞ between others leaves the running sum as it is",
        _with_tile(slice(TILE, 2 * TILE), classes=3 * TILE),
        "flagos-ai/FlagGems/pull/330",
    )
    yield case(
        "shift/narrow-row",
        "lanes beyond the last class hold nothing: not 0, and not NaN",
        ([[-50.25, -51.0, -52.5, -50.0, -53.0]], [2]),
        "gabrieldemarmiesse/torch-mojo-backend/pull/319",
    )


def _with_tile(masked: slice, classes: int = 2 * TILE) -> Arrays:
    def make() -> tuple[Any, Any]:
        values = mostly_equal(f"tile {masked.start} {classes}", 2, classes)
        values[0, masked] = MASKED
        kept = np.flatnonzero(values[0] > MASKED)
        return values, [kept[7], classes - 1]

    return make


def _capped() -> Iterator[Case]:
    """Soft caps where lanes, or exponentials, are beyond them."""
    lanes = "lanes beyond the last class are masked after the cap too: capped, −∞ is −c"
    for classes in (5, 1000):
        low = np.full((2, classes), -100.0)
        low[:, 1] = [-28.0, -90.0]
        yield case(
            f"softcap/padded-{classes}", lanes, (low, [1, 0]), "unslothai/unsloth/pull/10616",
            softcap=30.0,
        )  # fmt: skip
    yield case(
        "softcap/overflow",
        "a tanh made of two exponentials is ∞/∞ far beyond the cap",
        ([[8000.0, -9000.0, 3.0, 7500.0], [1.0, -2.0, 7200.0, 0.5]], [2, 0]),
        "vllm-project/vllm/issues/56578",
        softcap=10.0,
    )


def _ignored() -> Iterator[Case]:
    """Rows that do not count, where they stand and how many of them."""
    middle = (*range(20, 31), 40, 64)
    for reduction in ("mean", "none"):
        yield case(
            f"ignored/middle-{reduction}",
            "ignored rows in the middle of a block have loss 0, and are not in the mean",
            _with_ignored(65, 7, middle),
            "NVIDIA/TransformerEngine/pull/2476",
            ignore_index=-100,
            reduction=reduction,
        )
    yield case(
        "ignored/micro-batches",
        "a mean of the means of parts is not the mean: parts have more or fewer rows that count",
        _with_ignored(64, 5, tuple(range(1, 32))),
        "meta-pytorch/torchtune/pull/1875",
        ignore_index=-100,
    )
    yield case(
        "ignored/chunks",
        "chunks of rows in which none, some or all are ignored, and the mean is over all",
        _with_ignored(256, 3, (*range(64, 129), 200, 255)),
        "Lightning-AI/litgpt/pull/751",
        ignore_index=-100,
    )
    yield case(
        "reduction/none-of-many",
        "losses of chunks stand one behind the other, and are not added up",
        crowded_rows(4097),
        "NVIDIA-NeMo/Automodel/issues/3803",
        reduction="none",
    )


def _weighted() -> Iterator[Case]:
    """Losses of tokens that somebody weights afterwards."""
    weights = [1.0, 0.0, 4.0, 0.5, 1.0, 0.25, 0.0, 2.0, 1.0, 8.0, 0.5, 1.0]
    yield case(
        "upstream/token-weights",
        "the weight of each token multiplies its own row, and ignored rows stay 0",
        _with_ignored(12, 6, (0, 5, 11)),
        "linkedin/Liger-Kernel/issues/968",
        upstream=weights,
        reduction="none",
        ignore_index=-100,
    )
    yield case(
        "upstream/zero-weights",
        "a token of weight 0 has no gradient, and the others have theirs",
        random(12, 6, seed="zero weights"),
        "modelscope/ms-swift/pull/10100",
        upstream=[0.0, 1.0] * 6,
        reduction="none",
    )


def reversed_classes(values: Array) -> Array:
    """The last class first in memory: a negative stride."""
    return np.ascontiguousarray(values[:, ::-1])[:, ::-1]


def reversed_rows(values: Array) -> Array:
    """The last row first in memory."""
    return np.ascontiguousarray(values[::-1])[::-1]


def one_class_for_all(values: Array) -> Array:
    """The first class, for all classes of a row the same memory: a stride of 0."""
    first = values[:, :1].copy()
    return np.lib.stride_tricks.as_strided(first, values.shape, (first.itemsize, 0))


def _layout() -> Iterator[Case]:
    backwards = "a stride may be negative: the first number is the last in memory"
    for name, layout in (("classes", reversed_classes), ("rows", reversed_rows)):
        yield case(
            f"layout/reversed-{name}",
            backwards,
            random(5, 7, seed="reversed"),
            "pytorch/pytorch/issues/92680",
            layout=layout,
        )
    yield case(
        "layout/one-class-for-all",
        "all classes of a row are the same memory, which holds no gradients",
        (np.repeat([[0.5], [-1.25], [3.0]], 6, axis=1), [5, 0, 3]),
        "NVIDIA-NeMo/Automodel/pull/3854",
        layout=one_class_for_all,
    )
    yield case(
        "layout/transposed-square",
        "transposed, as many rows as classes: strides that are not looked at are not missed",
        random(6, 6, seed="transposed"),
        "flagos-ai/Torch-FL/pull/172",
        layout=np.asfortranarray,
    )


def _kept() -> Iterator[Case]:
    """Replies that must not live in the memory of the logits."""
    shared = "a gradient in the memory of the logits changes when they are overwritten"
    arrays = random(6, 5, seed="kept")
    unsloth, swift = "unslothai/unsloth/issues/5002", "modelscope/ms-swift/issues/10129"
    yield case("unmodified/reply", shared, arrays, unsloth, tests="kept")
    yield case("unmodified/reply-none", shared, arrays, swift, tests="kept", reduction="none")
    yield case("unmodified/reply-float32", shared, arrays, unsloth, tests="kept", dtype="float32")


def _precision() -> Iterator[Case]:
    yield case(
        "float32/subnormal",
        "a probability below the smallest normal number of the type is flushed to 0",
        ([[0.0, -91.5, 1.0], [2.0, -90.25, -94.0]], [2, 0]),
        "cupy/cupy/issues/8382",
        dtype="float32",
    )
    yield case(
        "float16/sum-beyond-65504",
        "the sum of the exponentials is larger than the largest number of the type",
        (np.zeros((2, 65537)), [0, 65536]),
        "tracel-ai/burn/issues/4109",
        dtype="float16",
    )
    yield case(
        "bfloat16/log-sum-exp",
        "a logarithm of the sum that is rounded takes all digits of a small loss",
        ([[30.0, 27.0, 26.5, 25.0], [-58.0, -61.0, -64.0, -60.5]], [0, 0]),
        "Modalities/modalities/pull/464",
        dtype="bfloat16",
        reduction="none",
    )
    yield case(
        "bfloat16/probabilities",
        "probabilities by a logarithm of the sum that is rounded do not add up to 1",
        random(8, 100, 60.0, seed="bfloat16 probabilities"),
        "marin-community/marin/pull/8217",
        dtype="bfloat16",
    )
