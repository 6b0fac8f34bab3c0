"""Why a case did not pass, in words: in one line, or in all that is known."""

from __future__ import annotations

from cecli.conformance.model import OUTCOMES, Outcome, Verdict
from cecli.text.numbers import format_typed

DIGITS = 17


def in_a_line(verdict: Verdict, strict: Outcome) -> str:
    """What came back, what it should have been, and which mistake that is."""
    parts = _figures(verdict, strict) if verdict.reason is None else [verdict.reason]
    if verdict.digits is not None:
        parts.append(f"{verdict.digits:.1f} digits are left")
    names = dict.fromkeys(found.id for found in verdict.diagnosis)
    told = "; ".join(parts) or verdict.outcome
    return f"{told} ({', '.join(names)})" if names else told


def in_full(verdict: Verdict, strict: Outcome) -> list[str]:
    """The same with the address of its source, and the mistakes explained, a line each."""
    lines = [verdict.case.source] if verdict.case.source is not None else []
    lines += [verdict.reason] if verdict.reason is not None else []
    lines += _figures(verdict, strict)
    if verdict.digits is not None:
        lines.append(f"{verdict.digits:.1f} digits are left")
    for found in verdict.diagnosis:
        name = found.id if found.of == "grad" else f"{found.id} (loss)"
        lines.append(f"{name}: {found.explanation} {found.remedy}")
    return lines


def _figures(verdict: Verdict, strict: Outcome) -> list[str]:
    """The numbers that are not good enough."""
    least, lines = OUTCOMES.index(strict), []
    for name, judged in (("loss", verdict.loss), ("gradient", verdict.grad)):
        if judged is not None and OUTCOMES.index(judged.grade) > least:
            place = f" at {list(judged.worst)}" if judged.worst else ""
            yours, exact = (format_typed(n, DIGITS) for n in (judged.candidate, judged.exact))
            lines.append(f"{name} {judged.grade}: {yours}{place}, where it is {exact}")
    return lines
