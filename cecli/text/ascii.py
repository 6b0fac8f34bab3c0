"""Plain stand-ins for characters that a terminal's encoding does not have."""

from __future__ import annotations

import re
from typing import TextIO

# One character for one where it may stand in a table, so that tables stay aligned.
STAND_INS = str.maketrans(
    {
        "−": "-",
        "∂": "d",
        "Σ": "S",
        "█": "#",
        "▐": "#",
        "▌": "#",
        "▉": "#",
        "▊": "#",
        "▋": "#",
        "▍": "#",
        "▎": ".",
        "▏": ".",
        "│": "|",
        "─": "-",
        "━": "-",
        "▸": ">",
        "✗": "x",
        "…": "~",
        "↑": "^",
        "↓": "v",
        "≈": "~",
        "≤": "<",
        "≥": ">",
        # The bare y is the target, so that its estimate needs another name; p is the usual one.
        "ŷ": "p",
        "δ": "d",
        "ε": "e",
        "η": "n",
        "λ": "l",
        "·": "*",
        "×": "*",
        "′": "'",
        # These stand in formulas alone, where nothing has to be aligned.
        "≠": "!=",
        "‖": "||",
        "²": "^2",
    }
)
# Of p and i alone would come pi.
SUBSCRIPT = "[₀-₉ₐᵢⱼₖₙₜ]+"


def takes_unicode(stream: TextIO) -> bool:
    """Whether a stream can hold every character; text in memory, without an encoding, can."""
    encoding: str | None = stream.encoding
    return encoding is None or encoding.lower().replace("-", "") == "utf8"


def substitute(error: UnicodeError) -> tuple[str, int]:
    """A handler for codecs.register_error: known signs by their stand-ins, letters without accents.

    What has no stand-in becomes a question mark, two for a character as wide as two.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    text = re.sub(SUBSCRIPT, r"_\g<0>", part).translate(STAND_INS)
    return "".join(map(_letter, text)), error.end


def _letter(character: str) -> str:
    import unicodedata

    plain = unicodedata.normalize("NFKD", character)[0]
    if ord(plain) < 128:
        return plain
    return "??" if unicodedata.east_asian_width(character) in "WF" else "?"
