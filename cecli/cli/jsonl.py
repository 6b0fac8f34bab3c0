"""The commands with --jsonl: a line for each sample on standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

from cecli.answer.answer import Command
from cecli.cli.json_lines import Settings, answer_lines, lines_of
from cecli.errors import CecliError
from cecli.input.arguments import logits_file, read_labels
from cecli.input.array_files import open_file
from cecli.input.problem_from import given_objective, read_request, standard_input
from cecli.machine.blocks import check_rows
from cecli.text.messages import quote, reading

# What makes no sense for samples one by one, and how it is called.
_OF_A_BATCH = {
    "reduction": "--reduction",
    "worst": "--worst",
    "check": "--check",
    "check_method": "--check-method",
    "step": "--step",
    "seed": "--seed",
    "output": "-o",
    "dtype": "--dtype",
    "cluster": "--cluster",
}
_OF_A_LINE = {"target": "--target", "soft_target": "--soft-target", "key": "--key"}


def print_lines(command: Command, options: Mapping[str, Any]) -> None:
    """Print a line of JSON for each sample; JSON Lines are answered while they are read."""
    for name, option in _OF_A_BATCH.items():
        if options.get(name) not in (None, False):
            raise CecliError(f"--jsonl takes each sample by itself: {option} does not go with it")
    for text in _lines(command, options):
        sys.stdout.write(text)
        sys.stdout.flush()


def _lines(command: Command, options: Mapping[str, Any]) -> Iterator[str]:
    path, exact = logits_file(options["logits"]), options["exact"]
    stream = None
    if options["logits"] in ((), ("-",)):
        stream = standard_input(options["logits"])
    if stream is None and not (path or "").lower().endswith(".jsonl"):
        request = read_request(options, with_target=command != "softmax")
        problem = request.problem
        with request.sources.naming():
            if not exact:
                check_rows(problem, options["jobs"])
            yield from lines_of(command, problem, exact=exact, jobs=options["jobs"])
        return
    for name, option in _OF_A_LINE.items():
        if options.get(name) is not None:
            raise CecliError(f"{option} does not go with JSON Lines that are answered one by one")
    labels = None if options["labels"] is None else read_labels(options["labels"])
    settings = Settings(command, exact, given_objective(options), labels)
    if stream is not None:
        with reading("standard input"):
            yield from answer_lines(stream, settings)
    else:
        with reading(quote(str(path))), open_file(str(path)) as file:
            yield from answer_lines(file, settings)
