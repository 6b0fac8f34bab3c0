"""Mistakes are named in files as people save them: rounded, in another order, large."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import cecli
from cecli.machine.compiled import kernel

Array = NDArray[Any]
RANDOM = np.random.default_rng(0)
LOGITS, TARGET = 2.0 * RANDOM.normal(size=(64, 10)), RANDOM.integers(0, 10, 64)


def right_and_softmax() -> tuple[Array, Array, Array]:
    softmax = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    one_hot = np.eye(10)[TARGET]
    return (softmax - one_hot) / 64, softmax, one_hot


def mistakes() -> dict[str, Array]:
    right, softmax, one_hot = right_and_softmax()
    again = np.exp(softmax) / np.exp(softmax).sum(axis=1, keepdims=True)
    return {
        "missing-one-hot": softmax / 64,
        "not-averaged": right * 64,
        "sign-flipped": -right,
        "added-one-hot": (softmax + one_hot) / 64,
        "half-averaged": softmax - one_hot / 64,
        "wrong-axis": (np.exp(LOGITS) / np.exp(LOGITS).sum(axis=0) - one_hot) / 64,
        "wrong-target-index": (softmax - np.roll(one_hot, -1, axis=1)) / 64,
        "softmax-twice": (again - one_hot) / 64,
        "log-base": right / np.log(2.0),
        "jacobian-twice": right * softmax * (1.0 - softmax),
        "constant-factor": right * 7.0,
        "rows-left-out": np.where(np.arange(64)[:, None] < 48, right, 0.0),
        "classes-left-out": np.where(np.arange(10) < 8, right, 0.0),
    }


@pytest.mark.parametrize("name", mistakes())
@pytest.mark.parametrize("decimals", [4, 6])
def test_a_mistake_is_named_in_rounded_numbers(name: str, decimals: int) -> None:
    wrong = np.round(mistakes()[name], decimals)
    found = cecli.compare(LOGITS, TARGET, grad=wrong).diagnosis
    assert [one.id for one in found] == [name]
    words = f"The numbers are rounded to {decimals} decimals, too."
    assert found[0].explanation.endswith(words)


@pytest.mark.parametrize("decimals", [4, 6])
def test_a_mistake_is_named_in_a_rounded_loss(decimals: int) -> None:
    _, softmax, one_hot = right_and_softmax()
    loss = float(-np.log(softmax[one_hot == 1.0]).mean())
    for name, wrong in (
        ("not-averaged", 64 * loss),
        ("sign-flipped", -loss),
        ("log-base", loss / np.log(2.0)),
        ("perplexity", np.exp(loss)),
        ("", loss + 0.1234567),
        ("", 1.2345678 * loss),
    ):
        found = cecli.compare(LOGITS, TARGET, loss=round(wrong, decimals)).diagnosis
        assert [one.id for one in found] == [name] * bool(name)
        for one in found:
            assert "The numbers are rounded to " in one.explanation
    right = cecli.compare(LOGITS, TARGET, loss=round(loss, decimals)).diagnosis
    assert [one.id for one in right] == ["rounded"]


def test_right_numbers_that_are_rounded_have_no_other_mistake() -> None:
    right, _, _ = right_and_softmax()
    found = cecli.compare(LOGITS, TARGET, grad=np.round(right, 5)).diagnosis
    assert [one.id for one in found] == ["rounded"]


def test_numbers_of_which_some_are_rounded_are_judged_by_all_their_digits() -> None:
    wrong = mistakes()["missing-one-hot"]
    wrong[:48] = np.round(wrong[:48], 4)
    assert cecli.compare(LOGITS, TARGET, grad=wrong).diagnosis == ()


@pytest.mark.parametrize("decimals", [2, 3, 4, 6])
def test_what_nothing_explains_is_not_named_in_rounded_numbers(decimals: int) -> None:
    noise = np.random.default_rng(1).normal(size=(64, 10)) / 10.0
    assert cecli.compare(LOGITS, TARGET, grad=np.round(noise, decimals)).diagnosis == ()


def test_two_numbers_that_are_rounded_are_no_factor_first() -> None:
    right = np.asarray(cecli.cross_entropy([0.3, 1.0], 0).grad)
    for wrong, name in ((right, "rounded"), (-right, "sign-flipped"), (3.0 * right, "constant")):
        found = cecli.compare([0.3, 1.0], 0, grad=np.round(wrong, 5)).diagnosis
        assert [one.id.removesuffix("-factor") for one in found] == [name]


def test_the_other_one_of_two_classes_is_no_neighbour_on_one_side() -> None:
    softmax = np.asarray(cecli.softmax([2.0, 1.0]))
    for target, wrong in ((0, softmax - [0, 1]), (1, softmax - [1, 0])):
        found = cecli.compare([2.0, 1.0], target, grad=wrong).diagnosis
        assert "the other one of the two." in found[0].explanation


def test_rounding_in_ignored_rows_is_no_sum_that_is_off() -> None:
    _, softmax, one_hot = right_and_softmax()
    target = np.where(np.arange(64) % 7 == 0, -1, TARGET)
    wrong = softmax * np.linspace(0.5, 1.5, 10) - one_hot
    wrong -= wrong.mean(axis=1, keepdims=True)
    lines = cecli.compare(LOGITS, target, grad=wrong, ignore_index=-1).description
    assert lines == ("every component is off", "every row sums to 0, as it should")


@pytest.mark.parametrize(
    ("logit", "type_"),
    [(-np.inf, np.float64), (-1e4, np.float32), (-735.0, np.float64), (-400.0, np.float64)],
)
def test_factors_are_told_where_some_classes_are_masked(logit: float, type_: type) -> None:
    logits, one_hot = LOGITS.copy(), np.eye(10)[TARGET % 8]
    logits[:, 8:] = logit
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    right, own = (softmax - one_hot) / 64, np.linspace(0.5, 2.0, 64)[:, None] ** 2
    for name, wrong in (
        ("constant-factor", 2.5 * right),
        ("sample-weights", own * right),
        ("extra-mass", (0.75 * softmax - one_hot) / 64),
        ("half-averaged", 3.0 * (softmax / 64 - one_hot)),
    ):
        found = cecli.compare(logits, TARGET % 8, grad=wrong.astype(type_)).diagnosis
        assert [one.id for one in found] == [name]


def test_a_factor_is_one_for_all_rows_where_some_are_ignored() -> None:
    target = np.where(np.arange(64) % 7 == 0, -1, TARGET)
    right = np.asarray(cecli.cross_entropy(LOGITS, target, ignore_index=-1).grad)
    found = cecli.compare(LOGITS, target, grad=2.5 * right, ignore_index=-1).diagnosis
    assert [one.id for one in found] == ["constant-factor"]
    assert found[0].value == pytest.approx(2.5)


# Next to each other by one key, some change places with what their numbers are rounded by.


@pytest.mark.skipif(kernel() is None, reason="decimal arithmetic takes minutes")
@pytest.mark.parametrize(
    ("shape", "name"),
    [((200_000, 3), "permuted-rows"), ((16, 60_000), "permuted-classes")],
)
def test_many_in_another_order(shape: tuple[int, int], name: str) -> None:
    random = np.random.default_rng(0)
    logits = 3.0 * random.standard_normal(shape, dtype=np.float32)
    target = random.integers(0, shape[1], shape[0])
    grad = np.asarray(cecli.cross_entropy(logits, target).grad)
    axis = 0 if name == "permuted-rows" else 1
    wrong = np.take(grad, random.permutation(shape[axis]), axis=axis)
    assert [one.id for one in cecli.compare(logits, target, grad=wrong).diagnosis] == [name]
