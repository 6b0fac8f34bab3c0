"""Tables of Parquet and Arrow files, by pyarrow: their columns are those of a table of text.

A column of lists holds the logits of a sample in each row, so it is all the classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.input.array_files import open_regular
from cecli.input.collected import Collected
from cecli.input.columns import (
    SETTLED_BY_COLUMNS,
    Choice,
    Layout,
    layout_of,
    target_place,
)
from cecli.input.formats import suffix_of
from cecli.input.tables import IntegerColumns, Table, ToIndices
from cecli.text.messages import quote

ROWS_AT_ONCE = 2**14
Result = TypeVar("Result")


def read_arrow_table(path: str, choice: Choice, to_indices: ToIndices | None) -> Table:
    """The table of a file, as `read_table` reads one of text, in the type that its numbers have."""
    file = _ArrowFile(path)
    layout = _layout_of(file, choice)
    if to_indices is None:
        layout = replace(layout, target=None)
    places = [*layout.classes, *([] if layout.target is None else [layout.target])]
    check = IntegerColumns(file.names, layout, file.holds_integers) if layout.guessed else None
    numbers: Collected | None = None
    target = Collected(None, np.int64)
    for batch in file.batches(places):
        some = _numbers_of(batch, file, layout)
        if numbers is None:
            numbers = Collected(some.shape[1], some.dtype)
        if some.shape[1] != numbers.columns:
            raise CecliError(
                f"rows of {some.shape[1]} numbers, where the first has {numbers.columns}"
            )
        numbers.add(some)
        if check is not None:
            check.look(some)
        if layout.target is not None and to_indices is not None:
            texts = _texts_of(batch.column(len(places) - 1), file.names[layout.target])
            target.add(to_indices(texts, layout.labels, len(target)))
    if numbers is None:
        raise CecliError("the file holds no rows")
    if check is not None:
        check.refuse()
    if layout.target is None:
        return Table(numbers.stored(), None, layout.labels, layout.left_out, None)
    name = file.names[layout.target]
    return Table(numbers.stored(), target.array(), layout.labels, layout.left_out, name)


def read_arrow_targets(path: str, column: str | None, to_indices: ToIndices) -> NDArray[np.int64]:
    """Class indices of one column: the one that is named, or headed so, or alone."""
    file = _ArrowFile(path)
    place = target_place(file.names, len(file.names), column)
    if place is None:
        raise CecliError(
            f"say which column: FILE:COLUMN; it has {', '.join(map(quote, file.names))}"
        )
    found = Collected(None, np.int64)
    for batch in file.batches([place]):
        found.add(to_indices(_texts_of(batch.column(0), file.names[place]), None, len(found)))
    return found.array()


class _ArrowFile:
    """An open file: the names and types of its columns are known, its rows come in batches."""

    def __init__(self, path: str) -> None:
        open_regular(path).close()
        try:
            import pyarrow as pa
            from pyarrow import ipc, parquet
        except ImportError:
            raise CecliError("reading it needs the package pyarrow: pip install pyarrow") from None
        self._suffix = suffix_of(path)
        self._refusals = (pa.ArrowException, OSError)
        self._file: Any
        if self._suffix == ".parquet":
            self._file = self._told(lambda: parquet.ParquetFile(path))
            schema = self._file.schema_arrow
        else:
            # The file's format, or the stream's, as data sets have it.
            is_file = pa.OSFile(path).read(6) == b"ARROW1"
            opened = ipc.open_file if is_file else ipc.open_stream
            self._file = self._told(lambda: opened(pa.OSFile(path)))
            schema = self._file.schema
        self.names = tuple(schema.names)
        self.types = tuple(schema.types)

    def holds_integers(self, place: int) -> bool:
        """Whether the type of a column is one of integers."""
        from pyarrow import types

        return bool(types.is_integer(self.types[place]))

    def batches(self, places: Sequence[int]) -> Iterator[Any]:
        """Record batches of some columns."""
        names = [self.names[place] for place in places]
        for name in names:
            if self.names.count(name) > 1:
                raise CecliError(f"several columns are headed {quote(name)}")
        if self._suffix == ".parquet":
            batches = self._file.iter_batches(ROWS_AT_ONCE, columns=names)
        elif hasattr(self._file, "get_batch"):
            batches = map(self._file.get_batch, range(self._file.num_record_batches))
        else:
            batches = iter(self._file)
        while (batch := self._told(lambda: next(batches, None))) is not None:
            yield batch.select(names)

    def _told(self, read: Callable[[], Result]) -> Result:
        """What pyarrow finds; what it refuses as one line."""
        try:
            return read()
        except self._refusals as error:
            reason = " ".join(str(error).split())
            raise CecliError(f"not a {self._suffix} file, or a damaged one: {reason}") from None


def _layout_of(file: _ArrowFile, choice: Choice) -> Layout:
    lists = [name for name, kind in zip(file.names, file.types, strict=True) if _is_list(kind)]
    if choice.columns is None and len(lists) == 1:
        found = layout_of(file.names, len(file.names), choice._replace(columns=lists[0]))
        return replace(found, labels=None)
    return layout_of(file.names, len(file.names), choice)


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _numbers_of(batch: Any, file: _ArrowFile, layout: Layout) -> NDArray[Any]:
    """(rows, classes) in the type that all columns have together."""
    columns = [
        _column(batch.column(number), file.names[place])
        for number, place in enumerate(layout.classes)
    ]
    if len(columns) == 1 and columns[0].ndim == 2:
        return columns[0]
    if any(column.ndim != 1 for column in columns):
        raise CecliError("a column of lists holds all classes: choose it alone")
    return np.stack(columns, axis=1)


def _column(column: Any, name: str) -> NDArray[Any]:
    """The numbers of a column, (rows,), or (rows, classes) of one of lists."""
    from pyarrow import types

    with_nulls = f"column {quote(name)} has a row without a value"
    if column.null_count:
        raise CecliError(with_nulls)
    if _is_list(column.type):
        lengths = set(column.value_lengths().to_pylist())
        if len(lengths) != 1:
            raise CecliError(f"column {quote(name)} has lists of different lengths")
        return _column(column.flatten(), name).reshape(len(column), lengths.pop())
    if not (types.is_integer(column.type) or types.is_floating(column.type)):
        raise CecliError(
            f"column {quote(name)} holds {column.type}, not numbers: {SETTLED_BY_COLUMNS}"
        )
    array: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return array


def _texts_of(column: Any, name: str) -> list[Any]:
    """The targets of a column: class indices or names."""
    values: list[Any] = column.to_pylist()
    if None in values:
        raise CecliError(f"column {quote(name)} has a row without a value")
    return values
