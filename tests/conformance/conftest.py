"""What holds for every test of the room."""

from __future__ import annotations

import pytest

from support.cases import solve_and_count_once


@pytest.fixture(autouse=True)
def _exact_answers_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the suite's cases have for answers does not change from one test to the next."""
    monkeypatch.setattr("cecli.comparison.survey.solve_and_count", solve_and_count_once)
