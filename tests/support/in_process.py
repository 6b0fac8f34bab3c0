"""The commands as they are typed, run inside the test's process."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from typing import Any
from unittest import mock

import click

from cecli.__main__ import main
from cecli.cli.main import HOMES
from cecli.cli.main import main as group


def command_called(name: str) -> click.Command:
    """A command of the program."""
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return command


COMMANDS = {name: command_called(name) for name in HOMES}


@dataclass(frozen=True)
class Outcome:
    """How the program ended, and what it wrote."""

    status: int
    stdout: str
    stderr: str


def _nothing(*arguments: object) -> None:
    """What to make a `Mock` would take a third of a run's time for."""


def run(*arguments: str, stdin: str | bytes = "", encoding: str = "utf-8") -> Outcome:
    """The whole program, but for what it does to its process; encoding: of what it writes."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    stdout, stderr = io.BytesIO(), io.BytesIO()
    with (
        mock.patch("signal.signal", _nothing),
        mock.patch("gc.set_threshold", _nothing),
        mock.patch("gc.freeze", _nothing),
        mock.patch.object(sys, "argv", ["cecli", *arguments]),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")),
        mock.patch.object(sys, "stdout", io.TextIOWrapper(stdout, encoding=encoding)),
        mock.patch.object(
            sys, "stderr", io.TextIOWrapper(stderr, encoding=encoding, errors="backslashreplace")
        ),
    ):
        try:
            main()
        except SystemExit as end:
            status = end.code
        sys.stdout.flush()
        sys.stderr.flush()
        assert isinstance(status, int)
        return Outcome(status, *(s.getvalue().decode(encoding) for s in (stdout, stderr)))


def shown(*arguments: str, stdin: str | bytes = "", encoding: str = "utf-8") -> str:
    """What a command that succeeds prints."""
    outcome = run(*arguments, stdin=stdin, encoding=encoding)
    assert (outcome.status, outcome.stderr) == (0, "")
    return outcome.stdout


def printed(*arguments: str, stdin: str | bytes = "") -> dict[str, Any]:
    """The document that a command prints."""
    document = json.loads(shown(*arguments, "--json", stdin=stdin))
    assert isinstance(document, dict)
    return document


def complaint(*arguments: str, stdin: str | bytes = "", encoding: str = "utf-8") -> str:
    """The one line that a command which cannot do what it is told ends with."""
    outcome = run(*arguments, stdin=stdin, encoding=encoding)
    assert outcome.status == 2
    assert outcome.stdout == ""
    line = outcome.stderr.removesuffix("\n")
    assert outcome.stderr == line + "\n"
    assert line.isprintable()
    assert line.startswith("cecli")
    return line
