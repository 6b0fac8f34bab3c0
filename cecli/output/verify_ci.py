"""Verdicts for continuous integration: JUnit's XML, and the annotations of a workflow of GitHub."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from cecli.conformance.model import SUITE, Verdict
from cecli.conformance.report import Report
from cecli.conformance.telling import in_a_line, in_full
from cecli.text.messages import printable

if TYPE_CHECKING:
    from cecli.conformance.api import Subject

# GitHub shows no more of each kind for a step.
MOST_ANNOTATIONS = 10


def junit(report: Report, subject: Subject) -> str:
    """A test for each case: passed, failed, or skipped where it may fail or is not supported."""
    verdicts, unexpected = report.verdicts, set(report.unexpected)
    skipped = [v for v in verdicts if v not in unexpected and _excuse(report, v) is not None]
    counts = {
        "tests": len(verdicts),
        "failures": len(unexpected),
        "errors": 0,
        "skipped": len(skipped),
    }
    about = {name: str(count) for name, count in counts.items()}
    about["time"] = f"{sum(verdict.seconds for verdict in verdicts):.6f}"
    root = ET.Element("testsuites", {"name": "cecli verify", **about})
    suite = ET.SubElement(root, "testsuite", {"name": _text(report.implementation), **about})
    properties = ET.SubElement(suite, "properties")
    for name, value in {"suite": str(SUITE), **subject.versions}.items():
        ET.SubElement(properties, "property", {"name": name, "value": _text(value)})
    for verdict in verdicts:
        family, _, name = verdict.case.name.partition("/")
        place = {"classname": family, "name": name, "time": f"{verdict.seconds:.6f}"}
        test = ET.SubElement(suite, "testcase", place)
        excuse = _excuse(report, verdict)
        if verdict in unexpected:
            message = _text(in_a_line(verdict, report.strict))
            failure = ET.SubElement(test, "failure", {"type": verdict.outcome, "message": message})
            told = [verdict.case.reason, *in_full(verdict, report.strict)]
            failure.text = _text("\n".join(told))
        elif excuse is not None:
            ET.SubElement(test, "skipped", {"message": _text(excuse)})
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode")


def _excuse(report: Report, verdict: Verdict) -> str | None:
    """Why a case counts neither as passed nor as failed."""
    if verdict.outcome == "not supported":
        return f"not supported: {verdict.reason}"
    if verdict.passed(report.strict):
        return None
    where = "in the baseline" if report.is_known(verdict) else "newer than the baseline"
    return f"{where}: {in_a_line(verdict, report.strict)}"


def github_annotations(report: Report, subject: Subject) -> Iterator[str]:
    """Commands of a workflow: an error for each of the first failures, a warning for the mended."""
    module = (subject.function or "").rpartition(":")[0]
    file = f"file={_property(module)}," if module.endswith(".py") else ""
    for verdict in report.unexpected[:MOST_ANNOTATIONS]:
        told = f"{verdict.case.reason}\n{in_a_line(verdict, report.strict)}"
        yield f"::error {file}title={_property(_title(report, verdict.case.name))}::{_data(told)}"
    for name in report.mended[:MOST_ANNOTATIONS]:
        title = _property(_title(report, name))
        yield f"::warning title={title}::It passes now: take it out of the baseline."


def _title(report: Report, name: str) -> str:
    return f"{report.implementation}: {name}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _text(text: str) -> str:
    """Without what XML has no way to write."""
    return "\n".join(map(printable, text.split("\n")))
