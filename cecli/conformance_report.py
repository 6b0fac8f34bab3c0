"""stub, not committed"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from cecli.conformance import Outcome, Verdict


@dataclass(frozen=True)
class Totals:
    family: str
    counts: Mapping[Outcome, int]
    passed: int
    ran: int
    max_ulp_error: float | None


@dataclass(frozen=True, eq=False)
class Report:
    implementation: str
    strict: Outcome
    verdicts: tuple[Verdict, ...]

    @property
    def families(self) -> tuple[Totals, ...]:
        groups: dict[str, list[Verdict]] = {}
        for v in self.verdicts:
            groups.setdefault(v.case.family, []).append(v)
        return tuple(self._t(n, g) for n, g in groups.items())

    def _t(self, name: str, g: list[Verdict]) -> Totals:
        ran = [v for v in g if v.outcome != "not supported"]
        errs = [v.max_ulp_error for v in ran if v.max_ulp_error is not None]
        return Totals(
            name,
            Counter(v.outcome for v in g),
            sum(v.passed(self.strict) for v in ran),
            len(ran),
            max(errs, default=None),
        )

    @property
    def totals(self) -> Totals:
        return self._t("all", list(self.verdicts))

    @property
    def passed(self) -> bool:
        t = self.totals
        return t.passed == t.ran > 0
