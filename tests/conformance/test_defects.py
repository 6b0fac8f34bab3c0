"""Planted defects, each of which the suite must find in the family that is about it."""

from __future__ import annotations

import pytest

from cecli.conformance.model import Case
from cecli.conformance.run import verify
from cecli.conformance.suite.cases import select
from support.cases import CASES, FEW
from support.implementations import DEFECTS, Defect, Textbook


def test_there_are_plenty() -> None:
    assert len(DEFECTS) >= 20
    assert len({defect.implementation.name for defect in DEFECTS}) == len(DEFECTS)


@pytest.mark.parametrize(
    "cases",
    [pytest.param(FEW, id="small"), pytest.param(CASES, id="all", marks=pytest.mark.slow)],
)
def test_what_has_no_defect_passes_everything(cases: list[Case]) -> None:
    verdicts = list(verify(Textbook(), cases))
    assert [(v.case.name, v.outcome, v.reason) for v in verdicts if not v.passed()] == []
    assert all(verdict.outcome != "not supported" for verdict in verdicts)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.implementation.name)
def test_it_is_found_in_its_family(defect: Defect) -> None:
    told: set[str] = set()
    failed = False
    for verdict in verify(defect.implementation(), select(CASES, [defect.family])):
        failed = failed or not verdict.passed(defect.strict)  # type: ignore[arg-type]
        told |= {found.id for found in verdict.diagnosis}
        if failed and (defect.diagnosis is None or defect.diagnosis in told):
            return
    pytest.fail(f"failed: {failed}, diagnosed: {told}")


@pytest.mark.parametrize(
    "defect", [d for d in DEFECTS if d.elsewhere], ids=lambda defect: defect.implementation.name
)
def test_and_not_where_it_makes_no_difference(defect: Defect) -> None:
    cases = select(CASES, [str(defect.elsewhere)])
    assert all(verdict.passed() for verdict in verify(defect.implementation(), cases))


def test_every_family_finds_one() -> None:
    without = {"saturation", "ordinary", "large"}  # the first two are listed, the last is asked for
    assert {case.family for case in CASES} - {defect.family for defect in DEFECTS} <= without
