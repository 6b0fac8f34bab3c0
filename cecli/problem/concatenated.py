"""Arrays of several files as one, behind one another along their first dimension.

Nothing is read into memory but the rows that are asked for, and only a few files are open at a
time, however many there are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError

FILES_OPEN = 32


class Mapping(NamedTuple):
    """Where in a file an array lies: all that is needed to map it again."""

    path: str
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    order: Any

    @property
    def end(self) -> int:
        """How many bytes the file has at least."""
        return self.offset + self.dtype.itemsize * prod(self.shape)


@lru_cache(FILES_OPEN)
def _mapped(mapping: Mapping) -> NDArray[Any]:
    path, dtype, offset, shape, order = mapping
    try:
        return np.asarray(np.memmap(path, dtype, "r", offset, shape, order))
    except ValueError:  # the file is shorter than it was
        raise CecliError(f"{path} has changed since it was first read") from None


def forget_files() -> None:
    """Let go of the files that were mapped last, which are kept for the next look at them."""
    _mapped.cache_clear()


class Piece(NamedTuple):
    """The array of one file; of several, each holds samples along its first dimension.

    name: what the file is called in messages. held: the array itself, where it cannot be mapped.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    mapping: Mapping | None
    held: NDArray[Any] | None = None

    @property
    def array(self) -> NDArray[Any]:
        """The array, mapped where it can be."""
        array = np.asarray(self.held) if self.mapping is None else _mapped(self.mapping)
        return array.reshape(self.shape)

    def reshaped(self, shape: tuple[int, ...]) -> Piece:
        """The same numbers in another shape."""
        return self._replace(shape=shape)


def piece_of(name: str, array: NDArray[Any]) -> Piece:
    """An array that was read from a file; what is mapped is let go of until it is looked at."""
    base: Any = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    if not isinstance(base, np.memmap) or base.filename is None or base.nbytes != array.nbytes:
        return Piece(name, array.shape, array.dtype, None, array)
    forget_files()  # the file may be another one than that of the same name before
    order = "C" if array.flags.c_contiguous else "F"
    mapping = Mapping(str(base.filename), array.dtype, base.offset, array.shape, order)
    return Piece(name, array.shape, array.dtype, mapping)


class Joined:
    """Arrays whose shapes differ in their first dimension at most, as one.

    Raises CecliError, naming the file, where an array does not fit the first one.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = tuple(pieces)
        first = self.pieces[0]
        for piece in self.pieces[1:]:
            if piece.shape[1:] != first.shape[1:]:
                raise CecliError(
                    f"{piece.name} holds an array of shape {piece.shape}, {first.name} one of "
                    f"shape {first.shape}: only their first dimensions may differ"
                )
            if piece.dtype.newbyteorder("=") != first.dtype.newbyteorder("="):
                raise CecliError(
                    f"{piece.name} holds {piece.dtype.name}, {first.name} {first.dtype.name}: "
                    "the files must be of one type"
                )
        self.dtype = first.dtype.newbyteorder("=")
        self.shape = (sum(piece.shape[0] for piece in self.pieces), *first.shape[1:])
        self.ndim, self.size = len(self.shape), prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of it, in memory."""
        whole, start = np.empty(self.shape, dtype or self.dtype), 0
        for piece in self.pieces:
            whole[start : start + piece.shape[0]] = piece.array
            start += piece.shape[0]
        return whole


class Stretch(NamedTuple):
    """Consecutive rows of one piece, the first of them its row number first."""

    piece: Piece
    first: int
    length: int


class JoinedRows:
    """The rows of joined arrays, (N, C) with the classes on axis; axis None: (N,), all numbers.

    Takes slices and indices as an array does, and gives back arrays.
    """

    def __init__(self, stretches: Sequence[Stretch], axis: int | None) -> None:
        self.stretches, self.axis = tuple(stretches), axis
        piece = self.stretches[0].piece
        self.dtype = piece.dtype.newbyteorder("=")
        self._ends = list(accumulate(stretch.length for stretch in self.stretches))
        columns = () if axis is None else (piece.shape[axis],)
        self.shape = (self._ends[-1], *columns)
        self.ndim, self.size = len(self.shape), prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self._ends[-1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All rows, in memory."""
        rows = np.empty(self.shape, dtype or self.dtype)
        for stretch, end in zip(self.stretches, self._ends, strict=True):
            rows[end - stretch.length : end] = self._read(*stretch)
        return rows

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            chosen = self.between(start, stop)
            if len(chosen.stretches) == 1:
                return self._read(*chosen.stretches[0])[::step]
            return np.asarray(chosen)[::step]
        numbers = np.asarray(rows)
        found = np.empty((numbers.size, *self.shape[1:]), self.dtype)
        for place, row in enumerate(numbers.reshape(-1).tolist()):
            found[place] = self[row : row + 1][0]
        return found.reshape(numbers.shape + self.shape[1:])

    def between(self, start: int, stop: int) -> JoinedRows:
        """The rows from start to stop, not yet read."""
        number, chosen = bisect_right(self._ends, start), []
        while start < stop:
            piece, first, count = self.stretches[number]
            begin = self._ends[number] - count
            end = min(stop, self._ends[number])
            if end > start:
                chosen.append(Stretch(piece, first + start - begin, end - start))
            start, number = max(start, end), number + 1
        return JoinedRows(chosen or [self.stretches[0]._replace(length=0)], self.axis)

    def place(self, row: int) -> tuple[str, int, tuple[int, ...]]:
        """The file that a row stands in, its number in it, and the shape of the file's batch."""
        number = bisect_right(self._ends, row)
        piece, first, count = self.stretches[number]
        return (
            piece.name,
            first + row - (self._ends[number] - count),
            _batch_shape(piece, self.axis),
        )

    def _read(self, piece: Piece, first: int, length: int) -> NDArray[Any]:
        """Some rows of a piece, of which no more than they are is copied, or hardly more."""
        if self.axis is None:
            return piece.array.reshape(-1)[first : first + length]
        view = np.moveaxis(piece.array, self.axis, -1)
        while view.ndim > 2:
            inner = prod(view.shape[1:-1])
            view = view[first // inner : -(-(first + length) // inner)]
            first %= max(inner, 1)
            if len(view) != 1:
                break
            view = view[0]
        return view.reshape(-1, view.shape[-1])[first : first + length]


def _batch_shape(piece: Piece, axis: int | None) -> tuple[int, ...]:
    if axis is None:
        return piece.shape
    axis %= len(piece.shape)
    return piece.shape[:axis] + piece.shape[axis + 1 :]


def rows_of_pieces(pieces: Sequence[Piece], axis: int | None) -> JoinedRows:
    """The rows of several arrays, with the classes on axis; None: all their numbers."""
    stretches = [Stretch(piece, 0, prod(_batch_shape(piece, axis))) for piece in pieces]
    return JoinedRows(stretches, axis)


def rows_in_place(array: Any, axis: int) -> Any:
    """`rows_of` without a copy of the whole: rows that no view can be are read when asked for."""
    if isinstance(array, Joined | JoinedRows) or _can_be_rows(np.moveaxis(array, axis, -1)):
        return rows_of(array, axis)
    return rows_of_pieces([Piece("", array.shape, array.dtype, None, array)], axis)


def _can_be_rows(moved: NDArray[Any]) -> bool:
    """Whether the dimensions before the last one are one behind another in memory."""
    batch = list(zip(moved.shape, moved.strides, strict=True))[:-1]
    batch = [(length, stride) for length, stride in batch if length != 1]
    return all(
        stride == inner_length * inner_stride
        for (_, stride), (inner_length, inner_stride) in pairwise(batch)
    )


def rows_of(array: Any, axis: int | None) -> Any:
    """An array, joined or not, as (N, C) rows with the classes on axis; None: as (N,) numbers."""
    if isinstance(array, JoinedRows):
        return array
    if isinstance(array, Joined):
        return rows_of_pieces(array.pieces, axis)
    if axis is None:
        return array.reshape(-1)
    moved = np.moveaxis(array, axis, -1)
    return moved.reshape(-1, moved.shape[-1])
