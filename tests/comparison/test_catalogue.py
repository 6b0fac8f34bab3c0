"""Every mistake of the catalogue is named as itself, and as no other that gives other numbers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cecli import Comparison, cross_entropy
from cecli.comparison.catalogue import CATALOGUE, Mistake
from cecli.comparison.compare import compare_candidates
from cecli.comparison.textbook import Batch, batch_of, gradient_of, with_softmax_across
from cecli.input.candidate import Candidate, candidate_of_array, candidate_of_text
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem

Array = NDArray[Any]
SLOW = pytest.mark.slow
PRECISIONS = ("float64", "float32", "typed")
# How far apart two gradients may be and still be the same numbers, next to the largest component
# of their row.
SAME = {"float64": 1e-12, "float32": 1e-5, "typed": 2e-3}
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
}


def problem_of(scene: str) -> Problem:
    logits, target, options = SCENES[scene]
    return Problem.of(logits, np.asarray(target), Objective(**options))


def rounded(rows: Array, precision: str) -> Candidate:
    """A gradient as somebody would give it."""
    if precision == "typed":
        text = "[" + ",".join(f"[{','.join(map(four_digits, row))}]" for row in rows) + "]"
        return candidate_of_text(text, "grad")
    with np.errstate(under="ignore"):
        return candidate_of_array(rows.astype(precision), "grad")


def four_digits(number: float) -> str:
    if np.isnan(number):
        return "nan"
    if np.isinf(number):
        return str(number)
    return f"{number:.3e}" if number else "0.0000"


def same(left: Array, right: Array, precision: str) -> bool:
    size = np.maximum(np.abs(left), np.abs(right))
    size = np.where(np.isfinite(size), size, 0.0).max(axis=1, keepdims=True)
    close = np.abs(left - right) <= SAME[precision] * size + UNDERFLOW[precision]
    return bool((close | (left == right) | (np.isnan(left) & np.isnan(right))).all())


def judged(problem: Problem, rows: Array, precision: str) -> Comparison:
    given = rounded(rows, precision)

    def shaped(array: Array) -> Array:
        moved = array.reshape(*problem.batch_shape, problem.classes)
        return np.moveaxis(moved, -1, problem.objective.axis)

    unit = None if given.unit is None else shaped(given.unit)
    return compare_candidates(problem, given.with_values(shaped(given.values), unit), None)


def gradients(mistake: Mistake, batch: Batch) -> Iterator[Array]:
    with np.errstate(all="ignore"):
        for maker in mistake.makers:
            made = gradient_of(maker, batch)
            if made is not None:
                yield made


def gives(name: str, value: float | None, problem: Problem, given: Array, precision: str) -> bool:
    """Whether what is called by that name is the gradient that was given."""
    batch = with_softmax_across(batch_of(problem), problem)
    exact = problem.to_rows(cross_entropy(*scene_of(problem)[:2], **scene_of(problem)[2]).grad)
    mistakes = [mistake for mistake in CATALOGUE if mistake.id == name]
    if mistakes:
        factor = 1.0 if value is None else value
        made = [factor * made for mistake in mistakes for made in gradients(mistake, batch)]
        return any(same(rounded(rows, precision).values, given, precision) for rows in made)
    if name == "constant-factor":
        return same((value or 0.0) * exact, given, precision)
    if name == "transposed":
        return same(exact.T, given, precision)
    if name == "permuted-rows":
        return same(exact[np.lexsort(exact.T)], given[np.lexsort(given.T)], precision)
    if name == "permuted-classes":
        return same(exact.T[np.lexsort(exact)].T, given.T[np.lexsort(given)].T, precision)
    if name.partition("-")[0] in ("unasked", "other"):
        logits, target, options = scene_of(problem)
        option = name.partition("-")[2].replace("-", "_").replace("smoothing", "label_smoothing")
        found = cross_entropy(logits, target, **{**options, option: value})
        whole = problem.to_rows(found.grad)
        scale = value if option == "temperature" else 1.0
        return same(whole, given, precision) or same(whole * scale, given, precision)
    return False


def scene_of(problem: Problem) -> tuple[Array, Array, dict[str, Any]]:
    return problem.logits, np.asarray(problem.target), vars(problem.objective)


# Each scene in one precision, and the plainest one in all.
QUICK = {("plain", precision) for precision in PRECISIONS}
QUICK |= set(zip(SCENES, itertools.cycle(PRECISIONS), strict=False))
QUICK = {(scene, precision) for scene, precision in QUICK if scene != "many classes"}
IN_ALL_PRECISIONS = [
    pytest.param(*both, marks=[] if both in QUICK else SLOW)
    for both in itertools.product(SCENES, PRECISIONS)
]


@pytest.mark.parametrize(("scene", "precision"), IN_ALL_PRECISIONS)
def test_each_is_named_as_itself_and_never_as_another(scene: str, precision: str) -> None:
    problem = problem_of(scene)
    batch = with_softmax_across(batch_of(problem), problem)
    right = problem.to_rows(cross_entropy(*scene_of(problem)[:2], **scene_of(problem)[2]).grad)
    for mistake in CATALOGUE:
        for rows in gradients(mistake, batch):
            if same(rows, right, precision):
                continue
            comparison = judged(problem, rows, precision)
            names = [diagnosis.id for diagnosis in comparison.diagnosis]
            if comparison.passed:
                # p_t − 1 computed plainly, say, is acceptable
                assert mistake.id in ("saturated", "smoothing-share"), (mistake.id, names)
                continue
            assert mistake.id in names, (mistake.id, names, comparison.description)
            given = rounded(rows, precision).values
            for diagnosis in comparison.diagnosis:
                assert gives(diagnosis.id, diagnosis.value, problem, given, precision), (
                    mistake.id,
                    diagnosis,
                )
            if len(names) > 1:
                assert all(diagnosis.reason for diagnosis in comparison.diagnosis)


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
    comparison = judged(problem_of("plain"), grad, precision)
    assert [diagnosis.id for diagnosis in comparison.diagnosis] == [name]
    found = comparison.diagnosis[0].value
    assert found == pytest.approx(value, rel=1e-2 if precision == "typed" else 1e-5)


def test_another_value_than_the_one_asked_for_is_told() -> None:
    grad = cross_entropy(LOGITS, TARGET, temperature=3.0).grad
    comparison = judged(problem_of("temperature"), grad, "float64")
    assert [(d.id, d.value) for d in comparison.diagnosis] == [("other-temperature", 3.0)]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_constant_factor_is_named_with_its_value(precision: str) -> None:
    grad = cross_entropy(LOGITS, TARGET).grad
    comparison = judged(problem_of("plain"), 0.37 * grad, precision)
    assert [diagnosis.id for diagnosis in comparison.diagnosis] == ["constant-factor"]
    assert comparison.diagnosis[0].value == pytest.approx(0.37, rel=1e-3)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_mistake_times_a_factor_is_named(precision: str) -> None:
    softmax = cross_entropy(LOGITS, TARGET).softmax
    comparison = judged(problem_of("plain"), 0.37 * softmax, precision)
    assert [diagnosis.id for diagnosis in comparison.diagnosis] == ["missing-one-hot"]
    assert comparison.diagnosis[0].value == pytest.approx(0.37 * 7, rel=1e-3)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_permutations_are_named(precision: str) -> None:
    grad = cross_entropy(LOGITS, TARGET).grad
    for name, rows in [
        ("permuted-rows", grad[[2, 0, 1, 6, 5, 3, 4]]),
        ("permuted-classes", grad[:, [1, 2, 3, 4, 0]]),
    ]:
        comparison = judged(problem_of("plain"), rows, precision)
        assert [diagnosis.id for diagnosis in comparison.diagnosis] == [name]


def test_a_transposed_gradient_of_a_square_batch_is_named() -> None:
    problem = problem_of("as many samples as classes")
    rows = cross_entropy(*SCENES["as many samples as classes"][:2]).grad
    comparison = judged(problem, rows.T, "float64")
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
    comparison = judged(Problem.of(logits, target), rows, precision)
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
    comparison = judged(problem_of("plain"), grad, "float64")
    assert [diagnosis.id for diagnosis in comparison.diagnosis] == ["some-rows", "all-zero"]
    assert words in comparison.diagnosis[0].explanation
    assert comparison.diagnosis[1].reason == "in these rows"


def test_garbage_in_the_ignored_rows_is_placed() -> None:
    logits, target, options = SCENES["ignored"]
    grad = cross_entropy(logits, target, **options).grad
    grad[target == -100] = random_logits(9, 2, 5)
    comparison = judged(problem_of("ignored"), grad, "float64")
    assert [diagnosis.id for diagnosis in comparison.diagnosis] == ["some-rows"]
    assert "the ignored ones" in comparison.diagnosis[0].explanation


def test_ignored_rows_that_are_zero_do_not_make_the_others_some_rows() -> None:
    logits, target, options = SCENES["ignored"]
    grad = cross_entropy(logits, target, **options).grad
    noise = random_logits(9, *grad.shape)
    assert judged(problem_of("ignored"), grad * noise, "float64").diagnosis == ()


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
        comparison = judged(problem_of("plain"), rows, precision)
        assert not comparison.passed
        assert comparison.diagnosis == ()
        assert comparison.description


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
    comparison = judged(problem_of("plain"), rows, "float64")
    assert comparison.diagnosis == ()
    assert words in " ".join(comparison.description)


# The catalogue itself.


def test_ids_are_unique_and_those_that_scripts_rely_on_are_there() -> None:
    ids = [mistake.id for mistake in CATALOGUE]
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


def test_each_has_a_sentence_of_explanation_and_one_of_remedy() -> None:
    for mistake in CATALOGUE:
        for sentence in (mistake.explanation, mistake.remedy):
            assert sentence[0].isupper(), mistake.id
            assert sentence.endswith("."), mistake.id


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
        comparison = judged(problem_of("plain"), rows, precision)
        assert [diagnosis.id for diagnosis in comparison.diagnosis] == [name]
