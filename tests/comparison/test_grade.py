"""Numbers are judged by the precision they are given in, and never by an absolute tolerance."""

from __future__ import annotations

import math
import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import cecli
from cecli import CecliError, compare
from cecli.comparison.compare import compare_candidates
from cecli.input.candidate import candidate_of_array, candidate_of_text
from cecli.problem.precision import round_to_type, spacing
from cecli.problem.problem import Problem
from support.oracle import Golden, golden_cases, some_of, ulp

Array = NDArray[Any]
LOGITS = np.random.default_rng(0).normal(0, 3, (6, 8))
TARGET = np.array([0, 3, 7, 2, 2, 5])


def typed(logits: Any, target: Any, grad: str | None = None, loss: str | None = None) -> Any:
    return compare_candidates(
        Problem.of(logits, target),
        None if grad is None else candidate_of_text(grad, "grad"),
        None if loss is None else candidate_of_text(loss, "loss"),
    )


def textbook(logits: Array, target: Array, dtype: Any) -> Array:
    """The usual formula, every step in one precision."""
    z = logits.astype(dtype)
    exponentials = np.exp(z - z.max(axis=1, keepdims=True))
    softmax = exponentials / exponentials.sum(axis=1, keepdims=True)
    softmax[np.arange(len(z)), target] -= 1
    return np.asarray(softmax / dtype(len(z)))


# Right numbers pass.


@pytest.mark.parametrize("case", some_of(golden_cases(), 3))
def test_correctly_rounded_gradients_are_exact(case: Golden) -> None:
    comparison = compare(case.logits, case.target, grad=case.grad, **case.options)
    assert (comparison.grade, comparison.passed, comparison.off) == ("exact", True, 0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
def test_the_textbook_formula_is_acceptable(scale: float, dtype: Any) -> None:
    logits = (LOGITS * scale).astype(dtype).astype(np.float64)
    comparison = compare(logits, TARGET, grad=textbook(logits, TARGET, dtype))
    assert comparison.passed
    assert comparison.figures.precision == np.dtype(dtype).name


def test_the_target_may_cancel_and_no_other_class_may_be_zero() -> None:
    right = cecli.cross_entropy([40.0, 0.0, 1.0], 0).grad
    assert compare([40.0, 0.0, 1.0], 0, grad=[0.0, *right[1:]]).grade == "acceptable"
    assert compare([40.0, 0.0, 1.0], 0, grad=[right[0], 0.0, right[2]]).grade == "wrong"
    assert not compare([40.0, 0.0, 1.0], 0, grad=[0.0, 0.0, 0.0]).passed


# The grades, one by one.


@pytest.mark.parametrize(
    ("ulps", "grade"), [(0, "exact"), (1, "accurate"), (4, "accurate"), (6, "acceptable")]
)
def test_ulps_make_the_grade(ulps: int, grade: str) -> None:
    right = cecli.cross_entropy(LOGITS, TARGET, exact=True).grad
    wrong = right.copy()
    wrong[2, 1] += ulps * np.spacing(abs(right[2, 1]))
    comparison = compare(LOGITS, TARGET, grad=wrong)
    assert comparison.grade == grade
    assert comparison.max_ulp_error == ulps
    if ulps:
        assert comparison.worst == (2, 1)


@pytest.mark.parametrize(("factor", "grade"), [(1 + 1e-9, "inaccurate"), (1.2, "wrong")])
def test_below_acceptable(factor: float, grade: str) -> None:
    right = cecli.cross_entropy(LOGITS, TARGET).grad
    wrong = right.copy()
    wrong[4, 6] *= factor
    comparison = compare(LOGITS, TARGET, grad=wrong)
    assert (comparison.grade, comparison.passed, comparison.off) == (grade, False, 1)
    assert comparison.worst == (4, 6)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_wrong(wrong: float) -> None:
    grad = cecli.cross_entropy(LOGITS, TARGET).grad
    grad[1, 2] = wrong
    comparison = compare(LOGITS, TARGET, grad=grad)
    assert (comparison.grade, comparison.worst) == ("wrong", (1, 2))
    assert comparison.max_abs_error == math.inf


@given(
    st.lists(st.floats(-30, 30), min_size=2, max_size=5),
    st.sampled_from([0.0, -1.0, 2.0, 1 + 1e-6]),
    st.data(),
)
def test_no_component_can_be_wrong_unseen(
    logits: list[float], factor: float, data: st.DataObject
) -> None:
    """However small it is, but for the target, which may lose what 1 has no digits for."""
    target = data.draw(st.integers(0, len(logits) - 1))
    component = data.draw(st.integers(0, len(logits) - 1).filter(lambda i: i != target))
    grad = cecli.cross_entropy(logits, target).grad
    grad[component] *= factor
    assert not compare(logits, target, grad=grad).passed


def test_halves_are_no_sign_of_half_precision() -> None:
    tied = [18.0, -37.0, 18.0]
    assert compare(tied, 0, grad=np.array([-0.5, 0.0, 0.5])).grade == "wrong"


def test_a_large_problem_claims_no_correct_rounding() -> None:
    logits = np.random.default_rng(1).normal(0, 2, (100, 50))
    grad = cecli.cross_entropy(logits, np.zeros(100, int)).grad
    assert compare(logits, np.zeros(100, int), grad=grad).grade == "accurate"
    narrow = grad.astype(np.float32)
    assert compare(logits, np.zeros(100, int), grad=narrow).grade == "exact"


# What numbers are judged as.


@pytest.mark.parametrize(
    ("values", "name"),
    [
        (np.array([0.1, 0.7]), "float64"),
        (np.array([0.1, 0.7], np.float32), "float32"),
        (np.array([0.1, 0.7], np.float32).astype(np.float64), "float32"),
        (np.array([0.1, 0.7], np.float16).astype(np.float64), "float16"),
        (np.array([0.10009765625, 2.0**-60]), "bfloat16"),
        (np.array([0.0, 0.0]), "float64"),
        (np.array([1.0, -1.0]), "float64"),
        (np.array([-0.5, 0.0, 0.5]), "float64"),
        (np.array([0.25, -0.75, 0.375]), "float64"),
        (np.array([0.0, 0.0], np.float16), "float16"),
        (np.array([3, 4]), "float64"),
    ],
)
def test_an_array_is_judged_as_the_narrowest_type(values: Array, name: str) -> None:
    assert candidate_of_array(values, "grad").precision == name


@given(st.floats(-1e30, 1e30, allow_subnormal=False))
def test_spacing_is_that_of_the_type(number: float) -> None:
    for dtype in (np.float64, np.float32):
        exact = Fraction(float(dtype(number)))
        expected = float(ulp(exact, dtype)) if exact else float(np.spacing(dtype(0.0)))
        assert spacing(np.array([float(exact)]), np.dtype(dtype).name)[0] == expected


@given(st.floats(-1e30, 1e30))
def test_bfloat16_is_the_upper_half_of_float32(number: float) -> None:
    nearest = round_to_type(np.array([number]), "bfloat16")
    bits = nearest.astype(np.float32).view(np.uint32)
    assert bits[0] & 0xFFFF == 0
    assert abs(nearest[0] - number) <= spacing(np.array([number]), "bfloat16")[0] / 2


# Typed numbers, by their digits.


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("0.659,0.2424,0.0986", [1e-3, 1e-4, 1e-4]),
        ("0,0,0", [0, 0, 0]),
        ("1. 2. -0", [0, 0, 0]),
        ("-1.5e-3 2e5 .25", [1e-4, 0, 1e-2]),
        ("[0.10, -0.5]", [1e-2, 1e-1]),
        ("tensor([0.6590, 0.2424], device='cuda:0')", [1e-4, 1e-4]),
        ("nan inf 0.5", [0, 0, 0.1]),
        ("0.12345679 0.65900115 0.5 0.", [1e-8, 1e-8, 1e-8, 0]),
    ],
)
def test_the_unit_of_the_last_digit(text: str, units: list[float]) -> None:
    found = candidate_of_text(text, "grad")
    assert found.precision == "typed"
    assert found.unit == pytest.approx(units)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_was_printed_with_all_digits_is_judged_as_its_type(dtype: Any) -> None:
    values = cecli.cross_entropy(LOGITS, TARGET).grad.astype(dtype)
    text = str([[float(str(number)) for number in row] for row in values])
    found = candidate_of_text(text, "grad")
    assert (found.precision, found.values.tolist()) == (np.dtype(dtype).name, values.tolist())


def test_a_document_is_read_by_its_key() -> None:
    assert candidate_of_text('{"logits": [1, 2], "grad": [0.25, -0.25]}', "grad").values[0] == 0.25
    lines = '{"grad": [0.25, -0.25]}\n{"grad": [0.5, -0.5]}\n'
    assert candidate_of_text(lines, "grad").values.tolist() == [[0.25, -0.25], [0.5, -0.5]]
    with pytest.raises(CecliError, match='no "grad"'):
        candidate_of_text('{"loss": 1}', "grad")
    with pytest.raises(CecliError, match="--arrays"):
        candidate_of_text('{"omitted": ["grad"]}', "grad")


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("-0.341,0.2424,0.0986", "exact"),
        ("-0.340,0.2424,0.0986", "accurate"),
        ("-0.339,0.2424,0.0986", "inaccurate"),
        ("0,0,0", "wrong"),
    ],
)
def test_typed_numbers_are_right_to_within_a_unit(text: str, grade: str) -> None:
    assert typed([2.0, 1.0, 0.1], 0, text).grade == grade


# --rtol, the loss, shapes.


def test_rtol_takes_the_place_of_the_precision() -> None:
    grad = cecli.cross_entropy(LOGITS, TARGET).grad * (1 + 1e-3)
    assert not compare(LOGITS, TARGET, grad=grad).passed
    assert compare(LOGITS, TARGET, grad=grad, rtol=2e-3).grade == "acceptable"
    assert not compare(LOGITS, TARGET, grad=grad, rtol=5e-4).passed
    assert not compare(LOGITS, TARGET, grad=0 * grad, rtol=0.99).passed
    with pytest.raises(CecliError, match="rtol is -1"):
        compare(LOGITS, TARGET, grad=grad, rtol=-1.0)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda loss: loss / math.log(2), "log-base"),
        (lambda loss: loss / math.log(10), "log-base"),
        (lambda loss: loss * 6, "not-averaged"),
        (lambda loss: loss / 6, "averaged-twice"),
        (lambda loss: loss * 6 / 8, "divided-by-classes"),
        (lambda loss: loss / 8, "divided-by-components"),
        (lambda loss: -loss, "sign-flipped"),
        (math.exp, "perplexity"),
        (lambda loss: float((LOGITS.argmax(axis=1) == TARGET).mean()), "accuracy"),
        (
            lambda loss: cecli.cross_entropy(LOGITS, TARGET, label_smoothing=0.1).loss,
            "unasked-smoothing",
        ),
    ],
)
def test_a_wrong_loss_is_explained(change: Any, name: str) -> None:
    loss = float(change(float(cecli.cross_entropy(LOGITS, TARGET).loss)))
    comparison = compare(LOGITS, TARGET, loss=loss)
    assert [(d.id, d.of) for d in comparison.diagnosis] == [(name, "loss")]
    assert not comparison.passed


@pytest.mark.parametrize(
    ("options", "wrong", "name"),
    [
        ({"reduction": "sum"}, {}, "averaged-unasked"),
        ({"weight": np.arange(1.0, 9.0)}, {}, "weights-forgotten"),
        ({"label_smoothing": 0.1}, {}, "smoothing-forgotten"),
        ({"temperature": 2.0}, {}, "temperature-forgotten"),
    ],
)
def test_a_loss_of_another_objective_is_explained(options: Any, wrong: Any, name: str) -> None:
    loss = cecli.cross_entropy(LOGITS, TARGET, **wrong).loss
    comparison = compare(LOGITS, TARGET, loss=loss, **options)
    assert name in [diagnosis.id for diagnosis in comparison.diagnosis]


@pytest.mark.parametrize("loss", [0.0, 5.0, 1e308, -math.inf])
def test_no_other_loss_will_do_for_an_infinite_one(loss: float) -> None:
    masked = [[-math.inf, 0.0, -20.0]]
    assert cecli.compare(masked, [0], loss=math.inf).grade == "exact"
    assert cecli.compare(masked, [0], loss=loss).grade == "wrong"


def test_a_logarithm_that_the_maximum_absorbed_is_no_mistake_of_averaging() -> None:
    comparison = cecli.compare([[1e15, 1e15 - 1.0]], [0], loss=0.375)
    assert comparison.grade == "wrong"
    assert comparison.diagnosis == ()


def test_losses_are_judged_one_by_one() -> None:
    losses = cecli.cross_entropy(LOGITS, TARGET).losses
    assert compare(LOGITS, TARGET, loss=losses, reduction="none").passed
    wrong = compare(LOGITS, TARGET, loss=losses / math.log(2), reduction="none")
    assert [diagnosis.id for diagnosis in wrong.diagnosis] == ["log-base"]
    with pytest.raises(CecliError, match="the loss has shape"):
        compare(LOGITS, TARGET, loss=losses)


def test_loss_and_gradient_are_judged_separately() -> None:
    result = cecli.cross_entropy(LOGITS, TARGET, exact=True)
    comparison = compare(LOGITS, TARGET, grad=result.grad, loss=2.0 * float(result.loss))
    assert comparison.grad is not None
    assert comparison.loss is not None
    assert (comparison.grad.grade, comparison.loss.grade) == ("exact", "wrong")
    assert (comparison.grade, comparison.passed) == ("wrong", False)
    assert comparison.max_abs_error == 0.0


def test_a_chance_loss_of_few_digits_is_named_nothing() -> None:
    assert typed([2.0, 1.0, 0.1], 0, loss="0.9").diagnosis == ()


def test_the_exact_transpose_is_diagnosed_and_any_other_shape_refused() -> None:
    grad = cecli.cross_entropy(LOGITS, TARGET).grad
    comparison = compare(LOGITS, TARGET, grad=grad.T)
    assert [diagnosis.id for diagnosis in comparison.diagnosis] == ["transposed"]
    assert (comparison.passed, comparison.grade) == (False, "wrong")
    both = compare(LOGITS, TARGET, grad=-grad.T)
    assert [diagnosis.id for diagnosis in both.diagnosis] == ["transposed", "sign-flipped"]
    neither = compare(LOGITS, TARGET, grad=LOGITS.T**2)
    assert neither.diagnosis == ()
    assert "transposed" in neither.description[0]
    for shape in [(48,), (6, 7), (1, 6, 8)]:
        with pytest.raises(CecliError, match="they must agree"):
            compare(LOGITS, TARGET, grad=np.zeros(shape))


def test_nothing_given_is_nothing_to_compare() -> None:
    with pytest.raises(CecliError, match="nothing to compare"):
        compare(LOGITS, TARGET)


def test_the_axis_of_the_classes_is_kept() -> None:
    logits = np.random.default_rng(2).normal(size=(2, 5, 3))
    target = np.array([[0, 1, 2], [4, 3, 3]])
    grad = cecli.cross_entropy(logits, target, axis=1).grad
    assert compare(logits, target, grad=grad, axis=1).passed
    grad[1, 3, 2] *= 1.5
    wrong = compare(logits, target, grad=grad, axis=1)
    assert wrong.worst == (1, 3, 2)
    assert wrong.diagnosis == ()
    assert "only some rows are off: the last one, row 5" in wrong.description[0]


def test_the_verdict_reads_as_a_message() -> None:
    text = repr(compare([2.0, 1.0, 0.1], 1, grad=cecli.softmax([2.0, 1.0, 0.1])))
    assert text.startswith(
        "WRONG: missing-one-hot\n"
        "gradient: 1 of 3 off, judged as float64; the worst at (1,), "
        "0.242433 where -0.757567 is right\n"
        "missing-one-hot: The gradient is the softmax itself"
    )


def test_a_comparison_shows_itself_in_a_notebook() -> None:
    comparison = compare([2.0, 1.0, 0.1], 0, grad=[-0.3, 0.2, 0.1], rtol=1e-3)
    assert '<p class="failed">WRONG' in comparison._repr_html_()


def test_a_comparison_is_a_value() -> None:
    comparison = compare([2.0, 1.0, 0.1], 0, grad=[0.659, 0.2424, 0.0986], rtol=1e-2)
    copy = pickle.loads(pickle.dumps(comparison))
    assert repr(copy) == repr(comparison)
    assert copy.diagnosis == comparison.diagnosis


def test_infinity_is_right_where_the_type_has_no_other_number() -> None:
    options: dict[str, Any] = {"weight": [1e39, *[1.0] * 7], "reduction": "sum"}
    right = cecli.cross_entropy(LOGITS, TARGET, **options).grad
    with np.errstate(over="ignore"):
        single = right.astype(np.float32)
    assert np.isinf(single).any()
    comparison = compare(LOGITS, TARGET, grad=single, **options)
    assert (comparison.grade, comparison.off) == ("exact", 0)
    assert comparison.max_ulp_error <= 0.5
    single[1, 1] = np.inf
    comparison = compare(LOGITS, TARGET, grad=single, **options)
    assert (comparison.grade, comparison.off, comparison.worst) == ("wrong", 1, (1, 1))
