"""The array of a command in the file that -o names, written row by row while it is computed.

An .npy file is written by position; .csv and .npz, a pipe and a device take what follows what.
"""

from __future__ import annotations

import csv
import io
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.input.columns import marked
from cecli.output.files.atomic import atomic_write, is_device
from cecli.output.files.positional import (
    PositionalOutput,
    npy_header,
    positional_output,
    rows_in_slab,
)
from cecli.problem.problem import Problem

if TYPE_CHECKING:
    from cecli.answer.answer import ArrayName
    from cecli.input.multifile import Named

ROWS_AT_ONCE = 1024


class StreamOutput:
    """A file that takes the rows of one array in their order.

    name: losses have a number for each sample, softmax and grad the logits' shape. dtype: of the
    numbers in it; None means the logits' own, float64 for integers and float32 for bfloat16. names:
    of the classes, for the header of a table.
    """

    def __init__(
        self,
        file: IO[bytes],
        suffix: str,
        name: ArrayName,
        dtype: str | None,
        names: Sequence[str] | None,
    ) -> None:
        self._file, self._suffix, self._name, self._dtype = file, suffix, name, dtype
        self._names = names
        self._open = ExitStack()
        self._waiting: list[NDArray[Any]] = []

    def dtype_for(self, problem: Problem) -> np.dtype[Any]:
        """The type of the numbers in the file."""
        return np.dtype(self._dtype) if self._dtype else problem.own_dtype

    @property
    def is_final(self) -> bool:
        """Whether what is written cannot be taken back, as in a pipe or a device."""
        return not stat.S_ISREG(os.fstat(self._file.fileno()).st_mode)

    def begin(self, problem: Problem) -> None:
        """Write what stands before the rows of a problem."""
        self._number = self.dtype_for(problem)
        if self._suffix == ".csv":
            text = io.TextIOWrapper(self._file, encoding="utf-8", newline="", write_through=True)
            self._open.callback(text.detach)
            self._table = csv.writer(text, lineterminator="\n")
            if self._name == "losses":
                self._table.writerow(["loss"])
            elif self._names is not None:
                self._table.writerow(marked(self._names))
            return
        if self._suffix == ".npz":
            # A device has places to seek, but they are none.
            file: Any = _Forward(self._file) if self.is_final else self._file
            archive = self._open.enter_context(zipfile.ZipFile(file, "w"))
            member = archive.open(f"{self._name}.npy", "w", force_zip64=True)
            self._file = self._open.enter_context(member)
        self._slab = rows_in_slab(problem, self._name)
        self._file.write(npy_header(problem, self._name, self._number))

    def write(self, rows: NDArray[Any]) -> None:
        """Write the rows that follow: (n, C), losses (n,)."""
        with np.errstate(over="ignore", under="ignore"):
            rows = rows.astype(self._number, copy=False)
        if self._suffix == ".csv":
            self._write_table(rows.reshape(len(rows), -1))
        elif self._slab == 1:
            self._file.write(np.ascontiguousarray(rows).data)
        else:
            self._write_slabs(rows)

    def end(self) -> None:
        """Write what stands behind the rows."""
        self._open.close()

    def _write_slabs(self, rows: NDArray[Any]) -> None:
        """Where the classes are not the last dimension, those behind it make a slab of rows."""
        self._waiting.append(rows)
        count = sum(map(len, self._waiting)) // self._slab
        if not count:
            return
        joined = np.concatenate(self._waiting)
        whole, rest = np.split(joined, [count * self._slab])
        self._waiting = [rest]
        slabs = whole.reshape(count, self._slab, -1)
        self._file.write(np.ascontiguousarray(slabs.transpose(0, 2, 1)).data)

    def _write_table(self, rows: NDArray[Any]) -> None:
        """Every number is the shortest text that reads back to it."""
        for start in range(0, len(rows), ROWS_AT_ONCE):
            block = rows[start : start + ROWS_AT_ONCE]
            # Python has doubles alone: the shortest text of a shorter number is NumPy's.
            texts = block if block.dtype == np.float64 else block.astype(str)
            self._table.writerows(texts.tolist())


class _Forward(io.RawIOBase):
    """A file that only goes forward."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Hand on some bytes; how many were taken."""
        return self._file.write(data)

    def flush(self) -> None:
        """The file beneath."""
        self._file.flush()


@contextmanager
def array_output(
    path: str,
    suffix: str,
    inputs: Sequence[Named] | None,
    name: ArrayName,
    dtype: str | None,
    names: Sequence[str] | None,
) -> Iterator[StreamOutput | PositionalOutput]:
    """An array's file, which appears under its name when all its rows are written.

    inputs: those that each get a file of their own, named by the stars in path; else None.
    """
    if inputs is not None and suffix not in ("", ".npy"):
        raise CecliError(f"cannot write {path}: a file for each input is an .npy file")
    if suffix == ".csv" and name != "losses" and any("\r" in label for label in names or ()):
        raise CecliError(f"cannot write {path}: a label holds a carriage return, as no header can")
    if suffix in ("", ".npy") and not is_device(path):
        with positional_output(path, inputs, name, dtype) as output:
            yield output
        return
    with atomic_write(path) as file:
        stream = StreamOutput(file, suffix, name, dtype, names)
        try:
            yield stream
        finally:
            stream.end()
