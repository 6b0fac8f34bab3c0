"""Running cases: what is asked for, in which type, and what a failure ends."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cecli.conformance.model import Failure, Inputs, NotSupported, Reply
from cecli.conformance.run import as_dtype, verify
from support.cases import CASES, FEW, named, right
from support.implementations import Textbook


class Fixed:
    """An implementation that replies what it is told to."""

    name = "fixed"
    features: frozenset[str] | None = None
    dtype: str | None = None

    def __init__(self, *replies: Reply | Exception) -> None:
        self.replies = list(replies)
        self.asked: list[Inputs] = []

    def run(self, inputs: Inputs) -> Reply:
        self.asked.append(inputs)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def close(self) -> None:
        pass


def test_what_is_not_declared_is_not_asked_for() -> None:
    implementation = Fixed()
    implementation.features = frozenset({"weight"})
    (verdict,) = verify(implementation, [named("smoothing/weight-sum")])
    assert verdict.outcome == "not supported"
    assert verdict.reason == "label-smoothing, sum"
    assert verdict.passed()
    assert implementation.asked == []


def test_what_is_missing_is_found_by_asking() -> None:
    (verdict,) = verify(Fixed(NotSupported("weights")), [named("weight/mean")])
    assert (verdict.outcome, verdict.reason) == ("not supported", "weights")


def test_a_failure_fails_its_case_alone() -> None:
    case = named("ordinary/textbook")
    implementation = Fixed(Failure("ValueError: no"), right(case))
    verdicts = list(verify(implementation, [case, case]))
    assert [verdict.outcome for verdict in verdicts] == ["failed", "exact"]
    assert verdicts[0].reason == "ValueError: no"


def test_after_a_fatal_failure_nothing_is_run() -> None:
    implementation = Fixed(Failure("no answer in 10 seconds", fatal=True))
    verdicts = list(verify(implementation, CASES[:3]))
    assert [v.reason for v in verdicts] == ["no answer in 10 seconds"] * 3
    assert len(implementation.asked) == 1


@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param("float64", marks=pytest.mark.slow),
        pytest.param("float32", marks=pytest.mark.slow),
        pytest.param("float16", marks=pytest.mark.slow),
        "bfloat16",
    ],
)
def test_all_cases_can_be_had_in_one_type(dtype: str) -> None:
    class Cast(Textbook):
        def run(self, inputs: Inputs) -> Reply:
            assert inputs.dtype == dtype
            return super().run(inputs)

    implementation = Cast()
    implementation.dtype = dtype
    verdicts = list(verify(implementation, FEW))
    assert [v for v in verdicts if not v.passed()] == []
    ran = sum(verdict.outcome != "not supported" for verdict in verdicts)
    assert ran > 180


@pytest.mark.parametrize("name", ["layout/expanded", "layout/one-class-for-all"])
def test_what_is_written_over_shared_memory_is_told(name: str) -> None:
    class InPlace(Textbook):
        def run(self, inputs: Inputs) -> Reply:
            for row, index in zip(inputs.logits, inputs.target, strict=True):
                exponentials = np.exp(row - row.max())
                row[:] = exponentials / exponentials.sum()
                row[index] -= 1.0
            return Reply(np.float64(1.0), np.array(inputs.logits) / len(inputs.logits))

    (verdict,) = verify(InPlace(), [named(name)])
    assert (verdict.outcome, verdict.diagnosis) == ("wrong", ())
    assert verdict.reason == "the logits were changed in place"


def test_what_is_right_may_be_written_over_shared_memory() -> None:
    class Afterwards(Textbook):
        def run(self, inputs: Inputs) -> Reply:
            reply = super().run(inputs)
            inputs.logits[...] = 0.0
            return reply

    (verdict,) = verify(Afterwards(), [named("layout/expanded")])
    assert verdict.passed()


def test_a_cast_keeps_the_layout() -> None:
    inputs = as_dtype(named("layout/every-other-row").make(), "float32")
    assert inputs.logits.dtype == np.float32
    assert inputs.logits.strides == (14 * 4, 4)


def test_a_cast_refuses_what_is_beyond_the_type() -> None:
    with pytest.raises(NotSupported, match="beyond float32"):
        as_dtype(named("magnitude/1e300").make(), "float32")
    masked = as_dtype(named("masks/one").make(), "float16")
    assert masked.logits[0, 0] == -math.inf
