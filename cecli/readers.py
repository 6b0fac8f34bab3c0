"""Text, JSON and .npy files into arrays: every error in the form of the input is found here."""

from __future__ import annotations

import os
import re
import stat
import warnings
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from math import prod
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cecli.documents import NO_LOGITS, Document, document_of_json, document_of_text, labels_of
from cecli.errors import CecliError
from cecli.grading import Given, given_array
from cecli.parsing import (
    BRACKET,
    INTEGER,
    MAXIMUM_DIMENSIONS,
    NUMBER,
    array_of,
    as_float64,
    line_and_column,
    load_json,
    nested_lists,
    quote,
    reading,
    target_of,
    whole_numbers,
)
from cecli.typed import given_of_text

__all__ = ["Document", "read_document", "read_given", "read_labels", "read_target", "read_values"]

_ARRAY_SUFFIXES = (".npy", ".json")
_LABEL_SUFFIXES = (".json", ".txt")
_NOT_NPY = "not an .npy file, or a damaged one"
# A suffix that starts with a letter; but "2.e5" is a number.
_SUFFIX = re.compile(r"\.(?![eE][0-9]+\Z)[A-Za-z]\w*\Z")


def read_document(arguments: Sequence[str], stdin: BinaryIO | None) -> Document:
    """Read the logits that the arguments are or name; none, or "-", means standard input."""
    if tuple(arguments) in ((), ("-",)):
        return _read_stdin(stdin)
    for argument in arguments:
        if _names_file(argument, _ARRAY_SUFFIXES):
            if len(arguments) > 1:
                raise CecliError(f"{quote(argument)} is a file: give one file, or numbers")
            with reading(quote(argument)):
                return _read_file(argument)
    if len(arguments) == 1:
        return document_of_text(arguments[0], partial(line_and_column, arguments[0]))
    text = ("\n" if all(map(_is_row, arguments)) else " ").join(arguments)
    ends = list(accumulate(len(argument) + 1 for argument in arguments))
    return document_of_text(text, lambda offset: f"argument {bisect_right(ends, offset) + 1}")


def _is_row(argument: str) -> bool:
    """Whether an argument alone is a sample: two numbers or more, without brackets."""
    return len(argument.replace(",", " ").split()) > 1 and not BRACKET.search(argument)


def read_values(text: str, name: str) -> NDArray[np.float64]:
    """Read the numbers of an option, such as class weights; errors begin with its name."""
    with reading(name):
        if not _names_file(text, _ARRAY_SUFFIXES):
            return array_of(nested_lists(text), "value")
        with reading(quote(text)):
            if text.lower().endswith(".json"):
                return array_of(load_json(_read_text(text)), "value")
            return as_float64(_read_npy(text))


def read_given(text: str, key: str, stdin: BinaryIO | None) -> Given:
    """Read numbers to judge: typed, a file, or "-"; errors begin with the option, --key."""
    with reading(f"--{key}"):
        if text.strip() == "-":
            return given_of_text(_stdin_text(stdin), key)
        if not _names_file(text, _ARRAY_SUFFIXES):
            return given_of_text(text, key)
        with reading(quote(text)):
            if text.lower().endswith(".json"):
                return given_of_text(_read_text(text), key)
            return given_array(_read_npy(text), key)


def read_target(text: str, labels: Sequence[str] | None) -> NDArray[np.int64]:
    """Read class indices or labels: one, a comma list, a nested list, or a file."""
    text = text.strip()
    if text in (labels or ()):  # a label may look like a file, or hold a comma
        return target_of(text, labels)
    with reading("target"):
        if "," not in text and _names_file(text, _ARRAY_SUFFIXES):
            with reading(quote(text)):
                if text.lower().endswith(".json"):
                    return target_of(load_json(_read_text(text)), labels)
                return whole_numbers(_read_npy(text))
        if re.match(r"[\[(]|[\w.]+\(", text):
            return target_of(nested_lists(text), labels)
    words = text.split()
    if not all(map(INTEGER.fullmatch, words)):  # only names may hold spaces
        words = [word.strip() for word in text.split(",")]
    return target_of(words[0] if len(words) == 1 else words, labels)


def read_labels(text: str) -> tuple[str, ...]:
    """Read the names of the classes: a comma list, a JSON list, or a file (.json, .txt)."""
    with reading("labels"):
        if "," not in text and _names_file(text, _LABEL_SUFFIXES):
            with reading(quote(text)):
                content = _read_text(text)
                if text.lower().endswith(".json"):
                    return labels_of(load_json(content))
                return labels_of([line.strip() for line in content.rstrip().split("\n")])
        if text.lstrip().startswith("["):
            return labels_of(load_json(text))
        return labels_of([name.strip() for name in text.split(",")])


# --- Files and standard input -------------------------------------------------------------------


def _names_file(text: str, suffixes: tuple[str, ...]) -> bool:
    """Whether the text names a file to read; one of another suffix is an error."""
    if text.lower().endswith(suffixes):
        return True
    if NUMBER.fullmatch(text) or BRACKET.search(text):
        return False
    # Path.exists would raise for text that is too long for a name.
    if "/" in text or _SUFFIX.search(text) or os.path.exists(text):  # noqa: PTH110
        raise CecliError(f"{quote(text)}: the suffix of a file must be {' or '.join(suffixes)}")
    return False


def _read_stdin(stdin: BinaryIO | None) -> Document:
    if stdin is None or stdin.closed:
        raise CecliError(NO_LOGITS)
    with reading("standard input"):
        text = _stdin_text(stdin)
        return document_of_text(text, partial(line_and_column, text))


def _stdin_text(stdin: BinaryIO | None) -> str:
    # None from a pipe that does not block
    return "" if stdin is None or stdin.closed else _decode(stdin.read() or b"")


def _read_file(path: str) -> Document:
    if path.lower().endswith(".json"):
        return document_of_json(load_json(_read_text(path)))
    array = _read_npy(path)
    if array.ndim == 0:
        raise CecliError("a single number, where logits have a dimension of classes")
    return Document(array)


def _open(path: str) -> BinaryIO:
    try:
        return open(path, "rb")  # noqa: PTH123 - pathlib is not worth its import
    except ValueError:  # a NUL, or text that no file system can encode
        raise CecliError("not a file name") from None


def _read_text(path: str) -> str:
    with _open(path) as file:
        return _decode(file.read())


def _decode(data: bytes) -> str:
    """Text from UTF-8, with or without a byte order mark; every line ends with a newline."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CecliError("the text is UTF-16; it must be UTF-8")
    try:
        text = data.decode().removeprefix("\N{BYTE ORDER MARK}")
    except UnicodeDecodeError as error:
        raise CecliError(f"byte {error.start} is not valid UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_npy(path: str) -> NDArray[Any]:
    """Read an .npy file of real numbers, in the machine's byte order; never unpickle."""
    from numpy.lib import format as npy

    with _open(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns about the headers of Python 2
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise CecliError("not a regular file")
        try:
            # Version 3 differs from 2 only in names of fields, and an array with fields is refused.
            first = npy.read_magic(file) == (1, 0)
            read_header = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
            shape, _, dtype = read_header(file)
        except Exception:  # noqa: BLE001 - whatever a forged header makes the parser raise
            raise CecliError(_NOT_NPY if status.st_size else "the file is empty") from None
        if dtype.kind not in "biuf" or dtype.itemsize > 8:
            found = "pickled objects" if dtype.hasobject else dtype.name
            raise CecliError(f"holds {found}, not integers, float16, float32 or float64")
        if len(shape) > MAXIMUM_DIMENSIONS:
            raise CecliError(f"{len(shape)} dimensions: at most {MAXIMUM_DIMENSIONS} can be read")
        # Compared before NumPy allocates what the header promises.
        promised, held = prod(shape) * dtype.itemsize, status.st_size - file.tell()
        if promised != held:
            relation = "more" if promised > held else "less"
            raise CecliError(f"its header promises {relation} data than the {held} bytes it has")
        file.seek(0)
        try:
            array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
        except (ValueError, TypeError, OverflowError):  # a shape that no array can have
            raise CecliError(_NOT_NPY) from None
    number = np.uint8 if dtype.kind == "b" else dtype.newbyteorder("=")
    return array.astype(number, copy=False)
