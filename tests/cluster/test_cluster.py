"""The same bits from a cluster: a real scheduler and real workers, some of which are lost."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest

from cecli import CecliError
from cecli.cluster import client as cluster
from cecli.cluster import dask as workers
from cecli.cluster import task as tasks
from cecli.input.array_files import find_array
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem
from support.in_process import complaint, run
from support.paths import PACKAGE

pytestmark = [
    pytest.mark.xdist_group("cluster"),  # one scheduler and its workers for all
    pytest.mark.skipif(
        importlib.util.find_spec("distributed") is None,
        reason="the extra cecli[cluster] is not installed",
    ),
]
LIMIT = 120.0
CLASSES = 7
# What a worker loads before it starts. A task says that it has begun, and waits while the gate is
# shut; the other settings make a worker that differs from its client.
PRELOAD = """
import os, pathlib, time
import cecli, cecli.cluster.task as tasks
folder, settings = pathlib.Path(os.environ["FOLDER"]), os.environ["SETTINGS"].split()
own, stat = tasks._found_by, pathlib.Path.stat
def gated(shared, task, own=own):
    (folder / f"begun-{os.getpid()}").touch()
    while (folder / "shut").exists():
        time.sleep(0.01)
    return own(shared, task)
def blind(path, stat=stat, **keywords):
    if path.suffix == ".npy":
        raise FileNotFoundError(2, "No such file or directory", str(path))
    return stat(path, **keywords)
if own.__name__ == "gated":  # dask loads this twice
    settings = []
else:
    tasks._found_by = gated
if "old" in settings:
    cecli.__version__ = "0.0.1"
if "blind" in settings:
    pathlib.Path.stat = blind
if "full" in settings:
    def refuse(*arguments):
        raise OSError(28, "No space left on device")
    os.pwrite = refuse
"""


class Machines:
    """A scheduler and workers as processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, str(folder / "scheduler.json")
        (folder / "preload.py").write_text(PRELOAD)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start("scheduler", "--port", "0", "--no-dashboard")
        wait_until(Path(self.file).exists)

    def _start(self, *arguments: str, settings: str = "") -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "dask",
                *arguments,
                "--host",
                "127.0.0.1",
                "--scheduler-file",
                self.file,
            ],
            env={
                **os.environ,
                "PYTHONPATH": str(PACKAGE),
                "FOLDER": str(self.folder),
                "SETTINGS": settings,
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.processes.append(process)
        return process

    def start_worker(self, settings: str = "") -> subprocess.Popen[bytes]:
        """A worker of one thread; `wait_for` waits until it has joined."""
        return self._start(
            *("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard"),
            *("--death-timeout", str(LIMIT)),
            *("--preload", str(self.folder / "preload.py")),
            settings=settings,
        )

    def wait_for(self, count: int) -> None:
        """Wait until the scheduler has as many workers."""
        self.wait_until(lambda dask_scheduler: len(dask_scheduler.workers) == count)

    def wait_until(self, condition: Callable[[Any], bool]) -> None:
        """Wait until something holds for the scheduler."""
        from distributed import Client

        with workers._silence(), Client(scheduler_file=self.file, set_as_default=False) as client:
            wait_until(lambda: client.run_on_scheduler(condition))

    @contextmanager
    def one_more(self, settings: str) -> Iterator[None]:
        """A worker that differs from the two others, and is gone afterwards."""
        worker = self.start_worker(settings)
        try:
            self.wait_for(3)
            yield
        finally:
            worker.kill()
            worker.wait(LIMIT)
            self.wait_for(2)

    def shut(self) -> None:
        """Let the next tasks wait."""
        (self.folder / "shut").touch()

    def open(self) -> None:
        """Let all tasks go on."""
        (self.folder / "shut").unlink(missing_ok=True)

    def begun(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether a worker has begun a task."""
        return (self.folder / f"begun-{process.pid}").exists()

    def end(self) -> None:
        """End all processes, and wait for them."""
        self.open()
        for process in self.processes[::-1]:
            process.kill()
            process.wait(LIMIT)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture
def new_machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    machines = Machines(tmp_path_factory.mktemp("machines"))
    try:
        yield machines
    finally:
        machines.end()


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A cluster of two workers."""
    machines = Machines(tmp_path_factory.mktemp("machines"))
    try:
        for _ in range(2):
            machines.start_worker()
        machines.wait_for(2)
        yield machines
    finally:
        machines.end()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Logits and targets in one file and in three; tasks have as few rows as they may."""
    random = np.random.default_rng(11)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster, "TASK_BYTES", 1)
    monkeypatch.setattr(cluster, "FEWEST_TASK_BYTES", 1)
    logits = (random.normal(size=(5000, CLASSES)) * 4).astype(np.float32)
    logits[10, 3] = -np.inf
    target = random.integers(0, CLASSES, 5000)
    target[10] = 0
    soft = random.dirichlet(np.ones(CLASSES), size=5000)
    for name, array in (("z", logits), ("t", target), ("q", soft)):
        np.save(f"{name}.npy", array)
        for number, piece in enumerate(np.split(array, [700, 3500])):
            np.save(f"{name}-{number}.npy", piece)
    return tmp_path


def assert_same(machines: Machines | str, arguments: Sequence[str], outputs: int = 1) -> None:
    """A command prints and writes on the cluster what it prints and writes on this machine."""
    address = machines if isinstance(machines, str) else machines.file
    output = [] if not outputs else ["-o", "out.npy" if outputs == 1 else "out-*.npy"]
    found = []
    for place in ([], ["--cluster", address]):
        outcome = run(*arguments, *place, *output)
        assert (outcome.status, outcome.stderr) == (0, "")
        files = sorted(Path().glob("out*"))
        assert len(files) == outputs
        found.append((outcome.stdout, [(path.name, path.read_bytes()) for path in files]))
        for path in files:
            path.unlink()
    assert found[0] == found[1]


OBJECTIVES: dict[str, list[str]] = {
    "plain": [],
    "weights": ["--weight", "1,0.5,2,1e-3,0,1,1"],
    "smoothing": ["--label-smoothing", "0.1", "--z-loss", "0.01"],
    "ignored": ["--ignore-index", "3", "--softcap", "5"],
    "none": ["--reduction", "none", "--temperature", "0.7"],
    "sum": ["--reduction", "sum", "--dtype", "float16"],
}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_cluster_leaves_no_trace(machines: Machines, objective: str) -> None:
    command = "loss" if objective in ("ignored", "none") else "grad"
    view = ["--json", "--no-arrays", "--worst", "4", *OBJECTIVES[objective]]
    assert_same(machines, [command, "z.npy", "-t", "t.npy", *view])
    assert_same(machines, [command, "z-*.npy", "-t", "t-*.npy", *view], outputs=3)


@pytest.mark.slow
def test_soft_targets_and_tables(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cecli.gradcheck.differences.SECONDS", 0.2)
    assert_same(machines, ["grad", "z.npy", "-q", "q.npy", "--worst", "2"])
    assert_same(machines, ["grad", "z-*.npy", "-q", "q-*.npy", "--weight", "1,2,3,4,5,6,7"])
    assert_same(machines, ["loss", "z-*.npy", "-t", "t.npy", "--markdown"], outputs=0)
    assert_same(machines, ["grad", "z-0.npy", "-t", "t-0.npy", "--check", "--top", "2"], outputs=0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_classes_in_any_dimension(machines: Machines, axis: int) -> None:
    random = np.random.default_rng(11)
    shape = np.insert([41, 70], axis, CLASSES)
    np.save("a.npy", random.normal(size=shape))
    np.save("b.npy", random.integers(0, CLASSES, (41, 70)))
    assert_same(machines, ["grad", "a.npy", "-t", "b.npy", "--axis", str(axis)])
    assert_same(machines, ["loss", "a.npy", "-t", "b.npy", "--axis", str(axis)])


def test_archives_and_other_types(machines: Machines) -> None:
    logits, target = np.load("z.npy"), np.load("t.npy")
    np.savez("a.npz", logits=logits.astype(">f8"), target=target.astype(np.int16))
    assert_same(machines, ["grad", "a.npz:logits", "-t", "a.npz:target"])
    np.save("h.npy", (logits.view(np.uint32) >> 16).astype(np.uint16).view("V2"))
    assert_same(machines, ["grad", "h.npy", "-t", "t.npy"])
    np.save("one.npy", logits[0])
    np.save("of.npy", target[0])
    assert_same(machines, ["grad", "one.npy", "-t", "of.npy"])


@pytest.mark.parametrize("options", ["--weight 1,0.5,2,0.1,0,1,1 --softcap 5", "--dtype float16"])
def test_exact_rows(machines: Machines, options: str) -> None:
    view = ["--exact", "--json", "--no-arrays", "--worst", "4", *options.split()]
    assert_same(machines, ["grad", "z-*.npy", "-t", "t-*.npy", *view], outputs=3)
    assert_same(machines, ["loss", "z.npy", "-q", "q.npy", "--exact", *view[5:]])


def test_a_cluster_on_this_machine() -> None:
    assert_same("local", ["grad", "z-*.npy", "-t", "t-*.npy", "--jobs", "2"], outputs=3)


def test_rows_go_to_their_places_in_the_background(machines: Machines) -> None:
    """A gradient replaces its own logits: the workers read what the client still has open."""
    whole = run("grad", "z.npy", "-t", "t.npy", "-o", "whole.npy")
    assert whole.status == 0
    outcome = run("grad", "z.npy", "-t", "t.npy", "-o", "z.npy", "--cluster", machines.file)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert Path("z.npy").read_bytes() == Path("whole.npy").read_bytes()


# --- Losses ---------------------------------------------------------------------------------------


@contextmanager
def client_of(machines: Machines, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The program as a process, with small tasks, which does not outlive its test."""
    small = "import cecli.cluster.client as c; c.TASK_BYTES = c.FEWEST_TASK_BYTES = 1"
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{small}; from cecli.__main__ import main; main()",
            *arguments,
            "--cluster",
            machines.file,
        ],
        env={**os.environ, "PYTHONPATH": str(PACKAGE), "PYTHONWARNINGS": "error"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as client:
        try:
            yield client
        finally:
            client.kill()


GRAD = ["grad", "z-*.npy", "-t", "t-*.npy", "--json", "--no-arrays"]


@pytest.mark.slow
def test_a_worker_killed_midway(new_machines: Machines) -> None:
    machines = new_machines
    both = [machines.start_worker() for _ in range(2)]
    machines.wait_for(2)
    whole = run(*GRAD, "-o", "whole.npy")
    machines.shut()
    with client_of(machines, *GRAD, "-o", "out.npy") as client:
        wait_until(lambda: all(map(machines.begun, both)))
        both[0].send_signal(signal.SIGKILL)
        both[0].wait(LIMIT)
        machines.open()
        stdout, stderr = client.communicate(timeout=LIMIT)
    assert (client.returncode, stderr) == (0, b"")
    assert stdout.decode() == whole.stdout
    assert Path("out.npy").read_bytes() == Path("whole.npy").read_bytes()


@pytest.mark.slow
def test_the_scheduler_killed_midway(new_machines: Machines, folder: Path) -> None:
    machines = new_machines
    worker = machines.start_worker()
    machines.wait_for(1)
    machines.shut()
    before = sorted(folder.iterdir())
    with client_of(machines, *GRAD, "-o", "out.npy") as client:
        wait_until(lambda: machines.begun(worker))
        machines.scheduler.send_signal(signal.SIGKILL)
        machines.scheduler.wait(LIMIT)
        stdout, stderr = client.communicate(timeout=LIMIT)
    assert (client.returncode, stdout) == (2, b"")
    assert stderr == b"cecli grad: the connection to the scheduler was lost\n"
    assert sorted(folder.iterdir()) == before


@pytest.mark.slow
def test_all_workers_killed_midway(
    new_machines: Machines, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SECONDS_WITHOUT_WORKERS", 2.0)
    machines = new_machines
    worker = machines.start_worker()
    machines.wait_for(1)
    machines.shut()
    before = sorted(folder.iterdir())

    def kill() -> None:
        wait_until(lambda: machines.begun(worker))
        worker.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        text = complaint(*GRAD, "-o", "out.npy", "--cluster", machines.file)
    finally:
        killer.join(LIMIT)
    assert "the scheduler has lost all its workers" in text
    assert sorted(folder.iterdir()) == before


def test_rows_that_kill_every_worker() -> None:
    """Dask gives up on a task that was lost with a worker a few times."""
    from distributed import KilledWorker

    last = SimpleNamespace(address="tcp://10.0.0.1:4000")
    future = mock.Mock()
    future.result.side_effect = KilledWorker("run-7", last, 3)
    with pytest.raises(CecliError, match=r"died again and again .* tcp://10\.0\.0\.1:4000"):
        workers._value(future)


def test_a_file_that_gets_shorter_while_a_worker_reads_it() -> None:
    problem = Problem.of(find_array("z.npy"), find_array("t.npy"), Objective())
    shared = tasks.Shared(problem.objective, problem.divisors, None, 0)
    assert problem.truth is not None
    task = tasks.Task(0, problem.given_rows, problem.truth.rows, ())
    assert not isinstance(tasks.run(shared, task), CecliError)
    os.truncate("z.npy", 1000)
    found = tasks.run(shared, task)
    assert isinstance(found, CecliError)
    assert str(found).endswith("z.npy' has changed since it was first read: it is shorter now")


@pytest.mark.slow
def test_no_workers_and_then_one_whose_disk_is_full(
    new_machines: Machines, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as hurried:
        hurried.setattr(workers, "SECONDS_WITHOUT_WORKERS", 0.5)
        assert "has no workers: start some" in complaint(*GRAD, "--cluster", new_machines.file)
    new_machines.start_worker("full")
    new_machines.wait_for(1)
    before = sorted(folder.iterdir())
    text = complaint(*GRAD, "-o", "out.npy", "--cluster", new_machines.file)
    assert "worker tcp://127.0.0.1:" in text
    assert "No space left on device" in text
    assert "out.npy" in text
    assert sorted(folder.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_tasks(
    machines: Machines, folder: Path, number: signal.Signals
) -> None:
    for path in machines.folder.glob("begun-*"):
        path.unlink()
    before = sorted(folder.iterdir())
    machines.shut()
    try:
        with client_of(machines, *GRAD, "-o", "out.npy") as client:
            wait_until(lambda: any(machines.folder.glob("begun-*")))
            client.send_signal(number)
            stdout, stderr = client.communicate(timeout=LIMIT)
    finally:
        machines.open()
    assert (client.returncode, stdout, stderr.strip()) == (-number, b"", b"")
    assert sorted(folder.iterdir()) == before
    machines.wait_until(lambda dask_scheduler: not dask_scheduler.tasks)


@pytest.mark.slow
def test_a_cluster_on_this_machine_ends_with_its_client(folder: Path) -> None:
    big = np.zeros((2_000_000, CLASSES), dtype=np.float32)
    np.save("big.npy", big)
    np.save("of.npy", np.zeros(len(big), dtype=np.int64))
    before = sorted(folder.iterdir())
    program = [sys.executable, "-m", "cecli", "grad", "big.npy", "-t", "of.npy", "-o", "out.npy"]
    with subprocess.Popen(
        [*program, "--cluster", "local", "--jobs", "2"],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as client:
        wait_until(lambda: sorted(folder.iterdir()) != before)
        os.killpg(client.pid, signal.SIGINT)  # as a terminal does, to workers too
        stdout, stderr = client.communicate(timeout=LIMIT)
    assert (client.returncode, stdout, stderr.strip()) == (-signal.SIGINT, b"", b"")
    assert sorted(folder.iterdir()) == before


# --- What is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("loss 2.0 1.0 -t 0", ["needs logits that are in files"]),
        ("loss z.npy -t 0,1", ["2 targets for 5000 samples"]),
        ("loss one.npy -t 0", ["'0'", "the workers read"]),
        ("loss z.csv", ["needs targets in files of their own"]),
        ("loss z.csv -t of.npy", ["'z.csv'", "the workers read"]),
        ("loss z.npz -t t.npy", ["'z.npz'", "not compressed"]),
        ("loss z.npy -t float.npy", ["'float.npy'", "targets as integers"]),
        ("loss z.npy -t t.npy --jsonl", ["--jsonl takes each sample by itself: --cluster"]),
        ("loss z.npy -t t.npy -o out.csv", ["cannot write out.csv", ".npy"]),
        ("loss z.npy -t t.npy -o /dev/null", ["cannot write /dev/null: it is not a regular file"]),
        ("grad nan.npy -t t.npy -o out.npy", ["'nan.npy': logit 2 of sample 1500 is NaN"]),
        ("grad nan-*.npy -t t.npy -o out-*.npy", ["'nan-1.npy': logit 2 of sample 800 is NaN"]),
        ("grad z.npy -t at.npy --check -o out.npy", ["sample 10 is infinite"]),
        ("loss z.npy -q bad.npy", ["'bad.npy': soft target of sample 4999 sums to"]),
        ("loss z.npy -t t.npy --ignore-index 9 --weight 0,0,0,0,0,0,0", ["sum to 0"]),
    ],
)
def test_what_is_wrong_is_one_line(
    machines: Machines, folder: Path, arguments: str, words: list[str]
) -> None:
    logits, soft = np.load("z.npy"), np.load("q.npy")
    np.save("one.npy", logits[0])
    target = np.load("t.npy")
    target[10] = 3
    np.save("at.npy", target)
    np.save("float.npy", np.load("t.npy").astype(np.float64))
    np.savez_compressed("z.npz", logits)
    np.save("of.npy", np.array([0, 1]))
    Path("z.csv").write_text("1,2,0\n3,4,1\n".replace("1,2", "a,b,target\n1,2", 1))
    logits[[1500, 4000], 2] = np.nan
    np.save("nan.npy", logits)
    for number, piece in enumerate(np.split(logits, [700, 3500])):
        np.save(f"nan-{number}.npy", piece)
    soft[4999] = 1.0
    np.save("bad.npy", soft)
    before = sorted(folder.iterdir())
    text = complaint(*arguments.split(" "), "--cluster", machines.file)
    for word in words:
        assert word in text
    assert sorted(folder.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("old", ["has cecli 0.0.1, this is"]),
        ("blind", ["does not see every file", "No such file or directory"]),
    ],
)
def test_a_worker_that_cannot_do_it(machines: Machines, settings: str, words: list[str]) -> None:
    with machines.one_more(settings):
        text = complaint(*GRAD, "--cluster", machines.file)
    assert "worker tcp://127.0.0.1:" in text
    for word in words:
        assert word in text


def test_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "SECONDS_TO_CONNECT", 0.5)
    start = time.monotonic()
    for address in (
        "127.0.0.1:1",
        "tcp://127.0.0.1:1",
        "no.json",
        "t.npy",
        "x://y:1",
        "head",
        "h:99999",
        "tls://127.0.0.1:99",
        "wss://127.0.0.1:99",
    ):
        text = complaint(*GRAD, "--cluster", address)
        assert f"no scheduler can be reached at {address}: " in text
    assert time.monotonic() - start < LIMIT / 2


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "pip install distributed" in complaint(*GRAD, "--cluster", "local")


def test_a_worker_tells_a_file_that_is_shorter_there(tmp_path: Path) -> None:
    file = tmp_path / "z.npy"
    file.write_bytes(bytes(100))
    assert tasks.look([(str(file), 100)]).lacks is None
    assert tasks.look([(str(file), 101)]).lacks == f"{file} is shorter there"


def test_the_start_needs_no_dask() -> None:
    code = (
        "import sys, cecli.cluster.client, cecli.cluster.dask; print('distributed' in sys.modules)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout == "False\n"
