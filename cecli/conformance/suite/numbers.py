"""The cases whose difficulty lies in the numbers themselves: no options, few classes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from cecli.conformance.model import Case
from cecli.conformance.suite.makers import (
    PYTORCH,
    Arrays,
    case,
    few_logits,
    logits,
    random,
    targets,
)

MASKED = -math.inf
LARGEST, SMALLEST = 1.7976931348623157e308, 5e-324


def cases() -> Iterator[Case]:
    """Every one of them."""
    yield from _ordinary()
    yield from _single()
    yield from _shift()
    yield from _saturation()
    yield from _far_losers()
    yield from _ties()
    yield from _magnitude()
    yield from _masks()
    yield from _subnormal()


def _ordinary() -> Iterator[Case]:
    yield case("ordinary/textbook", "three classes and one sample", ([[2.0, 1.0, 0.1]], [0]))
    yield case("ordinary/two-classes", "p − 1 and p are all there is", random(6, 2))
    yield case("ordinary/small-batch", "the mean divides by N, and not by N·C", random(7, 5))
    yield case("ordinary/square", "as many samples as classes: axes can be swapped", random(6, 6))
    yield case("ordinary/ten-classes", "a classifier of digits", random(32, 10))
    every = (logits("each class", 6, 6, 3.0), [5, 4, 3, 2, 1, 0])
    yield case("ordinary/each-class", "the first and the last class are targets too", every)
    same = (logits("one target", 5, 4, 3.0), [2] * 5)
    yield case("ordinary/one-target", "every sample has the same target", same)


def _single() -> Iterator[Case]:
    one_class = "with one class p is 1, the loss 0 and the gradient 0"
    yield case("single/one-of-one", one_class, ([[-5.5]], [0]))
    yield case("single/five-of-one", one_class, ([[3.0], [-2.5], [0.0], [1e6], [-0.25]], [0] * 5))
    yield case("single/one-of-two", "a batch of one keeps its axis", ([[0.3, -1.2]], [1]))
    yield case("single/one-of-nine", "a batch of one keeps its axis", random(1, 9))


def _shift() -> Iterator[Case]:
    reason = "a common offset leaves softmax as it is, and e to its power overflows or vanishes"

    def shifted(offset: float) -> Arrays:
        base = np.array([[0.0, 1.0, -2.0, 0.5], [3.0, 0.25, 0.0, -1.0]])
        return lambda: (base + offset, [1, 2])

    yield case("shift/plus-100", reason, shifted(100.0))
    yield case("shift/plus-1000", reason, shifted(1000.0))
    paddle = "https://github.com/PaddlePaddle/Paddle/pull/21165"
    yield case("shift/minus-1000", reason, shifted(-1000.0), source=paddle)
    yield case(
        "shift/all-far-below-0",
        "a running maximum that starts at a finite number makes every exponential vanish",
        shifted(-1e5),
        source="https://github.com/flashinfer-ai/flashinfer/issues/4267",
    )
    absorbed = "added to the maximum, the logarithm of the sum is lost: subtract logits first"
    mlx = "https://github.com/ml-explore/mlx/pull/4188"
    yield case("shift/equal-at-1e8", absorbed, ([[1e8, 1e8]], [1]), source=PYTORCH + "issues/11752")
    yield case("shift/one-apart-at-1e15", absorbed, ([[1e15, 1e15 - 1.0]], [0]), source=mlx)
    yield case("shift/two-apart-at-9e15", absorbed, ([[9e15, 9e15 - 2.0]], [1]), source=mlx)
    yield case(
        "shift/each-row-its-own",
        "each row has a maximum of its own: that of the batch makes other rows vanish",
        ([[800.0, 801.0, 799.0], [-800.0, -802.0, -801.0], [0.0, 1.0, 2.0]], [0, 1, 1]),
    )


def _saturation() -> Iterator[Case]:
    reason = "1 + tiny is 1: its logarithm is 0, and p − 1 has lost its digits"
    source = PYTORCH + "issues/113708"
    for ahead in (10.0, 20.0, 36.5, 40.0, 100.0, 300.0, 700.0):
        arrays = ([[ahead, 0.0, 0.0], [0.125, 0.0, -ahead]], [0, 1])
        yield case(f"saturation/{ahead:g}-ahead", reason, arrays, source=source)
    yield case("saturation/certain", reason, ([[17.25, 1.5, -0.75, 0.0]], [0]), source=source)
    yield case(
        "saturation/vocabulary",
        "many small probabilities add up next to one that is nearly 1",
        lambda: (np.concatenate([[30.0], np.zeros(50256)])[None], [0]),
    )
    alone = ([[50.0, 0.0], [0.0, 45.5], [38.0, 0.25]], [0, 1, 0])
    yield case("saturation/every-row", "the whole loss is tiny", alone, source=source)


def _far_losers() -> Iterator[Case]:
    reason = "the loss of an unlikely target is the distance, not the logarithm of 0 or of a clip"
    keras = "https://github.com/keras-team/keras/issues/17634"
    yield case("far-losers/target-40-behind", reason, ([[40.0, 0.0, 1.0]], [1]), source=keras)
    yield case("far-losers/target-750-behind", reason, ([[0.0, -750.25, 3.0]], [1]))
    yield case("far-losers/target-5000-behind", reason, ([[2500.5, -2500.25, 0.0]], [1]))
    source = "https://github.com/FluxML/NNlib.jl/issues/68"
    yield case("far-losers/three-apart", reason, ([[-431.0, 279.0, 427.0]], [0]), source=source)
    small = "a small probability is a small number, and not 0"
    yield case("far-losers/beside-1", small, ([[0.1, -36.6, -1e-3]], [2]))
    yield case("far-losers/down-to-e-700", small, ([[0.5, -100.0, -300.5, -700.25]], [0]))
    yield case("far-losers/wide", small, random(4, 9, 300.0))
    widest = "the rounding of z − max is multiplied by the spread in the exponent"
    yield case("far-losers/rounded-difference", widest, ([[0.1, -700.3], [1e-3, -650.7]], [1, 0]))


def _ties() -> Iterator[Case]:
    reason = "every class is as likely: nothing is to be rounded but 1/C"
    for classes in (2, 3, 7, 1000):
        equal = (np.zeros((2, classes)), [0, classes - 1])
        yield case(f"ties/all-{classes}", reason, equal)
    yield case("ties/at-minus-3", reason, (np.full((3, 5), -3.3), [0, 2, 4]))
    first = "the maximum stands more than once: take it out of the sum once"
    yield case("ties/two-largest", first, ([[5.0, 5.0, 1.0], [1.0, 5.0, 5.0]], [0, 0]))
    yield case("ties/target-not-first", first, ([[7.5, 7.5, -1.0, 7.5]], [3]))
    yield case("ties/all-but-one", first, ([[0.25, 0.25, 0.25, -40.0]], [3]))
    yield case("ties/signed-zeros", "−0 and 0 are equal", ([[0.0, -0.0, 0.0]], [1]))
    near = "logits one unit in the last place apart are nearly, and not quite, a tie"
    yield case("ties/one-ulp", near, ([[1.0, 1.0 + 2.0**-52], [1.0, 1.0 - 2.0**-53]], [0, 1]))
    yield case("ties/nearly", near, ([[0.3, 0.3 + 1e-9, 0.3 - 1e-9]], [2]))


def _magnitude() -> Iterator[Case]:
    overflow = "differences of huge logits overflow, and infinity − infinity is NaN"
    yield case("magnitude/1e300", overflow, ([[1e300, 1e300, 0.0]], [0]))
    yield case("magnitude/largest-wins", overflow, ([[LARGEST, -LARGEST, 0.0]], [0]))
    yield case("magnitude/largest-apart", overflow, ([[LARGEST, -LARGEST]], [1]))
    yield case("magnitude/beyond-exp", overflow, ([[1e4, -1e4, 9.9e3], [-1e4, 1e4, 1e4]], [2, 1]))
    big = ([[-2.88181912e11, -4.40300175e11], [-2.29688918e11, -3.53027424e11]], [1, 1])
    yield case("magnitude/1e11", "a huge loss is right as well", big)
    tiny = "tiny logits make a tie that must not become one"
    yield case("magnitude/1e-300", tiny, ([[1e-300, -1e-300, 0.0]], [1]))
    yield case("magnitude/subnormal", tiny, ([[SMALLEST, 0.0], [-3e-310, 2e-310]], [0, 1]))
    mixed = ([[1e-8, 1e8, 1.0], [1e5, -1e-5, 1e5]], [1, 2])
    yield case("magnitude/mixed", "one row holds tiny and huge logits", mixed)


def _masks() -> Iterator[Case]:
    nan = "−∞ − (−∞) and 0·∞ are NaN; a masked class has probability 0 and gradient 0"
    optax = "https://github.com/google-deepmind/optax/issues/896"
    flash = "https://github.com/Dao-AILab/flash-attention/issues/1930"
    yield case("masks/one", nan, ([[MASKED, 0.0, -20.0]], [1]), source=optax)
    yield case("masks/first-and-last", nan, ([[MASKED, 2.0, 1.0, MASKED]], [2]), source=optax)
    yield case("masks/all-but-two", nan, ([[MASKED, 1.0, MASKED, -2.5, MASKED]], [3]))
    alone = ([[MASKED, MASKED, 7.5], [3.0, MASKED, MASKED]], [2, 0])
    yield case("masks/all-but-target", nan, alone, source=optax)
    infinite = "a masked target has an infinite loss, and its gradient is still p − 1"
    yield case("masks/target", infinite, ([[MASKED, 0.0, -20.0]], [0]))
    rows = [[0.5, -1.0, MASKED], [MASKED, 2.0, 1.5], [1.0, 0.0, 0.25]]
    yield case("masks/target-of-one-row", infinite, (rows, [1, 0, 2]))
    yield case("masks/each-row-its-own", nan, (rows, [0, 2, 1]))

    def blocks() -> tuple[Any, Any]:
        masked = np.full((2, 4096), MASKED)
        masked[0, 3000], masked[1, [0, 4095]] = 10.0, [1.0, 2.5]
        return masked, [3000, 0]

    whole = "whole blocks are masked: a running maximum of −∞ meets another"
    yield case("masks/whole-blocks", whole, blocks, source=flash)

    def half() -> tuple[Any, Any]:
        masked = few_logits("half masked", 3, 65, [MASKED, 0.5, MASKED, -1.25])
        masked[:, 7] = 1.0
        return masked, [7, 7, 7]

    yield case("masks/half", nan, half)


def _subnormal() -> Iterator[Case]:
    reason = "the result is a subnormal number: flushed to 0 it has no digit left"
    yield case("subnormal/loss", reason, ([[745.0, 0.0]], [0]))
    modular = "https://github.com/modular/modular/pull/7102"
    yield case("subnormal/gradient", reason, ([[0.0, -740.5, 1.0]], [2]), source=modular)
    yield case("subnormal/down-to-the-last", reason, ([[0.0, -710.0, -720.0, -735.0, -744.0]], [0]))
    thousand = np.concatenate([[750.0], np.zeros(999)])[None]
    summed = "each exponential vanishes, but not their sum"
    yield case("subnormal/sum-of-many", summed, (thousand, [0]))
    yield case(
        "subnormal/divided",
        "dividing by N makes a normal number subnormal",
        lambda: (np.tile([[0.0, -707.5]], (9, 1)), targets("divided", 9, 1)),
    )
