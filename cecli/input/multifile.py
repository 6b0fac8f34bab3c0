"""Several files of logits as one batch, and those of its targets in the same order.

Files are named one by one, or by a pattern as the shell knows it; those of a pattern follow one
another as the shell lists them, by the characters of their names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from glob import glob
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.input.arguments import is_pattern, path_and_key, read_file, read_target, read_values
from cecli.input.documents import Document, Labels, check_settings
from cecli.problem.concatenated import Joined, Piece, piece_of
from cecli.problem.problem import batch_shape_of
from cecli.text.messages import quote, reading

_WILDCARD = re.compile(r"(\*+|\?|\[[!^]?\]?[^\]]*\])")


class Named(NamedTuple):
    """A file among several.

    name: with its key, where it has one. stars: what each star of its pattern stands for; of a
    file named by itself, its name without directory and suffix. found: whether a pattern found it.
    """

    name: str
    stars: tuple[str, ...]
    found: bool


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


def read_several(files: Sequence[Named], key: str | None, labels: Labels) -> Document:
    """The logits of several files as one batch, with what their documents add.

    A file that holds a single sample counts as a batch of one.
    """
    logits: list[Piece] = []
    targets: dict[str, list[Piece]] = {"target": [], "soft_target": []}
    first: Document | None = None
    for file in files:
        with reading(quote(file.name)):
            document = read_file(file.name, key, labels)
            single = document.logits.ndim == 1
            logits.append(_piece(file, document.logits, single))
            for name, pieces in targets.items():
                array = getattr(document, name)
                if first is not None and (array is None) != (getattr(first, name) is None):
                    raise CecliError(f"{name} must be in every file or in none")
                if array is not None:
                    pieces.append(_piece(file, array, single))
            first = first or replace(document, logits=document.logits[:0])
            check_settings(document, first, quote(files[0].name))
    if first is None:
        raise CecliError("no files of logits")
    joined = {name: _as_array(Joined(pieces)) for name, pieces in targets.items() if pieces}
    return replace(
        first,
        logits=_as_array(Joined(logits)),
        target=joined.get("target"),
        soft_target=joined.get("soft_target"),
    )


def _piece(file: Named, array: NDArray[Any], single: bool) -> Piece:
    return piece_of(quote(file.name), array[None] if single else array)


def _as_array(joined: Joined) -> NDArray[Any]:
    """Joined arrays stand wherever a problem takes an array."""
    array: Any = joined
    return array  # type: ignore[no-any-return]


# --- Targets ------------------------------------------------------------------------------------


def read_several_targets(
    text: str,
    labels: Sequence[str] | None,
    logits: NDArray[Any],
    files: Sequence[Named] | None,
    axis: int,
) -> NDArray[Any]:
    """Class indices from a pattern, or a comma list of files: one for each file of logits."""
    return _matched(text, logits, files, partial(read_target, labels=labels), axis)


def read_several_probabilities(
    text: str, logits: NDArray[Any], files: Sequence[Named] | None
) -> NDArray[Any]:
    """Class probabilities likewise, of the shape of the logits."""
    return _matched(text, logits, files, partial(read_values, name="--soft-target"), None)


def _matched(
    text: str,
    logits: Any,
    files: Sequence[Named] | None,
    read: Callable[[str], NDArray[Any]],
    axis: int | None,
) -> NDArray[Any]:
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
    pieces = []
    for target, own, piece in zip(found, files, logits.pieces, strict=True):
        both_found = target.found and own.found and len(target.stars) == len(own.stars)
        if both_found and target.stars != own.stars:
            raise CecliError(
                f"{quote(target.name)} does not belong to {quote(own.name)}: what stands for the "
                "star must be the same"
            )
        shape = piece.shape if axis is None else batch_shape_of(piece.shape, axis)
        array = read(target.name)
        if array.size != prod(shape) or (array.ndim > 1 and array.shape != shape):
            raise CecliError(
                f"{quote(target.name)} holds targets of shape {array.shape}: "
                f"{piece.name} needs {shape}"
            )
        pieces.append(piece_of(quote(target.name), array.reshape(shape)))
    return _as_array(Joined(pieces))
