"""What holds for every test, and how many slow ones were left out."""

from __future__ import annotations

import gc
import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from cecli.machine import compiled
from cecli.machine.build_kernel import compile_kernel, find_compiler

# Hypothesis says nothing of its own: how many examples a test is worth is told here, the same ones
# in every run, with --hypothesis-profile=thorough many more. Those of "other" are others each time.
settings.register_profile(
    "quick",
    max_examples=25,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=400)
settings.register_profile("other", settings.get_profile("thorough"), derandomize=False)
settings.load_profile("quick")

# PyTorch's threads wait for one another in loops, at the cost of the other workers.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Files of few tests that take long: begun first, so that the workers end together.
LONG = ("process", "cluster", "conformance")
# Files that import PyTorch, which takes seconds: one worker runs them all.
WITH_TORCH = {
    f"tests/{name}.py"
    for name in (
        *("conformance/test_torch", "core/test_pytorch", "input/test_array_files"),
        *("input/test_tables", "problem/test_foreign", "problem/test_sample_weight"),
    )
}

SLOW_RUN = (
    "pytest -q -n auto --dist=loadgroup -m 'slow or hypothesis' --hypothesis-profile=thorough"
)
left_out = pytest.StashKey[int]()


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """Whoever runs the tests may have told programs how to look, and where they run."""
    names = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "GITHUB_ACTIONS")
    with pytest.MonkeyPatch.context() as environment:
        for name in names:
            environment.delenv(name, raising=False)
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- The slow tests that a quick run leaves out are counted, in the workers too ------------------


class LeftOut:
    """How many slow tests were left out, which is told at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.config, self.count = config, 0

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        self.count += sum(item.get_closest_marker("slow") is not None for item in items)

    def pytest_sessionfinish(self) -> None:
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["left_out"] = self.count

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.count = max(self.count, getattr(node, "workeroutput", {}).get("left_out", 0))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.count:
            terminalreporter.write_line(f"{self.count} slow tests left for {SLOW_RUN}")


def pytest_configure(config: pytest.Config) -> None:
    # A shell in whose background the tests run, or nohup, has them and all that they start ignore
    # these signals.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            interrupts = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if interrupts else signal.SIG_DFL)
    config.pluginmanager.register(LeftOut(config))


def pytest_collectstart() -> None:
    gc.disable()  # what is collected stays until the end


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        tests = Counter(item.path for item in items)
        items.sort(key=lambda item: (item.path.parent.name not in LONG, -tests[item.path]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    def together(nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "PyTorch" if file in WITH_TORCH else file

    scheduler = LoadFileScheduling(config, log)
    scheduler._split_scope = together
    return scheduler


def pytest_collection_finish() -> None:
    gc.freeze()  # and need not be gone through again and again
    gc.enable()


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> list[compiled.Kernel]:
    """The kernels that this CPU can run: those of the package, else compiled from the source."""
    installed = compiled.kernels(Path(compiled.__file__).with_name(compiled.FILE))
    if installed:
        return installed
    compiler = find_compiler()
    if compiler is None:
        pytest.skip("there is no C compiler")
    product = tmp_path_factory.mktemp("kernel") / "kernel.so"
    compile_kernel(compiler, Path(compiled.__file__).parent, product)
    return compiled.kernels(product)
