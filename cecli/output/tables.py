"""Answers laid out as rows of text, before anything is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cecli.answer.answer import Answer, Head
from cecli.output.grid import (
    Column,
    Grid,
    as_typed,
    class_name,
    class_names,
    formatted,
    numbers,
    objective_text,
    short,
    tuple_name,
)
from cecli.problem.dtypes import Floats, Integers
from cecli.text.numbers import align, format_divisor, format_number, format_typed

if TYPE_CHECKING:
    from cecli.answer.summary import Sample, Summary
    from cecli.comparison.compare import Comparison
    from cecli.comparison.grade import Graded
    from cecli.comparison.mistake import Diagnosis
    from cecli.gradcheck.check import GradientCheck

MOST_CLASS_COLUMNS = 12
BAR_DIGITS = 3
UP_AND_DOWN = "up│down: where a step of gradient descent moves the logit"


def grids_of(answer: Answer, digits: int, top: int) -> list[Grid]:
    """The tables of an answer, in the order in which they are shown."""
    if answer.comparison is not None:
        return comparison_grids(answer, answer.comparison, digits, top)
    if not top:
        return _without_rows(answer, digits)
    if answer.head is not None:
        grids = [_batch_grid(answer, answer.head, digits)]
    else:
        grids = [_sample_grid(answer, digits, top)]
    if answer.summary is not None:
        grids += summary_grids(answer, digits)
    if answer.check is not None:
        grids.append(_check_grid(answer.check, answer, digits, top))
    return grids


def _without_rows(answer: Answer, digits: int) -> list[Grid]:
    """What stands below the tables, and the samples that were asked for."""
    grids, summary, check = (
        [Grid([], notes=_loss_notes(answer, digits))],
        answer.summary,
        answer.check,
    )
    if summary is not None and summary.worst_samples is not None:
        grids.append(_worst_grid(answer, summary.worst_samples, digits))
    if check is not None:
        whole = _check_grid(check, answer, digits, 1)
        grids.append(replace(whole, columns=[], stressed=frozenset(), notes=whole.notes[-1:]))
    return grids


def _sample_grid(answer: Answer, digits: int, top: int) -> Grid:
    """One sample: a row for each class."""
    problem, arrays = answer.problem, answer.arrays
    logits, target = problem.logits.astype(np.float64), problem.target
    soft = None if problem.indexed else target
    index = None if problem.index is None or not problem.kept[0] else int(problem.index[0])
    classes = _shown_classes(arrays["softmax"], index, top)
    columns = [
        Column("class", "text", class_names(answer, classes)),
        numbers("logit", [format_typed(z, digits) for z in logits[classes].tolist()]),
    ]
    if soft is not None:
        columns.append(numbers("target", as_typed(soft[classes], digits)))
    softmax = arrays["softmax"][classes].tolist()
    columns += [
        numbers("softmax", [format_number(p, digits) for p in softmax]),
        Column("", "bar", values=softmax),
    ]
    if answer.command != "grad":
        columns.append(numbers("log-softmax", formatted(arrays["log_softmax"][classes], digits)))
    if answer.command == "grad":
        grad = arrays["grad"][classes]
        columns += [
            numbers("∂L/∂z", formatted(grad, digits)),
            Column("up│down", "signed", values=_shares(grad, arrays["grad"])),
        ]
    stressed = frozenset(np.flatnonzero(classes == index).tolist() if index is not None else [])
    notes = _left_out(problem.classes - len(classes), "class", "classes")
    return Grid(columns, stressed, notes + _loss_notes(answer, digits), key=UP_AND_DOWN)


def _shares(grad: Floats, whole: Floats) -> list[float]:
    """Components over the largest of all; beside an infinite one nothing else is seen."""
    largest = float(np.abs(whole).max()) or 1.0
    if math.isfinite(largest):
        return [value / largest for value in grad.tolist()]
    return [math.copysign(1.0, value) if math.isinf(value) else 0.0 for value in grad.tolist()]


def _batch_grid(answer: Answer, head: Head, digits: int) -> Grid:
    """A batch: a row for each of its first samples, with the command's array where that fits."""
    found, count = head.predictions, len(head.kept)
    columns = [Column("sample", "text", [_sample_name(answer, row) for row in range(count)])]
    if head.target is not None:
        targets = [class_name(answer, index) for index in head.target.tolist()]
        columns.append(Column("target", "text", targets))
    predicted = [
        class_name(answer, index) if kept else ""
        for index, kept in zip(found.predicted.tolist(), head.kept.tolist(), strict=True)
    ]
    columns.append(Column("predicted", "text", predicted))
    columns.append(numbers("its ŷ", formatted(found.probability, digits)))
    if head.losses is not None:
        columns.append(numbers("loss", formatted(head.losses, digits)))
    if head.rows is not None:
        symbol = "ŷ" if answer.command == "softmax" else "∂L/∂z"
        columns += [
            numbers(f"{symbol} {class_name(answer, i)}", formatted(head.rows[:, i], digits), True)
            for i in range(head.rows.shape[1])
        ]
    notes = _left_out(answer.problem.samples - count, "sample", "samples")
    return Grid(columns, notes=notes + _loss_notes(answer, digits))


def summary_grids(answer: Answer, digits: int) -> list[Grid]:
    """How the losses of a batch are spread, and its worst samples, where either is known."""
    grids, summary = [], answer.summary
    if summary is not None and summary.histogram is not None:
        edges, counts = summary.histogram.edges, summary.histogram.counts
        texts = align([format_number(edge, min(digits, BAR_DIGITS)) for edge in edges])
        columns = [
            Column("loss from", "text", texts[:-1]),
            Column("to", "text", texts[1:]),
            numbers("samples", [f"{count:,}" for count in counts]),
            Column("", "bar", values=[count / max(counts) for count in counts]),
        ]
        grids.append(Grid(columns))
    if summary is not None and summary.worst_samples is not None:
        grids.append(_worst_grid(answer, summary.worst_samples, digits))
    return grids


def _worst_grid(answer: Answer, worst: Sequence[Sample], digits: int) -> Grid:
    columns = [Column("worst", "text", [tuple_name(sample.sample) for sample in worst])]
    with_target = [sample for sample in worst if sample.target is not None]
    if with_target:
        targets = [class_name(answer, int(sample.target or 0)) for sample in with_target]
        shares = [float(sample.target_probability or 0.0) for sample in with_target]
        columns.append(Column("target", "text", targets))
        columns.append(numbers("its ŷ", [format_number(share, digits) for share in shares]))
    predicted = [class_name(answer, sample.predicted) for sample in worst]
    columns += [
        Column("predicted", "text", predicted),
        numbers("its ŷ", [format_number(s.predicted_probability, digits) for s in worst]),
        numbers("loss", [format_number(sample.loss, digits) for sample in worst]),
    ]
    return Grid(columns)


def _check_grid(check: GradientCheck, answer: Answer, digits: int, top: int) -> Grid:
    """Analytic beside numeric beside their difference, the worst first where there are many."""
    shown: Integers = np.arange(check.checked)
    if check.checked > top:
        worst_first = -np.where(np.isnan(check.excess), np.inf, check.excess)
        shown = np.argsort(worst_first, kind="stable")[:top]
    axis = answer.problem.objective.axis
    columns = []
    if answer.problem.batch_shape:
        samples = np.delete(check.indices[shown], axis, axis=1).tolist()
        columns.append(Column("sample", "text", [tuple_name(sample) for sample in samples]))
    names = [class_name(answer, index) for index in check.indices[shown, axis].tolist()]
    columns += [
        Column("class", "text", names),
        numbers("analytic", formatted(check.analytic[shown], digits)),
        numbers("numeric", formatted(check.numeric[shown], digits)),
        numbers("difference", [short(value) for value in check.difference[shown].tolist()]),
        numbers("allowed", [short(value) for value in check.tolerance[shown].tolist()]),
    ]
    off = ~(check.excess <= 1.0)
    stressed = frozenset(np.flatnonzero(off[shown]).tolist())
    notes = [_errors_text(check)]
    if len(shown) < check.checked:
        notes.insert(0, f"above: the {len(shown):,} worst of {check.checked:,}")
    loose = int((check.tolerance >= np.abs(check.numeric)).sum())
    if loose and check.method != "decimal":
        notes.append(f"proves nothing for {loose:,} of them, which its error bound exceeds")
    return Grid(columns, stressed, notes, _verdict(check, int(off.sum())), check.passed)


def _verdict(check: GradientCheck, off: int) -> str:
    how = {
        "decimal": "central differences, decimal",
        "central": "central differences, float64",
        "forward": "forward differences, float64",
    }[check.method]
    verdict = "check passed" if check.passed else "CHECK FAILED"
    agree = f"{check.checked - off:,} of {check.checked:,} components agree"
    return f"{verdict}: {agree} ({how}, h = {check.step:g})"


def _errors_text(check: GradientCheck) -> str:
    sample = "" if check.seed is None else f", a sample drawn with seed {check.seed}"
    errors = f"{short(check.max_abs_error)}, relative {short(check.max_rel_error)}"
    return f"checked {check.checked:,} of {check.total:,}{sample}; largest error {errors}"


def _loss_notes(answer: Answer, digits: int) -> list[str]:
    """The loss, what it was reduced by, and whatever is not at its default."""
    problem, tally, objective = answer.problem, answer.tally, answer.problem.objective
    notes = []
    if tally is not None:
        if answer.divisor is None:
            if answer.loss is not None:
                notes.append(f"loss  {format_number(answer.loss, digits)}")
            if answer.command == "grad":
                notes.append("reduction none: the gradient is that of the losses' sum")
        else:
            notes.append(f"loss  {_loss_text(answer, digits)}")
        if answer.kl is not None:
            over = f", the mean over {_samples(answer)}" if problem.batch_shape else ""
            notes.append(f"KL(q‖ŷ)  {format_number(answer.kl, digits)}{over}")
        if tally.masked:
            notes.append("the loss is infinite: a masked class carries target mass")
        elif tally.infinite is not None:
            whose = "the loss" if answer.loss == math.inf else "the loss of a sample"
            notes.append(f"{whose} is larger than the largest double")
    if answer.summary is not None and answer.summary.perplexity is not None:
        notes.append(_summary_text(answer.summary, answer.summary.perplexity, digits))
    ignored = problem.samples - problem.kept_count
    if ignored:
        notes.append(f"{ignored:,} of {problem.samples:,} samples ignored")
    options = objective_text(objective)
    return notes + ([f"with {options}"] if options else [])


def _summary_text(summary: Summary, perplexity: float, digits: int) -> str:
    text = f"perplexity {format_typed(perplexity, digits)}"
    if summary.bits is not None:
        text += f", {format_number(summary.bits, digits)} bits"
    if summary.accuracy is not None:
        text += f", accuracy {summary.accuracy:.2%}"
    if summary.top5_accuracy is not None:
        text += f", top 5 {summary.top5_accuracy:.2%}"
    return text


def _loss_text(answer: Answer, digits: int) -> str:
    problem, divided_by = answer.problem, answer.divisor
    if divided_by is None or answer.loss is None:
        return ""
    value = format_number(answer.loss, digits)
    objective = problem.objective
    reduction, of_samples = objective.reduction, problem.sample_weight is not None
    weighted = of_samples or problem.weight is not None
    if not problem.batch_shape and not weighted and objective.divisor is None:
        plain = problem.indexed and not problem.objective.label_smoothing
        formula = "−Σ y_i log ŷ_i"
        if plain:
            formula = f"−log ŷ_{class_name(answer, int(problem.target_rows[0]))}"
        return f"L = {formula} = {value}" if not problem.objective.z_loss else f"L = {value}"
    divisor = format_divisor(divided_by, digits)
    if reduction == "sum":
        return f"{value}, the sum over {_samples(answer)}"
    by = f"Σ weight = {divisor}" if of_samples or (weighted and problem.indexed) else divisor
    if objective.divisor is not None:
        by = f"{divisor}, as --divisor says"
    text = f"{value}, the mean over {_samples(answer)}: Σ loss / {by}"
    divides_weight_out = objective.divisor is None and (of_samples or problem.indexed)
    if not problem.batch_shape and divides_weight_out:
        text += ", which divides the weight out again"
    if answer.z_loss_divisor is not None:
        text += f" (z-loss / {format_divisor(answer.z_loss_divisor, digits)})"
    return text


def _samples(answer: Answer) -> str:
    count = answer.problem.kept_count
    return f"{count:,} sample{'s' if count != 1 else ''}"


def _shown_classes(softmax: NDArray[np.floating], target: int | None, top: int) -> Integers:
    """All classes where they are few, else the most probable ones and the target."""
    if len(softmax) <= top:
        return np.arange(len(softmax))
    shown = np.argsort(-softmax, kind="stable")[:top]
    if target is not None and target not in shown:
        shown[-1] = target
    return shown


def _left_out(count: int, singular: str, plural: str) -> list[str]:
    if not count:
        return []
    return [f"… and {count:,} more {singular if count == 1 else plural} (--top shows more)"]


def _sample_name(answer: Answer, row: int) -> str:
    return tuple_name([int(i) for i in np.unravel_index(row, answer.problem.batch_shape)])


# --- Comparisons ----------------------------------------------------------------------------------


def comparison_grids(answer: Answer, comparison: Comparison, digits: int, top: int) -> list[Grid]:
    """A line for what is right; of what is not, a table and what explains the errors."""
    found = {"gradient": comparison.grad, "loss": comparison.loss}
    grids = []
    for name, graded in found.items():
        if graded is not None:
            grid = Grid([], verdict=_judged_verdict(name, graded), notes=[_judged_errors(graded)])
            if not graded.passed:
                grid = _judged_grid(answer, name, graded, digits, top)
            elif name == "gradient" and not comparison.passed and comparison.grade == "wrong":
                grid = _turned_back(comparison, grid)
            grids.append(grid)
    options = objective_text(answer.problem.objective)
    if options:
        grids[-1].notes.append(f"with {options}")
    if comparison.passed:
        return [Grid([], verdict="; ".join([g.verdict, *g.notes])) for g in grids]
    return [*grids, _explanations(comparison)]


def _turned_back(comparison: Comparison, grid: Grid) -> Grid:
    """A gradient that is right but for its shape."""
    if all(found.id != "transposed" for found in comparison.diagnosis):
        return grid
    name, _, rest = grid.verdict.partition(": ")
    verdict = f"{name.partition(' ')[0]} WRONG: transposed; turned back, {rest}"
    return replace(grid, verdict=verdict, passed=False)


def _judged_grid(answer: Answer, name: str, graded: Graded, digits: int, top: int) -> Grid:
    """Yours beside the exact value: all numbers in order, or the worst of many."""
    shown = graded.shown if len(graded.shown.place) <= top else graded.shown.worst(top)
    columns = [
        *_places(answer, name, graded, shown.place),
        numbers("yours", formatted(shown.candidate, digits)),
        numbers("exact", formatted(shown.right, digits)),
        numbers("difference", [short(value) for value in shown.difference.tolist()]),
        numbers("allowed", [short(value) for value in shown.allowed.tolist()]),
    ]
    notes = [_judged_errors(graded)]
    if name == "gradient":
        notes[0] += f"; worst at {_component_name(answer, graded.worst)}"
    if not len(shown.place):
        columns = []
    elif graded.total > len(shown.place):
        notes.append(f"above: the {len(shown.place):,} worst of {graded.total:,}")
    off = frozenset(np.flatnonzero(~(shown.excess <= 1.0)).tolist())
    return Grid(columns, off, notes, _judged_verdict(name, graded), False, mark="off")


def _places(answer: Answer, name: str, graded: Graded, place: Integers) -> list[Column]:
    """The columns that say which numbers these are."""
    problem, columns = answer.problem, []
    rows, classes = place, None
    if name == "gradient":
        rows, classes = np.divmod(place, problem.classes)
    if problem.batch_shape and (classes is not None or graded.worst):
        samples = np.stack(np.unravel_index(rows, problem.batch_shape), axis=1)
        columns.append(Column("sample", "text", [tuple_name(s) for s in samples.tolist()]))
    if classes is not None:
        columns.append(Column("class", "text", [class_name(answer, i) for i in classes.tolist()]))
    return columns or [Column("", "text", ["loss"])]


def _judged_verdict(name: str, graded: Graded) -> str:
    judged = f"as {graded.precision}"
    if graded.precision == "typed":
        judged = "by the digits typed" if graded.by_digits else "as typed, exactly"
    off = f"{graded.off:,} of {graded.total:,} components off, " if graded.total > 1 else ""
    word = graded.grade if graded.passed else graded.grade.upper()
    return f"{name} {word}: {off}judged {judged}"


def _judged_errors(graded: Graded) -> str:
    unit = "units of the last digit" if graded.by_digits else "ulps"
    errors = f"{short(graded.max_abs_error)}, relative {short(graded.max_rel_error)}"
    return f"largest error {errors}, {short(graded.max_ulp_error)} {unit}"


def _component_name(answer: Answer, worst: tuple[int, ...]) -> str:
    axis = answer.problem.objective.axis % len(worst)
    name = f"class {class_name(answer, worst[axis])}"
    samples = [index for place, index in enumerate(worst) if place != axis]
    return name + (f" of sample {tuple_name(samples)}" if samples else "")


def _explanations(comparison: Comparison) -> Grid:
    """What went wrong, how to mend it and how closely that fits; or what the errors are like."""
    diagnosis, grad, loss = comparison.diagnosis, comparison.grad, comparison.loss
    notes = [line for found in diagnosis for line in _explained(found)]
    notes += dict.fromkeys(found.reason for found in diagnosis if found.reason is not None)
    ids = list(dict.fromkeys(found.id for found in diagnosis))
    if grad is not None and comparison.description:
        notes += ["no known mistake explains the gradient:"]
        notes += [f"  {line}" for line in comparison.description]
    loss_explained = any(found.of == "loss" for found in diagnosis)
    if loss is not None and not loss.passed and not loss_explained:
        notes.append("no known mistake explains the loss")
    verdict = f"{comparison.grade.upper()}: {', '.join(ids) or 'unexplained'}"
    return Grid([], notes=notes, verdict=verdict, passed=False)


def _explained(diagnosis: Diagnosis) -> list[str]:
    subject = "" if diagnosis.of == "grad" else " (loss)"
    whole = "component" if diagnosis.of == "grad" else "loss"
    fit = f"to {short(diagnosis.fit)} of the largest {whole}" if diagnosis.fit else "exactly"
    return [
        f"{diagnosis.id}{subject}: {diagnosis.explanation}",
        f"  {diagnosis.remedy}",
        f"  fits {fit}",
    ]
