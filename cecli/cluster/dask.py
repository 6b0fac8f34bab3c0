"""A cluster of dask.distributed: reaching it, comparing its workers, and what its tasks return.

Scheduling, retrying and moving data is dask's; here everything that goes wrong becomes one line.
"""

from __future__ import annotations

import json
import logging
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cecli.cluster.task import Finding, Shared, Task, TaskError, TaskResult, look, run
from cecli.errors import CecliError
from cecli.machine.blocks import cores
from cecli.machine.signals import signals_raised

if TYPE_CHECKING:
    from distributed import Client, Future

    from cecli.gradcheck.differences import ProgressCallback

SECONDS_TO_CONNECT = 5
SECONDS_WITHOUT_WORKERS = 30.0
SECONDS_BETWEEN_LOOKS = 0.02
RETRIES = 2


@contextmanager
def connected(address: str, jobs: int | None) -> Iterator[Client]:
    """A client of the cluster, which is started here where the address is "local"."""
    with signals_raised(), _silence():
        try:
            from distributed import Client
        except ImportError:
            raise CecliError(
                "--cluster needs the package distributed: pip install distributed"
            ) from None
        cluster: Any = None
        client: Any = None
        try:
            try:
                cluster = _local_cluster(jobs) if address == "local" else None
                place = _scheduler_of(address) if cluster is None else cluster
                client = Client(place, timeout=SECONDS_TO_CONNECT, set_as_default=False)
            except Exception as error:  # noqa: BLE001 - whatever a wrong address makes it raise
                reason = _one_line(error)
                raise CecliError(f"no scheduler can be reached at {address}: {reason}") from None
            _wait_for_workers(client, address)
            yield client
        finally:
            for started in (client, cluster):
                if started is not None:
                    with suppress(Exception):
                        started.close(timeout=SECONDS_TO_CONNECT)


def _local_cluster(jobs: int | None) -> Any:
    from multiprocessing import resource_tracker

    from distributed import LocalCluster

    # Control-C at a terminal reaches all its processes; threads and processes that begin while the
    # signal is blocked never see it, so that it is this one, here, which ends the others. What
    # multiprocessing starts with the first process would take the block away, so it comes before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return LocalCluster(
            n_workers=jobs or cores(),
            threads_per_worker=1,
            dashboard_address=None,
            memory_limit=None,
            silence_logs=logging.CRITICAL,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait_for_workers(client: Client, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=SECONDS_WITHOUT_WORKERS)
    except TimeoutError:
        raise CecliError(
            f"the scheduler at {address} has no workers: start some with dask worker"
        ) from None


def _scheduler_of(address: str) -> str:
    """The address of a scheduler, which may have written it into a file.

    Raises OSError or ValueError: a client that cannot begin with it would not end in silence.
    """
    if "://" not in address and (address.endswith(".json") or Path(address).exists()):
        content = json.loads(Path(address).read_bytes())
        address = content["address"] if isinstance(content, dict) and "address" in content else ""
        if not address:
            raise ValueError("the file holds no address")
    from distributed.comm import get_address_host_port

    _, port = get_address_host_port(address)
    if not 0 < port < 2**16:
        raise ValueError(f"{port} is not a port")
    if address.startswith(("tls:", "wss:")):
        from distributed import Security

        if Security().get_connection_args("client").get("ssl_context") is None:
            raise ValueError("dask knows no certificates (its configuration distributed.comm.tls)")
    return address


@contextmanager
def _silence() -> Iterator[None]:
    """Without the log lines of dask and asyncio: what matters is told in one line, by cecli."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def check_machines(client: Client, files: Sequence[tuple[str, int]]) -> None:
    """Refuse workers that lack a file or have another cecli; the same one gives the same bits."""
    try:
        _check_finding("the scheduler", client.run_on_scheduler(look, ()))
    except ImportError as error:
        raise CecliError(f"the scheduler cannot load cecli: {_one_line(error)}") from None
    found = client.run(look, files, on_error="return")
    for worker, finding in sorted(found.items()):
        _check_finding(f"worker {worker}", finding)


def _check_finding(name: str, finding: Finding | Exception) -> None:
    here = look(())
    if not isinstance(finding, Finding):
        raise CecliError(f"{name} cannot run cecli: {_one_line(finding)}")
    if finding.version != here.version:
        raise CecliError(f"{name} has cecli {finding.version}, this is {here.version}")
    if finding.lacks is not None:
        raise CecliError(f"{name} does not see every file: {finding.lacks}")


def threads_of(client: Client) -> int:
    """How many tasks the workers can run at a time."""
    return sum(client.nthreads().values())


def results(
    client: Client, shared: Shared, tasks: Sequence[Task], progress: ProgressCallback
) -> list[TaskResult]:
    """What the tasks return, in their order.

    Raises CecliError: of all that tasks return, the first in the order of the rows.
    """
    # A task of its own: it is sent once, and again where its worker is lost.
    sent = client.submit(_same, shared, pure=False)
    futures = client.map(run, [sent] * len(tasks), tasks, pure=False, retries=RETRIES)
    try:
        return _gathered(client, futures, progress)
    except BaseException:
        with suppress(Exception):
            client.cancel(futures, force=True)
        raise


def _same(shared: Shared) -> Shared:
    return shared


def _gathered(
    client: Client, futures: Sequence[Future], progress: ProgressCallback
) -> list[TaskResult]:
    from distributed import as_completed

    numbers = {future.key: number for number, future in enumerate(futures)}
    found: dict[int, TaskResult] = {}
    wanted, refusal = len(futures), CecliError()
    completed, patience = as_completed(futures, loop=client.loop), _Patience(client)
    while len(found) < wanted:
        batch = completed.next_batch(block=False)
        if not batch:
            patience.wait()
        for future in batch:
            number = numbers[future.key]
            if number >= wanted:
                continue
            value = _value(future)
            if isinstance(value, TaskResult):
                found[number] = value
            else:
                wanted, refusal = number, value
                client.cancel(futures[number:], force=True)
                found = {earlier: own for earlier, own in found.items() if earlier < wanted}
            progress(len(found) / len(futures))
    if wanted < len(futures):
        raise refusal
    return [found[number] for number in range(len(futures))]


def _value(future: Future) -> TaskResult | CecliError:
    """What a task that is done returned."""
    from distributed import KilledWorker

    try:
        value: TaskResult | CecliError = future.result()
    except TaskError as error:
        raise CecliError(str(error)) from None
    except KilledWorker as error:
        raise CecliError(
            f"workers died again and again at the same rows, the last of them "
            f"{error.last_worker.address}"
        ) from None
    except Exception as error:  # noqa: BLE001 - a broken connection has many names
        if future.status == "error":
            raise CecliError(f"a worker failed: {_one_line(error)}") from None
        raise _lost() from None
    return value


def _lost() -> CecliError:
    return CecliError("the connection to the scheduler was lost")


class _Patience:
    """Waits a moment at a time, as long as there is a scheduler and, now and then, a worker."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._looked = self._worked = time.monotonic()

    def wait(self) -> None:
        """Wait; raises CecliError where nothing will come."""
        time.sleep(SECONDS_BETWEEN_LOOKS)
        if self._client.status != "running":
            raise _lost()
        now = time.monotonic()
        if now - self._looked < 1.0:
            return
        self._looked = now
        try:
            threads = threads_of(self._client)
        except Exception:  # noqa: BLE001 - a broken connection has many names
            raise _lost() from None
        if threads:
            self._worked = now
        elif now - self._worked > SECONDS_WITHOUT_WORKERS:
            raise CecliError("the scheduler has lost all its workers")


def _one_line(error: object) -> str:
    """What an error says; the system's errors say too much, and some say nothing."""
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()) or type(error).__name__
