"""Numbers in columns of text: how they look, and where their points stand."""

from __future__ import annotations

import re

from rich.cells import cell_len

NUMBER = r"-?(?:[0-9]+(?:\.[0-9]+)?(?:e[+-][0-9]+)?|inf)|NaN"


def points(row: str) -> list[int]:
    """The cell in which the point of each number in a row stands, or where it would."""
    matches = re.finditer(rf"(?<![^ ])(?:{NUMBER})(?![^ ])", row)
    return [cell_len(row[: m.start()] + re.split("[.e]", m[0])[0]) for m in matches]
