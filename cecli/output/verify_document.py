"""Verdicts and cases as the JSON document of `cecli verify`, described in cecli-json(5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cecli.conformance.api import kind_of, versions_of
from cecli.conformance.model import OUTCOMES, SUITE, Case, Outcome, Verdict
from cecli.conformance.report import Report, Totals
from cecli.output.json_document import SCHEMA
from cecli.text.strict_json import plain_value


def document_of_report(report: Report, options: Mapping[str, Any]) -> dict[str, Any]:
    """What an implementation was asked, what it runs on, and how each case went."""
    given = {name: options[name] for name in ("dtype", "device") if options[name] is not None}
    document = {
        **_head(),
        "implementation": report.implementation,
        "kind": kind_of(options),
        "versions": versions_of(options),
        **given,
        "strict": report.strict,
        "passed": report.passed,
        "totals": _totals(report.totals),
        "families": [{"family": t.family, **_totals(t)} for t in report.families],
        "cases": [_verdict(verdict, report.strict) for verdict in report.verdicts],
    }
    found: dict[str, Any] = plain_value(document)
    return found


def document_of_cases(cases: Sequence[Case]) -> dict[str, Any]:
    """The cases alone, with nothing run."""
    return {**_head(), "cases": [_case(case) for case in cases]}


def _head() -> dict[str, Any]:
    return {"schema": SCHEMA, "command": "verify", "suite": SUITE}


def _totals(totals: Totals) -> dict[str, Any]:
    counts = {outcome: totals.counts.get(outcome, 0) for outcome in OUTCOMES}
    error = {} if totals.max_ulp_error is None else {"max_ulp_error": totals.max_ulp_error}
    return {"passed": totals.passed, "ran": totals.ran, "counts": counts, **error}


def _case(case: Case) -> dict[str, Any]:
    source = {} if case.source is None else {"source": case.source}
    about = {"name": case.name, "family": case.family, "reason": case.reason, **source}
    return {**about, "features": sorted(case.features)}


def _verdict(verdict: Verdict, strict: Outcome) -> dict[str, Any]:
    found = {
        "fault": verdict.reason,
        "digits": verdict.digits,
        "max_ulp_error": verdict.max_ulp_error,
    }
    judged = {name: getattr(verdict, name) for name in ("grad", "loss")}
    figures = {name: vars(found) for name, found in judged.items() if found is not None}
    return {
        **_case(verdict.case),
        "outcome": verdict.outcome,
        "passed": verdict.passed(strict),
        **{name: value for name, value in found.items() if value is not None},
        **({"judged": figures} if figures else {}),
        "diagnosis": [
            {name: value for name, value in vars(diagnosis).items() if value is not None}
            for diagnosis in verdict.diagnosis
        ],
        "seconds": verdict.seconds,
    }
