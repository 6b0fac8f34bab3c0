"""The program among others: pipes, devices, closed streams, and files that it writes to."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from support.process import ENVIRONMENT, LIMIT, PROGRAM, assert_complains, run

GRAD = ["grad", "2.0", "1.0", "0.1", "-t", "0"]
VIEWS: dict[str, list[str]] = {
    "table": [*GRAD, "--check"],
    "json": [*GRAD, "--json"],
    "markdown": [*GRAD, "--markdown"],
    "help": ["--help"],
    "command help": ["grad", "-h"],
    "version": ["--version"],
    "bare": [],
}


def run_in_shell(redirection: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program with a redirection as the shell makes it."""
    return run(*arguments, program=["sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM])


@pytest.mark.parametrize("view", ["table", "json", "help"])
def test_a_closed_pipe_ends_it_silently(view: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        outcome = run(*VIEWS[view], stdout=writer)
    finally:
        os.close(writer)
    assert outcome.returncode == -signal.SIGPIPE
    assert outcome.stderr == b""


def test_much_json_into_a_closed_pipe(tmp_path: Path) -> None:
    np.save(tmp_path / "z.npy", np.zeros(200_000))
    with subprocess.Popen(
        [*PROGRAM, "softmax", "z.npy", "--json", "--arrays"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(LIMIT) == -signal.SIGPIPE


@pytest.mark.parametrize(
    "view",  # the others meet a closed pipe or a closed stdout
    [
        pytest.param(view, marks=[] if view in ("table", "json", "version") else pytest.mark.slow)
        for view in VIEWS
    ],
)
def test_a_full_disk_is_one_line(view: str) -> None:
    with Path("/dev/full").open("wb") as full:
        outcome = run(*VIEWS[view], stdout=full)
    assert outcome.returncode == 2
    assert outcome.stderr.decode().endswith("No space left on device\n")
    assert outcome.stderr.count(b"\n") == 1


def test_a_full_disk_for_a_file() -> None:
    assert_complains(run(*GRAD, "-o", "/dev/full"), "/dev/full", "No space left on device")


def test_a_file_that_grows_too_large(tmp_path: Path) -> None:
    """The disk fills up while a file is written: the older one stays, and nothing else."""
    np.save(tmp_path / "z.npy", np.zeros(10_000))
    (tmp_path / "out.npy").write_text("older")
    outcome = run(
        *("softmax", "z.npy", "-o", "out.npy"),
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert_complains(outcome, "cannot write out.npy")
    assert (tmp_path / "out.npy").read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npy", "z.npy"]


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1"])
def test_a_file_may_be_a_pipe(name: str) -> None:
    """Such a name leads to a pipe, which has no place in the file system."""
    outcome = run(*GRAD, "-o", name, "--json")
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    assert outcome.stdout.startswith(b"\x93NUMPY")


def test_a_file_may_be_a_named_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out.json")
    with subprocess.Popen(["cat", tmp_path / "out.json"], stdout=subprocess.PIPE) as reader:
        outcome = run(*GRAD, "-o", str(tmp_path / "out.json"))
        assert (outcome.returncode, outcome.stderr) == (0, b"")
        assert json.loads(reader.communicate(timeout=LIMIT)[0])["target"] == 0
    assert (tmp_path / "out.json").is_fifo()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    assert_complains(run(*GRAD, "-o", str(tmp_path / "out.npy")), "Permission denied")


@pytest.mark.parametrize("view", ["markdown", "command help", "bare"])
def test_a_closed_stdout_is_like_a_full_one(view: str) -> None:
    outcome = run_in_shell(">&-", *VIEWS[view])
    assert outcome.returncode == 2
    assert outcome.stderr.startswith(b"cecli: cannot write to standard output")
    assert outcome.stderr.count(b"\n") == 1


def test_a_closed_stdin() -> None:
    assert_complains(run_in_shell("<&-", "softmax"), "no logits")
    assert_complains(run_in_shell("<&-", "softmax", "-"), "no logits")
    outcome = run_in_shell("<&-", *GRAD, "--json")
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    assert json.loads(outcome.stdout)["target"] == 0


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&- >&- 2>&-", ">/dev/full 2>&-"])
def test_an_error_that_cannot_be_told_is_still_status_2(redirection: str) -> None:
    outcome = run_in_shell(redirection, "loss", "1", "2")
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (2, b"", b"")


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_results_need_no_stderr(redirection: str) -> None:
    outcome = run_in_shell(redirection, *GRAD, "--check", "--json")
    assert outcome.returncode == 0
    assert json.loads(outcome.stdout)["check"]["passed"]


def test_what_a_killed_run_left_is_in_nobody_s_way(tmp_path: Path) -> None:
    script = (
        f'for name in "$1".$$ "$1".$$.tmp; do : > "$name"; done; shift; exec {sys.executable} "$@"'
    )
    program = ["sh", "-c", script, "sh", str(tmp_path / "g.npy"), "-m", "cecli"]
    outcome = run(*GRAD, "-o", str(tmp_path / "g.npy"), program=program)
    assert outcome.returncode == 0, outcome.stderr
    assert len(np.load(tmp_path / "g.npy")) == 3


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "z.json"])
def test_output_to_the_file_that_is_printed_to(tmp_path: Path, name: str) -> None:
    log = tmp_path / "log"
    log.write_text("kept\n")
    (tmp_path / "z.json").symlink_to(log)
    with log.open("a") as file:
        outcome = run(*GRAD, "-o", name, stdout=file, cwd=tmp_path)
    assert outcome.returncode == 2
    assert b"standard output goes there too" in outcome.stderr
    assert log.read_text() == "kept\n"
