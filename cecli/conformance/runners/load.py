"""Functions and classes of somebody's own Python, found by name."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from cecli.errors import CecliError
from cecli.text.messages import printable, quote

LONGEST = 300
EXPECTED = "write package.module:function or ./file.py:function"


def load(name: str) -> Any:
    """What MODULE:FUNCTION names; the module is dotted, or the path of a file in Python.

    It is sought in the current directory first, or in that of its file, which stays the first on
    `sys.path` for what it imports later; see `path_kept`. Raises CecliError where something is
    missing or cannot be called, or where the module itself fails.
    """
    place, _, path = name.rpartition(":")
    if not place or not path:
        hint = ""
        if os.path.isfile(name):  # noqa: PTH113 - also where no path can be as long
            hint = f"; a program stands behind --, as in: cecli verify -- {name}"
        raise CecliError(f"{quote(name)} names no function: {EXPECTED}{hint}")
    found: Any = _module(place)
    for part in path.split("."):
        found = _member(found, part, name)
    if not callable(found) and not callable(getattr(found, "forward", None)):
        raise CecliError(f"{quote(name)} is no function but of type {type(found).__name__}")
    return found


@contextmanager
def path_kept() -> Iterator[None]:
    """What is loaded and run within leaves `sys.path` as it was."""
    before = list(sys.path)
    try:
        yield
    finally:
        sys.path[:] = before


def reason_of(error: BaseException) -> str:
    """An exception in one line: its type and what it says."""
    try:
        said = one_line(str(error))
    except Exception:  # noqa: BLE001 - an exception that cannot even say what it is
        said = ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def one_line(text: str) -> str:
    """What somebody else's code says, on one line of bounded length that moves no cursor."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def _module(place: str) -> ModuleType:
    is_path = place.endswith(".py") or "/" in place
    if is_path and not os.path.isfile(place):  # noqa: PTH113
        raise CecliError(f"there is no file {quote(place)}")
    directory = Path(place).resolve().parent if is_path else Path.cwd()
    if str(directory) not in sys.path[:1]:
        sys.path.insert(0, str(directory))
    try:
        return _from_file(Path(place)) if is_path else importlib.import_module(place)
    except ModuleNotFoundError as error:
        if not is_path and error.name and f"{place}.".startswith(f"{error.name}."):
            raise CecliError(
                f"there is no module {quote(error.name)}, neither here nor installed beside cecli"
            ) from None
        raise CecliError(f"cannot import {quote(place)}: {reason_of(error)}") from None
    # Whatever a module does when it is imported, that is not an error of cecli's.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        raise CecliError(f"cannot import {quote(place)}: {reason_of(error)}") from None


def _from_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise CecliError(f"{quote(str(path))} is not Python: {EXPECTED}")
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look for their module there; a module of cecli's own stays what it is.
    sys.modules.setdefault(path.stem, module)
    spec.loader.exec_module(module)
    return module


def _member(owner: Any, part: str, name: str) -> Any:
    try:
        return getattr(owner, part)
    except AttributeError:
        from difflib import get_close_matches

        close = get_close_matches(part, dir(owner), n=1)
        hint = f"; did you mean {quote(close[0])}?" if close else ""
        raise CecliError(f"{quote(name)}: there is no {quote(part)}{hint}") from None
