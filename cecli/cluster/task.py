"""What a worker of a cluster does: some rows of a problem, from its files and into its files.

A task is small: where the rows lie, not the rows.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cecli
from cecli.api import Pass
from cecli.core.totals import Totals
from cecli.errors import CecliError
from cecli.output.files.positional import Extent, PositionalWriter
from cecli.problem.divisors import Divisors
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem
from cecli.problem.rows import Rows
from cecli.problem.stored import forget_files
from cecli.problem.wanted import RowArray, Wanted

if TYPE_CHECKING:
    from cecli.exact.sums import RowSums

LARGEST_KEPT = 2**25
MOST_KEPT = 2**27


@dataclass(frozen=True, eq=False)
class Shared:
    """What all tasks of a problem share.

    divisors: those of all rows. array: whose rows are written; None: the losses, where anything is.
    exact: the divisors before they are rounded, where every number is to be rounded correctly.
    """

    objective: Objective
    divisors: Divisors
    array: RowArray | None
    worst: int
    exact: tuple[Fraction, Fraction] | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """The rows from start on that the logits and the target have, and where theirs are written."""

    start: int
    logits: Rows
    target: Rows
    extents: tuple[Extent, ...]


class TaskResult(NamedTuple):
    """What a task's rows come to; sums: unrounded, where they are exact."""

    totals: Totals
    sums: RowSums | None


class TaskError(Exception):
    """A worker could not read or write a file; its text says which worker, which file and why."""


@cache
def keep_memory() -> None:
    """Let the C library keep what blocks free for the next block, as it does in other processes.

    Dask starts its workers so that it gives all of it back to the system at once, which then clears
    it again for each block: that takes longer than to compute the block.
    """
    import ctypes

    try:
        change = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return
    change(-3, LARGEST_KEPT)  # M_MMAP_THRESHOLD
    change(-1, MOST_KEPT)  # M_TRIM_THRESHOLD


def run(shared: Shared, task: Task) -> TaskResult | CecliError:
    """What a task's rows come to, which are written when it returns.

    What is wrong with a number is returned, since it would be wrong another time too. What the
    system refuses is raised as TaskError, so that the task is tried again.
    """
    keep_memory()
    try:
        return _found_by(shared, task)
    except CecliError as error:
        return error
    except OSError as error:
        raise TaskError(f"worker {_address()}: {_reason(error)}") from None
    finally:
        # Another task of the worker may come when there are other files of these names.
        forget_files()


def _found_by(shared: Shared, task: Task) -> TaskResult:
    problem = Problem.of(task.logits, task.target, shared.objective, divisors=shared.divisors)
    array, sums = shared.array, None
    if shared.exact is not None:
        from cecli.exact.sums import ExactSums

        sums = ExactSums(problem, shared.exact)
    wanted = Wanted({} if array is None else {array: None}, worst=shared.worst)
    rows = Pass(problem, wanted, jobs=1, sums=sums)
    with PositionalWriter(task.extents) as output:
        for part in rows:
            numbers = part.total if array is None else part.arrays[array]
            output.write(task.start + part.start, numbers)
    return TaskResult(rows.totals, None if sums is None else sums.rows)


class Finding(NamedTuple):
    """What is seen on a machine: its cecli, and what files it lacks."""

    version: str
    lacks: str | None


def look(files: Sequence[tuple[str, int]]) -> Finding:
    """What is seen on this machine of files, each with the least number of bytes it has."""
    return Finding(cecli.__version__, _lacking(files))


def _lacking(files: Sequence[tuple[str, int]]) -> str | None:
    for path, size in files:
        try:
            if Path(path).stat().st_size < size:
                return f"{path} is shorter there"
        except OSError as error:
            return _reason(error)
    return None


def _reason(error: OSError) -> str:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _address() -> str:
    """How the cluster calls this worker."""
    try:
        from distributed import get_worker

        return str(get_worker().address)
    except (ImportError, ValueError):  # outside of one
        return socket.gethostname()
