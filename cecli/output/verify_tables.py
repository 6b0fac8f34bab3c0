"""Verdicts laid out as rows of text: the families, the cases, and what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cecli.conformance.model import OUTCOMES, SUITE, Case, Outcome, Verdict
from cecli.conformance.report import Report
from cecli.output.grid import Column, Grid, numbers, short
from cecli.text.numbers import format_number, format_typed

if TYPE_CHECKING:
    from cecli.conformance.api import Subject

MOST_REASONS = 5
LARGEST_PLAIN = 1000.0
UNFIT = "what is not supported and the worst errors do not fit: --json shows them"
HEADERS: Mapping[Outcome, str] = {"not supported": "unsupported"}


def report_grids(report: Report, subject: Subject, *, verbose: bool) -> list[Grid]:
    """The families with the verdict below; before them, if that is asked for, the cases."""
    families = _family_grid(report, subject, verbose=verbose)
    return [_case_grid(report), families] if verbose else [families]


def list_grid(cases: Sequence[Case]) -> Grid:
    """The cases, what each needs, and why it is there."""
    return Grid(
        [
            Column("case", "text", [case.name for case in cases]),
            Column("needs", "text", [", ".join(sorted(case.features)) for case in cases]),
            Column("reason", "text", [case.reason for case in cases]),
            Column("source", "text", [case.source or "" for case in cases]),
        ]
    )


def _family_grid(report: Report, subject: Subject, *, verbose: bool) -> Grid:
    families, strict = report.families, OUTCOMES.index(report.strict)
    columns = [
        Column("family", "text", [family.family for family in families]),
        numbers("passed", [f"{f.passed}/{f.ran}" if f.ran else "" for f in families]),
    ]
    for outcome in OUTCOMES[strict + 1 :]:
        counts = [family.counts.get(outcome, 0) for family in families]
        if any(counts):
            texts = [str(count) if count else "" for count in counts]
            name = HEADERS.get(outcome, outcome)
            columns.append(numbers(name, texts, optional=outcome == "not supported"))
    errors = [_ulps(family.max_ulp_error) for family in families]
    columns.append(numbers("worst, ulps", errors, optional=True))
    stressed = [place for place, family in enumerate(families) if family.passed < family.ran]
    notes = [_counts_text(report), *_reasons(report)]
    if report.failures and not verbose:
        notes.append("--verbose shows each case, and why it does not pass")
    versions = [f"{name} {number}" for name, number in subject.versions.items()]
    notes.append(f"suite {SUITE} of {', '.join(versions)}")
    verdict = _verdict(report)
    return Grid(columns, frozenset(stressed), notes, verdict, report.passed, UNFIT)


def _verdict(report: Report) -> str:
    totals = report.totals
    if not totals.ran:
        return f"{report.implementation} FAILED: no case is supported"
    word = "passed" if report.passed else "FAILED"
    missing = totals.counts.get("not supported", 0)
    text = f"{report.implementation} {word}: {totals.passed} of {_cases(totals.ran)} "
    text += f"{report.strict} or better"
    return f"{text}, {missing} not supported" if missing else text


def _counts_text(report: Report) -> str:
    counts = report.totals.counts
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts.get(outcome))


def _reasons(report: Report) -> list[str]:
    """What is wrong most often, a line each."""
    counted = Counter(map(_reason, report.failures)).most_common()
    lines = [f"{count} × {reason}" for reason, count in counted[:MOST_REASONS]]
    more = len(counted) - MOST_REASONS
    return [*lines, f"… and {more} more"] if more > 0 else lines


def _missing(report: Report) -> list[str]:
    """What keeps cases from being run, a line each."""
    missing = (v.reason or "" for v in report.verdicts if v.outcome == "not supported")
    counted = Counter(missing).most_common()
    return [f"not supported: {reason}, in {_cases(count)}" for reason, count in counted]


def _cases(count: int) -> str:
    return f"{count} case{'s' if count != 1 else ''}"


def _reason(verdict: Verdict) -> str:
    """Why a case did not pass, in words that cases have in common."""
    if verdict.reason is not None:
        # Where it happened differs from case to case.
        return verdict.reason.partition(" at row ")[0]
    if verdict.diagnosis:
        return ", ".join(dict.fromkeys(diagnosis.id for diagnosis in verdict.diagnosis))
    return f"{verdict.outcome}{', by no known mistake' if verdict.outcome == 'wrong' else ''}"


def _case_grid(report: Report) -> Grid:
    verdicts = report.verdicts
    failed = [place for place, v in enumerate(verdicts) if not v.passed(report.strict)]
    columns = [
        Column("case", "text", [verdict.case.name for verdict in verdicts]),
        Column("outcome", "text", [verdict.outcome for verdict in verdicts]),
        numbers("worst, ulps", [_ulps(verdict.max_ulp_error) for verdict in verdicts]),
    ]
    notes = [line for place in failed for line in _explained(verdicts[place], report.strict)]
    return Grid(columns, frozenset(failed), [*notes, *_missing(report)])


def _explained(verdict: Verdict, strict: str) -> list[str]:
    """A case that did not pass: what it is about, what came back, and which mistake that is."""
    least = OUTCOMES.index(strict)
    lines = [f"{verdict.case.name}: {verdict.case.reason}"]
    if verdict.case.source is not None:
        lines.append(f"  {verdict.case.source}")
    if verdict.reason is not None:
        lines.append(f"  {verdict.reason}")
    for name, judged in (("loss", verdict.loss), ("gradient", verdict.grad)):
        if judged is not None and OUTCOMES.index(judged.grade) > least:
            place = f" at {list(judged.worst)}" if judged.worst else ""
            yours, exact = (format_typed(value, 17) for value in (judged.candidate, judged.exact))
            lines.append(f"  {name} {judged.grade}: {yours}{place}, where it is {exact}")
    if verdict.digits is not None:
        lines.append(f"  {verdict.digits:.1f} digits are left")
    for found in verdict.diagnosis:
        name = found.id if found.of == "grad" else f"{found.id} (loss)"
        lines.append(f"  {name}: {found.explanation} {found.remedy}")
    return lines


def _ulps(error: float | None) -> str:
    if error is None:
        return ""
    return format_number(error, 1) if error < LARGEST_PLAIN else short(error)
