"""exact=True against the golden cases and the oracle: every number the correctly rounded one."""

from __future__ import annotations

import decimal
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp
from numpy.typing import ArrayLike, NDArray

from cecli import cross_entropy, log_softmax, softmax
from cecli.answer.answer import find_answer
from cecli.problem import objective, problem
from support.oracle import (
    MAX,
    Golden,
    Hard,
    Objective,
    Row,
    definition,
    evaluate,
    golden_cases,
    golden_kinds,
    hard_cases,
    round_to,
    rounded,
    some_of,
    target_mass,
)

INF, NAN = math.inf, math.nan


def assert_same_bits(actual: ArrayLike, expected: ArrayLike) -> None:
    """Equal to the last bit, the sign of zero and the type included."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes(), f"{actual.tolist()} is not {expected.tolist()}"


def assert_correctly_rounded(logits: ArrayLike, target: ArrayLike, **options: Any) -> None:
    """Every number of the result is the oracle's, rounded once to the array's own type."""
    actual = cross_entropy(logits, target, exact=True, **options)
    expected = evaluate(logits, target, **options)
    short = np.asarray(logits).dtype in (np.float16, np.float32)
    dtype = np.float32 if short else np.float64
    assert_same_bits(actual.losses, rounded(expected.losses))
    assert_same_bits(actual.softmax, rounded(expected.softmax, dtype))
    assert_same_bits(actual.log_softmax, rounded(expected.log_softmax, dtype))
    assert_same_bits(actual.grad, rounded(expected.grad, dtype))
    if options.get("reduction") == "none":
        assert_same_bits(actual.loss, actual.losses)
        assert actual.divisor is None
    else:
        assert_same_bits(np.float64(actual.loss), np.float64(round_to(expected.loss)))
        assert expected.divisor is not None
        assert actual.divisor == round_to(expected.divisor)


# The oracle itself.


@pytest.mark.parametrize("case", some_of(golden_cases(), 3))
def test_the_oracle_has_the_golden_results(case: Golden) -> None:
    exact = evaluate(case.logits, case.target, **case.options)
    assert round_to(exact.loss) == case.loss
    assert_same_bits(rounded(exact.softmax), case.softmax)
    assert_same_bits(rounded(exact.log_softmax), case.log_softmax)
    assert_same_bits(rounded(exact.grad), case.grad)


@pytest.mark.parametrize("target", [0, 2, [0.5, 0.25, 0.25]], ids=str)
@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight": [0.5, 2.0, 0.25], "temperature": 0.75},
        {"label_smoothing": 0.125, "z_loss": 0.5},
    ],
    ids=str,
)
def test_the_oracles_gradient_is_the_derivative_of_the_loss(
    target: int | list[float], softcap: float | None, options: dict[str, Any]
) -> None:
    logits = [0.5, -1.25, 2.0]
    objective = Objective(softcap=softcap, **options)
    mass = target_mass(target, 3, **options)
    row = Row(logits, mass, objective)
    with mp.workdps(60):
        loss = definition([mp.mpf(z) for z in logits], mass, objective)
        exact_loss = row.z_loss + Fraction(row.loss)
        assert abs(loss - mp.mpf(exact_loss.numerator) / exact_loss.denominator) < mp.mpf(10) ** -55
        for i in range(3):

            def along(z: Any, i: int = i) -> Any:
                moved = [mp.mpf(logit) for logit in logits]
                moved[i] = z
                return definition(moved, mass, objective)

            numeric = mp.diff(along, mp.mpf(logits[i]))
            analytic = row.gradient(i)
            difference = numeric - mp.mpf(analytic.numerator) / analytic.denominator
            assert abs(difference) < mp.mpf(10) ** -50


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (Fraction(1, 3), np.float64, 1 / 3),
        (Fraction(3, 2) * Fraction(1, 2**1074), np.float64, 1e-323),
        (Fraction(1, 2**1075), np.float64, 0.0),
        (Fraction(-1, 2**1075), np.float64, 0.0),
        (Fraction(1, 2**1075) + Fraction(1, 2**2000), np.float64, 5e-324),
        (Fraction(2**1024), np.float64, INF),
        (Fraction(2**1024 - 2**970) - 1, np.float64, MAX),
        (-Fraction(2**1024 - 2**970), np.float64, -INF),
        (1 + Fraction(1, 2**24), np.float32, 1.0),
        (1 + Fraction(1, 2**24) + Fraction(1, 2**80), np.float32, 1 + 2.0**-23),
        (Fraction(1, 2**150) + Fraction(1, 2**300), np.float32, 2.0**-149),
        (Fraction(2**128), np.float32, INF),
    ],
    ids=str,
)
def test_the_oracle_rounds_correctly(value: Fraction, dtype: type, expected: float) -> None:
    assert_same_bits(np.float64(round_to(value, dtype)), np.float64(expected))


# Golden and hard cases.


@pytest.mark.parametrize("cases", golden_kinds())
def test_golden_cases(cases: list[Golden]) -> None:
    for case in cases:
        result = cross_entropy(case.logits, case.target, exact=True, **case.options)
        assert_same_bits(np.float64(result.loss), np.float64(case.loss))
        assert_same_bits(result.losses, np.array(case.loss))
        assert_same_bits(result.softmax, case.softmax)
        assert_same_bits(result.log_softmax, case.log_softmax)
        assert_same_bits(result.grad, case.grad)


@pytest.mark.parametrize(
    "case", [c for c in hard_cases() if len(c.logits) < 5000], ids=lambda case: case.name
)
def test_hard_cases(case: Hard) -> None:
    result = cross_entropy(case.logits, case.target, exact=True)
    assert_same_bits(np.float64(result.loss), np.float64(case.loss))
    assert_same_bits(result.grad, case.grad)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.3, "softcap": 2.0}], ids=str)
@pytest.mark.parametrize("axis", [0, -1])
def test_softmax_and_log_softmax_are_those_of_the_loss(options: dict[str, Any], axis: int) -> None:
    logits = np.array([[1.0, 2.0, -INF], [0.1, -700.3, 5.0]])
    whole = cross_entropy(logits, [1] * logits.shape[1 + axis], exact=True, axis=axis, **options)
    assert_same_bits(softmax(logits, exact=True, axis=axis, **options), whole.softmax)
    assert_same_bits(log_softmax(logits, exact=True, axis=axis, **options), whole.log_softmax)


# The whole objective, on rows that Hypothesis makes.

NICE = st.sampled_from([0.0, 1.0, -1.0, 0.5, -2.0, 3.0])
SMALL = st.floats(-40, 40)
WIDE = st.floats(-800, 800)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.sampled_from([1.0, 2.0, 0.5, 3.0, 0.1]) | st.floats(1e-3, 1e3)
WEIGHT = POSITIVE | st.sampled_from([0.0, 5e-324, 1.5e-323, 1e300])


@st.composite
def problems(draw: st.DrawFn, logits: st.SearchStrategy[float], softcap: float) -> dict[str, Any]:
    """Arguments of `cross_entropy` for a few rows, with logits no higher than softcap times cap."""
    rows, classes = draw(st.integers(1, 3)), draw(st.integers(1, 5))
    z = np.array([[draw(logits) for _ in range(classes)] for _ in range(rows)])
    if draw(st.booleans()):
        z[:] = z[:, :1]
    for row in range(rows):
        masked = draw(st.sets(st.integers(0, classes - 1), max_size=classes - 1))
        z[row, list(masked)] = -INF
    options: dict[str, Any] = {
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        "temperature": draw(POSITIVE),
        "z_loss": draw(st.sampled_from([0.0, 1e-4, 1.0])),
    }
    if draw(st.booleans()):
        highest = np.abs(z[z > -INF]).max() / softcap
        options["softcap"] = max(draw(POSITIVE), float(highest))
    if draw(st.booleans()):
        options["weight"] = [draw(WEIGHT) for _ in range(classes)]
    target: NDArray[Any]
    if draw(st.booleans()):
        shares = [[draw(st.floats(0, 1)) for _ in range(classes)] for _ in range(rows)]
        target = np.array([share if sum(share) > 0 else [1.0] * classes for share in shares])
        target /= target.sum(axis=1, keepdims=True)
    else:
        target = np.array([draw(st.integers(0, classes - 1)) for _ in range(rows)])
        if "weight" in options and not np.array(options["weight"])[target].any():
            options["reduction"] = "sum"
    return {"logits": z, "target": target, **options}


@given(problems(NICE | SMALL, 20.0))
def test_ordinary_rows(problem: dict[str, Any]) -> None:
    assert_correctly_rounded(**problem)


@given(problems(WIDE, 200.0))
def test_wide_rows(problem: dict[str, Any]) -> None:
    assert_correctly_rounded(**problem)


@pytest.mark.slow
@given(problems(FINITE, 50.0))
def test_rows_of_any_magnitude(problem: dict[str, Any]) -> None:
    assert_correctly_rounded(**problem)


@given(problems(NICE | st.floats(-120, 120, width=32), 20.0))
def test_single_precision_is_rounded_once(problem: dict[str, Any]) -> None:
    assert_correctly_rounded(**{**problem, "logits": problem["logits"].astype(np.float32)})


# Exact ties and zeros, which no precision settles.


@given(st.integers(1, 8), st.sampled_from([0.0, -3.5, 1e300]), st.data())
def test_equal_logits_have_rational_gradients(
    classes: int, logit: float, data: st.DataObject
) -> None:
    shares = np.array([data.draw(st.floats(0, 1)) for _ in range(classes)]) + 1e-9
    weight = [data.draw(WEIGHT) for _ in range(classes)]
    options: dict[str, Any] = {"weight": weight, "reduction": "sum"}
    for dtype in (np.float64, np.float32):
        logits = np.full(classes, min(logit, 1e30), dtype=dtype)
        assert_correctly_rounded(logits, shares / shares.sum(), **options)


@pytest.mark.parametrize(
    ("logits", "target", "options", "grad"),
    [
        # half way between two subnormal numbers: to the even one
        ([7.0, 7.0], 0, {"weight": [5e-324, 0.0]}, [0.0, 0.0]),
        ([7.0, 7.0], 0, {"weight": [1.5e-323, 0.0]}, [-1e-323, 1e-323]),
        # zeros: probabilities that are the target, to the last digit
        ([1.0, 1.0, 1.0], [1 / 3] * 3, {}, [0.0, 0.0, 0.0]),
        ([1.0, 1.0, 1.0], 2, {"label_smoothing": 1.0}, [0.0, 0.0, 0.0]),
        ([1.0, -INF, 1.0], [0.5, 0.0, 0.5], {}, [0.0, 0.0, 0.0]),
        ([-2.0] * 4, [0.25] * 4, {"softcap": 3.0, "temperature": 0.7}, [0.0] * 4),
        # half way between two doubles, which are 2⁻⁵⁴ apart: 0.25 + 2⁻⁵⁵ and 0.25 + 3·2⁻⁵⁵
        ([0.0, 0.0], [0.25 - 2**-54, 0.75], {}, [0.25, -0.25]),
        ([0.0, 0.0], [0.25 - 2**-54, 0.75 + 2**-53], {}, [0.25 + 2**-53, -0.25 - 2**-53]),
    ],
    ids=str,
)
def test_ties_and_zeros(
    logits: list[float], target: ArrayLike, options: dict[str, Any], grad: list[float]
) -> None:
    result = cross_entropy(logits, target, exact=True, reduction="sum", **options)
    assert_same_bits(result.grad, np.array(grad))


def test_one_class_has_a_rational_z_loss() -> None:
    # (2²⁷ − 1)² has 54 bits and is odd: half way between two doubles
    assert_correctly_rounded([2.0**27 - 1], 0, z_loss=1.0)
    assert_correctly_rounded([-INF, 2.0**27 - 1, -INF], 1, z_loss=1.0, temperature=2.0)
    assert_correctly_rounded([2.0**27 - 1], 0, z_loss=0.1, softcap=2.0**25)
    assert_correctly_rounded([1e200], 0, z_loss=1.0)
    assert_correctly_rounded([[1e-170], [3.0]], [0, 0], z_loss=1.0)


def test_float32_is_not_rounded_by_way_of_a_double() -> None:
    # The gradient is ±(0.875 + 2⁻²⁵ + 2⁻⁵⁷)/2: the double is a tie of float32, the number above it.
    q = [0.0625 - 2.0**-57, 0.9375 + 2.0**-25]
    result = cross_entropy(np.zeros(2, dtype=np.float32), q, exact=True)
    assert result.grad.tolist() == [0.4375 + 2.0**-25, -0.4375 - 2.0**-25]


@pytest.mark.parametrize("logits", [[4000.0, 5000.0], [5000.0, 4000.0], [-3000.0, 1.0, 3001.0]])
def test_logits_far_above_the_softcap(logits: list[float]) -> None:
    # The capped logits differ from the 30th to the 3,000th digit only.
    half = [0.5, 0.5, 0.0][: len(logits)]
    assert_correctly_rounded(logits, half, softcap=1.0)
    assert_correctly_rounded(logits, 1, softcap=40.0)


# Several rows, and infinite results.


def test_reduced_losses_are_rounded_once() -> None:
    logits = np.random.default_rng(5).normal(0, 5, (40, 3))
    target = np.arange(40) % 3
    target[7] = -100
    weight = [0.1, 0.7, 2.0**-60]
    for reduction in ("mean", "sum", "none"):
        options: dict[str, Any] = {"weight": weight, "reduction": reduction, "ignore_index": -100}
        assert_correctly_rounded(logits, target, **options)
        assert_correctly_rounded(logits, target, z_loss=0.01, **options)


@pytest.mark.parametrize("options", [{}, {"weight": [0.5, 2.0, 3.0], "z_loss": 0.1}], ids=str)
def test_equal_logits_with_other_targets_have_other_results(options: dict[str, Any]) -> None:
    rows = np.array([[0.3, -1.7, 2.1], [0.5, 0.25, -4.0]])
    logits, target = np.tile(rows, (4, 1)), np.array([0, 1, 1, 0, 2, 2, 0, 1])
    assert_correctly_rounded(logits, target, **options)
    soft = np.array([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]]).repeat(4, axis=0)
    assert_correctly_rounded(logits, soft, **options)


def test_ignored_rows() -> None:
    logits = [[NAN, 1.0], [2.0, 1.0], [-INF, -INF]]
    assert_correctly_rounded(logits, [9, 0, 9], ignore_index=9, z_loss=0.1)


@pytest.mark.parametrize("target", [0, [0.5, 0.5, 0.0]], ids=str)
def test_mass_on_a_masked_class(target: ArrayLike) -> None:
    assert_correctly_rounded([-INF, 0.0, -20.0], target)
    rows = [[-INF, 0.0, -20.0], [1.0, 2.0, 3.0]]
    result = cross_entropy(rows, np.array([target, target]), exact=True)
    assert result.loss == INF
    assert np.isfinite(result.losses).tolist() == [False, True]


@pytest.mark.parametrize(
    ("logits", "options"),
    [
        ([MAX, -MAX], {}),
        ([MAX, -MAX], {"temperature": 2.0}),
        ([MAX, -MAX], {"temperature": 1e-300, "weight": [MAX, MAX], "z_loss": MAX}),
        ([MAX], {"z_loss": MAX}),
        ([5e-324, 0.0], {"temperature": 5e-324}),
        ([0.0, 0.0], {"temperature": 1e-310}),
    ],
    ids=str,
)
def test_what_overflows_is_infinite(logits: list[float], options: dict[str, Any]) -> None:
    for target in range(len(logits)):
        assert_correctly_rounded(logits, target, reduction="sum", **options)


def test_the_callers_decimal_context_does_not_matter() -> None:
    expected = cross_entropy([0.1, -36.6, -1e-3], 2, exact=True, z_loss=0.1)
    everything = list(decimal.getcontext().flags)
    context = decimal.Context(prec=3, rounding=decimal.ROUND_UP, Emax=9, Emin=-9, traps=everything)
    with decimal.localcontext(context):
        before = repr(decimal.getcontext())
        actual = cross_entropy([0.1, -36.6, -1e-3], 2, exact=True, z_loss=0.1)
        assert repr(decimal.getcontext()) == before
    assert actual.loss == expected.loss
    assert_same_bits(actual.grad, expected.grad)


def perplexity(batch: problem.Problem, *, exact: bool) -> float | None:
    summary = find_answer("loss", batch, None, exact=exact).summary
    assert summary is not None
    return summary.perplexity


@given(st.lists(st.lists(st.floats(-300, 300), min_size=3, max_size=3), min_size=1, max_size=3))
def test_perplexity_is_correctly_rounded(rows: list[list[float]]) -> None:
    weighted = objective.Objective(weight=[1.0, 2.0, 3.0], z_loss=0.5)
    batch = problem.Problem.of(rows, [0] * len(rows), weighted)
    exact = evaluate(np.array(rows), np.zeros(len(rows), dtype=int))
    assert isinstance(exact.loss, Fraction)
    with mp.workdps(60):
        wanted = mp.exp(mp.mpf(exact.loss.numerator) / exact.loss.denominator)
    assert perplexity(batch, exact=True) == float(wanted)
    assert perplexity(batch, exact=False) == pytest.approx(float(wanted), rel=1e-12)


def test_perplexity_at_its_ends() -> None:
    one_class = problem.Problem.of([[7.0, -np.inf], [1.0, -np.inf]], [0, 0])
    assert perplexity(one_class, exact=True) == 1.0
    masked = problem.Problem.of([[7.0, -np.inf], [1.0, -np.inf]], [0, 1])
    assert perplexity(masked, exact=True) == np.inf
    hopeless = problem.Problem.of([[1e5, 0.0]], [1])
    assert perplexity(hopeless, exact=True) == np.inf


def test_nearly_equal_logits_leave_a_tiny_gradient() -> None:
    grad = cross_entropy([0.0, 4.1146587e-98], 0, label_smoothing=1.0, exact=True).grad
    assert grad.tolist() == [-1.028664675e-98, 1.028664675e-98]
    assert_correctly_rounded([0.0, 4.1146587e-98], 0, label_smoothing=1.0)


@pytest.mark.parametrize(
    ("shares", "bits"),
    [
        # log₂ C · Σ q exactly, which lies between two doubles, of which one is even.
        ([0.5936503246571889, 0.4063496753428112], 1.0),  # 1 + 2⁻⁵³
        ([0.5 + 2.0**-52, 0.5 + 2.0**-53], 1.0 + 2.0**-51),  # 1 + 3·2⁻⁵³
        ([0.25 + 2.0**-53, 0.25, 0.25, 0.25], 2.0),  # 2 + 2⁻⁵²
        ([0.5, 0.5], 1.0),
    ],
)
def test_bits_that_no_precision_settles(shares: list[float], bits: float) -> None:
    logits, target = np.zeros((1, len(shares))), np.array([shares])
    own = problem.Problem.of(logits, target, objective.Objective())
    summary = find_answer("loss", own, None, exact=True).summary
    assert summary is not None
    assert summary.bits == bits
