"""The program: what the commands raise becomes one line and an exit status."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType
from typing import TextIO

from cecli.errors import Terminated

BAD_USAGE = 2
PATIENCE = 2.0  # seconds


def main() -> None:
    """Run cecli with the process's arguments and end the process."""
    status: int | signal.Signals
    try:
        _prepare_signals()
        _prepare_streams()
        status = _run() if sys.stdout is not None else _refuse("it is closed")
    except KeyboardInterrupt:
        status = signal.SIGINT
    except Terminated as error:
        status = signal.Signals(error.args[0])
    if isinstance(status, signal.Signals):
        _die(status)
    sys.exit(_flushed(status))


def _run() -> int:
    import click

    from cecli.cli.main import main as command

    try:
        return command.main(prog_name="cecli", standalone_mode=False) or 0
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        _complain(error.format_message(), context.command_path if context else "cecli")
    except click.Abort:
        return signal.SIGINT
    except MemoryError:
        _complain("there is not enough memory for this input")
    except OSError as error:
        return _refuse(error.strerror or str(error))
    return BAD_USAGE


def _complain(message: str, command: str = "cecli") -> None:
    text = " ".join(message.split())
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"{command}: {text}\n")
            sys.stderr.flush()
    except OSError:
        _abandon(sys.stderr)


def _refuse(reason: str) -> int:
    """End because nothing can be printed."""
    _complain(f"cannot write to standard output: {reason}")
    _abandon(sys.stdout)
    return BAD_USAGE


def _flushed(status: int) -> int:
    """The status, unless what was printed cannot be written after all."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        return _refuse(error.strerror or str(error))
    return status


def _abandon(stream: TextIO | None) -> None:
    """Let what is still in the stream's buffer go nowhere, so that the interpreter says nothing."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _die(number: signal.Signals) -> None:
    """End by the signal: the parent is to see which it was, as from any other program."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _prepare_signals() -> None:
    begun: list[float] = []

    def end(number: int, frame: FrameType | None) -> None:
        if begun:
            # A second one must not break off what the first has begun to clean up, if that ends.
            if time.monotonic() > begun[0] + PATIENCE:
                _die(signal.Signals(number))
            return
        begun.append(time.monotonic())
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated(number)

    signal.signal(signal.SIGTERM, end)
    # In a background job, where the signal is ignored, it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end)
    # A terminal that is closed; under nohup likewise.
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, end)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def _prepare_streams() -> None:
    """Print plain stand-ins for what a stream cannot encode."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and (stream.encoding or "").lower().replace("-", "") != "utf8":
            import codecs

            from cecli.text.ascii import substitute

            codecs.register_error("cecli", substitute)
            stream.reconfigure(errors="cecli")  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
