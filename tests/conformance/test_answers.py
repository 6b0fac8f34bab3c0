"""The exact answers of the suite's cases, and the package's own results for them."""

from __future__ import annotations

import numpy as np
import pytest

from cecli import cross_entropy
from cecli.api import solve
from cecli.conformance.judge import judge, problem_of
from cecli.conformance.model import OUTCOMES, Case, Inputs, Reply
from cecli.conformance.run import verify
from support.cases import FAMILIES, FEW, MANY, named, right, solved
from support.implementations import Textbook
from support.oracle import evaluate, round_to, rounded

# What the oracle answers in a blink.
FEWEST_NUMBERS, MOST_FOR_THE_ORACLE = 150, 3000


def assert_answer_is_the_oracles(case: Case) -> None:
    inputs = case.make()
    options = dict(inputs.options)
    expected = evaluate(inputs.logits.astype(np.float64), inputs.target, **options)
    result = solved(case.name)
    np.testing.assert_array_equal(result.grad, rounded(expected.grad), case.name)
    np.testing.assert_array_equal(result.losses, rounded(expected.losses), case.name)
    if options.get("reduction") != "none":
        assert result.loss == round_to(expected.loss), case.name


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_the_oracles(family: str) -> None:
    for case in FEW:
        if case.family == family and case.make().logits.size <= FEWEST_NUMBERS:
            assert_answer_is_the_oracles(case)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_of_larger_cases_are_the_oracles(family: str) -> None:
    for case in FEW:
        size = case.make().logits.size
        if case.family == family and FEWEST_NUMBERS < size <= MOST_FOR_THE_ORACLE:
            assert_answer_is_the_oracles(case)


@pytest.mark.parametrize(
    "name",
    [
        "classes/8193",
        pytest.param("classes/65537", marks=pytest.mark.slow),
        pytest.param("saturation/vocabulary", marks=pytest.mark.slow),
    ],
)
def test_answers_of_many_classes_are_the_oracles(name: str) -> None:
    inputs = named(name).make()
    expected = evaluate(inputs.logits[:1], inputs.target[:1])
    result = cross_entropy(inputs.logits[:1], inputs.target[:1], exact=True)
    np.testing.assert_array_equal(result.grad, rounded(expected.grad))
    assert result.loss == round_to(expected.loss)


def test_answers_of_many_rows_are_those_of_each_row() -> None:
    inputs = named("rows/1025").make()
    whole = solve(problem_of(inputs), exact=True)
    for row in (0, 500, 1023, 1024):
        one = evaluate(inputs.logits[row : row + 1], inputs.target[row : row + 1])
        exact = [round_to(g / len(inputs.logits)) for g in one.grad[0]]
        assert whole.grad[row].tolist() == exact


class Core(Textbook):
    """The float core of the package itself."""

    def run(self, inputs: Inputs) -> Reply:
        result = cross_entropy(inputs.logits, inputs.target, **inputs.options)
        return Reply(result.loss, result.grad * np.reshape(inputs.upstream, (-1, 1)))


def assert_core_passes_and_the_answer_is_exact(cases: list[Case]) -> None:
    for verdict in verify(Core(), cases):
        # a soft target cancels by nature, and with the z-loss nearly anything may
        cancels = {"soft-target", "label-smoothing", "z-loss", "softcap"}
        wanted = 2 if verdict.case.features & cancels else 1
        assert OUTCOMES.index(verdict.outcome) <= wanted, verdict
    for case in cases:
        verdict = judge(case, case.make(), right(case))
        assert (verdict.outcome, verdict.reason, verdict.diagnosis) == ("exact", None, ()), verdict


@pytest.mark.parametrize("family", FAMILIES)
def test_the_core_passes_and_the_right_answer_is_exact(family: str) -> None:
    assert_core_passes_and_the_answer_is_exact([case for case in FEW if case.family == family])


@pytest.mark.slow
@pytest.mark.parametrize("case", MANY, ids=lambda case: case.name)
def test_the_core_passes_large_cases_and_their_right_answer_is_exact(case: Case) -> None:
    assert_core_passes_and_the_answer_is_exact([case])
