"""The program: what the commands raise becomes one line and an exit status.

Control-C may come at any moment, so that whatever takes time to import is imported where its
exception is caught.
"""

from __future__ import annotations

import gc
import io
import os
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

SIGINT, BAD_USAGE = 2, 2
# Imports make so many objects, and no garbage: looking for it would be a tenth of a short run.
OBJECTS_BETWEEN_SEARCHES = 100_000
# What says that a terminal is wider, or no number at all, is not believed.
WIDEST = 10_000


def main() -> None:
    """Run cecli with the process's arguments and end the process."""
    gc.set_threshold(OBJECTS_BETWEEN_SEARCHES)
    try:
        _prepare_signals()
        status = _run() if sys.stdout is not None else _refuse("it is closed")
    except KeyboardInterrupt:
        status = -SIGINT
    except Exception as error:  # noqa: BLE001 - a traceback says nothing to whoever uses a program
        status = _admit(error)
    if status < 0:
        _die(-status)
    status = _flushed(status)
    gc.freeze()  # what is left ends with the process, without another search
    sys.exit(status)


def _run() -> int:
    """The exit status; of a signal that ends the process, the negative number."""
    import click

    from cecli.cli.main import main as command
    from cecli.errors import Terminated
    from cecli.machine.float_mode import standard_mode

    _prepare_streams()
    try:
        with standard_mode():
            return command.main(prog_name="cecli", standalone_mode=False) or 0
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        _complain(error.format_message(), context.command_path if context else "cecli")
    except click.Abort:
        return -SIGINT
    except Terminated as error:
        return -int(error.args[0])
    except MemoryError:
        _complain("there is not enough memory for this input")
    except OSError as error:
        reason = error.strerror or str(error)
        if not error.filename:
            return _refuse(reason)
        from cecli.text.messages import quote

        _complain(f"{quote(str(error.filename))}: {reason}")
    return BAD_USAGE


def _complain(message: str, command: str = "cecli") -> None:
    from cecli.text.messages import plain_line

    try:
        if sys.stderr is not None:
            sys.stderr.write(f"{command}: {plain_line(message)}\n")
            sys.stderr.flush()
    except OSError:
        _abandon(sys.stderr)


def _admit(error: Exception) -> int:
    """End by an error that nobody has thought of."""
    place, trace, said = "", error.__traceback__, ""
    while trace is not None:
        place = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"  # noqa: PTH119
        trace = trace.tb_next
    with suppress(Exception):  # of an exception that cannot even say what it is
        said = f"{error}: "
    _complain(
        f"{type(error).__name__} at {place}: {said}this is a defect of cecli; please report it "
        "with the command"
    )
    return BAD_USAGE


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


def _die(number: int) -> None:
    """End by the signal: the parent is to see which it was, as from any other program."""
    import signal

    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _prepare_signals() -> None:
    """Let signals end the process without an exception, as they end other programs."""
    import signal

    # In a background job, where the signal is ignored, it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def _prepare_streams() -> None:
    """Print plain stand-ins for what a stream cannot encode, and on terminals that there are."""
    from cecli.text.ascii import substitute, takes_unicode

    for name in ("COLUMNS", "LINES"):
        size = os.environ.get(name, "")
        if size and not (size.isascii() and size.isdigit() and 0 < int(size[:9]) <= WIDEST):
            del os.environ[name]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not takes_unicode(stream):
            import codecs

            codecs.register_error("cecli", substitute)
            stream.reconfigure(errors="cecli")


if __name__ == "__main__":
    main()
