"""Arrays and options that make no problem: one line that says which number, and where it stands."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

import cecli
from cecli import CecliError, cross_entropy, log_softmax, softmax
from support.each import each
from support.oracle import MAX

INF, NAN = math.inf, math.nan


def is_one_line_with(error: CecliError, *fragments: str) -> bool:
    message = str(error)
    return "\n" not in message and all(fragment in message for fragment in fragments)


@each(
    ("logits", "target", "fragments"),
    [
        ([1.0, NAN], 0, ["1", "NaN"]),
        ([[1.0, 2.0], [INF, 0.0]], [0, 0], ["sample 1", "0", "inf"]),
        ([[1.0, 2.0], [0.0, 0.0], [-INF, -INF]], [0, 0, 0], ["sample 2", "-inf"]),
        ([-INF], 0, ["-inf"]),
        ([], 0, ["empty"]),
        (np.zeros((2, 0)), [0, 0], ["empty"]),
        ([[1.0, 2.0], [3.0]], [0, 0], ["equal length"]),
        (1.0, 0, ["single number"]),
        ([1.0, 2.0], 2, ["2", "0 to 1"]),
        ([1.0, 2.0], -1, ["-1", "0 to 1"]),
        ([[1.0, 2.0]] * 3, [0, 1, 7], ["7", "sample 2", "0 to 1"]),
        ([[[1.0, 2.0]] * 3] * 2, [[0, 0, 0], [0, -1, 0]], ["-1", "sample (1, 1)", "0 to 1"]),
        ([[1.0, 2.0]] * 2, [0, -100], ["-100", "sample 1", "ignore"]),
        ([[1.0, 2.0]] * 2, [0], ["1", "2"]),
        ([[1.0, 2.0]] * 2, [[0, 1]], ["(1, 2)", "(2,)"]),
        ([[1.0, 2.0]] * 2, [0.0, 1.5], ["whole number"]),
        ([1.0, 2.0], 0.5, ["whole number"]),
        ([1.0, 2.0], [1.5, -0.5], ["1", "-0.5"]),
        ([1.0, 2.0], [NAN, 1.0], ["0", "nan"]),
        ([1.0, 2.0], [0.5, 0.52], ["1.02"]),
        ([[1.0, 2.0]] * 2, [[0.5, 0.5], [0.5, 0.48]], ["sample 1", "0.98"]),
        ([[1.0, 2.0]], [[0.2, 0.3, 0.5]], ["(1, 3)", "(1, 2)"]),
        (np.zeros((0, 2)), np.zeros(0, dtype=int), ["mean", "no samples"]),
        ([1.0, 2j], 0, ["complex"]),
        (["a", "b"], 0, ["numbers"]),
        ([1.0, None], 0, ["numbers"]),
    ],
)
@each("exact", [False, True])
def test_bad_arrays(
    logits: ArrayLike, target: ArrayLike, fragments: list[str], exact: bool
) -> None:
    with pytest.raises(CecliError) as raised:
        cross_entropy(logits, target, exact=exact)
    assert is_one_line_with(raised.value, *fragments), raised.value


@each(
    ("options", "fragments"),
    [
        ({"weight": [1.0, 2.0]}, ["2", "3"]),
        ({"weight": [[1.0, 2.0, 3.0]]}, ["(1, 3)"]),
        ({"weight": [1.0, -2.0, 1.0]}, ["-2", "1"]),
        ({"weight": [1.0, 1.0, NAN]}, ["nan", "2"]),
        ({"weight": [INF, 1.0, 1.0]}, ["inf", "0"]),
        ({"weight": [0.0, 0.0, 1.0]}, ["mean", "sum to 0"]),
        ({"weight": [MAX, MAX, 1.0]}, ["weight"]),
        ({"ignore_index": 0}, ["mean", "0"]),
        ({"temperature": 0.0}, ["temperature", "0"]),
        ({"temperature": -1.0}, ["temperature", "-1"]),
        ({"temperature": INF}, ["temperature", "inf"]),
        ({"softcap": 0.0}, ["softcap", "0"]),
        ({"softcap": NAN}, ["softcap", "nan"]),
        ({"z_loss": -1e-4}, ["z_loss", "-0.0001"]),
        ({"label_smoothing": 1.5}, ["label_smoothing", "1.5"]),
        ({"label_smoothing": -0.1}, ["label_smoothing", "-0.1"]),
        ({"reduction": "average"}, ["average", "mean"]),
        ({"axis": 2}, ["axis", "2"]),
        ({"axis": -3}, ["axis", "-3"]),
    ],
)
def test_bad_options(options: dict[str, Any], fragments: list[str]) -> None:
    with pytest.raises(CecliError) as raised:
        cross_entropy(np.zeros((2, 3)), [0, 0], **options)
    assert is_one_line_with(raised.value, *fragments), raised.value


@pytest.mark.parametrize("function", [softmax, log_softmax])
@pytest.mark.parametrize("logits", [[[0.0, 1.0], [NAN, 0.0]], [INF, 1.0], [-INF, -INF], [], 3.0])
def test_bad_logits_without_a_target(function: Any, logits: ArrayLike) -> None:
    with pytest.raises(CecliError) as raised:
        function(logits)
    assert is_one_line_with(raised.value)


def test_the_error_is_a_value_error() -> None:
    assert issubclass(cecli.CecliError, ValueError)
