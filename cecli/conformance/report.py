"""What all verdicts come to: family by family, and in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from cecli.conformance.model import OUTCOMES, Outcome, Verdict

MOST_SHOWN = 8


@dataclass(frozen=True)
class FamilyTotals:
    """The verdicts on the cases of a family.

    counts: of each outcome, in the order of `OUTCOMES`. passed: how many are good enough; ran: how
    many were not unsupported. worst: the worst outcome of those, None where none ran.
    max_ulp_error: the largest of those graded, None where none was.
    """

    family: str
    counts: Mapping[Outcome, int]
    passed: int
    ran: int
    worst: Outcome | None
    max_ulp_error: float | None

    @classmethod
    def of(cls, family: str, verdicts: Iterable[Verdict], strict: Outcome) -> FamilyTotals:
        """Count some verdicts; strict: what is good enough."""
        verdicts = list(verdicts)
        ran = [verdict for verdict in verdicts if verdict.outcome != "not supported"]
        counted = Counter(verdict.outcome for verdict in verdicts)
        errors = [verdict.max_ulp_error for verdict in ran if verdict.max_ulp_error is not None]
        return cls(
            family=family,
            counts={outcome: counted[outcome] for outcome in OUTCOMES},
            passed=sum(verdict.passed(strict) for verdict in ran),
            ran=len(ran),
            worst=max((verdict.outcome for verdict in ran), key=OUTCOMES.index, default=None),
            max_ulp_error=max(errors, default=None),
        )


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """What `verify` returns.

    implementation: its name. strict: the outcome that is good enough, acceptable or accurate.
    verdicts: one for each case that was chosen, in order.
    """

    implementation: str
    strict: Outcome
    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """Whether any case ran, and all of those are good enough."""
        return 0 < self.totals.ran == self.totals.passed

    @cached_property
    def totals(self) -> FamilyTotals:
        """Of all cases."""
        return FamilyTotals.of("all", self.verdicts, self.strict)

    @cached_property
    def families(self) -> tuple[FamilyTotals, ...]:
        """Of the cases of each family, in order of appearance."""
        families: dict[str, list[Verdict]] = {}
        for verdict in self.verdicts:
            families.setdefault(verdict.case.family, []).append(verdict)
        return tuple(FamilyTotals.of(name, some, self.strict) for name, some in families.items())

    @property
    def failures(self) -> tuple[Verdict, ...]:
        """The verdicts that are not good enough."""
        return tuple(verdict for verdict in self.verdicts if not verdict.passed(self.strict))

    def __str__(self) -> str:
        """The failures in a line each, for the message of a failed test."""
        return self._text(self.failures)

    def __repr__(self) -> str:
        """The same with the first failures alone."""
        text, left_out = self._text(self.failures[:MOST_SHOWN]), len(self.failures) - MOST_SHOWN
        return f"{text}\nand {left_out:,} more that did not pass" if left_out > 0 else text

    def _text(self, failures: Iterable[Verdict]) -> str:
        lines = [f"{self.implementation}: {self.totals.passed} of {self.totals.ran} cases passed"]
        for verdict in failures:
            reasons = [verdict.reason, *(found.explanation for found in verdict.diagnosis)]
            told = "; ".join(reason for reason in reasons if reason)
            lines.append(f"{verdict.case.name}: {verdict.outcome}" + (f": {told}" if told else ""))
        return "\n".join(lines)
