"""A bounded minute of the fuzz drivers; by hand they run for as long as one likes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from fuzz.command_lines import command_lines
from fuzz.oracle import CommandLine, judge
from support.process import ENVIRONMENT

SECONDS = 30.0


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
@given(command_lines())
def test_any_command_line(line: CommandLine) -> None:
    judge(line)


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_command_lines_for_half_a_minute() -> None:
    end = time.monotonic() + SECONDS

    @settings(
        max_examples=2_000,  # more than fit into that time
        derandomize=True,  # by hand it is another run each time
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(command_lines())
    def tries(line: CommandLine) -> None:
        if time.monotonic() < end:
            judge(line)

    tries()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_readers_for_half_a_minute() -> None:
    driver = Path(__file__).with_name("readers.py")
    outcome = subprocess.run(
        [sys.executable, str(driver), str(int(SECONDS))],
        env=ENVIRONMENT,
        capture_output=True,
        timeout=4 * SECONDS,
    )
    assert outcome.returncode == 0, outcome.stderr.decode()[-2000:]
