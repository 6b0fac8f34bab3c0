"""Grids drawn with rich: in the terminal, in a pipe, or as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import IO

from rich.box import Box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from cecli.output.files.destination import Theme
from cecli.output.grid import WIDEST_BAR, Column, Grid, bar, printed

NARROWEST_BAR = 5
SHORTEST_NAME = 8
GAP = 2
MARKS = {"target": "▸ ", "off": "✗ "}
# A line below the header and nothing else. Said to be ASCII, rich leaves it alone where the output
# is: there the line is printed with its plain stand-in, like every other character.
RULE = Box("    \n    \n ── \n    \n    \n    \n    \n    \n", ascii=True)
MARK_WIDTH = 2
STRESSED = {"target": "bold", "off": "bold red"}
BAR, UP, DOWN = "cyan", "green", "red"
PASSED, FAILED = "bold green", "bold red"


def show(grids: Sequence[Grid], file: IO[str]) -> None:
    """Print grids as tables; plain, and as wide as it takes, where file is not a terminal."""
    console = Console(file=file, highlight=False)
    if console.is_terminal:
        _draw(grids, console, console.width)
        return
    with console.capture() as captured:
        _draw(grids, console, None)
    file.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def picture(grids: Sequence[Grid], title: str, file: IO[str], theme: Theme = "both") -> str:
    """The same as an SVG picture, as wide as the terminal, if file is one, or as it takes."""
    from cecli.output.picture import picture_of

    return picture_of(lambda console, width: _draw(grids, console, width), title, file, theme)


def _draw(grids: Sequence[Grid], console: Console, width: int | None) -> None:
    widest = 0
    for place, grid in enumerate(map(printed, grids)):
        columns = _fit(grid, width)
        notes = list(grid.notes)
        if len(columns) < len(grid.columns) and any(c.optional for c in grid.columns):
            notes.insert(0, grid.unfit)
        bar_width = _bar_width(columns, width)
        needed = _width(columns, bar_width)
        if width is None:
            needed = max([needed, *map(cell_len, [grid.verdict, grid.key, *notes])])
        console.width = max(width or 0, needed)
        widest = max(widest, console.width)
        if place:
            console.print()
        if columns:
            console.print(_table(columns, grid, bar_width))
        if any(column.kind == "signed" for column in columns):
            console.print(Text(grid.key, style="dim"))
        if grid.verdict:
            console.print(Text(grid.verdict, style=PASSED if grid.passed else FAILED))
        for note in notes:
            text = note.lstrip(" ")
            # what is wrapped keeps its indent
            console.print(Padding(Text(text), (0, 0, 0, len(note) - len(text)), expand=False))
    console.width = widest  # a picture is as wide as the widest of its grids


def _fit(grid: Grid, width: int | None) -> list[Column]:
    """The columns that there is room for: bars go first, then what is optional, then long names."""
    columns = grid.columns
    if width is None:
        return columns
    written = [c for c in columns if not c.is_bar]
    kept = [c for c in written if not c.optional]
    for choice in (columns, written, kept):
        if _width(choice, NARROWEST_BAR) <= width:
            return choice
    names = sum(c.kind == "text" for c in kept)
    room = width - _width([c for c in kept if c.kind != "text"], 0) - GAP * names
    longest = max(SHORTEST_NAME, room // max(1, names))
    return [c if c.kind != "text" else replace(c, cells=_cut(c.cells, longest)) for c in kept]


def _cut(names: Sequence[str], longest: int) -> list[str]:
    return [
        name if cell_len(name) <= longest else set_cell_size(name, longest - 1).rstrip() + "…"
        for name in names
    ]


def _width(columns: Sequence[Column], bar: int) -> int:
    widths = [bar if c.is_bar else max(map(cell_len, [c.header, *c.cells])) for c in columns]
    return MARK_WIDTH + sum(widths) + GAP * (len(columns) - 1)


def _bar_width(columns: Sequence[Column], width: int | None) -> int:
    bars = sum(c.is_bar for c in columns)
    if width is None or not bars:
        return WIDEST_BAR
    return min(WIDEST_BAR, (width - _width(columns, 0)) // bars)


def _table(columns: Sequence[Column], grid: Grid, bar_width: int) -> Table:
    table = Table(
        box=RULE, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0), style="dim"
    )
    cells = []
    for place, column in enumerate(columns):
        header = f"{' ' * MARK_WIDTH}{column.header}" if place == 0 else column.header
        if column.kind == "signed":
            header = _centred(header, bar_width)
        table.add_column(Text(header, style="bold"), no_wrap=True, overflow="ignore")
        cells.append(_cells(column, bar_width))
    for row, texts in enumerate(zip(*cells, strict=True)):
        mark = Text(MARKS[grid.mark] if row in grid.stressed else " " * MARK_WIDTH)
        style = STRESSED[grid.mark] if row in grid.stressed else ""
        table.add_row(mark + texts[0], *texts[1:], style=style)
    return table


def _cells(column: Column, bar_width: int) -> list[Text]:
    if column.kind == "bar":
        return [Text(bar(value, bar_width), style=BAR) for value in column.values]
    if column.kind == "signed":
        return [_signed_bar(value, bar_width) for value in column.values]
    return [Text(cell) for cell in column.cells]


def _signed_bar(share: float, width: int) -> Text:
    """A bar from the middle: to the left where a step raises the logit, to the right where not."""
    half = (width - 1) // 2
    halves = max(1, round(abs(share) * half * 2)) if share else 0
    full, part = divmod(halves, 2)
    left = right = ""
    if share < 0:
        left = ("▐" if part else "") + "█" * full
    else:
        right = "█" * full + ("▌" if part else "")
    middle = Text("│", style="dim")
    return Text(left.rjust(half), style=UP) + middle + Text(right, style=DOWN)


def _centred(header: str, width: int) -> str:
    """A header whose │ stands above the middle of the bars."""
    before = header.index("│")
    return " " * max(0, (width - 1) // 2 - before) + header
