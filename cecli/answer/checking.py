"""The finite-difference check of an answer, of some of its rows where there are very many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cecli.answer.answer import Answer
from cecli.errors import CecliError
from cecli.gradcheck.check import GradientCheck, Method, check
from cecli.gradcheck.differences import ProgressCallback

# A gradient of up to so many numbers is held in memory for its check.
MOST_NUMBERS = 2**22


def check_answer(
    answer: Answer,
    method: Method,
    step: float | None,
    seed: int,
    progress: ProgressCallback | None = None,
) -> GradientCheck:
    """Check the gradient of an answer, as `check_gradient` does.

    Of a gradient that is too large to be held in memory, rows drawn with seed are checked.
    """
    problem = answer.problem
    total = problem.samples * problem.classes
    if total <= MOST_NUMBERS:
        return check(problem, answer.result.grad, method, step, seed, progress)
    infinite = None if answer.totals is None else answer.totals.tally.infinite
    if infinite is not None:
        raise CecliError(
            f"the loss{problem.place(infinite)} is infinite: it has no derivative to check"
        )
    random = np.random.default_rng(seed)
    count = min(problem.samples, max(1, MOST_NUMBERS // 4 // problem.classes))
    rows = np.sort(random.choice(problem.samples, count, replace=False))
    drawn = replace(answer, problem=problem.only(rows))
    found = check(drawn.problem, drawn.result.grad, method, step, seed, progress)
    indices = problem.indices_of(rows[found.indices[:, 0]], found.indices[:, 1])
    worst = problem.indices_of(rows[[found.worst[0]]], np.array([found.worst[1]]))[0]
    return replace(found, indices=indices, worst=tuple(worst.tolist()), total=total, seed=seed)
