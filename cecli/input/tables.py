"""Tables of text: a row for each sample, read a block of lines at a time, in bounded memory.

A block is parsed by what is quick and takes nothing but plain numbers, pyarrow where that is
installed and the table is long; what is not so plain is parsed cell by cell, and only there it is
found out what is wrong.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.input.array_files import decode
from cecli.input.collected import Collected
from cecli.input.columns import (
    SETTLED_BY_COLUMNS,
    SETTLED_BY_HEADER,
    TARGETS,
    Choice,
    Layout,
    counts_from_one,
    is_counting,
    is_header,
    is_neither,
    layout_of,
    target_place,
)
from cecli.input.numbers import INTEGER, NUMBER, is_number, parse_number
from cecli.problem.rows import Joined
from cecli.text.messages import quote

# The first block is small, since more is asked of it.
FIRST_BYTES, BLOCK_BYTES = 2**19, 2**21
# An unbalanced quotation mark must not make a block of the whole file.
MOST_IN_QUOTES = 8 * BLOCK_BYTES
FEWEST_NAMED_ROWS, FEWEST_ROWS = 2, 3
# So many rows do not happen to hold integers only where they are written with a decimal point.
TELLING_ROWS = 8
ONE_PERCENT = 0.01
MISSING = ("na", "n/a", "none", "null", "missing")

# Makes class indices of texts, given what the classes are called in the table itself, and how many
# texts came before.
ToIndices = Callable[[Any, tuple[str, ...] | None, int], NDArray[np.int64]]


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int = -1, /) -> bytes | None:
        """The bytes that follow, size of them at the most; none at the end."""


@dataclass(frozen=True, eq=False)
class Table:
    """What a table holds.

    numbers: (rows, classes), float64 if they were text; in a file where they are many. target
    (rows,): the indices in the column of targets, if there is one. labels: what the classes are
    called, where they have names. left_out: the names of columns that are neither. target_name:
    that of the column of targets.
    """

    numbers: NDArray[Any] | Joined
    target: NDArray[np.int64] | None
    labels: tuple[str, ...] | None
    left_out: tuple[str, ...]
    target_name: str | None

    @property
    def flat(self) -> NDArray[Any]:
        """The numbers, a row alone or a column alone as a list of them."""
        numbers = np.asarray(self.numbers)
        return numbers.reshape(-1) if 1 in numbers.shape else numbers


class Lines:
    """Whole lines of a file, the first of them line number first, the first byte number offset."""

    def __init__(self, first: int, data: bytes, offset: int = 0) -> None:
        self.first, self.data = first, data
        self._offset = offset
        self.is_plain = data.isascii() and b"\r" not in data
        if not self.is_plain:
            _ = self.text  # what is no text is told at once

    @cached_property
    def text(self) -> str:
        """The lines as text, each with a newline at its end."""
        return decode(self.data, self._offset)

    @property
    def lines(self) -> int:
        """How many they are."""
        return self.data.count(b"\n") if self.is_plain else self.text.count("\n")

    def behind(self, line: int) -> Lines:
        """What stands behind a line."""
        parts = self.text.split("\n", line - self.first + 1)
        rest = parts[-1] if len(parts) > line - self.first + 1 else ""
        return Lines(line + 1, rest.encode(), self._offset + 1)


def read_table(
    stream: Readable, delimiter: str | None, choice: Choice, to_indices: ToIndices | None
) -> Table:
    """A table of numbers, whose first row may name the columns.

    delimiter: None for whatever stands between the first cells. to_indices: makes class indices of
    texts, where a column holds targets; None where nobody asks for them.
    """
    rows = _Rows(stream, delimiter)
    has_header = _has_header(rows, choice)
    names = tuple(rows.cells) if has_header else None
    layout = layout_of(names, len(rows.cells), choice)
    if to_indices is None:
        layout = replace(layout, target=None)
    numbers, target = Collected(len(layout.classes)), Collected(None, np.int64)
    check = IntegerColumns(names, layout, rows.writes_integers) if layout.guessed else None
    for some, texts in rows.read(layout, has_header):
        numbers.add(some)
        if check is not None:
            check.look(some)
        if texts and to_indices is not None:
            target.add(_indices_of(texts, layout.labels, len(target), to_indices))
    if not len(numbers):
        raise CecliError("the file holds no numbers below its header")
    if check is not None:
        check.refuse()
    if layout.target is None:
        return Table(numbers.stored(), None, layout.labels, layout.left_out, None)
    name = rows.cells[layout.target]
    return Table(numbers.stored(), target.array(), layout.labels, layout.left_out, name)


def looks_like_table(text: str) -> bool:
    """Whether text of unknown kind begins as a table that is more than numbers in lines."""
    text = text.removeprefix("\N{BYTE ORDER MARK}")
    lines = (line for line in text.split("\n") if line.strip() and not line.startswith("#"))
    first, second = next(lines, ""), next(lines, None)
    delimiter = _delimiter_between(first, second)
    if second is None and delimiter == ";":
        return all(is_number(cell.strip().replace(",", ".")) for cell in first.split(delimiter))
    if second is None or delimiter not in first:
        return False
    try:
        rows = [row for _, row in _parsed(Lines(1, f"{first}\n{second}".encode()), delimiter)]
    except CecliError:
        return False
    if len(rows) != 2 or len(rows[0]) != len(rows[1]):
        return False
    head, below = ([cell.strip() for cell in row] for row in rows)
    if not any(is_number(cell.replace(",", ".")) for cell in below):
        return False
    try:
        return delimiter == ";" or is_header(head, 1) is not False
    except CecliError:  # a slip of the pen is told better by who reads numbers
        return False


def require_classes(begin: str, rows: NDArray[Any]) -> None:
    """Refuse numbers between commas or tabs where a column of them is most likely no class.

    begin: the first lines of their text. rows: (samples, classes); of other dimensions, no table.
    """
    lines = [line for line in begin.split("\n") if line.strip() and not line.startswith("#")]
    delimiter = _delimiter_between(lines[0], None) if lines else ","
    cells = [[cell.strip() for cell in line.split(delimiter)] for line in lines[:TELLING_ROWS]]
    if rows.ndim != 2 or any(len(row) != rows.shape[1] for row in cells):
        return
    layout = Layout(tuple(range(rows.shape[1])), None, None, (), True)

    def written(place: int) -> bool:
        return all(INTEGER.fullmatch(row[place]) for row in cells)

    check = IntegerColumns(None, layout, written)
    check.look(rows)
    check.refuse()


class _Rows:
    """The rows of a table, of which those of the first block are known from the beginning.

    cells, line: the first row and where it stands. has_commas: whether its numbers may have
    decimal commas. below: the other rows of the first block; whole: whether there are no more.
    """

    def __init__(self, stream: Readable, delimiter: str | None) -> None:
        self._blocks = _blocks_of(stream)
        self._first = next(self._blocks, Lines(1, b""))
        self._delimiter = delimiter or _delimiter_of(self._first.text)
        rows = _parsed(self._first, self._delimiter)
        self.line, cells = next(rows, (0, []))
        if not cells:
            raise CecliError("the file holds no rows")
        self.cells = [cell.strip() for cell in cells]
        self._below = rows
        self.has_commas = self._delimiter == ";"
        self._next = next(self._blocks, None)
        self.whole = self._next is None

    @cached_property
    def below(self) -> list[list[str]]:
        """The other rows of the first block."""
        return [[cell.strip() for cell in row] for _, row in self._below]

    def writes_integers(self, place: int) -> bool:
        """Whether the first rows of a column are written without a decimal point."""
        return all(INTEGER.fullmatch(row[place]) for row in self.below if place < len(row))

    def read(
        self, layout: Layout, has_header: bool
    ) -> Iterator[tuple[NDArray[np.float64], list[str] | None]]:
        """The numbers of the classes, and the texts of the targets, block by block."""
        parse = _Parser(self._delimiter, len(self.cells), layout)
        yield parse(self._first.behind(self.line) if has_header else self._first)
        if self._next is not None:
            parse.is_long = True
            yield parse(self._next)
            yield from map(parse, self._blocks)

    def column(self, place: int, has_header: bool) -> Iterator[list[str]]:
        """The texts of one column, block by block."""
        for _, texts in self.read(Layout((), place, None, (), False), has_header):
            yield texts or []

    def rows(self, has_header: bool) -> Iterator[list[str]]:
        """The texts of all rows."""
        everything = chain([self._first], [] if self._next is None else [self._next], self._blocks)
        found = (row for block in everything for row in _parsed(block, self._delimiter))
        for line, row in islice(found, int(has_header), None):
            _check_width(row, line, len(self.cells))
            yield [cell.strip() for cell in row]


def _has_header(rows: _Rows, choice: Choice) -> bool:
    """Whether the first row names the columns; where it is 0, 1, …, C − 1, the others tell."""
    cells = [cell.replace(",", ".") for cell in rows.cells] if rows.has_commas else rows.cells
    found = is_header(cells, rows.line) if choice.header is None else choice.header
    if found is not None:
        return found
    if not rows.below:
        return False
    samples = choice.samples() if rows.whole else None
    if samples in (len(rows.below), len(rows.below) + 1):
        return samples == len(rows.below)
    below = [cell for row in rows.below for cell in row]
    if counts_from_one(cells):
        if not any("." in cell and is_number(cell) for cell in below):
            return False
    elif len(cells) > 1 and not all(map(INTEGER.fullmatch, below)):
        return True
    shown = ", ".join(cells if len(cells) < 5 else [cells[0], cells[1], "…", cells[-1]])
    raise CecliError(f"the first row, {shown}, is a header or a sample: {SETTLED_BY_HEADER}")


class IntegerColumns:
    """Finds columns of integers where all others hold fractions: identifiers, or the targets.

    written: whether a column's numbers are written as integers. Rows that sum to 0 or 1 are
    gradients and probabilities, of which some are integers.
    """

    def __init__(
        self, names: tuple[str, ...] | None, layout: Layout, written: Callable[[int], bool]
    ) -> None:
        self._names, self._classes, self._written = names, layout.classes, written
        count = len(layout.classes)
        self._counting, self._whole, self._varied = np.ones((3, count), dtype=bool)
        self._varied[:] = False
        self._fractions = np.zeros(count, dtype=bool)
        self._sums = True
        self._last: NDArray[Any] | None = None
        self._rows = 0

    def look(self, block: NDArray[Any]) -> None:
        """Look at the rows that follow."""
        self._rows += len(block)
        if not self._whole.any() or not len(block):
            return
        with np.errstate(invalid="ignore", over="ignore"):
            rows = block if self._last is None else np.concatenate([self._last, block])
            steps, integers = np.diff(rows, axis=0), np.rint(block) == block
            self._whole &= (integers & np.isfinite(block)).all(axis=0)
            self._counting &= self._whole & (steps == 1.0).all(axis=0)
            self._varied |= (steps != 0.0).any(axis=0) | (block > 0.0).any(axis=0)
            if self._sums:
                sums = block.astype(np.float64).sum(axis=1)
                nearest = np.minimum(np.abs(sums), np.abs(sums - 1.0))
                self._sums = bool((nearest <= ONE_PERCENT).all())
        self._fractions |= ~integers.all(axis=0)
        self._last = block[-1:].copy()

    def refuse(self) -> None:
        """Raise CecliError where there is such a column."""
        if len(self._classes) < 2 or self._sums:
            return
        fractions = int(self._fractions.sum())
        fewest = FEWEST_ROWS if self._names is None else FEWEST_NAMED_ROWS
        counts = self._rows >= fewest and self._counting.sum() == 1
        if counts and fractions == len(self._classes) - 1:
            raise self._refusal(int(self._counting.argmax()), "counts its rows, as no class does")
        # A constant of 0 or less is a class that others are measured by, or a mask.
        doubtful = np.flatnonzero(self._whole & self._varied).tolist()
        constants = int((self._whole & ~self._varied).sum())
        if self._rows < FEWEST_ROWS or not 0 < len(doubtful) < fractions:
            return
        if fractions + constants + len(doubtful) < len(self._classes):
            return
        if self._rows < TELLING_ROWS:
            doubtful = [place for place in doubtful if self._written(self._classes[place])]
        if doubtful:
            raise self._refusal(doubtful[0], "holds integers, where the others hold fractions")

    def _refusal(self, number: int, what: str) -> CecliError:
        place = self._classes[number]
        name = f"column {place + 1}" if self._names is None else quote(self._names[place])
        return CecliError(f"{name} {what}: {SETTLED_BY_COLUMNS}")


# --- Targets --------------------------------------------------------------------------------------


def read_targets(
    stream: Readable,
    delimiter: str | None,
    column: str | None,
    choice: Choice,
    labels: tuple[str, ...] | None,
    to_indices: ToIndices,
) -> NDArray[np.int64]:
    """Class indices: of the column that is named, or headed so, or alone; else those in all cells.

    labels: the names of the classes; the first row is a header where it is no target.
    """
    rows = _Rows(stream, delimiter)
    has_header = choice.header
    if has_header is None:
        samples = choice.samples() if rows.whole else None
        has_header = column in rows.cells or _heads_targets(rows.cells, rows.below, samples, labels)
    place = target_place(rows.cells if has_header else None, len(rows.cells), column)
    if place is None:
        cells = list(rows.rows(has_header))
        return to_indices(cells[0] if len(cells) == 1 else cells, None, 0)
    found = Collected(None, np.int64)
    for texts in rows.column(place, has_header):
        if texts:
            found.add(_indices_of(texts, None, len(found), to_indices))
    return found.array()


def _indices_of(
    texts: list[str], labels: tuple[str, ...] | None, first: int, to_indices: ToIndices
) -> NDArray[np.int64]:
    """The class indices of texts, of which each is made an index once."""
    different = list(dict.fromkeys(texts))
    try:
        indices = to_indices([text.strip() for text in different], labels, 0)
    except CecliError:  # told once more, of the first that is none
        return to_indices([text.strip() for text in texts], labels, first)
    index_of = dict(zip(different, indices.tolist(), strict=True))
    return np.array([index_of[text] for text in texts], dtype=np.int64)


def without_header(
    words: list[str | list[str]], choice: Choice, labels: tuple[str, ...] | None
) -> list[Any]:
    """The same lines of words without the first, where that is a header and no target."""
    if not words:
        return words
    lines = [[line] if isinstance(line, str) else line for line in words]
    is_named = choice.header
    if is_named is None:
        is_named = _heads_targets(lines[0], lines[1:], choice.samples(), labels)
    return words[1:] if is_named else words


def _heads_targets(
    cells: Sequence[str],
    below: Sequence[Sequence[str]],
    samples: int | None,
    labels: tuple[str, ...] | None,
) -> bool:
    """Whether the first row of a file of targets is a header.

    samples: how many there must be; None where that is not known, or more rows follow.
    """

    def is_target(cell: str) -> bool:
        return bool(NUMBER.fullmatch(cell)) or cell in (labels or ())

    if all(map(is_target, cells)):
        return is_counting(cells) and samples == len(below)
    if samples is not None and samples == len(below) + 1:
        return False
    named = any(cell and (is_neither(cell) or cell.lower() in TARGETS) for cell in cells)
    return named or all(is_target(cell) for row in below for cell in row)


# --- Text into blocks of lines --------------------------------------------------------------------


def _blocks_of(stream: Readable) -> Iterator[Lines]:
    """The text in blocks of whole lines, quotation marks in pairs."""
    line, offset, data = 1, 0, _filled(stream, FIRST_BYTES)
    while following := _filled(stream, BLOCK_BYTES):
        cut = data.rfind(b"\n") + 1
        if cut and (not _leaves_quotes_open(data[:cut]) or len(data) > MOST_IN_QUOTES):
            block = Lines(line, data[:cut], offset)
            yield block
            line, offset, data = line + block.lines, offset + cut, data[cut:]
        data += following
    if data:
        yield Lines(line, data, offset)


def _leaves_quotes_open(lines: bytes) -> bool:
    if b'"' not in lines:
        return False
    if lines.startswith(b"#") or b"\n#" in lines:
        lines = b"\n".join(line for line in lines.split(b"\n") if not line.startswith(b"#"))
    return lines.count(b'"') % 2 == 1


def _filled(stream: Readable, size: int) -> bytes:
    """So many bytes, or those that there still are."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _delimiter_of(text: str) -> str:
    lines = (line for line in text.split("\n") if line.strip() and not line.startswith("#"))
    return _delimiter_between(next(lines, ""), next(lines, None))


def _delimiter_between(first: str, second: str | None) -> str:
    """What stands between the cells of two lines: a semicolon, then with decimal commas perhaps."""
    for delimiter in ";\t":
        if delimiter in first and (second is None or delimiter in second):
            return delimiter
    return ","


def _parsed(block: Lines, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a block that are neither blank nor comments, each with its line."""
    number = block.first - 1

    def lines() -> Iterator[str]:
        nonlocal number
        for line in io.StringIO(block.text):
            number += 1
            if not line.startswith("#"):
                yield line

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()):
                yield number, row
    except csv.Error as error:
        reason = str(error).replace("'\t'", "a tab")
        raise CecliError(f"line {number}: {reason}") from None


def _check_width(row: Sequence[str], line: int, width: int) -> None:
    if len(row) != width:
        raise CecliError(f"line {line} has {len(row)} cells, where the first row has {width}")


# --- Lines into numbers ---------------------------------------------------------------------------


class _Parser:
    """Makes of a block the numbers of the classes and the texts of the targets.

    is_long: whether the table has more than one block, so that it is worth to load pyarrow.
    """

    def __init__(self, delimiter: str, width: int, layout: Layout) -> None:
        self._delimiter, self._width, self._layout = delimiter, width, layout
        self._has_commas = self._has_points = False
        self.is_long = False

    def __call__(self, block: Lines) -> tuple[NDArray[np.float64], list[str] | None]:
        """The numbers (rows, classes), and the targets where there are any.

        Raises CecliError with line and column.
        """
        return self._quick(block) or self._careful(block)

    def _quick(self, block: Lines) -> tuple[NDArray[np.float64], list[str] | None] | None:
        """The same for plain numbers; None where a cell is anything else."""
        if b'"' in block.data or self._delimiter == ";":
            return None
        try:
            found = self._by_arrow(block) if self.is_long else None
            numbers, texts = found or self._by_python(block.text)
        except ValueError:
            return None
        # What is infinite without saying so was written in digits that do not fit.
        infinite = np.count_nonzero(np.isinf(numbers))
        if infinite and infinite != block.data.lower().count(b"inf"):
            return None
        return numbers, texts

    def _by_python(self, text: str) -> tuple[NDArray[np.float64], list[str] | None]:
        """By float(), which raises ValueError for what it does not take."""
        # It would take underscores and the digits of other scripts as well.
        if "_" in text or not text.isascii():
            raise ValueError
        lines = [line for line in text.split("\n") if line.strip(" ") and line[0] != "#"]
        if {line.count(self._delimiter) for line in lines} - {self._width - 1}:
            raise ValueError
        places, target = self._layout.classes, self._layout.target
        cells = self._delimiter.join(lines).split(self._delimiter) if lines else []
        numbers = np.empty((len(lines), len(places)))
        if places == tuple(range(self._width)):
            numbers.reshape(-1)[:] = list(map(float, cells))
        else:
            for number, place in enumerate(places):
                numbers[:, number] = list(map(float, cells[place :: self._width]))
        return numbers, None if target is None else cells[target :: self._width]

    def _by_arrow(self, block: Lines) -> tuple[NDArray[np.float64], list[str] | None] | None:
        """By pyarrow, which raises ValueError for what it does not take; None without it."""
        if not block.is_plain or block.data.startswith(b"#") or b"\n#" in block.data:
            return None
        try:
            import pyarrow as pa
            from pyarrow import csv as arrow
        except ImportError:
            return None
        names = list(map(str, range(self._width)))
        places, target = self._layout.classes, self._layout.target
        wanted = dict.fromkeys([names[place] for place in places], pa.float64())
        if target is not None:
            wanted[names[target]] = pa.string()
        table = arrow.read_csv(
            io.BytesIO(block.data),
            arrow.ReadOptions(column_names=names),
            arrow.ParseOptions(delimiter=self._delimiter, quote_char=False),
            arrow.ConvertOptions(
                column_types=wanted,
                include_columns=list(wanted),
                null_values=[],
                strings_can_be_null=False,
            ),
        )
        numbers = np.empty((len(table), len(places)))
        for number, place in enumerate(places):
            numbers[:, number] = table[names[place]].to_numpy()
        return numbers, None if target is None else table[names[target]].to_pylist()

    def _careful(self, block: Lines) -> tuple[NDArray[np.float64], list[str] | None]:
        """Cell by cell."""
        target, rows, numbers = self._layout.target, 0, []
        texts: list[str] = []
        for line, row in _parsed(block, self._delimiter):
            _check_width(row, line, self._width)
            rows += 1
            numbers += [self._number(row[place], line, place) for place in self._layout.classes]
            if target is not None:
                texts.append(row[target].strip())
        found = np.array(numbers, dtype=np.float64).reshape(rows, len(self._layout.classes))
        return found, None if target is None else texts

    def _number(self, cell: str, line: int, place: int) -> float:
        cell = cell.strip()
        if self._delimiter == ";":
            self._has_points |= "." in cell
            if cell.count(",") == 1:
                self._has_commas, cell = True, cell.replace(",", ".")
        try:
            if self._has_commas and self._has_points:
                raise CecliError("decimal commas and decimal points are mixed")
            return float(parse_number(cell))
        except CecliError as error:
            # A word is no slip of the pen.
            is_word = sum(map(str.isalpha, cell)) > 1 and cell.lower() not in MISSING
            is_word = is_word and self._layout.guessed and self._layout.labels is not None
            remedy = f"; {SETTLED_BY_COLUMNS}" if is_word else ""
            raise CecliError(f"line {line}, column {place + 1}: {error}{remedy}") from None
