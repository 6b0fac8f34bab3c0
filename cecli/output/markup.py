"""Markdown of grids and derivations, as GitHub shows it, and LaTeX of derivations."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence

from cecli.derivation.model import Derivation, Step
from cecli.derivation.notation import latex, plain, split_prose
from cecli.output.grid import Column, Grid, printed

BAR_CELLS = 16
# So many characters, as they are shown, fit a line of an article with room to spare.
WIDEST = 62
HEAD = r"""\documentclass{article}
\usepackage{amsmath,graphicx}
\allowdisplaybreaks
\begin{document}
"""
FOOT = r"\end{document}"
SPECIAL_IN_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "−": "$-$",
    "×": r"$\times$",
    "…": r"\dots{}",
    **{character: rf"\{character}" for character in "#$%&_"},
}


def to_markdown(grids: Sequence[Grid]) -> str:
    """All the grids, their notes as paragraphs; stressed rows in bold."""
    return "\n\n".join(_grid(grid) for grid in map(printed, grids))


def derivation_to_markdown(derivation: Derivation) -> str:
    """All the steps, formulas between dollar signs as GitHub and notebooks render them."""
    parts = [_prose_in_markdown(paragraph) for paragraph in derivation.premises]
    for number, step in enumerate(derivation.steps, 1):
        parts += _markdown_step(number, step)
    return "\n\n".join(parts)


def _markdown_step(number: int, step: Step) -> list[str]:
    parts = [f"### {number}. {_prose_in_markdown(step.title)}", *map(_prose_in_markdown, step.text)]
    parts += [f"$$\n{latex(line)}\n$$" for line in step.formula]
    if step.substitution:
        parts.append("\n".join(f"- ${latex(line)}$" for line in step.substitution))
    if step.matrix:
        rows = [_line([f"${latex(cell)}$" for cell in row]) for row in step.matrix]
        width = len(step.matrix[0])
        parts.append("\n".join([_line([""] * width), _line(["--:"] * width), *rows]))
    return [*parts, *map(_prose_in_markdown, step.remark)]


def _prose_in_markdown(text: str) -> str:
    return _prose(text, _escaped_in_markdown)


def _prose(text: str, escaped: Callable[[str], str]) -> str:
    """Prose whose formulas stand between dollar signs, in both languages."""
    return "".join(
        f"${latex(part)}$" if is_formula else escaped(part)
        for part, is_formula in split_prose(text)
    )


def _grid(grid: Grid) -> str:
    marks = {"text": ":--", "number": "--:", "bar": ":--", "signed": ":--"}
    cells = [_cells(column) for column in grid.columns]
    lines = [
        _line([_escaped_in_markdown(column.header.replace("│", "/")) for column in grid.columns]),
        _line([marks[column.kind] for column in grid.columns]),
    ]
    for row, texts in enumerate(zip(*cells, strict=True)):
        bold = [f"**{text}**" if text else "" for text in texts]
        lines.append(_line(bold if row in grid.stressed else list(texts)))
    notes = [f"**{_escaped_in_markdown(grid.verdict)}**"] if grid.verdict else []
    notes += map(_escaped_in_markdown, grid.notes)
    return "\n\n".join(["\n".join(lines), *notes] if cells else notes)


def _cells(column: Column) -> list[str]:
    if column.kind == "bar":
        return ["█" * round(value * BAR_CELLS) if value == value else "" for value in column.values]
    if column.kind == "signed":
        return [_arrow(value) + "█" * round(abs(value) * BAR_CELLS) for value in column.values]
    return [_escaped_in_markdown(cell.strip()) for cell in column.cells]


def _arrow(value: float) -> str:
    return "↑ " if value < 0 else "↓ " if value > 0 else ""


def _escaped_in_markdown(text: str) -> str:
    for character in "\\`*_<>[]|&~":
        text = text.replace(character, f"\\{character}")
    return text


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


# --- LaTeX ----------------------------------------------------------------------------------------


def to_latex(derivation: Derivation) -> str:
    """The whole document; what stands inside it needs the packages amsmath and graphicx."""
    parts = ["\n\n".join(map(_prose_in_latex, derivation.premises))]
    parts += [_latex_step(number, step) for number, step in enumerate(derivation.steps, 1)]
    return HEAD + "\n" + "\n\n".join(parts) + "\n\n" + FOOT


def _latex_step(number: int, step: Step) -> str:
    parts = [rf"\subsection*{{{number}. {_prose_in_latex(step.title)}}}"]
    parts += [_prose_in_latex(paragraph) for paragraph in step.text]
    if step.formula:
        parts.append(_display("gather*", [latex(line) for line in step.formula]))
    if step.substitution:
        rows = [row for line in step.substitution for row in _rows(line)]
        parts.append(_display("align*", rows))
    if step.matrix:
        parts.append(_matrix(step.matrix))
    parts += [_prose_in_latex(paragraph) for paragraph in step.remark]
    return "\n\n".join(parts)


def _matrix(cells: Sequence[Sequence[str]]) -> str:
    """A matrix, made smaller where it does not fit the line."""
    width = sum(max(len(plain(cell)) for cell in column) for column in zip(*cells, strict=True))
    rows = [" & ".join(latex(cell) for cell in row) for row in cells]
    matrix = "\\begin{pmatrix}\n" + " \\\\\n".join(rows) + "\n\\end{pmatrix}"
    if width > WIDEST - 3 * len(rows):
        matrix = f"\\resizebox{{\\linewidth}}{{!}}{{${matrix}$}}"
    return f"\\[\n{matrix}\n\\]"


def _display(environment: str, rows: Sequence[str]) -> str:
    inner = " \\\\\n".join(rows)
    return f"\\begin{{{environment}}}\n{inner}\n\\end{{{environment}}}"


def _rows(line: str) -> list[str]:
    """An equation with its first equals sign aligned, long ones broken before an operator."""
    first = re.search(r" [=≈] ", line)
    if first is None:
        return [latex(line)]
    left, sign, right = line[: first.start()], first[0].strip(), line[first.end() :]
    rows, row = [], ""
    for part in re.split(r"(?<= )(?=[=+] )", right):
        if row and len(plain(left + row + part)) > WIDEST:
            rows.append(row)
            row = ""
        row += part
    rows.append(row)
    start = f"{latex(left)} &{latex(sign)} {latex(rows[0])}"
    further = [
        f"&{latex(row)}" if row.startswith("=") else rf"&\qquad {latex(row)}" for row in rows[1:]
    ]
    return [start, *further]


def _prose_in_latex(text: str) -> str:
    return _prose(text, _escaped_in_latex)


def _escaped_in_latex(text: str) -> str:
    """Text for LaTeX; letters that pdflatex does not have by their nearest in ASCII."""
    return "".join(SPECIAL_IN_LATEX.get(character) or _letter(character) for character in text)


def _letter(character: str) -> str:
    if ord(character) < 128:
        return character
    nearest = unicodedata.normalize("NFKD", character)[0]
    return nearest if ord(nearest) < 128 else "?"
