"""All cases of the suite, and those of some names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from cecli.conformance.model import Case
from cecli.conformance.suite import calls, numbers, options, precisions, sizes


def all_cases(*, large: bool = False) -> Sequence[Case]:
    """Every case, family by family; large: also those that need address space for 2³¹ numbers."""
    return (
        *numbers.cases(),
        *sizes.cases(),
        *(sizes.large_cases() if large else ()),
        *options.cases(),
        *calls.cases(),
        *precisions.cases(),
    )


def select(cases: Sequence[Case], patterns: Collection[str]) -> list[Case]:
    """The cases whose name or family matches any of some shell patterns; all for none."""
    if not patterns:
        return list(cases)
    return [
        case
        for case in cases
        if any(fnmatchcase(name, p) for p in patterns for name in (case.name, case.family))
    ]
