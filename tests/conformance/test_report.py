"""The report on a run, and the cases as they are exported."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cecli.conformance.export import exported
from cecli.conformance.judge import judge
from cecli.conformance.model import Case, Reply, Verdict
from cecli.conformance.report import Report
from cecli.output.json_document import to_json
from cecli.text.strict_json import plain_value
from support.cases import CASES, FAMILIES, FEW, MANY, right


def verdicts(*outcomes: str) -> Iterator[Verdict]:
    for case, outcome in zip(CASES, outcomes, strict=False):
        yield Verdict(case, outcome, max_ulp_error=2.0)  # type: ignore[arg-type]


def test_totals() -> None:
    report = Report("mine", "acceptable", tuple(verdicts("exact", "acceptable", "not supported")))
    assert report.passed
    (ordinary,) = report.families
    assert (ordinary.passed, ordinary.ran, ordinary.worst) == (2, 2, "acceptable")
    assert ordinary.counts["not supported"] == 1
    assert not Report("mine", "accurate", report.verdicts).passed


def test_nothing_run_is_nothing_passed() -> None:
    assert not Report("mine", "acceptable", tuple(verdicts("not supported"))).passed
    assert not Report("mine", "acceptable", ()).passed


def test_a_report_as_text_names_what_failed() -> None:
    report = Report("mine", "acceptable", tuple(verdicts("wrong", "exact")))
    assert str(report).splitlines() == ["mine: 1 of 2 cases passed", "ordinary/textbook: wrong"]


def test_a_report_is_a_value() -> None:
    report = Report("mine", "acceptable", tuple(verdicts("wrong", "exact")))
    copy = pickle.loads(pickle.dumps(report))
    assert repr(copy) == repr(report) == str(report)
    assert [(v.case.name, v.outcome) for v in copy.verdicts] == [
        (v.case.name, v.outcome) for v in report.verdicts
    ]
    long = Report("mine", "acceptable", tuple(verdicts(*["wrong"] * 20)))
    assert len(repr(long).splitlines()) == 10
    assert repr(long).endswith("and 12 more that did not pass")


# Exported cases.


def array(data: dict[str, Any]) -> NDArray[np.float64]:
    """An exported array, read as a reader in another language would."""
    numbers = [float.fromhex(text) for text in data["hex"]]
    decimals = [float(number) for number in data["decimal"]]
    np.testing.assert_array_equal(numbers, decimals)
    numbers = [numbers[i] for i in data["index"]] if "index" in data else numbers
    return np.array(numbers).reshape(data["shape"])


@pytest.mark.parametrize("family", FAMILIES)
def test_exported_cases_are_all_there(family: str) -> None:
    for case in FEW:
        if case.family == family:
            assert_exported_whole(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", MANY, ids=lambda case: case.name)
def test_exported_large_cases_are_all_there(case: Case) -> None:
    assert_exported_whole(case)


def assert_exported_whole(case: Case) -> None:
    (document,) = exported([case])
    read = json.loads(to_json(plain_value(document)), parse_constant=pytest.fail)
    inputs, reply = case.make(), right(case)
    np.testing.assert_array_equal(array(read["logits"]), inputs.logits.astype(np.float64))
    target = read["target"] if isinstance(read["target"], list) else array(read["target"])
    np.testing.assert_array_equal(target, inputs.target)
    np.testing.assert_array_equal(array(read["upstream"]), inputs.upstream)
    np.testing.assert_array_equal(array(read["loss"]), reply.loss)
    np.testing.assert_array_equal(array(read["grad"]), reply.grad)
    assert array(read["allowed"]["grad"]).shape == inputs.logits.shape
    assert read["name"] == case.name
    assert read["features"] == sorted(case.features)
    assert set(read["options"]) == set(inputs.options)


@pytest.mark.parametrize("family", ["ordinary", "ties", "masks", "weight", "z-loss"])
def test_what_exported_cases_allow_is_acceptable(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cecli.conformance.judge.MOST_DIAGNOSED", 0)  # what is wrong is known
    for case in FEW:
        if case.family == family:
            assert_allowed_is_acceptable(case)


def assert_allowed_is_acceptable(case: Case) -> None:
    (document,) = exported([case])
    if not np.isfinite(array(document["loss"])).all():
        return
    loss, grad = array(document["loss"]), array(document["grad"])
    allowed = array(document["allowed"]["grad"])
    verdict = judge(case, case.make(), Reply(loss, grad + 0.8 * allowed))
    assert verdict.passed()
    verdict = judge(case, case.make(), Reply(loss, grad + 1.5 * allowed + 1e-320))
    assert not verdict.passed()
