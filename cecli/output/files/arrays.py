"""Arrays as .npy, .npz and .csv files, written row by row while they are computed."""

from __future__ import annotations

import csv
import io
import os
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cecli.output.files.atomic import whole_file
from cecli.problem.problem import Problem

if TYPE_CHECKING:
    from cecli.answer.answer import ArrayName

ROWS_AT_ONCE = 1024


class ArrayOutput:
    """A file that takes the rows of one array in their order.

    name: losses have a number for each sample, softmax and grad the logits' shape. dtype: of the
    numbers in it; None means the logits' own, float64 for integers and float32 for bfloat16. names:
    of the classes, for the header of a table. rows_in_slab: how many rows lie side by side, their
    numbers class by class, where the classes are not the last dimension; else 1.
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
        self._names = ["loss"] if name == "losses" else names
        self._open = ExitStack()
        self.rows_in_slab = 1
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
            if self._names is not None:
                self._table.writerow(self._names)
            return
        if self._suffix == ".npz":
            archive = self._open.enter_context(zipfile.ZipFile(self._file, "w"))
            member = archive.open(f"{self._name}.npy", "w", force_zip64=True)
            self._file = self._open.enter_context(member)
        shape = problem.batch_shape if self._name == "losses" else problem.shape
        if self._name != "losses":
            self.rows_in_slab = prod(shape[problem.objective.axis % len(shape) + 1 :])
        # Handed a file, NumPy asks for its position, which a pipe does not have.
        stream: Any = SimpleNamespace(write=self._file.write)
        description = np.lib.format.dtype_to_descr(self._number)
        header = {"descr": description, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, header)

    def write(self, rows: NDArray[Any]) -> None:
        """Write the rows that follow: (n, C), losses (n,)."""
        with np.errstate(over="ignore", under="ignore"):
            rows = rows.astype(self._number, copy=False)
        if self._suffix == ".csv":
            self._write_table(rows.reshape(len(rows), -1))
        elif self.rows_in_slab == 1:
            self._file.write(np.ascontiguousarray(rows).data)
        else:
            self._write_slabs(rows)

    def end(self) -> None:
        """Write what stands behind the rows."""
        self._open.close()

    def _write_slabs(self, rows: NDArray[Any]) -> None:
        """Where the classes are not the last dimension, those behind it make a slab of rows."""
        self._waiting.append(rows)
        count = sum(map(len, self._waiting)) // self.rows_in_slab
        if not count:
            return
        joined = np.concatenate(self._waiting)
        whole, rest = np.split(joined, [count * self.rows_in_slab])
        self._waiting = [rest]
        slabs = whole.reshape(count, self.rows_in_slab, -1)
        self._file.write(np.ascontiguousarray(slabs.transpose(0, 2, 1)).data)

    def _write_table(self, rows: NDArray[Any]) -> None:
        """Every number is the shortest text that reads back to it."""
        for start in range(0, len(rows), ROWS_AT_ONCE):
            block = rows[start : start + ROWS_AT_ONCE]
            # Python has doubles alone: the shortest text of a shorter number is NumPy's.
            texts = block if block.dtype == np.float64 else block.astype(str)
            self._table.writerows(texts.tolist())


@contextmanager
def array_output(
    path: str, suffix: str, name: ArrayName, dtype: str | None, names: Sequence[str] | None
) -> Iterator[ArrayOutput]:
    """An array's file, which appears under its name when all its rows are written."""
    with whole_file(path) as file:
        output = ArrayOutput(file, suffix, name, dtype, names)
        try:
            yield output
        finally:
            output.end()
