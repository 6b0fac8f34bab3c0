"""Arrays in .npy files whose rows are written to their places, in any order and by any process.

One file, a file for each of several inputs, and the workers of a cluster: in all three the files
get their headers and full sizes first, then rows go where they belong.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, zip_longest
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.output.files.atomic import AtomicFiles, writing
from cecli.problem.problem import Problem
from cecli.text.messages import quote

if TYPE_CHECKING:
    from cecli.answer.answer import ArrayName
    from cecli.input.multifile import Named


class Extent(NamedTuple):
    """Where the rows of an array lie in a file that has its full size already.

    path: of the temporary file, which will be called name. offset: of the first number, in bytes.
    first, rows: the rows that the file holds, counted through all files. columns: numbers in a row.
    slab: how many rows lie side by side, their numbers column by column, where the classes are not
    the last dimension; else 1.
    """

    path: str
    name: str
    offset: int
    first: int
    rows: int
    columns: int
    slab: int
    dtype: np.dtype[Any]


class PositionalWriter:
    """Writes rows to the extents that they belong to; a context manager that closes the last file.

    One file is open at a time: rows that follow one another seldom change from file to file.
    """

    def __init__(self, extents: Sequence[Extent]) -> None:
        self._extents = extents
        self._open: tuple[Extent, int] | None = None

    def __enter__(self) -> PositionalWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def write(self, start: int, rows: NDArray[Any]) -> None:
        """Write rows (n, columns), or (n,), of which the first is row number start of all.

        Raises the system's OSError with the file's name.
        """
        for extent in self._extents:
            first, end = (
                max(start, extent.first),
                min(start + len(rows), extent.first + extent.rows),
            )
            if first < end:
                with np.errstate(over="ignore", under="ignore"):
                    own = rows[first - start : end - start].astype(extent.dtype, copy=False)
                _write(self._file(extent), extent, first - extent.first, own.reshape(len(own), -1))

    def _file(self, extent: Extent) -> int:
        if self._open is None or self._open[0] is not extent:
            self.close()
            self._open = extent, os.open(extent.path, os.O_WRONLY)
        return self._open[1]

    def close(self) -> None:
        """Close the file that is open."""
        if self._open is not None:
            (extent, file), self._open = self._open, None
            try:
                # What a server on the network could not keep is told when a file is closed.
                os.close(file)
            except OSError as error:
                raise OSError(error.errno, error.strerror, extent.path) from None


def _write(file: int, extent: Extent, row: int, rows: NDArray[Any]) -> None:
    """Write rows that a file holds, from its own row number row on."""
    columns, slab = extent.columns, extent.slab
    if slab == 1:
        _write_numbers(file, extent, row * columns, rows)
        return
    while len(rows):
        number, beside = divmod(row, slab)
        begin = number * slab * columns
        count = len(rows) // slab * slab if not beside else 0
        if count:
            slabs = rows[:count].reshape(-1, slab, columns).transpose(0, 2, 1)
            _write_numbers(file, extent, begin, slabs)
        else:
            count = min(slab - beside, len(rows))
            for column in range(columns):
                _write_numbers(file, extent, begin + column * slab + beside, rows[:count, column])
        row, rows = row + count, rows[count:]


def _write_numbers(file: int, extent: Extent, position: int, numbers: NDArray[Any]) -> None:
    """Write numbers that follow one another, the first of them number position of the array."""
    offset = extent.offset + position * extent.dtype.itemsize
    rest = np.ascontiguousarray(numbers).reshape(-1).view(np.uint8).data
    while rest:
        try:
            written = os.pwrite(file, rest, offset)
        except OSError as error:
            raise OSError(error.errno, error.strerror, extent.path) from None
        rest, offset = rest[written:], offset + written


# --- The files ------------------------------------------------------------------------------------


def extents_of(
    files: AtomicFiles,
    path: str,
    inputs: Sequence[Named] | None,
    problem: Problem,
    name: ArrayName,
    dtype: np.dtype[Any],
) -> list[Extent]:
    """The files for the rows of a problem's array, in their full size, with all but their rows.

    inputs: those that each get a file of their own, whose names follow from path; None for one file
    of all rows.
    """
    if inputs is None:
        return [_created(files, path, 0, problem, name, dtype)]
    extents: list[Extent] = []
    for own_path, own in zip(output_names(path, inputs), problem.of_each_file(), strict=True):
        first = extents[-1].first + extents[-1].rows if extents else 0
        extents.append(_created(files, own_path, first, own, name, dtype))
    return extents


def _created(
    files: AtomicFiles,
    path: str,
    first: int,
    problem: Problem,
    name: ArrayName,
    dtype: np.dtype[Any],
) -> Extent:
    header, columns = npy_header(problem, name, dtype), 1 if name == "losses" else problem.classes
    temporary = files.create(path)
    with writing(path), temporary.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + problem.samples * columns * dtype.itemsize)
    slab = rows_in_slab(problem, name)
    return Extent(str(temporary), path, len(header), first, problem.samples, columns, slab, dtype)


def npy_header(problem: Problem, name: ArrayName, dtype: np.dtype[Any]) -> bytes:
    """What an .npy file of a problem's array begins with."""
    shape = problem.batch_shape if name == "losses" else problem.shape
    description = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": description, "fortran_order": False, "shape": shape}
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def rows_in_slab(problem: Problem, name: ArrayName) -> int:
    """How many rows of an array lie side by side, where the classes are not the last dimension."""
    if name == "losses":
        return 1
    return prod(problem.shape[problem.objective.axis % len(problem.shape) + 1 :])


def output_names(pattern: str, inputs: Sequence[Named]) -> list[str]:
    """The names of the outputs, one for each input."""
    texts = pattern.split("*")
    found: dict[str, str] = {}
    for file in inputs:
        if len(file.stars) != len(texts) - 1:
            counts = (
                f"{len(texts) - 1} * but the name of {quote(file.name)} fills {len(file.stars)}"
            )
            raise CecliError(f"cannot write {pattern}: it has {counts}")
        name = "".join(chain.from_iterable(zip_longest(texts, file.stars, fillvalue="")))
        if name in found:
            raise CecliError(
                f"{quote(found[name])} and {quote(file.name)} would both be written to {name}"
            )
        found[name] = file.name
    return list(found)


# --- In one process -------------------------------------------------------------------------------


class PositionalOutput:
    """Takes the rows of a command's array in their order, for one file or for one of each input."""

    is_final = False  # until all is written, nothing has its name

    def __init__(
        self,
        files: AtomicFiles,
        path: str,
        inputs: Sequence[Named] | None,
        name: ArrayName,
        dtype: str | None,
    ) -> None:
        self._files, self._path, self._inputs = files, path, inputs
        self._name, self._dtype, self._row = name, dtype, 0
        self._extents: list[Extent] = []
        self._writer = PositionalWriter(self._extents)

    def dtype_for(self, problem: Problem) -> np.dtype[Any]:
        """The type of the numbers in the files."""
        return np.dtype(self._dtype) if self._dtype else problem.own_dtype

    def begin(self, problem: Problem) -> None:
        """Make the files for the rows of a problem."""
        dtype = self.dtype_for(problem)
        self._extents += extents_of(
            self._files, self._path, self._inputs, problem, self._name, dtype
        )

    def write(self, rows: NDArray[Any]) -> None:
        """Write the rows that follow: (n, C), losses (n,)."""
        with self._named():
            self._writer.write(self._row, rows)
        self._row += len(rows)

    def end(self) -> None:
        """Close what is open."""
        with self._named():
            self._writer.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """What the system says against a file, with the name that the file will have."""
        try:
            yield
        except OSError as error:
            names = {extent.path: extent.name for extent in self._extents}
            with writing(names.get(str(error.filename), self._path)):
                raise


@contextmanager
def positional_output(
    path: str, inputs: Sequence[Named] | None, name: ArrayName, dtype: str | None
) -> Iterator[PositionalOutput]:
    """The files of an array, which appear under their names when all rows are written."""
    with AtomicFiles() as files:
        output = PositionalOutput(files, path, inputs, name, dtype)
        try:
            yield output
        finally:
            output.end()
