"""The cases that an implementation may fail, as a text file that stands beside its tests.

Its first line names the suite that it speaks of; each other one a case, and behind a # why it
fails. Cases that a later suite has added are none of its business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cecli.conformance.model import SUITE, Outcome, Verdict
from cecli.conformance.suite.cases import all_cases
from cecli.conformance.telling import in_a_line
from cecli.errors import CecliError
from cecli.text.messages import quote


@dataclass(frozen=True)
class Baseline:
    """reasons: why each case may fail, by its name, "" where nobody says. suite: whose cases."""

    suite: int = SUITE
    reasons: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str) -> Baseline:
        """What a file says. Raises CecliError where it cannot be read, or names no case."""
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise CecliError(f"cannot read the baseline {quote(path)}: {reason}") from None
        suite, reasons = SUITE, {}
        names = {case.name for case in all_cases(large=True)}
        for number, line in enumerate(lines, 1):
            name, _, reason = (part.strip() for part in line.partition("#"))
            word, _, version = name.partition(" ")
            if word == "suite" and version.isdecimal():
                suite = int(version)
            elif name in names:
                reasons[name] = reason
            elif name:
                raise CecliError(f"{quote(path)}, line {number}: there is no case {quote(name)}")
        if not 1 <= suite <= SUITE:
            raise CecliError(f"{quote(path)} is of suite {suite}, where this is suite {SUITE}")
        return cls(suite, reasons)

    def updated(self, verdicts: Iterable[Verdict], strict: Outcome) -> Baseline:
        """The same with what has just been found; cases that were not run are left as they are.

        It is of today's suite once all of its cases were run.
        """
        found = {verdict.case.name: verdict for verdict in verdicts}
        reasons = {name: why for name, why in self.reasons.items() if name not in found}
        for name, verdict in found.items():
            if not verdict.passed(strict):
                reasons[name] = in_a_line(verdict, strict)
        whole = found.keys() >= {case.name for case in all_cases()}
        return Baseline(SUITE if whole else self.suite, reasons)

    def text(self) -> str:
        """The file, sorted by name."""
        lines = [f"suite {self.suite}"]
        for name, reason in sorted(self.reasons.items()):
            lines.append(f"{name}  # {reason}" if reason else name)
        return "\n".join(lines) + "\n"
