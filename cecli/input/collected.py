"""An array of unknown length, put together block by block: in memory, in a file if it is long."""

from __future__ import annotations

import atexit
import os
import weakref
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cecli.core.probabilities import From, logits_of_rows
from cecli.problem.dtypes import AnyArray
from cecli.problem.problem import batch_shape_of
from cecli.problem.rows import Joined, rows_of, sample_name, segment_of
from cecli.problem.stored import OPEN_FILES, StoredArray

NUMBERS_AT_ONCE = 2**20
# What is longer stands in a temporary file without a name, which is open as long as the process.
MOST_IN_MEMORY = 2**25


class Collected:
    """Takes blocks (n, columns), or (n,) for columns None, and gives them back as one array."""

    def __init__(self, columns: int | None, dtype: Any = np.float64) -> None:
        self.columns = columns
        self._row_shape = () if columns is None else (columns,)
        self._dtype = np.dtype(dtype)
        self._blocks: list[NDArray[Any]] = []
        self._file: IO[bytes] | None = None
        self._rows = self._held = 0

    def __len__(self) -> int:
        return self._rows

    def add(self, block: NDArray[Any]) -> None:
        """Take the rows that follow."""
        block = np.ascontiguousarray(block, dtype=self._dtype)
        self._rows += len(block)
        self._blocks.append(block)
        self._held += block.nbytes
        if self._held > MOST_IN_MEMORY:
            self._spill()

    def array(self) -> NDArray[Any]:
        """All rows."""
        shape = (self._rows, *self._row_shape)
        if self._file is None:
            whole = np.concatenate(self._blocks) if self._blocks else np.empty(0, self._dtype)
            return whole.reshape(shape)
        self._spill()
        self._file.flush()
        return np.asarray(np.memmap(self._file, self._dtype, "r", 0, shape))

    def stored(self) -> NDArray[Any] | Joined:
        """All rows, those of a long array where they lie: no more of them is held than is read."""
        if self._file is None or self._rows == 1 or not os.path.isdir(OPEN_FILES):  # noqa: PTH112
            return self.array()
        self._spill()
        self._file.flush()
        self._closed_with_this.detach()
        atexit.register(self._file.close)
        path = f"{OPEN_FILES}/{self._file.fileno()}"
        shape = (self._rows, *self._row_shape)
        return Joined.of(StoredArray(path, self._dtype, 0, shape))

    def _spill(self) -> None:
        if self._file is None:
            import tempfile

            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with this
            self._closed_with_this = weakref.finalize(self, self._file.close)
        for block in self._blocks:
            self._file.write(block.data)
        self._blocks, self._held = [], 0


def logits_in_blocks(given: AnyArray, kind: From, axis: int) -> AnyArray:
    """`logits_from` for arrays that may be larger than memory, in several files perhaps."""
    if kind == "logits":
        return given
    if isinstance(given, Joined):
        return Joined(
            [
                segment_of(segment.name, _logits_of_array(Joined([segment]), kind, axis))
                for segment in given.segments
            ]
        )
    return _logits_of_array(np.asarray(given), kind, axis)


def _logits_of_array(given: NDArray[Any] | Joined, kind: From, axis: int) -> NDArray[Any] | Joined:
    batch_shape = batch_shape_of(given.shape, axis)
    rows = rows_of(given, axis)
    found, size = Collected(rows.shape[1]), max(1, NUMBERS_AT_ONCE // max(1, rows.shape[1]))
    for start in range(0, len(rows), size):

        def called(row: int, start: int = start) -> str:
            return sample_name(start + row, batch_shape)

        found.add(logits_of_rows(rows[start : start + size], kind, called))
    if axis % len(given.shape) == len(given.shape) - 1:
        return found.stored().reshape(given.shape)
    return np.moveaxis(found.array().reshape(*batch_shape, rows.shape[1]), -1, axis)
