"""Signals: the status says which, and nothing half done is left."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from support.process import ENVIRONMENT, LIMIT, PROGRAM, run

GRAD = ["grad", "2.0", "1.0", "0.1", "-t", "0"]


def interrupted(arguments: Sequence[str], number: signal.Signals) -> tuple[int, bytes, bytes]:
    """How the program ends by a signal that arrives when it has read its logits and works."""
    logits = json.dumps(np.random.default_rng(1).normal(size=(60, 1000)).tolist()).encode()
    with subprocess.Popen(
        [*PROGRAM, *arguments],
        env={**ENVIRONMENT, "CECLI_KERNEL": "numpy"},  # decimal arithmetic takes long enough
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        # A pipe holds 64 KiB: when all is written, nearly all is read.
        assert len(logits) > 2**20
        process.stdin.write(logits)
        process.stdin.close()
        process.stdin = None
        time.sleep(0.3)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=LIMIT)
        return process.returncode, stdout, stderr


@pytest.mark.parametrize(
    ("work", "number"), [("--check", signal.SIGINT), ("--exact", signal.SIGTERM)]
)
def test_a_signal_ends_long_work(work: str, number: signal.Signals) -> None:
    arguments = ["grad", "-t", ",".join(["0"] * 60), work]
    status, stdout, stderr = interrupted(arguments, number)
    assert (status, stdout, stderr.strip()) == (-number, b"", b"")


def test_a_signal_while_waiting_for_input() -> None:
    with subprocess.Popen(
        [*PROGRAM, "softmax"],
        env=ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"1 " * 2**17)
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=LIMIT)
        assert (process.returncode, stdout, stderr.strip()) == (-signal.SIGINT, b"", b"")


# The last argument is a module, in front of whose import Control-C arrives.
WHILE_IMPORTING = """
import os, signal, sys
module = sys.argv.pop()
def interrupt(event, arguments):
    if event == "import" and arguments[0] == module:
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(interrupt)
from cecli.__main__ import main
main()
"""


@pytest.mark.parametrize(
    "module",
    [
        *("typing", "click", "click.core", "cecli.errors", "cecli.cli.main", "cecli.cli.settings"),
        *("numpy", "cecli.core.evaluate", "rich.console", "rich.table"),
    ],
)
def test_control_c_while_the_program_starts(module: str) -> None:
    outcome = run(*GRAD, module, program=[sys.executable, "-c", WHILE_IMPORTING])
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (-signal.SIGINT, b"", b"")


def test_control_c_stays_ignored_in_the_background(tmp_path: Path) -> None:
    program = [sys.executable, "-c", "import signal\nsignal.signal(2, 1)\n" + WHILE_IMPORTING]
    outcome = run(*GRAD, "-o", str(tmp_path / "g.npy"), "cecli.core.rows", program=program)
    assert (outcome.returncode, outcome.stderr) == (0, b"")


# The last argument is the number of a signal, which arrives instead of the renaming, and again
# before anything is removed and when the program ends.
INTERRUPTED = """
import os, pathlib, signal, sys, time
number = int(sys.argv.pop())
def interrupt(*_):
    signal.signal = once_more(signal.signal)
    os.kill(os.getpid(), number)
    time.sleep(10)
def once_more(function):
    def interrupted(*arguments, **options):
        os.kill(os.getpid(), number)
        time.sleep(0.01)
        return function(*arguments, **options)
    return interrupted
os.replace = os.rename = pathlib.Path.replace = pathlib.Path.rename = interrupt
os.unlink, pathlib.Path.unlink = map(once_more, (os.unlink, pathlib.Path.unlink))
from cecli.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("suffix", "number"),
    [("npy", signal.SIGINT), ("json", signal.SIGTERM), ("svg", signal.SIGINT)],
)
def test_a_signal_leaves_the_older_file(
    tmp_path: Path, suffix: str, number: signal.Signals
) -> None:
    """It arrives when everything is written, and the file is about to get its name."""
    older = tmp_path / f"out.{suffix}"
    older.write_text("older")
    program = [sys.executable, "-c", INTERRUPTED]
    outcome = run(*GRAD, "-o", str(older), str(int(number)), program=program)
    assert (outcome.returncode, outcome.stdout, outcome.stderr.strip()) == (-number, b"", b"")
    assert older.read_text() == "older"
    assert list(tmp_path.iterdir()) == [older]
