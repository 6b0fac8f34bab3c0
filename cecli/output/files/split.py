"""The array of a command over several files, with a file of its own for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, zip_longest
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.output.files.arrays import ArrayOutput
from cecli.output.files.atomic import WholeFiles, telling
from cecli.problem.problem import Problem
from cecli.text.messages import quote

if TYPE_CHECKING:
    from cecli.answer.answer import ArrayName
    from cecli.input.multifile import Named


class SplitOutput:
    """Takes the rows of all files in their order, as `ArrayOutput` does those of one.

    paths: of the files to write, one for each of the problem's; other arguments as there.
    """

    def __init__(
        self,
        files: WholeFiles,
        paths: Sequence[str],
        suffix: str,
        name: ArrayName,
        dtype: str | None,
        names: Sequence[str] | None,
    ) -> None:
        self._files, self._paths, self._dtype = files, paths, dtype
        self._arguments: Any = (suffix, name, dtype, names)
        self._file: IO[bytes] | None = None
        self._left = 0

    is_final = False  # until all is written, nothing has its name

    def dtype_for(self, problem: Problem) -> np.dtype[Any]:
        """The type of the numbers in the files."""
        return np.dtype(self._dtype) if self._dtype else problem.own_dtype

    def begin(self, problem: Problem) -> None:
        """Begin with the rows of a problem's files."""
        self._rest = zip(problem.of_each_file(), self._paths, strict=True)

    def write(self, rows: NDArray[Any]) -> None:
        """Write the rows that follow, of whichever files."""
        while len(rows):
            while not self._left:
                self._start(*next(self._rest))
            count = min(self._left, len(rows))
            with telling(self._path):
                self._output.write(rows[:count])
            rows, self._left = rows[count:], self._left - count

    def end(self) -> None:
        """Finish the last file, and those behind it that have no rows."""
        for problem, path in self._rest:
            self._start(problem, path)
        self.close()

    def close(self) -> None:
        """Finish the file that is being written, where one is."""
        if self._file is not None:
            with telling(self._path), self._file:
                self._output.end()
            self._file = None

    def _start(self, problem: Problem, path: str) -> None:
        self.close()
        self._path, self._left = path, problem.samples
        temporary = self._files.create(path)
        with telling(path):
            self._file = temporary.open("wb")
            self._output = ArrayOutput(self._file, *self._arguments)
            self._output.begin(problem)


@contextmanager
def split_output(
    path: str,
    inputs: Sequence[Named],
    suffix: str,
    name: ArrayName,
    dtype: str | None,
    names: Sequence[str] | None,
) -> Iterator[SplitOutput]:
    """A file for the rows of each input, all of which appear when all rows are written.

    path: their names, with stars for what the stars of the inputs' pattern stand for.
    """
    paths = output_names(path, inputs)
    with WholeFiles() as files:
        output = SplitOutput(files, paths, suffix, name, dtype, names)
        try:
            yield output
            output.end()
        finally:
            output.close()


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
