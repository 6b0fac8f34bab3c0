"""Files larger than memory, in a process: how little memory it takes, signals, a bar, threads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from cecli.machine.compiled import kernel
from cecli.problem.stored import WINDOW_BYTES, WINDOWS
from support.large import MEBIBYTE, ROWS, saved, sparse
from support.process import ENVIRONMENT, LIMIT, PROGRAM, Terminal, assert_complains, run

pytestmark = pytest.mark.usefixtures("folder")


# --- In little memory ---------------------------------------------------------------------------


def anonymous_memory(*arguments: str, ends_with: int = 0) -> int:
    """The most that the program had in memory beside what is in files, in bytes."""
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
        assert process.returncode == ends_with, process.stderr.read()
    return most * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        pytest.param(
            ["grad", "z.npy", "-t", "t.npy", "-o", "grad.npy"],
            (5_000_000, 8),
            marks=pytest.mark.slow,
        ),
        (["softmax", "z.npy", "-o", "softmax.npz"], (400, 100_000)),
    ],
)
def test_memory_is_bounded(arguments: list[str], shape: tuple[int, int]) -> None:
    sparse(*shape)  # 160 megabytes
    assert anonymous_memory(*arguments) < 120 * MEBIBYTE


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.skipif(kernel() is None, reason="decimal arithmetic takes too long")
@pytest.mark.slow
def test_memory_is_bounded_where_all_is_exact() -> None:
    random = np.random.default_rng(1)
    np.save("z.npy", random.random((400, 50_000), np.float32))  # 80 megabytes
    np.save("t.npy", random.integers(0, 50_000, 400))
    arguments = ["grad", "z.npy", "-t", "t.npy", "--exact", "-o", "grad.npy", "--dtype", "float64"]
    assert anonymous_memory(*arguments) < 120 * MEBIBYTE


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.skipif(kernel() is None, reason="decimal arithmetic takes too long")
@pytest.mark.slow
def test_memory_for_a_wrong_gradient_in_several_files_is_bounded() -> None:
    random = np.random.default_rng(1)
    for part in "ab":  # 160 megabytes of logits, and as many of their gradient
        np.save(f"z-{part}.npy", random.random((400, 50_000), np.float32))
        np.save(f"t-{part}.npy", random.integers(0, 50_000, 400))
        np.save(f"g-{part}.npy", random.random((400, 50_000), np.float32))
    arguments = ["compare", "z-*.npy", "-t", "t-*.npy", "--grad", "g-*.npy"]
    assert anonymous_memory(*arguments, ends_with=1) < 300 * MEBIBYTE


@pytest.mark.slow
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
def test_memory_is_bounded_for_more(arguments: list[str], shape: tuple[int, int]) -> None:
    sparse(*shape)  # a quarter of a gigabyte
    assert anonymous_memory(*arguments) < 120 * MEBIBYTE


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("shape", "in_fortran_order", "axis"),
    [
        pytest.param((300, 1000, 100), False, "1", marks=pytest.mark.slow),
        pytest.param((500, 1000, 100), False, "1", marks=pytest.mark.slow),
        pytest.param((5, 100, 100_000), True, "-1", marks=pytest.mark.slow),
    ],
)
def test_memory_for_other_layouts_is_bounded(
    shape: tuple[int, ...], in_fortran_order: bool, axis: str
) -> None:
    np.lib.format.open_memmap("z.npy", "w+", np.float32, shape, in_fortran_order)
    batch = tuple(np.delete(shape, int(axis)).tolist())
    np.lib.format.open_memmap("t.npy", "w+", np.int8, batch)
    arguments = ["grad", "z.npy", "-t", "t.npy", "--axis", axis, "-o", "grad.npy"]
    # Rows that lie scattered are kept in windows, so as not to go over the file for each block.
    assert anonymous_memory(*arguments) < 120 * MEBIBYTE + WINDOWS * WINDOW_BYTES
    loaded = np.load("grad.npy", mmap_mode="r")
    assert loaded.shape == shape
    assert float(np.moveaxis(loaded, int(axis), -1)[1, 1, 0]) < 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.slow
def test_memory_for_an_archive_is_bounded() -> None:
    np.savez("z.npz", logits=np.zeros((5_000_000, 8), dtype=np.float32), other=np.zeros(3))
    assert anonymous_memory("softmax", "z.npz", "--key", "logits") < 120 * MEBIBYTE


# --- What goes wrong ----------------------------------------------------------------------------


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


@contextmanager
def rows_being_written(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program in the midst of a gradient, which is to take the place of an older one."""
    sparse(3_000_000, 100)
    Path("grad.npy").write_text("older")
    with subprocess.Popen(
        [*PROGRAM, "grad", "z.npy", "-t", "t.npy", "-o", "grad.npy"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        end = time.monotonic() + LIMIT
        # The file has its size before it has its rows.
        while not any(512 * path.stat().st_blocks > MEBIBYTE for path in folder.glob("*.tmp")):
            assert time.monotonic() < end
            assert process.poll() is None
        yield process


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL],
)
def test_a_signal_while_rows_are_written(folder: Path, number: signal.Signals) -> None:
    older = Path("grad.npy")
    with rows_being_written(folder) as process:
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=LIMIT)
    assert (process.returncode, stdout, stderr.strip()) == (-number, b"", b"")
    assert older.read_text() == "older"
    assert len(list(folder.glob("*.tmp"))) == (number == signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["z.npy", "t.npy"])
def test_a_file_that_gets_shorter_while_it_is_read(folder: Path, name: str) -> None:
    older = Path("grad.npy")
    with rows_being_written(folder) as process:
        os.truncate(name, 100_000)
        stdout, stderr = process.communicate(timeout=LIMIT)
    assert (process.returncode, stdout) == (2, b"")
    assert stderr.decode().endswith(
        f"/{name}' has changed since it was first read: it is shorter now\n"
    )
    assert stderr.count(b"\n") == 1
    assert older.read_text() == "older"
    assert not list(folder.glob("*.tmp"))


@pytest.mark.slow
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
