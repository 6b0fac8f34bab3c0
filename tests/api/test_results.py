"""Results are values: their own numbers, which can be pickled and print as one wants."""

from __future__ import annotations

import itertools
import pickle
import tracemalloc
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import cecli
from cecli import CrossEntropy, cross_entropy
from support.oracle import Objective, Row, round_to, ulps

RANDOM = np.random.default_rng(4)


def same_arrays(one: CrossEntropy, other: CrossEntropy) -> bool:
    names = ("losses", "grad", "softmax", "log_softmax", "log_sum_exp")
    return all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in names)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
@pytest.mark.parametrize("axis", [-1, 1])
def test_a_result_is_that_of_what_was_given(axis: int, dtype: Any, exact: bool) -> None:
    logits = (RANDOM.normal(size=(3, 4, 5)) * 4).astype(dtype)
    target = RANDOM.integers(0, logits.shape[axis], (3, 5 if axis == 1 else 4))
    options: dict[str, Any] = {"axis": axis, "temperature": 0.7, "softcap": 9.0, "exact": exact}
    options["ignore_index"] = int(target[0, 0])
    before = logits.copy()
    wanted = cross_entropy(before, target.copy(), **options)
    result = cross_entropy(logits, target, **options)
    logits += dtype(3)
    target[...] = 1
    assert same_arrays(result, wanted)
    direct = cecli.softmax(before, axis=axis, temperature=0.7, softcap=9.0, exact=exact)
    kept = ~np.isnan(result.softmax)
    assert result.softmax[kept].tobytes() == direct[kept].tobytes()
    assert np.isnan(result.log_softmax).tolist() == (~kept).tolist()


def test_a_step_downhill_does_not_change_the_result() -> None:
    z = np.array([2.0, 1.0, 0.1])
    r = cross_entropy(z, 0)
    z -= 5 * r.grad
    assert r.softmax.tolist() == cecli.softmax([2.0, 1.0, 0.1]).tolist()


@pytest.mark.parametrize("exact", [False, True])
def test_a_result_without_the_logits(exact: bool) -> None:
    logits = RANDOM.normal(size=(5, 3)).astype(np.float32)
    options: dict[str, Any] = {"ignore_index": 1, "z_loss": 0.1, "exact": exact}
    whole = cross_entropy(logits, [0, 1, 2, 0, 2], **options)
    part = cross_entropy(logits, [0, 1, 2, 0, 2], keep_logits=False, **options)
    for name in ("losses", "grad", "log_sum_exp"):
        assert getattr(part, name).tobytes() == getattr(whole, name).tobytes()
    assert (part.loss, part.divisor) == (whole.loss, whole.divisor)
    for name in ("softmax", "log_softmax"):
        with pytest.raises(cecli.CecliError, match=f"^{name} was not kept: .*keep_logits=True"):
            getattr(part, name)
    assert repr(part).splitlines()[2] == "  grad: float32 (5, 3)"
    assert "<table" in part._repr_html_()
    sample = cross_entropy([2.0, 1.0], 0, exact=exact, keep_logits=False)._repr_html_()
    assert "∂L/∂z" in sample
    assert "ŷ" not in sample


def test_a_result_without_the_logits_has_only_the_gradient_in_memory() -> None:
    logits = np.zeros((1000, 1000))
    target = np.zeros(1000, dtype=int)
    cross_entropy(logits[:1], target[:1])
    peaks = []
    for keep in (False, True):
        tracemalloc.start()
        result = cross_entropy(logits, target, keep_logits=keep)
        peaks.append(tracemalloc.get_traced_memory()[0] / result.grad.nbytes)
        tracemalloc.stop()
        del result
    assert 1.0 <= peaks[0] < 1.2
    assert 2.0 <= peaks[1] < 2.2


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("asked", [False, True])
def test_a_result_can_be_pickled(exact: bool, asked: bool) -> None:
    result = cross_entropy(RANDOM.normal(size=(4, 3)), [0, 1, 2, 0], z_loss=0.1, exact=exact)
    if asked:
        _ = result.softmax
    again = pickle.loads(pickle.dumps(result))
    assert isinstance(again, CrossEntropy)
    assert same_arrays(again, result)
    assert (again.loss, again.divisor, again.z_loss_divisor) == (
        result.loss,
        result.divisor,
        result.z_loss_divisor,
    )


def test_a_check_can_be_pickled() -> None:
    result = cross_entropy([2.0, 1.0, 0.1], 0)
    check = cecli.check_gradient([2.0, 1.0, 0.1], 0, result.grad)
    assert repr(pickle.loads(pickle.dumps(check))) == repr(check)


def test_a_result_prints_in_a_few_lines() -> None:
    logits = np.array([[2.0, 1.0, 0.5], [0.0, 0.0, 0.0]], dtype=np.float32)
    result = cross_entropy(logits, [0, 1], z_loss=0.5)
    assert repr(result) == str(result)
    assert repr(result).splitlines() == [
        f"CrossEntropy: loss {result.loss!r}, divisor 2.0, the z-loss's 2.0",
        "  losses, log_sum_exp: float64 (2,)",
        "  softmax, log_softmax, grad: float32 (2, 3)",
    ]
    assert repr(cross_entropy(logits[0], 0)).startswith("CrossEntropy: loss 0.46436")
    unreduced = cross_entropy(np.zeros((1000, 50)), np.zeros(1000, dtype=int), reduction="none")
    assert repr(unreduced).splitlines()[0] == "CrossEntropy: loss of each sample, not reduced"
    assert len(repr(unreduced)) < 200


def test_a_check_prints_its_verdict() -> None:
    logits = np.zeros((5, 8))
    target = np.zeros(5, dtype=int)
    grad = cross_entropy(logits, target).grad
    assert repr(cecli.check_gradient(logits, target, grad)).startswith("GradientCheck: passed")
    grad[3, 5] += 1e-3
    text = repr(cecli.check_gradient(logits, target, grad))
    assert text.startswith("GradientCheck: FAILED")
    assert "worst at (3, 5)" in text
    assert len(text) < 300


# --- log Σ e^v ------------------------------------------------------------------------------------


# 1 − tanh(z/c) of a far larger z is so small that the oracle would need thousands of digits.
@pytest.mark.parametrize(
    ("offset", "options"),
    [
        *itertools.product([0.0, -1.7, 1e6, -745.0], [{}, {"temperature": 0.3}]),
        *((offset, {"softcap": 50.0}) for offset in (0.0, -1.7, 1e3, -745.0)),
    ],
    ids=str,
)
def test_log_sum_exp(offset: float, options: dict[str, Any]) -> None:
    spread = np.repeat([1e-3, 1.0, 30.0], 14)[:40, None]
    logits = RANDOM.normal(size=(40, 7)) * spread + offset
    logits[3, :6] = -np.inf
    logits[4] = -np.log(7.0)  # close to 0, which the parts are not
    target = np.zeros(40, dtype=int)
    target[3], target[5] = 6, -1
    found = cross_entropy(logits, target, ignore_index=-1, **options).log_sum_exp
    exact = cross_entropy(logits, target, ignore_index=-1, exact=True, **options).log_sum_exp
    assert np.isnan([found[5], exact[5]]).all()
    for row in {*range(40)} - {5}:
        oracle = Row(logits[row].tolist(), [Fraction(0)] * 7, Objective(**options))
        assert exact[row] == round_to(oracle.log_sum)
        # the largest v is at most the sum, and the rest no more than log 7
        parts = abs(oracle.log_sum) + Fraction(np.log(7.0))
        assert ulps(found[row], oracle.log_sum, scale=parts) <= 2.0


def test_log_sum_exp_of_one_class() -> None:
    for exact in (False, True):
        assert cross_entropy([[-5.5], [0.0]], [0, 0], exact=exact).log_sum_exp.tolist() == [-5.5, 0]
        assert cross_entropy([3.0], 0, temperature=2.0, exact=exact).log_sum_exp == 1.5
