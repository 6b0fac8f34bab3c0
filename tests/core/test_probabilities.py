"""Probabilities and their logarithms in place of logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cecli
from cecli.core.probabilities import From, are_probabilities, logits_from
from cecli.errors import CecliError
from cecli.input import collected
from support.in_process import complaint, printed, run, shown

SHARES = np.array([[0.25, 0.5, 0.25], [0.125, 0.875, 0.0]])
NOTE = "the rows look like probabilities"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("kind", ["probabilities", "log-probabilities"])
def test_the_softmax_is_what_was_given(axis: int, kind: From) -> None:
    with np.errstate(divide="ignore"):
        given = SHARES if kind == "probabilities" else np.log(SHARES)
    given = np.moveaxis(given, -1, axis)
    logits = np.asarray(logits_from(given, kind, axis), dtype=np.float64)
    np.testing.assert_allclose(np.exp(logits), np.moveaxis(SHARES, -1, axis), rtol=1e-15)


def test_in_the_library() -> None:
    target = np.array([1, 0])
    logits = np.log(SHARES[:, :2] / SHARES[:, :2].sum(axis=1, keepdims=True))
    shares = SHARES[:, :2] / SHARES[:, :2].sum(axis=1, keepdims=True)
    expected = cecli.cross_entropy(logits, target)
    for kind, given in (("probabilities", shares), ("log-probabilities", logits)):
        options: dict[str, Any] = {"from_": kind}
        found = cecli.cross_entropy(given, target, **options)
        assert (found.loss, found.grad.tolist()) == (expected.loss, expected.grad.tolist())
        assert cecli.softmax(given, **options) == pytest.approx(shares, rel=1e-15)
        assert pytest.approx(logits, rel=1e-15) == cecli.log_softmax(given.T, axis=0, **options).T
        assert cecli.check_gradient(given, target, found.grad, **options).passed
        assert cecli.compare(given, target, grad=found.grad, **options).passed
    odds: Any = "odds"
    with pytest.raises(CecliError, match="from_ is 'odds'"):
        cecli.softmax(logits, from_=odds)


def test_on_the_command_line() -> None:
    np.save("p.npy", SHARES.astype(np.float32))
    with np.errstate(divide="ignore"):
        np.save("log.npy", np.log(SHARES))
    for name, kind in (("p.npy", "probabilities"), ("log.npy", "log-probabilities")):
        document = printed("loss", name, "-t", "1,0", "--from", kind)
        assert document["losses"] == pytest.approx([np.log(2), np.log(8)], rel=1e-15)
        np.testing.assert_allclose(document["softmax"], SHARES, rtol=1e-15)
        assert document["logits"][1][2] == "-Infinity"
    assert "loss is infinite" in shown(
        "loss", "0.5", "0.5", "0", "-t", "2", "--from", "probabilities"
    )


def test_in_blocks_and_several_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collected, "NUMBERS_AT_ONCE", 7)
    monkeypatch.setattr(collected, "MOST_IN_MEMORY", 64)
    shares = np.random.default_rng(1).dirichlet(np.ones(4), (5, 3))
    moved = np.moveaxis(shares, -1, 1)
    np.save("p.npy", moved)
    np.save("p-0.npy", moved[:2])
    np.save("p-1.npy", moved[2:])
    target = json.dumps([[0, 1, 2]] * 5)
    for name in ("p.npy", "p-*.npy"):
        document = printed("loss", name, "-t", target, "--axis", "1", "--from", "probabilities")
        found = np.moveaxis(np.array(document["softmax"]), 1, -1)
        np.testing.assert_allclose(found, shares, rtol=1e-14)
    moved[4, :, 2] /= 2
    np.save("p-1.npy", moved[2:])
    text = complaint("softmax", "p-*.npy", "--axis", "1", "--from", "probabilities")
    assert "the probabilities of sample (2, 2) sum to 0.5: they must sum to 1" in text


def test_lines_that_are_answered_one_by_one() -> None:
    lines = '{"logits": [0.25, 0.75], "target": 0}\n{"logits": [0.5, 0.5], "target": 1}\n'
    answers = shown("loss", "--jsonl", "--from", "probabilities", stdin=lines).splitlines()
    losses = [json.loads(answer)["loss"] for answer in answers]
    assert losses == pytest.approx([np.log(4), np.log(2)], rel=1e-15)


@pytest.mark.parametrize(
    ("numbers", "kind", "words"),
    [
        ("[[0.5, 0.5], [0.5, 0.6]]", "probabilities", "of sample 1 sum to 1.1: they must"),
        ("[[0.5, 0.5], [-0.5, 1.5]]", "probabilities", "probability 0 of sample 1 is -0.5"),
        ("[1.5, -0.5]", "probabilities", "probability 0 is 1.5: it is from 0 to 1"),
        ("[1, -1]", "log-probabilities", "log-probability 0 is 1: its exponential is from 0 to 1"),
        ("[-1, -1]", "log-probabilities", "the probabilities sum to 0.735759"),
        ('["NaN", 1]', "probabilities", "logit 0 is NaN"),
        ("[0, 0]", "probabilities", "the probabilities sum to 0"),
    ],
)
def test_what_are_no_probabilities(numbers: str, kind: str, words: str) -> None:
    assert words in complaint("softmax", numbers, "--from", kind)


def test_an_unknown_kind() -> None:
    kind: object = "odds"
    with pytest.raises(CecliError, match="from_ is 'odds': it must be logits, probabilities or"):
        logits_from(SHARES, kind, -1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[0.25, 0.75], [0.5, 0.5005]], True),
        ([[0.25, 0.75], [0.5, 0.6]], False),
        ([[0.0, 1.0]], True),
        ([[1.0]], False),
        ([[-0.5, 1.5]], False),
        ([[np.nan, 1.0]], False),
    ],
)
def test_rows_that_look_like_probabilities(rows: list[list[float]], expected: bool) -> None:
    assert are_probabilities(np.array(rows)) == expected
    outcome = run("softmax", json.dumps(rows).replace("NaN", "1e3"))
    assert (NOTE in outcome.stderr) == expected
    assert "--from probabilities" in outcome.stderr or not expected


def test_no_note_where_it_is_said_what_they_are() -> None:
    assert run("softmax", "0.25", "0.75", "--from", "probabilities").stderr == ""
