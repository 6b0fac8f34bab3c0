"""Results as strict JSON, and as files.

The document is described in cecli-json(5) and in cecli.schema.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from cecli.answer.answer import Answer, ArrayName, Command
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem
from cecli.text.messages import escaped_json
from cecli.text.strict_json import JSONObject, plain_value

if TYPE_CHECKING:
    from cecli.answer.summary import Sample, Summary
    from cecli.comparison.compare import Comparison
    from cecli.comparison.grade import Graded
    from cecli.conformance.api import Subject
    from cecli.conformance.judge import Judged
    from cecli.conformance.model import Case, Verdict
    from cecli.conformance.report import FamilyTotals, Report
    from cecli.derivation.model import Derivation
    from cecli.gradcheck.check import GradientCheck

SCHEMA = 1
MOST_NUMBERS = 100_000
WITH_GRADIENT: tuple[Command, ...] = ("grad", "explain", "compare")


def document_of(answer: Answer, arrays: bool | None = None) -> JSONObject:
    """The JSON document of an answer: plain values, non-finite numbers as strings.

    arrays: as in `shows_arrays`; "omitted" names those that are left out.
    """
    problem = answer.problem
    sizes = _array_sizes(answer.command, problem)
    shown = shows_arrays(answer.command, problem, arrays)
    document: JSONObject = {"schema": SCHEMA, "command": answer.command}
    if not problem.samples:
        document["shape"] = list(problem.shape)  # which lists without numbers do not tell
    found: JSONObject = {"logits": problem.logits if shown else None}
    if problem.has_target:
        name = "target" if problem.indexed else "soft_target"
        found[name] = problem.target if shown or name not in sizes else None
    weights = problem.sample_weight
    if weights is not None:
        found["sample_weight"] = weights.reshape(problem.batch_shape)
    held = {name: answer.arrays[name] if shown else None for name in arrays_of(answer.command)}
    if not problem.batch_shape:  # a single number is no array that could be left out
        held["log_sum_exp"] = answer.arrays["log_sum_exp"]
    found |= {name: held[name] for name in ("softmax", "log_softmax", "log_sum_exp")}
    if answer.labels is not None:
        document["labels"] = list(answer.labels)
    objective = _objective(problem.objective)
    if objective:
        document["objective"] = objective
    if answer.exact:
        document["exact"] = True
    if answer.tally is not None:
        found |= _of_losses(answer, held, sizes)
    document |= {name: value for name, value in found.items() if shown or name not in sizes}
    if not shown:
        document["omitted"] = list(sizes)
    document |= _proof(answer, lists=shown)
    return {name: plain_value(value) for name, value in document.items()}


def _of_losses(
    answer: Answer, held: Mapping[ArrayName, Any], sizes: Mapping[str, int]
) -> JSONObject:
    """The losses and what follows from them; held: the arrays, each None where none are shown."""
    batch = answer.problem.batch_shape
    found: JSONObject = {"loss": held["losses"] if "loss" in sizes else answer.loss}
    if answer.kl is not None:
        found["kl"] = answer.kl
    if batch:
        found["losses"] = held["losses"]
    if batch or answer.divisor != 1.0:
        found["reduction"], found["divisor"] = answer.problem.objective.reduction, answer.divisor
        if answer.problem.objective.z_loss:
            found["z_loss_divisor"] = answer.z_loss_divisor
    if answer.summary is not None:
        found |= _summary(answer.summary)
    if "grad" in sizes:
        found["grad"] = held["grad"]
    return found


def shows_arrays(command: Command, problem: Problem, arrays: bool | None) -> bool:
    """Whether a document has all its arrays.

    arrays: True keeps them, False leaves them out, None leaves them out where they hold more than
    MOST_NUMBERS numbers together.
    """
    if arrays is not None:
        return arrays
    return sum(_array_sizes(command, problem).values()) <= MOST_NUMBERS


def arrays_of(command: Command) -> frozenset[ArrayName]:
    """The arrays of a document that are computed."""
    names: set[ArrayName] = {"softmax", "log_softmax", "log_sum_exp"}
    names |= set() if command == "softmax" else {"losses"}
    names |= {"grad"} if command in WITH_GRADIENT else set()
    return frozenset(names)


def _array_sizes(command: Command, problem: Problem) -> dict[str, int]:
    """The arrays of a document, in their order, and how many numbers each has."""
    whole, samples = prod(problem.shape), problem.samples
    sizes = {"logits": whole}
    if problem.has_target and (problem.batch_shape or not problem.indexed):
        sizes["target" if problem.indexed else "soft_target"] = (
            samples if problem.indexed else whole
        )
    if problem.batch_shape and problem.sample_weight is not None:
        sizes["sample_weight"] = samples
    sizes |= {"softmax": whole, "log_softmax": whole}
    if problem.batch_shape:
        sizes["log_sum_exp"] = samples
    if command != "softmax" and problem.batch_shape:
        if problem.objective.reduction == "none":
            sizes["loss"] = samples
        sizes["losses"] = samples
    if command in WITH_GRADIENT:
        sizes["grad"] = whole
    return sizes


def to_json(document: Mapping[str, object], *, ascii_only: bool = False) -> str:
    """One line of RFC 8259 JSON; every number is the shortest text that reads back to it."""
    return escaped_json(json.dumps(document, ensure_ascii=ascii_only, allow_nan=False))


def _objective(objective: Objective) -> JSONObject:
    """The options that are not at their default."""
    default, given = vars(Objective()), vars(objective)
    changed = {name: value for name, value in given.items() if value is not default[name]}
    changed.pop("sample_weight", None)  # which is an array of the document itself
    if "weight" in changed:
        changed["weight"] = np.asarray(changed["weight"], dtype=np.float64)
    return {
        name: value for name, value in changed.items() if name == "weight" or value != default[name]
    }


def _summary(summary: Summary) -> JSONObject:
    found = {name: value for name, value in vars(summary).items() if value is not None}
    if summary.histogram is not None:
        found["histogram"] = vars(summary.histogram)
    if summary.worst_samples is not None:
        found["worst_samples"] = [_sample(sample) for sample in summary.worst_samples]
    return found


def _sample(sample: Sample) -> JSONObject:
    """A sample of a batch with one dimension is told by its number, else by its indices."""
    found = {name: value for name, value in vars(sample).items() if value is not None}
    return found | ({"sample": sample.sample[0]} if len(sample.sample) == 1 else {})


def _check(check: GradientCheck) -> JSONObject:
    values = {
        "passed": check.passed,
        "method": check.method,
        "step": check.step,
        "max_abs_error": check.max_abs_error,
        "max_rel_error": check.max_rel_error,
        "worst": check.worst,
        "checked": check.checked,
        "total": check.total,
    }
    return values if check.seed is None else {**values, "seed": check.seed}


def _proof(answer: Answer, *, lists: bool) -> JSONObject:
    """The check, the derivation and the comparison, where there is one."""
    proof: JSONObject = {}
    if answer.check is not None:
        proof["check"] = _check(answer.check)
    if answer.derivation is not None:
        proof |= _steps(answer.derivation, lists=lists)
    if answer.comparison is not None:
        proof |= _comparison(answer.comparison)
    return proof


def _steps(derivation: Derivation, *, lists: bool) -> JSONObject:
    """The steps as text in Unicode; values that are lists only where lists are wanted."""
    from cecli.derivation.notation import plain, plain_prose

    steps = [
        {
            "id": step.id,
            "title": plain_prose(step.title),
            "text": [plain_prose(text) for text in (*step.text, *step.remark)],
            "formula": [plain(line) for line in step.formula],
            "substitution": [plain(line) for line in step.substitution],
            "values": {
                name: value
                for name, value in step.values.items()
                if lists or not isinstance(value, list)
            },
        }
        for step in derivation.steps
    ]
    sample = {} if derivation.sample is None else {"sample": derivation.sample}
    return {**sample, "steps": steps}


def _comparison(comparison: Comparison) -> JSONObject:
    judged = {"grad": comparison.grad, "loss": comparison.loss}
    values = {
        "passed": comparison.passed,
        **_figures(comparison.figures),
        "grade": comparison.grade,
        "judged": {name: _figures(graded) for name, graded in judged.items() if graded is not None},
        "diagnosis": [
            {name: value for name, value in vars(diagnosis).items() if value is not None}
            for diagnosis in comparison.diagnosis
        ],
    }
    if comparison.description:
        values["description"] = list(comparison.description)
    return values if comparison.rtol is None else {**values, "rtol": comparison.rtol}


def _figures(graded: Graded) -> JSONObject:
    names = ("grade", "precision", "max_abs_error", "max_rel_error", "max_ulp_error")
    return {name: getattr(graded, name) for name in (*names, "worst", "off", "total")}


# --- Verdicts -------------------------------------------------------------------------------------


def document_of_report(report: Report, subject: Subject) -> JSONObject:
    """What an implementation was asked, what it runs on, and how each case went."""
    asked = {"dtype": subject.dtype, "device": subject.device}
    document = {
        **_verify_head(),
        "implementation": report.implementation,
        "kind": subject.kind,
        "versions": subject.versions,
        **{name: value for name, value in asked.items() if value is not None},
        "strict": report.strict,
        "passed": report.passed,
        "totals": _totals_of(report.totals),
        **({"notes": list(report.notes)} if report.notes else {}),
        "families": [{"family": t.family, **_totals_of(t)} for t in report.families],
        "cases": [_verdict(verdict, report) for verdict in report.verdicts],
    }
    found: JSONObject = plain_value(document)
    return found


def document_of_cases(cases: Sequence[Case]) -> JSONObject:
    """The cases alone, with nothing run."""
    return {**_verify_head(), "cases": [_case(case) for case in cases]}


def _verify_head() -> JSONObject:
    from cecli.conformance.model import SUITE

    return {"schema": SCHEMA, "command": "verify", "suite": SUITE}


def _totals_of(totals: FamilyTotals) -> JSONObject:
    from cecli.conformance.model import OUTCOMES

    counts = {outcome: totals.counts.get(outcome, 0) for outcome in OUTCOMES}
    error = {} if totals.max_ulp_error is None else {"max_ulp_error": totals.max_ulp_error}
    return {"passed": totals.passed, "ran": totals.ran, "counts": counts, **error}


def _case(case: Case) -> JSONObject:
    source = {} if case.source is None else {"source": case.source}
    about = {"name": case.name, "family": case.family, "reason": case.reason, **source}
    return {**about, "features": sorted(case.features)}


def _judged(judged: Judged) -> JSONObject:
    """The document's word for a candidate is given."""
    renamed = {"candidate": "given"}
    return {renamed.get(name, name): value for name, value in vars(judged).items()}


def _verdict(verdict: Verdict, report: Report) -> JSONObject:
    found = {
        "fault": verdict.reason,
        "digits": verdict.digits,
        "max_ulp_error": verdict.max_ulp_error,
    }
    judged = {name: getattr(verdict, name) for name in ("grad", "loss")}
    figures = {name: _judged(found) for name, found in judged.items() if found is not None}
    return {
        **_case(verdict.case),
        "outcome": verdict.outcome,
        "passed": verdict.passed(report.strict),
        **({} if report.baseline is None else {"known": report.is_known(verdict)}),
        **{name: value for name, value in found.items() if value is not None},
        **({"judged": figures} if figures else {}),
        "diagnosis": [
            {name: value for name, value in vars(diagnosis).items() if value is not None}
            for diagnosis in verdict.diagnosis
        ],
        "seconds": verdict.seconds,
    }


# --- Files ----------------------------------------------------------------------------------------


def write_lines(path: str, lines: Iterable[str]) -> None:
    """Lines as UTF-8, one after another."""
    from cecli.output.files.atomic import atomic_write

    with atomic_write(path) as file:
        for line in lines:
            file.write(line.encode())


def write_text(path: str, text: str) -> None:
    """A text as UTF-8, with a newline at its end."""
    from cecli.output.files.atomic import atomic_write

    with atomic_write(path) as file:
        file.write((text.rstrip("\n") + "\n").encode())
