"""Blocks and threads leave no trace in any result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cecli import CecliError, blocks, cross_entropy, softmax
from cecli.core import solve
from cecli.problem import Objective, Problem

RANDOM = np.random.default_rng(3)
OBJECTIVES: list[dict[str, Any]] = [
    {},
    {"reduction": "sum", "weight": RANDOM.uniform(0.1, 2.0, 7)},
    {"label_smoothing": 0.1, "temperature": 0.7},
    {"z_loss": 0.1, "softcap": 5.0, "ignore_index": 3},
    {"reduction": "none"},
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_size_of_block_and_no_thread_shows(
    objective: dict[str, Any], dtype: type[np.floating[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = (RANDOM.normal(size=(5000, 7)) * 10).astype(dtype)
    target = RANDOM.integers(0, 7, 5000)
    results = []
    for numbers, jobs in ((10**9, 1), (7, 1), (7 * 1000, 2), (7 * 333, 3)):
        monkeypatch.setattr(blocks, "BLOCK_NUMBERS", numbers)
        monkeypatch.setattr("os.cpu_count", lambda jobs=jobs: jobs)
        result = cross_entropy(logits, target, **objective)
        arrays = [np.asarray(result.loss), result.losses, result.grad, result.softmax]
        results.append([array.tobytes() for array in arrays])
    assert all(result == results[0] for result in results)


def test_a_bad_row_far_down_is_named() -> None:
    logits = np.zeros((300_000, 4), dtype=np.float32)
    logits[234_567, 2] = np.nan
    with pytest.raises(CecliError, match=r"logit 2 of sample 234567 is NaN"):
        softmax(logits)


@pytest.mark.parametrize("classes", [1, 2, 10, 64, 65, 5000])
def test_every_width_has_the_same_results_row_by_row(classes: int) -> None:
    logits = RANDOM.normal(size=(40, classes)) * 4
    target = RANDOM.integers(0, classes, 40)
    batch = cross_entropy(logits, target, reduction="sum")
    rows = [cross_entropy(row, t, reduction="sum") for row, t in zip(logits, target, strict=True)]
    losses = np.array([row.losses for row in rows])
    np.testing.assert_allclose(batch.losses, losses, rtol=1e-15, atol=0.0)
    np.testing.assert_allclose(batch.grad, [row.grad for row in rows], rtol=2e-15, atol=0.0)


def test_probabilities_are_made_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    result = solve(Problem(np.zeros((2, 3)), np.array([0, 1]), Objective()))
    monkeypatch.setattr("cecli.core.softmax_rows", None)
    assert result.loss == pytest.approx(np.log(3))
    with pytest.raises(TypeError):
        _ = result.softmax
