"""The cases of the options: what a loss is averaged over, weighted by, smoothed and capped with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from cecli.conformance.model import Case
from cecli.conformance.suite.makers import LIGER, PYTORCH, Arrays, case, logits, random, targets

MASKED, NAN = -math.inf, math.nan
WEIGHT = [0.5, 2.0, 1.0, 3.0, 0.25]


def cases() -> Iterator[Case]:
    """Every one of them."""
    yield from _reduction()
    yield from _ignored()
    yield from _weight()
    yield from _sample_weight()
    yield from _smoothing()
    yield from _soft_target()
    yield from _temperature()
    yield from _softcap()
    yield from _z_loss()


def _reduction() -> Iterator[Case]:
    yield case("reduction/mean", "the mean divides by the rows, once", random(12, 5))
    added = "the sum is divided by nothing"
    yield case("reduction/sum", added, random(7, 5, seed="sum"), reduction="sum")
    yield case("reduction/sum-of-one", added, random(1, 4, seed="sum"), reduction="sum")
    each = "a loss for each row, and the gradient of their sum"
    yield case(
        "reduction/none",
        each,
        random(7, 5, seed="none"),
        reduction="none",
        source=LIGER + "issues/678",
    )
    yield case("reduction/none-of-one", each, random(1, 4, seed="none"), reduction="none")
    mixed = ([[40.0, 0.0], [0.0, 1.0], [-3.0, 0.5]], [0, 0, 1])
    yield case("reduction/none-tiny-and-large", each, mixed, reduction="none")


def _ignoring(index: int, rows: tuple[int, ...], fill: float | None = None) -> Arrays:
    """Seven rows, some of them ignored, and filled with a number."""

    def make() -> tuple[Any, Any]:
        values, target = logits("ignored", 7, 5), targets("ignored", 7, 5)
        target[target == index] = (index + 1) % 5
        target[list(rows)] = index
        if fill is not None:
            values[list(rows)] = fill
        return values, target

    return make


def _ignored() -> Iterator[Case]:
    mean = "the mean divides by the rows that are kept"
    mmseg = "https://github.com/open-mmlab/mmsegmentation/issues/546"
    yield case("ignored/none", mean, _ignoring(-100, ()), ignore_index=-100)
    yield case("ignored/some", mean, _ignoring(-100, (1, 4)), source=mmseg, ignore_index=-100)
    yield case("ignored/last", mean, _ignoring(-100, (5, 6)), source=mmseg, ignore_index=-100)
    all_but_one = _ignoring(-100, (0, 1, 2, 3, 5, 6))
    yield case("ignored/all-but-one", mean, all_but_one, source=mmseg, ignore_index=-100)
    yield case(
        "ignored/all",
        "with the sum, nothing comes to 0",
        _ignoring(-100, tuple(range(7))),
        ignore_index=-100,
        reduction="sum",
    )
    for reduction in ("sum", "none"):
        yield case(
            f"ignored/some-{reduction}",
            "an ignored row has loss 0 and gradient 0",
            _ignoring(-100, (0, 3)),
            ignore_index=-100,
            reduction=reduction,
        )
    reason = "the ignored index may be that of a class, or of none at all"
    for index in (-1, 0, 2):
        arrays = _ignoring(index, (1, 6))
        yield case(f"ignored/index-{index}", reason, arrays, ignore_index=index)
    yield case(
        "ignored/index-255",
        reason,
        _ignoring(255, (1, 6)),
        source=PYTORCH + "issues/15508",
        ignore_index=255,
        reduction="none",
    )
    poison = "0·NaN is NaN: an ignored row may hold anything"
    source = PYTORCH + "issues/11551"
    for name, fill in (("nan", NAN), ("infinity", math.inf), ("minus-infinity", MASKED)):
        arrays = _ignoring(-100, (2, 5), fill)
        yield case(f"ignored/holding-{name}", poison, arrays, source=source, ignore_index=-100)


def _weight() -> Iterator[Case]:
    mean = "the mean divides by the weights of the targets, and not by N or by all weights"
    source = PYTORCH + "issues/25571"
    yield case("weight/mean", mean, random(7, 5, seed="weight"), source=source, weight=WEIGHT)
    for reduction in ("sum", "none"):
        reason = "each row counts with the weight of its target"
        arrays = random(7, 5, seed=f"weight {reduction}")
        yield case(f"weight/{reduction}", reason, arrays, weight=WEIGHT, reduction=reduction)
    zero = (logits("weight 0", 5, 3), [0, 1, 2, 1, 0])
    yield case("weight/zero", "a class of weight 0 is still a class", zero, weight=[1.5, 0.0, 0.5])
    one = ([[0.5, -1.0, 2.0]], [2])
    yield case("weight/one-row", "the mean of one row has no weight left", one, weight=[1.0, 2, 3])
    yield case(
        "weight/with-ignored",
        "the weights of ignored rows are not in the divisor",
        _ignoring(-100, (0, 4)),
        weight=WEIGHT,
        ignore_index=-100,
    )
    wide = random(9, 5, seed="wide weights")
    yield case("weight/wide", "weights of very different size", wide, weight=[1e-6, 1e3, 1, 40, 7])


def _with_rows_of_nan() -> tuple[Any, Any]:
    values = logits("sample weight nan", 7, 5)
    values[[0, 2]] = NAN
    return values, targets("sample weight nan", 7, 5)


def _sample_weight() -> Iterator[Case]:
    """Those that suite 3 has added."""

    def of(name: str, reason: str, arrays: Any, **more: Any) -> Case:
        return case(f"sample-weight/{name}", reason, arrays, since=3, **more)

    weights = [0.5, 2.0, 1.0, 3.0, 0.25, 1.0, 1.75]
    with_zeros = [0.0, 2.0, 0.0, 3.0, 0.25, 1.0, 1.75]
    arrays = random(7, 5, seed="sample weight")
    for reduction in ("sum", "none"):
        reason = "each row counts with its own weight"
        yield of(reduction, reason, arrays, sample_weight=weights, reduction=reduction)
    yield of("mean", "the mean divides by the sum of the weights", arrays, sample_weight=weights)
    yield of(
        "zero",
        "a row of weight 0 has loss 0 and gradient 0",
        arrays,
        sample_weight=with_zeros,
        reduction="none",
    )
    yield of(
        "zero-holding-nan",
        "0·NaN is NaN: a row of weight 0, as padding has, may hold anything",
        _with_rows_of_nan,
        sample_weight=with_zeros,
        reduction="sum",
    )
    yield of(
        "with-ignored",
        "the weights of ignored rows are not in the divisor",
        _ignoring(-100, (0, 4)),
        sample_weight=weights,
        ignore_index=-100,
    )
    yield of(
        "class-weight",
        "a row counts with the product of its weight and that of its target's class",
        arrays,
        sample_weight=weights,
        weight=WEIGHT,
    )
    halves = [[0.5, 0.25, 0.25, 0.0], [0.0, 0.0, 0.125, 0.875], [0.25] * 4]
    soft = (logits("soft", 3, 4), halves)
    yield of(
        "soft-target",
        "with probabilities too the mean divides by the sum of the weights",
        soft,
        soft=True,
        sample_weight=[0.5, 2.0, 1.0],
    )
    yield of(
        "wide",
        "weights of very different size",
        arrays,
        sample_weight=[1e-6, 1e3, 1.0, 40.0, 7.0, 1e-3, 1e5],
        reduction="sum",
    )


def _smoothing() -> Iterator[Case]:
    reason = "every class has ε/C, the target among them: not ε/(C − 1), and not to the others only"
    fastai = "https://github.com/fastai/fastai/pull/1814"
    arrays = random(6, 5, seed="smoothing")
    for smoothing in (0.1, 0.5, 1.0):
        name = f"smoothing/{smoothing:g}"
        yield case(name, reason, arrays, source=fastai, label_smoothing=smoothing)
    yield case("smoothing/two-classes", reason, random(4, 2), label_smoothing=0.2, source=fastai)
    weighted = "each class's share is weighted with its own weight, and the divisor is that of "
    for reduction in ("mean", "sum"):
        yield case(
            f"smoothing/weight-{reduction}",
            weighted + "the targets alone",
            random(6, 5, seed="smoothing weight"),
            source=PYTORCH + "issues/104776",
            label_smoothing=0.1,
            weight=WEIGHT,
            reduction=reduction,
        )
    yield case(
        "smoothing/with-ignored",
        "an ignored row is not smoothed either",
        _ignoring(-100, (1, 6)),
        label_smoothing=0.1,
        ignore_index=-100,
    )
    far = ([[30.0, -30.0, 0.0], [100.0, 0.0, -100.0]], [0, 0])
    yield case("smoothing/far", "the smoothed loss is that of the losers", far, label_smoothing=0.1)
    masked = ([[0.5, MASKED, 1.0], [0.0, 1.0, 2.0]], [0, 1])
    yield case(
        "smoothing/masked",
        "a masked class has its share of the target: the loss is infinite",
        masked,
        label_smoothing=0.1,
    )
    vocabulary = random(2, 1000, seed="smoothing")
    yield case("smoothing/thousand", "ε/C is small", vocabulary, label_smoothing=0.1)


def _soft_target() -> Iterator[Case]:
    reason = "the target is a distribution over the classes"
    halves = [[0.5, 0.25, 0.25, 0.0], [0.0, 0.0, 0.125, 0.875], [0.25] * 4]
    three = (logits("soft", 3, 4), halves)
    yield case("soft-target/mean", reason, three, soft=True)
    yield case("soft-target/sum", reason, three, soft=True, reduction="sum")
    yield case("soft-target/none", reason, three, soft=True, reduction="none")
    one_hot = (logits("one-hot", 3, 4), np.eye(4)[[2, 0, 3]])
    yield case("soft-target/one-hot", "a class as a distribution", one_hot, soft=True)
    zero = "0·log 0 is 0: a masked class without a share takes no part"
    masked = ([[2.0, MASKED, 0.0]], [[0.5, 0.0, 0.5]])
    yield case(
        "soft-target/masked",
        zero,
        masked,
        soft=True,
        source="https://github.com/google-deepmind/optax/issues/896",
    )
    infinite = ([[2.0, MASKED, 0.0]], [[0.5, 0.25, 0.25]])
    yield case("soft-target/masked-share", "a masked share is infinite", infinite, soft=True)
    off = ([[0.5, -1.0, 2.0], [1.0, 1.5, 0.0]], [[0.5, 0.25, 0.2578125], [0.25, 0.25, 0.4921875]])
    yield case(
        "soft-target/not-quite-1", "p is multiplied by the sum of the target", off, soft=True
    )
    yield case(
        "soft-target/weight",
        "with probabilities the mean divides by N, weights or not",
        (logits("soft weight", 3, 4), halves),
        soft=True,
        weight=[0.5, 2.0, 1.0, 3.0],
    )
    yield case("soft-target/smoothing", reason, three, soft=True, label_smoothing=0.1)
    near = ([[0.0, 1.0, 2.0]], [[0.0900305748, 0.2447284698, 0.6652409554]])
    yield case("soft-target/nearly-met", "p − q is nearly 0 in every class", near, soft=True)


def _temperature() -> Iterator[Case]:
    reason = "the logits are divided by T, and the gradient once more"
    fast_llm = "https://github.com/ServiceNow/Fast-LLM/issues/228"
    for temperature in (0.5, 2.0, 3.7):
        arrays = random(5, 4, seed="temperature")
        name = f"temperature/{temperature:g}"
        yield case(name, reason, arrays, source=fast_llm, temperature=temperature)
    cold = random(4, 5, seed="cold")
    yield case("temperature/cold", "a small T saturates everything", cold, temperature=2.0**-7)
    yield case("temperature/hot", "a large T makes nearly a tie", cold, temperature=1e6)
    offset = (np.array([[0.0, 1.0, -2.0], [3.0, 0.5, 1.0]]) + 1e6, [1, 2])
    yield case("temperature/offset", "divide differences, not logits", offset, temperature=3.0)


def _softcap() -> Iterator[Case]:
    reason = "the gradient is multiplied by the derivative of the cap"
    arrays = random(5, 4, 9.0, seed="softcap")
    for cap in (2.0, 30.0):
        yield case(f"softcap/{cap:g}", reason, arrays, softcap=cap)
    flat = random(4, 5, 40.0, seed="flat")
    zoo = "https://github.com/unslothai/unsloth-zoo/pull/593"
    far = "far above the cap its derivative is nearly 0"
    yield case("softcap/flat", far, flat, source=zoo, softcap=5.0)
    yield case(
        "softcap/temperature", "capped first, then divided", arrays, softcap=6, temperature=2
    )
    masked = ([[0.5, MASKED, 1.0], [-60.0, -61.5, MASKED]], [0, 1])
    yield case(
        "softcap/masked",
        "capped, −∞ becomes −c: what is masked must stay so",
        masked,
        source="https://github.com/unslothai/unsloth/pull/10616",
        softcap=4.0,
    )


def _z_loss() -> Iterator[Case]:
    reason = "λ·logsumexp² for each row that is kept, its derivative 2λ·logsumexp·p"
    arrays = random(6, 5, seed="z-loss")
    for reduction in ("mean", "sum", "none"):
        yield case(f"z-loss/{reduction}", reason, arrays, z_loss=0.1, reduction=reduction)
    yield case("z-loss/small", reason, arrays, z_loss=1e-4)
    yield case("z-loss/offset", "it depends on a common offset", ([[50.0, 51.0]], [0]), z_loss=0.01)
    yield case(
        "z-loss/with-ignored",
        "an ignored row has none, and is not in its mean",
        _ignoring(-100, (0, 2)),
        z_loss=0.1,
        ignore_index=-100,
    )
    yield case(
        "z-loss/weight",
        "its mean is over the rows kept, whatever their weights",
        random(6, 5, seed="z-loss weight"),
        source=LIGER + "pull/420",
        z_loss=0.1,
        weight=WEIGHT,
    )
