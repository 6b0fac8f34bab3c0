"""A problem is checked once, and stays as it was checked."""

from __future__ import annotations

import tracemalloc
from dataclasses import FrozenInstanceError
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import cecli
from cecli.machine.rational import exact_divisors
from cecli.problem.divisors import Divisors
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem

RANDOM = np.random.default_rng(5)
LOGITS = RANDOM.normal(size=(6, 3))
TARGET = np.array([0, 1, 2, 2, -100, 1])
WEIGHT = [0.1, 0.7, 0.2]


def weighted() -> Problem:
    return Problem.of(LOGITS, TARGET, Objective(weight=WEIGHT, ignore_index=-100, z_loss=0.1))


@pytest.mark.parametrize("name", ["given", "truth", "objective", "weight", "dtype", "divisor"])
def test_a_problem_is_not_changed(name: str) -> None:
    problem = weighted()
    with pytest.raises((FrozenInstanceError, AttributeError)):
        setattr(problem, name, None)


def test_other_problems_are_made_of_it() -> None:
    problem = weighted()
    assert problem.divisor == pytest.approx(0.1 + 2 * 0.7 + 2 * 0.2)
    assert problem.z_loss_divisor == 5.0
    assert problem.unreduced().divisor is None
    assert (problem.unweighted().divisor, problem.unweighted().weight) == (5.0, None)
    assert problem.rounded_to(np.dtype(np.float32)).dtype == np.float32
    assert problem.dtype == np.float64
    assert problem.objective.reduction == "mean"


def test_some_rows_keep_the_divisors_of_the_whole() -> None:
    problem = weighted()
    some = problem.only(np.array([4, 1]))
    assert (some.divisor, some.z_loss_divisor) == (problem.divisor, problem.z_loss_divisor)
    assert exact_divisors(some) == exact_divisors(problem)
    w = [Fraction(weight) for weight in WEIGHT]
    assert exact_divisors(problem) == (w[0] + 2 * w[1] + 2 * w[2], Fraction(5))
    assert (some.rows[1].tolist(), some.kept.tolist()) == (LOGITS[1].tolist(), [False, True])
    assert problem.only(np.array([1]), divided=False).divisor is None


def test_divisors_of_a_larger_batch() -> None:
    problem = Problem.of(LOGITS[:2], TARGET[:2], divisors=Divisors(8.0, 9.0))
    assert (problem.divisor, problem.z_loss_divisor) == (8.0, 9.0)


def test_weights_of_any_size_are_added_up_without_rounding() -> None:
    random = np.random.default_rng(4)
    for count in (0, 1, 40):
        weights, of_classes = np.ldexp(
            random.random((2, count)), random.integers(-1074, 1024, count)
        )
        weights[::5] = 0.0
        pairs = [(Fraction(a), Fraction(b)) for a, b in zip(weights, of_classes, strict=True)]
        found = Divisors(None, None, shares=(weights, of_classes)).of_shares
        assert found == (sum(a * b for a, b in pairs), sum(a for a, _ in pairs))


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_target_of_several_dimensions_is_not_copied(order: Any) -> None:
    target = np.zeros((3000, 1000), dtype=np.int64, order=order)
    target[1, 0] = 1
    logits = np.broadcast_to(np.float32(0.0), (3000, 1000, 2))
    tracemalloc.start()
    try:
        problem = Problem.of(logits, target)
        index = problem.block(1000, 1002).index
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert index is not None
    assert index.tolist() == [1, 0]
    assert most < target.nbytes / 3


# --- Integers that no double holds ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "dtype", "nearest"),
    [
        (2**53 + 1, np.int64, 2**53),
        (-(2**53) - 1, np.int64, -(2**53)),
        (2**63 - 1, np.int64, 2**63),
        (2**64 - 1, np.uint64, 2**64),
        (2**60 + 2**7, np.int64, 2**60),
    ],
)
def test_an_integer_that_would_be_rounded_is_refused(
    value: int, dtype: type[np.generic], nearest: int
) -> None:
    logits: NDArray[Any] = np.array([[0, 1], [2, value]], dtype=dtype)
    message = f"logit 1 of sample 1 is {value}: no double holds .* nearest is {nearest}$"
    for call in (
        lambda: cecli.softmax(logits),
        lambda: cecli.cross_entropy(logits, [0, 0]),
        lambda: cecli.cross_entropy(logits, [0, 0], exact=True),
    ):
        with pytest.raises(cecli.CecliError, match=message):
            call()
    # an ignored row may hold anything
    assert cecli.cross_entropy(logits, [0, 7], ignore_index=7).losses[1] == 0.0


def test_a_weight_that_would_be_rounded_is_refused() -> None:
    weights = np.array([1, 2**53 + 1], dtype=np.int64)
    message = f"1 is {2**53 + 1}: no double holds .* nearest is {2**53}$"
    with pytest.raises(cecli.CecliError, match=f"^weight {message}"):
        cecli.cross_entropy(np.eye(2), [0, 1], weight=weights)
    with pytest.raises(cecli.CecliError, match=f"^sample_weight of sample {message}"):
        cecli.cross_entropy(np.eye(2), [0, 1], sample_weight=weights)
    assert cecli.cross_entropy(np.eye(2), [0, 1], weight=weights - 1).loss > 0.0


@pytest.mark.parametrize("value", [2**53, -(2**53), 2**53 + 2, -(2**63), 3 * 2**60, 0])
def test_an_integer_that_a_double_holds_is_exact(value: int) -> None:
    logits = np.array([value, 0], dtype=np.int64)
    assert cecli.softmax(logits).tolist() == cecli.softmax([float(value), 0.0]).tolist()
