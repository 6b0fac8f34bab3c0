"""The float64 core against the oracle, PyTorch and itself."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, DTypeLike, NDArray

import cecli
from cecli import CrossEntropy, cross_entropy, log_softmax, softmax
from support.each import each
from support.oracle import (
    MAX,
    Golden,
    Hard,
    Objective,
    Result,
    Row,
    evaluate,
    golden_kinds,
    hard_cases,
    round_to,
    ulps,
    worst_ulps,
)

INF, NAN = math.inf, math.nan
Array = NDArray[Any]


def actual_and_exact(
    logits: ArrayLike, target: ArrayLike, **options: Any
) -> tuple[CrossEntropy, Result]:
    return cross_entropy(logits, target, **options), evaluate(logits, target, **options)


def assert_accurate(
    logits: ArrayLike, target: ArrayLike, *, loss: float = 2, components: float = 4, **options: Any
) -> None:
    """Loss and log-softmax within `loss` ulps of the exact result, the rest within `components`.

    A component of the gradient is measured in ulps of the largest term that is summed into it
    where terms can cancel, and in its own where it has an index target and no z-loss.
    """
    actual, exact = actual_and_exact(logits, target, **options)
    soft = np.asarray(target).dtype.kind == "f"
    cancels = soft or options.get("label_smoothing") or options.get("z_loss")
    assert worst_ulps(actual.losses, exact.losses) <= loss
    if options.get("reduction") != "none":
        assert isinstance(actual.loss, float)
        # dividing rounds once more
        assert ulps(actual.loss, exact.loss) <= loss + (actual.divisor != 1.0)
    assert worst_ulps(actual.softmax, exact.softmax) <= components
    assert worst_ulps(actual.log_softmax, exact.log_softmax) <= loss
    scale = exact.largest_term if cancels else None
    assert worst_ulps(actual.grad, exact.grad, scale=scale) <= components


# Golden and hard cases.


@pytest.mark.parametrize("cases", golden_kinds())
def test_golden_cases(cases: list[Golden]) -> None:
    for case in cases:
        loss = 4 if case.cancels else 2
        assert_accurate(case.logits, case.target, loss=loss, **case.options)


@pytest.mark.parametrize("case", hard_cases(), ids=lambda case: case.name)
def test_hard_cases(case: Hard) -> None:
    assert_accurate(case.logits, case.target)


# Many classes.


def logits_of(regime: str, classes: int) -> Array:
    random = np.random.default_rng(classes)
    logits: Array = {
        "normal": random.normal(0, 3, classes).round(2),  # fewer exponentials for the oracle
        "ahead by 30": np.zeros(classes),
        "ahead by 37.5": np.zeros(classes),  # pairwise summation is 5 ulps off
        "wide": -700 / 999 * random.integers(0, 1000, classes),
        "near ties": 1 + 2.0**-52 * random.integers(0, 5, classes),
    }[regime]
    if regime.startswith("ahead"):
        logits[classes // 3] = float(regime.removeprefix("ahead by "))
    return logits


@pytest.mark.parametrize(
    ("classes", "count"), [(50_257, 4), pytest.param(128_256, 1000, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("regime", ["normal", "ahead by 30", "ahead by 37.5", "wide", "near ties"])
def test_many_classes(regime: str, classes: int, count: int) -> None:
    logits = logits_of(regime, classes)
    row = Row(logits.tolist(), [Fraction(0)] * classes, Objective())
    some = np.random.default_rng(1).choice(classes, count, replace=False)
    targets = [int(logits.argmax()), int(logits.argmin()), int(some[0])]
    columns = [*targets, *some.tolist()]
    actual = cross_entropy(np.tile(logits, (3, 1)), targets, reduction="sum")

    for sample, target in enumerate(targets):
        assert ulps(actual.losses[sample], -row.log_softmax(target)) <= 2
        for column in columns:
            exact = row.softmax(column)
            assert ulps(actual.softmax[sample, column], exact) <= 4
            assert ulps(actual.log_softmax[sample, column], row.log_softmax(column)) <= 2
            assert ulps(actual.grad[sample, column], exact - (column == target)) <= 4


# Temperature, softcap, weights and magnitudes at their extremes.


def normal(size: int | tuple[int, ...] = 10, scale: float = 3.0, offset: float = 0.0) -> Array:
    return offset + np.random.default_rng(7).normal(0, scale, size)


@pytest.mark.parametrize(
    ("logits", "options"),
    [
        (normal(offset=1e6), {"temperature": 3.0}),
        (normal(offset=1e15), {"temperature": 0.3}),
        (normal(scale=30), {"temperature": 0.1}),
        (normal(scale=300), {"temperature": 7.0}),
        ([5e-324, 0.0], {"temperature": 5e-324}),
        ([1e-310, 0.0, -3e-310], {"temperature": 1e-310}),
        ([1e300, 0.0, -1e300], {"temperature": 1e300}),
        ([1e-300, 0.0], {"temperature": 1e300}),
        ([MAX, -MAX], {}),
        ([MAX, -MAX], {"temperature": 2.0}),
        ([MAX, -MAX], {"temperature": MAX}),
        ([MAX, -MAX, -INF], {"temperature": 3.0}),
        ([-MAX, -MAX, -MAX], {"temperature": 1e-5}),
        ([MAX, MAX / 2], {"temperature": MAX / 2}),
        ([714.0, 0.0], {"weight": [1e300, 1e300]}),
        ([740.0, 0.0, -1.0], {"weight": [1e300, 1e-5, 1e305]}),
        ([744.0, 0.0], {"weight": [2.0**1000, 3.0]}),
        ([3000.0, 0.0], {"weight": [MAX, MAX], "temperature": 2.5}),
        (normal(), {"weight": np.geomspace(1e-300, 1e-310, 10)}),
        ([0.0, 0.0, 0.0], {"weight": [0.0, 2.0, 0.0]}),
        ([0.5, -0.5], {"softcap": 1.0, "temperature": 5e-324}),
    ],
    ids=str,
)
def test_extremes(logits: ArrayLike, options: dict[str, Any]) -> None:
    for target in range(min(3, np.size(logits))):
        if np.asarray(logits)[target] > -INF:
            assert_accurate(logits, target, reduction="sum", **options)


@pytest.mark.parametrize("softcap", [0.5, 5.0, 30.0, 1e10])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_softcap_loses_no_more_than_the_rounding_of_the_capped_logits(
    softcap: float, temperature: float
) -> None:
    logits = normal(scale=10)
    options: dict[str, Any] = {"softcap": softcap, "temperature": temperature, "reduction": "sum"}
    largest = np.abs(softcap * np.tanh(logits / softcap)).max() / temperature
    for target in (int(logits.argmax()), int(logits.argmin()), 4):
        actual, exact = actual_and_exact(logits, target, **options)
        # 8·2⁻⁵³·|u| relative, as the check's tolerance allows, which is 8|u| half ulps
        allowed = 4 + 8 * largest
        assert worst_ulps(actual.softmax, exact.softmax) <= allowed
        assert worst_ulps(actual.grad, exact.grad) <= allowed
        assert worst_ulps(actual.losses, exact.losses) <= allowed


def test_mean_over_many_rows() -> None:
    logits = np.tile(normal((22, 3)), (50, 1))
    target = np.arange(1100) % 11 % 3
    weight = np.array([0.1, 0.7, 1.3])
    objectives: list[dict[str, Any]] = [
        {},
        {"weight": weight},
        {"reduction": "sum"},
        {"z_loss": 1e-3},
    ]
    for options in objectives:
        actual, exact = actual_and_exact(logits, target, **options)
        assert isinstance(actual.loss, float)
        assert ulps(actual.loss, exact.loss) <= 2
        assert exact.divisor is not None
        assert actual.divisor == round_to(exact.divisor)


# Many random rows, measured in extended precision.


def measured(logits: Array, target: Array) -> tuple[Array, Array]:
    """Losses and gradient of the sum with eleven bits more than a double has."""
    rows, each = logits.astype(np.longdouble), np.arange(len(logits))
    below = rows - rows.max(axis=1, keepdims=True)
    powers, others = np.exp(below), np.exp(below)
    others[each, rows.argmax(axis=1)] = 0.0
    rest = others.sum(axis=1)
    losses = np.log1p(rest) - below[each, target]
    grad = powers / (1.0 + rest)[:, None]
    powers[each, target] = 0.0
    grad[each, target] = -powers.sum(axis=1) / (1.0 + rest)
    return losses, grad


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="needs a longer long double")
@each("dtype", [np.float32, np.float64])
@each("classes", [2, 3, 10, 100, 1000])
@each(("scale", "offset"), [(1.0, 0.0), (3.0, 5.0), (10.0, 1e6), (1.0, 1e-9)])
def test_random_rows(classes: int, scale: float, offset: float, dtype: DTypeLike) -> None:
    random = np.random.default_rng(classes)
    logits = (scale * random.standard_normal((40_000 // classes, classes)) + offset).astype(dtype)
    target = random.integers(0, classes, len(logits))
    losses, grad = measured(logits, target)
    actual = cross_entropy(logits, target, reduction="sum")
    assert (np.abs(actual.losses - losses) / np.spacing(losses.astype(np.float64))).max() <= 2
    unit = np.abs(np.spacing(grad.astype(dtype)))
    most = 4.0 if dtype is np.float64 else 0.5001
    assert (np.abs(actual.grad - grad) / unit).max() <= most


@pytest.mark.parametrize("classes", [2, 64, 65, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_zero_is_negative(classes: int, dtype: DTypeLike) -> None:
    logits = np.full((3, classes), -200.0, dtype=dtype)
    logits[:, 0] = [0.0, 0.0, 600.0]
    objectives: list[dict[str, Any]] = [
        {},
        {"label_smoothing": 0.1},
        {"z_loss": 1e-300},
        {"softcap": 900.0},
    ]
    for options in objectives:
        result = cross_entropy(logits, [0, 1, 0], **options)
        for array in (result.grad, result.softmax, result.log_softmax, result.losses):
            assert not np.signbit(array[array == 0.0]).any()


# Types, shapes and memory.


@each("dtype", [np.float16, np.float32])
@each(
    "logits",
    [normal(), normal(scale=30), normal((4, 3), 100), [40, 0, 0], [100, 0], [103.5, 0], [11, 11]],
)
@each("weight", [None, 3.7])
def test_short_input(logits: ArrayLike, dtype: DTypeLike, weight: float | None) -> None:
    logits = np.asarray(logits, dtype=dtype)
    target = np.zeros(logits.shape[:-1], dtype=int)
    weights = None if weight is None else np.full(logits.shape[-1], weight)
    actual, exact = actual_and_exact(logits, target, weight=weights, reduction="sum")
    assert worst_ulps(actual.losses, exact.losses) <= 2
    for name in ("softmax", "log_softmax", "grad"):
        array = getattr(actual, name)
        assert array.dtype == np.float32
        assert worst_ulps(array, getattr(exact, name), np.float32) <= 0.5001
    for function in (softmax, log_softmax):
        np.testing.assert_array_equal(function(logits), getattr(actual, function.__name__))


@each("tiny", [0.0, 1e-9, -3e-12, 1e-30, 2.0**-149])
@each("large", [40.0, 17.3, -25.1, 300.7])
def test_short_numbers_far_apart_lose_nothing_in_subtracting(large: float, tiny: float) -> None:
    logits = np.array([[large, tiny, -tiny], [tiny, large, -INF]], dtype=np.float32)
    for targets in ([0, 0], [1, 1], [2, 0]):
        actual, exact = actual_and_exact(logits, targets, reduction="none")
        assert worst_ulps(actual.losses, exact.losses) <= 2
        assert worst_ulps(actual.grad, exact.grad, np.float32) <= 0.5001


def test_what_overflows_float32_is_infinite() -> None:
    logits = np.array([3e38, -3e38], dtype=np.float32)
    result = cross_entropy(logits, 1, weight=[1.0, 1e200], reduction="sum")
    assert result.log_softmax.tolist() == [0.0, -INF]
    assert result.grad.tolist() == [INF, -INF]
    assert result.loss == pytest.approx(1e200 * (float(logits[0]) - float(logits[1])), rel=1e-15)


@pytest.mark.parametrize("dtype", [int, np.int8, np.uint16, np.int64])
def test_integer_logits(dtype: DTypeLike) -> None:
    logits = np.array([3, 1, 2], dtype=dtype)
    actual, expected = cross_entropy(logits, 1), cross_entropy([3.0, 1.0, 2.0], 1)
    assert actual.grad.dtype == np.float64
    assert actual.grad.tolist() == expected.grad.tolist()
    assert actual.loss == expected.loss


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5), (2, 1, 3, 5), (0, 5)])
@pytest.mark.parametrize("soft", [False, True])
def test_batches_are_their_rows_and_the_classes_may_stand_on_any_axis(
    shape: tuple[int, ...], soft: bool
) -> None:
    logits = normal(shape)
    target: Array = np.arange(math.prod(shape[:-1])).reshape(shape[:-1]) % 5
    if soft:
        target = softmax(normal(shape, scale=1.0))
    last = cross_entropy(logits, target, reduction="none")
    assert last.losses.shape == shape[:-1]
    for axis in range(-len(shape), len(shape)):
        moved = np.moveaxis(logits, -1, axis)
        moved_target = np.moveaxis(target, -1, axis) if soft else target
        result = cross_entropy(moved, moved_target, reduction="none", axis=axis)
        np.testing.assert_array_equal(result.losses, last.losses)
        for name in ("softmax", "log_softmax", "grad"):
            array = getattr(result, name)
            assert array.shape == moved.shape
            np.testing.assert_array_equal(np.moveaxis(array, axis, -1), getattr(last, name))
    for sample in np.ndindex(shape[:-1]):
        one = cross_entropy(logits[sample], target[sample], reduction="none")
        assert last.losses[sample] == one.loss
        for name in ("softmax", "log_softmax", "grad"):
            np.testing.assert_array_equal(getattr(last, name)[sample], getattr(one, name))


def test_reductions_and_divisors() -> None:
    logits, target, weight = normal((4, 3)), [0, 1, 2, 1], [0.5, 2.0, 4.0]
    none = cross_entropy(logits, target, weight=weight, reduction="none")
    total = cross_entropy(logits, target, weight=weight, reduction="sum")
    mean = cross_entropy(logits, target, weight=weight)
    assert isinstance(none.loss, np.ndarray)
    np.testing.assert_array_equal(none.loss, none.losses)
    np.testing.assert_array_equal(none.grad, total.grad)
    assert (none.divisor, total.divisor, mean.divisor) == (None, 1.0, 8.5)
    assert total.loss == pytest.approx(math.fsum(none.losses), rel=1e-15)
    assert mean.loss == pytest.approx(math.fsum(none.losses) / 8.5, rel=1e-15)
    assert cross_entropy(logits, target, weight=weight, z_loss=0.1).z_loss_divisor == 4.0
    soft = cross_entropy(logits, np.full((4, 3), 1 / 3), weight=weight)
    assert soft.divisor == 4.0


def test_one_weighted_sample_has_its_weight_divided_out_again() -> None:
    plain, weighted = cross_entropy([2, 1, 0.1], 0), cross_entropy([2, 1, 0.1], 0, weight=[7, 1, 1])
    assert weighted.loss == pytest.approx(plain.loss, rel=1e-15)
    assert weighted.losses[()] == pytest.approx(7 * plain.losses[()], rel=1e-15)
    assert weighted.divisor == 7.0


@pytest.mark.parametrize(
    "rearrange",
    [
        np.asfortranarray,
        lambda z: np.repeat(z, 2, axis=1)[:, ::2],
        lambda z: z[::-1, ::-1].copy()[::-1, ::-1],
        lambda z: z.astype(">f8"),
        lambda z: z.tolist(),
    ],
    ids=["Fortran", "strided", "reversed", "big-endian", "lists"],
)
def test_layout_in_memory_does_not_matter(rearrange: Any) -> None:
    logits, target = normal((6, 7)), np.arange(6)
    expected, actual = cross_entropy(logits, target), cross_entropy(rearrange(logits), target)
    assert actual.loss == expected.loss
    np.testing.assert_array_equal(actual.grad, expected.grad)
    assert actual.grad.dtype == np.dtype(np.float64)


@pytest.mark.parametrize(
    "rearrange",
    [
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=0)[::2],
        lambda a: a[::-1].copy()[::-1],
        lambda a: a.astype(a.dtype.newbyteorder(">")),
    ],
    ids=["Fortran", "strided", "reversed", "big-endian"],
)
@pytest.mark.parametrize("exact", [False, True])
def test_layout_of_what_stands_beside_the_logits_does_not_matter(
    rearrange: Any, exact: bool
) -> None:
    logits, target, soft = normal((6, 7)), np.arange(6), cecli.softmax(normal((6, 7)))
    weight, sample_weight = np.arange(7) + 0.5, np.arange(6) + 0.25
    for truth in (target, target.astype(np.int32), soft):
        expected = cross_entropy(
            logits, truth, weight=weight, sample_weight=sample_weight, exact=exact
        )
        actual = cross_entropy(
            logits,
            rearrange(truth),
            weight=rearrange(weight),
            sample_weight=rearrange(sample_weight),
            exact=exact,
        )
        assert actual.loss == expected.loss
        np.testing.assert_array_equal(actual.grad, expected.grad)
    plain = cross_entropy(logits, rearrange(target), exact=exact)
    assert plain.loss == cross_entropy(logits, target, exact=exact).loss


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arguments_are_left_as_they_were(dtype: DTypeLike) -> None:
    logits, target = normal((3, 4)).astype(dtype), np.array([0, -100, 2])
    logits[1, 0] = NAN
    soft, weight = np.full((1, 4), 0.25), np.ones(4)
    given = [logits, target, soft, weight]
    before = [array.copy() for array in given]
    for array in given:
        array.flags.writeable = False
    options: dict[str, Any] = {"weight": weight, "label_smoothing": 0.1, "softcap": 3.0}
    result = cross_entropy(logits, target, ignore_index=-100, **options)
    cross_entropy(logits[:1], soft, **options)
    for array, copy in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    for array in (result.softmax, result.log_softmax, result.grad, result.losses):
        assert not np.shares_memory(array, logits)


# What holds by symmetry.


def test_order_of_the_classes_does_not_matter() -> None:
    logits = normal(1000, scale=10)
    order = np.random.default_rng(0).permutation(1000)
    plain, shuffled = cross_entropy(logits, order[0]), cross_entropy(logits[order], 0)
    assert plain.loss == pytest.approx(shuffled.loss, rel=4e-16)
    np.testing.assert_array_max_ulp(plain.grad[order], shuffled.grad, 4)


@pytest.mark.parametrize("shift", [2.0**20, -(2.0**30), 1000.0])
def test_an_exact_shift_changes_nothing(shift: float) -> None:
    logits = np.round(normal(50) * 1024) / 1024
    plain, shifted = cross_entropy(logits, 3), cross_entropy(logits + shift, 3)
    assert plain.loss == shifted.loss
    np.testing.assert_array_equal(plain.grad, shifted.grad)
    np.testing.assert_array_equal(plain.log_softmax, shifted.log_softmax)


@pytest.mark.parametrize("scale", [0.1, 3.0, 50.0])
def test_probabilities_sum_to_one_and_the_gradient_to_zero(scale: float) -> None:
    result = cross_entropy(normal((20, 200), scale), np.arange(20), reduction="sum")
    for p, g in zip(result.softmax.tolist(), result.grad.tolist(), strict=True):
        assert abs(math.fsum(p) - 1) <= 4 * 2.0**-52
        assert abs(math.fsum(g)) <= 4 * 2.0**-52 * max(map(abs, g))


# Masked classes, ignored samples, soft targets.


@pytest.mark.parametrize("options", [{}, {"softcap": 2.0}, {"temperature": 0.5}])
def test_a_masked_class_takes_no_part(options: dict[str, Any]) -> None:
    plain = cross_entropy([0.5, -3.0, 2.0], 1, **options)
    masked = cross_entropy([-INF, 0.5, -INF, -3.0, 2.0, -INF], 3, **options)
    seen = [1, 3, 4]
    assert masked.loss == plain.loss
    for name in ("softmax", "log_softmax", "grad"):
        np.testing.assert_array_equal(getattr(masked, name)[seen], getattr(plain, name))
    assert masked.softmax[[0, 2, 5]].tolist() == masked.grad[[0, 2, 5]].tolist() == [0.0] * 3
    assert masked.log_softmax[[0, 2, 5]].tolist() == [-INF] * 3


def test_all_but_one_class_masked() -> None:
    result = cross_entropy([-INF, 3.0, -INF], 1)
    assert (result.loss, result.grad.tolist()) == (0.0, [0.0, 0.0, 0.0])
    assert result.softmax.tolist() == [0.0, 1.0, 0.0]
    assert math.copysign(1.0, result.loss) == 1.0


@pytest.mark.parametrize(
    ("target", "options", "mass"),
    [
        (0, {}, [1.0, 0.0, 0.0]),
        ([0.5, 0.25, 0.25], {}, [0.5, 0.25, 0.25]),
        (1, {"label_smoothing": 0.75}, [0.25, 0.5, 0.25]),
        (0, {"weight": [2.0, 1.0, 1.0], "reduction": "sum"}, [2.0, 0.0, 0.0]),
        (0, {"softcap": 9.0}, [1.0, 0.0, 0.0]),
    ],
)
def test_mass_on_a_masked_class(
    target: ArrayLike, options: dict[str, Any], mass: list[float]
) -> None:
    logits = [-INF, 1.0, 1.0]
    result = cross_entropy(logits, target, **options)
    assert result.loss == INF
    assert result.grad[0] == -mass[0]
    exact = evaluate(logits, target, **options)
    assert worst_ulps(result.grad, exact.grad, scale=exact.largest_term) <= 4


@pytest.mark.parametrize(
    ("target", "options"),
    [([0.0, 0.5, 0.5], {}), (0, {"weight": [0.0, 1.0, 1.0], "reduction": "sum"})],
)
def test_a_masked_class_without_mass_costs_nothing(
    target: ArrayLike, options: dict[str, Any]
) -> None:
    result = cross_entropy([-INF, 1.0, 2.0], target, **options)
    assert isinstance(result.loss, float)
    assert math.isfinite(result.loss)
    assert result.grad[0] == 0


@pytest.mark.parametrize("ignored", [[NAN, INF], [-INF, -INF], [MAX, -MAX]])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"z_loss": 1.0, "softcap": 2.0}])
def test_an_ignored_sample_may_hold_anything(ignored: list[float], options: dict[str, Any]) -> None:
    kept = cross_entropy([[1.0, 2.0], [3.0, -1.0]], [0, 1], **options)
    result = cross_entropy(
        [[1.0, 2.0], ignored, [3.0, -1.0]], [0, -7, 1], ignore_index=-7, **options
    )
    assert (result.loss, result.divisor) == (kept.loss, 2.0)
    assert result.losses.tolist() == [kept.losses[0], 0.0, kept.losses[1]]
    np.testing.assert_array_equal(result.grad[[0, 2]], kept.grad)
    assert result.grad[1].tolist() == [0.0, 0.0]
    assert np.isnan(result.softmax[1]).all()
    assert np.isnan(result.log_softmax[1]).all()


def test_a_sum_over_no_samples_is_zero() -> None:
    result = cross_entropy([[1.0, 2.0]], [5], ignore_index=5, reduction="sum")
    assert (result.loss, result.grad.tolist()) == (0.0, [[0.0, 0.0]])
    assert cross_entropy(np.zeros((0, 3)), np.zeros(0, dtype=int), reduction="sum").loss == 0.0


@pytest.mark.parametrize("total", [0.992, 1.008])
def test_soft_targets_are_not_renormalised(total: float) -> None:
    q = [total - 0.5, 0.5]
    assert_accurate([1.0, 2.0], q, loss=4)
    assert sum(cross_entropy([1.0, 2.0], q).grad) == pytest.approx(0.0, abs=1e-15)
    assert cross_entropy([0.0, 0.0], q).loss == pytest.approx(total * math.log(2), rel=1e-15)


def test_no_floating_point_warning_reaches_the_caller() -> None:
    logits = [[MAX, -MAX, 5e-324, 0.0], [800.0, 0.0, -INF, 1e-300], [NAN, INF, 0.0, 0.0]]
    options: dict[str, Any] = {"weight": [MAX, 1e-300, 0.0, 5e-324], "ignore_index": 3}
    extras: list[dict[str, Any]] = [
        {},
        {"softcap": 1e-300},
        {"temperature": 1e-300},
        {"label_smoothing": 0.1},
    ]
    with np.errstate(all="raise"):
        for extra in extras:
            for given in (np.array(logits), np.array(logits[1:], dtype=np.float32)):
                cross_entropy(given, [1, 0, 3][-len(given) :], **options, **extra, z_loss=1e300)
        softmax(logits[0])
        log_softmax(np.array([3e38, -3e38], dtype=np.float32))


# Any row at all.

FINITE = st.floats(allow_nan=False, allow_infinity=False)
SMALL = st.floats(-50, 50)
WIDE = st.floats(-800, 800)
ROWS = st.one_of(
    [
        st.lists(st.one_of(logits, st.just(-INF)), min_size=1, max_size=8)
        for logits in (SMALL, WIDE, FINITE)
    ]
).filter(lambda row: max(row) > -INF)


@given(ROWS, st.data())
def test_any_row(row: list[float], data: st.DataObject) -> None:
    target = data.draw(st.sampled_from([i for i, z in enumerate(row) if z > -INF]))
    weights = st.lists(st.floats(1e-300, 1e300), min_size=len(row), max_size=len(row))
    weight = data.draw(st.none() | weights)
    assert_accurate(row, target, weight=weight, reduction="sum")


def test_a_weighted_loss_that_overflows_is_infinite() -> None:
    result = cross_entropy([-6e265, 1e261], 0, weight=[3.9e160, 1.0], reduction="sum")
    assert result.loss == INF


@given(ROWS, st.data())
def test_any_row_with_a_soft_target(row: list[float], data: st.DataObject) -> None:
    shares = data.draw(
        st.lists(st.floats(0, 1), min_size=len(row), max_size=len(row)).filter(lambda q: sum(q) > 0)
    )
    q = np.array(shares) / math.fsum(shares)
    smoothing = data.draw(st.sampled_from([0.0, 0.1, 1.0]))
    assert_accurate(row, q, loss=4, label_smoothing=smoothing)
