"""What stands on the command line, in files and on standard input, into documents and arrays."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.input.array_files import (
    GZIP,
    NO_KEYS,
    NPY,
    Resumed,
    decode,
    find_array,
    open_unpacked,
    read_array,
    read_npy,
    read_text,
    unpacked,
)
from cecli.input.columns import Choice
from cecli.input.documents import (
    NO_LOGITS,
    Document,
    Labels,
    document_of_json_lines,
    document_of_json_text,
    document_of_text,
    labels_of,
    named_target_of,
    target_in,
)
from cecli.input.formats import (
    ARRAYS,
    ARROW_TABLES,
    LABEL_SUFFIXES,
    TABLES,
    is_file,
    is_pattern,
    names_file,
    names_one_file,
    path_and_key,
    suffix_of,
    without_suffix,
)
from cecli.input.numbers import (
    BRACKET,
    INTEGER,
    array_of_lists,
    as_float64,
    is_number,
    json_lines,
    load_json,
    nested_lists,
    target_of,
    whole_numbers,
)
from cecli.problem.rows import Joined
from cecli.text.messages import line_and_column, quote, reading

if TYPE_CHECKING:
    from cecli.input.candidate import Candidate, CandidateName
    from cecli.input.tables import Table, ToIndices

__all__ = [
    "Document",
    "find_target",
    "is_file",
    "is_pattern",
    "logits_file",
    "names_file",
    "path_and_key",
    "read_candidate",
    "read_document",
    "read_file",
    "read_labels",
    "read_probabilities",
    "read_values",
    "target_file",
]

MOST_COLUMNS_NAMED = 8
Targets = NDArray[np.integer[Any]] | Joined
AS_IT_IS = Choice()
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")


def read_document(
    arguments: Sequence[str],
    stdin: BinaryIO | None,
    key: str | None = None,
    labels: Labels = None,
    choice: Choice = AS_IT_IS,
) -> Document:
    """Read the logits that the arguments are or name; none, or "-", means standard input.

    key: which array of a file of several. labels: names of the classes, with which a document may
    name its target beside its own. choice: what is known about the columns of a table.
    """
    name = logits_file(arguments)
    if name is not None:
        with reading(quote(name)):
            return read_file(name, key, labels, choice)
    if key is not None:
        raise CecliError(f"--key {key}: {NO_KEYS}")
    if tuple(arguments) in ((), ("-",)):
        if stdin is None or stdin.closed:
            raise CecliError(NO_LOGITS)
        with reading("standard input"):
            return _document_of_stream(stdin, labels, choice)
    _require_no_columns(choice)
    return _document_of_words(arguments, labels)


def logits_file(arguments: Sequence[str]) -> str | None:
    """The one file that the arguments name; None for several, numbers, or standard input."""
    if tuple(arguments) in ((), ("-",)):
        return None
    files = list(filter(names_file, arguments))
    if files and len(files) < len(arguments):
        raise CecliError(f"{quote(files[0])} is a file: give files or numbers, not both")
    return files[0] if len(files) == 1 and not is_pattern(files[0]) else None


def _document_of_words(arguments: Sequence[str], labels: Labels) -> Document:
    """The numbers of one sample, or quoted rows of as many samples."""
    if len(arguments) == 1:
        _refuse_nearly_files(arguments)
        return document_of_text(arguments[0], partial(line_and_column, arguments[0]), labels)
    rows = list(map(_is_row, arguments))
    if all(map(_DECIMAL_COMMA.fullmatch, arguments)):
        raise CecliError(
            f"{' '.join(map(quote, arguments[:3]))} are {len(arguments)} numbers with decimal "
            "commas, or as many samples of two numbers: write decimal points (2.5 1.5), or blanks "
            "in quotes ('2 5' '1 5')"
        )
    if any(rows) and not all(rows) and not any(map(BRACKET.search, arguments)):
        odd = arguments[rows.index(False)]
        raise CecliError(
            f"{quote(odd)} stands alone beside quoted rows of several numbers: quote each sample "
            "as a row, or none; the targets of a batch are one argument (-t 1,1)"
        )
    word = next((word for word in arguments if word.isidentifier() and not is_number(word)), None)
    if labels is not None and len(labels) == 1 and word is not None:
        raise CecliError(
            f"{quote(word)} is not a number; --labels takes one argument, "
            f"as in --labels {labels[0]},{word}"
        )
    _refuse_nearly_files(arguments)
    text = ("\n" if all(rows) else " ").join(arguments)
    ends = list(accumulate(len(argument) + 1 for argument in arguments))
    return document_of_text(text, lambda offset: f"argument {bisect_right(ends, offset) + 1}")


def _refuse_nearly_files(arguments: Sequence[str]) -> None:
    """Refuse a word that is the name of a file but for its suffix."""
    for word in arguments:
        meant = without_suffix(word) if word.isidentifier() and not is_number(word) else None
        if meant is not None:
            raise CecliError(f"{quote(word)} is not a number: did you mean {quote(meant)}?")


def _is_row(argument: str) -> bool:
    """Whether an argument alone is a sample: two numbers or more, without brackets."""
    ends = argument.strip()
    if BRACKET.search(argument) or ends.startswith(",") or ends.endswith(","):
        return False
    return len(argument.replace(",", " ").split()) > 1


def read_probabilities(text: str, name: str, labels: Labels = None) -> NDArray[Any] | Joined:
    """`read_values` as floats; those of a file of arrays stay there until they are looked at."""
    if names_file(text):
        path, key = path_and_key(text)
        if suffix_of(path) in ARRAYS:
            with reading(name), reading(quote(text)):
                found = find_array(path, key)
                if isinstance(found, Joined) and found.dtype.kind == "f":
                    return found
    values = read_values(text, name, labels=labels)
    return values if values.dtype.kind == "f" else as_float64(values)


def read_values(
    text: str, name: str, choice: Choice = AS_IT_IS, labels: Labels = None
) -> NDArray[Any]:
    """Read the numbers of an option, such as class weights; errors begin with its name.

    labels: names of the classes, in whose order those of a table must be.
    """
    with reading(name):
        if not names_file(text):
            return array_of_lists(nested_lists(text), "value")
        with reading(quote(text)):
            path, key = path_and_key(text)
            suffix = suffix_of(path)
            if suffix in ARRAYS:
                array = read_array(path, key)
                return as_float64(array) if array.dtype.kind == "b" else array
            if suffix in TABLES:
                rows_are_classes = name == "--weight" and key is None
                in_order = partial(_in_order, labels) if rows_are_classes else None
                table = _table_of(path, choice._replace(columns=key), in_order)
                _require_same_order(table.labels, labels, path)
                return table.flat
            if suffix == ".json":
                return array_of_lists(load_json(read_text(path)), "value")
            if suffix == ".jsonl":
                return array_of_lists(json_lines(read_text(path)), "value")
            values = array_of_lists(nested_lists(read_text(path)), "value")
            return values.reshape(-1) if 1 in values.shape else values


def _in_order(labels: Labels, texts: Any, own: Labels, first: int) -> NDArray[np.int64]:
    """The classes of a table's rows, which must be all, one after another."""
    for place, text in enumerate(texts, first):
        known = labels[place] if labels is not None and place < len(labels) else None
        if str(text) not in (str(place), known):
            raise CecliError(
                f"row {place} is that of {quote(str(text))}, and not of class {place}: the rows "
                "must be in the order of the classes; FILE:COLUMN takes a column as it is"
            )
    return np.arange(first, first + len(texts))


def _require_same_order(own: Labels, labels: Labels, path: str) -> None:
    """Refuse a table that has the classes in another order than the logits."""
    if own and labels and own != labels and sorted(own) == sorted(labels):
        raise CecliError(
            f"the columns are {', '.join(map(quote, own))}, where the classes are "
            f"{', '.join(map(quote, labels))}: {path}:{','.join(labels)} reads them in that order"
        )


def read_candidate(
    text: str, key: CandidateName, stdin: BinaryIO | None, labels: Labels = None
) -> Candidate:
    """Read numbers to judge: typed, a file, or "-"; errors begin with the option, --key.

    labels: as in `read_values`.
    """
    from cecli.input.candidate import candidate_of_array, candidate_of_text

    with reading(f"--{key}"):
        if text.strip() == "-":
            piped = None if stdin is None or stdin.closed else stdin.read()
            return candidate_of_text(decode(piped or b""), key)
        if not names_file(text):
            return candidate_of_text(text, key)
        with reading(quote(text)):
            path, own_key = path_and_key(text)
            suffix = suffix_of(path)
            if suffix in ARRAYS:
                return candidate_of_array(find_array(path, own_key), key)
            if suffix in TABLES:
                table = _table_of(path, Choice(columns=own_key), None)
                _require_same_order(table.labels, labels, path)
                return candidate_of_array(table.numbers, key)
            return candidate_of_text(read_text(path), key)


# --- Targets and labels ---------------------------------------------------------------------------


def find_target(text: str, labels: Labels, choice: Choice = AS_IT_IS) -> Targets:
    """Read class indices or labels: one, a comma list, a nested list, or a file.

    choice: what is known about the rows of a table. Those of a file of arrays stay there until they
    are looked at.
    """
    text = text.strip()
    if text in (labels or ()):  # which may hold a comma
        return target_of(text, labels)
    with reading("target"):
        file = target_file(text, labels)
        if file is not None:
            with reading(quote(file)):
                return _target_of_file(file, labels, choice)
        if re.match(r"[\[(]|[\w.]+\(", text):
            return target_of(nested_lists(text), labels)
    return target_of(_words(text), labels)


def target_file(text: str, labels: Labels) -> str | None:
    """The one file that a target names; None for indices and labels, which may look like a file."""
    text = text.strip()
    return text if text not in (labels or ()) and names_one_file(text) else None


def _target_of_file(file: str, labels: Labels, choice: Choice) -> Targets:
    path, key = path_and_key(file)
    suffix = suffix_of(path)
    if suffix in ARRAYS:
        found = find_array(path, key, names=True)
        if isinstance(found, Joined) and found.dtype.kind in "iu":
            return found
        array = read_array(path, key, names=True)
        if array.dtype.kind in "US":
            return target_of(array.astype(str).tolist(), labels)
        return whole_numbers(array)
    if suffix == ".json":
        return target_of(target_in(load_json(read_text(path))), labels)
    if suffix == ".jsonl":
        return target_of(list(map(target_in, json_lines(read_text(path)))), labels)

    def to_indices(texts: object, own: Labels, first: int) -> NDArray[np.int64]:
        return target_of(texts, labels, first)

    if suffix in ARROW_TABLES:
        from cecli.input.arrow import read_arrow_targets

        return read_arrow_targets(path, key, to_indices)
    from cecli.input.tables import read_targets, without_header

    if suffix in TABLES:
        with open_unpacked(path) as stream:
            delimiter = _delimiter_of(suffix)
            return read_targets(stream, delimiter, key, choice, labels, to_indices)
    lines = (line.strip() for line in read_text(path).split("\n"))
    words = [_words(line) for line in lines if line and not line.startswith("#")]
    return target_of(words[0] if len(words) == 1 else without_header(words, choice, labels), labels)


def _words(text: str) -> str | list[str]:
    """The indices or names in a line: one, or a list of them."""
    words = text.split()
    if not all(map(INTEGER.fullmatch, words)):  # only names may hold spaces
        words = [word.strip() for word in text.split(",")]
    return words[0] if len(words) == 1 else words


def read_labels(text: str) -> tuple[str, ...]:
    """Read the names of the classes: a comma list, a JSON list, or a file (.json, .txt)."""
    with reading("labels"):
        if names_one_file(text, LABEL_SUFFIXES):
            with reading(quote(text)):
                content = read_text(text)
                if text.lower().endswith(".json"):
                    return labels_of(load_json(content))
                return labels_of([line.strip() for line in content.rstrip().split("\n")])
        if text.lstrip().startswith("["):
            return labels_of(load_json(text))
        return labels_of([name.strip() for name in text.split(",")])


# --- Files and standard input -------------------------------------------------------------------


def read_file(
    text: str, key: str | None, labels: Labels = None, choice: Choice = AS_IT_IS
) -> Document:
    """Read the document of one file, whose name may have a key behind it."""
    path, own_key = path_and_key(text)
    if key is not None and own_key is not None:
        raise CecliError("give its key once: with --key, or behind its name")
    key, suffix = key or own_key, suffix_of(path)
    if suffix in (*ARRAYS, ".json", ".jsonl"):
        _require_no_columns(choice)
    if suffix in ARRAYS:
        return _document_of_array(find_array(path, key))
    if suffix in TABLES:
        if own_key is not None:
            raise CecliError(f"--columns {own_key} says which of its columns the classes are")
        if key is None:
            return _document_of_table(_table_of(path, choice, _to_indices_with(labels)))
    if key is not None:
        raise CecliError(f"--key {key}: {NO_KEYS}")
    if suffix == ".json":
        return document_of_json_text(read_text(path), labels)
    if suffix == ".jsonl":
        return document_of_json_lines(read_text(path), labels)
    with open_unpacked(path) as stream:
        return _document_of_stream(stream, labels, choice)


def _document_of_stream(stream: BinaryIO, labels: Labels, choice: Choice) -> Document:
    """The document that bytes of unknown kind are, found by what they begin with."""
    from cecli.input.tables import FIRST_BYTES, looks_like_table, require_classes

    head = stream.read(FIRST_BYTES) or b""  # None from a pipe that does not block
    # Its end was met where it had no more; a terminal would wait to be ended once more.
    whole = Resumed(head, stream if len(head) == FIRST_BYTES else BytesIO())
    if head.startswith(GZIP):
        return _document_of_stream(unpacked(whole), labels, choice)
    if head.startswith(NPY):
        _require_no_columns(choice)
        return _document_of_array(read_npy(whole))
    begin = (head[: head.rfind(b"\n") + 1] or head).decode(errors="replace")
    is_json = begin.lstrip()[:1] in ("[", "{")
    if is_json:
        _require_no_columns(choice)
    is_said = (choice.columns or choice.header) is not None and not is_json
    if is_said or looks_like_table(begin):
        from cecli.input.tables import read_table

        return _document_of_table(read_table(whole, None, choice, _to_indices_with(labels)))
    text = decode(whole.read())
    document = document_of_text(text, partial(line_and_column, text), labels)
    if not is_json:
        require_classes(begin, document.logits)
    return document


def _require_no_columns(choice: Choice) -> None:
    """Refuse a choice of columns of what is no table."""
    if choice.columns is not None:
        raise CecliError(f"--columns {choice.columns}: only tables have columns")


def _document_of_array(array: NDArray[Any] | Joined) -> Document:
    if array.ndim == 0:
        raise CecliError("a single number, where logits have a dimension of classes")
    return Document(array)


def _document_of_table(table: Table) -> Document:
    """A row is a sample: one alone is no batch."""
    labels = None if table.labels is None else labels_of(list(table.labels))
    logits, target = table.numbers, table.target
    if logits.shape[0] == 1:
        logits, target = np.asarray(logits)[0], None if target is None else target[0]
    return Document(
        logits,
        target,
        labels=labels,
        notes=_left_out(table.left_out),
        target_column=table.target_name,
    )


def _left_out(names: Sequence[str]) -> tuple[str, ...]:
    """What to say about columns that were left out."""
    if not names:
        return ()
    shown = [quote(name) if name else "without a name" for name in names[:MOST_COLUMNS_NAMED]]
    more = len(names) - MOST_COLUMNS_NAMED
    listed = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    if len(names) == 1:
        return (f"column {listed} is left out: it is no class",)
    return (f"columns {listed} are left out: they are no classes",)


def _table_of(path: str, choice: Choice, to_indices: ToIndices | None) -> Table:
    if suffix_of(path) in ARROW_TABLES:
        from cecli.input.arrow import read_arrow_table

        return read_arrow_table(path, choice, to_indices)
    from cecli.input.tables import read_table

    with open_unpacked(path) as stream:
        return read_table(stream, _delimiter_of(suffix_of(path)), choice, to_indices)


def _to_indices_with(labels: Labels) -> ToIndices:
    """Makes class indices of a table's texts, whose names are the table's own or these labels."""

    def to_indices(texts: object, own: Labels, first: int) -> NDArray[np.int64]:
        return named_target_of(texts, own, labels, first)

    return to_indices


def _delimiter_of(suffix: str) -> str | None:
    return "\t" if suffix == ".tsv" else None
