"""A derivation as a LaTeX document, for pdflatex alone or to be pasted into a paper."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from cecli.derivation.model import Derivation, Step
from cecli.derivation.notation import latex, plain, split_prose

# So many characters, as they are shown, fit a line of an article with room to spare.
WIDEST = 62
HEAD = r"""\documentclass{article}
\usepackage{amsmath,graphicx}
\allowdisplaybreaks
\begin{document}
"""
FOOT = r"\end{document}"
SPECIAL = {
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


def to_latex(derivation: Derivation) -> str:
    """The whole document; what stands inside it needs the packages amsmath and graphicx."""
    parts = ["\n\n".join(map(_prose, derivation.given))]
    parts += [_step(number, step) for number, step in enumerate(derivation.steps, 1)]
    return HEAD + "\n" + "\n\n".join(parts) + "\n\n" + FOOT


def _step(number: int, step: Step) -> str:
    parts = [rf"\subsection*{{{number}. {_prose(step.title)}}}"]
    parts += [_prose(paragraph) for paragraph in step.text]
    if step.formula:
        parts.append(_display("gather*", [latex(line) for line in step.formula]))
    if step.substitution:
        rows = [row for line in step.substitution for row in _rows(line)]
        parts.append(_display("align*", rows))
    if step.matrix:
        parts.append(_matrix(step.matrix))
    parts += [_prose(paragraph) for paragraph in step.remark]
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


def _prose(text: str) -> str:
    return "".join(
        f"${latex(part)}$" if is_formula else _escaped(part)
        for part, is_formula in split_prose(text)
    )


def _escaped(text: str) -> str:
    """Text for LaTeX; letters that pdflatex does not have by their nearest in ASCII."""
    return "".join(SPECIAL.get(character) or _letter(character) for character in text)


def _letter(character: str) -> str:
    if ord(character) < 128:
        return character
    nearest = unicodedata.normalize("NFKD", character)[0]
    return nearest if ord(nearest) < 128 else "?"
