"""The README keeps its word: every example is run and prints what it says."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import TESTS, TOP
from support.process import LIMIT

README = (TOP / "README.md").read_text(encoding="utf-8")


def console_examples() -> list[tuple[str, str]]:
    """Each command after a "$ " and the output that the README shows below it."""
    examples: list[tuple[str, str]] = []
    for block in re.findall(r"^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            examples.append((command, output))
    return examples


@pytest.mark.parametrize(("command", "shown"), console_examples())
def test_an_example_prints_what_the_readme_shows(command: str, shown: str, tmp_path: Path) -> None:
    for name, arguments in (("cecli", "-m cecli "), ("python3", "")):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        program.chmod(0o755)
    (tmp_path / "tests").symlink_to(TESTS)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYTHONIOENCODING": "utf-8",
    }
    for variable in ("FORCE_COLOR", "NO_COLOR", "COLUMNS"):
        environment.pop(variable, None)
    run = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        env=environment,
        cwd=tmp_path,
        timeout=LIMIT,
        encoding="utf-8",
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert [line.rstrip() for line in run.stdout.splitlines()] == shown.splitlines()


def test_the_examples_of_the_library_hold() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        test = doctest.DocTestParser().get_doctest(block, {}, "README", "README.md", 0)
        assert doctest.DocTestRunner().run(test).failed == 0


def test_both_commands_are_there_once() -> None:
    commands = re.findall(r"^```sh\n(.*?)\n```", README, re.MULTILINE | re.DOTALL)
    run, test = commands
    install = "python3 -m venv .venv && .venv/bin/pip install -q ."
    assert run == f"{install} && .venv/bin/cecli grad 2.0 1.0 0.1 --target 0 --check"
    assert test == ".venv/bin/pip install -q -e '.[test]' && .venv/bin/pytest -q -n auto"
