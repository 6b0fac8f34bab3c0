"""Whatever comes from outside and is printed commands no terminal."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.each import each
from support.in_process import run

# A colour, a bell, the C1 control that begins a command, a turned direction, a byte of no UTF-8.
EVIL = "\x1b[31mred\x07\x9b31m\u202etxet\udcff"
NAMED = EVIL.replace("\udcff", "")  # where it is to be UTF-8


def assert_harmless(*arguments: str, stdin: str | bytes = "") -> None:
    """Nothing printed but text."""
    outcome = run(*arguments, stdin=stdin)
    for stream in (outcome.stdout, outcome.stderr):
        assert all(line.isprintable() for line in stream.split("\n")), ascii(stream)
    assert outcome.status in (0, 1, 2)
    assert "defect of cecli" not in outcome.stderr


LOGITS = ("2", "1", "0.1")
TYPED = [
    (EVIL,),
    ("softmax", EVIL),
    ("softmax", f"--{EVIL}"),
    ("softmax", *LOGITS, "--labels", f"a,b,{EVIL}"),
    ("softmax", *LOGITS, "--labels", f"a,b,{EVIL}", "--json"),
    ("softmax", *LOGITS, "--labels", f"a,b,{EVIL}", "--markdown"),
    ("loss", *LOGITS, "--labels", f"a,b,{EVIL}", "-t", EVIL),
    ("explain", *LOGITS, "--labels", f"a,b,{EVIL}", "-t", EVIL),
    ("explain", *LOGITS, "--labels", f"a,b,{EVIL}", "-t", EVIL, "--latex"),
    ("explain", *LOGITS, "--labels", f"a,b,{EVIL}", "-t", EVIL, "--markdown"),
    ("compare", *LOGITS, "--labels", f"a,b,{EVIL}", "-t", EVIL, "--grad=1,1,1"),
    ("compare", *LOGITS, "-t", "0", "--grad", EVIL),
    ("compare", *LOGITS, "-t", "0", "--grad", f"{EVIL}.npy"),
    *(
        ("loss", *LOGITS, "-t", "0", option, EVIL)
        for option in (
            *("-t", "-q", "--labels", "--axis", "--temperature", "--softcap", "--weight"),
            *("--ignore-index", "--label-smoothing", "--reduction", "--z-loss", "--sample-weight"),
            *("--digits", "--top", "--jobs", "--divisor", "--from", "--worst"),
        )
    ),
    ("softmax", f"{EVIL}.npy"),
    ("softmax", f"{EVIL}/*.npy"),
    ("softmax", "one.npy", "--key", EVIL),
    ("softmax", "one.npy", f"--columns={EVIL}"),
    ("softmax", "one.npy", "-o", EVIL),
    ("softmax", "one.npy", "-o", f"{EVIL}/a.npy"),
    ("softmax", "one.npy", "-o", f"{EVIL}/*.npy"),
    ("loss", "one.npy", "-t", "target.npy", "--cluster", f"{EVIL}.json"),
    ("loss", "one.npy", "-t", "target.npy", "--cluster", f"tcp://{EVIL}"),
    ("verify", EVIL),
    ("verify", f"{EVIL}.py:f"),
    ("verify", f"json:{EVIL}"),
    ("verify", "-k", EVIL, "json:loads"),
    ("verify", "--baseline", EVIL, "json:loads"),
    ("verify", "--", EVIL),
]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("one.npy", [[1.0, 2.0]])
    np.save("target.npy", [0])


@each("arguments", TYPED)
def test_what_is_typed(arguments: tuple[str, ...]) -> None:
    assert_harmless(*arguments)


def safetensors(header: object) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(8)


F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
CONTENTS = {
    "names.safetensors": safetensors({NAMED: F32, "b": {**F32, "data_offsets": [4, 8]}}),
    "kind.safetensors": safetensors({"a": {**F32, "dtype": NAMED}}),
    "header.csv": f"{NAMED},b\n1,2\n".encode(),
    "family.csv": f"logit_0,logit_1,{NAMED}\n1,2,3\n".encode(),
    "cell.csv": f"1,2\n3,{NAMED}\n".encode(),
    "quoted.csv": f'1,2\n3,"{NAMED}\n'.encode(),
    "text.txt": f"1 2 {NAMED}".encode(),
    "labels.json": json.dumps({"logits": [1, 2], "labels": [NAMED, "b"]}).encode(),
    "target.json": json.dumps({"logits": [1, 2], "target": NAMED}).encode(),
    "key.json": json.dumps({"logits": [1, 2], NAMED: 3}).encode(),
    "objective.json": json.dumps({"logits": [1, 2], "objective": {NAMED: 1}}).encode(),
    "reduction.json": json.dumps({"logits": [1, 2], "reduction": NAMED}).encode(),
    "logits.json": json.dumps({"logits": [1, NAMED]}).encode(),
    "labels.jsonl": json.dumps({"logits": [1, 2], "labels": [NAMED, "b"]}).encode(),
    "header.npy": b"\x93NUMPY\x01\x00\x30\x00{'descr': '" + NAMED.encode() + b"'}",
}


@each("name", CONTENTS)
@each("command", [("softmax",), ("loss", "--json"), ("grad", "--jsonl")])
def test_what_is_read(name: str, command: tuple[str, ...]) -> None:
    Path(name).write_bytes(CONTENTS[name])
    assert_harmless(*command, name, *(() if command[0] == "softmax" else ("-t", "0")))


@pytest.mark.parametrize("form", ["table", "--json", "--markdown"])
def test_labels_that_are_read(form: str) -> None:
    Path("labels.json").write_bytes(CONTENTS["labels.json"])
    forms = () if form == "table" else (form,)
    assert_harmless("loss", "labels.json", "-t", "0", *forms)
    Path("header.csv").write_bytes(CONTENTS["header.csv"])
    assert_harmless("softmax", "header.csv", *forms)


def test_names_in_archives() -> None:
    arrays: dict[str, Any] = {NAMED: np.ones(2), "b": np.ones(2)}
    np.savez("two.npz", **arrays)
    assert_harmless("softmax", "two.npz")
    assert_harmless("softmax", "two.npz", "--key", EVIL)
    np.save(f"{NAMED}.npy", np.ones((2, 2)))
    assert_harmless("softmax", f"{NAMED}.npy", "-o", "nowhere/*.npy")
    assert_harmless("softmax", f"{NAMED[:4]}*.npy", "-o", "nowhere/*.npy")


def test_what_an_implementation_says() -> None:
    Path("mine.py").write_text(
        f"def f(logits, target):\n    raise ValueError({EVIL!r})\n"
        f"class E(Exception):\n    def __str__(self): return {EVIL!r}\n"
        f"def g(logits, target):\n    raise E\n",
        "utf-8",
    )
    for form in ("table", "--json", "--markdown", "-v"):
        forms = () if form == "table" else (form,)
        assert_harmless("verify", "./mine.py:f", "-k", "ordinary", *forms)
    assert_harmless("verify", "./mine.py:g", "-k", "ordinary")
    Path("broken.py").write_text(f"raise ImportError({EVIL!r})", "utf-8")
    assert_harmless("verify", "./broken.py:f")


def test_what_reads_back_is_what_was_there() -> None:
    printed = run("softmax", "1", "2", "--labels", f"a,{NAMED}", "--json").stdout
    assert json.loads(printed)["labels"] == ["a", NAMED]
