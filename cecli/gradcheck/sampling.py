"""Which components of a gradient to check when checking all of them would take too long."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.problem.dtypes import Integers
from cecli.problem.problem import Problem

SECONDS = 5.0
FEWEST_COLUMNS = 10
COLUMNS_BEFORE_MORE_ROWS = 100


class Cost(NamedTuple):
    """Seconds a row takes before its first component, and seconds a component takes."""

    row: float
    component: float


class Plan(NamedTuple):
    """The rows to check, each with its columns in ascending order."""

    rows: list[tuple[int, Integers]]
    sampled: bool


def plan_check(problem: Problem, grad: NDArray[Any], cost: Cost, seed: int) -> Plan:
    """Everything where that takes about SECONDS by the cost given, else a sample drawn with seed.

    grad (N, C): rows and components that are not finite are always among those checked. So are, in
    each row drawn, the target (or the largest target mass), the largest logit and the smallest
    probability that is not masked. The sample depends on the seed and the costs, never on a clock.
    """
    count, classes = problem.rows.shape
    everything = np.arange(classes)
    if count * (cost.row + classes * cost.component) <= SECONDS:
        return Plan([(row, everything) for row in range(count)], sampled=False)
    columns = min(classes, COLUMNS_BEFORE_MORE_ROWS)
    rows = max(1, min(count, int(SECONDS / (cost.row + columns * cost.component))))
    affordable = int((SECONDS / rows - cost.row) / cost.component)
    columns = min(classes, max(FEWEST_COLUMNS, affordable))
    random = np.random.default_rng(seed)
    broken = ~np.isfinite(grad)
    chosen = _draw(random, count, np.flatnonzero(broken.any(axis=1))[:rows], rows)
    return Plan(
        [
            (
                row,
                everything
                if columns == classes
                else _draw(random, classes, _notable(problem, row, broken[row], columns), columns),
            )
            for row in chosen.tolist()
        ],
        sampled=True,
    )


def _notable(problem: Problem, row: int, broken: NDArray[np.bool_], columns: int) -> Integers:
    logits = problem.rows[row]
    target = problem.target_rows[row]
    target = target if target.ndim == 0 else target.argmax()
    unmasked = np.flatnonzero(logits > -np.inf)
    smallest = unmasked[logits[unmasked].argmin()]
    first = np.array([target, logits.argmax(), smallest])
    return np.concatenate([first, np.flatnonzero(broken)[: max(0, columns - 3)]])


def _draw(random: np.random.Generator, size: int, always: Integers, wanted: int) -> Integers:
    """wanted of 0 … size − 1, those of always among them, in ascending order."""
    always = np.unique(always)
    others = np.setdiff1d(np.arange(size), always, assume_unique=True)
    drawn = random.choice(
        others, size=min(len(others), max(0, wanted - len(always))), replace=False
    )
    return np.sort(np.concatenate([always, drawn]))
