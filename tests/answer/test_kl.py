"""KL(q‖ŷ) beside the loss of soft targets, held against sixty digits."""

from __future__ import annotations

import json
from typing import Any

import mpmath
import numpy as np
import pytest

from cecli.answer.answer import find_answer
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem
from support.in_process import printed, shown

RANDOM = np.random.default_rng(4)
Z = RANDOM.normal(size=(5, 4)) * 2
Q = RANDOM.dirichlet(np.ones(4), 5)
Q[1] = [0.0, 1.0, 0.0, 0.0]


def divergence(logits: Any, target: Any) -> Any:
    """Σ q (log q − log ŷ) of one row."""
    with mpmath.workdps(60):
        z = [mpmath.mpf(float(number)) for number in logits]
        log_sum_exp = mpmath.log(sum(mpmath.exp(number) for number in z))
        shares = [mpmath.mpf(float(number)) for number in target]
        return sum(
            share * (mpmath.log(share) - (number - log_sum_exp))
            for share, number in zip(shares, z, strict=True)
            if share
        )


with mpmath.workdps(60):
    MEAN = float(sum(map(divergence, Z, Q)) / 5)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    "objective",
    [
        {},
        {"label_smoothing": 0.1, "z_loss": 0.1},
        {"weight": np.array([1.0, 2.0, 3.0, 4.0]), "reduction": "sum"},
        {"sample_weight": np.array([2.0, 1.0, 0.5, 3.0, 1.0]), "reduction": "none"},
    ],
    ids=lambda objective: "-".join(objective) or "plain",
)
def test_the_mean_of_a_batch(objective: dict[str, Any], exact: bool) -> None:
    answer = find_answer("loss", Problem.of(Z, Q, Objective(**objective)), None, exact=exact)
    assert answer.kl is not None
    if exact:
        assert answer.kl == MEAN
    else:
        assert answer.kl == pytest.approx(MEAN, abs=1e-15)


@pytest.mark.parametrize("exact", [False, True])
def test_samples_that_do_not_count(exact: bool) -> None:
    weight = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    objective = Objective(sample_weight=weight)
    answer = find_answer("loss", Problem.of(Z, Q, objective), None, exact=exact)
    kept = [divergence(z, q) for z, q, w in zip(Z, Q, weight, strict=True) if w]
    assert answer.kl == pytest.approx(float(sum(kept) / 3), abs=1e-15)


@pytest.mark.parametrize("arguments", [[], ["--exact"]])
def test_where_nothing_diverges(arguments: list[str]) -> None:
    assert printed("loss", "0", "0", "-q", "0.5,0.5", *arguments)["kl"] == 0.0
    assert printed("loss", "3", "-q", "1", *arguments)["kl"] == 0.0
    assert printed("loss", "1", "-inf", "-q", "0.5,0.5", *arguments)["kl"] == "Infinity"


def test_documents_and_tables() -> None:
    one = float(divergence([2.0, 1.0, 0.1], [0.7, 0.2, 0.1]))
    document = printed("grad", "2", "1", "0.1", "-q", "0.7,0.2,0.1")
    assert document["kl"] == pytest.approx(one, abs=1e-16)
    assert "KL(q‖ŷ)  0.005211\n" in shown("loss", "2", "1", "0.1", "-q", "0.7,0.2,0.1")
    batch = [json.dumps(array.tolist()) for array in (Z, Q)]
    text = shown("loss", batch[0], "-q", batch[1])
    assert f"KL(q‖ŷ)  {MEAN:.6f}, the mean over 5 samples" in text
    assert "kl" not in printed("loss", "1", "2", "-t", "0")
    assert "kl" not in printed("softmax", "1", "2")
