"""On a terminal: what is read from it, styles, width, the bar."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from support.process import Terminal, assert_complains, on_terminal, run

GRAD = ["grad", "2.0", "1.0", "0.1", "-t", "0"]


@pytest.mark.parametrize("arguments", [["softmax"], ["grad", "-t", "0"], ["loss", "--json"]])
def test_nothing_to_read_on_a_terminal(arguments: list[str]) -> None:
    master, slave = pty.openpty()
    try:
        assert_complains(run(*arguments, stdin=slave), "no logits")
    finally:
        os.close(master)
        os.close(slave)


def test_a_dash_reads_from_the_terminal() -> None:
    terminal = Terminal()
    process = terminal.start("softmax", "-", "--json", stdin=terminal)
    os.write(terminal.master, b"0 0\n\x04")
    text = terminal.finish(process)
    assert process.returncode == 0
    assert '"softmax": [0.5, 0.5]' in text


@pytest.mark.parametrize(
    ("environment", "styled", "coloured"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"FORCE_COLOR": "1"}, True, True),
    ],
)
def test_styles_on_a_terminal(environment: dict[str, str], styled: bool, coloured: bool) -> None:
    status, text = on_terminal(*GRAD, environment=environment)
    assert status == 0
    assert ("\x1b[" in text) == styled
    assert (re.search(r"\x1b\[[0-9;]*3[0-9]", text) is not None) == coloured


@pytest.mark.parametrize("view", ["--json", "--markdown"])
def test_json_and_markdown_have_no_styles(view: str) -> None:
    status, text = on_terminal(*GRAD, view, environment={"FORCE_COLOR": "1"})
    assert status == 0
    assert "\x1b" not in text


def test_a_table_is_as_wide_as_the_terminal() -> None:
    for width, environment in ((60, {}), (120, {}), (120, {"COLUMNS": "60"})):
        status, text = on_terminal(*GRAD, "--check", width=width, environment=environment)
        lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
        widest = max(map(cell_len, lines))
        assert status == 0
        assert widest <= int(environment.get("COLUMNS", width))
        assert width == 60 or environment or widest > 60


LONG = ["grad", "z.npy", "-t", ",".join(["0"] * 200), "--check"]


@pytest.fixture
def long_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory of LONG, which takes about five seconds."""
    monkeypatch.chdir(tmp_path)
    np.save("z.npy", np.random.default_rng(1).normal(size=(200, 1000)))


@pytest.mark.slow
@pytest.mark.usefixtures("long_check")
def test_long_work_shows_a_bar_and_stops_at_control_c() -> None:
    terminal = Terminal()
    start = time.monotonic()
    process = terminal.start(*LONG, "--json", stdout=subprocess.PIPE)
    terminal.read_until("checking")
    assert time.monotonic() - start > 1.0
    process.send_signal(signal.SIGINT)
    text = terminal.finish(process)
    assert process.returncode == -signal.SIGINT
    assert process.stdout is not None
    assert process.stdout.read() == b""
    process.stdout.close()
    assert "Traceback" not in text
    assert "%" in text
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # the cursor is back


AT_ONCE = """
import sys
from cecli.cli import progress
progress.SECONDS_BEFORE_A_BAR = -1.0
from cecli.__main__ import main
main()
"""


def test_a_bar_is_for_terminals_only() -> None:
    """Even where it would be shown at once, a pipe never sees it, and short work is too short."""
    program = [sys.executable, "-c", AT_ONCE]
    outcome = run(*GRAD, "--check", "--json", program=program)
    assert (outcome.returncode, outcome.stderr) == (0, b"")
    status, text = on_terminal(*GRAD, "--check", "--json", stdout=subprocess.DEVNULL)
    assert (status, text) == (0, "")
