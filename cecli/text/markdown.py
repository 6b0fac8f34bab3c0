"""What Markdown takes for its own, made harmless, and the lines of its tables."""

from __future__ import annotations

from collections.abc import Sequence


def escaped_in_markdown(text: str) -> str:
    """Text that stands for itself."""
    for character in "\\`*_<>[]|&~":
        text = text.replace(character, f"\\{character}")
    return text


def table_line(cells: Sequence[str]) -> str:
    """A line of a table, as GitHub shows it."""
    return "| " + " | ".join(cells) + " |"
