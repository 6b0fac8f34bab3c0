"""The program as a process of its own: its streams, its environment, a terminal around it."""

from __future__ import annotations

import os
import pty
import resource
import select
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.paths import PACKAGE

PROGRAM = [sys.executable, "-m", "cecli"]
ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "PYTHONPATH": str(PACKAGE),
    "PYTHONWARNINGS": "error",
    "LC_ALL": "C.UTF-8",
    "TERM": "xterm",
}
LIMIT = 120.0
SOON = LIMIT / 2  # what is done at once takes no longer, however busy the machine is

# Some signals would leave an image of the memory behind.
resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def run(
    *arguments: str | bytes,
    stdin: bytes | int = b"",
    environment: Mapping[str, str] | None = None,
    program: Sequence[str] = PROGRAM,
    **settings: Any,
) -> subprocess.CompletedProcess[bytes]:
    """Run the program to its end, with stdout and stderr in pipes unless said otherwise."""
    source = {"stdin": stdin} if isinstance(stdin, int) else {"input": stdin}
    return subprocess.run(
        [*program, *arguments],
        env={**ENVIRONMENT, **(environment or {})},
        timeout=LIMIT,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **source, **settings},
    )


def assert_complains(outcome: subprocess.CompletedProcess[bytes], *words: str) -> None:
    """Status 2, nothing on stdout, one line on stderr."""
    assert outcome.returncode == 2, outcome.stderr.decode(errors="replace")
    assert not outcome.stdout
    line = outcome.stderr.decode()
    assert line.startswith("cecli")
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    for word in words:
        assert word in line


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie that somebody else is to reap."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return not Path("/proc/self/stat").exists()
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def ends(pid: int) -> bool:
    """Whether a process that was killed is gone soon."""
    end = time.monotonic() + SOON
    while is_running(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not is_running(pid)


def wait_for(path: Path) -> str:
    """The lines that a program writes into a file, once they are there."""
    end = time.monotonic() + LIMIT
    while not path.exists() or not path.read_text().endswith("\n"):
        assert time.monotonic() < end
        time.sleep(0.01)
    return path.read_text()


class Terminal:
    """A pseudoterminal on which a program runs, and all that it shows."""

    def __init__(self, width: int = 80) -> None:
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (24, width))
        self.shown = ""

    def start(
        self,
        *arguments: str,
        stdin: Any = subprocess.DEVNULL,
        stdout: Any = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start the program with stderr, and unless said otherwise stdout, on the terminal."""
        return subprocess.Popen(
            [*PROGRAM, *arguments],
            stdin=self.slave if stdin is self else stdin,
            stdout=self.slave if stdout is None else stdout,
            stderr=self.slave,
            env={**ENVIRONMENT, **(environment or {})},
            start_new_session=True,
        )

    def read_until(self, text: str) -> None:
        """Wait until the terminal shows a text."""
        end = time.monotonic() + LIMIT
        while text not in self.shown:
            assert time.monotonic() < end, self.shown
            self._read(0.1)

    def finish(self, process: subprocess.Popen[bytes]) -> str:
        """Everything that is shown until the program ends."""
        while process.poll() is None:
            self._read(0.05)
        while self._read(0.0):
            pass
        os.close(self.slave)
        os.close(self.master)
        return self.shown.replace("\r\n", "\n")

    def _read(self, seconds: float) -> bool:
        ready = bool(select.select([self.master], [], [], seconds)[0])
        if ready:
            self.shown += os.read(self.master, 65536).decode(errors="replace")
        return ready


def on_terminal(*arguments: str, width: int = 80, **settings: Any) -> tuple[int, str]:
    """The status of a program that runs on a terminal, and what that shows."""
    terminal = Terminal(width)
    process = terminal.start(*arguments, **settings)
    text = terminal.finish(process)
    return process.returncode, text
