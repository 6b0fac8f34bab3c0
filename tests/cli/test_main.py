"""Exit statuses, help, and what the program is run in."""

from __future__ import annotations

import io
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from numpy.typing import NDArray

import cecli
from cecli.__main__ import main
from cecli.cli.main import main as group
from cecli.core import evaluate
from cecli.machine.plan import Plan, Results
from cecli.problem.problem import Block
from support.in_process import COMMANDS, complaint, printed, run, shown

pytestmark = pytest.mark.usefixtures("folder")


# --- Exit statuses, help --------------------------------------------------------------------------


@pytest.fixture
def wrong_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A core whose gradient is off by 1e-9 in the second class."""
    right = evaluate.evaluate

    def wrong(
        plan: Plan, block: Block, array: NDArray[Any] | None = None, **options: bool
    ) -> Results:
        results = right(plan, block, array, **options)
        if array is not None and plan.array == "grad":
            array[..., 1] += 1e-9
        return results

    monkeypatch.setattr(evaluate, "evaluate", wrong)


@pytest.mark.parametrize("view", [[], ["--json"], ["--markdown"]])
@pytest.mark.parametrize("check", [["--check"], ["--check-method", "decimal"], ["--step", "1e-25"]])
@pytest.mark.usefixtures("wrong_gradient")
def test_a_failed_check_is_status_1(view: list[str], check: list[str]) -> None:
    outcome = run("grad", "2", "1", "0.1", "-t", "0", *check, *view)
    assert outcome.status == 1
    assert outcome.stderr == ""
    if view == ["--json"]:
        found = json.loads(outcome.stdout)["check"]
        assert found["passed"] is False
        assert found["worst"] == [1]
        assert found["max_abs_error"] == pytest.approx(1e-9, rel=1e-3)
    elif not view:
        assert "CHECK FAILED: 2 of 3 components agree" in outcome.stdout
        stressed = [line for line in outcome.stdout.splitlines() if line.startswith("▸")]
        assert [line.split()[1] for line in stressed] == ["0", "1"]  # the target, then the culprit
    else:
        assert "CHECK FAILED" in outcome.stdout


@pytest.mark.usefixtures("wrong_gradient")
def test_a_failed_check_writes_its_file() -> None:
    assert run("grad", "2", "1", "-t", "0", "--check", "-o", "out.json").status == 1
    assert json.loads(Path("out.json").read_text())["check"]["passed"] is False


@pytest.mark.parametrize("method", ["decimal", "central", "forward"])
def test_a_passed_check(method: str) -> None:
    found = printed("grad", "2", "1", "0.1", "-t", "0", "--check-method", method)["check"]
    assert (found["passed"], found["method"]) == (True, method)
    assert (found["checked"], found["total"]) == (3, 3)
    assert "seed" not in found
    assert "check passed" in shown("grad", "2", "1", "0.1", "-t", "0", "--check-method", method)


def test_no_check_unless_asked() -> None:
    assert "check" not in printed("grad", "2", "1", "-t", "0")
    assert "check" in printed("grad", "2", "1", "-t", "0", "--step", "1e-21")


def test_a_step_is_stated() -> None:
    assert (
        printed("grad", "2", "1", "-t", "0", "--check", "--step", "1e-3")["check"]["step"] == 1e-3
    )
    assert "h = 0.001" in shown("grad", "2", "1", "-t", "0", "--check", "--step", "1e-3")


def test_a_large_check_is_sampled_and_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cecli.gradcheck.differences.SECONDS", 0.02)
    np.save("logits.npy", np.random.default_rng(5).normal(size=(40, 100)))
    arguments = ["grad", "logits.npy", "-t", ",".join(["0"] * 40), "--check"]
    found = printed(*arguments)["check"]
    assert found["passed"] is True
    assert 0 < found["checked"] < found["total"] == 4000
    assert found["seed"] == 0
    other = printed(*arguments, "--seed", "7")["check"]
    assert other["seed"] == 7
    assert other["checked"] == found["checked"]
    assert "a sample drawn with seed 7" in shown(*arguments, "--seed", "7")


def test_bare_program_shows_its_help() -> None:
    text = shown()
    assert text == shown("--help") == shown("-h")
    for name in COMMANDS:
        assert f"\n  {name} " in text


def test_version() -> None:
    assert shown("--version") == f"cecli {cecli.__version__}\n{cecli.arithmetic()}\n"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_of_a_command(name: str) -> None:
    text = shown(name, "-h")
    assert text == shown(name, "1", "2", "--help")
    assert "Examples:\n" in text
    context = click.Context(group, **group.context_settings)
    for parameter in COMMANDS[name].get_params(context):
        if isinstance(parameter, click.Option):
            assert all(option in text for option in parameter.opts)
    assert max(map(len, text.splitlines())) <= 80


# Those of verify need somebody's code: they are in test_verify.py.
@pytest.mark.parametrize("name", sorted({*COMMANDS} - {"verify"}))
def test_examples_of_the_help_work(name: str) -> None:
    np.save("logits.npy", np.array([[2.0, 1.0], [0.5, 3.0]]))
    np.save("labels.npy", np.array([0, 1]))
    np.save("mine.npy", cecli.cross_entropy([[2.0, 1.0], [0.5, 3.0]], [0, 1]).grad)
    examples = shown(name, "-h").partition("Examples:\n")[2].splitlines()
    assert len(examples) >= 3
    for example in examples:
        output = ""
        for part in example.split(" | "):
            program, *arguments = shlex.split(part)
            if program == "echo":
                output = " ".join(arguments)
            else:
                assert program == "cecli"
                output = shown(*arguments, stdin=output)
        assert output


# --- What the program is run in -------------------------------------------------------------------


def test_standard_output_may_be_text_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of no encoding, so that every character can be printed.
    arguments = ["cecli", "grad", "2", "1", "-t", "0", "--labels", "日本,b"]
    for view, sign in ([], "▸"), (["--json"], "日本"):
        printed_here = io.StringIO()
        monkeypatch.setattr(sys, "argv", [*arguments, *view])
        monkeypatch.setattr(sys, "stdout", printed_here)
        monkeypatch.setattr("signal.signal", lambda *_: None)
        monkeypatch.setattr("gc.set_threshold", lambda *_: None)
        monkeypatch.setattr("gc.freeze", lambda: None)
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
        assert sign in printed_here.getvalue()


@pytest.mark.parametrize(
    "error", [KeyError("x"), RecursionError("deep\n\nrooted"), AssertionError()]
)
def test_what_nobody_thought_of_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("cecli.input.problem_from.read_document", fails)
    line = complaint("softmax", "1", "2")
    assert line.startswith(f"cecli: {type(error).__name__} at test_main.py:")
    assert line.endswith("this is a defect of cecli; please report it with the command")
