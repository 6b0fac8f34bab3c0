"""Whatever is typed or read: done, or one line that says why not."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support.in_process import Outcome, complaint, printed, run, shown


@pytest.mark.parametrize(
    "stdin",
    [
        b"[" * 1_000_000,
        b"[" * 1_000_000 + b"]" * 1_000_000,
        b'{"logits":' * 200_000,
        b'{"logits": [1, 2], "labels": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"(" * 100_000,
        b"\xff" * 100_000,
        b"\x00" * 100_000,
        b"9" * 1_000_000,
        b"[" + b"9" * 1_000_000 + b"]",
        b"-" * 100_000,
        b'"' + b"\\u0000" * 10_000 + b'"',
        b"1 2\n" * 50_000 + b"x",
        b"1," * 100_000 + b",",
        b"\n" * 500_000,
        b"\x1b[2J\x1b]0;owned\x07",
    ],
    ids=range(15),
)
def test_hostile_standard_input(stdin: bytes) -> None:
    assert "standard input" in complaint("softmax", stdin=stdin)


def test_a_long_hostile_argument() -> None:
    complaint("softmax", "[" * 100_000)
    complaint("loss", "1", "2", "-t", "[" * 100_000)
    complaint("loss", "1", "2", "-t", "0", "--weight", "[" * 100_000)
    complaint("softmax", "1", "--labels", "[" * 100_000)
    for name in ("[" * 100_000, f"{'[' * 100_000}.py:f"):
        assert "'[[[" in complaint("verify", name)


def test_much_json_is_read() -> None:
    logits = np.random.default_rng(2).normal(size=300_000)
    document = printed("softmax", "--no-arrays", stdin=json.dumps(logits.tolist()))
    assert document["omitted"] == ["logits", "softmax", "log_softmax"]


@pytest.mark.parametrize(
    "arguments",
    [
        "grad 1e308 0 -t 0 --z-loss 1",
        "grad 0 7 -t 0 --weight 1e308,1e308 --reduction sum --temperature 0.1",
        "grad 1e308 -t 0 --temperature 0.5 --softcap 1e300 --reduction sum --check",
        "grad 1e308 0 0 0 -t 0 --z-loss 1 --top 2",
    ],
)
@pytest.mark.parametrize("form", ["", "--markdown", "-o x.csv", "-o x.svg"])
def test_infinities_in_tables(
    arguments: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = shown(*arguments.split(), *form.split())
    assert ("inf" in text) != ("--check" in arguments)
    assert "NaN" not in text


@pytest.mark.parametrize("columns", ["1" + "0" * 21, "0", "-3", "²", "wide", "9" * 10_000])
def test_an_absurd_width_is_ignored(
    columns: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", columns)
    usual = shown("grad", "1", "2", "-t", "0", "-o", "x.svg")
    assert "softmax" in usual
    picture = Path("x.svg").read_bytes()
    monkeypatch.delenv("COLUMNS", raising=False)
    assert shown("grad", "1", "2", "-t", "0", "-o", "x.svg") == usual
    assert len(picture) == len(Path("x.svg").read_bytes())
    assert shown("explain", "1", "2", "-t", "0")


def test_a_device_takes_every_kind_of_array(tmp_path: Path) -> None:
    device = tmp_path / "a.npz"
    device.symlink_to(os.devnull)
    assert shown("grad", "1", "2", "-t", "0", "-o", str(device))


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors", "pt", "parquet", "arrow"])
def test_a_pipe_that_nobody_writes_to_is_refused(suffix: str, tmp_path: Path) -> None:
    pipe = tmp_path / f"a.{suffix}"
    os.mkfifo(pipe)
    assert "not a regular file" in complaint("loss", str(pipe), "-t", "0")


def test_an_error_that_cannot_say_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    monkeypatch.setattr("cecli.cli.main.main.main", mock.Mock(side_effect=MuteError))
    outcome = run("softmax", "1")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert outcome.stderr.startswith("cecli: MuteError at ")


WORDS = [
    *("-t", "--target", "-q", "--labels", "--axis", "--temperature", "--softcap", "--weight"),
    *("--ignore-index", "--label-smoothing", "--reduction", "--z-loss", "--exact", "--check"),
    *("--step", "--seed", "--json", "--markdown", "--digits", "--top", "--arrays", "--no-arrays"),
    *("-h", "--", "-", "0", "1", "2", "-1", "1.5", "-inf", "inf", "nan", "1e308", "-1e308"),
    *("5e-324", "[1, 2]", "[[1, 2], [3, 4]]", "[[[1], [2]]]", "0,1", "1,2", "0.5,0.5", "a,b"),
    *("tensor([1., 2.])", "{}", '{"logits": [1, 2], "target": 0}', "mean", "none", "sum", ""),
]
# An argument holds no NUL; a byte that is not UTF-8 arrives as a lone surrogate.
CHARACTERS = st.one_of(
    st.characters(exclude_characters="\x00", exclude_categories=["Cs"]),
    st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"]),
    st.sampled_from("0123456789.,-+e[](){}:\"' \n"),
)
ARGUMENTS = st.lists(
    st.one_of(st.sampled_from(WORDS), st.text(CHARACTERS, max_size=12)), max_size=8
)
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=6),
        st.sampled_from(["Infinity", "-Infinity", "NaN", "mean", "sum"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.sampled_from(["logits", "target", "labels"]), st.text(max_size=4)),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)
NUMBERS = st.lists(st.floats(), max_size=4) | st.lists(
    st.lists(st.floats(), max_size=3), max_size=3
)
DOCUMENTS = st.fixed_dictionaries(
    {"logits": st.one_of(NUMBERS, JSON)},
    optional={
        "target": st.one_of(st.integers(-2, 4), st.lists(st.integers(-2, 4), max_size=3), JSON),
        "soft_target": st.one_of(NUMBERS, JSON),
        "labels": st.one_of(st.lists(st.text(max_size=3), max_size=4), JSON),
        "objective": st.one_of(
            JSON,
            st.fixed_dictionaries(
                {},
                optional={
                    "weight": st.lists(st.floats(), max_size=4),
                    "ignore_index": st.integers(-3, 3),
                    "label_smoothing": st.floats(0, 1),
                    "reduction": st.sampled_from(["mean", "sum", "none"]),
                    "temperature": st.floats(),
                    "softcap": st.floats(),
                    "z_loss": st.floats(),
                    "axis": st.integers(-3, 3),
                },
            ),
        ),
    },
)
COMMANDS = st.sampled_from(["softmax", "loss", "grad"])


@pytest.mark.parametrize(
    "options",
    [
        ["--z-loss", "1e-300", "--sample-weight", "5e-324"],
        ["--temperature", "5e-324", "--label-smoothing", "0.1"],
        ["--temperature", "1.7e308"],
        ["--softcap", "1.7e308", "--z-loss", "1e308"],
    ],
)
@pytest.mark.parametrize("judged", ["--loss=1.85", "--grad=1,2", "--grad=1e308,0"])
def test_a_mistake_that_leaves_the_doubles(options: list[str], judged: str) -> None:
    outcome = run("compare", "1.0", "1.85", "-t", "1", *options, judged)
    assert outcome.status == 1
    assert "defect" not in outcome.stderr


def assert_mannered(outcome: Outcome) -> None:
    """Done, or one line that says why not."""
    assert outcome.status in (0, 2), outcome
    if outcome.status == 0:
        assert outcome.stdout
        # nothing but notes of its own, as on rows that look like probabilities
        assert all(line.startswith("cecli ") for line in outcome.stderr.splitlines())
    else:
        assert outcome.stdout == ""
        assert outcome.stderr.startswith("cecli")
        assert outcome.stderr.endswith("\n")
        assert outcome.stderr[:-1].isprintable()


@given(COMMANDS, ARGUMENTS)
@example("softmax", ["1", "2", "--labels", "\udcff,b"])
@example("grad", ["[[1, 2], [3, 4]]", "-t", "0,1", "--axis", "2"])
@example("grad", ["1e308", "-1e308", "-t", "0", "--temperature", "5e-324", "--check"])
@example("grad", ["1", "2", "-t", "0", "--softcap", "5e-324", "--check"])
@example("grad", ["1", "2", "-t", "0", "--z-loss", "1e308", "--check"])
@example("grad", ["1", "2", "-t", "0", "--weight", "1e308,1e308", "--reduction", "sum"])
@pytest.mark.usefixtures("folder")
def test_any_arguments(command: str, arguments: list[str]) -> None:
    assert_mannered(run(command, *arguments))


@given(COMMANDS, st.text(), st.sampled_from([[], ["-t", "0"], ["--json"], ["--markdown"]]))
def test_any_text_on_standard_input(command: str, text: str, arguments: list[str]) -> None:
    assert_mannered(run(command, *arguments, stdin=text))


@given(COMMANDS, st.binary(max_size=40))
def test_any_bytes_on_standard_input(command: str, data: bytes) -> None:
    assert_mannered(run(command, "-t", "0", stdin=data))


@given(COMMANDS, st.one_of(JSON, DOCUMENTS), st.sampled_from([[], ["--json"], ["--exact"]]))
def test_any_json(command: str, value: object, arguments: list[str]) -> None:
    text = json.dumps(value)
    assert_mannered(run(command, *arguments, stdin=text))
    assert_mannered(run(command, *arguments, text))


@given(COMMANDS, DOCUMENTS, st.sampled_from([[], ["--check"], ["--check", "--json"]]))
def test_any_document(command: str, document: dict[str, object], check: list[str]) -> None:
    arguments = check if command == "grad" else []
    assert_mannered(run(command, *arguments, stdin=json.dumps(document)))


@given(
    st.sampled_from(["-t", "-q", "--labels", "--weight", "--axis", "--temperature", "--reduction"]),
    st.one_of(st.text(CHARACTERS), JSON.map(json.dumps)),
)
def test_any_value_of_an_option(option: str, value: str) -> None:
    assert_mannered(run("loss", "[[1, 2], [3, 4]]", "-t", "0,1", option, value))
