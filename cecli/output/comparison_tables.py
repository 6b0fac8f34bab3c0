"""Comparisons laid out as rows of text: the worst components, the verdict, and the diagnosis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cecli.answer.answer import Answer
from cecli.output.cells import (
    Column,
    Grid,
    class_name,
    formatted,
    numbers,
    objective_text,
    short,
    tuple_name,
)
from cecli.problem.dtypes import Integers

if TYPE_CHECKING:
    from cecli.comparison.compare import Comparison
    from cecli.comparison.grade import Graded
    from cecli.comparison.search import Diagnosis


def comparison_grids(answer: Answer, comparison: Comparison, digits: int, top: int) -> list[Grid]:
    """A table each of gradient and loss, where they were given, and what explains the errors."""
    grids = []
    if comparison.grad is not None:
        grids.append(_gradient_grid(answer, comparison.grad, digits, top))
    if comparison.loss is not None:
        grids.append(_loss_grid(answer, comparison.loss, digits, top))
    options = objective_text(answer.problem.objective)
    if options:
        grids[0].notes.append(f"with {options}")
    if not comparison.passed:
        grids.append(Grid([], notes=_explanations(comparison)))
    return grids


def _gradient_grid(answer: Answer, graded: Graded, digits: int, top: int) -> Grid:
    """Yours beside the exact value: all components in order, or the worst of many."""
    shown = _worst(graded, top)
    rows, classes = np.unravel_index(shown, graded.exact.shape)
    columns = []
    if answer.problem.batch_shape:
        samples = np.stack(np.unravel_index(rows, answer.problem.batch_shape), axis=1)
        columns.append(Column("sample", "text", [tuple_name(s) for s in samples.tolist()]))
    columns.append(Column("class", "text", [class_name(answer, i) for i in classes.tolist()]))
    grid = _grid("gradient", columns, graded, shown, digits)
    grid.notes[0] += f"; worst at {_place(answer, graded.worst)}"
    return grid


def _loss_grid(answer: Answer, graded: Graded, digits: int, top: int) -> Grid:
    shown = _worst(graded, top)
    columns = [Column("", "text", ["loss"])]
    if graded.exact.ndim:
        samples = np.stack(np.unravel_index(shown, graded.exact.shape), axis=1)
        columns = [Column("sample", "text", [tuple_name(s) for s in samples.tolist()])]
    return _grid("loss", columns, graded, shown, digits)


def _worst(graded: Graded, top: int) -> Integers:
    """Positions of all numbers where they are few, else of those furthest off."""
    if graded.total <= top:
        return np.arange(graded.total)
    excess = graded.excess.reshape(-1)
    return np.argsort(-excess, kind="stable")[:top]


def _grid(name: str, columns: list[Column], graded: Graded, shown: Integers, digits: int) -> Grid:
    yours, exact, difference, allowed, excess = (
        array.reshape(-1)[shown]
        for array in (
            graded.given,
            graded.exact,
            graded.difference,
            graded.allowed,
            graded.excess,
        )
    )
    columns = [
        *columns,
        numbers("yours", formatted(yours, digits)),
        numbers("exact", formatted(exact, digits)),
        numbers("difference", [short(value) for value in difference.tolist()]),
        numbers("allowed", [short(value) for value in allowed.tolist()]),
    ]
    hidden = graded.total - len(shown)
    notes = [_errors(graded)]
    if hidden:
        notes.append(f"above: the {len(shown):,} worst of {graded.total:,}")
    stressed = frozenset(np.flatnonzero(~(excess <= 1.0)).tolist())
    return Grid(columns, stressed, notes, _verdict(name, graded), graded.passed)


def _verdict(name: str, graded: Graded) -> str:
    judged = f"as {graded.precision}"
    if graded.precision == "typed":
        judged = "by the digits typed" if graded.by_digits else "as typed, exactly"
    off = f"{graded.off:,} of {graded.total:,} components off, " if graded.total > 1 else ""
    word = graded.grade if graded.passed else graded.grade.upper()
    return f"{name} {word}: {off}judged {judged}"


def _errors(graded: Graded) -> str:
    unit = "units of the last digit" if graded.by_digits else "ulps"
    errors = f"{short(graded.max_abs_error)}, relative {short(graded.max_rel_error)}"
    return f"largest error {errors}, {short(graded.max_ulp_error)} {unit}"


def _place(answer: Answer, worst: tuple[int, ...]) -> str:
    axis = answer.problem.objective.axis % len(worst)
    name = f"class {class_name(answer, worst[axis])}"
    samples = [index for place, index in enumerate(worst) if place != axis]
    return name + (f" of sample {tuple_name(samples)}" if samples else "")


def _explanations(comparison: Comparison) -> list[str]:
    """What went wrong, how to mend it and how closely that fits; or what the errors are like."""
    diagnosis, grad, loss = comparison.diagnosis, comparison.grad, comparison.loss
    notes = [line for found in diagnosis for line in _explained(found)]
    notes += dict.fromkeys(found.reason for found in diagnosis if found.reason is not None)
    if grad is not None and comparison.description:
        notes += ["no known mistake explains the gradient:", *comparison.description]
    loss_explained = any(found.of == "loss" for found in diagnosis)
    if loss is not None and not loss.passed and not loss_explained:
        notes.append("no known mistake explains the loss")
    return notes


def _explained(diagnosis: Diagnosis) -> list[str]:
    subject = "" if diagnosis.of == "grad" else " (loss)"
    fit = f"to {short(diagnosis.fit)} of the largest component" if diagnosis.fit else "exactly"
    return [
        f"{diagnosis.id}{subject}: {diagnosis.explanation}",
        f"  {diagnosis.remedy}",
        f"  fits {fit}",
    ]
