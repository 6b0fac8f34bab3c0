"""How a reply is judged."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import cecli
from cecli.conformance.judge import judge
from cecli.conformance.model import Reply, Verdict
from support.cases import named, right, solved


def judged(name: str, loss: Any = None, grad: Any = None, **more: Any) -> Verdict:
    case = named(name)
    reply = right(case)
    loss = reply.loss if loss is None else loss
    return judge(case, case.make(), Reply(loss, reply.grad if grad is None else grad, **more))


@pytest.mark.parametrize(
    ("name", "shape", "told"),
    [
        ("ordinary/small-batch", (5, 7), "(5, 7), where the logits have (7, 5)"),
        ("ordinary/small-batch", (7,), "(7,)"),
        ("ordinary/small-batch", (7, 5, 1), "(7, 5, 1)"),
    ],
)
def test_a_gradient_of_another_shape_has_failed(
    name: str, shape: tuple[int, ...], told: str
) -> None:
    verdict = judged(name, grad=np.zeros(shape))
    assert verdict.outcome == "failed"
    assert told in str(verdict.reason)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("ordinary/small-batch", np.zeros(7)),
        ("reduction/none", 1.0),
        ("reduction/none", np.zeros((7, 1))),
    ],
)
def test_a_loss_of_another_shape_has_failed(name: str, loss: NDArray[Any] | float) -> None:
    verdict = judged(name, loss=loss)
    assert verdict.outcome == "failed"
    assert "the loss has shape" in str(verdict.reason)


@pytest.mark.parametrize("nonsense", ["0.5", 1j, True, Exception(), [[1.0], [2.0, 3.0]]], ids=repr)
def test_what_is_not_numbers_has_failed(nonsense: Any) -> None:
    told = "the loss is not made of real numbers"
    assert judged("single/one-of-one", loss=nonsense).reason == told
    assert judged("single/one-of-one", grad=nonsense).outcome == "failed"


def test_one_number_may_be_an_array() -> None:
    loss = np.reshape(right(named("ordinary/small-batch")).loss, (1,))
    assert judged("ordinary/small-batch", loss=loss).outcome == "exact"


def test_nan_has_failed() -> None:
    grad = right(named("ordinary/small-batch")).grad
    grad[3, 1] = grad[4, 4] = math.nan
    verdict = judged("ordinary/small-batch", grad=grad)
    assert verdict.outcome == "failed"
    assert verdict.reason == "the gradient has NaN at row 3, class 1, and in 1 more places"
    assert judged("ordinary/small-batch", loss=math.nan).reason == "the loss is NaN"


def test_an_infinite_loss_is_asked_for() -> None:
    assert judged("masks/target", loss=math.inf).outcome == "exact"
    for loss in (1e300, 0.0, -math.inf):
        assert judged("masks/target", loss=loss).outcome == "wrong"


def test_digits_left() -> None:
    reply = right(named("ordinary/small-batch"))
    verdict = judged("ordinary/small-batch", grad=reply.grad * (1.0 + 1e-6))
    assert verdict.outcome == "inaccurate"
    assert verdict.digits == pytest.approx(6.0, abs=0.01)
    assert judged("ordinary/small-batch", loss=reply.loss * 2.0).digits is None


def test_what_is_wrong_is_diagnosed_and_what_is_rounded_is_not() -> None:
    grad = right(named("ordinary/small-batch")).grad
    assert [d.id for d in judged("ordinary/small-batch", grad=-grad).diagnosis] == ["sign-flipped"]
    rounded_off = judged("ordinary/small-batch", grad=grad * (1.0 + 1e-12))
    assert rounded_off.outcome == "inaccurate"
    assert rounded_off.diagnosis == ()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_result_is_judged_as_its_input(dtype: str) -> None:
    """Also where it comes in doubles: more digits than the type has are not asked for."""
    case = named(f"{dtype}/small-batch")
    exact = solved(case.name)
    unit = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    assert judged(case.name, grad=exact.grad * (1.0 + unit / 64)).passed("accurate")
    assert not judged(case.name, grad=exact.grad * (1.0 + 64 * unit)).passed()


def test_a_result_is_judged_as_what_it_was_computed_in() -> None:
    grad = right(named("ordinary/small-batch")).grad.astype(np.float32)
    assert not judged("ordinary/small-batch", grad=grad).passed()
    assert judged("ordinary/small-batch", grad=grad, precision="float32").outcome == "exact"


@pytest.mark.parametrize(
    ("name", "factor", "told"),
    [
        ("upstream/2", 1.0, "not multiplied"),
        ("upstream/uneven", 1.0, "not multiplied"),
        ("upstream/uneven", 0.5, "the first row's"),
        ("upstream/some-0", 1.0, "not multiplied"),
    ],
)
def test_upstream_mistakes_are_named(name: str, factor: float, told: str) -> None:
    grad = solved(name).grad * factor
    verdict = judged(name, grad=grad)
    assert verdict.outcome in ("wrong", "inaccurate")
    assert told in verdict.diagnosis[0].explanation


def test_nothing_comes_from_an_upstream_gradient_of_0() -> None:
    grad = right(named("upstream/some-0")).grad
    grad[1, 0] = 1e-300
    assert judged("upstream/some-0", grad=grad).outcome == "wrong"


@pytest.mark.parametrize(
    ("dtype", "least", "words"),
    [("float64", 2.0**-1022, "below 2.23e-308"), ("float32", 2.0**-126, "below 1.18e-38")],
)
def test_subnormal_numbers_that_are_flushed_are_told_as_such(
    dtype: str, least: float, words: str
) -> None:
    def flushing(logits: Any, target: Any) -> Any:
        found = cecli.cross_entropy(logits, target)
        loss, grad = np.asarray(found.loss), found.grad
        return tuple(np.where(np.abs(array) < least, 0, array) for array in (loss, grad))

    only = ["subnormal"] if dtype == "float64" else ["float32/subnormal"]
    report = cecli.verify(flushing, only=only)
    assert report.failures
    for verdict in report.failures:
        assert verdict.reason is not None, verdict
        assert words in verdict.reason
        assert f"one of {dtype}, are flushed to 0" in verdict.reason
        assert [found.id for found in verdict.diagnosis] == ["flush-to-zero"]
    assert f"{dtype}, are flushed to 0; Numbers below" in str(report)


def test_a_gradient_of_nothing_but_zeros_is_not_flushed() -> None:
    report = cecli.verify(lambda logits, target: 0.0 * logits, only=["ordinary"])
    assert {verdict.reason for verdict in report.failures} == {None}
