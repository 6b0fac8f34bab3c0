"""What a cluster costs: an empty task, a worker's bytes a second, and a second worker.

    python tests/benchmarks/cluster.py [--megabytes N] [--classes C] [--runs N]

Starts `--cluster local` with one worker and with two, measures cecli's own work on files of float32
logits that the system has in its cache, and prints the constants of cecli-cluster(7):
seconds = bytes / (workers x bytes a second of a worker) + tasks x seconds of an empty task.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cecli.answer.answer import Shown
from cecli.cluster import client as cluster
from cecli.cluster.client import find_answer_on_cluster
from cecli.cluster.dask import connected
from cecli.input.problem_from import Input, Overrides, read_request
from cecli.output.files.atomic import AtomicFiles
from cecli.output.files.destination import destination_of

EMPTY_TASKS = 1000


def seconds(work: Callable[[], object], runs: int) -> float:
    """The shortest time that some work takes: what else the machine does is no part of it."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def nothing(number: int) -> None:
    """An empty task."""


def empty_task(client: Any, runs: int) -> float:
    """Seconds of an empty task, of many at a time."""

    def work() -> None:
        client.gather(client.map(nothing, range(EMPTY_TASKS), pure=False))

    work()
    return seconds(work, runs) / EMPTY_TASKS


def rate(client: Any, command: Any, typed: Input, output: str | None, runs: int) -> float:
    """Bytes of logits a second of a command, on workers that have started."""
    request = read_request(typed, Overrides(), with_target=True)
    address = client.scheduler.address
    destination = None if output is None else destination_of(output, ["array"])

    def work() -> None:
        with AtomicFiles() as files:
            find_answer_on_cluster(
                command,
                request,
                address,
                destination,
                files,
                lambda share: None,
                shown=Shown(),
            )

    work()
    return request.problem.nbytes / seconds(work, runs)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="The constants of a cluster's cost model.")
    parser.add_argument("--megabytes", type=int, default=512, help="of logits (default 512)")
    parser.add_argument("--classes", type=int, default=1000, help="of a sample (default 1000)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default 5)")
    arguments = parser.parse_args()
    rows = arguments.megabytes * 10**6 // (4 * arguments.classes)
    with tempfile.TemporaryDirectory() as folder:
        random = np.random.default_rng(0)
        target = Path(folder) / "target.npy"
        np.save(target, random.integers(0, arguments.classes, rows))
        logits = Path(folder) / "logits.npy"
        file = np.lib.format.open_memmap(
            logits, "w+", np.dtype(np.float32), (rows, arguments.classes)
        )
        for start in range(0, rows, 10_000):
            shape = file[start : start + 10_000].shape
            file[start : start + 10_000] = 4 * random.standard_normal(shape, np.float32)
        del file
        typed = Input((str(logits),), target=str(target))
        print(f"{rows:,} samples of {arguments.classes:,} classes, float32, in the page cache")
        for count in (1, 2):
            with connected("local", count) as client:
                client.wait_for_workers(count)
                print(f"{count} worker{'s' if count > 1 else ''}")
                print(f"  empty task          {1e3 * empty_task(client, arguments.runs):8.2f} ms")
                for command, output in (("loss", None), ("grad", f"{folder}/grad.npy")):
                    found = rate(client, command, typed, output, arguments.runs)
                    print(f"  {command:<20}{found / 1e6:8.0f} MB/s")
        print(f"a task takes up to {cluster.TASK_BYTES / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
