"""Several files of logits as one batch, and those of its targets in the same order.

Files are named one by one, or by a pattern as the shell knows it; those of a pattern follow one
another as the shell lists them, by the characters of their names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from glob import glob
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.input.arguments import (
    find_target,
    is_pattern,
    path_and_key,
    read_candidate,
    read_file,
    read_probabilities,
)
from cecli.input.candidate import Candidate, CandidateName, candidate_of_array
from cecli.input.columns import Choice
from cecli.input.documents import Document, Labels, check_settings
from cecli.problem.dtypes import AnyArray
from cecli.problem.precision import type_precision
from cecli.problem.problem import batch_shape_of
from cecli.problem.rows import Joined, Segment, segment_of
from cecli.text.messages import quote, reading

Given = NDArray[Any] | Joined
_WILDCARD = re.compile(r"(\*+|\?|\[[!^]?\]?[^\]]*\])")


class Named(NamedTuple):
    """A file among several.

    name: with its key, where it has one. stars: what each star of its pattern stands for; of a
    file named by itself, its name without directory and suffix. found: whether a pattern found it.
    """

    name: str
    stars: tuple[str, ...]
    found: bool


@dataclass(frozen=True, eq=False)
class JoinedDocument:
    """A `Document` whose arrays are those of several files as one."""

    given: Joined
    target: Joined | None
    soft_target: Joined | None
    labels: tuple[str, ...] | None
    objective: Mapping[str, object]
    notes: tuple[str, ...]
    target_column: str | None


def named_files(texts: Sequence[str]) -> tuple[Named, ...]:
    """The files that are named one by one, or by patterns."""
    return tuple(named for text in texts for named in _expanded(text))


def _expanded(text: str) -> list[Named]:
    path, key = path_and_key(text)
    if not is_pattern(path):
        return [Named(text, (Path(path).stem,), False)]
    found = sorted(glob(path))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not found:
        raise CecliError(f"{quote(text)}: no file has such a name")
    behind = "" if key is None else f":{key}"
    return [Named(name + behind, _stars(path, name), True) for name in found]


def _stars(pattern: str, name: str) -> tuple[str, ...]:
    """What the stars of a pattern stand for in a name that it fits."""
    expression = ""
    for part in _WILDCARD.split(str(Path(pattern))):
        if part.startswith("*"):
            expression += "([^/]*)"
        elif _WILDCARD.fullmatch(part):
            expression += part.replace("[!", "[^") if part != "?" else "[^/]"
        else:
            expression += re.escape(part)
    found = re.fullmatch(expression, str(Path(name)), re.DOTALL)
    return found.groups() if found else (Path(name).stem,)


def read_several(
    files: Sequence[Named], key: str | None, labels: Labels, choice: Choice
) -> JoinedDocument:
    """The logits of several files as one batch, with what their documents add.

    A file that holds a single sample counts as a batch of one.
    """
    logits: list[Segment] = []
    targets: dict[str, list[Segment]] = {"target": [], "soft_target": []}
    first: Document | None = None
    for file in files:
        with reading(quote(file.name)):
            document = read_file(file.name, key, labels, choice)
            if first is not None and _could_be_targets(document.given, first.given):
                raise CecliError(f"holds integers, one a sample: the targets are -t {file.name}")
            single = document.given.ndim == 1
            logits.append(_segment(file, document.given, single))
            for name, segments in targets.items():
                array = getattr(document, name)
                if first is not None and (array is None) != (getattr(first, name) is None):
                    raise CecliError(f"{name} must be in every file or in none")
                if array is not None:
                    segments.append(_segment(file, array, single))
            first = first or document
            check_settings(document, first, quote(files[0].name))
    if first is None:
        raise CecliError("no files of logits")
    joined = {name: Joined(segments) for name, segments in targets.items() if segments}
    return JoinedDocument(
        Joined(logits),
        joined.get("target"),
        joined.get("soft_target"),
        first.labels,
        first.objective,
        first.notes,
        first.target_column,
    )


def _could_be_targets(array: Given, logits: Given) -> bool:
    """Whether an array in the place of more logits has an integer for each sample of the first."""
    batch = logits.shape[:-1]
    if not batch or array.shape not in (batch, (*batch, 1)):
        return False
    if array.dtype.kind in "iu":
        return array.shape == batch or logits.shape[-1] > 1
    # Text has no integers; what could be a sample is one.
    could_be_logits = array.shape == logits.shape[1:] or logits.shape[-1] == 1
    values = np.asarray(array)
    return not could_be_logits and bool((np.rint(values) == values).all())


def _segment(file: Named, array: Given, single: bool) -> Segment:
    return segment_of(quote(file.name), array.reshape((1, *array.shape)) if single else array)


# --- Targets ------------------------------------------------------------------------------------


def read_several_targets(
    text: str,
    labels: Labels,
    logits: AnyArray,
    files: Sequence[Named] | None,
    axis: int,
) -> Joined:
    """Class indices from a pattern, or a comma list of files: one for each file of logits."""
    return _matched(text, logits, files, partial(find_target, labels=labels), axis)


def read_several_probabilities(
    text: str, logits: AnyArray, files: Sequence[Named] | None
) -> Joined:
    """Class probabilities likewise, of the shape of the logits."""
    return _matched(text, logits, files, partial(read_probabilities, name="--soft-target"), None)


def _matched(
    text: str,
    logits: AnyArray,
    files: Sequence[Named] | None,
    read: Callable[[str], Given],
    axis: int | None,
) -> Joined:
    """The arrays of targets joined in the order of the logits' files, each as long as its own.

    axis: of the classes, which targets do not have; None where they do.
    """
    found = named_files([word.strip() for word in text.split(",")])
    if files is None or not isinstance(logits, Joined):
        raise CecliError(f"{quote(text)} names {len(found)} files of targets for one of logits")
    if len(found) != len(files):
        raise CecliError(
            f"{quote(text)} names {len(found)} files of targets for {len(files)} of logits"
        )
    segments = []
    for target, own, segment in zip(found, files, logits.segments, strict=True):
        _require_same_stars(target, own)
        shape = segment.shape if axis is None else batch_shape_of(segment.shape, axis)
        array = read(target.name)
        if array.size != prod(shape) or (array.ndim > 1 and array.shape != shape):
            raise CecliError(
                f"{quote(target.name)} holds targets of shape {array.shape}: "
                f"{segment.name} needs {shape}"
            )
        segments.append(segment_of(quote(target.name), array.reshape(shape)))
    return Joined(segments)


def _require_same_stars(file: Named, own: Named) -> None:
    """Refuse a file found by a pattern beside a file of logits of another name."""
    both_found = file.found and own.found and len(file.stars) == len(own.stars)
    if both_found and file.stars != own.stars:
        raise CecliError(
            f"{quote(file.name)} does not belong to {quote(own.name)}: what stands for the "
            "star must be the same"
        )


# --- Numbers to be judged -------------------------------------------------------------------------


def read_several_candidates(
    text: str, key: CandidateName, files: Sequence[Named] | None
) -> Candidate:
    """Numbers to judge from a pattern, or a comma list of files, as one batch.

    files: of the logits, where they are several too; a file that holds a single sample counts as a
    batch of one.
    """
    with reading(f"--{key}"):
        found = named_files([word.strip() for word in text.split(",")])
        if files is not None and len(found) == len(files):
            for file, own in zip(found, files, strict=True):
                _require_same_stars(file, own)
    single = 1 if key == "grad" else 0
    parts = [_of_a_batch(read_candidate(file.name, key, None), single) for file in found]
    with reading(f"--{key}"):
        if all(part.unit is None for part in parts):
            arrays = [_unread(part.given) for part in parts]
            if len({array.dtype.newbyteorder("=") for array in arrays}) > 1:
                arrays = [part.values for part in parts]
            return candidate_of_array(_joined(found, arrays), key)
        values = _joined(found, [part.values for part in parts])
        return Candidate(values, "float64", np.concatenate([_unit_of(part) for part in parts]))


def _joined(files: Sequence[Named], arrays: Sequence[Given]) -> Joined:
    pairs = zip(files, arrays, strict=True)
    return Joined([_segment(file, array, single=False) for file, array in pairs])


def _unread(array: AnyArray) -> Given:
    """An array; one in a file stays there."""
    return array if isinstance(array, Joined) else np.asarray(array)


def _unit_of(candidate: Candidate) -> NDArray[np.float64]:
    """That of the last digit, of an array beside typed numbers that of its type."""
    if candidate.unit is not None:
        return candidate.unit
    return np.asarray(np.abs(candidate.values) * type_precision(candidate.type).epsilon)


def _of_a_batch(candidate: Candidate, single: int) -> Candidate:
    """The same numbers; those of a single sample, of so many dimensions, as a batch of one."""
    if len(candidate.shape) != single:
        return candidate
    unit = None if candidate.unit is None else candidate.unit[None]
    return candidate.with_values(np.asarray(candidate.given)[None], unit)
