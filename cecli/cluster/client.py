"""--cluster: the rows of a problem as tasks of dask.distributed, which schedules and retries them.

The client cuts the rows into ranges of whole groups, makes the output files in their full size,
and adds up what the tasks return; the workers read and write the files themselves.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cecli.answer.answer import (
    Answer,
    Command,
    Shown,
    answer_of_totals,
    array_name_of,
    rows_name_of,
)
from cecli.api import needs_exact_sums
from cecli.cluster.dask import check_machines, connected, results, threads_of
from cecli.cluster.task import Shared, Task
from cecli.core.totals import ROWS_PER_GROUP, Totals
from cecli.errors import CecliError
from cecli.exact.sums import ExactSums
from cecli.input.problem_from import Request
from cecli.output.files.atomic import AtomicFiles
from cecli.output.files.destination import Destination
from cecli.output.files.positional import Extent, extents_of
from cecli.problem.divisors import Divisors
from cecli.problem.dtypes import AnyArray
from cecli.problem.rows import Joined, Rows, Segment, rows_of_segments, segment_of
from cecli.problem.stored import OPEN_FILES
from cecli.problem.wanted import RowArray
from cecli.text.messages import quote

if TYPE_CHECKING:
    from cecli.gradcheck.differences import ProgressCallback

TASK_BYTES = 2**27
FEWEST_TASK_BYTES = 2**24
TASKS_FOR_EACH_THREAD = 4


@dataclass(frozen=True, eq=False)
class Job:
    """A problem's rows as they lie in files, and what all tasks share."""

    shared: Shared
    logits: Rows
    target: Rows
    extents: tuple[Extent, ...]

    def tasks(self, threads: int) -> list[Task]:
        """The rows in ranges that begin with a group of those that are summed first."""
        samples = len(self.logits)
        row_bytes = max(1, self.logits.nbytes // max(1, samples))
        share = self.logits.nbytes // (TASKS_FOR_EACH_THREAD * max(1, threads))
        nbytes = min(TASK_BYTES, max(FEWEST_TASK_BYTES, share))
        size = max(1, nbytes // row_bytes // ROWS_PER_GROUP) * ROWS_PER_GROUP
        return [self._task(start, min(start + size, samples)) for start in range(0, samples, size)]

    def _task(self, start: int, stop: int) -> Task:
        firsts = [extent.first for extent in self.extents]
        extents = self.extents[max(0, bisect_right(firsts, start) - 1) : bisect_left(firsts, stop)]
        logits, target = (rows.between(start, stop) for rows in (self.logits, self.target))
        return Task(start, logits, target, extents)

    @property
    def files(self) -> list[tuple[str, int]]:
        """What every worker must see: files, each with the least number of bytes it has."""
        sizes = {extent.path: Path(extent.path).stat().st_size for extent in self.extents}
        for rows in (self.logits, self.target):
            for stretch in rows.stretches:
                stored = stretch.segment.stored
                if stored is not None:
                    sizes[stored.path] = max(sizes.get(stored.path, 0), stored.end)
        return list(sizes.items())


def find_answer_on_cluster(
    command: Command,
    request: Request,
    address: str,
    destination: Destination | None,
    files: AtomicFiles,
    progress: ProgressCallback,
    *,
    shown: Shown,
    exact: bool = False,
    jobs: int | None = None,
) -> Answer:
    """What `find_answer` finds, by the workers of the cluster at an address, or of a local one.

    files: those of an array's destination, which are complete when this returns. jobs: how many
    workers a local cluster has.
    Raises CecliError for whatever cannot be computed, and for a cluster that does not do it.
    """
    problem = request.problem
    logits, target = _rows_in_files(request)
    divisors = Divisors(problem.divisor, problem.z_loss_divisor)
    with connected(address, jobs) as client:
        extents = _extents(command, request, destination, files)
        name = rows_name_of(command)
        array = RowArray(name, extents[0].dtype) if extents and name is not None else None
        objective = replace(problem.objective, axis=-1)
        sums = ExactSums(problem) if exact or needs_exact_sums(problem) else None
        exact_divisors = None if sums is None else sums.divisors
        shared = Shared(objective, divisors, array, shown.worst, exact_divisors)
        job = Job(shared, logits, target, tuple(extents))
        check_machines(client, job.files)
        tasks = job.tasks(threads_of(client))
        totals = Totals(shown.worst)
        for task, found in zip(tasks, results(client, shared, tasks, progress), strict=True):
            totals.extend(found.totals, task.start)
            if sums is not None and found.sums is not None:
                sums.add(found.sums)
    return answer_of_totals(command, problem, request.labels, totals, sums, shown)


# --- What the workers read and write --------------------------------------------------------------


def _rows_in_files(request: Request) -> tuple[Rows, Rows]:
    """Logits and target as rows that a worker reads from their files."""
    problem, typed = request.problem, request.typed
    if problem.sample_weight is not None:
        raise CecliError("--sample-weight does not go with --cluster: weights are read here alone")
    if request.files is None and request.sources.logits is None:
        raise CecliError("--cluster needs logits that are in files")
    named = typed.target if problem.indexed else typed.soft_target
    if named is None:
        raise CecliError("--cluster needs targets in files of their own: -t FILE or -q FILE")
    if problem.truth is None:
        raise ValueError("a problem for a cluster has a target")
    axis = problem.objective.axis
    logits = _rows(problem.given, str(request.sources.logits), axis)
    target = _rows(problem.truth.given, named, None if problem.indexed else axis)
    return logits, target


def _rows(given: AnyArray, name: str, axis: int | None) -> Rows:
    segments: Sequence[Segment]
    if isinstance(given, Joined) and len(given.segments) > 1:
        segments = given.segments
    else:
        one = given if isinstance(given, Joined) else np.asarray(given)
        segments = [segment_of(quote(name), one)]
    for segment in segments:
        is_ours = segment.stored is not None and segment.stored.path.startswith(OPEN_FILES)
        in_memory = segment.stored is None and segment.held is not None and segment.held.size
        if is_ours or in_memory:
            raise CecliError(
                f"{segment.name}: with --cluster, the workers read logits and targets from .npy "
                "and .safetensors files, or .npz files that are not compressed, targets as integers"
            )
    return rows_of_segments(segments, axis)


def _extents(
    command: Command, request: Request, destination: Destination | None, files: AtomicFiles
) -> list[Extent]:
    """The files for the command's array, in their full size, with all but their rows."""
    problem = request.problem
    if destination is None or destination.kind != "array":
        return []
    path = destination.path
    inputs = request.files if "*" in path else None
    dtype = np.dtype(destination.dtype) if destination.dtype else problem.own_dtype
    return extents_of(files, path, inputs, problem, array_name_of(command), dtype)
