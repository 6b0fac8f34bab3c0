"""A derivation drawn with rich: in the terminal, in a pipe, or as a picture.

Every number has the colour of the symbol it stands for, through all the steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import IO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from cecli.derivation.model import Derivation, Step
from cecli.derivation.notation import plain, spans, split_prose
from cecli.output.files.destination import Theme
from cecli.text.numbers import align

STYLES = {
    "z": "yellow",
    "e": "magenta",
    "S": "bright_magenta",
    "p": "cyan",
    "y": "bright_blue",
    "L": "bright_red",
    "s": "red",
    "j": "blue",
    "g": "green",
}
INDENT = 4
# Prose wider than this is hard to read; equations take all the room there is.
WIDEST_PROSE = 88
# An inline formula up to this width is not broken.
SHORT_FORMULA, NO_BREAK = 24, "\N{NO-BREAK SPACE}"
_SIGN = re.compile(r" (?=[=≈] )")
# Inside parentheses an equation is broken only where it cannot be helped.
_BEFORE_OPERATOR = re.compile(r"(?<= )(?=[=≈+−] )")


def show_derivation(derivation: Derivation, file: IO[str]) -> None:
    """Print a derivation; without colours, and 80 characters wide, where file is not a terminal."""
    console = Console(file=file, highlight=False)
    _draw(derivation, console, console.width)


def picture_of_derivation(
    derivation: Derivation, title: str, file: IO[str], theme: Theme = "both"
) -> str:
    """The same as an SVG picture, as wide as the terminal that file may be."""
    from cecli.output.picture import picture_of

    return picture_of(
        lambda console, width: _draw(derivation, console, width or console.width),
        title,
        file,
        theme,
    )


def _draw(derivation: Derivation, console: Console, width: int) -> None:
    prose = min(width, WIDEST_PROSE)
    for paragraph in derivation.premises:
        _print(console, _wrapped_prose(paragraph, prose, 0))
    for step in derivation.steps:
        console.print()
        title = _wrapped_prose(f"{step.number}. {step.title}", width, 0)
        for line in title:
            line.stylize("bold")
        _print(console, title)
        _draw_step(step, console, prose, width)


def _draw_step(step: Step, console: Console, prose: int, width: int) -> None:
    for paragraph in step.text:
        _print(console, _wrapped_prose(paragraph, prose, INDENT // 2))
    for lines in (step.formula, step.substitution):
        if lines:
            console.print()
            _print(console, _equations(lines, width))
    if step.matrix:
        console.print()
        _print(console, _matrix(step.matrix, width))
    if step.remark:
        console.print()
    for paragraph in step.remark:
        _print(console, _wrapped_prose(paragraph, prose, INDENT // 2))


def _print(console: Console, lines: Sequence[Text]) -> None:
    for line in lines:
        line.rstrip()
        console.print(line, soft_wrap=True)


def _formula(source: str) -> Text:
    text = Text()
    for span in spans(source):
        text.append(span.text, STYLES[span.symbol] if span.symbol else "")
    return text


def _wrapped_prose(paragraph: str, width: int, indent: int) -> list[Text]:
    """Prose in lines, broken at spaces, those inside formulas among them."""
    whole = Text()
    for part, is_formula in split_prose(paragraph):
        text = _formula(part) if is_formula else Text(part)
        if is_formula and text.cell_len <= SHORT_FORMULA:
            text.plain = text.plain.replace(" ", NO_BREAK)
        whole.append_text(text)
    lines = _filled(list(whole.split(" ")), width, indent, indent, Text(" "))
    for line in lines:
        line.plain = line.plain.replace(NO_BREAK, " ")
    return lines


def _filled(
    parts: Sequence[Text], width: int, indent: int, hanging: int, between: Text
) -> list[Text]:
    """Parts put side by side while they fit, then on further lines that begin at hanging."""
    lines = [Text(" " * indent)]
    is_empty = True
    for part in parts:
        glue = Text() if is_empty else between
        if not is_empty and lines[-1].cell_len + glue.cell_len + _needed(part) > width:
            lines.append(Text(" " * hanging))
            glue = Text()
        lines[-1] = Text.assemble(lines[-1], glue, part)
        is_empty = False
    return lines


def _needed(part: Text) -> int:
    return cell_len(part.plain.rstrip())


def _equations(lines: Sequence[str], width: int) -> list[Text]:
    """Equations below each other: in columns where they are alike, wrapped where they are long."""
    drawn: list[Text] = []
    for group in _alike(lines, width):
        columns = list(zip(*(_SIGN.split(line) for line in group), strict=True))
        rows = _aligned(columns) if len(group) > 1 else [_formula(group[0])]
        if max(INDENT + row.cell_len for row in rows) > width:
            rows = [_formula(line) for line in group]
        for row in rows:
            drawn += _wrapped_equation(row, width)
    return drawn


def _alike(lines: Sequence[str], width: int) -> Iterator[list[str]]:
    """Runs of lines that fit, with equally many parts between their equals signs."""
    group: list[str] = []
    kind = None
    for line in lines:
        fits = INDENT + cell_len(plain(line)) <= width
        before, kind = kind, (fits, len(_SIGN.split(line)))
        if group and (kind != before or not fits):
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def _aligned(columns: Sequence[Sequence[str]]) -> list[Text]:
    """Equal parts below each other, and the points of the results."""
    rows = [Text() for _ in columns[0]]
    for place, column in enumerate(columns):
        is_last = place == len(columns) - 1
        is_result = is_last and all(source[2:].startswith("⟦") for source in column)
        padded = align([plain(source[2:]) for source in column]) if is_result else []
        texts = [_formula(source) for source in column]
        widest = max(text.cell_len for text in texts)
        for line, text in enumerate(texts):
            before = len(padded[line]) - len(padded[line].lstrip()) if padded else 0
            after = 0 if is_last else widest + 1 - text.cell_len
            sign, rest = (text[:2], text[2:]) if padded else (Text(), text)
            rows[line] = Text.assemble(rows[line], sign, " " * before, rest, " " * after)
    return rows


def _wrapped_equation(row: Text, width: int) -> list[Text]:
    """A long equation on several lines, each begun with its operator below the first equals."""
    if INDENT + row.cell_len <= width:
        return [Text(" " * INDENT) + row]
    places = [match.start() for match in _BEFORE_OPERATOR.finditer(row.plain)]
    outer = [
        place
        for place in places
        if row.plain.count("(", 0, place) == row.plain.count(")", 0, place)
    ]
    parts = list(row.divide(outer))
    hanging = min(INDENT + max(2, cell_len(parts[0].plain)) if outer else INDENT + 2, width // 4)
    if max(map(_needed, parts)) > width - hanging:
        parts = list(row.divide(places))
    return _filled(parts, width, INDENT, hanging, Text())


def _matrix(rows: Sequence[Sequence[str]], width: int) -> list[Text]:
    columns = [align([plain(cell) for cell in column]) for column in zip(*rows, strict=True)]
    drawn = []
    for line, row in enumerate(rows):
        cells = []
        for place, cell in enumerate(row):
            text = columns[place][line]
            before = len(text) - len(text.lstrip())
            after = len(text) - len(text.rstrip())
            cells.append(Text.assemble(" " * before, _formula(cell), " " * after))
        inner = Text("  ").join(cells)
        if INDENT + inner.cell_len + 4 <= width:
            drawn.append(Text.assemble(" " * INDENT, "│ ", inner, " │"))
        else:
            drawn += _filled(cells, width, INDENT, INDENT + 2, Text("  "))
    return drawn
