"""What stands on the command line, in files and on standard input, into documents and arrays."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.input.array_files import (
    ARRAY_SUFFIXES,
    SUFFIXES_WITH_KEYS,
    decode,
    map_array,
    read_array,
    read_text,
)
from cecli.input.documents import (
    NO_LOGITS,
    Document,
    Labels,
    document_of_json,
    document_of_json_lines,
    document_of_text,
    labels_of,
    named_target_of,
)
from cecli.input.numbers import (
    BRACKET,
    INTEGER,
    NUMBER,
    array_of,
    as_float64,
    json_lines,
    load_json,
    nested_lists,
    target_of,
    whole_numbers,
)
from cecli.text.messages import line_and_column, quote, reading

if TYPE_CHECKING:
    from cecli.input.candidate import Candidate, Judged
    from cecli.input.tables import Table

__all__ = [
    "Document",
    "is_file",
    "is_pattern",
    "logits_file",
    "names_file",
    "path_and_key",
    "read_candidate",
    "read_document",
    "read_file",
    "read_labels",
    "read_target",
    "read_values",
    "target_file",
]

TABLE_SUFFIXES = (".csv", ".tsv")
_SUFFIXES = (*ARRAY_SUFFIXES, ".json", ".jsonl", *TABLE_SUFFIXES, ".txt")
_LABEL_SUFFIXES = (".json", ".txt")
_KEYED = "|".join(map(re.escape, SUFFIXES_WITH_KEYS))
_WITH_KEY = re.compile(rf"(.+(?:{_KEYED})):(.+)", re.IGNORECASE | re.DOTALL)
# A suffix that starts with a letter; but "2.e5" is a number.
_SUFFIX = re.compile(r"\.(?![eE][0-9]+\Z)[A-Za-z]\w*\Z")


def read_document(
    arguments: Sequence[str],
    stdin: BinaryIO | None,
    key: str | None = None,
    labels: Labels = None,
) -> Document:
    """Read the logits that the arguments are or name; none, or "-", means standard input.

    key: which array of an .npz or .safetensors file. labels: names of the classes, with which a
    document may name its target beside its own.
    """
    name = logits_file(arguments)
    if name is not None:
        with reading(quote(name)):
            return read_file(name, key, labels)
    if key is not None:
        raise CecliError(f"--key {key}: only .npz and .safetensors files have keys")
    if tuple(arguments) in ((), ("-",)):
        return _read_stdin(stdin, labels)
    if len(arguments) == 1:
        return document_of_text(arguments[0], partial(line_and_column, arguments[0]), labels)
    text = ("\n" if all(map(_is_row, arguments)) else " ").join(arguments)
    ends = list(accumulate(len(argument) + 1 for argument in arguments))
    return document_of_text(text, lambda offset: f"argument {bisect_right(ends, offset) + 1}")


def logits_file(arguments: Sequence[str]) -> str | None:
    """The one file that the arguments name; None for several, numbers, or standard input."""
    if tuple(arguments) in ((), ("-",)):
        return None
    files = list(filter(names_file, arguments))
    if files and len(files) < len(arguments):
        raise CecliError(f"{quote(files[0])} is a file: give files or numbers, not both")
    return files[0] if len(files) == 1 and not is_pattern(files[0]) else None


def is_pattern(text: str) -> bool:
    """Whether the name of a file is a pattern, as the shell knows it, and not itself a file."""
    path, _ = path_and_key(text)
    return any(character in path for character in "*?[") and not os.path.exists(path)  # noqa: PTH110


def is_file(text: str) -> bool:
    """Whether there is a file of this name, perhaps with a key behind it."""
    return os.path.isfile(path_and_key(text)[0])  # noqa: PTH113


def _is_row(argument: str) -> bool:
    """Whether an argument alone is a sample: two numbers or more, without brackets."""
    return len(argument.replace(",", " ").split()) > 1 and not BRACKET.search(argument)


def read_values(text: str, name: str) -> NDArray[np.floating[Any]]:
    """Read the numbers of an option, such as class weights; errors begin with its name."""
    with reading(name):
        if not names_file(text):
            return array_of(nested_lists(text), "value")
        with reading(quote(text)):
            path, key = path_and_key(text)
            suffix = _suffix_of(path)
            if suffix in ARRAY_SUFFIXES:
                array = read_array(path, key)
                return array if array.dtype.kind == "f" else as_float64(array)
            if suffix in TABLE_SUFFIXES:
                return _table_of(path).flat
            if suffix == ".json":
                return array_of(load_json(read_text(path)), "value")
            if suffix == ".jsonl":
                return array_of(json_lines(read_text(path)), "value")
            values = array_of(nested_lists(read_text(path)), "value")
            return values.reshape(-1) if 1 in values.shape else values


def read_candidate(text: str, key: Judged, stdin: BinaryIO | None) -> Candidate:
    """Read numbers to judge: typed, a file, or "-"; errors begin with the option, --key."""
    from cecli.input.candidate import candidate_of_array, candidate_of_text

    with reading(f"--{key}"):
        if text.strip() == "-":
            return candidate_of_text(_stdin_text(stdin), key)
        if not names_file(text):
            return candidate_of_text(text, key)
        with reading(quote(text)):
            path, own_key = path_and_key(text)
            suffix = _suffix_of(path)
            if suffix in ARRAY_SUFFIXES:
                return candidate_of_array(read_array(path, own_key), key)
            if suffix in TABLE_SUFFIXES:
                return candidate_of_array(_table_of(path).numbers, key)
            return candidate_of_text(read_text(path), key)


def read_target(text: str, labels: Sequence[str] | None) -> NDArray[np.integer[Any]]:
    """Read class indices or labels: one, a comma list, a nested list, or a file."""
    text = text.strip()
    if text in (labels or ()):  # which may hold a comma
        return target_of(text, labels)
    with reading("target"):
        file = target_file(text, labels)
        if file is not None:
            with reading(quote(file)):
                path, key = path_and_key(file)
                if _suffix_of(path) in ARRAY_SUFFIXES:
                    return whole_numbers(read_array(path, key))
                return target_of(_target_items(path), labels)
        if re.match(r"[\[(]|[\w.]+\(", text):
            return target_of(nested_lists(text), labels)
    return target_of(_words(text), labels)


def target_file(text: str, labels: Sequence[str] | None) -> str | None:
    """The one file that a target names; None for indices and labels, which may look like a file."""
    text = text.strip()
    return text if text not in (labels or ()) and _names_one_file(text) else None


def _target_items(path: str) -> object:
    """Class indices and labels of a text file, in nested lists."""
    text, suffix = read_text(path), _suffix_of(path)
    if suffix == ".json":
        return _target_in(load_json(text))
    if suffix == ".jsonl":
        return list(map(_target_in, json_lines(text)))
    if suffix in TABLE_SUFFIXES:
        from cecli.input.tables import read_words

        return read_words(text, _delimiter_of(path))
    words = [_words(line.strip()) for line in text.split("\n") if line.strip()]
    return words[0] if len(words) == 1 else words


def _target_in(value: object) -> object:
    """A target as JSON, or that of a document."""
    if not isinstance(value, dict):
        return value
    if value.get("target") is None:
        raise CecliError('the object has no "target"')
    return value["target"]


def _words(text: str) -> str | list[str]:
    """The indices or names in a line: one, or a list of them."""
    words = text.split()
    if not all(map(INTEGER.fullmatch, words)):  # only names may hold spaces
        words = [word.strip() for word in text.split(",")]
    return words[0] if len(words) == 1 else words


def read_labels(text: str) -> tuple[str, ...]:
    """Read the names of the classes: a comma list, a JSON list, or a file (.json, .txt)."""
    with reading("labels"):
        if _names_one_file(text, _LABEL_SUFFIXES):
            with reading(quote(text)):
                content = read_text(text)
                if text.lower().endswith(".json"):
                    return labels_of(load_json(content))
                return labels_of([line.strip() for line in content.rstrip().split("\n")])
        if text.lstrip().startswith("["):
            return labels_of(load_json(text))
        return labels_of([name.strip() for name in text.split(",")])


# --- Files and standard input -------------------------------------------------------------------


def names_file(text: str, suffixes: tuple[str, ...] = _SUFFIXES) -> bool:
    """Whether the text names a file to read; one of another suffix is an error."""
    if text.lower().endswith(suffixes):
        return True
    if suffixes is _SUFFIXES and _WITH_KEY.fullmatch(text):
        return True
    if NUMBER.fullmatch(text) or BRACKET.search(text):
        return False
    # Path.exists would raise for text that is too long for a name.
    if "/" in text or _SUFFIX.search(text) or os.path.exists(text):  # noqa: PTH110
        suffix_list = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
        raise CecliError(f"{quote(text)}: the suffix of a file must be {suffix_list}")
    return False


def _names_one_file(text: str, suffixes: tuple[str, ...] = _SUFFIXES) -> bool:
    """The same where a comma stands in a list, unless there is a file with one in its name."""
    return ("," not in text or is_file(text)) and names_file(text, suffixes)


def _read_stdin(stdin: BinaryIO | None, labels: Labels) -> Document:
    if stdin is None or stdin.closed:
        raise CecliError(NO_LOGITS)
    with reading("standard input"):
        text = _stdin_text(stdin)
        return document_of_text(text, partial(line_and_column, text), labels)


def _stdin_text(stdin: BinaryIO | None) -> str:
    # None from a pipe that does not block
    return "" if stdin is None or stdin.closed else decode(stdin.read() or b"")


def read_file(text: str, key: str | None, labels: Labels = None) -> Document:
    """Read the document of one file, whose name may have a key behind it."""
    path, own_key = path_and_key(text)
    if key is not None and own_key is not None:
        raise CecliError("give its key once: with --key, or behind its name")
    key, suffix = key or own_key, _suffix_of(path)
    if suffix in ARRAY_SUFFIXES:
        array = map_array(path, key)
        if array.ndim == 0:
            raise CecliError("a single number, where logits have a dimension of classes")
        return Document(array)
    if key is not None:
        raise CecliError(f"--key {key}: only .npz and .safetensors files have keys")
    if suffix in TABLE_SUFFIXES:
        return _document_of_table(_table_of(path), labels)
    content = read_text(path)
    if suffix == ".json":
        return document_of_json(load_json(content), labels)
    if suffix == ".jsonl":
        return document_of_json_lines(content, labels)
    return document_of_text(content, partial(line_and_column, content), labels)


def _document_of_table(table: Table, given: Labels) -> Document:
    """A row is a sample: one alone is no batch."""
    labels = None if table.names is None else labels_of(list(table.names))
    target = None if table.target is None else named_target_of(table.target, labels, given)
    if len(table.numbers) > 1:
        return Document(table.numbers, target, labels=labels)
    return Document(table.numbers[0], None if target is None else target[0], labels=labels)


def _table_of(path: str) -> Table:
    from cecli.input.tables import read_table

    return read_table(read_text(path), _delimiter_of(path))


def _delimiter_of(path: str) -> str:
    return "\t" if _suffix_of(path) == ".tsv" else ","


def path_and_key(text: str) -> tuple[str, str | None]:
    """A file's name, and the key behind it where there is one: logits.npz:target."""
    match = _WITH_KEY.fullmatch(text)
    return (match[1], match[2]) if match else (text, None)


def _suffix_of(path: str) -> str:
    return f".{path.rpartition('.')[2].lower()}"
