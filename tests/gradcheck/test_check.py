"""The check passes a right gradient and fails a wrong one, however small the mistake."""

from __future__ import annotations

import math
import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from cecli import CecliError, GradientCheck, check_gradient, cross_entropy
from cecli.gradcheck.differences import DecimalDifferences, plan_check
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem
from support.oracle import MAX, Golden, evaluate, golden_cases, rounded, some_of, ulp, ulps
from support.pairs import covering

INF, NAN = math.inf, math.nan
Array = NDArray[Any]

FINITE_CASES = [case for case in golden_cases() if math.isfinite(case.loss)]
INDEX_CASES = [case for case in FINITE_CASES if not case.cancels]


def normal(*shape: int, scale: float = 3.0) -> Array:
    return np.random.default_rng(11).normal(0, scale, shape)


def wrong_in_one_component(grad: Array) -> list[tuple[int, Array]]:
    """A component that is not zero: set to zero, negated, and 1e-12 off where that shows.

    The two largest components and the two smallest. A change of fewer than 8 ulps, which happens
    among the subnormal numbers, may be rounding.
    """
    wrong = []
    by_size = [i for i in np.argsort(np.abs(grad)).tolist() if grad[i]]
    for i in dict.fromkeys(by_size[:2] + by_size[-2:]):
        for factor in (0.0, -1.0, 1 + 1e-12, 1 - 1e-12):
            changed = grad.copy()
            changed[i] *= factor
            enough = 8 * ulp(Fraction(grad[i])) if factor > 0 else 0
            if abs(Fraction(changed[i]) - Fraction(grad[i])) > enough:
                wrong.append((i, changed))
    return wrong


def wrong_as_a_whole(grad: Array) -> list[Array]:
    """The gradient as all zeros, negated, and 1e-12 off, where any of these is another gradient."""
    off = grad * (1 + 1e-12)
    shows = (np.abs(off - grad) > 8 * np.spacing(np.abs(grad))).any()
    wrong = [0 * grad, -grad] if grad.any() else []
    return [*wrong, off] if shows else wrong


def assert_right_and_wrong_are_told_apart(
    logits: ArrayLike, target: ArrayLike, **options: Any
) -> None:
    grad = rounded(evaluate(logits, target, **options).grad)
    assert check_gradient(logits, target, grad, **options).passed
    for wrong in wrong_as_a_whole(grad):
        assert not check_gradient(logits, target, wrong, **options).passed
    if grad.ndim == 1:
        for component, wrong in wrong_in_one_component(grad):
            check = check_gradient(logits, target, wrong, **options)
            assert not check.passed, f"component {component}: {wrong[component]}"
            assert check.worst == (component,)


taken: dict[bytes, Any] = {}


@pytest.fixture(autouse=True)
def _differences_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row's differences do not depend on the gradient that is held against them."""
    numeric_row = DecimalDifferences.numeric_row

    def once(self: DecimalDifferences, number: int, columns: NDArray[Any]) -> Any:
        problem = self.problem
        asked = (problem.logits, problem.target, problem.objective, self.step, self.dtype)
        key = pickle.dumps((asked, number, columns))
        if key not in taken:
            taken[key] = numeric_row(self, number, columns)
        return taken[key]

    monkeypatch.setattr(DecimalDifferences, "numeric_row", once)


# Right gradients pass.


@pytest.mark.parametrize("case", some_of(FINITE_CASES, 4))
def test_golden_gradients_pass(case: Golden) -> None:
    for exact in (False, True):
        grad = cross_entropy(case.logits, case.target, exact=exact, **case.options).grad
        check = check_gradient(case.logits, case.target, grad, **case.options)
        assert check.passed, check
        assert check.checked == check.total == grad.size
        assert check.seed is None
        assert (check.method, check.step) == ("decimal", 1e-20)


OBJECTIVES = covering(
    ["index", "soft", "ignored"],
    ["mean", "sum", "none"],
    [
        {},
        {"weight": [0.3, 2.0, 1e-5]},
        {"label_smoothing": 0.1},
        {"temperature": 0.01},
        {"temperature": 40.0, "weight": [3.0, 1e8, 1.0]},
        {"softcap": 2.0},
        {"softcap": 0.01, "temperature": 0.1},
        {"softcap": 30.0, "temperature": 3.0, "z_loss": 0.1},
        {"z_loss": 1e-4},
        {"z_loss": 1e6, "label_smoothing": 1.0},
        {"label_smoothing": 0.2, "weight": [0.0, 1.0, 5.0], "softcap": 4.0, "z_loss": 1e-2},
    ],
)


@pytest.mark.parametrize(("kind", "reduction", "options"), OBJECTIVES, ids=str)
def test_the_whole_objective_passes(kind: str, reduction: Any, options: dict[str, Any]) -> None:
    logits = normal(4, 3)
    target: Array = np.array([0, 1, 2, 1])
    if kind == "soft":
        target = np.abs(normal(4, 3))
        target /= target.sum(axis=1, keepdims=True)
    elif kind == "ignored":
        target[2], logits[2] = -1, NAN
        options = {**options, "ignore_index": -1}
    for exact in (False, True):
        result = cross_entropy(logits, target, exact=exact, reduction=reduction, **options)
        check = check_gradient(logits, target, result.grad, reduction=reduction, **options)
        assert check.passed, check
        assert check.checked == 12


@pytest.mark.parametrize("shape", [(5,), (2, 3, 5), (1, 1)])
@pytest.mark.parametrize("axis", [0, -1])
def test_any_shape_and_axis(shape: tuple[int, ...], axis: int) -> None:
    logits = normal(*shape)
    target = np.zeros(np.delete(shape, axis), dtype=int)
    grad = cross_entropy(logits, target, axis=axis).grad
    check = check_gradient(logits, target, grad, axis=axis)
    assert check.passed
    assert check.indices.shape == (grad.size, grad.ndim)
    assert sorted(map(tuple, check.indices.tolist())) == sorted(np.ndindex(*shape))
    np.testing.assert_array_equal(check.analytic, grad[tuple(check.indices.T)])


# Wrong gradients fail, whatever the logits.


@pytest.mark.parametrize("case", some_of(INDEX_CASES, 4))
def test_golden_gradients_made_wrong_fail(case: Golden) -> None:
    assert_right_and_wrong_are_told_apart(case.logits, case.target, **case.options)


@pytest.mark.parametrize(
    ("logits", "options"),
    [
        ([1e8, 1e8 - 1, 1e8 + 0.5], {}),
        ([1e15, 1e15 - 1], {}),
        ([40.0, 0.0, 0.0], {"temperature": 0.5}),
        ([745.0, 0.0], {}),
        ([750.0] + [0.0] * 20, {}),
        ([700.0, 0.0, -40.0], {"weight": [1e-20, 1.0, 1e10]}),
        ([0.0, 1.0], {"weight": [1.5e-323, 1e-322]}),
        ([MAX, -MAX], {"temperature": MAX}),
        ([40.0, 0.0, 3.0], {"softcap": 50.0}),
        ([30.0, -30.0, 29.0], {"softcap": 1.0}),
        ([300.0, -100.0], {"softcap": 1.0, "temperature": 0.3}),
        ([0.5, -0.5], {"softcap": 1.0, "temperature": 0.005}),
        ([2.0, -INF, 0.0, -900.0], {}),
    ],
    ids=str,
)
@pytest.mark.parametrize("target", [0, -2])
def test_hard_gradients_made_wrong_fail(
    logits: list[float], target: int, options: dict[str, Any]
) -> None:
    index = target % len(logits)
    assert_right_and_wrong_are_told_apart(logits, index, reduction="sum", **options)


ROWS = st.one_of(
    [
        st.lists(st.one_of(logits, st.just(-INF)), min_size=1, max_size=5)
        for logits in (
            st.floats(-5, 5),
            st.floats(-50, 50),
            st.floats(-760, 760),
            st.floats(1e8 - 40, 1e8 + 40),
        )
    ]
).filter(lambda row: max(row) > -INF)


@given(ROWS, st.floats(0.1, 10), st.none() | st.floats(1e-3, 1e3), st.data())
def test_any_row(
    row: list[float], temperature: float, weight: float | None, data: st.DataObject
) -> None:
    target = data.draw(st.sampled_from([i for i, z in enumerate(row) if z > -INF]))
    weights = None if weight is None else [weight] * len(row)
    options: dict[str, Any] = {"temperature": temperature, "weight": weights, "reduction": "sum"}
    assert_right_and_wrong_are_told_apart(row, target, **options)
    grad = cross_entropy(row, target, **options).grad
    assert check_gradient(row, target, grad, **options).passed


@given(st.lists(st.floats(-40, 40), min_size=2, max_size=4), st.floats(0.5, 100), st.data())
def test_any_row_under_a_softcap(row: list[float], softcap: float, data: st.DataObject) -> None:
    target = data.draw(st.integers(0, len(row) - 1))
    grad = cross_entropy(row, target, softcap=softcap).grad
    assert check_gradient(row, target, grad, softcap=softcap).passed
    grad = rounded(evaluate(row, target, softcap=softcap).grad)
    for factor in (0.0, -1.0):
        if grad.any():
            assert not check_gradient(row, target, factor * grad, softcap=softcap).passed


def test_a_batch_is_wrong_where_one_row_is() -> None:
    logits, target = normal(4, 3), [0, 1, 2, 0]
    grad = cross_entropy(logits, target).grad
    for sample in range(4):
        wrong = grad.copy()
        wrong[sample, 1] *= 1 + 1e-12
        check = check_gradient(logits, target, wrong)
        assert not check.passed
        assert check.worst == (sample, 1)


@pytest.mark.parametrize(
    ("mistaken", "meant"),
    [
        ({"reduction": "sum"}, {}),
        ({}, {"temperature": 2.0}),
        ({}, {"softcap": 5.0}),
        ({}, {"z_loss": 1e-9}),
        ({}, {"weight": [1.0, 1.0, 1.0 + 1e-9]}),
        ({"label_smoothing": 0.1}, {}),
    ],
    ids=str,
)
def test_the_gradient_of_another_objective_fails(
    mistaken: dict[str, Any], meant: dict[str, Any]
) -> None:
    logits, target = normal(4, 3), [0, 1, 2, 0]
    grad = cross_entropy(logits, target, **mistaken).grad
    assert not check_gradient(logits, target, grad, **meant).passed


def test_a_gradient_where_there_is_none_fails() -> None:
    rows = [[1.0, -INF, 2.0], [NAN, 1.0, INF]]
    grad = cross_entropy(rows, [0, 3], ignore_index=3).grad
    assert check_gradient(rows, [0, 3], grad, ignore_index=3).passed
    for component in ((0, 1), (1, 0), (1, 2)):
        wrong = grad.copy()
        wrong[component] = 5e-324 if component[0] else 1e-320
        check = check_gradient(rows, [0, 3], wrong, ignore_index=3)
        assert not check.passed
        assert check.worst == component


@pytest.mark.parametrize("broken", [NAN, INF, -INF])
@pytest.mark.parametrize("method", ["decimal", "central", "forward"])
def test_what_is_not_a_number_fails(broken: float, method: Any) -> None:
    grad = cross_entropy(normal(3, 4), [0, 1, 2]).grad
    grad[1, 2] = broken
    check = check_gradient(normal(3, 4), [0, 1, 2], grad, method=method)
    assert not check.passed
    assert check.worst == (1, 2)
    assert not math.isfinite(check.max_abs_error)


# Numbers that no double is next to.


@pytest.mark.parametrize(
    ("logits", "target", "options"),
    [
        ([0.88, 1.6], 1, {"temperature": 0.001, "softcap": 30.0}),
        ([-1.1e-311], 0, {"z_loss": 1.0}),
        ([2.0, 1.0, 0.1], 0, {"weight": [5e-324] * 3, "reduction": "sum"}),
        ([2.0, 1.0, 0.1], 0, {"z_loss": 5e-324}),
        ([0.5], 0, {"z_loss": 5e-324, "softcap": 30.0}),
        ([36.0], 0, {"z_loss": 5e-324, "weight": [1e308], "reduction": "sum"}),
        ([0.0, -5000.0], 0, {"label_smoothing": 1e-300}),
        ([0.0, -5000.0, 1.0], 0, {"label_smoothing": 0.1, "weight": [1.0, 5e-324, 1e308]}),
        ([1e308], 0, {"temperature": 0.5, "softcap": 1e300, "reduction": "sum"}),
        ([1e-280, -2e-280], 0, {"temperature": 1e-279, "softcap": 1e-280}),
    ],
    ids=str,
)
@pytest.mark.parametrize("exact", [False, True])
def test_a_subnormal_gradient_passes(
    logits: list[float], target: int, options: dict[str, Any], exact: bool
) -> None:
    grad = cross_entropy(logits, target, exact=exact, **options).grad
    assert check_gradient(logits, target, grad, **options).passed


def test_a_gradient_beyond_all_doubles_is_infinite() -> None:
    """The loss is a double, and its derivative by a logit, 1.4e309, is none."""
    weight = np.zeros(70)
    weight[69] = 1e308
    logits, soft = np.zeros(70), np.full(70, 1.0 / 70.0)
    options: dict[str, Any] = {"weight": weight, "label_smoothing": 0.1, "temperature": 0.001}
    grad = cross_entropy(logits, soft, **options).grad
    assert grad[69] == -np.inf
    assert check_gradient(logits, soft, grad, **options).passed
    assert not check_gradient(logits, soft, -grad, **options).passed
    grad[0] = np.inf
    assert not check_gradient(logits, soft, grad, **options).passed


@pytest.mark.parametrize("samples", [3, pytest.param(160, marks=pytest.mark.slow)])
def test_random_subnormal_gradients_pass(samples: int) -> None:
    random = np.random.default_rng(0)
    options: dict[str, Any] = {"temperature": 0.001, "softcap": 30.0}
    for size in [min(samples, 20)] * -(-samples // 20):
        logits, target = random.normal(size=(size, 3)), random.integers(0, 3, size)
        found = check_gradient(
            logits, target, cross_entropy(logits, target, **options).grad, **options
        )
        assert found.passed
        assert (found.excess <= 1.0).all()


# Precision of the gradient that is given.


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize(
    "logits", [[2.0, 1.0, 0.1], [9.0, 0.0, -5.0], [90.0, 0.0, 1.0], [40.0, -20.0, 3.0]], ids=str
)
def test_a_short_gradient_is_judged_at_its_own_precision(logits: list[float], dtype: Any) -> None:
    grad = rounded(evaluate(logits, 0).grad).astype(dtype)
    assert check_gradient(logits, 0, grad).passed
    for factor in (0, -1, 1 + 16 * np.finfo(dtype).eps):
        wrong = grad * dtype(factor)
        shows = np.abs(wrong - grad) > 8 * np.spacing(np.abs(grad))
        if shows.any() or (factor < 1 and grad.any()):
            assert not check_gradient(logits, 0, wrong).passed


def test_the_core_passes_with_short_logits() -> None:
    logits = normal(5, 4, scale=20).astype(np.float32)
    grad = cross_entropy(logits, [0, 1, 2, 3, 0]).grad
    assert grad.dtype == np.float32
    assert check_gradient(logits, [0, 1, 2, 3, 0], grad).passed
    assert not check_gradient(logits, [0, 1, 2, 3, 0], grad.astype(np.float64)).passed


# Errors.


@pytest.mark.parametrize(
    ("logits", "target", "grad", "options"),
    [
        ([1.0, 2.0], 0, [0.1, 0.2, 0.3], {}),
        ([1.0, 2.0], 0, [[0.1, 0.2]], {}),
        ([1.0, 2.0], 0, ["a", "b"], {}),
        ([1.0, 2.0], 0, [1j, 2.0], {}),
        ([[1.0, 2.0]] * 2, [0, 1], [0.1, 0.2], {}),
        ([-INF, 2.0], 0, [-1.0, 1.0], {}),
        ([[1.0, 2.0], [-INF, 2.0]], [0, 0], [[0.0, 0.0]] * 2, {}),
        ([-INF, 2.0], 1, [0.0, 0.0], {"label_smoothing": 0.1}),
        ([1.0, 2.0], 0, [0.1, 0.2], {"method": "magic"}),
        ([1.0, 2.0], 0, [0.1, 0.2], {"step": 0.0}),
        ([1.0, 2.0], 0, [0.1, 0.2], {"step": -1e-5}),
        ([1.0, 2.0], 0, [0.1, 0.2], {"step": NAN}),
        ([1.0, NAN], 0, [0.1, 0.2], {}),
        ([1.0, 2.0], 2, [0.1, 0.2], {}),
        ([1.0, 2.0], 0, [0.1, 0.2], {"temperature": -1.0}),
    ],
    ids=str,
)
def test_what_cannot_be_checked_is_one_line(
    logits: ArrayLike, target: ArrayLike, grad: ArrayLike, options: dict[str, Any]
) -> None:
    with pytest.raises(CecliError) as raised:
        check_gradient(logits, target, grad, **options)
    assert "\n" not in str(raised.value)


def test_an_infinite_loss_is_named() -> None:
    with pytest.raises(CecliError, match=r"sample 1\b.*infinite"):
        check_gradient([[1.0, 2.0], [-INF, 2.0]], [0, 0], np.zeros((2, 2)))


# Sampling.


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes less time for a check, so that less is a large problem."""
    monkeypatch.setattr("cecli.gradcheck.differences.SECONDS", 0.1)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize(
    ("rows", "classes"),
    [
        pytest.param(1, 3000, marks=pytest.mark.slow),
        (40, 300),
        pytest.param(5000, 3, marks=pytest.mark.slow),
    ],
)
def test_a_large_problem_is_sampled(rows: int, classes: int) -> None:
    logits, target = normal(rows, classes), np.arange(rows) * 7 % classes
    logits[:, -1] = -INF
    target[target == classes - 1] = 0
    grad = cross_entropy(logits, target).grad
    check = check_gradient(logits, target, grad)
    assert check.passed
    assert check.total == grad.size
    assert check.checked == len(check.indices) == len(check.numeric) < check.total
    assert check.seed == 0
    places = set(map(tuple, check.indices.tolist()))
    assert len(places) == check.checked
    for row in {row for row, _ in places}:
        assert (row, target[row]) in places
        assert (row, logits[row].argmax()) in places
        assert (row, logits[row, :-1].argmin()) in places

    same, other = (check_gradient(logits, target, grad, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(same.indices, check.indices)
    np.testing.assert_array_equal(same.difference, check.difference)
    assert other.seed == 1
    assert set(map(tuple, other.indices.tolist())) != places


@pytest.mark.usefixtures("hurried")
def test_a_wrong_gradient_fails_when_it_is_sampled() -> None:
    logits, target = normal(300, 50), np.zeros(300, dtype=int)
    grad = cross_entropy(logits, target).grad
    for wrong in (0 * grad, -grad, grad * (1 + 1e-12)):
        assert not check_gradient(logits, target, wrong).passed


def test_a_small_problem_is_not_sampled() -> None:
    logits = normal(20, 10)
    check = check_gradient(logits, [0] * 20, cross_entropy(logits, [0] * 20).grad, seed=5)
    assert (check.checked, check.total, check.seed) == (200, 200, None)


@pytest.mark.usefixtures("hurried")
@pytest.mark.slow
def test_a_vocabulary() -> None:
    logits = np.zeros(50_257)
    logits[777] = 30.0
    grad = cross_entropy(logits, 777).grad
    check = check_gradient(logits, 777, grad)
    assert check.passed
    assert check.checked < check.total == 50_257
    assert [777] in check.indices.tolist()
    tiny = next(i for i in check.indices[:, 0].tolist() if i != 777)
    for component, factor in ((777, 1 + 1e-12), (tiny, 1 - 1e-12), (tiny, 0.0), (tiny, -1.0)):
        wrong = grad.copy()
        wrong[component] *= factor
        check = check_gradient(logits, 777, wrong)
        assert not check.passed
        assert check.worst == (component,)


# The ordinary methods, in double precision.

METHODS: list[Any] = ["central", "forward"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.3},
        {"softcap": 2.0},
        {"softcap": 0.5, "temperature": 3.0, "z_loss": 0.1},
        {"label_smoothing": 0.1, "weight": [1.0, 5.0, 0.1, 2.0]},
        {"reduction": "sum", "z_loss": 0.5},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "steps",
    [(None, 0.1, 1e-4, 1e-13), pytest.param((1e-2, 1e-6, 1e-10), marks=pytest.mark.slow)],
    ids=str,
)
def test_ordinary_methods_pass(
    steps: tuple[float | None, ...], method: Any, options: dict[str, Any]
) -> None:
    logits, target = normal(5, 4), [0, 1, 2, 3, 0]
    grad = cross_entropy(logits, target, **options).grad
    for step in steps:
        check = check_gradient(logits, target, grad, method=method, step=step, **options)
        assert check.passed, check
        assert check.method == method
        if step is not None:
            assert check.step == step
    assert not check_gradient(logits, target, -grad, method=method, **options).passed
    assert not check_gradient(logits, target, grad + 1e-3, method=method, **options).passed


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("first", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_ordinary_methods_know_their_limits(first: int, method: Any) -> None:
    for case in FINITE_CASES[first::6]:
        grad = cross_entropy(case.logits, case.target, **case.options).grad
        for step in (None, 1e-3):
            check = check_gradient(
                case.logits, case.target, grad, method=method, step=step, **case.options
            )
            assert check.passed, (case.name, check)


@pytest.mark.parametrize("method", METHODS)
def test_the_error_over_the_step_is_u_shaped(method: Any) -> None:
    logits, target = normal(5, 4), [0, 1, 2, 3, 0]
    grad = cross_entropy(logits, target).grad
    steps = [10.0**-k for k in range(1, 14)]
    errors = [
        check_gradient(logits, target, grad, method=method, step=step).max_abs_error
        for step in steps
    ]
    best = int(np.argmin(errors))
    assert errors[0] > 1e3 * errors[best]
    assert errors[-1] > 1e3 * errors[best]
    assert 3 <= best <= 9
    assert errors[:best] == sorted(errors[:best], reverse=True)
    order = 2 if method == "central" else 1
    assert math.log10(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


def test_a_wide_step_has_the_error_it_should() -> None:
    logits = [2.0, 1.0, 0.1]
    grad = cross_entropy(logits, 0).grad
    errors = [check_gradient(logits, 0, grad, step=step).max_abs_error for step in (1e-3, 1e-4)]
    assert errors[0] / errors[1] == pytest.approx(100, rel=1e-3)
    assert check_gradient(logits, 0, grad, step=1e-3).passed


@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({}, 1e-20),
        ({"temperature": 1e-3}, 1e-23),
        ({"softcap": 0.5}, 5e-21),
        ({"softcap": 9}, 1e-20),
    ],
)
def test_the_usual_step(options: dict[str, Any], step: float) -> None:
    grad = cross_entropy([1.0, 2.0], 0, **options).grad
    check = check_gradient([1.0, 2.0], 0, grad, **options)
    assert check.passed
    assert check.step == pytest.approx(step)


# What the check says about the errors.


def assert_figures_are_right(check: GradientCheck, exact: Array, grad: Array) -> None:
    where = tuple(check.indices.T)
    for value, analytic, numeric, difference in zip(
        exact[where], check.analytic, check.numeric, check.difference, strict=True
    ):
        error = Fraction(float(analytic)) - value
        assert ulps(numeric, value) <= 0.5001 or abs(Fraction(float(numeric)) - value) < 1e-39
        assert abs(Fraction(float(difference)) - error) <= 1e-15 * abs(error) + Fraction(1e-39)
    np.testing.assert_array_equal(check.analytic, grad[where])
    assert check.max_abs_error == np.abs(check.difference).max()
    relative = [
        float(abs(Fraction(float(a)) - e) / abs(e))
        for a, e in zip(check.analytic, exact[where], strict=True)
    ]
    assert check.max_rel_error == pytest.approx(max(relative), rel=1e-9)
    excess = np.abs(check.difference) / check.tolerance
    assert check.worst == tuple(check.indices[excess.argmax()])
    assert check.passed == bool((excess <= 1).all())


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ([0, 1, 2, 0], {}),
        ([0, 1, 2, 0], {"weight": [0.2, 1.0, 3.0], "temperature": 2.0}),
        ([[0.2, 0.3, 0.5]] * 4, {"softcap": 3.0, "z_loss": 0.1, "reduction": "sum"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("factor", [1.0, 1 + 1e-12, 1.001, -1.0])
def test_figures(target: ArrayLike, options: dict[str, Any], factor: float) -> None:
    logits = normal(4, 3)
    exact = evaluate(logits, target, **options).grad
    grad = cross_entropy(logits, target, **options).grad
    grad[2, 1] *= factor
    check = check_gradient(logits, target, grad, **options)
    assert_figures_are_right(check, exact, grad)
    assert check.passed == (factor == 1.0)
    if not check.passed:
        assert check.worst == (2, 1)


def test_relative_errors_where_the_gradient_is_zero() -> None:
    # p = q: what the numerical gradient is, is truncation.
    check = check_gradient([1.0, 1.0], [0.5, 0.5], [0.0, 0.0])
    assert check.passed
    assert (check.max_abs_error < 1e-39, check.max_rel_error) == (True, 0.0)
    assert not check_gradient([1.0, 1.0], [0.5, 0.5], [1e-14, 0.0]).passed


def test_components_of_many_digits_are_sampled() -> None:
    # Each of some twenty milliseconds twice over, with what all have in common.
    logits = np.resize([5e-324, -1e308, 1.7e308, 36.0], (1, 70))
    problem = Problem.of(logits, [0], Objective(z_loss=5e-324))
    differences = DecimalDifferences(problem, 1e-20, 2, np.dtype(np.float64))
    plan = plan_check(problem, np.zeros((1, 70)), differences.cost, 0)
    assert plan.sampled
    assert 8 <= len(plan.rows[0][1]) < 60
