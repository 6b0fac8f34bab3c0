"""Cases as parameters of somebody's tests."""

from __future__ import annotations

import unittest
from typing import Any

import pytest

import cecli

SOME = cecli.cases(["ordinary", "weight"], skip=["*/textbook"])


def summed(logits: Any, target: Any) -> Any:
    result = cecli.cross_entropy(logits, target, reduction="sum")
    return result.loss, result.grad


@pytest.mark.parametrize("case", SOME, ids=str)
def test_a_case_checks_a_function(case: cecli.Case) -> None:
    assert case.check(cecli.cross_entropy).outcome in ("exact", "accurate")


def test_they_are_chosen_and_left_out_by_name() -> None:
    assert {case.family for case in SOME} == {"ordinary", "weight"}
    assert "ordinary/textbook" not in map(str, SOME)
    assert {case.family for case in cecli.cases(large=True)} - {
        c.family for c in cecli.cases()
    } == {"large"}
    with pytest.raises(cecli.CecliError, match="no case matches 'nothing'"):
        cecli.cases(["nothing"])


def test_a_failure_says_why() -> None:
    (case,) = cecli.cases(["ordinary/small-batch"])
    with pytest.raises(AssertionError) as caught:
        case.check(summed)
    text = str(caught.value)
    assert text.startswith("ordinary/small-batch: the mean divides by N, and not by N·C\n  loss wr")
    assert "not-averaged: " in text


def test_what_is_not_supported_is_skipped() -> None:
    (case,) = cecli.cases(["weight/mean"])
    with pytest.raises(unittest.SkipTest, match="weight/mean is not supported: there is no param"):
        case.check(summed)


def test_a_case_shows_what_it_is_about() -> None:
    (case,) = cecli.cases(["ordinary/textbook"])
    assert repr(case).startswith("Case(name='ordinary/textbook', reason='")
    assert " at 0x" not in repr(case)
