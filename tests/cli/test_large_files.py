"""Files that are larger than a block, or than memory: the same numbers as of arrays."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

import cecli
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem
from support.in_process import complaint, printed, run
from support.large import CLASSES, ROWS, saved, sparse

pytestmark = pytest.mark.usefixtures("folder")


# --- The same numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8", "i2"])
@pytest.mark.parametrize("command", ["softmax", "loss", "grad"])
def test_a_file_has_what_the_library_computes(dtype: str, command: str) -> None:
    logits, target = saved(dtype)
    arguments = [] if command == "softmax" else ["-t", "t.npy"]
    outcome = run(command, "z.npy", *arguments, "--json", "-o", "out.npy")
    assert outcome.status == 0, outcome.stderr
    result = cecli.cross_entropy(logits.astype(np.float64), target)
    wanted = {"softmax": result.softmax, "loss": result.losses, "grad": result.grad}[command]
    written = np.load("out.npy")
    own = dtype[-2:] if dtype[-2] == "f" else "f8"
    assert written.dtype == np.dtype(own)
    assert written.tobytes() == (wanted.astype(own) + np.array(0.0, own)).tobytes()
    if command != "softmax":
        document = json.loads(outcome.stdout)
        assert document["loss"] == result.loss
        predictions = logits.argmax(axis=1)
        assert document["accuracy"] == (predictions == target).mean()


def test_bfloat16_is_mapped_and_widened() -> None:
    random = np.random.default_rng(11)
    halves = random.integers(0x3F00, 0x4100, (ROWS, CLASSES)).astype(np.uint16)
    np.save("z.npy", halves.view("V2"))
    np.save("t.npy", np.zeros(ROWS, dtype=np.int32))
    logits = (halves.astype(np.uint32) << 16).view(np.float32)
    outcome = run("grad", "z.npy", "-t", "t.npy", "-o", "g.npy", "--json")
    result = cecli.cross_entropy(logits, np.zeros(ROWS, dtype=int))
    assert json.loads(outcome.stdout)["loss"] == result.loss
    assert np.load("g.npy").tobytes() == result.grad.tobytes()


@pytest.mark.parametrize(
    ("shape", "axis"), [((7, 10, 30, 40), 1), ((10, 30_000), 0), ((3, 4, 250, 10), -1)]
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_classes_on_any_axis(shape: tuple[int, ...], axis: int, suffix: str) -> None:
    random = np.random.default_rng(11)
    logits = random.normal(size=shape).astype(np.float32)
    target = random.integers(0, 10, np.delete(shape, axis))
    np.save("z.npy", np.asfortranarray(logits))
    np.save("t.npy", target)
    outcome = run("grad", "z.npy", "-t", "t.npy", "--axis", str(axis), "-o", f"g.{suffix}")
    assert outcome.status == 0, outcome.stderr
    grad = np.load(f"g.{suffix}")
    if suffix == "npz":
        grad = grad["grad"]
    wanted = cecli.cross_entropy(logits, target, axis=axis).grad
    assert grad.shape == shape
    assert grad.tobytes() == wanted.tobytes()


OPTIONS = [
    ["--weight", ",".join(map(str, np.linspace(0.1, 2.0, CLASSES)))],
    ["--label-smoothing", "0.1", "--z-loss", "1e-3"],
    ["--ignore-index", "3", "--temperature", "2"],
    ["--reduction", "sum", "--softcap", "5"],
    ["--reduction", "none"],
]


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_threads_do_not_show(options: list[str]) -> None:
    saved()
    arguments = ["grad", "z.npy", "-t", "t.npy", "--json", "--worst", "4", *options, "-o", "g.npy"]
    outcomes = []
    for jobs in ("1", "3"):
        outcome = run(*arguments, "--jobs", jobs)
        assert outcome.status == 0, outcome.stderr
        outcomes.append((outcome.stdout, Path("g.npy").read_bytes()))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    ("shape", "axis", "order"), [((6000, 256), 1, "F"), ((2, 256, 5000), 1, "C")]
)
def test_a_file_whose_rows_are_scattered_is_read_once(
    shape: tuple[int, ...], axis: int, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(11)
    logits = random.normal(size=shape).astype(np.float32)
    np.save("z.npy", np.array(logits, order=order))  # type: ignore[call-overload]
    np.save("t.npy", random.integers(0, 256, np.delete(shape, axis)))
    counts, preadv = [], os.preadv

    def counting(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        counts.append(preadv(descriptor, buffers, offset))
        return counts[-1]

    monkeypatch.setattr("os.preadv", counting)
    outcome = run("loss", "z.npy", "-t", "t.npy", "--axis", "1", "--jobs", "2", "--json")
    # a little more for the first rows, at which is looked before
    assert logits.nbytes <= sum(counts) < 1.2 * logits.nbytes
    expected = cecli.cross_entropy(logits, np.load("t.npy"), axis=axis).loss
    assert json.loads(outcome.stdout)["loss"] == expected


def test_a_table_of_many_samples_shows_the_first() -> None:
    logits, target = saved("f8")
    outcome = run("grad", "z.npy", "-t", "t.npy", "--top", "2", "--digits", "12")
    result = cecli.cross_entropy(logits, target)
    text = outcome.stdout.replace("\N{MINUS SIGN}", "-")
    for row, line in enumerate(text.splitlines()[2:4]):
        shown = [float(cell) for cell in line.split()[4:]]
        wanted = [result.losses[row], *result.grad[row].tolist()]
        assert shown == pytest.approx(wanted, rel=1e-6, abs=1e-12)
    assert "29,998 more samples" in text


@pytest.mark.slow
@pytest.mark.parametrize("command", ["softmax", "loss", "grad"])
def test_lines_of_many_samples(command: str) -> None:
    logits, target = saved("f8", 15_000)
    arguments = [] if command == "softmax" else ["-t", "t.npy"]
    outcome = run(command, "z.npy", *arguments, "--jsonl")
    result = cecli.cross_entropy(logits, target, reduction="none")
    lines = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert len(lines) == 15_000
    if command == "softmax":
        assert [line["softmax"] for line in lines] == result.softmax.tolist()
    else:
        assert [line["loss"] for line in lines] == result.losses.tolist()
        assert [line["target"] for line in lines] == target.tolist()
    if command == "grad":
        assert [line["grad"] for line in lines] == result.grad.tolist()


@pytest.mark.slow
def test_a_gradient_too_large_for_memory_is_checked_in_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cecli.gradcheck.differences.SECONDS", 0.5)
    logits, target = saved("f4", 400_000)
    outcome = run("grad", "z.npy", "-t", "t.npy", "--check", "--seed", "3", "--json")
    check = json.loads(outcome.stdout)["check"]
    assert check["passed"]
    assert (check["total"], check["seed"]) == (logits.size, 3)
    assert 1000 < check["checked"] < logits.size
    row, column = check["worst"]
    assert 0 <= row < 400_000
    assert 0 <= column < CLASSES
    logits[5, target[5]] = -np.inf
    np.save("z.npy", logits)
    line = complaint("grad", "z.npy", "-t", "t.npy", "--check")
    assert "the loss of sample 5 is infinite" in line


def test_the_output_may_be_the_input() -> None:
    logits, target = saved()
    Path("link.npy").symlink_to("z.npy")
    outcome = run("grad", "z.npy", "-t", "t.npy", "-o", "link.npy")
    assert outcome.status == 0, outcome.stderr
    assert np.load("z.npy").tobytes() == cecli.cross_entropy(logits, target).grad.tobytes()


def test_rows_beyond_every_32_bit_number() -> None:
    rows, classes = 10_000_000_000, 4
    sparse(rows, classes, np.float16)  # 80 GB
    logits = np.load("z.npy", mmap_mode="r+")
    logits[-2:] = [[1, 2, 3, 4], [4, 3, 2, np.nan]]
    logits.flush()
    given = np.load("z.npy", mmap_mode="r")
    problem = Problem.of(given, None, Objective())
    block = problem.block(rows - 3, rows - 1)
    assert block.logits.tolist() == [[0, 0, 0, 0], [1, 2, 3, 4]]
    with pytest.raises(cecli.CecliError, match=r"logit 3 of sample 9999999999 is NaN"):
        problem.block(rows - 1, rows)
    chosen = problem.only(np.array([0, rows - 2]))
    assert chosen.rows.tolist() == [[0, 0, 0, 0], [1, 2, 3, 4]]


@pytest.mark.slow  # every target is looked at
def test_a_sample_beyond_every_32_bit_number_is_explained() -> None:
    rows = 5_000_000_000
    sparse(rows, 2, np.float16)
    logits = np.load("z.npy", mmap_mode="r+")
    logits[-2:] = [[1, 2], [3, np.nan]]
    logits.flush()
    assert printed("explain", "z.npy", "-t", "t.npy", "--sample", str(rows - 2))["logits"] == [1, 2]
    line = complaint("explain", "z.npy", "-t", "t.npy", "--sample", str(rows - 1))
    assert f"logit 1 of sample {rows - 1} is NaN" in line


# --- What goes wrong ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("output", ["older.npy", "older.csv", "older.npz", "older.jsonl"])
def test_nothing_is_written_of_a_file_with_a_bad_row(folder: Path, output: str) -> None:
    logits, _ = saved("f4", 200_000)
    logits[123_456, 3] = np.nan
    np.save("z.npy", logits)
    Path(output).write_text("older")
    before = sorted(folder.iterdir())
    line = complaint("grad", "z.npy", "-t", "t.npy", "-o", output)
    assert "'z.npy': logit 3 of sample 123456 is NaN" in line
    assert Path(output).read_text() == "older"
    assert sorted(folder.iterdir()) == before
    assert "sample 123456 is NaN" in complaint("grad", "z.npy", "-t", "t.npy", "--jsonl")


def test_an_undefined_mean_is_told_at_once() -> None:
    sparse(10_000_000_000, 4, np.float16)
    Path("t.npy").unlink()
    np.lib.format.open_memmap("q.npy", "w+", np.float16, (10_000_000_000, 4))
    start = time.process_time()
    assert "soft target of sample 0 sums to 0" in complaint("loss", "z.npy", "-q", "q.npy")
    assert time.process_time() - start < 30.0
