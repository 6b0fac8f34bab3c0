"""Grids as tables of GitHub's Markdown, and derivations as its mathematics."""

from __future__ import annotations

from collections.abc import Sequence

from cecli.derivation.model import Derivation, Step
from cecli.derivation.notation import latex, split_prose
from cecli.output.cells import Column, Grid

BAR_CELLS = 16


def to_markdown(grids: Sequence[Grid]) -> str:
    """All the grids, their notes as paragraphs; stressed rows in bold."""
    return "\n\n".join(_grid(grid) for grid in grids)


def derivation_to_markdown(derivation: Derivation) -> str:
    """All the steps, formulas between dollar signs as GitHub and notebooks render them."""
    parts = [_prose(paragraph) for paragraph in derivation.given]
    for number, step in enumerate(derivation.steps, 1):
        parts += _step(number, step)
    return "\n\n".join(parts)


def _step(number: int, step: Step) -> list[str]:
    parts = [f"### {number}. {_prose(step.title)}", *map(_prose, step.text)]
    parts += [f"$$\n{latex(line)}\n$$" for line in step.formula]
    if step.substitution:
        parts.append("\n".join(f"- ${latex(line)}$" for line in step.substitution))
    if step.matrix:
        rows = [_line([f"${latex(cell)}$" for cell in row]) for row in step.matrix]
        width = len(step.matrix[0])
        parts.append("\n".join([_line([""] * width), _line(["--:"] * width), *rows]))
    return [*parts, *map(_prose, step.remark)]


def _prose(text: str) -> str:
    return "".join(
        f"${latex(part)}$" if is_formula else _escaped(part)
        for part, is_formula in split_prose(text)
    )


def _grid(grid: Grid) -> str:
    marks = {"text": ":--", "number": "--:", "bar": ":--", "signed": ":--"}
    cells = [_cells(column) for column in grid.columns]
    lines = [
        _line([_escaped(column.header.replace("│", "/")) for column in grid.columns]),
        _line([marks[column.kind] for column in grid.columns]),
    ]
    for row, texts in enumerate(zip(*cells, strict=True)):
        bold = [f"**{text}**" if text else "" for text in texts]
        lines.append(_line(bold if row in grid.stressed else list(texts)))
    notes = [f"**{_escaped(grid.verdict)}**"] if grid.verdict else []
    notes += map(_escaped, grid.notes)
    return "\n\n".join(["\n".join(lines), *notes] if cells else notes)


def _cells(column: Column) -> list[str]:
    if column.kind == "bar":
        return ["█" * round(value * BAR_CELLS) if value == value else "" for value in column.values]
    if column.kind == "signed":
        return [_arrow(value) + "█" * round(abs(value) * BAR_CELLS) for value in column.values]
    return [_escaped(cell.strip()) for cell in column.cells]


def _arrow(value: float) -> str:
    return "↑ " if value < 0 else "↓ " if value > 0 else ""


def _escaped(text: str) -> str:
    for character in "\\`*_<>[]|&~":
        text = text.replace(character, f"\\{character}")
    return text


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
