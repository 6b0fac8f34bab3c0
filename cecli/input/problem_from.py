"""A problem made of what stands on the command line, in files and in a document piped in."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.core.probabilities import From, are_probabilities
from cecli.errors import About, CecliError
from cecli.input.arguments import (
    Document,
    find_target,
    is_file,
    is_pattern,
    logits_file,
    names_file,
    path_and_key,
    read_candidate,
    read_document,
    read_labels,
    read_probabilities,
    read_values,
    target_file,
)
from cecli.input.collected import logits_in_blocks
from cecli.input.columns import Choice
from cecli.input.formats import TEXT_TABLES, suffix_of
from cecli.problem.dtypes import AnyArray
from cecli.problem.objective import Objective, Reduction
from cecli.problem.problem import Problem, batch_shape_of
from cecli.problem.rows import Joined
from cecli.text.messages import quote

if TYPE_CHECKING:
    from cecli.input.candidate import Candidate, CandidateName
    from cecli.input.multifile import JoinedDocument, Named

STANDARD_INPUT = ((), ("-",))
MOST_LOOKED_AT = 2**22
LIKE_PROBABILITIES = (
    "the rows look like probabilities, but are taken as logits; if they are probabilities, say so: "
    "--from probabilities"
)


@dataclass(frozen=True, eq=False, repr=False)
class Input:
    """Where the numbers come from, as it was typed; nothing is read yet.

    logits: the arguments, none or "-" for standard input. key: of the logits' array in its file.
    columns, header: of a table, which columns are the classes and whether its first row is a
    header. from_: what the logits' numbers are. grad, loss: what is to be compared.
    Raises CecliError for what excludes each other.
    """

    logits: tuple[str, ...]
    key: str | None = None
    columns: str | None = None
    header: bool | None = None
    from_: From = "logits"
    target: str | None = None
    soft_target: str | None = None
    labels: str | None = None
    grad: str | None = None
    loss: str | None = None

    def __post_init__(self) -> None:
        if self.target is not None and self.soft_target is not None:
            raise CecliError("give --target or --soft-target, not both")
        texts = {"--grad": self.grad, "--loss": self.loss}
        piped = [name for name, text in texts.items() if text is not None and text.strip() == "-"]
        if piped and self.logits in STANDARD_INPUT:
            piped.insert(0, "the logits")
        if len(piped) > 1:
            raise CecliError(f"{piped[-1]} and {piped[0]} cannot both be standard input")

    @property
    def lines_file(self) -> str | None:
        """The one file of JSON Lines that the logits are in, if that is what was named."""
        file = logits_file(self.logits)
        return file if file is not None and file.lower().endswith(".jsonl") else None

    @property
    def stream(self) -> BinaryIO | None:
        """Standard input, where the logits are piped in.

        None where they are not, where it is closed, and at a terminal that nobody asked to type at.
        """
        if self.logits not in STANDARD_INPUT or sys.stdin is None:
            return None
        if not self.logits and sys.stdin.isatty():
            return None
        return sys.stdin.buffer


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Overrides:
    """What the command line says about the objective; None where it leaves that to a document.

    weight, sample_weight: numbers or a file, as they were typed.
    """

    weight: str | None = None
    ignore_index: int | None = None
    label_smoothing: float | None = None
    reduction: Reduction | None = None
    temperature: float | None = None
    softcap: float | None = None
    z_loss: float | None = None
    sample_weight: str | None = None
    divisor: float | None = None
    axis: int | None = None

    def read(self, labels: tuple[str, ...] | None = None) -> dict[str, object]:
        """What is said, by the names of an objective, with the weights' numbers.

        labels: the names of the classes, where they have some.
        """
        said = {name: value for name, value in vars(self).items() if value is not None}
        if self.weight is not None:
            said["weight"] = read_values(self.weight, "--weight", labels=labels)
        if self.sample_weight is not None:
            said["sample_weight"] = read_values(self.sample_weight, "--sample-weight")
        return said


class Sources(NamedTuple):
    """The files that numbers stand in; None for what was typed, piped in or left out."""

    logits: str | None
    target: str | None
    weight: str | None
    sample_weight: str | None
    grad: str | None = None
    loss: str | None = None

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Begin an error about a number with the file that the number stands in."""
        try:
            yield
        except CecliError as error:
            file = self._file_of(error.about)
            if file is None:
                raise
            raise CecliError(f"{quote(file)}: {error}") from None

    def _file_of(self, about: About | None) -> str | None:
        if about == "weight":
            return self.weight
        if about == "sample_weight":
            return self.sample_weight
        if about in ("target", "soft_target"):
            return self.target
        if about in ("grad", "loss"):
            return self.grad if about == "grad" else self.loss
        return self.logits if about == "logits" else None


@dataclass(frozen=True, eq=False, repr=False)
class Request:
    """What a command is asked to compute; grad and loss are those to compare with.

    typed: what was read. sources: the files of its numbers. files: of the logits, where several
    were named, or a pattern. notes: what whoever reads the result should know.
    """

    typed: Input
    problem: Problem
    labels: tuple[str, ...] | None
    sources: Sources
    files: tuple[Named, ...] | None = None
    grad: Candidate | None = None
    loss: Candidate | None = None
    notes: tuple[str, ...] = ()


def read_request(typed: Input, overrides: Overrides, *, with_target: bool) -> Request:
    """Read all input; where a document and the command line both say something, the latter wins."""
    _require_table(typed)
    files = _several_files(typed.logits)
    document: Document | JoinedDocument
    labels = None if typed.labels is None else read_labels(typed.labels)
    choice = _choice(typed, overrides, labels)
    if files is None:
        document = read_document(typed.logits, typed.stream, typed.key, labels, choice)
    else:
        from cecli.input.multifile import read_several

        document = read_several(files, typed.key, labels, choice)
    labels = labels or document.labels
    grad = None if typed.grad is None else _read_candidate(typed.grad, "grad", files, labels)
    loss = None if typed.loss is None else _read_candidate(typed.loss, "loss", files, labels)
    objective = objective_with(document.objective, overrides.read(labels))
    target = _target(typed, document, labels, objective, files) if with_target else None
    sources = _sources(typed, overrides, labels)
    is_soft = typed.soft_target is not None or target is document.soft_target
    with sources.naming():
        if target is not None and is_soft:
            require_probabilities(target.shape, document.given.shape)
        logits = logits_in_blocks(document.given, typed.from_, objective.axis)
        problem = Problem.of(logits, target, objective)
    if labels is not None and len(labels) != problem.classes:
        raise CecliError(_wrong_count_of_labels(len(labels), problem.classes))
    notes = document.notes
    if document.target_column is not None and target is not document.target:
        notes += (f"column {quote(document.target_column)} is left out: it holds targets",)
    if typed.from_ == "logits" and _look_like_probabilities(problem):
        notes += (LIKE_PROBABILITIES,)
    return Request(typed, problem, labels, sources, files, grad, loss, notes)


def _require_table(typed: Input) -> None:
    """Refuse to say of a header what can have none."""
    if typed.header is None or typed.logits in ((), ("-",)):
        return
    for text in (*typed.logits, typed.target or ""):
        if suffix_of(path_and_key(text)[0]) in (*TEXT_TABLES, ".txt", ""):
            return
    option = "--header" if typed.header else "--no-header"
    raise CecliError(f"{option}: only tables of text have a header")


def require_probabilities(shape: tuple[int, ...], logits: tuple[int, ...]) -> None:
    """Refuse a soft target of another shape than the logits, whatever else it could be."""
    if shape != logits:
        raise CecliError(
            f"class probabilities of shape {shape} do not fit logits of shape {logits}: there is "
            "one for each logit",
            about="soft_target",
        )


def _choice(typed: Input, overrides: Overrides, labels: tuple[str, ...] | None) -> Choice:
    """What is known about the columns and rows of the logits' tables."""

    def samples() -> int | None:
        if typed.target is None or _names_several(typed.target, labels):
            return None
        try:
            return find_target(typed.target, labels).size
        except CecliError:  # the names of the classes may stand in the table
            return None

    tables = {path_and_key(text)[0] for text in typed.logits}
    words = (typed.target or "").split(",")
    named = [path_and_key(word.strip()) for word in [*words, overrides.sample_weight or ""]]
    others = tuple(key for path, key in named if key is not None and path in tables)
    return Choice(typed.columns, typed.header, others, samples)


def _look_like_probabilities(problem: Problem) -> bool:
    """Whether all rows do, or the first of them where they are many."""
    count = min(problem.samples, max(1, MOST_LOOKED_AT // problem.classes))
    return are_probabilities(problem.given_rows[:1]) and are_probabilities(
        problem.given_rows[:count]
    )


def objective_with(settings: Mapping[str, object], overriding: Mapping[str, object]) -> Objective:
    """The objective of a document's settings, of which some are overridden."""
    checked: Any = {**settings, **overriding}
    try:
        return Objective(**checked)
    except CecliError as error:
        name, _, rest = str(error).partition(" ")
        if name in overriding:
            name = f"--{name.replace('_', '-')}"
        raise CecliError(f"{name} {rest}", about=error.about) from None


def _wrong_count_of_labels(labels: int, classes: int) -> str:
    return f"{labels} labels for {classes} classes: one each is needed"


def _several_files(logits: tuple[str, ...]) -> tuple[Named, ...] | None:
    """The files of the logits, unless they are numbers, standard input or one file."""
    if logits in STANDARD_INPUT or logits_file(logits) or not names_file(logits[0]):
        return None
    from cecli.input.multifile import named_files

    return named_files(logits)


def _read_candidate(
    text: str, key: CandidateName, files: tuple[Named, ...] | None, labels: tuple[str, ...] | None
) -> Candidate:
    """What --grad or --loss says."""
    if _names_several(text):
        from cecli.input.multifile import read_several_candidates

        return read_several_candidates(text, key, files)
    return read_candidate(text, key, None if sys.stdin is None else sys.stdin.buffer, labels)


def _sources(typed: Input, overrides: Overrides, labels: tuple[str, ...] | None) -> Sources:
    """The files that numbers stand in: what no option gives, in the document of the logits."""
    target = weight = own = logits = logits_file(typed.logits)
    if typed.target is not None:
        several = _names_several(typed.target, labels)
        target = typed.target if several else target_file(typed.target, labels)
    elif typed.soft_target is not None:
        target = typed.soft_target if names_file(typed.soft_target) else None
    if overrides.weight is not None:
        weight = overrides.weight if names_file(overrides.weight) else None
    if overrides.sample_weight is not None:
        own = overrides.sample_weight if names_file(overrides.sample_weight) else None
    grad, loss = (
        text if text is not None and names_file(text) else None for text in (typed.grad, typed.loss)
    )
    return Sources(logits, target, weight, own, grad, loss)


def _target(
    typed: Input,
    document: Document | JoinedDocument,
    labels: tuple[str, ...] | None,
    objective: Objective,
    files: tuple[Named, ...] | None,
) -> AnyArray:
    shape = document.given.shape
    if typed.target is not None:
        if _names_several(typed.target, labels):
            from cecli.input.multifile import read_several_targets

            return read_several_targets(typed.target, labels, document.given, files, objective.axis)
        batch_shape = batch_shape_of(shape, objective.axis)
        choice = Choice(header=typed.header, samples=lambda: prod(batch_shape))
        target = find_target(typed.target, labels, choice)
        if target.shape == shape and not batch_shape and target_file(typed.target, labels) is None:
            one_hot = f"; if it is one-hot, give the index: -t {int(np.argmax(target))}"
            raise CecliError(f"{target.size} targets for one sample{one_hot}")
        return _reshaped(target, batch_shape)
    if typed.soft_target is not None:
        if _names_several(typed.soft_target):
            from cecli.input.multifile import read_several_probabilities

            return read_several_probabilities(typed.soft_target, document.given, files)
        soft = read_probabilities(typed.soft_target, "--soft-target", labels)
        if soft.ndim == 1 and len(shape) == 1 and soft.shape != shape:
            raise CecliError(
                f"--soft-target has shape {soft.shape}, the logits {shape}: it needs a "
                "probability for each class, as one argument (0.7,0.2,0.1)"
            )
        return _reshaped(soft, shape)
    if document.soft_target is not None:
        return document.soft_target
    if document.target is not None:
        return document.target
    raise CecliError("a target is needed: -t INDEX, counted from 0, or -q PROBABILITIES")


def _names_several(text: str, labels: tuple[str, ...] | None = None) -> bool:
    """Whether a target is a comma list of files, or a pattern; labels may look like such."""
    words = [word.strip() for word in text.split(",")]
    if (len(words) == 1 and not is_pattern(text)) or set(words) <= set(labels or ()):
        return False
    if is_file(text):
        return False
    try:
        return all(map(names_file, words))
    except CecliError:  # the reader of a single target says what is wrong with it
        return False


def _reshaped(target: NDArray[Any] | Joined, shape: tuple[int, ...]) -> NDArray[Any] | Joined:
    """A flat list fits any batch of as many samples."""
    fits = target.ndim <= 1 and target.size == int(np.prod(shape))
    return target.reshape(shape) if fits else target
