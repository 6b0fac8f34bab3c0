"""The JSON documents: strict, as the schema says, and the same numbers when read back."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import cecli
from cecli.answer.answer import Command, Shown, find_answer
from cecli.cli.main import main
from cecli.machine.plan import Plan, Results
from cecli.output.json_document import arrays_of, document_of, to_json
from cecli.problem.objective import Objective
from cecli.problem.problem import Block, Problem
from support.documents import strict, validator
from support.each import each
from support.pairs import covering

INF, NAN = float("inf"), float("nan")
ARRAYS = ("logits", "softmax", "log_softmax", "soft_target", "losses", "grad")
WORDS = {"Infinity": INF, "-Infinity": -INF, "NaN": NAN}


def printed(*arguments: str, stdin: str = "") -> dict[str, Any]:
    """The document that a command prints, alone on its line."""
    result = CliRunner().invoke(main, [*arguments, "--json"], input=stdin)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    assert result.stdout.endswith("}\n")
    return strict(result.stdout)


def numbers(value: Any) -> list[float]:
    """All numbers of nested lists, with the words read as numbers."""
    if isinstance(value, list):
        return [number for inner in value for number in numbers(inner)]
    return [WORDS[value] if isinstance(value, str) else float(value)]


def bits(values: list[float]) -> list[bytes]:
    return [b"NaN" if math.isnan(value) else struct.pack("<d", value) for value in values]


# --- Every output -------------------------------------------------------------------------------

SAMPLE = "[2, 1, 0.1]"
BATCH = "[[2, 1, 0.1], [-1, 0.3, 5], [0, -inf, 1e-300]]"
DEEP = "[[[2, 1], [3, 4]], [[0.5, 0.25], [-1, -inf]]]"
PROBLEMS = {
    "sample": (SAMPLE, ["-t", "0"]),
    "soft sample": (SAMPLE, ["-q", "0.5,0.25,0.25"]),
    "one class": ("[5]", ["-t", "0"]),
    "masked": ("[1, -inf]", ["-t", "0"]),
    "infinite": ("[1, -inf]", ["-t", "1"]),
    "infinite soft": ("[[1, -inf], [1, 2]]", ["-q", "[[0.5, 0.5], [1, 0]]"]),
    "batch": (BATCH, ["-t", "0,1,2"]),
    "batch of one": (f"[{SAMPLE}]", ["-t", "0"]),
    "soft batch": (BATCH, ["-q", "[[1, 0, 0], [0.5, 0.25, 0.25], [0.5, 0, 0.5]]"]),
    "3-d": (DEEP, ["-t", "0,1,0,0"]),
    "4-d": (f"[{DEEP}]", ["-t", "0,1,0,0"]),
    "ignored": (BATCH, ["-t", "0,9,2", "--ignore-index", "9"]),
    "all ignored": (BATCH, ["-t", "9,9,9", "--ignore-index", "9", "--reduction", "sum"]),
    "none weighs": (BATCH, ["-t", "0,1,1", "--sample-weight", "0,0,0", "--reduction", "none"]),
    "ignored sample": (SAMPLE, ["-t", "9", "--ignore-index", "9", "--reduction", "none"]),
    "broken and ignored": (
        "[[1, 2], [NaN, Infinity]]",
        ["-t", "0,-100", "--ignore-index", "-100"],
    ),
    "huge": ("[1e308, -1e308]", ["-t", "1"]),
}
OPTIONS = {
    "plain": [],
    "sum": ["--reduction", "sum"],
    "none": ["--reduction", "none"],
    "z-loss": ["--z-loss", "0.5"],
    "scaled": ["--temperature", "0.5", "--softcap", "3"],
    "smoothed": ["--label-smoothing", "0.1"],
    "exact": ["--exact"],
    "no arrays": ["--no-arrays"],
    "arrays": ["--arrays"],
}


@each(("named", "problem", "command"), covering(list(OPTIONS), list(PROBLEMS), ["loss", "grad"]))
def test_documents_follow_the_schema(named: str, problem: str, command: str) -> None:
    options, (logits, target) = OPTIONS[named], PROBLEMS[problem]
    document = printed(command, logits, *target, *options)
    assert document["command"] == command
    assert document["schema"] == 1
    omitted = document.get("omitted", [])
    assert bool(omitted) == ("--no-arrays" in options)
    assert ("grad" in document or "grad" in omitted) == (command == "grad")
    assert ("exact" in document) == ("--exact" in options)
    for name in set(ARRAYS) & set(document):
        if name != "losses":
            assert np.shape(document[name]) == np.shape(document["logits"])


@each("options", [[], ["--exact"], ["--no-arrays"], ["--temperature", "2"]])
@each("logits", [SAMPLE, BATCH, DEEP, "[5]", "[-inf, 0]", "[1e308, -1e308]"])
def test_softmax_follows_the_schema(logits: str, options: list[str]) -> None:
    document = printed("softmax", logits, *options)
    assert document["command"] == "softmax"
    assert not {"loss", "target", "grad", "samples"} & set(document)


@each("method", ["decimal", "central", "forward"])
@each(("logits", "target"), PROBLEMS.values())
def test_checks_follow_the_schema(logits: str, target: list[str], method: str) -> None:
    result = CliRunner().invoke(main, ["grad", logits, *target, "--check-method", method, "--json"])
    if result.exit_code == 2:
        assert "infinite" in result.stderr
        return
    check = strict(result.stdout)["check"]
    assert check["passed"] == (result.exit_code == 0)
    assert check["method"] == method
    assert check["checked"] == check["total"] == len(numbers(json.loads(result.stdout)["logits"]))


def test_a_failed_check_with_nan_follows_the_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    from cecli.core import evaluate

    right = evaluate.evaluate

    def not_finite(
        plan: Plan, block: Block, array: NDArray[Any] | None = None, **options: bool
    ) -> Results:
        results = right(plan, block, array, **options)
        if array is not None:
            array[...] = [NAN, INF, 0.0]
        return results

    monkeypatch.setattr(evaluate, "evaluate", not_finite)
    result = CliRunner().invoke(main, ["grad", SAMPLE, "-t", "0", "--check", "--json"])
    assert strict(result.stdout)["check"]["passed"] is False


def test_an_empty_batch_follows_the_schema(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", np.zeros((0, 3)))
    np.save(tmp_path / "t.npy", np.zeros(0, dtype=np.int64))
    logits, target = str(tmp_path / "z.npy"), str(tmp_path / "t.npy")
    assert printed("softmax", logits)["softmax"] == []
    document = printed("grad", logits, "-t", target, "--reduction", "sum")
    assert (document["loss"], document["samples"], document["grad"]) == (0.0, 0, [])
    assert printed("loss", logits, "-t", target, "--reduction", "none")["loss"] == []


def test_a_sampled_check_follows_the_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cecli.gradcheck.differences.SECONDS", 0.01)
    np.save(tmp_path / "z.npy", np.random.default_rng(3).normal(size=(30, 50)))
    target = ",".join(["1"] * 30)
    document = printed("grad", str(tmp_path / "z.npy"), "-t", target, "--check", "--seed", "4")
    assert document["check"]["seed"] == 4
    assert len(document["check"]["worst"]) == 2


# --- Keys ---------------------------------------------------------------------------------------


def test_keys_of_a_sample() -> None:
    base = ["schema", "command", "logits", "softmax", "log_softmax", "log_sum_exp"]
    assert sorted(printed("softmax", SAMPLE)) == sorted(base)
    assert sorted(printed("loss", SAMPLE, "-t", "0")) == sorted([*base, "target", "loss"])
    assert sorted(printed("grad", SAMPLE, "-q", "1,0,0")) == sorted(
        [*base, "soft_target", "loss", "kl", "grad"]
    )


def test_keys_of_a_batch() -> None:
    wanted = {
        *("schema", "command", "logits", "target", "softmax", "log_softmax", "loss", "losses"),
        "log_sum_exp",
        *("reduction", "divisor", "samples", "classes", "perplexity", "bits", "accuracy"),
    }
    assert set(printed("loss", BATCH, "-t", "0,1,2")) == wanted
    soft = "[[1, 0, 0], [0.5, 0.25, 0.25], [0.5, 0, 0.5]]"
    assert set(printed("grad", BATCH, "-q", soft)) == wanted - {"target", "accuracy"} | {
        "soft_target",
        "kl",
        "grad",
    }
    assert set(printed("loss", BATCH, "-t", "0,1,2", "--z-loss", "1")) == wanted | {
        "objective",
        "z_loss_divisor",
    }


def test_a_weighted_sample_states_its_divisor() -> None:
    document = printed("loss", SAMPLE, "-t", "1", "--weight", "1,2,3")
    assert (document["reduction"], document["divisor"]) == ("mean", 2.0)
    assert not {"losses", "samples"} & set(document)


def test_the_summary_of_a_batch() -> None:
    document = printed("loss", "[[2, 1], [0, 3], [5, 0]]", "-t", "0,1,1")
    assert (document["samples"], document["classes"]) == (3, 2)
    assert document["accuracy"] == pytest.approx(2 / 3)
    assert document["perplexity"] == pytest.approx(math.exp(document["loss"]))
    assert document["divisor"] == 3.0


def test_reduction_none() -> None:
    document = printed("grad", "[[2, 1], [0, 3]]", "-t", "0,1", "--reduction", "none")
    assert document["loss"] == document["losses"]
    assert document["divisor"] is None
    summed = printed("grad", "[[2, 1], [0, 3]]", "-t", "0,1", "--reduction", "sum")
    assert document["grad"] == summed["grad"]


# --- The objective ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "objective"),
    [
        ([], None),
        (["--weight", "1,2,3"], {"weight": [1.0, 2.0, 3.0]}),
        (["--ignore-index", "-100"], {"ignore_index": -100}),
        (["--ignore-index", "0"], {"ignore_index": 0}),
        (["--label-smoothing", "0.1"], {"label_smoothing": 0.1}),
        (["--label-smoothing", "0"], None),
        (["--reduction", "sum"], {"reduction": "sum"}),
        (["--reduction", "mean"], None),
        (["--temperature", "2"], {"temperature": 2.0}),
        (["--temperature", "1"], None),
        (["--temperature", "1.0000000000000002"], {"temperature": 1.0000000000000002}),
        (["--softcap", "30"], {"softcap": 30.0}),
        (["--z-loss", "1e-4"], {"z_loss": 1e-4}),
        (["--z-loss", "0.0"], None),
        (["--z-loss", "5e-324"], {"z_loss": 5e-324}),
        (["--axis", "0"], {"axis": 0}),
        (["--axis", "-2"], {"axis": -2}),
        (["--axis", "-1"], None),
    ],
)
def test_the_objective_holds_what_is_not_at_its_default(
    options: list[str], objective: dict[str, Any] | None
) -> None:
    square = "[[2, 1, 0.1], [-1, 0.3, 5], [0, 2, 1e-300]]"
    document = printed(
        "loss", square, "-t", "0,1,2" if "0" not in options[1:2] else "1,1,2", *options
    )
    assert document.get("objective") == objective
    # Read back, it says the same, at the same place.
    assert printed("loss", stdin=json.dumps(document)) == document


def test_a_document_may_state_defaults() -> None:
    objective = {"temperature": 1, "axis": -1, "softcap": None, "weight": None, "z_loss": 0}
    document = printed("softmax", stdin=json.dumps({"logits": [1, 2], "objective": objective}))
    assert "objective" not in document


# --- Numbers ------------------------------------------------------------------------------------

FINITE = st.floats(allow_nan=False, allow_infinity=False)
LOGITS = st.lists(st.one_of(FINITE, st.just(-INF)), min_size=1, max_size=6).filter(
    lambda row: max(row) > -INF
)


@given(LOGITS, st.sampled_from(["softmax", "grad"]), st.data())
def test_numbers_round_trip_bit_for_bit(row: list[float], command: Command, data: Any) -> None:
    target = None if command == "softmax" else data.draw(st.integers(0, len(row) - 1))
    shown = Shown(arrays_of(command))
    problem = Problem.of(row, target, Objective())
    answer = find_answer(command, problem, None, exact=False, shown=shown)
    document = strict(to_json(document_of(answer)))
    wanted: dict[str, Any] = {"logits": row, "loss": answer.loss}
    wanted |= {name: answer.arrays[name] for name in arrays_of(command) - {"losses"}}
    if command == "softmax":
        del wanted["loss"]
    for name, values in wanted.items():
        assert bits(numbers(document[name])) == bits(np.ravel(np.asarray(values)).tolist())


@given(LOGITS, st.integers(0, 5))
def test_a_document_reads_back_as_itself(row: list[float], target: int) -> None:
    logits = json.dumps([repr(z) if z == -INF else z for z in row])
    document = printed("grad", logits, "-t", str(target % len(row)))
    assert printed("grad", stdin=json.dumps(document)) == document


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_short_numbers_are_whole_doubles(tmp_path: Path, dtype: str) -> None:
    """A float32 is printed as the double that it is, and reads back to it."""
    logits = np.array([0.1, -3.3, 7.7], dtype=dtype)
    np.save(tmp_path / "z.npy", logits)
    document = printed("grad", str(tmp_path / "z.npy"), "-t", "0")
    assert bits(document["logits"]) == bits(logits.astype(np.float64).tolist())
    wanted = cecli.cross_entropy(logits, 0)
    assert wanted.grad.dtype == np.float32
    assert bits(document["grad"]) == bits(wanted.grad.astype(np.float64).tolist())


def test_integers_stay_integers(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", np.array([2**62 + 1024, -5]))
    assert printed("softmax", str(tmp_path / "z.npy"))["logits"] == [2**62 + 1024, -5]


@pytest.mark.parametrize("text", ["é", "日本語", "\u2028", '"\\', "\x1b[31m", "\U0001f600", "\x7f"])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_labels_survive(text: str, ascii_only: bool) -> None:
    problem = Problem.of([1.0, 2.0], None, Objective())
    shown = Shown(arrays_of("softmax"))
    answer = find_answer("softmax", problem, (text, "b"), exact=False, shown=shown)
    line = to_json(document_of(answer), ascii_only=ascii_only)
    assert strict(line)["labels"] == [text, "b"]
    assert line.isascii() or not ascii_only
    assert "\n" not in line


# --- The schema itself --------------------------------------------------------------------------


@each(
    "change",
    [
        {"schema": 2},
        {"command": "derive"},
        {"logits": None},
        {"logits": [1, "inf"]},
        {"softmax": "x"},
        {"loss": None},
        {"loss": [1.0]},
        {"target": 0.5},
        {"target": [0]},
        {"soft_target": [1.0, 0.0, 0.0]},
        {"labels": ["a", 1]},
        {"labels": ["a", "a"]},
        {"exact": False},
        {"objective": {}},
        {"objective": {"temperature": 0}},
        {"objective": {"reduction": "avg"}},
        {"grad": [[1.0]]},
        {"check": {"passed": True}},
        {"samples": 1},
        {"divisor": 2.0},
        {"accuracy": 0.5},
    ],
)
def test_the_schema_refuses(change: dict[str, Any]) -> None:
    document = printed("grad", SAMPLE, "-t", "0")
    assert validator().is_valid(document)
    assert not validator().is_valid(document | change)


@pytest.mark.parametrize(
    "key", ["schema", "command", "logits", "softmax", "loss", "grad", "target"]
)
def test_the_schema_requires(key: str) -> None:
    document = printed("grad", SAMPLE, "-t", "0")
    del document[key]
    assert not validator().is_valid(document)


@pytest.mark.parametrize("key", ["losses", "divisor", "reduction", "samples", "accuracy"])
def test_the_schema_requires_of_a_batch(key: str) -> None:
    document = printed("grad", BATCH, "-t", "0,1,2")
    del document[key]
    assert not validator().is_valid(document)


def test_keys_may_be_added() -> None:
    assert validator().is_valid(printed("softmax", SAMPLE) | {"from the future": 1})
