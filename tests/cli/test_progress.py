"""The bar on standard error, in process."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

import cecli
from cecli.cli import progress
from cecli.cli.progress import Progress
from cecli.comparison import survey
from cecli.comparison.compare import compare_candidates
from cecli.input.candidate import candidate_of_array
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem


class Terminal(io.StringIO):
    """Standard error of a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_pass_after_the_first_has_a_bar_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(progress, "SECONDS_BEFORE_A_BAR", -1.0)
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("comparing") as bar:
        for fraction in (0.3, 0.9, 0.2, 0.6):
            bar(fraction)
    bars = terminal.getvalue().split("\r\x1b[K\x1b[?25h")
    assert bars.pop() == ""  # nothing is left of them
    assert "\n" not in terminal.getvalue()
    assert len(bars) == 2
    assert all("comparing" in each and "100%" in each for each in bars)
    assert "20%" in bars[1]


def test_both_passes_of_a_comparison_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "SAMPLE_COMPONENTS", 2**6)  # less than all of so few rows
    random = np.random.default_rng(0)
    logits, target = random.normal(size=(100, 3)), random.integers(0, 3, 100)
    problem = Problem.of(logits, target, Objective())
    right = cecli.cross_entropy(logits, target)
    told: list[float] = []
    compare_candidates(problem, candidate_of_array(right.grad, "grad"), None, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    for wrong in (
        (candidate_of_array(right.softmax, "grad"), None),
        (None, candidate_of_array(2.0 * np.asarray(right.loss), "loss")),
    ):
        told.clear()
        compare_candidates(problem, *wrong, progress=told.append)
        assert told.count(1.0) > 1
