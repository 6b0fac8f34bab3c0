"""Atomic writes: a file is either whole or not there."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO

from cecli.errors import CecliError
from cecli.machine.signals import signals_raised

MOST_OF_NAME = 240  # bytes


@contextmanager
def atomic_write(path: str) -> Iterator[IO[bytes]]:
    """Open a file that appears under its name only when everything is written.

    Until then it is a temporary file beside it; where writing fails or is interrupted, an older
    file of that name stays as it was. What is not a regular file, a device, is written to directly.
    """
    _check_name(path)
    with writing(path):
        if is_device(path):
            with Path(path).open("wb") as file:
                yield file
            return
        with AtomicFiles() as files, files.create(path).open("wb") as file:
            yield file


def is_device(path: str) -> bool:
    """Whether there is something of this name that is no regular file: a device or a pipe."""
    try:
        return Path(path).exists() and not Path(path).is_file()
    except OSError:  # a name that is too long, which is told when the file is opened
        return False


class AtomicFiles:
    """Files that appear under their names together, when the block ends without an error."""

    def __init__(self) -> None:
        self._files: list[tuple[Path, Path]] = []
        self._signals = signals_raised()

    def __enter__(self) -> AtomicFiles:
        self._signals.__enter__()
        return self

    def create(self, path: str) -> Path:
        """An empty file, to be opened, written and closed, which will be called path."""
        _check_name(path)
        with writing(path):
            # A link stays one: what it points to is replaced.
            target = Path(os.path.realpath(path))
            if target.is_symlink():  # links that go round
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.exists() and not target.is_file():
                raise CecliError(f"cannot write {path}: it is not a regular file")
            # Another name than that of a run that was killed, and none too long for the system.
            name = os.fsdecode(os.fsencode(target.name)[:MOST_OF_NAME])
            temporary = target.with_name(f"{name}.{secrets.token_hex(4)}.tmp")
            self._files.append((temporary, target))
            try:
                temporary.open("xb").close()
            except OSError:
                self._files.pop()
                raise
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            return temporary

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            for temporary, target in self._files if kind is None else ():
                with writing(str(target)):
                    temporary.replace(target)
        finally:
            for temporary, _ in self._files:
                temporary.unlink(missing_ok=True)
            self._signals.__exit__(None, None, None)


@contextmanager
def writing(path: str) -> Iterator[None]:
    """What the system says against writing a file, as one line with its name."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise CecliError(f"cannot write {path}: {reason}") from None


def _check_name(path: str) -> None:
    if not path:
        raise CecliError("cannot write '': -o takes the name of a file")
    if path.endswith(os.sep):
        raise CecliError(f"cannot write {path}: it names a directory")
    if path == "-":
        raise CecliError("cannot write -: -o takes a file; --json prints on standard output")
    if _is_standard_output(path):
        raise CecliError(
            f"cannot write {path}: standard output goes there too, so name another file"
        )


def _is_standard_output(path: str) -> bool:
    """Whether a path is the regular file that standard output is redirected to."""
    try:
        own, printed = os.stat(path), os.fstat(sys.stdout.fileno())  # noqa: PTH116
    except (OSError, AttributeError, ValueError):  # no such file, or no standard output
        return False
    return stat.S_ISREG(own.st_mode) and os.path.samestat(own, printed)
