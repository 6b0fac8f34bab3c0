"""Columns and grids of text, and what stands in their cells.

A grid is what a table in the terminal and a table in Markdown have in common.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cecli.answer.answer import Answer
from cecli.problem.dtypes import Integers
from cecli.problem.objective import Objective
from cecli.text.messages import printable
from cecli.text.numbers import align, format_number, format_typed

WIDEST_BAR, EIGHTHS = 20, " ▏▎▍▌▋▊▉"


@dataclass(frozen=True)
class Column:
    """A column of a grid.

    kind: text, number, a bar from 0 to 1, or a signed bar from −1 to 1; bars hold values instead of
    cells. optional: all of these are left out where there is no room for them.
    """

    header: str
    kind: Literal["text", "number", "bar", "signed"]
    cells: Sequence[str] = ()
    values: Sequence[float] = ()
    optional: bool = False

    @property
    def is_bar(self) -> bool:
        """Whether it is drawn rather than written."""
        return self.kind in ("bar", "signed")


@dataclass(frozen=True)
class Grid:
    """Columns of equal length, the rows to stress, and lines to print below.

    mark: what the rows that are stressed are, the target or off.
    verdict: the line that comes first below a check, which passed or not. unfit: the line for
    optional columns that there was no room for. key: the line that explains signed bars.
    """

    columns: list[Column]
    stressed: frozenset[int] = frozenset()
    notes: list[str] = field(default_factory=list)
    verdict: str = ""
    passed: bool = True
    unfit: str = "the classes do not fit side by side: --json or -o FILE shows them"
    mark: Literal["target", "off"] = "target"
    key: str = ""


def objective_text(objective: Objective) -> str:
    """The options that are not at their default, in one line."""
    parts = []
    if objective.softcap is not None:
        parts.append(f"softcap {objective.softcap:g}")
    if objective.temperature != 1.0:
        parts.append(f"temperature {objective.temperature:g}")
    if objective.label_smoothing:
        parts.append(f"label smoothing {objective.label_smoothing:g}")
    if objective.weight is not None:
        parts.append("class weights")
    if objective.sample_weight is not None:
        parts.append("sample weights")
    if objective.z_loss:
        parts.append(f"z-loss {objective.z_loss:g}")
    return ", ".join(parts)


def class_names(answer: Answer, classes: Integers) -> list[str]:
    """What the classes are called."""
    return [class_name(answer, index) for index in classes.tolist()]


def class_name(answer: Answer, index: int) -> str:
    """A class by its label, or by its index."""
    if answer.labels is None or not 0 <= index < len(answer.labels):
        return str(index)
    return printable(answer.labels[index])


def printed(grid: Grid) -> Grid:
    """The same for a terminal."""
    columns = [
        replace(column, header=printable(column.header), cells=list(map(printable, column.cells)))
        for column in grid.columns
    ]
    notes, verdict = list(map(printable, grid.notes)), printable(grid.verdict)
    return replace(grid, columns=columns, notes=notes, verdict=verdict)


def tuple_name(position: Sequence[int]) -> str:
    """A sample by its index, or by its indices."""
    return ", ".join(map(str, position))


def numbers(header: str, texts: Sequence[str], optional: bool = False) -> Column:
    """A column of numbers, their points one below the other."""
    return Column(header, "number", align(texts), optional=optional)


def formatted(values: NDArray[np.floating], digits: int) -> list[str]:
    """Numbers with that many digits after the point."""
    return [format_number(value, digits) for value in values.astype(np.float64).tolist()]


def as_typed(values: NDArray[np.floating], digits: int) -> list[str]:
    """Numbers as they were typed, where that is short."""
    return [format_typed(value, digits) for value in values.astype(np.float64).tolist()]


def bar(share: float, width: int = WIDEST_BAR) -> str:
    """A bar of up to width cells, in eighths of a cell; any share above zero is seen."""
    eighths = round(share * width * 8) if share == share else 0
    if share > 0.0:
        eighths = max(1, eighths)
    full, part = divmod(eighths, 8)
    return "█" * full + (EIGHTHS[part] if part else "")


def short(value: float) -> str:
    """An error: its size matters, not its digits."""
    if value == 0.0 or not math.isfinite(value):
        return format_number(value, 1)
    return f"{value:.1e}"
