"""The command verify as it is typed: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from cecli.conformance.api import FEATURES
from cecli.conformance.model import OUTCOMES
from cecli.conformance.suite.cases import all_cases
from support.documents import strict, validator
from support.each import each
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
    assert lines[0].split() == ["family", "passed", "wrong", "largest", "error,", "ulps"]
    assert lines[2].startswith("▸ ordinary  1/7     6 ")
    assert lines[3] == ("theirs:summed FAILED: 1 of 7 cases acceptable or better, 7 not supported")
    assert lines[5] == "not supported as a whole: weight"
    assert lines[6] == "ordinary/two-classes: p − 1 and p are all there is"
    assert re.fullmatch(
        r"  loss wrong: [\d.]+, where it is [\d.]+; gradient wrong: [-−\d.]+ at \[\d, \d\], "
        r"where it is [-−\d.]+ \(not-averaged\)",
        lines[7],
    )
    assert len(lines) == 6 + 2 * 6 + 2
    assert lines[-2] == "--verbose shows all, and explains the mistakes"
    assert re.match(r"suite 3 of cecli [\d.]+, python 3[\d.]+, numpy 2[\d.]+$", lines[-1])


def test_no_more_failures_are_named_than_people_read() -> None:
    chosen = ("-k", "ordinary", "-k", "ties", "-k", "rows/?", "-k", "layout", "-k", "shift")
    text = verified("theirs:summed", *chosen, status=1)
    named = [line for line in text.splitlines() if line.startswith("  loss ")]
    assert len(named) == 20
    assert re.search(r"^… and \d+ cases more; of all that fail:\n\d+ × ", text, re.MULTILINE)


def test_a_large_error_that_passes_is_explained() -> None:
    text = verified("theirs:textbook", "-k", "saturation/20-ahead")
    assert "textbook formula keeps no more, as of ŷ − 1 where ŷ is nearly 1" in text
    assert "textbook formula" not in verified("theirs:right", "-k", "saturation/20-ahead")


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
    assert text.splitlines()[:4] == [
        "theirs:nothing FAILED: no case is supported",
        "14 not supported",
        "not supported: not yet, in 7 cases",
        "not supported: there is no parameter weight, in 7 cases",
    ]


def test_markdown_is_a_table_for_a_readme() -> None:
    lines = verified("theirs:summed", *FEW, "--markdown", status=1).splitlines()
    assert lines[0] == "| family | passed | wrong | largest error, ulps |"
    assert lines[1] == "| :-- | --: | --: | --: |"
    assert lines[2].startswith("| **ordinary** | **1/7** | **6** |")
    assert "**theirs:summed FAILED" in lines[4]


# --- Baselines, reports for others ------------------------------------------------------------


def test_a_baseline_is_written_and_lets_the_listed_cases_fail(tmp_path: Path) -> None:
    file = tmp_path / "may-fail.txt"
    options = (*FEW, "--baseline", "may-fail.txt")
    assert "cannot read the baseline 'may-fail.txt'" in complaint(
        "verify", "theirs:summed", *options
    )
    outcome = run("verify", "theirs:summed", *options, "--update-baseline")
    assert outcome.status == 0
    assert outcome.stderr == "cecli verify: may-fail.txt lists 6 cases: 6 are new, 0 are gone\n"
    lines = file.read_text().splitlines()
    assert lines[0] == "suite 3"
    assert lines[1:] == sorted(lines[1:])
    assert re.fullmatch(r"ordinary/each-class  # loss wrong: .*\(not-averaged\)", lines[1])
    text = verified("theirs:summed", *options)
    assert "theirs:summed passed: 1 of 7 cases acceptable or better, 6 may fail, 7 not" in text
    assert "wrong, in the baseline" in verified("theirs:summed", *options, "--verbose")


def test_what_the_baseline_does_not_list_fails(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("ordinary/square\n")
    text = verified("theirs:summed", *FEW, "--baseline", "some.txt", status=1)
    assert "ordinary/two-classes: " in text
    assert "ordinary/square" not in text
    found = document("theirs:summed", *FEW, "--baseline", "some.txt", status=1)
    known = {case["name"] for case in found["cases"] if case["known"]}
    assert (found["passed"], known) == (False, {"ordinary/square"})


def test_a_listed_case_that_passes_is_told(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("ordinary/square # once wrong\nmasks/one\n")
    options = ("theirs:right", *FEW, "--baseline", "old.txt")
    assert "passes, though the baseline lists it: ordinary/square" in verified(*options)
    outcome = run("verify", *options, "--update-baseline")
    assert outcome.stderr.endswith("lists 1 cases: 0 are new, 1 are gone\n")
    assert (tmp_path / "old.txt").read_text() == "suite 3\nmasks/one\n"


def test_junit_is_xml_with_a_test_for_each_case(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("ordinary/square\n")
    verified("theirs:summed", *FEW, "--baseline", "some.txt", "--junit", "r.xml", status=1)
    (suite,) = ET.parse(tmp_path / "r.xml").getroot()
    assert {name: suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "14",
        "failures": "5",
        "errors": "0",
        "skipped": "8",
    }
    tests = {f"{t.get('classname')}/{t.get('name')}": t for t in suite.iter("testcase")}
    assert len(tests) == 14
    failure = tests["ordinary/two-classes"].find("failure")
    assert failure is not None
    assert "not-averaged" in str(failure.get("message"))
    assert "p − 1 and p are all there is" in str(failure.text)
    skipped = tests["ordinary/square"].find("skipped")
    assert skipped is not None
    assert str(skipped.get("message")).startswith("in the baseline: loss wrong")
    assert list(tests["ordinary/textbook"]) == []


def test_junit_holds_whatever_a_function_says(tmp_path: Path) -> None:
    only = ("-k", "ordinary/textbook")
    verified("theirs:rude", *only, "--junit", "r.xml", status=1)
    (failure,) = ET.parse(tmp_path / "r.xml").getroot().iter("failure")
    assert "]]> & <b> “é”" in str(failure.get("message"))


def test_a_workflow_of_github_gets_annotations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    outcome = run("verify", "./theirs.py:summed", *FEW, "--json")
    assert strict(outcome.stdout)["passed"] is False
    lines = outcome.stderr.splitlines()
    assert len(lines) == 6
    assert lines[0].startswith(
        "::error file=./theirs.py,title=./theirs.py%3Asummed%3A ordinary/two-classes::"
        "p − 1 and p are all there is%0Aloss wrong: "
    )


def test_cases_are_left_out_by_name() -> None:
    names = [line.split()[0] for line in shown("verify", "--list", *FEW).splitlines()]
    options = (*FEW, "-k", "not weight", "--skip", "*/textbook")
    left = [line.split()[0] for line in shown("verify", "--list", *options).splitlines()]
    assert left == [name for name in names if name.startswith("ordinary/") and "textb" not in name]
    every = shown("verify", "--list", "-k", "not ordinary").splitlines()
    assert len(every) == len(all_cases()) - 7


# --- JSON -------------------------------------------------------------------------------------


def test_the_document_tells_everything() -> None:
    found = document("theirs:summed", *FEW, "--dtype", "float32", status=1)
    assert (found["command"], found["suite"], found["implementation"], found["kind"]) == (
        "verify",
        3,
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


@each(
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
        (["theirs:right", "--skip", "nothing"], "no case matches 'nothing'"),
        (["theirs:right", "-k", "masks", "--skip", "masks"], "no case is left"),
        (["--isolate", "--", "true"], "--isolate is for a function"),
        (["--isolate", "theirs:lost"], "there is no 'lost'"),
        (["theirs:right", "--update-baseline"], "--update-baseline writes the file of --baseline"),
        (["--list", "--junit", "x.xml"], "--junit is for an implementation that is run"),
        (
            ["theirs:right", "-k", "ordinary/textbook", "--junit", "no/such/place"],
            "cannot write no/such/place",
        ),
        (["--export", "no/such/place"], "cannot write no/such/place"),
    ],
)
def test_bad_usage_is_one_line(arguments: list[str], words: str) -> None:
    assert words in complaint("verify", *arguments)


def test_options_behind_the_dashes_are_the_programs() -> None:
    outcome = run("verify", "-k", "ordinary/textbook", "--", "echo", "--json", "-k", "x")
    assert isinstance(outcome, Outcome)
    assert outcome.status == 1
    # it may have ended before it is asked, or have written before
    assert "echo --json -k x FAILED" in outcome.stdout


def test_help_names_the_options_in_their_groups() -> None:
    text = shown("verify", "--help")
    for section in ("Implementation:", "Cases:", "Verdict:", "Output:", "Examples:"):
        assert section in text
    assert "cecli verify [OPTIONS] [MODULE:FUNCTION] [-- PROGRAM [ARGUMENT]...]" in text
