"""A function in a process of its own: hangs, crashes, exits, and what it leaves alone."""

from __future__ import annotations

import signal
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from cecli.conformance.model import Failure
from cecli.conformance.run import verify
from cecli.conformance.runners.isolated import Isolated, Spec
from cecli.conformance.suite.cases import all_cases, select
from cecli.errors import CecliError
from support.process import ENVIRONMENT, LIMIT, PROGRAM, ends, run, wait_for

MOODY = """
import ctypes, os, sys, time
from pathlib import Path
import numpy as np
import cecli

def right(logits, target):
    result = cecli.cross_entropy(logits, target)
    return result.loss, result.grad

def moody(logits, target):
    print("it talks")
    os.write(1, b"to everybody\\n")
    assert sys.stdin.read() == ""
    rows = len(logits)
    if rows == 1:
        np.ones(1 << 50)
    if rows == 32:
        os._exit(7)
    if rows == 7:
        ctypes.string_at(0)
    return right(logits, target)

def hangs(logits, target):
    with Path("pids").open("a") as pids:
        print(os.getpid(), file=pids)
    while len(logits) != 7:
        time.sleep(600)
    return right(logits, target)

def overwrites(logits, target):
    loss, grad = right(logits, target)
    logits[...] = 0.0
    return loss, grad

def single(y_true, y_pred):
    assert y_true.ndim == 2
    return right(y_pred.astype("float32"), y_true)

def where(logits, target):
    return float(Path("/proc/self/oom_score_adj").read_text()), np.zeros(logits.shape)
"""


@pytest.fixture(autouse=True)
def _moody(folder: Path) -> None:
    (folder / "moody.py").write_text(MOODY)


def outcomes(name: str, *patterns: str, timeout: float = 20.0) -> dict[str, tuple[str, str | None]]:
    with closing(Isolated(Spec("python", f"./moody.py:{name}"), timeout)) as function:
        verdicts = list(verify(function, select(all_cases(), patterns)))
    return {v.case.name.partition("/")[2]: (v.outcome, v.reason) for v in verdicts}


def test_what_ends_a_process_fails_its_case_alone() -> None:
    found = outcomes("moody", "ordinary/t*", "ordinary/s*", "ordinary/each-class")
    outcome, reason = found["textbook"]
    assert outcome == "failed"
    assert str(reason).startswith("MemoryError: ")
    outcome, reason = found["ten-classes"]
    assert (outcome, str(reason).partition(":")[0]) == (
        "failed",
        "it exited with status 7 before it answered",
    )
    outcome, reason = found["small-batch"]
    assert (outcome, str(reason).partition(":")[0]) == (
        "failed",
        "it was killed by SIGSEGV before it answered",
    )
    assert {found[name][0] for name in ("two-classes", "square", "each-class")} <= {
        "exact",
        "accurate",
    }


@pytest.mark.slow
def test_a_hang_fails_its_case_and_three_in_a_row_all_that_follow() -> None:
    names = ("ordinary/textbook", "ordinary/small-batch", "ordinary/square", "rows/1", "rows/[23]*")
    found = outcomes("hangs", *names, timeout=2.0)
    late = ("failed", "no answer within 2 seconds")
    assert found["textbook"] == found["square"] == found["1"] == found["2"] == late
    assert found["small-batch"][0] in ("exact", "accurate")
    assert len(found) > 6
    assert len(Path("pids").read_text().split()) == 6  # when it was tried, and five cases of ten


def test_what_a_function_does_to_its_input_is_seen_from_outside() -> None:
    found = outcomes("overwrites", "unmodified/float64", "deterministic/small")
    assert found["float64"] == ("wrong", "the logits were changed in place")
    assert found["small"][0] in ("exact", "accurate")


def test_how_it_is_called_is_found_out_over_there() -> None:
    with closing(Isolated(Spec("python", "./moody.py:single"), 20.0)) as function:
        assert function.dtype == "float32"
        verdicts = list(verify(function, select(all_cases(), ["ordinary"])))
        assert all(verdict.passed() for verdict in verdicts)
        assert [note.partition(":")[0] for note in function.notes] == [
            "the target is its first parameter, by the names y_true, y_pred",
            "classes are handed over as one-hot rows",
            "it makes float32 of its input",
        ]


@pytest.mark.skipif(not Path("/proc/self/oom_score_adj").exists(), reason="there is no such file")
def test_where_memory_runs_out_it_is_not_cecli_that_goes() -> None:
    with closing(Isolated(Spec("python", "./moody.py:where"), 20.0)) as function:
        (case,) = select(all_cases(), ["ordinary/textbook"])
        assert function.answer_case(case).reply.loss == 1000.0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("./moody.py:lost", "there is no 'lost'"),
        ("./nowhere.py:f", "there is no file './nowhere.py'"),
        ("./exits.py:f", "./exits.py:f cannot be loaded: it exited with status 3 before it answer"),
    ],
)
def test_what_cannot_be_loaded_is_told_in_a_line(name: str, told: str, folder: Path) -> None:
    (folder / "exits.py").write_text("import os\nos._exit(3)\n")
    with pytest.raises(CecliError, match=told):
        Isolated(Spec("python", name), 20.0)


def test_a_function_that_is_gone_after_a_crash_fails_its_cases(folder: Path) -> None:
    with closing(Isolated(Spec("python", "./moody.py:moody"), 20.0)) as function:
        (crash,) = select(all_cases(), ["ordinary/small-batch"])
        with pytest.raises(Failure, match="SIGSEGV"):
            function.answer_case(crash)
        (folder / "moody.py").unlink()
        with pytest.raises(Failure, match="it exited with status 0 before it answered"):
            function.answer_case(crash)


def test_the_command_isolates_what_has_a_time_limit() -> None:
    outcome = run("verify", "./moody.py:moody", "-k", "ordinary/ten-classes", "--timeout", "20")
    assert outcome.returncode == 1
    assert b"it exited with status 7 before it answered" in outcome.stdout
    assert outcome.stderr == b""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_both(number: int, folder: Path) -> None:
    process = subprocess.Popen(
        [*PROGRAM, "verify", "./moody.py:hangs", "--timeout", "600", "-k", "ordinary/textbook"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    pid = int(wait_for(folder / "pids"))
    process.send_signal(number)
    process.communicate(timeout=LIMIT)
    assert process.returncode == -number
    assert ends(pid)
