"""Baselines: which cases may fail, and of which suite they speak."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cecli.conformance.baseline import Baseline
from cecli.conformance.model import SUITE, Case, Verdict
from cecli.conformance.report import Report
from cecli.errors import CecliError
from support.cases import named


def failed(case: Case, reason: str = "no") -> Verdict:
    return Verdict(case, "failed", reason)


def test_a_file_reads_back(tmp_path: Path) -> None:
    file = tmp_path / "baseline.txt"
    baseline = Baseline(SUITE, {"ties/nearly": "a # in it", "masks/one": ""})
    file.write_text(baseline.text())
    assert baseline.text() == f"suite {SUITE}\nmasks/one\nties/nearly  # a # in it\n"
    assert Baseline.read(str(file)) == baseline


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("masks/one\nmasks/two\n", "line 2: there is no case 'masks/two'"),
        ("suite 99\n", "is of suite 99, where this is suite"),
        ("suite 0\n", "is of suite 0"),
        ("suite one\n", "line 1: there is no case 'suite one'"),
        ("\udcff", "it is no text"),
    ],
)
def test_what_names_no_case_is_told(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "baseline.txt"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CecliError, match=told):
        Baseline.read(str(file))


def test_an_update_leaves_what_was_not_run() -> None:
    old = Baseline(1, {"masks/one": "kept", "ties/nearly": "gone"})
    verdicts = [Verdict(named("ties/nearly"), "exact"), failed(named("shift/plus-100"))]
    new = old.updated(verdicts, "acceptable")
    assert new == Baseline(1, {"masks/one": "kept", "shift/plus-100": "no"})


def test_cases_of_a_later_suite_are_told_and_do_not_fail() -> None:
    """What a baseline says of its own suite stays as it was said."""
    old, new = named("masks/one"), replace(named("ties/nearly"), since=2)
    report = Report("f", "acceptable", (failed(new), Verdict(old, "exact")), Baseline(1))
    assert report.passed
    assert report.newer == (report.verdicts[0],)
    assert not Report("f", "acceptable", (failed(new), failed(old)), Baseline(1)).passed
    assert not replace(report, baseline=Baseline(SUITE)).passed
    assert not replace(report, baseline=None).passed
