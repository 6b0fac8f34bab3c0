"""Every mistake of the catalogue is named as itself, and as no other that gives other numbers."""

from __future__ import annotations

import itertools
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cecli import Comparison, compare, cross_entropy, softmax
from cecli.comparison.catalogue import CATALOGUE
from cecli.comparison.compare import compare_candidates, compare_with
from cecli.comparison.mistake import OTHERS, Mistake
from cecli.comparison.mistaken import Variant
from cecli.comparison.survey import Reference
from cecli.input.candidate import Candidate, candidate_of_array, candidate_of_text
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem
from support.paths import CASES, MANUAL

Array = NDArray[Any]
SLOW = pytest.mark.slow
PRECISIONS = ("float64", "float32", "typed")
# How far apart two gradients may be and still be the same numbers, next to the largest component
# of their row.
SAME = {"float64": 1e-12, "float32": 1e-5, "typed": 2e-3}
ROUNDING = {"float64": 1e-14, "float32": 1e-6, "typed": 1e-14}
UNDERFLOW = {"float64": 0.0, "float32": 1e-44, "typed": 0.0}


def random_logits(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).normal(0, 2, shape)


def random_soft(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), shape[:-1])


LOGITS = random_logits(1, 7, 5)
TARGET = np.array([3, 0, 4, 1, 1, 2, 4])
WEIGHT = [0.5, 2.0, 1.0, 3.0, 0.25]
SCENES: dict[str, tuple[Array, Any, dict[str, Any]]] = {
    "plain": (LOGITS, TARGET, {}),
    "sum": (LOGITS, TARGET, {"reduction": "sum"}),
    "weights": (LOGITS, TARGET, {"weight": WEIGHT}),
    "smoothing": (LOGITS, TARGET, {"label_smoothing": 0.1}),
    "temperature": (LOGITS, TARGET, {"temperature": 2.5}),
    "softcap": (LOGITS, TARGET, {"softcap": 4.0}),
    "z-loss": (LOGITS, TARGET, {"z_loss": 0.1}),
    "ignored": (LOGITS, np.where(TARGET == 1, -100, TARGET), {"ignore_index": -100}),
    "ignored class": (LOGITS, TARGET, {"ignore_index": 1}),
    "soft": (LOGITS, random_soft(2, 7, 5), {}),
    "soft weights": (LOGITS, random_soft(2, 7, 5), {"weight": WEIGHT}),
    "everything": (
        LOGITS,
        TARGET,
        {
            "weight": WEIGHT,
            "label_smoothing": 0.2,
            "temperature": 0.7,
            "softcap": 6.0,
            "z_loss": 0.05,
            "ignore_index": 2,
        },
    ),
    "one sample": (random_logits(3, 4), 2, {}),
    "as many samples as classes": (random_logits(4, 4, 4), [2, 0, 1, 1], {}),
    "two classes": (random_logits(5, 6, 2), [0, 1, 1, 0, 1, 0], {}),
    "three dimensions": (random_logits(6, 2, 3, 5), [[1, 2, 4], [0, 0, 3]], {}),
    "saturated": (LOGITS * 20, TARGET, {}),
    "too large for exp": (LOGITS * 400, TARGET, {}),
    "many classes": (random_logits(7, 3, 300), [4, 100, 299], {}),
    "sequences": (
        random_logits(8, 3, 4, 6),
        [[1, 2, -100, -100], [0, 5, 3, -100], [4, 4, 1, 0]],
        {"ignore_index": -100},
    ),
    "smoothed z-loss": (LOGITS, TARGET, {"label_smoothing": 0.1, "z_loss": 0.1}),
}


class Scene:
    """A problem, what is right, and what each mistake makes of it."""

    def __init__(self, name: str) -> None:
        self.logits, target, self.options = SCENES[name]
        self.target = np.asarray(target)
        problem = Problem.of(self.logits, self.target, Objective(**self.options))
        self.reference = Reference(problem)
        _ = self.reference.result  # found once, for all that is judged
        self.problem = self.reference.problem
        self.result = cross_entropy(self.logits, self.target, **self.options)
        self.right = self.problem.to_rows(self.result.grad)
        batch = self.reference.textbook.everything
        self.gradients: list[tuple[Mistake, Variant, Array]] = []
        self.losses: list[tuple[Mistake, Variant, float]] = []
        with np.errstate(all="ignore"):
            for mistake in CATALOGUE:
                for variant in mistake.variants:
                    made = None if variant.gradient is None else variant.gradient(batch)
                    if made is not None:
                        self.gradients.append((mistake, variant, made))
                    lost = None if variant.losses is None else variant.losses(batch)
                    if lost is not None:
                        self.losses.append((mistake, variant, float(lost.sum())))

    def shaped(self, rows: Array) -> Array:
        moved = rows.reshape(*self.problem.batch_shape, self.problem.classes)
        return np.moveaxis(moved, -1, self.problem.objective.axis)

    def judged(self, rows: Array, precision: str) -> Comparison:
        candidate = rounded(rows, precision)
        unit = None if candidate.unit is None else self.shaped(candidate.unit)
        shaped = candidate.with_values(self.shaped(candidate.values), unit)
        return compare_with(self.reference, shaped, None)

    def judged_loss(self, loss: float, precision: str) -> Comparison:
        candidate = rounded(np.array([[loss]]), precision)
        unit = None if candidate.unit is None else candidate.unit[0, 0]
        number = candidate.with_values(np.asarray(candidate.values[0, 0]), unit)
        return compare_with(self.reference, None, number)


scene_called = cache(Scene)


def rounded(rows: Array, precision: str) -> Candidate:
    """A gradient as somebody would give it: an array, or four digits of each number."""
    with np.errstate(all="ignore"):
        if precision != "typed":
            return candidate_of_array(rows.astype(precision), "grad")
        finite = np.isfinite(rows) & (rows != 0.0)
        exponent = np.floor(np.log10(np.abs(np.where(finite, rows, 1.0)))) - 3.0
        unit = np.where(np.isfinite(rows), 10.0 ** np.where(rows == 0.0, -4.0, exponent), 0.0)
        values = np.where(finite, np.round(rows / unit) * unit, rows)
        return Candidate(values, "float64", unit)


def same(left: Array, right: Array, precision: str, least: Array | float = 0.0) -> bool:
    size = np.maximum(np.abs(left), np.abs(right))
    size = np.where(np.isfinite(size), size, 0.0).max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        close = np.abs(left - right) <= SAME[precision] * size + UNDERFLOW[precision] + least
    return bool((close | (left == right) | (np.isnan(left) & np.isnan(right))).all())


def gives(scene: Scene, name: str, value: float | None, rows: Array, precision: str) -> bool:
    """Whether what is called by that name is the gradient that was given."""
    right, factor = scene.right, 1.0 if value is None else value
    made = [factor * found for mistake, _, found in scene.gradients if mistake.id == name]
    # what one term of the right gradient is rounded by cannot be told from 0
    least = ROUNDING[precision] * np.abs(right).max(axis=1, keepdims=True)
    if any(same(rounded(found, precision).values, rows, precision, least) for found in made):
        return True
    if name == "constant-factor":
        return same(factor * right, rows, precision)
    if name == "transposed":
        return same(right.T, rows, precision)
    if name == "permuted-rows":
        return same(right[np.lexsort(right.T)], rows[np.lexsort(rows.T)], precision)
    if name == "permuted-classes":
        return same(right.T[np.lexsort(right)].T, rows.T[np.lexsort(rows)].T, precision)
    if name in ("rows-left-out", "some-rows"):
        is_right = [same(one[None], two[None], precision) for one, two in zip(rows, right)]  # noqa: B905
        return 0 < sum(is_right) < len(is_right)
    if name == "classes-left-out":
        zero = (rows == 0.0).all(axis=0)
        return bool(zero.any()) and same(rows[:, ~zero], right[:, ~zero], precision)
    if name.partition("-")[0] in ("unasked", "other"):
        option = name.partition("-")[2].replace("-", "_").replace("smoothing", "label_smoothing")
        options = {**scene.options, option: value}
        whole = scene.problem.to_rows(cross_entropy(scene.logits, scene.target, **options).grad)
        scale = factor if option == "temperature" else 1.0
        return same(whole, rows, precision) or same(whole * scale, rows, precision)
    return False


# Each scene in one precision, and the plainest one in all.
QUICK = {("plain", precision) for precision in PRECISIONS}
QUICK |= set(zip(SCENES, itertools.cycle(PRECISIONS), strict=False))
QUICK = {(scene, precision) for scene, precision in QUICK if scene != "many classes"}
IN_ALL_PRECISIONS = [
    pytest.param(*both, marks=[] if both in QUICK else SLOW)
    for both in itertools.product(SCENES, PRECISIONS)
]
# What may be so small a difference that it is acceptable: p_t − 1 computed plainly, say.
MAY_PASS = {"saturated", "smoothing-share", "clipped", "flush-to-zero", "overflow"}


@pytest.mark.parametrize(("scene", "precision"), IN_ALL_PRECISIONS)
def test_each_is_named_as_itself_and_never_as_another(scene: str, precision: str) -> None:
    found = scene_called(scene)
    for mistake, variant, rows in found.gradients:
        if same(rows, found.right, precision):
            continue
        comparison = found.judged(rows, precision)
        names = [diagnosis.id for diagnosis in comparison.diagnosis]
        if comparison.passed:
            assert mistake.id in MAY_PASS, (mistake.id, variant.words)
            continue
        assert mistake.id in names, (mistake.id, variant.words, names, comparison.description)
        given = rounded(rows, precision).values
        for diagnosis in comparison.diagnosis:
            assert gives(found, diagnosis.id, diagnosis.value, given, precision), (
                mistake.id,
                variant.words,
                diagnosis,
            )
        if len(names) > 1:
            assert all(diagnosis.reason for diagnosis in comparison.diagnosis)


@pytest.mark.parametrize(("scene", "precision"), IN_ALL_PRECISIONS)
def test_each_loss_is_named_as_itself_and_never_as_another(scene: str, precision: str) -> None:
    """One number: what is named gives it to all its digits."""
    found = scene_called(scene)
    right = float(found.result.loss)
    near = {"float64": 1e-9, "float32": 1e-5, "typed": 1e-3}[precision]
    for mistake, variant, loss in found.losses:
        if not np.isfinite(loss) or abs(loss - right) <= near * abs(right):
            continue
        if abs(loss) < 0.02 * abs(right):  # has too few digits
            continue
        comparison = found.judged_loss(loss, precision)
        if comparison.passed:
            continue
        names = [diagnosis.id for diagnosis in comparison.diagnosis]
        if precision == "float64" or not variant.rare:
            assert mistake.id in names, (mistake.id, variant.words, names)
        for diagnosis in comparison.diagnosis:
            numbers = [number for other, _, number in found.losses if other.id == diagnosis.id]
            if numbers:
                assert any(abs(number - loss) <= near * abs(loss) for number in numbers), diagnosis


# What has a value of its own, and what only moves or spoils right numbers.


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("option", "value", "name"),
    [
        ("temperature", 2.5, "unasked-temperature"),
        ("temperature", 0.37, "unasked-temperature"),
        ("label_smoothing", 0.1, "unasked-smoothing"),
        ("label_smoothing", 0.437, "unasked-smoothing"),
        ("z_loss", 0.02, "unasked-z-loss"),
        ("softcap", 3.0, "unasked-softcap"),
    ],
)
def test_an_option_that_was_not_asked_for_is_named_with_its_value(
    option: str, value: float, name: str, precision: str
) -> None:
    options: dict[str, Any] = {option: value}
    grad = cross_entropy(LOGITS, TARGET, **options).grad
    comparison = scene_called("plain").judged(grad, precision)
    assert [diagnosis.id for diagnosis in comparison.diagnosis] == [name]
    found = comparison.diagnosis[0].value
    assert found == pytest.approx(value, rel=1e-2 if precision == "typed" else 1e-5)


def test_another_value_than_the_one_asked_for_is_told() -> None:
    grad = cross_entropy(LOGITS, TARGET, temperature=3.0).grad
    comparison = scene_called("temperature").judged(grad, "float64")
    assert [(d.id, d.value) for d in comparison.diagnosis] == [("other-temperature", 3.0)]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_constant_factor_is_named_with_its_value(precision: str) -> None:
    grad = cross_entropy(LOGITS, TARGET).grad
    comparison = scene_called("plain").judged(0.37 * grad, precision)
    assert [diagnosis.id for diagnosis in comparison.diagnosis] == ["constant-factor"]
    assert comparison.diagnosis[0].value == pytest.approx(0.37, rel=1e-3)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_mistake_times_a_factor_is_named(precision: str) -> None:
    softmax = cross_entropy(LOGITS, TARGET).softmax
    comparison = scene_called("plain").judged(0.37 * softmax, precision)
    assert [diagnosis.id for diagnosis in comparison.diagnosis] == ["missing-one-hot"]
    assert comparison.diagnosis[0].value == pytest.approx(0.37 * 7, rel=1e-3)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_permutations_are_named(precision: str) -> None:
    grad = cross_entropy(LOGITS, TARGET).grad
    for name, rows in [
        ("permuted-rows", grad[[2, 0, 1, 6, 5, 3, 4]]),
        ("permuted-classes", grad[:, [1, 2, 3, 4, 0]]),
    ]:
        comparison = scene_called("plain").judged(rows, precision)
        assert [diagnosis.id for diagnosis in comparison.diagnosis] == [name]


def test_a_transposed_gradient_of_a_square_batch_is_named() -> None:
    scene = scene_called("as many samples as classes")
    rows = cross_entropy(*SCENES["as many samples as classes"][:2]).grad
    comparison = scene.judged(rows.T, "float64")
    assert [diagnosis.id for diagnosis in comparison.diagnosis] == ["transposed"]


@pytest.mark.parametrize("digits", [11, 8], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_sum_in_half_precision_is_named(precision: str, digits: int) -> None:
    logits = random_logits(8, 6, 50)
    target = np.arange(6)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    mantissa, exponent = np.frexp(exponentials.sum(axis=1, keepdims=True))
    half = np.ldexp(np.rint(np.ldexp(mantissa, digits)), exponent - digits)
    rows = (exponentials / half - np.eye(50)[target]) / 6
    comparison = compare_candidates(Problem.of(logits, target), rounded(rows, precision), None)
    assert [diagnosis.id for diagnosis in comparison.diagnosis] == ["half-accumulation"]
    assert ("bfloat16" in comparison.diagnosis[0].explanation) == (digits == 8)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (slice(5, None), "the last 2, from row 5 on"),
        (slice(4, None), "the last 3, from row 4 on, a power of two"),
        ([1, 4], "2 of 7, namely 1, 4"),
    ],
)
def test_errors_in_some_rows_are_placed(rows: Any, words: str) -> None:
    grad = cross_entropy(LOGITS, TARGET).grad
    grad[rows] = 0.0
    comparison = scene_called("plain").judged(grad, "float64")
    assert [diagnosis.id for diagnosis in comparison.diagnosis] == ["rows-left-out"]
    assert f"Rows are zero: {words}" in comparison.diagnosis[0].explanation
    wrong = cross_entropy(LOGITS, TARGET).grad
    wrong[rows] *= -1.0
    comparison = scene_called("plain").judged(wrong, "float64")
    assert [diagnosis.id for diagnosis in comparison.diagnosis] == ["some-rows", "sign-flipped"]
    assert words in comparison.diagnosis[0].explanation
    assert comparison.diagnosis[1].reason == "in these rows"


def test_garbage_in_the_ignored_rows_is_placed() -> None:
    logits, target, options = SCENES["ignored"]
    grad = cross_entropy(logits, target, **options).grad
    grad[target == -100] = random_logits(9, 2, 5)
    comparison = scene_called("ignored").judged(grad, "float64")
    assert [diagnosis.id for diagnosis in comparison.diagnosis] == ["ignored-not-zeroed"]


def test_ignored_rows_that_are_zero_do_not_make_the_others_some_rows() -> None:
    logits, target, options = SCENES["ignored"]
    grad = cross_entropy(logits, target, **options).grad
    noise = random_logits(9, *grad.shape)
    assert scene_called("ignored").judged(grad * noise, "float64").diagnosis == ()


# What nothing explains is described, and not named.


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(n, marks=SLOW) for n in range(2, 20))])
def test_noise_is_named_nothing(seed: int, precision: str) -> None:
    grad = cross_entropy(LOGITS, TARGET).grad
    noise = random_logits(seed, *grad.shape)
    for rows in (
        grad * (1 + 0.3 * noise),
        grad + 0.1 * noise,
        grad + 0.1 * (noise - noise.mean(axis=1, keepdims=True)),
    ):
        comparison = scene_called("plain").judged(rows, precision)
        assert not comparison.passed
        assert comparison.diagnosis == ()
        assert comparison.description


ROWS = random_logits(4, 12, 7)
CLASSES_OF_ROWS = np.arange(12) % 7
ONE_HOT = np.eye(7)[CLASSES_OF_ROWS]


@pytest.mark.parametrize(
    ("logits", "target", "grad"),
    [
        # As of any temperature next to 0, or any large one: there is none in it.
        (ROWS, CLASSES_OF_ROWS, (np.eye(7)[ROWS.argmax(axis=1)] - ONE_HOT) / 12),
        (ROWS, CLASSES_OF_ROWS, (np.full((12, 7), 1 / 7) - ONE_HOT) / 12),
        # The sum is missing; of one sample that is a z-loss of some value, too.
        ([[1.2, -0.3, 0.7]], [1], np.exp([[1.2, -0.3, 0.7]]) - [[0, 1, 0]]),
        # A focal loss's, and what is cut off.
        (ROWS, CLASSES_OF_ROWS, np.clip((softmax(ROWS) - ONE_HOT) / 12, -0.05, 0.05)),
        (ROWS, CLASSES_OF_ROWS, (np.tanh(ROWS) - ONE_HOT) / 12),
    ],
)
def test_what_only_looks_like_a_mistake_is_named_nothing(
    logits: Any, target: Any, grad: Any
) -> None:
    for rows in (np.asarray(grad), np.asarray(grad, dtype=np.float32)):
        comparison = compare(logits, target, grad=rows)
        assert not comparison.passed
        assert comparison.diagnosis == ()


def test_digits_that_may_be_zeros_are_no_evidence() -> None:
    text = "[[0.1, -0.1], [-0.1, 0.1], [0.1, -0.1]]"
    candidate = candidate_of_text(text, "grad")
    problem = Problem.of([[1.0, 2.0], [3.0, 1.0], [2.0, 2.0]], [1, 0, 0], Objective())
    comparison = compare_candidates(problem, candidate, None, None)
    assert not comparison.passed
    assert comparison.diagnosis == ()


@pytest.mark.parametrize("option", ["weight", "sample_weight"])
def test_weights_whose_sum_overflows_are_compared_with(option: str) -> None:
    weights: dict[str, Any] = {option: [1e308, 1e308, 1.0]}
    comparison = compare(
        np.zeros((3, 3)), [0, 1, 0], grad=np.full((3, 3), -0.1), reduction="sum", **weights
    )
    assert not comparison.passed


def test_a_right_gradient_that_is_larger_by_far_makes_no_mistake_fit() -> None:
    comparison = compare(
        [0.5, 1.0, 2.0], 0, grad=[0.1, 0.1, 0.1], temperature=1e-300, reduction="sum"
    )
    assert comparison.diagnosis == ()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (lambda p, q: 0.3 * p**2, "p²"),
        (lambda p, q: 0.3 * p * (1 - p), "p(1 − p)"),
        (lambda p, q: 0.02 * q, "off only at the target's class"),
        (lambda p, q: 0.02 * (1 - q), "right at the target's class"),
        (lambda p, q: np.broadcast_to([0, 0.1, 0.3, 0, 0], p.shape), "off only in classes 1, 2"),
    ],
)
def test_errors_are_described(error: Any, words: str) -> None:
    result = cross_entropy(LOGITS, TARGET)
    rows = result.grad + error(result.softmax, np.eye(5)[TARGET])
    comparison = scene_called("plain").judged(rows, "float64")
    assert comparison.diagnosis == ()
    assert words in " ".join(comparison.description)


# Wrong numbers that people have reported, each with the mistake that is in them.

FIELD = json.loads((CASES / "mistakes.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", FIELD, ids=lambda case: case["name"])
def test_mistakes_from_the_field_are_named(case: dict[str, Any]) -> None:
    given = {name: case[name] for name in ("grad", "loss") if name in case}
    problem = case["compare"]
    objective = {**case.get("objective", {}), **problem.get("objective", {})}
    found = compare(problem["logits"], problem["target"], **given, **objective)
    assert [diagnosis.id for diagnosis in found.diagnosis] == case["ids"]
    assert not found.passed


# The catalogue itself.


def test_ids_are_unique_and_those_that_scripts_rely_on_are_there() -> None:
    ids = [mistake.id for mistake in [*CATALOGUE, *OTHERS]]
    assert len(set(ids)) == len(ids)
    assert {
        "missing-one-hot",
        "sign-flipped",
        "not-averaged",
        "averaged-twice",
        "wrong-target-index",
        "softmax-twice",
        "wrong-axis",
        "all-zero",
        "wrt-probabilities",
        "log-base",
        "sigmoid",
    } <= set(ids)


def test_each_has_a_sentence_of_explanation_and_one_of_remedy_and_a_formula() -> None:
    for mistake in [*CATALOGUE, *OTHERS]:
        assert mistake.formula, mistake.id
        for variant in mistake.variants or (Variant(words="Some words."),):
            found = mistake.found(variant.words)
            for sentence in (found.explanation, found.remedy):
                assert sentence[0].isupper(), found
                assert sentence.endswith("."), found
            assert "{}" not in found.explanation
            assert ("{}" in mistake.explanation) >= bool(mistake.variants and variant.words)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("missing-one-hot", lambda p, q, n: p / n),
        ("sign-flipped", lambda p, q, n: (q - p) / n),
        ("not-averaged", lambda p, q, n: p - q),
        ("averaged-twice", lambda p, q, n: (p - q) / n**2),
        ("wrong-target-index", lambda p, q, n: (p - np.roll(q, 1, axis=1)) / n),
        ("wrong-target-index", lambda p, q, n: (p - np.roll(q, 1, axis=0)) / n),
        ("wrong-axis", lambda p, q, n: (np.exp(LOGITS) / np.exp(LOGITS).sum(axis=0) - q) / n),
        ("sigmoid", lambda p, q, n: (1 / (1 + np.exp(-LOGITS)) - q) / n),
        ("softmax-twice", lambda p, q, n: (np.exp(p) / np.exp(p).sum(1)[:, None] - q) / n),
        ("all-zero", lambda p, q, n: 0 * p),
        ("wrt-probabilities", lambda p, q, n: -q / p / n),
        ("wrt-log-probabilities", lambda p, q, n: -q / n),
        ("jacobian-diagonal", lambda p, q, n: -q * (1 - p) / n),
        ("log-base", lambda p, q, n: (p - q) / n / np.log(2)),
        ("log-base", lambda p, q, n: (p - q) / n / np.log(10)),
        ("added-one-hot", lambda p, q, n: (p + q) / n),
        ("divided-by-classes", lambda p, q, n: (p - q) / 5),
        ("divided-by-components", lambda p, q, n: (p - q) / (5 * n)),
    ],
)
def test_a_formula_written_down_here_is_named(name: str, wrong: Any) -> None:
    softmax = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    rows = wrong(softmax, np.eye(5)[TARGET], 7)
    for precision in PRECISIONS:
        comparison = scene_called("plain").judged(rows, precision)
        assert [diagnosis.id for diagnosis in comparison.diagnosis] == [name]


# --- The same with options ------------------------------------------------------------------------


def probabilities(logits: Array) -> Array:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def slope_of_cap(numbers: Array) -> Array:
    return np.asarray(1.0 - np.tanh(numbers) ** 2)


P, Q, N = probabilities(LOGITS), np.eye(5)[TARGET], len(TARGET)
LOG_SUM_EXP = np.log(np.exp(LOGITS).sum(axis=1, keepdims=True))
OWN_WEIGHT = np.array(WEIGHT)[TARGET][:, None]
MANY, MANY_TARGETS = SCENES["many classes"][0], np.eye(300)[[4, 100, 299]]
CUBE = SCENES["three dimensions"][0]
TWO_SHARDS = np.concatenate([probabilities(half) for half in np.split(MANY, 2, axis=1)], axis=1)


@pytest.mark.parametrize(
    ("scene", "name", "rows"),
    [
        ("plain", "gradient-is-logits", LOGITS),
        (
            "three dimensions",
            "shifted-by-one",
            (probabilities(CUBE).reshape(6, 5) - np.eye(5)[[2, 4, 1, 0, 3, 0]]) / 6,
        ),
        ("temperature", "temperature-inverted", (probabilities(2.5 * LOGITS) - Q) * 2.5 / N),
        ("temperature", "temperature-forgotten", (P - Q) / N),
        ("smoothing", "smoothing-twice", (P - 0.81 * Q - 0.19 / 5) / N),
        (
            "smoothed z-loss",
            "smoothing-z-loss",
            (P - 0.9 * Q - 0.02 + 0.2 * LOG_SUM_EXP * (P - 0.02)) / N,
        ),
        ("weights", "weights-squared", OWN_WEIGHT**2 * (P - Q) / OWN_WEIGHT.sum()),
        ("softcap", "softcap-forgotten", (P - Q) / N),
        (
            "softcap",
            "softcap-twice",
            (probabilities(4 * np.tanh(np.tanh(LOGITS / 4))) - Q)
            * slope_of_cap(np.tanh(LOGITS / 4))
            * slope_of_cap(LOGITS / 4)
            / N,
        ),
        (
            "softcap",
            "softcap-formula",
            (probabilities(np.tanh(LOGITS / 4)) - Q) * slope_of_cap(LOGITS / 4) / 4 / N,
        ),
        ("z-loss", "z-loss-forgotten", (P - Q) / N),
        ("many classes", "shards", (TWO_SHARDS - MANY_TARGETS) / 3),
        ("plain", "sample-weights", np.linspace(0.3, 2.9, N)[:, None] * (P - Q) / N),
        ("plain", "rounded", np.round((P - Q) / N, 5)),
        ("plain", "low-precision", (P - Q) / N * (1 + 3e-4 * np.cos(LOGITS * 100))),
        ("z-loss", "z-loss-factor", (P - Q + 0.1 * LOG_SUM_EXP * P) / N),
        ("temperature", "temperature-chain", (probabilities(LOGITS / 2.5) - Q) / N),
        ("softcap", "softcap-derivative", (probabilities(4 * np.tanh(LOGITS / 4)) - Q) / N),
        ("weights", "weights-normalised", OWN_WEIGHT / 6.75 * (P - Q) / N),
        ("weights", "wrong-divisor", OWN_WEIGHT * (P - Q) / N),
        ("ignored", "ignored-counted", (TARGET != 1)[:, None] * (P - Q) / N),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_formula_with_options_is_named(scene: str, name: str, rows: Array) -> None:
    comparison = scene_called(scene).judged(rows, "float64")
    assert [diagnosis.id for diagnosis in comparison.diagnosis] == [name]


WEIGHTED = OWN_WEIGHT * (P - Q) / OWN_WEIGHT.sum()


@pytest.mark.parametrize(
    ("scene", "rows", "words"),
    [
        ("plain", P / N, "itself: the one-hot target is not subtracted"),
        ("soft", P / N, "itself: the target is not subtracted"),
        ("plain", (P - Q) / N**2, "divided by the number of samples twice"),
        ("weights", WEIGHTED / OWN_WEIGHT.sum(), "divided by the divisor of the mean twice"),
        ("weights", WEIGHTED / N, "by the divisor of the mean, and by the number of samples"),
        ("plain", (P - Q) / N / 5, "components, samples times classes"),
        ("weights", WEIGHTED / 5, "the divisor of the mean times the number of classes"),
        ("plain", P / N - Q, "Only the softmax is averaged over the samples"),
        ("plain", (P - np.roll(Q, 1, axis=1)) / N, "Another class is taken for the target: one"),
    ],
)
def test_the_sentence_is_true_of_what_was_made(scene: str, rows: Array, words: str) -> None:
    found = scene_called(scene).judged(rows, "float64").diagnosis
    assert any(words in diagnosis.explanation for diagnosis in found), found


def test_a_divergence_in_place_of_a_loss_is_named() -> None:
    logits, soft, _ = SCENES["soft"]
    loss = float((soft * np.log(soft / probabilities(logits))).sum() / len(soft))
    found = scene_called("soft").judged_loss(loss, "float64").diagnosis
    assert [diagnosis.id for diagnosis in found] == ["kl-divergence"]


def test_every_id_has_a_test_of_its_own() -> None:
    """Not only that of the catalogue, which is held against itself."""
    here = Path(__file__).parent
    texts = [file.read_text(encoding="utf-8") for file in sorted(here.glob("*.py"))]
    texts.append((CASES / "mistakes.json").read_text(encoding="utf-8"))
    named = {name for text in texts for name in re.findall(r'"([a-z0-9-]+)"', text)}
    assert {mistake.id for mistake in [*CATALOGUE, *OTHERS]} <= named


def test_the_manual_lists_every_id_with_its_formula() -> None:
    page = (MANUAL / "cecli-compare.1").read_text(encoding="utf-8")
    items = [part.partition("\n")[0] for part in page.split(".It Sy ")[1:]]
    for mistake in [*CATALOGUE, *OTHERS]:
        assert mistake.id.replace("-", "\\-") in items, mistake.id
