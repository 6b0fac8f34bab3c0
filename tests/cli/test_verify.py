"""The command verify as it is typed: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cecli.conformance.api import FEATURES
from cecli.conformance.model import OUTCOMES
from cecli.conformance.suite.cases import all_cases
from support.documents import strict, validator
from support.in_process import Outcome, complaint, run, shown
from support.theirs import FEW, THEIRS


@pytest.fixture(autouse=True)
def _theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module of somebody's in the current directory."""
    path = list(sys.path)
    (tmp_path / "theirs.py").write_text(THEIRS)
    monkeypatch.chdir(tmp_path)
    yield
    sys.path[:] = path
    sys.modules.pop("theirs", None)


def verified(*arguments: str, status: int = 0) -> str:
    outcome = run("verify", *arguments)
    assert (outcome.status, outcome.stderr) == (status, "")
    return outcome.stdout


def document(*arguments: str, status: int = 0) -> dict[str, Any]:
    return strict(verified(*arguments, "--json", status=status))


# --- The tables -------------------------------------------------------------------------------


def test_an_implementation_that_is_right() -> None:
    text = verified("theirs:right", *FEW)
    assert [line.split() for line in text.splitlines()[2:4]] == [
        ["ordinary", "7/7", "2.0"],
        ["weight", "7/7", "3.0"],
    ] or "7/7" in text
    assert "theirs:right passed: 14 of 14 cases acceptable or better\n" in text
    assert "▸" not in text


def test_an_implementation_that_is_wrong() -> None:
    lines = verified("theirs:summed", *FEW, status=1).splitlines()
    assert lines[0].split() == ["family", "passed", "wrong", "unsupported", "worst,", "ulps"]
    assert lines[2].startswith("▸ ordinary  1/7     6 ")
    assert lines[3].split() == ["weight", "7"]
    assert lines[4] == ("theirs:summed FAILED: 1 of 7 cases acceptable or better, 7 not supported")
    assert lines[6] == "6 × not-averaged"
    assert lines[7] == "--verbose shows each case, and why it does not pass"
    assert re.match(r"suite 1 of cecli [\d.]+, python 3[\d.]+, numpy 2[\d.]+$", lines[8])
    assert len(lines) == 9


def test_verbose_shows_each_case_and_why_it_does_not_pass() -> None:
    text = verified("theirs:summed", *FEW, "--verbose", status=1)
    for case in all_cases():
        if case.family in ("ordinary", "weight"):
            assert f"{case.name} " in text
    assert "▸ ordinary/small-batch" in text
    assert "ordinary/small-batch: the mean divides by N, and not by N·C\n  loss wrong: " in text
    assert "  gradient wrong: " in text
    assert "  not-averaged: " in text
    assert "  not-averaged (loss): " in text
    assert "not supported: there is no parameter weight, in 7 cases" in text
    assert "--verbose" not in text


def test_strict_decides_what_passes() -> None:
    only = ("-k", "ordinary/textbook")
    assert "1 of 1 case accurate or better" in verified("theirs:right", *only, "--strict=accurate")
    text = verified("theirs:rough", *only, status=1)
    assert "1 inaccurate" in text
    one = verified("-v", "theirs:rough", *only, status=1)
    assert "9.0 digits are left" in one


def test_nothing_but_missing_features_is_no_success() -> None:
    text = verified("theirs:nothing", *FEW, status=1)
    assert "theirs:nothing FAILED: no case is supported\n14 not supported\nsuite" in text


def test_markdown_is_a_table_for_a_readme() -> None:
    lines = verified("theirs:summed", *FEW, "--markdown", status=1).splitlines()
    assert lines[0] == "| family | passed | wrong | unsupported | worst, ulps |"
    assert lines[1] == "| :-- | --: | --: | --: | --: |"
    assert lines[2].startswith("| **ordinary** | **1/7** | **6** |")
    assert "**theirs:summed FAILED" in lines[5]


# --- JSON -------------------------------------------------------------------------------------


def test_the_document_tells_everything() -> None:
    found = document("theirs:summed", *FEW, "--dtype", "float32", status=1)
    assert (found["command"], found["suite"], found["implementation"], found["kind"]) == (
        "verify",
        1,
        "theirs:summed",
        "python",
    )
    assert (found["strict"], found["passed"], found["dtype"]) == ("acceptable", False, "float32")
    assert {"cecli", "python", "numpy"} <= set(found["versions"])
    assert found["totals"]["counts"] == dict.fromkeys(OUTCOMES, 0) | {
        "exact": found["totals"]["counts"]["exact"],
        "accurate": found["totals"]["counts"]["accurate"],
        "wrong": 6,
        "not supported": 7,
    }
    assert [(family["family"], family["ran"]) for family in found["families"]] == [
        ("ordinary", 7),
        ("weight", 0),
    ]
    case = next(case for case in found["cases"] if case["name"] == "ordinary/small-batch")
    assert (case["outcome"], case["passed"]) == ("wrong", False)
    assert {mistake["id"] for mistake in case["diagnosis"]} == {"not-averaged"}
    assert {mistake["of"] for mistake in case["diagnosis"]} == {"grad", "loss"}
    assert case["judged"]["grad"]["precision"] == "float32"
    missing = next(case for case in found["cases"] if case["family"] == "weight")
    assert missing["fault"] == "there is no parameter weight"


# --- The cases --------------------------------------------------------------------------------


def test_list_names_every_case_with_its_reason() -> None:
    lines = shown("verify", "--list").splitlines()
    assert [line.split()[0] for line in lines] == [case.name for case in all_cases()]
    assert lines[0].endswith(all_cases()[0].reason)
    large = shown("verify", "--list", "--large").splitlines()
    assert len(large) > len(lines)


def test_list_as_json_and_markdown() -> None:
    found = strict(shown("verify", "--list", "--json", "-k", "masks"))
    cases = [case for case in all_cases() if case.family == "masks"]
    assert [case["name"] for case in found["cases"]] == [case.name for case in cases]
    assert found["cases"][0].keys() >= {"name", "family", "reason", "features"}
    text = shown("verify", "--list", "--markdown", "-k", "masks")
    assert text.count("\n") == len(cases) + 2


def test_the_features_are_those_of_the_cases() -> None:
    needed = set().union(*(case.features for case in all_cases(large=True)))
    assert needed == set(FEATURES)


def test_export_writes_a_line_for_each_case(tmp_path: Path) -> None:
    printed = shown("verify", "--export", "-", "-k", "masks", "-k", "ignored")
    assert shown("verify", "--export", "cases.jsonl", "-k", "masks", "-k", "ignored") == ""
    assert (tmp_path / "cases.jsonl").read_text() == printed
    cases = [case for case in all_cases() if case.family in ("masks", "ignored")]
    lines = [json.loads(line, parse_constant=pytest.fail) for line in printed.splitlines()]
    assert [line["name"] for line in lines] == [case.name for case in cases]
    infinite = [number for line in lines for number in line["logits"]["decimal"]]
    assert "-Infinity" in infinite


def test_the_schema_refuses_half_a_document() -> None:
    found = document("theirs:right", "-k", "ordinary/textbook")
    for key in ("cases", "totals", "families", "versions", "strict", "suite"):
        assert not validator().is_valid({name: found[name] for name in found if name != key})
    assert not validator().is_valid({**found, "command": "grad"})


# --- What is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to verify: give MODULE:FUNCTION, or -- and a program with its arguments"),
        (["--"], "nothing to verify"),
        (["theirs:wrong"], "there is no 'wrong'"),
        (["theirs:right", "theirs:summed"], "one function at a time"),
        (["theirs:right", "--", "true"], "MODULE:FUNCTION and a program exclude each other"),
        (["theirs:right", "--list"], "MODULE:FUNCTION and --list exclude each other"),
        (["--list", "--export", "x"], "--list and --export exclude each other"),
        (["theirs:right", "--torch", "--jax"], "--torch and --jax exclude each other"),
        (["theirs:right", "--json", "--markdown"], "--json and --markdown exclude each other"),
        (["--torch", "--", "true"], "--torch is for a function, which stands before --"),
        (["--device", "cpu", "--", "true"], "--device is for a function"),
        (["theirs:right", "--device", "cpu"], "a device is for PyTorch or JAX"),
        (["theirs:right", "-k", "nothing"], "no case matches 'nothing'; the families are"),
        (["theirs:right", "--features", "weights"], "there is no feature 'weights'"),
        (["theirs:right", "--strict", "exact"], "'--strict'"),
        (["theirs:right", "--timeout", "0"], "--timeout is 0: it must be greater than 0"),
        (["theirs:right", "--timeout", "nan"], "--timeout is nan: it must be greater than 0"),
        (["theirs:right", "--verbos"], "--verbose"),
        (["--", "./nothing"], "cannot start './nothing': No such file or directory"),
        (["--export", "no/such/place"], "cannot write no/such/place"),
    ],
)
def test_bad_usage_is_one_line(arguments: list[str], words: str) -> None:
    assert words in complaint("verify", *arguments)


def test_options_behind_the_dashes_are_the_programs() -> None:
    outcome = run("verify", "-k", "ordinary/textbook", "--", "echo", "--json", "-k", "x")
    assert isinstance(outcome, Outcome)
    assert outcome.status == 1
    assert "echo --json -k x FAILED" in outcome.stdout
    assert "it wrote" in outcome.stdout


def test_help_names_the_options_in_their_groups() -> None:
    text = shown("verify", "--help")
    for section in ("Implementation:", "Cases:", "Verdict:", "Output:", "Examples:"):
        assert section in text
    assert "cecli verify [OPTIONS] [MODULE:FUNCTION] [-- PROGRAM [ARGUMENT]...]" in text
