"""Many small cases in one test, where a test of its own would take longer than the case."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

Test = Callable[..., None]


def each(names: str | Sequence[str], cases: Iterable[Any]) -> Callable[[Test], Test]:
    """As `pytest.mark.parametrize`, but one test of all cases: fixtures are made once for all.

    A failure names its case. No case may skip, which would leave out those that follow.
    """
    wanted = [names] if isinstance(names, str) else list(names)
    values = [(case,) if isinstance(names, str) else tuple(case) for case in cases]
    assert values

    def over_all(test: Test) -> Test:
        @wraps(test)
        def of_all(**fixtures: Any) -> None:
            for case in values:
                given = dict(zip(wanted, case, strict=True))
                try:
                    test(**given, **fixtures)
                except BaseException as error:
                    error.add_note(", ".join(f"{name}: {value!r}" for name, value in given.items()))
                    raise

        signature = inspect.signature(test)
        assert set(wanted) <= set(signature.parameters)
        others = [p for name, p in signature.parameters.items() if name not in wanted]
        of_all.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return of_all

    return over_all
