"""A derivation as Markdown, as LaTeX and as plain text."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Callable, Sequence

from cecli.derivation.model import Derivation, Step
from cecli.derivation.notation import latex, plain, plain_prose, split_prose
from cecli.text.markdown import escaped_in_markdown, table_line
from cecli.text.numbers import align

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


def derivation_to_markdown(derivation: Derivation) -> str:
    """All the steps, formulas between dollar signs as GitHub and notebooks render them."""
    parts = [_prose_in_markdown(paragraph) for paragraph in derivation.premises]
    for step in derivation.steps:
        parts += _markdown_step(step)
    return "\n\n".join(parts)


def _markdown_step(step: Step) -> list[str]:
    parts = [
        f"### {step.number}. {_prose_in_markdown(step.title)}",
        *map(_prose_in_markdown, step.text),
    ]
    parts += [f"$$\n{latex(line)}\n$$" for line in step.formula]
    if step.substitution:
        parts.append("\n".join(f"- ${latex(line)}$" for line in step.substitution))
    if step.matrix:
        rows = [table_line([f"${latex(cell)}$" for cell in row]) for row in step.matrix]
        width = len(step.matrix[0])
        parts.append("\n".join([table_line([""] * width), table_line(["--:"] * width), *rows]))
    return [*parts, *map(_prose_in_markdown, step.remark)]


def _prose_in_markdown(text: str) -> str:
    return _prose(text, escaped_in_markdown)


def _prose(text: str, escaped: Callable[[str], str]) -> str:
    """Prose whose formulas stand between dollar signs, in both languages."""
    return "".join(
        f"${latex(part)}$" if is_formula else escaped(part)
        for part, is_formula in split_prose(text)
    )


# --- LaTeX ----------------------------------------------------------------------------------------


def derivation_to_latex(derivation: Derivation) -> str:
    """The whole document; what stands inside it needs the packages amsmath and graphicx."""
    parts = ["\n\n".join(map(_prose_in_latex, derivation.premises))]
    parts += map(_latex_step, derivation.steps)
    return HEAD + "\n" + "\n\n".join(parts) + "\n\n" + FOOT


def _latex_step(step: Step) -> str:
    parts = [rf"\subsection*{{{step.number}. {_prose_in_latex(step.title)}}}"]
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


# --- Plain text -----------------------------------------------------------------------------------


def derivation_to_text(derivation: Derivation, width: int = 80) -> str:
    """All the steps in Unicode, prose in lines of that width at most."""
    parts = ["\n".join(_lines_of_prose(derivation.premises, width, ""))]
    for step in derivation.steps:
        lines = [f"{step.number}. {plain_prose(step.title)}"]
        lines += _lines_of_prose(step.text, width, "  ")
        for block in (step.formula, step.substitution, [f"│ {row} │" for row in _rows_of(step)]):
            if block:
                lines += ["", *(f"    {plain(line)}" for line in block)]
        if step.remark:
            lines += ["", *_lines_of_prose(step.remark, width, "  ")]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _lines_of_prose(paragraphs: Sequence[str], width: int, indent: str) -> list[str]:
    return [
        line
        for paragraph in paragraphs
        for line in textwrap.wrap(
            plain_prose(paragraph),
            width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]


def _rows_of(step: Step) -> list[str]:
    columns = [align([plain(cell) for cell in column]) for column in zip(*step.matrix, strict=True)]
    return ["  ".join(row) for row in zip(*columns, strict=True)]
