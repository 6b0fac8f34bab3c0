"""The command verify as a process: whose function prints, is stopped, and finds no rich."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from support.documents import strict
from support.in_process import shown
from support.process import ends, on_terminal, run
from support.theirs import FEW, THEIRS


@pytest.fixture(autouse=True)
def _theirs(folder: Path) -> None:
    """A module of somebody's in the current directory."""
    (folder / "theirs.py").write_text(THEIRS)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "verbose"), [(60, ()), (60, ("-v",)), (120, ("-v",))])
def test_the_tables_fit_the_terminal(width: int, verbose: tuple[str, ...]) -> None:
    status, text = on_terminal(
        "verify", "-k", "o*", *verbose, "--strict=accurate", "theirs:rough", width=width
    )
    assert status == 1
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert "FAILED" in text


def test_an_ascii_locale_gets_stand_ins() -> None:
    outcome = run(
        "verify", *FEW, "-v", "theirs:summed", environment={"LC_ALL": "C", "PYTHONUTF8": "0"}
    )
    assert outcome.returncode == 1
    assert outcome.stdout.isascii()
    assert b"ordinary/two-classes: p - 1 and p are all there is" in outcome.stdout


def test_an_implementation_that_prints_does_not_spoil_the_document() -> None:
    outcome = run("verify", "theirs:loud", "-k", "ordinary/*", "--json")
    assert outcome.returncode == 0
    assert strict(outcome.stdout.decode())["passed"]
    assert sorted(set(outcome.stderr.split(b"\n"))) == [
        b"",
        b"from C",
        b"from Python",
        b"from the system",
    ]


def test_a_module_that_prints_at_the_end_does_not_spoil_the_document() -> None:
    late = "import atexit\nfrom theirs import *\natexit.register(print, 'so long')\n"
    Path("late.py").write_text(late)
    outcome = run("verify", "late:loud", "-k", "ordinary/*", "--json")
    assert outcome.returncode == 0
    assert strict(outcome.stdout.decode())["passed"]
    assert outcome.stderr.endswith(b"so long\n")


DAEMON = """
import os, pathlib, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(3):
            os.close(number)
        pathlib.Path("new").write_text(str(os.getpid()))
        os.rename("new", "pid")
        time.sleep(600)
    os._exit(0)
while not os.path.exists("pid"):
    time.sleep(0.01)
for line in sys.stdin:
    print('{"error": "no"}', flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
def test_a_daemon_that_a_program_started_is_killed() -> None:
    Path("daemon.py").write_text(DAEMON)
    run("verify", "-k", "ordinary/two-classes", "--", sys.executable, "daemon.py")
    assert ends(int(Path("pid").read_text()))


def test_what_was_printed_when_standard_error_is_closed_goes_nowhere() -> None:
    outcome = run(
        "-c",
        'exec "$@" 2>&-',
        "sh",
        *(sys.executable, "-m", "cecli", "verify", "theirs:loud", "-k", "ordinary/*", "--json"),
        program=["sh"],
    )
    assert outcome.returncode == 0
    assert strict(outcome.stdout.decode())["passed"]


def test_an_interrupt_in_a_function_ends_cecli() -> None:
    outcome = run("verify", "theirs:stopped")
    assert outcome.returncode == -2
    assert outcome.stdout == b""


def test_json_imports_no_rich() -> None:
    script = (
        "import sys; from cecli.__main__ import main\n"
        "sys.argv = ['cecli', 'verify', 'theirs:right', '-k', 'ordinary', '--json']\n"
        "try: main()\n"
        "finally: assert not {'rich'} & set(sys.modules)"
    )
    outcome = run("-c", script, program=[sys.executable])
    assert (outcome.returncode, outcome.stderr) == (0, b"")


@pytest.mark.slow  # PyTorch is imported once more
def test_examples_of_the_help_work(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(THEIRS.replace("right", "cross_entropy"))
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport sys\nfor line in sys.stdin: print(line)\n")
    program.chmod(0o755)
    examples = shown("verify", "-h").partition("Examples:\n")[2].splitlines()
    assert len(examples) == 4
    for example in examples:
        arguments = shlex.split(example)[2:]
        frameworks = [name for name in ("torch", "optax") if f" {name}." in example]
        if all(map(importlib.util.find_spec, frameworks)):
            outcome = run("verify", "-k", "ordinary/textbook", *arguments)
            assert outcome.returncode == ("./program" in example), outcome.stderr
            assert b"ordinary" in outcome.stdout
