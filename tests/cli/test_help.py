"""Help, versions, and what is said where a command or an argument is not what it should be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import cecli
from cecli.text.numbers import format_bytes
from support.in_process import complaint, run, shown
from support.process import Terminal

Z = np.array([[2.0, 1.0, 0.1], [0.5, -1.0, 3.0]])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("logits.npy", Z)
    np.save("labels.npy", np.array([0, 2]))
    np.save("mine.npy", np.zeros((2, 3)))
    return tmp_path


def test_help_of_the_program_and_of_a_command() -> None:
    assert shown("help") == shown("--help") == shown()
    assert shown("help", "grad").splitlines()[2:] == shown("grad", "--help").splitlines()[2:]
    assert "cecli grad [OPTIONS]" in shown("help", "grad")
    assert "Did you mean 'grad'?" in complaint("help", "gard")


def test_version() -> None:
    assert shown("-V") == shown("--version")
    assert shown("-V").splitlines()[0] == f"cecli {cecli.__version__}"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("2.0 1.0 0.1", ["2.0 is no command", "cecli softmax 2.0 1.0 0.1", "loss, grad"]),
        ("-1 2", ["-1 is no command"]),
        ("[1,2]", ["[1,2] is no command"]),
        ("logits.npy -t 0", ["logits.npy is no command", "cecli softmax logits.npy -t 0"]),
        ("softmx 1 2", ["No such command 'softmx'. Did you mean 'softmax'?"]),
        ("softmax 2.O 1", ["'2.O' is not a number"]),
        ("softmax 1/3 2/3", ["'1/3' is not a number; write it as a decimal number"]),
        ("loss 2 1 0 -t cat --labels cat dog bird", ["'dog' is not a number", "cat,dog"]),
        ("loss 2 1 0 -t cta --labels cat,dog,bird", ["'cta'", "did you mean 'cat'?"]),
        ("loss logits.npy labels.npy", ["the targets are -t labels.npy"]),
        ("compare logits.npy -t labels.npy mine.npy", ["--grad mine.npy"]),
        ("compare 1 2 -t 0", ["nothing to compare: give a gradient (--grad) or a loss (--loss)"]),
        ("loss logits.npy -t labls.npy", ["did you mean 'labels.npy'?"]),
        ("loss logits.npy -t 0,1,2", ["3 targets for 2 samples", "with the classes on axis 0"]),
        (
            "loss logits.npy -t 3,1",
            ["out of range: the 3 classes are 0 to 2; do they count from 1"],
        ),
        ("loss 2 1 -t 0,1", ["2 targets for one sample"]),
        ("loss 2 1 -t 0 --label-smoothing 2", ["--label-smoothing is 2: it must be between 0"]),
        ("loss 2 1 -t 0 --z-loss -1", ["--z-loss is -1: it must be 0 or more"]),
        (
            "loss logits.npy -t soft.npy",
            ["a class index is a whole number; -q takes probabilities"],
        ),
    ],
)
def test_what_would_be_right(arguments: str, words: list[str]) -> None:
    np.save("soft.npy", np.full((2, 3), 1 / 3))
    line = complaint(*arguments.split())
    for word in words:
        assert word in line


def test_an_option_of_a_document_is_called_as_it_stands_there() -> None:
    document = json.dumps({"logits": [1, 2], "target": 0, "objective": {"label_smoothing": 2}})
    assert "label_smoothing is 2: it must be" in complaint("loss", stdin=document)


# --- No rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("quiet", [["--quiet"], ["--top", "0"]])
@pytest.mark.parametrize("markdown", [[], ["--markdown"]])
def test_the_summary_alone(quiet: list[str], markdown: list[str]) -> None:
    for arguments in (
        ["loss", "2", "1", "0.1", "-t", "0"],
        ["softmax", "2", "1", "0.1"],
        ["loss", "logits.npy", "-t", "labels.npy"],
        ["grad", "logits.npy", "-t", "labels.npy"],
        ["softmax", "logits.npy"],
    ):
        whole = shown(*arguments, *markdown)
        text = shown(*arguments, *quiet, *markdown)
        assert text.strip() in whole
        assert "sample" not in text.partition("loss")[0]
        assert "more" not in text
        if arguments[0] != "softmax":
            assert "loss" in text
            assert len(text.splitlines()) < len(whole.splitlines())


def test_what_was_asked_for_is_shown_without_rows_too() -> None:
    text = shown("grad", "logits.npy", "-t", "labels.npy", "--quiet", "--check", "--worst", "1")
    assert "check passed: 6 of 6 components agree" in text
    assert "checked 6 of 6" in text
    assert "worst" in text
    assert "analytic" not in text
    outcome = run("compare", "logits.npy", "-t", "labels.npy", "--grad", "mine.npy", "--quiet")
    assert outcome.status == 1
    assert "gradient WRONG" in outcome.stdout
    assert "yours" not in outcome.stdout


# --- What was written -----------------------------------------------------------------------------


def test_a_terminal_is_told_what_was_written() -> None:
    terminal = Terminal(100)
    process = terminal.start("grad", "logits.npy", "-t", "labels.npy", "-o", "g.npy")
    assert "wrote g.npy, 176 bytes" in terminal.finish(process)
    assert run("grad", "logits.npy", "-t", "labels.npy", "-o", "g.npy").stderr == ""


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (48_000, "48 kB"),
        (480_000_000, "480 MB"),
        (9_940_000_000, "9.9 GB"),
        (10**12, "1000 GB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert format_bytes(size) == text
