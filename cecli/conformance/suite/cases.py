"""All cases of the suite, and those of some names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from cecli.conformance.model import Case
from cecli.conformance.suite import calls, field, numbers, options, precisions, sizes


def all_cases(*, large: bool = False) -> Sequence[Case]:
    """Every case, family by family; large: also those that need address space for 2³¹ numbers."""
    return (
        *numbers.cases(),
        *sizes.cases(),
        *(sizes.large_cases() if large else ()),
        *options.cases(),
        *calls.cases(),
        *precisions.cases(),
        *field.cases(),
    )


def select(
    cases: Sequence[Case], patterns: Collection[str], without: Collection[str] = ()
) -> list[Case]:
    """The cases whose name or family matches any of some shell patterns; all for none.

    without: patterns of those to leave out, whatever else matches.
    """
    return [
        case
        for case in cases
        if (not patterns or _matches(case, patterns)) and not _matches(case, without)
    ]


def _matches(case: Case, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(name, p) for p in patterns for name in (case.name, case.family))
