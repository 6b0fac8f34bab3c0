"""One-line errors: what the input says is quoted, and where it is said is named.

Whatever is printed goes through one door here, so that no control character of the input reaches
a terminal: an error or a note through `plain_line`, a cell of a table through `printable`, JSON
through `escaped_json`. An error also quotes what it names, to be told from its own words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


def printable(text: str) -> str:
    """Text that moves no cursor: a point for each character that does not print.

    These are control characters, those that turn the direction of text, and lone surrogates.
    """
    return text if text.isprintable() else text.translate(_odd(text, lambda odd: "·"))


def plain_line(text: str) -> str:
    """Text for standard error: one line, with escapes for what does not print."""
    line = " ".join(text.split())
    return line.translate(_odd(line, lambda odd: odd.encode("unicode_escape").decode()))


def escaped_json(text: str) -> str:
    """JSON whose strings hold escapes for what does not print; it reads back to the same."""
    import json

    return (
        text
        if text.isprintable()
        else text.translate(_odd(text, lambda odd: json.dumps(odd)[1:-1]))
    )


def _odd(text: str, shown: Callable[[str], str]) -> dict[int, str]:
    return {
        ord(character): shown(character) for character in set(text) if not character.isprintable()
    }


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
