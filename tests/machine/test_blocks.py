"""Blocks and threads leave no trace in any result."""

from __future__ import annotations

import math
import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecli import CecliError, cross_entropy, softmax
from cecli.api import solve
from cecli.core.evaluate import sweep
from cecli.core.totals import GroupedSum, Tally, Totals, empty_tally
from cecli.machine import blocks
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem
from cecli.problem.wanted import RowArray, Wanted
from support.each import each

OBJECTIVES: list[dict[str, Any]] = [
    {},
    {"reduction": "sum", "weight": [0.3, 1.9, 0.1, 1.2, 0.7, 1e-3, 1.0]},
    {"label_smoothing": 0.1, "temperature": 0.7},
    {"z_loss": 0.1, "softcap": 5.0, "ignore_index": 3},
    {"reduction": "none"},
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_size_of_block_and_no_thread_shows(
    objective: dict[str, Any], dtype: type[np.floating[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(3)
    logits = random.normal(size=(5000, 7)) * 10
    # Rows that are computed in another way than their neighbours are.
    logits[::7] += 1e7
    logits[::11, 2] = -np.inf
    logits[::13, 4] = 1e-12
    logits[::17, 5] = -1e30
    logits[::19, 6] += 40.0
    logits[::23, 1] += 900.0
    logits = logits.astype(dtype)
    target = random.choice([0, 1, 3, 6], 5000)
    results = []
    for rows, jobs in ((10**9, 1), (37, 1), (1000, 2), (333, 3)):
        monkeypatch.setattr(blocks, "BLOCK_BYTES", rows * 7 * 8)
        monkeypatch.setattr(blocks, "cores", lambda jobs=jobs: jobs)
        result = cross_entropy(logits, target, **objective)
        arrays = [np.asarray(result.loss), result.losses, result.grad, result.softmax]
        results.append([array.tobytes() for array in arrays])
    assert all(result == results[0] for result in results)
    # A row by itself; the divisor of a mean, and so every gradient, is that of fewer rows.
    some, by_rows = logits[:240], []
    for rows in (10**9, 1):
        monkeypatch.setattr(blocks, "BLOCK_BYTES", rows * 7 * 8)
        result = cross_entropy(some, target[:240], **objective)
        by_rows.append((result.losses.tobytes(), result.grad.tobytes(), result.softmax.tobytes()))
    assert by_rows[0] == by_rows[1]


def test_a_bad_row_far_down_is_named() -> None:
    logits = np.zeros((300_000, 4), dtype=np.float32)
    logits[234_567, 2] = np.nan
    with pytest.raises(CecliError, match=r"logit 2 of sample 234567 is NaN"):
        softmax(logits)


@pytest.mark.parametrize("classes", [3, 70, 9000])
def test_a_nan_is_found_in_a_row_of_any_width(classes: int) -> None:
    logits = np.zeros((50, classes))
    logits[31, classes - 2] = np.nan
    with pytest.raises(CecliError, match=rf"logit {classes - 2} of sample 31 is NaN"):
        softmax(logits)


@each("jobs", [1, 2, 7])
@each("samples", [0, 1, 7, 99, 100_000])
@each("row_bytes", [4, 800, 10**7])
def test_blocks_cover_all_rows_once_in_equal_shares(
    samples: int, row_bytes: int, jobs: int
) -> None:
    ranges = list(blocks.block_ranges(samples, row_bytes, jobs))
    covered = [row for start, stop in ranges for row in range(start, stop)]
    assert covered == list(range(samples))
    sizes = {stop - start for start, stop in ranges[:-1]}
    assert len(sizes) <= 1
    for size in sizes:
        assert size <= blocks.BLOCK_ROWS
        assert size == 1 or size * row_bytes <= blocks.BLOCK_BYTES


@pytest.mark.parametrize("classes", [1, 2, 10, 64, 65, 5000])
def test_every_width_has_the_same_results_row_by_row(classes: int) -> None:
    random = np.random.default_rng(3)
    logits = random.normal(size=(40, classes)) * 4
    target = random.integers(0, classes, 40)
    batch = cross_entropy(logits, target, reduction="sum")
    rows = [cross_entropy(row, t, reduction="sum") for row, t in zip(logits, target, strict=True)]
    losses = np.array([row.losses for row in rows])
    np.testing.assert_allclose(batch.losses, losses, rtol=1e-15, atol=0.0)
    np.testing.assert_allclose(batch.grad, [row.grad for row in rows], rtol=2e-15, atol=0.0)


def test_probabilities_are_made_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    result = solve(Problem.of(np.zeros((2, 3)), np.array([0, 1]), Objective()))
    monkeypatch.setattr("cecli.api._array_of", None)
    assert result.loss == pytest.approx(np.log(3))
    with pytest.raises(TypeError):
        _ = result.softmax


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_jobs_leave_no_trace(jobs: int) -> None:
    random = np.random.default_rng(3)
    logits = random.normal(size=(40_000, 9))
    problem = Problem.of(logits, random.integers(0, 9, 40_000), Objective(z_loss=0.01))
    array = RowArray("grad", problem.dtype)
    wanted = Wanted({array: None}, worst=3)
    parts = list(sweep(problem, wanted, jobs))
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    whole = solve(problem)
    grad = np.concatenate([part.arrays[array] for part in parts])
    assert grad.tobytes() == whole.grad.tobytes()
    totals = Totals(worst=3)
    for part in parts:
        totals.add(part)
    assert totals.loss(problem.divisors) == whole.loss
    highest = np.argsort(-whole.losses, kind="stable")[:3]
    assert totals.tally.highest[1].tolist() == highest.tolist()


@given(
    st.lists(st.one_of(st.floats(0, 1e3), st.sampled_from([1e300, 5e-324, 0.0])), max_size=5000),
    st.lists(st.integers(0, 5000), max_size=6),
)
def test_a_grouped_sum_does_not_depend_on_the_pieces(values: list[float], cuts: list[int]) -> None:
    array = np.array(values, dtype=np.float64)
    whole, pieces = GroupedSum(), GroupedSum()
    whole.add(array)
    for piece in np.split(array, sorted(min(cut, len(array)) for cut in cuts)):
        pieces.add(piece)
    first, second = GroupedSum(), GroupedSum()
    first.add(array[:2048])
    second.add(array[2048:])
    if len(array) >= 2048:
        first.extend(second)
        assert first.total() == whole.total()
    assert pieces.total(7.0) == whole.total(7.0)
    exact = sum(map(Fraction, values), Fraction(0))
    assert whole.total() == pytest.approx(float(exact), rel=2.3e-16, abs=0.0)


@pytest.mark.parametrize("size", [700, 1024, 70_000])
def test_a_grouped_sum_of_many_does_not_depend_on_when_it_is_taken(size: int) -> None:
    random = np.random.default_rng(3)
    values = random.exponential(size=300_000)
    pieces, whole = GroupedSum(), GroupedSum()
    whole.add(values)
    for start in range(0, len(values), size):
        pieces.add(values[start : start + size])
        if start == 7 * size:
            pieces.total()
    assert pieces.total() == whole.total() == pytest.approx(math.fsum(values), rel=2.3e-16)


def test_a_grouped_sum_is_sent_summed() -> None:
    random = np.random.default_rng(3)
    total = GroupedSum()
    total.add(random.exponential(size=100_000))
    sent = pickle.dumps(total)
    assert len(sent) < 20_000
    assert pickle.loads(sent).total() == total.total()


def test_a_grouped_sum_overflows_only_where_its_mean_does() -> None:
    total = GroupedSum()
    total.add(np.full(3000, 1.7e308))
    assert total.total(3000.0) == pytest.approx(1.7e308, rel=1e-15)
    assert total.total() == np.inf


def test_a_grouped_sum_of_numbers_beyond_the_doubles() -> None:
    # Over 2^1000 each is 3·2^30, beside 2^1000: 3·2^1030 + … over 2^40.
    pieces, whole, later = GroupedSum(), GroupedSum(), GroupedSum()
    values = np.full(3000, 2.0**960)
    values[[5, 2999]] = np.inf
    beyond = np.full(2, 3 * 2.0**30)
    whole.add(values, beyond)
    pieces.add(values[:2048], beyond[:1])
    later.add(values[2048:], beyond[1:])
    pieces.extend(pickle.loads(pickle.dumps(later)))
    exact = (6 * 2**1030 + 2998 * 2**960) / 2**40
    assert pieces.total(2.0**40) == whole.total(2.0**40) == exact
    assert whole.total() == np.inf
    whole.add(np.array([np.inf]), np.array([np.inf]))
    assert whole.total(2.0**40) == np.inf


def tally_of(problem: Problem) -> Tally:
    totals = Totals(worst=0)
    for part in sweep(problem, Wanted(worst=0)):
        totals.add(part)
    return totals.tally


def test_bars_do_not_depend_on_the_pieces() -> None:
    random = np.random.default_rng(3)
    losses = random.exponential(size=4000) ** 3
    logits = np.stack([np.zeros(4000), np.log(np.expm1(losses))], axis=1)
    problem = Problem.of(logits, np.zeros(4000, dtype=int), Objective())
    whole = tally_of(problem).bars
    pieces = empty_tally()
    for rows in np.split(np.arange(4000), [1, 17, 18, 900]):
        pieces = pieces.merged(tally_of(problem.only(rows)), 0)
    assert (pieces.bars.exponent, pieces.bars.counts.tolist()) == (
        whole.exponent,
        whole.counts.tolist(),
    )
