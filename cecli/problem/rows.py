"""The rows of an array, or of the arrays of several files behind one another: one thing for both.

Nothing is read into memory or copied but the rows that are asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import accumulate, pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.problem.stored import WINDOW_BYTES, StoredArray, windows

# Of so small a part of a file, which has rows that follow one another, all may be read.
NEAR_BYTES = 2**20


class Segment(NamedTuple):
    """An array, or that of one file of several: each holds samples along its first dimension.

    name: what the file is called in messages. held: the array itself, where it is in memory; stored
    is where it lies, where it is not.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stored: StoredArray | None
    held: NDArray[Any] | None = None

    @property
    def array(self) -> NDArray[Any]:
        """The array, read where it is not in memory."""
        array = np.asarray(self.held)
        if self.stored is not None:
            array = self.stored.read([(0, length) for length in self.stored.shape])
        return array.reshape(self.shape)

    def reshaped(self, shape: tuple[int, ...]) -> Segment:
        """The same numbers in another shape; read into memory where they lie column by column."""
        if self.stored is not None and self.stored.order == "C":
            return self._replace(shape=shape, stored=self.stored._replace(shape=shape))
        held = self.array
        return Segment(self.name, shape, held.dtype, None, held)


def segment_of(name: str, array: NDArray[Any] | Joined) -> Segment:
    """An array, or that of one file, under a name of its own."""
    if isinstance(array, Joined):
        return array.only_segment._replace(name=name)
    return Segment(name, array.shape, array.dtype, None, array)


class Joined:
    """Arrays whose shapes differ in their first dimension at most, as one.

    Raises CecliError, naming the file, where an array does not fit the first one.
    """

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = tuple(segments)
        first = self.segments[0]
        for segment in self.segments[1:]:
            if segment.shape[1:] != first.shape[1:]:
                raise CecliError(
                    f"{segment.name} holds an array of shape {segment.shape}, {first.name} one of "
                    f"shape {first.shape}: only their first dimensions may differ"
                )
            if segment.dtype.newbyteorder("=") != first.dtype.newbyteorder("="):
                raise CecliError(
                    f"{segment.name} holds {segment.dtype.name}, {first.name} {first.dtype.name}: "
                    "the files must be of one type"
                )
        self.dtype = first.dtype.newbyteorder("=")
        self.shape = first.shape
        if first.shape:
            self.shape = (sum(segment.shape[0] for segment in self.segments), *first.shape[1:])
        self.ndim, self.size = len(self.shape), prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize

    @classmethod
    def of(cls, stored: StoredArray) -> Joined:
        """The array of one file."""
        return cls([Segment("", stored.shape, stored.dtype, stored)])

    @property
    def only_segment(self) -> Segment:
        """That of one file alone."""
        (segment,) = self.segments
        return segment

    def reshape(self, shape: tuple[int, ...]) -> Joined:
        """The same numbers of one file in another shape."""
        return Joined([self.only_segment.reshaped(shape)])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of it, in memory."""
        if len(self.segments) == 1:
            return np.asarray(self.only_segment.array, dtype)
        whole, start = np.empty(self.shape, dtype or self.dtype), 0
        for segment in self.segments:
            whole[start : start + segment.shape[0]] = segment.array
            start += segment.shape[0]
        return whole


class Stretch(NamedTuple):
    """Consecutive rows of an array, the first of them its row number first."""

    segment: Segment
    first: int
    length: int


class Rows:
    """Rows (N, C) with the classes on axis; axis None: (N,), all numbers.

    Takes slices and indices as an array does, and gives back arrays.
    """

    def __init__(self, stretches: Sequence[Stretch], axis: int | None) -> None:
        self.stretches, self.axis = tuple(stretches), axis
        segment = self.stretches[0].segment
        self.dtype = segment.dtype.newbyteorder("=")
        self._ends = list(accumulate(stretch.length for stretch in self.stretches))
        columns = () if axis is None else (segment.shape[axis],)
        self.shape = (self._ends[-1], *columns)
        self.ndim, self.size = len(self.shape), prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self._ends[-1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All rows, in memory."""
        if len(self.stretches) == 1:
            return np.asarray(self._read(*self.stretches[0]), dtype)
        rows = np.empty(self.shape, dtype or self.dtype)
        for stretch, end in zip(self.stretches, self._ends, strict=True):
            rows[end - stretch.length : end] = self._read(*stretch)
        return rows

    def __getitem__(self, rows: slice | NDArray[np.int64] | int) -> NDArray[Any]:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            stretches = self._between(start, stop)
            if len(stretches) == 1:
                return self._read(*stretches[0])[::step]
            return np.asarray(Rows(stretches, self.axis))[::step]
        numbers, view = np.asarray(rows), self._view()
        if view is not None:
            return np.asarray(view[numbers])
        found = np.empty((numbers.size, *self.shape[1:]), self.dtype)
        for place, row in enumerate(numbers.reshape(-1).tolist()):
            found[place] = self[row : row + 1][0]
        return found.reshape(numbers.shape + self.shape[1:])

    def only(self, numbers: NDArray[np.int64]) -> Rows:
        """Some of the rows, not yet read."""
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
        runs = [run.tolist() for run in np.split(numbers, breaks) if len(run)]
        stretches = [own for run in runs for own in self._between(run[0], run[-1] + 1)]
        return Rows(stretches or self._between(0, 0), self.axis)

    def between(self, start: int, stop: int) -> Rows:
        """The rows from start to stop, not yet read."""
        return Rows(self._between(start, stop), self.axis)

    def _between(self, start: int, stop: int) -> list[Stretch]:
        number, chosen = bisect_right(self._ends, start), []
        while start < stop:
            segment, first, count = self.stretches[number]
            begin = self._ends[number] - count
            end = min(stop, self._ends[number])
            if end > start:
                chosen.append(Stretch(segment, first + start - begin, end - start))
            start, number = max(start, end), number + 1
        return chosen or [self.stretches[0]._replace(length=0)]

    def called(self, row: int) -> tuple[str, str]:
        """How a message about a row begins, with its file, and how it calls the row there."""
        number = bisect_right(self._ends, row)
        segment, first, count = self.stretches[number]
        own = first + row - (self._ends[number] - count)
        file = f"{segment.name}: " if segment.name else ""
        return file, sample_name(own, _batch_shape(segment, self.axis))

    def _view(self) -> NDArray[Any] | None:
        """All rows, where they are one array's in memory and nothing has to be copied."""
        held = self.stretches[0].segment.held
        if len(self.stretches) > 1 or held is None:
            return None
        moved = held[..., None] if self.axis is None else np.moveaxis(held, self.axis, -1)
        return np.asarray(self) if _can_be_rows(moved) else None

    def _read(self, segment: Segment, first: int, length: int) -> NDArray[Any]:
        """Some rows of an array, of which no more than they are is copied, or hardly more."""
        if segment.stored is not None:
            return _read_stored(segment, segment.stored, self.axis, first, length)
        array = segment.array
        view = array[..., None] if self.axis is None else np.moveaxis(array, self.axis, -1)
        while view.ndim > 2 and not _can_be_rows(view):
            inner = prod(view.shape[1:-1])
            view = view[first // inner : -(-(first + length) // inner)]
            first %= max(inner, 1)
            if len(view) != 1:
                break
            view = view[0]
        return _rows_among(view, first, length, self.axis)


def _rows_among(view: NDArray[Any], first: int, length: int, axis: int | None) -> NDArray[Any]:
    """Some of the rows that an array has, the classes on its last dimension."""
    rows = view.reshape(-1, view.shape[-1])[first : first + length]
    return rows[:, 0] if axis is None else rows


def _read_stored(
    segment: Segment, stored: StoredArray, axis: int | None, first: int, length: int
) -> NDArray[Any]:
    """Some rows of an array in a file, and little else.

    Where they do not lie side by side, each look goes over much of the file: then many are read at
    a time, and the next ones are found among them.
    """
    axis = None if axis is None else axis % len(segment.shape)
    batch = _batch_shape(segment, axis)
    row_bytes = max(1, (1 if axis is None else segment.shape[axis]) * segment.dtype.itemsize)
    most = 1 if _near_by(stored, axis) else max(1, WINDOW_BYTES // row_bytes)
    if length < 2 or length >= most:
        return _read_rows(segment, stored, axis, first, length)
    found, end = [], first + length
    while first < end:
        start = first // most * most
        stop = min(start + most, prod(batch))
        window = windows.get(
            (stored, segment.shape, axis, start),
            partial(_read_rows, segment, stored, axis, start, stop - start),
        )
        found.append(window[first - start : end - start])
        first = stop
    return found[0] if len(found) == 1 else np.concatenate(found)


def _near_by(stored: StoredArray, axis: int | None) -> bool:
    """Whether rows that follow one another lie in the file in as small a part of it."""
    if stored.order == "F":
        return len(stored.shape) == 2 and axis == 0
    part = prod(stored.shape[axis:]) if axis is not None else 1
    return axis == len(stored.shape) - 1 or part * stored.dtype.itemsize <= NEAR_BYTES


def _read_rows(
    segment: Segment, stored: StoredArray, axis: int | None, first: int, length: int
) -> NDArray[Any]:
    """Some rows of an array in a file, read in as few pieces as have nothing else."""
    shape, batch = segment.shape, _batch_shape(segment, axis)
    columns = () if axis is None else (shape[axis],)
    rows = np.empty((0, *columns), segment.dtype.newbyteorder("="))
    done = 0
    for ranges in _pieces(batch, first, first + length):
        if axis is not None:
            ranges.insert(axis, (0, shape[axis]))
        part = stored.read(ranges)
        moved = part if axis is None else np.moveaxis(part, axis, -1)
        found = moved.reshape(-1, *columns)
        if len(found) == length:
            return found
        if not done:
            rows = np.empty((length, *columns), rows.dtype)
        rows[done : done + len(found)] = found
        done += len(found)
    return rows


def _pieces(shape: Sequence[int], first: int, stop: int) -> Iterator[list[tuple[int, int]]]:
    """The samples from first to stop of a batch: ranges of each dimension that have no others."""
    inner = prod(shape[1:])
    while first < stop:
        if not shape:
            yield []
            return
        place, begin = divmod(first, inner)
        whole = (stop - first) // inner
        if begin or not whole:
            end = min(stop, (place + 1) * inner)
            for own in _pieces(shape[1:], begin, begin + end - first):
                yield [(place, place + 1), *own]
        else:
            end = first + whole * inner
            yield [(place, place + whole), *((0, size) for size in shape[1:])]
        first = end


def rows_of(given: NDArray[Any] | Joined | Rows, axis: int | None) -> Rows:
    """An array, joined or not, as (N, C) rows with the classes on axis; None: as (N,) numbers."""
    if isinstance(given, Rows):
        return given
    if isinstance(given, Joined):
        return rows_of_segments(given.segments, axis)
    return rows_of_segments([Segment("", given.shape, given.dtype, None, given)], axis)


def rows_of_segments(segments: Sequence[Segment], axis: int | None) -> Rows:
    """The rows of arrays behind one another."""
    return Rows([Stretch(own, 0, prod(_batch_shape(own, axis))) for own in segments], axis)


def sample_name(row: int, batch_shape: tuple[int, ...]) -> str:
    """How a row is called in a message: nothing for one sample alone, else its index."""
    if not batch_shape:
        return ""
    position = np.unravel_index(row, batch_shape)
    inner = ", ".join(str(int(i)) for i in position)
    return f" of sample {inner}" if len(position) == 1 else f" of sample ({inner})"


def _batch_shape(segment: Segment, axis: int | None) -> tuple[int, ...]:
    if axis is None:
        return segment.shape
    axis %= len(segment.shape)
    return segment.shape[:axis] + segment.shape[axis + 1 :]


def _can_be_rows(moved: NDArray[Any]) -> bool:
    """Whether the dimensions before the last one are one behind another in memory."""
    batch = list(zip(moved.shape, moved.strides, strict=True))[:-1]
    batch = [(length, stride) for length, stride in batch if length != 1]
    return all(
        stride == inner_length * inner_stride
        for (_, stride), (inner_length, inner_stride) in pairwise(batch)
    )
