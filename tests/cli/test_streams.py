"""What a stream can show: encodings other than UTF-8, and styles where they are wanted."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from support.each import each
from support.in_process import complaint, run, shown

pytestmark = pytest.mark.usefixtures("folder")
GRAD = ["grad", "2.0", "1.0", "0.1", "-t", "0"]
NAMED = json.dumps({"logits": [2, 1, "-Infinity"], "labels": ["é", "日本語", "|"], "target": 0})
ENCODINGS = pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])


@ENCODINGS
@pytest.mark.parametrize("check", [[], ["--check"]])
def test_tables_have_plain_stand_ins(encoding: str, check: list[str]) -> None:
    text = shown("grad", *check, stdin=NAMED, encoding=encoding)
    model = shown("grad", *check, stdin=NAMED)
    assert len(text.splitlines()) == len(model.splitlines())
    number = r"[0-9]+\.[0-9e-]+"
    for line, wanted in zip(text.splitlines(), model.splitlines(), strict=True):
        assert line.isprintable()
        assert re.findall(number, line) == re.findall(number, wanted)
        places = [match.start() for match in re.finditer(number, line)]
        assert places == [
            cell_len(wanted[: match.start()]) for match in re.finditer(number, wanted)
        ]
    assert "-inf" in text or "−inf" in text
    assert "> " in text or "▸ " in text


@ENCODINGS
def test_markdown_has_plain_stand_ins(encoding: str) -> None:
    text = shown("grad", "--markdown", stdin=NAMED, encoding=encoding)
    rows = [row for row in text.splitlines() if row.startswith("|")]
    assert len(rows) == 5
    assert len({len(re.split(r"(?<!\\)\|", row)) for row in rows}) == 1


@ENCODINGS
def test_json_is_escaped(encoding: str) -> None:
    text = shown("grad", "--json", stdin=NAMED, encoding=encoding)
    assert text.isascii()
    assert json.loads(text)["labels"] == ["é", "日本語", "|"]


def test_json_is_utf_8_where_that_can_be_printed() -> None:
    assert "日本語" in shown("grad", "--json", stdin=NAMED)


@ENCODINGS
def test_errors_have_plain_stand_ins(encoding: str) -> None:
    outcome = run("grad", "-t", "größe", stdin=NAMED, encoding=encoding)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert outcome.stderr[:-1].isprintable()


@ENCODINGS
def test_files_are_utf_8_everywhere(encoding: str) -> None:
    for name in ("out.json", "out.svg"):
        shown("grad", "-o", name, stdin=NAMED, encoding=encoding)
        assert "日本語" in Path(name).read_text(encoding="utf-8")


@each(
    "arguments",
    [
        [b"softmax", b"\xff"],
        [b"softmax", b"1", b"-\xff"],
        [b"softmax", b"\xff.npy"],
        [b"loss", b"1", b"2", b"-t", b"\xff"],
        [b"loss", b"1", b"2", b"-q", b"\xff"],
        [b"softmax", b"1", b"2", b"--labels", b"\xff,b"],
        [b"softmax", b"1", b"2", b"--\xff"],
        [b"softmax", b"1", b"2", b"-o", b"\xff.txt"],
        [b"softmax", b"1", b"2", b"--temperature", b"\xff"],
        [b"\xff"],
    ],
)
@each("encoding", ["utf-8", "ascii"])
def test_arguments_that_are_not_utf_8(arguments: list[bytes], encoding: str) -> None:
    complaint(*map(os.fsdecode, arguments), encoding=encoding)


def test_a_file_whose_name_is_not_utf_8() -> None:
    name = os.fsdecode(b"\xff.npy")
    shown("grad", "1", "1", "-t", "0", "-o", name)
    assert json.loads(shown("softmax", name, "--json"))["logits"] == [-0.5, 0.5]


@pytest.mark.parametrize(
    ("environment", "styled", "coloured"),
    [
        ({}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": ""}, False, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"COLUMNS": "20"}, False, False),
    ],
)
def test_styles_in_a_pipe(
    environment: dict[str, str], styled: bool, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = shown(*GRAD)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    text = shown(*GRAD)
    assert ("\x1b[" in text) == styled
    assert (re.search(r"\x1b\[[0-9;]*3[0-9]", text) is not None) == coloured
    if not styled:
        assert text == plain
