"""Rows of an array written to their places in .npy files, in any order and by any process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Place(NamedTuple):
    """Where the rows of an array lie in a file that has its full size already.

    offset: of the first number, in bytes. first, rows: the rows that the file holds, counted
    through all files. columns: numbers in a row. slab: how many rows lie side by side, their
    numbers column by column, where the classes are not the last dimension; else 1.
    """

    path: str
    offset: int
    first: int
    rows: int
    columns: int
    slab: int
    dtype: np.dtype[Any]


class PlacedOutput:
    """The files that hold some rows, open to write; a context manager that closes them."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._places, self._stack = places, ExitStack()

    def __enter__(self) -> PlacedOutput:
        self._files: list[int] = []
        try:
            for place in self._places:
                self._files.append(os.open(place.path, os.O_WRONLY))
                self._stack.callback(os.close, self._files[-1])
        except OSError:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        # What a server on the network could not keep is told when a file is closed.
        self._stack.close()

    def write(self, start: int, rows: NDArray[Any]) -> None:
        """Write rows (n, columns), or (n,), of which the first is row number start of all."""
        for file, place in zip(self._files, self._places, strict=True):
            first, end = max(start, place.first), min(start + len(rows), place.first + place.rows)
            if first < end:
                with np.errstate(over="ignore", under="ignore"):
                    own = rows[first - start : end - start].astype(place.dtype, copy=False)
                _write(file, place, first - place.first, own.reshape(end - first, -1))


def _write(file: int, place: Place, row: int, rows: NDArray[Any]) -> None:
    """Write rows that a file holds, from its own row number row on."""
    columns, slab = place.columns, place.slab
    if slab == 1:
        _write_numbers(file, place, row * columns, rows)
        return
    while len(rows):
        number, beside = divmod(row, slab)
        begin = number * slab * columns
        count = len(rows) // slab * slab if not beside else 0
        if count:
            slabs = rows[:count].reshape(-1, slab, columns).transpose(0, 2, 1)
            _write_numbers(file, place, begin, slabs)
        else:
            count = min(slab - beside, len(rows))
            for column in range(columns):
                _write_numbers(file, place, begin + column * slab + beside, rows[:count, column])
        row, rows = row + count, rows[count:]


def _write_numbers(file: int, place: Place, position: int, numbers: NDArray[Any]) -> None:
    """Write numbers that follow one another, the first of them number position of the array."""
    offset = place.offset + position * place.dtype.itemsize
    rest = np.ascontiguousarray(numbers).reshape(-1).view(np.uint8).data
    while rest:
        try:
            written = os.pwrite(file, rest, offset)
        except OSError as error:
            raise OSError(error.errno, error.strerror, place.path) from None
        rest, offset = rest[written:], offset + written
