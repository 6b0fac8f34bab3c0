"""Files that are larger than a block, or than memory: the same numbers, in little memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import cecli
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem
from support.process import ENVIRONMENT, LIMIT, PROGRAM, Terminal, assert_complains, run

pytestmark = pytest.mark.usefixtures("folder")
ROWS, CLASSES = 30_000, 12
MEBIBYTE = 2**20


def saved(dtype: str = "f4", rows: int = ROWS) -> tuple[NDArray[Any], NDArray[Any]]:
    """Logits and targets of several blocks, in z.npy and t.npy."""
    random = np.random.default_rng(11)
    logits = (random.normal(size=(rows, CLASSES)) * 4).astype(dtype)
    target = random.integers(0, CLASSES, rows)
    np.save("z.npy", logits)
    np.save("t.npy", target)
    return logits, target


def sparse(rows: int, classes: int, dtype: type[np.generic] = np.float32) -> None:
    """Logits that are all zero and take no room on the disk, and targets, in z.npy and t.npy."""
    np.lib.format.open_memmap("z.npy", "w+", dtype, (rows, classes))
    np.lib.format.open_memmap("t.npy", "w+", np.int8, (rows,))


# --- The same numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8", "i2"])
@pytest.mark.parametrize("command", ["softmax", "loss", "grad"])
def test_a_file_has_what_the_library_computes(dtype: str, command: str) -> None:
    logits, target = saved(dtype)
    arguments = [] if command == "softmax" else ["-t", "t.npy"]
    outcome = run(command, "z.npy", *arguments, "--json", "-o", "out.npy")
    assert outcome.returncode == 0, outcome.stderr
    result = cecli.cross_entropy(logits.astype(np.float64), target)
    wanted = {"softmax": result.softmax, "loss": result.losses, "grad": result.grad}[command]
    written = np.load("out.npy")
    own = dtype[-2:] if dtype[-2] == "f" else "f8"
    assert written.dtype == np.dtype(own)
    assert written.tobytes() == (wanted.astype(own) + np.array(0.0, own)).tobytes()
    document = json.loads(outcome.stdout)
    if command != "softmax":
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
    ("shape", "axis"), [((7, 10, 30, 40), 1), ((10, 30_000), 0), ((3, 4, 2500, 10), -1)]
)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_classes_on_any_axis(shape: tuple[int, ...], axis: int, suffix: str) -> None:
    random = np.random.default_rng(11)
    logits = random.normal(size=shape).astype(np.float32)
    target = random.integers(0, 10, np.delete(shape, axis))
    np.save("z.npy", np.asfortranarray(logits))
    np.save("t.npy", target)
    outcome = run("grad", "z.npy", "-t", "t.npy", "--axis", str(axis), "-o", f"g.{suffix}")
    assert outcome.returncode == 0, outcome.stderr
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
        assert outcome.returncode == 0, outcome.stderr
        outcomes.append((outcome.stdout, Path("g.npy").read_bytes()))
    assert outcomes[0] == outcomes[1]


def test_a_table_of_many_samples_shows_the_first() -> None:
    logits, target = saved("f8")
    outcome = run("grad", "z.npy", "-t", "t.npy", "--top", "2", "--digits", "12")
    result = cecli.cross_entropy(logits, target)
    text = outcome.stdout.decode().replace("\N{MINUS SIGN}", "-")
    for row, line in enumerate(text.splitlines()[2:4]):
        shown = [float(cell) for cell in line.split()[4:]]
        wanted = [result.losses[row], *result.grad[row].tolist()]
        assert shown == pytest.approx(wanted, rel=1e-6, abs=1e-12)
    assert "29,998 more samples" in text


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


def test_a_gradient_too_large_for_memory_is_checked_in_part() -> None:
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
    outcome = run("grad", "z.npy", "-t", "t.npy", "--check")
    assert_complains(outcome, "the loss of sample 5 is infinite")


# --- In little memory ---------------------------------------------------------------------------


def anonymous_memory(*arguments: str) -> int:
    """The most that the program had in memory beside what is in files, in bytes."""
    status = Path("status")
    with subprocess.Popen(
        [*PROGRAM, *arguments], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        status = Path(f"/proc/{process.pid}/status")
        most = 0
        while process.poll() is None:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if line)
            most = max(most, int(fields.get("RssAnon", "0 kB").split()[0]))
            time.sleep(0.005)
        assert process.stderr is not None
        assert process.returncode == 0, process.stderr.read()
    return most * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    "arguments",
    [
        ["loss", "z.npy", "-t", "t.npy"],
        ["loss", "z.npy", "-t", "t.npy", "-o", "losses.npy", "--worst", "99", "--top", "99"],
        ["grad", "z.npy", "-t", "t.npy", "-o", "grad.npy"],
        ["softmax", "z.npy", "-o", "softmax.npz"],
        ["grad", "z.npy", "-t", "t.npy", "--dtype", "float64", "-o", "/dev/null"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("shape", [(8_000_000, 8), (640, 100_000)], ids=str)
def test_memory_is_bounded(arguments: list[str], shape: tuple[int, int]) -> None:
    sparse(*shape)  # a quarter of a gigabyte
    assert anonymous_memory(*arguments) < 120 * MEBIBYTE


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("shape", "in_fortran_order", "axis"),
    [((500, 1000, 100), False, "1"), ((5, 100, 100_000), True, "-1")],
)
def test_memory_for_other_layouts_is_bounded(
    shape: tuple[int, ...], in_fortran_order: bool, axis: str
) -> None:
    np.lib.format.open_memmap("z.npy", "w+", np.float32, shape, in_fortran_order)
    batch = tuple(np.delete(shape, int(axis)).tolist())
    np.lib.format.open_memmap("t.npy", "w+", np.int8, batch)
    arguments = ["grad", "z.npy", "-t", "t.npy", "--axis", axis, "-o", "grad.npy"]
    assert anonymous_memory(*arguments) < 120 * MEBIBYTE
    loaded = np.load("grad.npy", mmap_mode="r")
    assert loaded.shape == shape
    assert float(np.moveaxis(loaded, int(axis), -1)[1, 1, 0]) < 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_for_an_archive_is_bounded() -> None:
    np.savez("z.npz", logits=np.zeros((8_000_000, 8), dtype=np.float32), other=np.zeros(3))
    assert anonymous_memory("softmax", "z.npz", "--key", "logits") < 120 * MEBIBYTE


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
    outcome = run("explain", "z.npy", "-t", "t.npy", "--sample", str(rows - 2), "--json")
    assert json.loads(outcome.stdout)["logits"] == [1, 2, 3, 4]
    outcome = run("explain", "z.npy", "-t", "t.npy", "--sample", str(rows - 1))
    assert_complains(outcome, f"logit 3 of sample {rows - 1} is NaN")
    chosen = problem.only(np.array([0, rows - 2]))
    assert chosen.rows.tolist() == [[0, 0, 0, 0], [1, 2, 3, 4]]


# --- What goes wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["older.npy", "older.csv", "older.npz", "older.jsonl"])
def test_nothing_is_written_of_a_file_with_a_bad_row(folder: Path, output: str) -> None:
    logits, _ = saved("f4", 200_000)
    logits[123_456, 3] = np.nan
    np.save("z.npy", logits)
    Path(output).write_text("older")
    before = sorted(folder.iterdir())
    outcome = run("grad", "z.npy", "-t", "t.npy", "-o", output)
    assert_complains(outcome, "'z.npy'", "logit 3 of sample 123456 is NaN")
    assert Path(output).read_text() == "older"
    assert sorted(folder.iterdir()) == before
    assert_complains(run("grad", "z.npy", "-t", "t.npy", "--jsonl"), "sample 123456 is NaN")


def test_a_pipe_gets_nothing_of_a_file_with_a_bad_row() -> None:
    logits, _ = saved("f4", 200_000)
    logits[123_456, 3] = np.nan
    np.save("z.npy", logits)
    os.mkfifo("pipe")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(Path("pipe").read_bytes()))
    reader.start()
    outcome = run("grad", "z.npy", "-t", "t.npy", "-o", "pipe")
    reader.join(LIMIT)
    assert_complains(outcome, "sample 123456 is NaN")
    assert received == [b""]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_while_rows_are_written(folder: Path, number: signal.Signals) -> None:
    sparse(3_000_000, 100)
    older = Path("grad.npy")
    older.write_text("older")
    with subprocess.Popen(
        [*PROGRAM, "grad", "z.npy", "-t", "t.npy", "-o", "grad.npy"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        end = time.monotonic() + LIMIT
        while not any(path.stat().st_size > MEBIBYTE for path in folder.glob("*.tmp")):
            assert time.monotonic() < end
            assert process.poll() is None
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=LIMIT)
    assert (process.returncode, stdout, stderr.strip()) == (-number, b"", b"")
    assert older.read_text() == "older"
    assert len(list(folder.glob("*.tmp"))) == (number == signal.SIGKILL)


def test_an_undefined_mean_is_told_at_once() -> None:
    sparse(10_000_000_000, 4, np.float16)
    Path("t.npy").unlink()
    np.lib.format.open_memmap("q.npy", "w+", np.float16, (10_000_000_000, 4))
    start = time.monotonic()
    outcome = run("loss", "z.npy", "-q", "q.npy")
    assert_complains(outcome, "soft target of sample 0 sums to 0")
    assert time.monotonic() - start < LIMIT / 2


def test_a_bar_shows_the_rate_and_the_time_left() -> None:
    sparse(12_000_000, 100)
    terminal = Terminal(100)
    process = terminal.start("loss", "z.npy", "-t", "t.npy", stdout=subprocess.DEVNULL)
    terminal.read_until("  00:0")
    process.send_signal(signal.SIGINT)
    text = terminal.finish(process)
    assert "reading" in text
    assert "%" in text
    assert "MB/s" in text
    assert process.returncode == -signal.SIGINT


def test_the_output_may_be_the_input() -> None:
    logits, target = saved()
    Path("link.npy").symlink_to("z.npy")
    outcome = run("grad", "z.npy", "-t", "t.npy", "-o", "link.npy")
    assert outcome.returncode == 0, outcome.stderr
    assert np.load("z.npy").tobytes() == cecli.cross_entropy(logits, target).grad.tobytes()


def run_with_three_jobs(code: str) -> subprocess.CompletedProcess[bytes]:
    """Run code that calls the program's main."""
    program = [sys.executable, "-c", code]
    return run("loss", "z.npy", "-t", "t.npy", "--jobs", "3", program=program)


def test_threads_are_as_many_as_were_asked_for() -> None:
    saved()
    # The file has a block for each of three threads, and none goes on before all three are there;
    # the rows that are shown are computed once more, without threads.
    code = (
        "import sys, threading\n"
        "import cecli.core.evaluate\n"
        "from cecli.cli.main import main\n"
        f"together = threading.Barrier(3, timeout={LIMIT / 2})\n"
        "part_of = cecli.core.evaluate._part_of\n"
        "def waited_for(*inputs):\n"
        "    if threading.current_thread() is not threading.main_thread():\n"
        "        together.wait()\n"
        "    return part_of(*inputs)\n"
        "cecli.core.evaluate._part_of = waited_for\n"
        "main(sys.argv[1:])\n"
    )
    outcome = run_with_three_jobs(code)
    assert outcome.returncode == 0, outcome.stderr


def test_threads_are_no_more_than_were_asked_for() -> None:
    saved(rows=10 * ROWS)
    code = (
        "import sys, threading\n"
        "from cecli.cli.main import main\n"
        "started = []\n"
        "start = threading.Thread.start\n"
        "def counted(self):\n"
        "    started.append(self.name)\n"
        "    start(self)\n"
        "threading.Thread.start = counted\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print(len(started), file=sys.stderr)\n"
    )
    outcome = run_with_three_jobs(code)
    assert int(outcome.stderr) <= 3
