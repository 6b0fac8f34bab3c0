"""One-line errors: what the input says is quoted, and where it is said is named.

What the user wrote appears in an error only through quote, so that no newline or control character
of the input reaches the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cecli.errors import CecliError


class NotJSONError(CecliError):
    """The text is not JSON, but may be numbers in another form."""


@contextmanager
def reading(source: str) -> Iterator[None]:
    """Begin every error with its source, and make a CecliError of those of the system."""
    try:
        yield
    except CecliError as error:
        raise CecliError(f"{source}: {error}") from None
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise CecliError(f"{source}: {reason[0].lower()}{reason[1:]}") from None
    except MemoryError:
        raise CecliError(f"{source}: does not fit into memory") from None


def quote(text: str) -> str:
    """Text in quotes, on one line; long text without its middle, for a path ends with its name."""
    return repr(text if len(text) <= 120 else f"{text[:56]}...{text[-56:]}")


def describe(value: object) -> str:
    """A value of JSON, as an error calls it."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    import json

    return json.dumps(value)


def line_and_column(text: str, offset: int) -> str:
    """Where an offset is in a text, counted from 1."""
    column = f"column {offset - text.rfind(chr(10), 0, offset)}"
    return f"line {text.count(chr(10), 0, offset) + 1}, {column}" if "\n" in text else column
