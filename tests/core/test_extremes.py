"""Options and logits at the ends of the doubles: the exact arithmetic says what is right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import cecli
from cecli.api import Pass
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem
from cecli.problem.wanted import Wanted

LARGEST = 1.7e308
CASES: list[tuple[list[float], Any, dict[str, Any]]] = [
    ([1e308, 0.0], 0, {"z_loss": 1.0}),
    ([1e-10, -2e-10], 0, {"z_loss": 1e308}),
    ([37.0], 0, {"label_smoothing": 1.0, "temperature": 1e308, "softcap": 30.0, "z_loss": 1e308}),
    ([-1.1e-300], 0, {"z_loss": 1.0}),
    ([-1.1e-311], 0, {"z_loss": 1.0}),
    ([2.0, 1.0], 0, {"z_loss": 5e-324, "temperature": 1e-10}),
    ([700.0, LARGEST, -1.0], [0.9995, 0.0, 0.0005], {"temperature": 1e-170, "z_loss": 1e-4}),
    ([1e308, -1e308, 0.0], 0, {"temperature": 5e-324}),
    ([1e-300, -1e308], 0, {"temperature": 1e308}),
    ([1e-300, -1e308, 2e-300], 0, {"temperature": 5e-324}),
    ([1e160, 1e-17, 3.4e38], 1, {"temperature": 1e-170}),
    ([LARGEST, -LARGEST], [0.99, 0.01], {}),
    ([LARGEST, -LARGEST, 3.0], 1, {"temperature": 2.0}),
    ([-1.0], 0, {"softcap": 5e-324}),
    ([-1e160], 0, {"softcap": 1e-300}),
    ([-5.78, -1.1e-311, -1.1e-311], 1, {"softcap": 5e-324}),
    ([4.55, -745.0, 1e-17], 2, {"softcap": 5e-324}),
    ([1e-17], 0, {"softcap": 1e308, "temperature": 1e-300}),
    ([1e-17, 3e-17, -LARGEST], 0, {"softcap": 1e308, "temperature": 1e-17}),
    ([2.0, 1.0, 0.1], 0, {"weight": [5e-324] * 3, "reduction": "sum"}),
    ([2.0, 1.0, 0.1], 0, {"weight": [5e-324] * 3}),
    ([2.0, 1.0, 0.1], 0, {"weight": [1e-310, 1.0, 1e308], "label_smoothing": 1e-300}),
    ([2.0, 1.0, 0.1], 0, {"weight": [1e-170, 1e-170, 1.0], "label_smoothing": 5e-324}),
    ([2.0, 1.0, -1e4], [0.5, 0.5, 0.0], {"weight": [1e-310, 1e-310, 1.0], "temperature": 1e-3}),
    ([-20.0, 1e308], 0, {"weight": [1e308, 2.0], "softcap": 1.0, "z_loss": 1e308}),
    ([0.0, 1.0], 0, {"weight": [1e308, 1e308], "reduction": "sum", "temperature": 0.1}),
    ([-math.inf, 1e308, 1e308], [0.0, 0.5, 0.5], {"weight": [1e308, 1e308, 1.0]}),
]


@pytest.mark.parametrize(("logits", "target", "options"), CASES, ids=str)
def test_extremes(logits: list[float], target: Any, options: dict[str, Any]) -> None:
    found = cecli.cross_entropy(logits, np.asarray(target), **options)
    exact = cecli.cross_entropy(logits, np.asarray(target), exact=True, **options)
    for name in ("softmax", "log_softmax", "log_sum_exp", "losses", "loss", "grad"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(exact, name), rtol=1e-13, atol=1e-323, err_msg=name
        )


def test_a_row_depends_on_itself_alone() -> None:
    rows = np.random.default_rng(5).normal(size=(5000, 5)) * 10
    rows[[7, 4000]] = [[2.0**970, 0.0, -(2.0**1000), 1.0, 3.0], [LARGEST, 1.0, 2.0, -LARGEST, 0.0]]
    target = np.arange(5000) % 5
    whole = cecli.cross_entropy(rows, target, reduction="none")
    for start in (0, 1, 6, 8, 3999, 4001):
        part = cecli.cross_entropy(rows[start:], target[start:], reduction="none")
        np.testing.assert_array_equal(part.grad, whole.grad[start:])
        np.testing.assert_array_equal(part.losses, whole.losses[start:])


FAR = [[1e308, -1e308], [LARGEST, -LARGEST], [1.0, 2.0]]
WIDE = [[10.0, -100.0], [1.0, 2.0], [3.0, 3.0]]
OVERFLOWING: list[tuple[list[list[float]], Any, dict[str, Any], float]] = [
    # (2e308 + 3.4e308 + log(1 + e))/3, …: what is finite beside that is below the last digit
    (FAR, [1, 1, 0], {"divisor": 5.0}, 1.08e308),
    (FAR, [1, 1, 0], {"divisor": 1e10, "temperature": 1e-5}, 5.4e303),
    (FAR, [1, 1, 0], {"divisor": 1e100, "temperature": 1e-95, "label_smoothing": 0.1}, 5.13e303),
    (FAR, [[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]], {}, 1.5e308 / 3 + 1.7e308 / 3),
    (FAR, [1, 1, 0], {"weight": [1.0, 3.0], "divisor": 30.0}, 5.4e307),
    (FAR, [1, 1, 0], {"sample_weight": [0.5, 0.25, 1.0]}, 1e308 / 1.75 + 0.85e308 / 1.75),
    (WIDE, [1, 0, 0], {"weight": [1.0, 1e307], "divisor": 1e10}, 1.1e299),
    ([[1e200, 0.0], [1.0, 2.0]], [0, 0], {"z_loss": 1e-90, "divisor": 1e5}, 1e305),
    ([[1e308, -1e308, -math.inf], [0.0, -math.inf, 0.0]], [1, 0], {}, 1e308),
    ([[1e308, -1e308], [1.0, -math.inf]], [1, 1], {}, math.inf),
    (FAR, [1, 1, 0], {"reduction": "sum"}, math.inf),
]


@pytest.mark.parametrize(("logits", "target", "options", "loss"), OVERFLOWING, ids=str)
def test_a_mean_is_a_number_where_losses_overflow(
    logits: list[list[float]], target: Any, options: dict[str, Any], loss: float
) -> None:
    found = cecli.cross_entropy(logits, np.asarray(target), **options)
    exact = cecli.cross_entropy(logits, np.asarray(target), exact=True, **options)
    assert found.loss == pytest.approx(loss, rel=1e-14)
    assert found.loss == pytest.approx(exact.loss, rel=1e-15)
    np.testing.assert_allclose(found.losses, exact.losses, rtol=1e-15)


@pytest.mark.parametrize("soft", [False, True])
def test_bits_are_a_number_where_losses_overflow(soft: bool) -> None:
    # Of several groups and blocks, and weighted, so that the bits have a sum of their own.
    random = np.random.default_rng(2)
    logits = random.uniform(-1, 1, (5000, 3)) * LARGEST
    logits[::3] = random.normal(size=(1667, 3))
    index = random.integers(0, 3, 5000)
    target = np.eye(3)[index] * 0.5 + np.eye(3)[index - 1] * 0.5 if soft else index
    problem = Problem.of(logits, target, Objective(weight=[1.0, 2.0, 3.0]))
    run = Pass(problem, Wanted(worst=0))
    for _ in run:
        pass
    # of the definition: −Σ y (v − m), beside which the logarithm is nothing
    far = 2.0**-10 * logits.max(axis=1, keepdims=True) - 2.0**-10 * logits
    mass = target if soft else np.eye(3)[index]
    mean = math.fsum((mass * far).sum(axis=1) / 5000) * 2.0**10
    assert run.perplexity_and_bits[0] == math.inf
    assert run.perplexity_and_bits[1] == pytest.approx(mean / math.log(2.0), rel=1e-13)
    weighted = mass * np.array([1.0, 2.0, 3.0])
    divisor = 5000 if soft else weighted.sum()
    loss = math.fsum((weighted * far).sum(axis=1) / divisor) * 2.0**10
    assert run.loss == pytest.approx(loss, rel=1e-13)
