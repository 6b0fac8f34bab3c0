"""--jsonl: a line of JSON for each sample.

JSON Lines are answered while they are read, each by itself, in as little memory as a handful of
them takes. A line's loss and gradient are those of its own sample: nothing is reduced.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, BinaryIO

from cecli.answer.answer import Command, array_name_of, rows_name_of
from cecli.api import Pass
from cecli.core.probabilities import From, logits_from
from cecli.errors import CecliError
from cecli.input.arguments import read_labels
from cecli.input.array_files import decode, open_file
from cecli.input.documents import (
    OBJECTIVE,
    Document,
    document_of_json,
    labels_of,
    named_target_of,
    objective_in,
    target_and_labels,
)
from cecli.input.numbers import array_of_lists, values_of_line
from cecli.input.problem_from import objective_with, read_request, require_probabilities
from cecli.machine.blocks import check_rows
from cecli.problem.problem import Problem
from cecli.problem.targets import ClassIndices
from cecli.problem.wanted import RowArray, Wanted
from cecli.text.messages import quote, reading
from cecli.text.strict_json import plain_value

if TYPE_CHECKING:
    from cecli.cli.settings import Settings

CHUNK_BYTES = 1 << 20
_ARRAYS = ("logits", "target", "soft_target")
_SETTINGS = ("labels", "objective", *OBJECTIVE)


def print_lines(settings: Settings) -> None:
    """Print a line of JSON for each sample."""
    for text in _answered(settings) if settings.answers_lines else _lines_of_problem(settings):
        sys.stdout.write(text)
        sys.stdout.flush()


def _lines_of_problem(settings: Settings) -> Iterator[str]:
    command, compute = settings.command, settings.compute
    with_target = command != "softmax"
    request = read_request(settings.typed, settings.overrides, with_target=with_target)
    with request.sources.naming():
        if not compute.exact:
            check_rows(request.problem, compute.jobs)
        yield from lines_of(command, request.problem, exact=compute.exact, jobs=compute.jobs)


def _answered(settings: Settings) -> Iterator[str]:
    typed = settings.typed
    labels = None if typed.labels is None else read_labels(typed.labels)
    overriding = settings.overrides.read(labels)
    common = Common(settings.command, settings.compute.exact, overriding, labels, typed.from_)
    if typed.stream is not None:
        with reading("standard input"):
            yield from answer_lines(typed.stream, common)
    else:
        path = str(typed.lines_file)
        with reading(quote(path)), open_file(path) as file:
            yield from answer_lines(file, common)


# --- Lines that are read --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Common:
    """What is the same for all lines: the command, and what the command line says.

    objective: the options given, which win over a line's own. from_: what the logits are.
    """

    command: Command
    exact: bool
    objective: Mapping[str, object]
    labels: tuple[str, ...] | None
    from_: From = "logits"


def answer_lines(stream: BinaryIO, common: Common) -> Iterator[str]:
    """Answers to the samples in a stream, as soon as their lines are there; many lines at once.

    Raises CecliError for a line that cannot be used, with its number, after the lines before it.
    """
    number = 1
    for chunk in _chunks(stream):
        lines = chunk.split(b"\n")
        numbered = [(number + i, line) for i, line in enumerate(lines) if line.strip()]
        number += len(lines)
        try:
            yield _answer([value for _, line in numbered for value in _values(line)], common)
        except CecliError:
            # Once more, one by one, to find the line that is to blame.
            for place, line in numbered:
                with reading(f"line {place}"):
                    text = "".join(_answer([value], common) for value in _values(line))
                yield text


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    """Whole lines, as many as can be had without waiting for more."""
    read: Any = getattr(stream, "read1", stream.read)
    parts: list[bytes] = []
    while piece := read(CHUNK_BYTES):
        head, newline, tail = piece.rpartition(b"\n")
        if newline:
            yield b"".join([*parts, head])
            parts = []
        parts.append(tail)
    if any(parts):
        yield b"".join(parts)


def _values(line: bytes) -> list[Any]:
    return values_of_line(decode(line))


def _answer(values: Sequence[Any], common: Common) -> str:
    """The lines for samples of which neighbours that are alike are computed together."""
    groups = [list(group) for _, group in groupby(values, key=_kind)]
    problems = [_problem_of(group, common) for group in groups]
    return "".join(
        line
        for problem in problems
        for line in lines_of(common.command, problem, exact=common.exact)
    )


def _kind(value: Any) -> object:
    """What two lines must share to be computed together."""
    if isinstance(value, list):
        return len(value)
    if not isinstance(value, dict):
        return type(value)
    target, labels = target_and_labels(value)
    arrays = [value.get(name) for name in _ARRAYS]
    sizes = [len(item) if isinstance(item, list) else item is None for item in arrays]
    settings = [value.get(name) for name in _SETTINGS[1:]]
    return (*value, *sizes, target is None, json.dumps([labels, *settings]))


def _problem_of(values: Sequence[Any], common: Common) -> Problem:
    if len(values) == 1 or not isinstance(values[0], list | dict):
        return _problem(document_of_json(values[0], common.labels), common, 1)
    if isinstance(values[0], list):
        return _problem(Document(array_of_lists(values, "logits")), common, 2)
    first = values[0]
    if not isinstance(first.get("logits"), list):
        raise CecliError("no logits")  # said better for a line alone
    found = [target_and_labels(value) for value in values]
    targets, soft = [target for target, _ in found], first.get("soft_target")
    labels = None if found[0][1] is None else labels_of(found[0][1])
    document = Document(
        array_of_lists([value["logits"] for value in values], "logits"),
        None if targets[0] is None else named_target_of(targets, labels, common.labels),
        None if soft is None else array_of_lists([v["soft_target"] for v in values], "soft_target"),
        labels,
        objective_in(first),
    )
    return _problem(document, common, 2)


def _problem(document: Document, common: Common, dimensions: int) -> Problem:
    if document.logits.ndim != dimensions:
        raise CecliError("a line holds one sample: a flat list of logits")
    labels = common.labels or document.labels
    classes = document.logits.shape[-1]
    if labels is not None and len(labels) != classes:
        raise CecliError(f"{len(labels)} labels for {classes} classes: one each is needed")
    objective = objective_with(document.objective, common.objective)
    if objective.axis not in (-1, 0):
        raise CecliError(f"axis {objective.axis} is out of range for the one sample of a line")
    target = None
    if common.command != "softmax":
        target = document.target
        if document.soft_target is not None:
            target = document.soft_target
            require_probabilities(target.shape, document.logits.shape)
        if target is None:
            raise CecliError('a target is needed: {"logits": [...], "target": ...}')
    logits = logits_from(document.logits, common.from_, -1)
    return Problem.of(logits, target, replace(objective, axis=-1, reduction="none", divisor=None))


# --- Lines that are written -----------------------------------------------------------------------


def lines_of(
    command: Command, problem: Problem, *, exact: bool, jobs: int | None = None
) -> Iterator[str]:
    """A line for each sample of a problem: its target, its own loss and the command's array."""
    own, name, rows_name = problem.unreduced(), array_name_of(command), rows_name_of(command)
    array = None if rows_name is None else RowArray(rows_name, own.dtype)
    wanted = Wanted({} if array is None else {array: None}, losses=command != "softmax")
    encode = json.JSONEncoder(allow_nan=False).encode
    for part in Pass(own, wanted, exact=exact, jobs=jobs):
        columns: dict[str, Any] = {}
        if isinstance(problem.truth, ClassIndices):
            columns["target"] = problem.truth.rows[part.start : part.stop].tolist()
        if wanted.losses:
            columns["loss"] = plain_value(part.total)
        if array is not None:
            columns[name] = plain_value(part.arrays[array])
        for values in zip(*columns.values(), strict=True):
            yield encode(dict(zip(columns, values, strict=True))) + "\n"
