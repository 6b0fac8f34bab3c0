"""Results as strict JSON, and as files.

The document is described in cecli-json(5) and in cecli.schema.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cecli.answer.answer import Answer
from cecli.problem.objective import Objective
from cecli.text.strict_json import plain_value

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


def document_of(answer: Answer, arrays: bool | None = None) -> dict[str, Any]:
    """The JSON document of an answer: plain values, non-finite numbers as strings.

    arrays: True keeps all arrays, False leaves them out, None leaves them out where they hold more
    than MOST_NUMBERS numbers together; "omitted" then names them.
    """
    problem = answer.problem
    whole, rows = prod(problem.shape), problem.samples
    document: dict[str, Any] = {"schema": SCHEMA, "command": answer.command}
    found: dict[str, Any] = {"logits": _Array(whole, lambda: problem.logits)}
    if problem.has_target:
        name = "target" if problem.indexed else "soft_target"
        size = rows if problem.indexed else whole
        given = _Array(size, lambda: problem.target)
        found[name] = given if problem.batch_shape or not problem.indexed else problem.target
    weights = problem.sample_weight
    if weights is not None:
        found["sample_weight"] = _Array(rows, lambda: weights.reshape(problem.batch_shape))
    found["softmax"] = _Array(whole, lambda: answer.softmax)
    found["log_softmax"] = _Array(whole, lambda: answer.log_softmax)
    if answer.labels is not None:
        document["labels"] = list(answer.labels)
    objective = _objective(problem.objective)
    if objective:
        document["objective"] = objective
    if answer.exact:
        document["exact"] = True
    if answer.totals is not None:
        losses = _Array(rows, lambda: answer.result.losses)
        per_sample = answer.divisor is None and problem.batch_shape
        found["loss"] = losses if per_sample else answer.loss
        if problem.batch_shape:
            found["losses"] = losses
        if problem.batch_shape or answer.divisor != 1.0:
            found["reduction"], found["divisor"] = problem.objective.reduction, answer.divisor
            if problem.objective.z_loss:
                found["z_loss_divisor"] = answer.z_loss_divisor
        if answer.summary is not None:
            found |= _summary(answer.summary)
        if answer.command in ("grad", "explain", "compare"):
            found["grad"] = _Array(whole, lambda: answer.result.grad)
    document |= _with_arrays(found, arrays)
    document |= _proof(answer, lists="omitted" not in document)
    return {name: plain_value(value) for name, value in document.items()}


class _Array(NamedTuple):
    """An array that is made when it is known to be printed."""

    size: int
    make: Callable[[], Any]


def _with_arrays(found: dict[str, Any], arrays: bool | None) -> dict[str, Any]:
    sizes = {
        name: value.size
        for name, value in found.items()
        if isinstance(value, _Array) or (isinstance(value, np.ndarray) and value.ndim > 0)
    }
    if arrays or (arrays is None and sum(sizes.values()) <= MOST_NUMBERS):
        return {
            name: value.make() if isinstance(value, _Array) else value
            for name, value in found.items()
        }
    kept = {name: value for name, value in found.items() if name not in sizes}
    return {**kept, "omitted": list(sizes)}


def to_json(document: Mapping[str, Any], *, ascii_only: bool = False) -> str:
    """One line of RFC 8259 JSON; every number is the shortest text that reads back to it."""
    return json.dumps(document, ensure_ascii=ascii_only, allow_nan=False)


def _objective(objective: Objective) -> dict[str, Any]:
    """The options that are not at their default."""
    default, given = vars(Objective()), vars(objective)
    changed = {name: value for name, value in given.items() if value is not default[name]}
    changed.pop("sample_weight", None)  # which is an array of the document itself
    if "weight" in changed:
        changed["weight"] = np.asarray(changed["weight"], dtype=np.float64)
    return {
        name: value for name, value in changed.items() if name == "weight" or value != default[name]
    }


def _summary(summary: Summary) -> dict[str, Any]:
    found = {name: value for name, value in vars(summary).items() if value is not None}
    if summary.histogram is not None:
        found["histogram"] = vars(summary.histogram)
    if summary.worst_samples is not None:
        found["worst_samples"] = [_sample(sample) for sample in summary.worst_samples]
    return found


def _sample(sample: Sample) -> dict[str, Any]:
    """A sample of a batch with one dimension is told by its number, else by its indices."""
    found = {name: value for name, value in vars(sample).items() if value is not None}
    return found | ({"sample": sample.sample[0]} if len(sample.sample) == 1 else {})


def _check(check: GradientCheck) -> dict[str, Any]:
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


def _proof(answer: Answer, *, lists: bool) -> dict[str, Any]:
    """The check, the derivation and the comparison, where there is one."""
    proof: dict[str, Any] = {}
    if answer.check is not None:
        proof["check"] = _check(answer.check)
    if answer.derivation is not None:
        proof |= _steps(answer.derivation, lists=lists)
    if answer.comparison is not None:
        proof |= _comparison(answer.comparison)
    return proof


def _steps(derivation: Derivation, *, lists: bool) -> dict[str, Any]:
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


def _comparison(comparison: Comparison) -> dict[str, Any]:
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


def _figures(graded: Graded) -> dict[str, Any]:
    names = ("grade", "precision", "max_abs_error", "max_rel_error", "max_ulp_error")
    return {name: getattr(graded, name) for name in (*names, "worst", "off", "total")}


# --- Verdicts -------------------------------------------------------------------------------------


def document_of_report(report: Report, subject: Subject) -> dict[str, Any]:
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
    found: dict[str, Any] = plain_value(document)
    return found


def document_of_cases(cases: Sequence[Case]) -> dict[str, Any]:
    """The cases alone, with nothing run."""
    return {**_verify_head(), "cases": [_case(case) for case in cases]}


def _verify_head() -> dict[str, Any]:
    from cecli.conformance.model import SUITE

    return {"schema": SCHEMA, "command": "verify", "suite": SUITE}


def _totals_of(totals: FamilyTotals) -> dict[str, Any]:
    from cecli.conformance.model import OUTCOMES

    counts = {outcome: totals.counts.get(outcome, 0) for outcome in OUTCOMES}
    error = {} if totals.max_ulp_error is None else {"max_ulp_error": totals.max_ulp_error}
    return {"passed": totals.passed, "ran": totals.ran, "counts": counts, **error}


def _case(case: Case) -> dict[str, Any]:
    source = {} if case.source is None else {"source": case.source}
    about = {"name": case.name, "family": case.family, "reason": case.reason, **source}
    return {**about, "features": sorted(case.features)}


def _judged(judged: Judged) -> dict[str, Any]:
    """The document's word for a candidate is given."""
    renamed = {"candidate": "given"}
    return {renamed.get(name, name): value for name, value in vars(judged).items()}


def _verdict(verdict: Verdict, report: Report) -> dict[str, Any]:
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
