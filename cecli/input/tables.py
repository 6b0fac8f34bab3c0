"""Tables of text, CSV and TSV: a row for each sample, perhaps a header and a column of targets."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isinf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.input.numbers import is_number, parse_number
from cecli.text.messages import quote

TARGET_COLUMN = "target"


@dataclass(frozen=True, eq=False)
class Table:
    """What a table holds.

    numbers: (rows, columns) float64, without the column of targets. names: of these columns, where
    the first row holds names. target: the texts of the column headed "target", if there is one.
    """

    numbers: NDArray[np.float64]
    names: tuple[str, ...] | None
    target: list[str] | None

    @property
    def flat(self) -> NDArray[np.float64]:
        """The numbers, a row alone or a column alone as a list of them."""
        return self.numbers.reshape(-1) if 1 in self.numbers.shape else self.numbers


def read_table(text: str, delimiter: str) -> Table:
    """A table of numbers; the first row may name the columns, and one may be headed "target"."""
    rows = _rows(text, delimiter)
    line, first = next(rows, (0, []))
    if not first:
        raise CecliError("the file holds no rows")
    names = _header(first, line)
    if names is None:
        rows, column = _rows(text, delimiter), None
    else:
        column = _target_column(names, line)
        names = [name for place, name in enumerate(names) if place != column]
    # float() would take underscores and the digits of other scripts as well.
    careful = not text.isascii() or "_" in text
    numbers, target = array("d"), []
    for line, row in rows:
        _check_width(row, line, len(first))
        if column is not None:
            target.append(row.pop(column).strip())
        numbers.extend(_numbers(row, line, column, careful))
    width = len(first) - (column is not None)
    if not numbers:
        raise CecliError("the file holds no numbers below its header")
    found = np.frombuffer(numbers, dtype=np.float64).reshape(-1, width)
    return Table(
        found, None if names is None else tuple(names), target if column is not None else None
    )


def read_words(text: str, delimiter: str) -> list[Any]:
    """Class indices or labels: the column headed "target", or else all cells, row by row."""
    rows = list(_rows(text, delimiter))
    if not rows:
        raise CecliError("the file holds no rows")
    first = [cell.strip() for cell in rows[0][1]]
    for line, row in rows:
        _check_width(row, line, len(first))
    column = _target_column(first, rows[0][0])
    if column is not None:
        return [row[column].strip() for _, row in rows[1:]]
    cells = [[cell.strip() for cell in row] for _, row in rows]
    if len(cells) == 1 or len(first) == 1:
        return [cell for row in cells for cell in row]
    return cells


def _rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with its line."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip()):
                yield reader.line_num, row
    except csv.Error as error:
        reason = str(error).replace("'\t'", "a tab")
        raise CecliError(f"line {reader.line_num}: {reason}") from None


def _check_width(row: Sequence[str], line: int, width: int) -> None:
    if len(row) != width:
        raise CecliError(f"line {line} has {len(row)} cells, where the first row has {width}")


def _header(first: Sequence[str], line: int) -> list[str] | None:
    """The names in the first row, None where it holds numbers.

    A number among names can only be a name beside "target": else it is more likely a slip of the
    pen in a row of numbers, which must not vanish from the samples.
    """
    names = [cell.strip() for cell in first]
    if all(map(is_number, names)):
        return None
    if TARGET_COLUMN not in names and any(map(is_number, names)):
        place = next(i for i, name in enumerate(names) if not is_number(name))
        raise CecliError(
            f"line {line}, column {place + 1}: {quote(names[place])} is not a number; "
            "a header has names alone, or a column headed 'target'"
        )
    return names


def _target_column(names: Sequence[str], line: int) -> int | None:
    found = [place for place, name in enumerate(names) if name == TARGET_COLUMN]
    if len(found) > 1:
        first, second = (place + 1 for place in found[:2])
        raise CecliError(f"line {line}: columns {first} and {second} are both headed 'target'")
    return found[0] if found else None


def _numbers(row: Sequence[str], line: int, target: int | None, careful: bool) -> list[float]:
    if not careful:
        try:
            found = list(map(float, row))
        except ValueError:
            pass
        else:
            if not any(map(isinf, found)):
                return found
    found = []
    for place, cell in enumerate(row):
        try:
            found.append(float(parse_number(cell.strip())))
        except CecliError as error:
            column = place + 1 + (target is not None and place >= target)
            raise CecliError(f"line {line}, column {column}: {error}") from None
    return found
