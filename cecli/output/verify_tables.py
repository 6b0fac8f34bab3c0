"""Verdicts laid out as rows of text: the families, the cases, and what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from cecli.conformance.model import OUTCOMES, SUITE, Case, Outcome, Verdict
from cecli.conformance.report import Report
from cecli.conformance.telling import in_a_line, in_full
from cecli.output.grid import Column, Grid, numbers, short
from cecli.text.numbers import format_number

if TYPE_CHECKING:
    from cecli.conformance.api import Subject

# A failing case takes two lines; this many fit what people read.
MOST_NAMED = 20
MOST_REASONS = 5
LARGEST_PLAIN = 1000.0
ERROR = "largest error, ulps"
# Beside an error that looks like a defect, and is none.
EXPLAINED = (
    "an error of many units in the last place (ulps) is acceptable where the textbook formula "
    "keeps no more, as of ŷ − 1 where ŷ is nearly 1"
)
UNFIT = "what is not supported and the largest errors do not fit: --json shows them"
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
    families = [family for family in report.families if family.ran]
    strict = OUTCOMES.index(report.strict)
    columns = [
        Column("family", "text", [family.family for family in families]),
        numbers("passed", [f"{f.passed}/{f.ran}" for f in families]),
    ]
    for outcome in OUTCOMES[strict + 1 :]:
        counts = [family.counts.get(outcome, 0) for family in families]
        if any(counts):
            texts = [str(count) if count else "" for count in counts]
            name = HEADERS.get(outcome, outcome)
            columns.append(numbers(name, texts, optional=outcome == "not supported"))
    errors = [_ulps(family.max_ulp_error) for family in families]
    columns.append(numbers(ERROR, errors, optional=True))
    stressed = [place for place, family in enumerate(families) if family.passed < family.ran]
    notes = [_counts_text(report), *_folded(report), *_surprising(report), *report.notes]
    notes += [*_compared_with_baseline(report)]
    notes += [] if verbose else _named(report)
    notes += [] if families or verbose else _missing(report)[:MOST_REASONS]
    versions = [f"{name} {number}" for name, number in subject.versions.items()]
    notes.append(f"suite {SUITE} of {', '.join(versions)}")
    verdict = _verdict(report)
    return Grid(
        columns if families else [], frozenset(stressed), notes, verdict, report.passed, UNFIT
    )


def _verdict(report: Report) -> str:
    totals = report.totals
    if not totals.ran:
        return f"{report.implementation} FAILED: no case is supported"
    word = "passed" if report.passed else "FAILED"
    missing = totals.counts.get("not supported", 0)
    text = f"{report.implementation} {word}: {totals.passed} of {_cases(totals.ran)} "
    text += f"{report.strict} or better"
    may_fail = len(report.known) + len(report.newer)
    text += f", {may_fail} may fail" if may_fail else ""
    return f"{text}, {missing} not supported" if missing else text


def _folded(report: Report) -> list[str]:
    """The families that are not supported as a whole, in a line."""
    names = [family.family for family in report.families if not family.ran]
    return [f"not supported as a whole: {', '.join(names)}"] if names and report.totals.ran else []


def _surprising(report: Report) -> list[str]:
    """What the column of errors means, where it shows what looks like a defect."""
    whole = (family for family in report.families if family.passed == family.ran)
    large = any((family.max_ulp_error or 0.0) >= LARGEST_PLAIN for family in whole)
    return [EXPLAINED] if large else []


def _compared_with_baseline(report: Report) -> list[str]:
    """What the baseline says otherwise, a line each."""
    if report.baseline is None:
        return []
    lines = [f"passes, though the baseline lists it: {name}" for name in report.mended]
    if report.newer:
        names = ", ".join(verdict.case.name for verdict in report.newer)
        lines.append(f"newer than suite {report.baseline.suite} of the baseline, fails: {names}")
    if lines:
        lines.append("--update-baseline writes them down")
    return lines


def _named(report: Report) -> list[str]:
    """The first failures, two lines each, and what is wrong most often of the others."""
    lines = []
    for verdict in report.unexpected[:MOST_NAMED]:
        lines.append(f"{verdict.case.name}: {verdict.case.reason}")
        lines.append(f"  {in_a_line(verdict, report.strict)}")
    more = len(report.unexpected) - MOST_NAMED
    if more > 0:
        lines.append(f"… and {_cases(more)} more; of all that fail:")
        lines += _reasons(report)
    if report.failures:
        lines.append("--verbose shows all, and explains the mistakes")
    return lines


def _counts_text(report: Report) -> str:
    counts = report.totals.counts
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts.get(outcome))


def _reasons(report: Report) -> list[str]:
    """What is wrong most often, a line each."""
    counted = Counter(map(_reason, report.unexpected)).most_common()
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
        Column("outcome", "text", [_outcome(report, verdict) for verdict in verdicts]),
        numbers(ERROR, [_ulps(verdict.max_ulp_error) for verdict in verdicts]),
    ]
    notes = []
    for verdict in report.failures:
        notes.append(f"{verdict.case.name}: {verdict.case.reason}")
        notes += [f"  {line}" for line in in_full(verdict, report.strict)]
    return Grid(columns, frozenset(failed), [*notes, *_missing(report)])


def _outcome(report: Report, verdict: Verdict) -> str:
    listed = report.is_known(verdict) and not verdict.passed(report.strict)
    return f"{verdict.outcome}, in the baseline" if listed else verdict.outcome


def _ulps(error: float | None) -> str:
    if error is None:
        return ""
    return format_number(error, 1) if error < LARGEST_PLAIN else short(error)
