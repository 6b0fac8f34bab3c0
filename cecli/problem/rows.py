"""The rows of an array, or of the arrays of several files behind one another: one thing for both.

Nothing is read into memory or copied but the rows that are asked for, and only a few files are open
at a time, however many there are.
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


class MappedArray(NamedTuple):
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
def _opened(mapped: MappedArray) -> NDArray[Any]:
    path, dtype, offset, shape, order = mapped
    try:
        return np.asarray(np.memmap(path, dtype, "r", offset, shape, order))
    except ValueError:  # the file is shorter than it was
        raise CecliError(f"{path} has changed since it was first read") from None


def forget_files() -> None:
    """Let go of the files that were mapped last, which are kept for the next look at them."""
    _opened.cache_clear()


class Segment(NamedTuple):
    """An array, or that of one file of several: each holds samples along its first dimension.

    name: what the file is called in messages. held: the array itself, where it cannot be mapped.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    mapped: MappedArray | None
    held: NDArray[Any] | None = None

    @property
    def array(self) -> NDArray[Any]:
        """The array, mapped where it can be."""
        array = np.asarray(self.held) if self.mapped is None else _opened(self.mapped)
        return array.reshape(self.shape)

    def reshaped(self, shape: tuple[int, ...]) -> Segment:
        """The same numbers in another shape."""
        return self._replace(shape=shape)


def segment_of(name: str, array: NDArray[Any]) -> Segment:
    """An array that was read from a file; what is mapped is let go of until it is looked at."""
    base: Any = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    if not isinstance(base, np.memmap) or base.filename is None or base.nbytes != array.nbytes:
        return Segment(name, array.shape, array.dtype, None, array)
    forget_files()  # the file may be another one than that of the same name before
    order = "C" if array.flags.c_contiguous else "F"
    mapped = MappedArray(str(base.filename), array.dtype, base.offset, array.shape, order)
    return Segment(name, array.shape, array.dtype, mapped)


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
        self.shape = (sum(segment.shape[0] for segment in self.segments), *first.shape[1:])
        self.ndim, self.size = len(self.shape), prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of it, in memory."""
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
        array = segment.array
        view = array[..., None] if self.axis is None else np.moveaxis(array, self.axis, -1)
        while view.ndim > 2 and not _can_be_rows(view):
            inner = prod(view.shape[1:-1])
            view = view[first // inner : -(-(first + length) // inner)]
            first %= max(inner, 1)
            if len(view) != 1:
                break
            view = view[0]
        rows = view.reshape(-1, view.shape[-1])[first : first + length]
        return rows[:, 0] if self.axis is None else rows


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
