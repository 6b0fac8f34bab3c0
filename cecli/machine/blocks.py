"""A problem in blocks of rows that stay in cache, worked on by as many threads as there are cores.

NumPy lets other threads run while it computes, so threads are enough. What a block's rows come to
depends on those rows alone: neither the size of the blocks nor their number of threads shows in a
result.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from cecli.machine.float_mode import standard_mode
from cecli.problem.problem import Block, Problem

Result = TypeVar("Result")

# So many bytes of logits and so many rows at the most: enough that a thread seldom waits for the
# interpreter and that a call of NumPy costs next to nothing, and few enough to stay in cache with
# all that is made of them.
BLOCK_BYTES = 2**21
BLOCK_ROWS = 25_000
# Threads take longer to begin than to work on less.
SMALLEST_BLOCK_BYTES = 2**17
WAITING_FOR_EACH_JOB = 3
KEPT_NUMBERS = 3 * 2**20


def cores() -> int:
    """How many of the machine's cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def block_ranges(
    samples: int, row_bytes: int, jobs: int, most_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[int, int]]:
    """The first row and the one behind the last of each block; all jobs get as many if possible."""
    most = max(1, min(most_bytes // row_bytes, BLOCK_ROWS))
    blocks_for_each_job = -(-samples // (jobs * most))
    size = -(-samples // (jobs * max(1, blocks_for_each_job)))
    size = max(1, size, min(most, SMALLEST_BLOCK_BYTES // row_bytes))
    return ((start, min(start + size, samples)) for start in range(0, samples, size))


def each_block(
    problem: Problem,
    work: Callable[[Block], Result],
    jobs: int | None = None,
    *,
    checked: bool = True,
    most_bytes: int = BLOCK_BYTES,
) -> Iterator[Result]:
    """What work makes of each block, in the order of the rows; jobs threads, default one a core.

    checked: whether the rows of the blocks are to be; otherwise work does that. most_bytes: so many
    of a block's logits, if they are more than a row.
    """

    def take(start: int, stop: int) -> Result:
        with standard_mode():
            return work(problem.block(start, stop, checked=checked))

    jobs = jobs or cores()
    if problem.samples * problem.row_bytes <= most_bytes // 2:
        jobs = 1
    ranges = block_ranges(problem.samples, problem.row_bytes, jobs, most_bytes)
    # The C library gives freed memory back to the system piece by piece, to be cleared and mapped
    # again for the next block. It keeps as much as the largest piece that was ever freed: this one.
    np.empty(KEPT_NUMBERS)
    if jobs == 1:
        yield from (take(start, stop) for start, stop in ranges)
        return
    from concurrent.futures import Future, ThreadPoolExecutor

    waiting: deque[Future[Result]] = deque()
    executor = ThreadPoolExecutor(jobs)
    try:
        for start, stop in ranges:
            waiting.append(executor.submit(take, start, stop))
            if len(waiting) > WAITING_FOR_EACH_JOB * jobs:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def check_rows(problem: Problem, jobs: int | None = None) -> None:
    """Raise CecliError where a row cannot be used, before anything is made of those above it."""
    deque(each_block(problem, lambda block: None, jobs), maxlen=0)
