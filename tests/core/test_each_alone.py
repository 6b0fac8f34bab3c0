"""What a result of a row is does not depend on what else is asked of it."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cecli.core.evaluate import sweep
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem
from cecli.problem.wanted import RowArray, Wanted

DOUBLES = np.dtype(np.float64)
# each of these makes rows, or all of them, such that the common arithmetic cannot do something
HOSTILE: list[dict[str, Any]] = [
    {"weight": [1.0, 1e308, 3.0]},
    {"weight": [5e-324, 1.0, 2.0]},
    {"weight": [1.0, 1e308, 1e308], "label_smoothing": 1.0},
    {"z_loss": 1e308},
    {"z_loss": 5e-324},
    {"z_loss": 1e25},
    {"label_smoothing": 1e-300},
    {"temperature": 1e-3, "z_loss": 1e18},
    {"weight": [1e-150, 1e200, 1.0], "z_loss": 1e-4, "temperature": 3.0},
]


def logits() -> NDArray[np.float64]:
    random = np.random.default_rng(8)
    rows: NDArray[np.float64] = random.normal(size=(60, 3)) * random.choice(
        [1e-3, 1.0, 20.0], (60, 1)
    )
    rows[:4] *= [[1e300], [1e155], [1e-200], [1e30]]
    return rows


@pytest.mark.parametrize("objective", HOSTILE, ids=str)
@pytest.mark.parametrize("soft", [False, True])
def test_what_else_is_asked_leaves_no_trace(objective: dict[str, Any], soft: bool) -> None:
    random = np.random.default_rng(9)
    target: NDArray[Any] = random.integers(0, 3, 60)
    if soft:
        target = random.dirichlet([1.0, 1.0, 1.0], 60)
    problem = Problem.of(logits(), target, Objective(reduction="none", **objective))

    def found(*names: Any, **asked: Any) -> dict[str, NDArray[Any]]:
        arrays = {RowArray(name, DOUBLES): np.empty((60, 3)) for name in names}
        parts = deque(sweep(problem, Wanted(arrays, **asked)))
        by_name: dict[str, NDArray[Any]] = {key.name: array for key, array in arrays.items()}
        for name in ("losses", "z_losses", "plain", "log_sum_exp"):
            own = [getattr(part, name) for part in parts]
            if own[0] is not None:
                by_name[name] = np.concatenate(own)
        return by_name

    alone = found(log_sum_exp=True, losses=False) | found() | found(worst=0)
    alone |= found("softmax", losses=False) | found("log_softmax", losses=False) | found("grad")
    together = [
        found("softmax", log_sum_exp=True, worst=0),
        found("log_softmax", "softmax", "grad"),
        found("grad", "softmax", log_sum_exp=True, worst=0),
    ]
    for results in together:
        for name, numbers in results.items():
            assert numbers.tobytes() == alone[name].tobytes(), name
