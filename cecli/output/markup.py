"""Markdown of grids, as GitHub shows it."""

from __future__ import annotations

from collections.abc import Sequence

from cecli.output.grid import WIDEST_BAR, Column, Grid, bar, printed
from cecli.text.markdown import escaped_in_markdown, table_line


def to_markdown(grids: Sequence[Grid]) -> str:
    """All the grids, their notes as paragraphs; stressed rows in bold."""
    return "\n\n".join(_grid(grid) for grid in map(printed, grids))


def _grid(grid: Grid) -> str:
    marks = {"text": ":--", "number": "--:", "bar": ":--", "signed": ":--"}
    cells = [_cells(column) for column in grid.columns]
    lines = [
        table_line(
            [escaped_in_markdown(column.header.replace("│", "/")) for column in grid.columns]
        ),
        table_line([marks[column.kind] for column in grid.columns]),
    ]
    for row, texts in enumerate(zip(*cells, strict=True)):
        bold = [f"**{text}**" if text else "" for text in texts]
        lines.append(table_line(bold if row in grid.stressed else list(texts)))
    signed = any(column.kind == "signed" for column in grid.columns)
    notes = [escaped_in_markdown(grid.key.replace("│", "/"))] if signed else []
    notes += [f"**{escaped_in_markdown(grid.verdict)}**"] if grid.verdict else []
    notes += map(escaped_in_markdown, grid.notes)
    return "\n\n".join(["\n".join(lines), *notes] if cells else notes)


def _cells(column: Column) -> list[str]:
    if column.kind == "bar":
        return [bar(value) for value in column.values]
    if column.kind == "signed":
        return [_arrow(value) + bar(abs(value), WIDEST_BAR // 2) for value in column.values]
    return [escaped_in_markdown(cell.strip()) for cell in column.cells]


def _arrow(value: float) -> str:
    return "↑ " if value < 0 else "↓ " if value > 0 else ""
