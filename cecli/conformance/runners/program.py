"""A program in any language as an implementation: a line of JSON for each case, and one back.

A program may hang, crash, close its pipes, write without end or leave processes behind. Nothing
here waits without a deadline, keeps more than a bounded number of its bytes, or leaves it running.
"""

from __future__ import annotations

import json
import os
import secrets
import selectors
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from cecli.conformance.model import Failure, Inputs, NotSupported, Reply
from cecli.conformance.runners.load import one_line
from cecli.errors import CecliError
from cecli.input.numbers import array_of_lists, load_json
from cecli.machine.signals import ENDING
from cecli.text.messages import describe, quote
from cecli.text.strict_json import JSONObject, plain_value

# Seconds for a program to end by itself when its input has ended, or when it has closed a pipe, so
# that its status can be told.
GRACE = 1.0
# And between looks whether it has ended while something it started holds its pipes open.
LOOK_EVERY = 0.05
CHUNK = 1 << 16
MOST_READS_AT_THE_END = 16
KEPT_OF_STDERR = 2000
MOST_SHOWN = 80
# What a program and all that it starts have in their environment, with a value of its own.
MARK, MOST_LOOKS_FOR_DAEMONS = "CECLI_VERIFIES", 10
# A number takes up to 25 characters; the rest is for spaces, keys and a remark.
MOST_BYTES_A_NUMBER, MOST_OTHER_BYTES = 64, 1 << 16


class Program:
    """A command that answers cases on its standard output.

    features: what it is sent cases about. It is started at once, and anew after each failure but a
    time-out. Raises CecliError where it cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        features: frozenset[str] = frozenset(),
        dtype: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        self.name = one_line(shlex.join(command))
        self.dtype = dtype
        self.features: frozenset[str] | None = features - {"arrays"}
        self._command, self._timeout = list(command), timeout
        self._conversation: Conversation | None = None
        try:
            self._start()
        except OSError as error:
            reason = error.strerror or str(error)
            raise CecliError(f"cannot start {quote(command[0])}: {reason}") from None
        except BaseException:
            self.kill()
            raise

    def run(self, inputs: Inputs) -> Reply:
        """The program's answer. Raises NotSupported or Failure."""
        request = json.dumps(_request(inputs), allow_nan=False).encode() + b"\n"
        most = MOST_OTHER_BYTES + MOST_BYTES_A_NUMBER * (inputs.logits.size + len(inputs.logits))
        try:
            return _reply(self._running().exchange(request, most, self._timeout))
        except (NotSupported, _ToldError):
            raise
        except BaseException:
            # After rubbish nobody knows which answer comes next; and Ctrl-C ends the program too.
            self.kill()
            raise

    def close(self) -> None:
        """Let the program end with its input; kill it, and what it left behind, if it does not."""
        self._end(GRACE)

    def kill(self) -> None:
        """End the program and what it started at once."""
        self._end(0.0)

    def _end(self, grace: float) -> None:
        if self._conversation is not None:
            self._conversation.end(grace)
            self._conversation = None

    def _running(self) -> Conversation:
        if self._conversation is None:
            try:
                self._start()
            except OSError as error:
                raise Failure(f"it cannot be started again: {error.strerror}") from None
        return cast(Conversation, self._conversation)

    def _start(self) -> None:
        with signals_held():  # a program that runs before it is known here would never be ended
            self._conversation = Conversation(self._command)


class _ToldError(Failure):
    """The program itself says what went wrong; it can go on."""


def _request(inputs: Inputs) -> JSONObject:
    """A case as the program reads it: what is at its default is left out."""
    request: JSONObject = {"logits": inputs.logits.astype(np.float64), "target": inputs.target}
    request |= {name: _plain(value) for name, value in inputs.options.items()}
    if np.any(inputs.upstream != 1.0):
        request["upstream"] = _plain(inputs.upstream)
    if inputs.dtype != "float64":
        request["dtype"] = inputs.dtype
    return {name: plain_value(value) for name, value in request.items()}


def _reply(line: bytes) -> Reply:
    try:
        answer = load_json(line.decode())
    except (CecliError, UnicodeDecodeError):
        raise Failure(f"it wrote what is not JSON: {_shown(line)}") from None
    if not isinstance(answer, dict):
        raise Failure(f"it wrote {describe(answer)}, not an object")
    for key, kind in (("unsupported", NotSupported), ("error", _ToldError)):
        if key in answer:
            raise kind(_text(answer[key]))
    try:
        loss, grad = (array_of_lists(answer[name], name) for name in ("loss", "grad"))
    except KeyError as missing:
        raise Failure(f"its answer has no {missing.args[0]}") from None
    except CecliError as error:
        raise Failure(f"its answer cannot be used: {error}") from None
    return Reply(loss, grad)


def _plain(value: Any) -> Any:
    """An option as an array of doubles or a plain number or word."""
    array = np.asarray(value)
    return array.astype(np.float64) if array.ndim else array.item()


def _text(value: Any) -> str:
    return (one_line(value) if isinstance(value, str) else "") or "it says so"


class Conversation:
    """A program that runs, and what is said and heard. Raises OSError where it cannot start."""

    def __init__(self, command: Sequence[str]) -> None:
        # In a session of its own it can be killed with all that it starts, and Ctrl-C reaches cecli
        # alone, which then ends them.
        self._mark = secrets.token_hex(16)
        self._process = subprocess.Popen(
            command,
            env={**os.environ, MARK: self._mark},
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
            raise Failure(f"it wrote without being asked: {_shown(self._received)}")
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
            raise Failure(f"it wrote more than one line: {_shown(more)}")
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
            _kill_marked(f"{MARK}={self._mark}".encode())
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
            raise Failure(f"it answered before it was asked: {_shown(self._received)}")

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


def _kill_marked(mark: bytes) -> None:
    """Kill what has left the session too, as daemons do: it has the mark in its environment.

    Where there is no /proc, as outside of Linux, nothing is found.
    """
    for _ in range(MOST_LOOKS_FOR_DAEMONS):
        found = [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/environ")
            if mark in _environment(path).split(b"\0")
        ]
        if not found:
            return
        for process in found:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)


def _environment(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended, or is somebody else's
        return b""


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
    before = {
        number: signal.signal(number, lambda received, frame: held.append(received))
        for number in ENDING
        if callable(signal.getsignal(number))
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for received in held:
            signal.raise_signal(received)


def _shown(data: bytes | bytearray) -> str:
    """The beginning of the line that it wrote, in quotes."""
    lines = data[:MOST_SHOWN].decode(errors="replace").splitlines()
    return quote(lines[0]) if lines else "nothing"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # one of those for real time
        return f"signal {number}"
