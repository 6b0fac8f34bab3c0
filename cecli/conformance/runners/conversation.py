"""A running program, the three pipes to it, and its end, whatever it does meanwhile.

A program may hang, crash, close its pipes, write without end or leave processes behind. Nothing
here waits without a deadline, keeps more than a bounded number of its bytes, or leaves it running.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, cast

from cecli.conformance.model import Failure
from cecli.text.messages import quote

# Seconds for a program that has closed a pipe to end by itself, so that its status can be told.
GRACE = 1.0
# And between looks whether it has ended while something it started holds its pipes open.
LOOK_EVERY = 0.05
CHUNK = 1 << 16
MOST_READS_AT_THE_END = 16
KEPT_OF_STDERR = 2000
MOST_SHOWN = 80


class Conversation:
    """A program that runs, and what is said and heard. Raises OSError where it cannot start."""

    def __init__(self, command: Sequence[str]) -> None:
        # In a session of its own it can be killed with all that it starts, and Ctrl-C reaches cecli
        # alone, which then ends them.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._stdin, self._stdout, self._stderr = (
            cast(IO[bytes], pipe)
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr)
        )
        for pipe in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(pipe.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)
        self._selector.register(self._stderr, selectors.EVENT_READ)
        self._unsent = memoryview(b"")
        self._received, self._complete, self._said = bytearray(), False, b""

    def exchange(self, request: bytes, most: int, timeout: float) -> bytes:
        """Send a line and receive one, of at most that many bytes. Raises Failure."""
        deadline = time.monotonic() + timeout
        self._turn(0.0)
        if self._received:
            raise Failure(f"it wrote without being asked: {shown(self._received)}")
        self._unsent = memoryview(request)
        self._selector.register(self._stdin, selectors.EVENT_WRITE)
        while self._unsent or not self._complete:
            left = deadline - time.monotonic()
            if left <= 0.0:
                raise Failure(f"no answer within {timeout:g} seconds", fatal=True)
            if not self._turn(min(left, LOOK_EVERY)) and self._process.poll() is not None:
                # What it started may still hold its output open.
                raise self._ended()
            if len(self._received) > most:
                raise Failure(f"it wrote more than {most:,} bytes without ending the line")
        line, _, more = self._received.partition(b"\n")
        if more.strip():
            raise Failure(f"it wrote more than one line: {shown(more)}")
        self._received, self._complete = bytearray(), False
        return bytes(line)

    def end(self, grace: float) -> None:
        """Close its input, wait that long, kill what is left of it and its children, and reap."""
        self._stop_sending()
        self._stdin.close()
        try:
            if grace:
                self._await_end(time.monotonic() + grace)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._selector.close()
            self._stdout.close()
            self._stderr.close()

    def _turn(self, seconds: float) -> bool:
        """Write and read what can be within that time; whether there was anything."""
        ready = self._selector.select(seconds)
        for key, _ in ready:
            if key.fileobj is self._stdin:
                self._send()
            elif key.fileobj is self._stdout:
                self._receive()
            else:
                self._overhear()
        return bool(ready)

    def _send(self) -> None:
        try:
            with _broken_pipes_as_errors():
                sent = os.write(self._stdin.fileno(), self._unsent[:CHUNK])
        except BlockingIOError:
            return
        except BrokenPipeError:
            raise self._ended("input") from None
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._selector.unregister(self._stdin)

    def _receive(self) -> None:
        data = os.read(self._stdout.fileno(), CHUNK)
        if not data:
            raise self._ended()
        # A blank line ends no answer.
        self._received += data if self._received else data.lstrip()
        self._complete = self._complete or (b"\n" in data and b"\n" in self._received)
        if self._unsent and self._complete:
            raise Failure(f"it answered before it was asked: {shown(self._received)}")

    def _overhear(self) -> None:
        data = os.read(self._stderr.fileno(), CHUNK)
        if not data:
            self._selector.unregister(self._stderr)
        self._said = (self._said + data)[-KEPT_OF_STDERR:]

    def _ended(self, closed: str = "output") -> Failure:
        """Why there will be no answer, with the last line on standard error."""
        self._await_end(time.monotonic() + GRACE)
        status = self._process.returncode
        if status is None:
            reason = f"it closed its {closed} without an answer"
        elif status < 0:
            reason = f"it was killed by {_signal_name(-status)} before it answered"
        else:
            reason = f"it exited with status {status} before it answered"
        said = self._said.decode(errors="replace").strip()
        reason += f": {quote(said.splitlines()[-1])}" if said else ""
        # One that goes on without its pipes would be waited for in every case.
        return Failure(reason, fatal=status is None)

    def _await_end(self, deadline: float) -> None:
        """Let it write, which is only kept from standard error, until it ends or time is up."""
        self._stop_sending()
        while self._process.poll() is None and (left := deadline - time.monotonic()) > 0.0:
            if self._selector.get_map():
                self._drain(min(left, LOOK_EVERY))
            else:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(left)
        for _ in range(MOST_READS_AT_THE_END):
            if not self._drain(0.0):
                break

    def _drain(self, seconds: float) -> bool:
        ready = self._selector.select(seconds)
        for key, _ in ready:
            if key.fileobj is self._stderr:
                self._overhear()
            elif not os.read(self._stdout.fileno(), CHUNK):
                self._selector.unregister(self._stdout)
        return bool(ready)

    def _stop_sending(self) -> None:
        with suppress(KeyError, ValueError):
            self._selector.unregister(self._stdin)


@contextmanager
def _broken_pipes_as_errors() -> Iterator[None]:
    """The command line lets a closed pipe end the process: that of a program must not."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        yield
    finally:
        if before is not None:  # as for a handler that is not Python's
            signal.signal(signal.SIGPIPE, before)


@contextmanager
def signals_held() -> Iterator[None]:
    """What asks the process to end is raised at the end of this, not within."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    asking = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    before = {
        number: signal.signal(number, lambda given, frame: held.append(given))
        for number in asking
        if number is not None and callable(signal.getsignal(number))
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for given in held:
            signal.raise_signal(given)


def shown(data: bytes | bytearray) -> str:
    """The beginning of the line that it wrote, in quotes."""
    lines = data[:MOST_SHOWN].decode(errors="replace").splitlines()
    return quote(lines[0]) if lines else "nothing"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of those for real time
        return f"signal {number}"
