"""What the terminal shows as an SVG picture: light, dark, or as its reader's system is.

Bars are rectangles, so that they have no gaps whatever font there is; of text the width is given.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator
from html import escape
from typing import IO

from rich.ansi import AnsiDecoder
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

from cecli.output.files.destination import Theme
from cecli.text.html import DARK, LIGHT

CELL, LINE, SIZE = 9.0, 19.0, 15.0
MARGIN, BASELINE = 14.0, 14.0
FONT = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace'
# The terminal's colours by the quantities that have them in a derivation.
_QUANTITIES = {
    "yellow": "z",
    "magenta": "e",
    "bright_magenta": "S",
    "cyan": "p",
    "bright_blue": "y",
    "bright_red": "L",
    "red": "s",
    "blue": "j",
    "green": "g",
    "ink": "ink",
    "dim": "dim",
    "ground": "ground",
}
# By the numbers that terminals know them by.
_NAMES: dict[int | None, str] = {
    1: "red",
    2: "green",
    3: "yellow",
    4: "blue",
    5: "magenta",
    6: "cyan",
    9: "bright_red",
    12: "bright_blue",
    13: "bright_magenta",
}
_BARS = {"cyan": "bar", "green": "up", "red": "down"}
# From where to where each of these fills its cell.
_BLOCKS = {"█": (0.0, 1.0), "▐": (0.5, 1.0), "▌": (0.0, 0.5)}
_BLOCKS |= {block: (0.0, eighths / 8) for eighths, block in enumerate("▏▎▍▌▋▊▉", 1)}
_PIECES = re.compile(r"[█▉▊▋▌▍▎▏▐]+|─+|│| +|[^█▉▊▋▌▍▎▏▐─│ ]+(?: [^█▉▊▋▌▍▎▏▐─│ ]+)*")


def picture_of(
    draw: Callable[[Console, int | None], None], title: str, file: IO[str], theme: Theme
) -> str:
    """What draw prints; it is told the width of the terminal, None if file is none."""
    screen = Console(file=file)
    width = screen.width if screen.is_terminal or "COLUMNS" in os.environ else None
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, color_system="standard", highlight=False)
    console.no_color = False
    draw(console, width)
    lines = list(AnsiDecoder().decode(drawn.getvalue().rstrip()))
    wide = 2 * MARGIN + CELL * max(cell_len(line.plain.rstrip()) for line in lines)
    high = 2 * MARGIN + LINE * len(lines)
    parts = [part for row, line in enumerate(lines) for part in _line(line, row, console)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" role="img" '
        f'viewBox="0 0 {wide:g} {high:g}" width="{wide:g}" height="{high:g}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_styles(theme)}</style>\n"
        f'<rect class="ground" width="{wide:g}" height="{high:g}" rx="6"/>\n'
        + "\n".join(parts)
        + "\n</svg>"
    )


def _line(line: Text, row: int, console: Console) -> Iterator[str]:
    """The pieces of a line: text, rules and bars, each in its place."""
    column = 0
    for segment in line.render(console):
        style = segment.style or Style()
        for match in _PIECES.finditer(segment.text):
            piece, cells = match[0], cell_len(match[0])
            if piece.strip():
                x, y = MARGIN + CELL * column, MARGIN + LINE * row
                yield _piece(piece, cells, x, y, style)
            column += cells


def _piece(piece: str, cells: int, x: float, y: float, style: Style) -> str:
    number = None if style.color is None else style.color.number
    colour = _NAMES.get(number, "dim" if style.dim else "ink")
    if piece[0] in _BLOCKS:
        start, end = _BLOCKS[piece[0]][0], len(piece) - 1 + _BLOCKS[piece[-1]][1]
        kind = _BARS.get(colour, colour)
        return _rect(kind, x + CELL * start, y + 3, CELL * (end - start), LINE - 5)
    if piece[0] == "─":
        return _rect("dim", x, y + LINE / 2, CELL * cells, 1)
    if piece == "│":
        return _rect("dim", x + CELL / 2 - 0.5, y, 1, LINE)
    weight = " bold" if style.bold else ""
    return (
        f'<text class="{colour}{weight}" x="{x:g}" y="{y + BASELINE:g}" '
        f'textLength="{CELL * cells:g}">{escape(piece).replace(" ", "&#160;")}</text>'
    )


def _rect(kind: str, x: float, y: float, width: float, height: float) -> str:
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"/>'


def _styles(theme: Theme) -> str:
    """A rule for each colour; what follows the system is light where that tells nothing."""
    shared = f"text {{ font: {SIZE:g}px {FONT}; }}\n.bold {{ font-weight: bold; }}\n"
    light, dark = _rules(LIGHT), _rules(DARK)
    if theme == "both":
        return f"{shared}{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n"
    return shared + (light if theme == "light" else dark)


def _rules(colours: dict[str, str]) -> str:
    named = {name: colours[key] for name, key in _QUANTITIES.items()}
    named |= {name: colours[name] for name in _BARS.values()}
    return "".join(f".{name} {{ fill: {colour}; }}\n" for name, colour in named.items())
