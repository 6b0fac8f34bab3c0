"""How every run of the program must end, whatever it was given."""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.documents import strict
from support.in_process import Outcome, run

# Of the processor's time. A check takes a sample that it thinks takes five on a machine of its own.
SECONDS, SECONDS_WITH_CHECK = 5.0, 20.0
MOST_MEMORY = 2**30  # bytes, by which a run may raise the process's peak
# The gradient of cecli itself passes its own check, unless doubles are what it is checked by.
VERDICTS = ("compare", "verify")
# What is said of a run and of that which reads its document back is the same but for these: of a
# divisor of one's own only the result is told, and other views are not asked for again.
NOT_READ_BACK = ("check", "divisor", "z_loss_divisor", "worst_samples")
READ_BACK = ("softmax", "loss", "grad")


@dataclass(frozen=True)
class CommandLine:
    """What the program is given. files: names and contents of those in the working directory."""

    arguments: tuple[str, ...]
    stdin: bytes = b""
    files: tuple[tuple[str, bytes], ...] = ()


def judge(line: CommandLine) -> Outcome:
    """Run a command line and raise AssertionError where it does not end as it should."""
    for name, content in line.files:
        Path(name).write_bytes(content)
    start, peak = time.process_time(), _peak_memory()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = run(*line.arguments, stdin=line.stdin)
    took = time.process_time() - start
    checked = "--check" in line.arguments or line.arguments[:1] == ("explain",)
    assert took < (SECONDS_WITH_CHECK if checked else SECONDS), f"it took {took:.1f} s"
    assert _peak_memory() - peak < MOST_MEMORY, "more than a gigabyte"
    assert outcome.status in (0, 1, 2), outcome.status
    for stream in (outcome.stdout, outcome.stderr):
        assert all(text.isprintable() for text in stream.split("\n")), "a control character"
    assert "defect of cecli" not in outcome.stderr, outcome.stderr
    assert "Traceback" not in outcome.stderr, outcome.stderr
    assert "Warning" not in outcome.stderr, outcome.stderr
    if outcome.status == 2:
        assert "--jsonl" in line.arguments or not outcome.stdout, "an error, and output"
        assert outcome.stderr.count("\n") == 1, outcome.stderr
        assert outcome.stderr.startswith("cecli"), outcome.stderr
        return outcome
    verdict = line.arguments[:1] and line.arguments[0] in VERDICTS
    assert outcome.status == 0 or verdict or "--check-method" in line.arguments, "a verdict"
    if "--json" in line.arguments and "-h" not in line.arguments:
        _judge_document(line.arguments, outcome)
    if "--jsonl" in line.arguments:
        for text in outcome.stdout.splitlines():
            json.loads(text, parse_constant=_refused)
    return outcome


def _peak_memory() -> int:
    """The most bytes of memory that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _refused(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


def _judge_document(arguments: Sequence[str], outcome: Outcome) -> None:
    if not outcome.stdout.startswith("{"):  # the help
        return
    document = strict(outcome.stdout)
    command = str(document["command"])
    if command not in READ_BACK or "omitted" in document or "--divisor" in arguments:
        return
    exact = ["--exact"] if document.get("exact") else []
    again = run(command, "--json", "--arrays", *exact, stdin=outcome.stdout)
    assert again.status == 0, again.stderr
    assert _kept(strict(again.stdout)) == _kept(document), "it reads back to something else"
    if '"NaN"' in again.stdout and not exact:
        right = run(command, "--json", "--arrays", "--exact", stdin=outcome.stdout)
        count = right.stdout.count('"NaN"')
        assert again.stdout.count('"NaN"') == count, "NaN where there is a number"


def _kept(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in NOT_READ_BACK}
