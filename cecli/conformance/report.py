"""What all verdicts come to: family by family, and in all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from cecli.conformance.baseline import Baseline
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
    verdicts: one for each case that was chosen, in order. baseline: which cases may fail. notes:
    what to know of how it was called and judged, a line each.
    """

    implementation: str
    strict: Outcome
    verdicts: tuple[Verdict, ...]
    baseline: Baseline | None = None
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether any case ran, and all of those are good enough or may fail."""
        return self.totals.ran > 0 and not self.unexpected

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

    @property
    def unexpected(self) -> tuple[Verdict, ...]:
        """The failures that the baseline does not allow."""
        return tuple(v for v in self.failures if not self.is_known(v) and not self._is_newer(v))

    @property
    def known(self) -> tuple[Verdict, ...]:
        """The failures that are listed in the baseline."""
        return tuple(verdict for verdict in self.failures if self.is_known(verdict))

    @property
    def newer(self) -> tuple[Verdict, ...]:
        """The failures in cases that the suite of the baseline had not yet."""
        return tuple(v for v in self.failures if self._is_newer(v) and not self.is_known(v))

    @property
    def mended(self) -> tuple[str, ...]:
        """The names of cases that the baseline lists, and that pass."""
        ran = (v for v in self.verdicts if v.outcome != "not supported")
        good = (verdict for verdict in ran if verdict.passed(self.strict))
        return tuple(verdict.case.name for verdict in good if self.is_known(verdict))

    def is_known(self, verdict: Verdict) -> bool:
        """Whether the baseline lists the case."""
        return self.baseline is not None and verdict.case.name in self.baseline.reasons

    def _is_newer(self, verdict: Verdict) -> bool:
        return self.baseline is not None and verdict.case.since > self.baseline.suite

    def __str__(self) -> str:
        """The failures in a line each, for the message of a failed test."""
        return self._text(self.unexpected)

    def __repr__(self) -> str:
        """The same with the first failures alone."""
        failures = self.unexpected
        text, left_out = self._text(failures[:MOST_SHOWN]), len(failures) - MOST_SHOWN
        return f"{text}\nand {left_out:,} more that did not pass" if left_out > 0 else text

    def _repr_html_(self) -> str:
        """The families, and the first failures, for a notebook."""
        from cecli.text.html import PageColumn, bar, listed, notebook, paragraph

        families = [family for family in self.families if family.ran]
        errors = [family.max_ulp_error for family in families]
        columns = [
            PageColumn("family", "text", [family.family for family in families]),
            PageColumn("passed", "number", [f"{f.passed}/{f.ran}" for f in families]),
            PageColumn("", "bar", [bar(family.passed / family.ran) for family in families]),
            PageColumn(
                "largest error, ulps",
                "number",
                ["" if error is None else f"{error:,.3g}" for error in errors],
            ),
        ]
        off = [place for place, family in enumerate(families) if family.passed < family.ran]
        head, *lines = repr(self).split("\n")
        verdict = paragraph(head, "passed" if self.passed else "failed")
        return notebook(verdict, listed(columns, off), *map(paragraph, lines))

    def _text(self, failures: Iterable[Verdict]) -> str:
        lines = [f"{self.implementation}: {self.totals.passed} of {self.totals.ran} cases passed"]
        for verdict in failures:
            reasons = [verdict.reason, *(found.explanation for found in verdict.diagnosis)]
            told = "; ".join(reason for reason in reasons if reason)
            lines.append(f"{verdict.case.name}: {verdict.outcome}" + (f": {told}" if told else ""))
        return "\n".join(lines)
