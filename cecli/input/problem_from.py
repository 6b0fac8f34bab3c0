"""A problem made of what stands on the command line, in files and in a document piped in."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cecli.errors import About, CecliError
from cecli.input.arguments import (
    Document,
    is_file,
    is_pattern,
    logits_file,
    names_file,
    read_candidate,
    read_document,
    read_labels,
    read_target,
    read_values,
    target_file,
)
from cecli.problem.dtypes import AnyArray
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem, batch_shape_of
from cecli.text.messages import quote

if TYPE_CHECKING:
    from cecli.input.candidate import Candidate
    from cecli.input.multifile import JoinedDocument, Named

OBJECTIVE = (
    "ignore_index",
    "label_smoothing",
    "reduction",
    "temperature",
    "softcap",
    "z_loss",
    "axis",
)


@dataclass(frozen=True)
class Sources:
    """The files that numbers stand in; None for what was typed, piped in or left out."""

    logits: str | None
    target: str | None
    weight: str | None

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
        if about in ("target", "soft_target"):
            return self.target
        return self.logits if about == "logits" else None


@dataclass(frozen=True, eq=False)
class Request:
    """What a command is asked to compute; grad and loss are those to compare with.

    sources: the files of its numbers. files: of the logits, where several were named, or a pattern.
    """

    problem: Problem
    labels: tuple[str, ...] | None
    sources: Sources
    files: tuple[Named, ...] | None = None
    grad: Candidate | None = None
    loss: Candidate | None = None


def read_request(options: Mapping[str, Any], *, with_target: bool) -> Request:
    """Read all input; where a document and the command line both say something, the latter wins."""
    grad, loss = _read_candidates(options)
    stdin = standard_input(options["logits"])
    files = _several_files(options)
    document: Document | JoinedDocument
    given = None if options["labels"] is None else read_labels(options["labels"])
    if files is None:
        document = read_document(options["logits"], stdin, options.get("key"), given)
    else:
        from cecli.input.multifile import read_several

        document = read_several(files, options.get("key"), given)
    labels = given or document.labels
    objective = Objective(**{**document.objective, **given_objective(options)})
    target = _target(options, document, labels, objective, files) if with_target else None
    sources = _sources(options, labels, with_target=with_target)
    with sources.naming():
        problem = Problem.of(document.logits, target, objective)
    if labels is not None and len(labels) != problem.classes:
        raise CecliError(f"{len(labels)} labels for {problem.classes} classes: one each is needed")
    return Request(problem, labels, sources, files, grad, loss)


def _several_files(options: Mapping[str, Any]) -> tuple[Named, ...] | None:
    """The files of the logits, unless they are numbers, standard input or one file."""
    arguments = options["logits"]
    if arguments in ((), ("-",)) or logits_file(arguments) or not names_file(arguments[0]):
        return None
    from cecli.input.multifile import named_files

    return named_files(arguments)


def _read_candidates(options: Mapping[str, Any]) -> tuple[Candidate | None, Candidate | None]:
    """What --grad and --loss say; standard input holds one thing only."""
    texts = {name: options.get(name) for name in ("grad", "loss")}
    from_stdin = [name for name, text in texts.items() if text is not None and text.strip() == "-"]
    logits_too = from_stdin and options["logits"] in ((), ("-",))
    if len(from_stdin) > 1 or logits_too:
        other = "the logits" if logits_too else "--grad"
        raise CecliError(f"--{from_stdin[-1]} and {other} cannot both be standard input")
    stdin = None if sys.stdin is None else sys.stdin.buffer
    grad, loss = texts.values()
    return (
        None if grad is None else read_candidate(grad, "grad", stdin),
        None if loss is None else read_candidate(loss, "loss", stdin),
    )


def given_objective(options: Mapping[str, Any]) -> dict[str, Any]:
    """What the command line says about the objective."""
    given = {name: options[name] for name in OBJECTIVE if options.get(name) is not None}
    if options.get("weight") is not None:
        given["weight"] = read_values(options["weight"], "--weight")
    return given


def _sources(
    options: Mapping[str, Any], labels: tuple[str, ...] | None, *, with_target: bool
) -> Sources:
    """The files that numbers stand in: what no option gives, in the document of the logits."""
    logits = logits_file(options["logits"])
    target = weight = logits
    if with_target and options["target"] is not None:
        several = _names_several(options["target"], labels)
        target = options["target"] if several else target_file(options["target"], labels)
    elif with_target and options["soft_target"] is not None:
        target = options["soft_target"] if names_file(options["soft_target"]) else None
    if options.get("weight") is not None:
        weight = options["weight"] if names_file(options["weight"]) else None
    return Sources(logits, target, weight)


def standard_input(arguments: tuple[str, ...]) -> BinaryIO | None:
    """Standard input; None where it is closed, or a terminal that nobody was asked to type at."""
    if sys.stdin is None or (not arguments and sys.stdin.isatty()):
        return None
    return sys.stdin.buffer


def _target(
    options: Mapping[str, Any],
    document: Document | JoinedDocument,
    labels: tuple[str, ...] | None,
    objective: Objective,
    files: tuple[Named, ...] | None,
) -> AnyArray:
    if options["target"] is not None and options["soft_target"] is not None:
        raise CecliError("give --target or --soft-target, not both")
    shape = document.logits.shape
    if options["target"] is not None:
        if _names_several(options["target"], labels):
            from cecli.input.multifile import read_several_targets

            return read_several_targets(
                options["target"], labels, document.logits, files, objective.axis
            )
        target = read_target(options["target"], labels)
        return _reshaped(target, batch_shape_of(shape, objective.axis))
    if options["soft_target"] is not None:
        if _names_several(options["soft_target"]):
            from cecli.input.multifile import read_several_probabilities

            return read_several_probabilities(options["soft_target"], document.logits, files)
        soft = read_values(options["soft_target"], "--soft-target")
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


def _reshaped(target: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A flat list fits any batch of as many samples."""
    fits = target.ndim <= 1 and target.size == int(np.prod(shape))
    return target.reshape(shape) if fits else target
