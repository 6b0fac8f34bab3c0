"""What is found for a command, in blocks, with all that is shown of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import cecli
from cecli.answer.answer import Shown, find_answer
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem
from support.in_process import complaint, printed

RANDOM = np.random.default_rng(9)


class Blocks:
    """An output that keeps what it is given."""

    is_final = False

    def __init__(self, dtype: Any) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.blocks: list[NDArray[Any]] = []

    def dtype_for(self, problem: Problem) -> np.dtype[Any]:
        return self.dtype

    def begin(self, problem: Problem) -> None:
        assert not self.blocks

    def write(self, rows: NDArray[Any]) -> None:
        self.blocks.append(rows.copy())


def exact_problem(**options: Any) -> Problem:
    """Rows for several blocks of the exact arithmetic, of few different numbers."""
    logits = RANDOM.integers(0, 3, (40, 600)).astype(np.float32)
    target = RANDOM.integers(0, 600, 40)
    target[7] = -1
    return Problem.of(logits, target, Objective(ignore_index=-1, **options))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_exact_arithmetic_goes_block_by_block(
    dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in ("BLOCK_BYTES", "PAIRS_BLOCK_BYTES"):
        monkeypatch.setattr(f"cecli.exact.solve.{size}", 2**15)
    problem, output, shares = exact_problem(), Blocks(dtype), list[float]()
    answer = find_answer("grad", problem, None, exact=True, output=output, progress=shares.append)
    assert len(shares) == len(output.blocks) > 2
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    grad = np.concatenate(output.blocks)
    wanted = cecli.cross_entropy(
        problem.rows, np.asarray(problem.target), ignore_index=-1, exact=True
    )
    assert answer.loss == wanted.loss
    assert grad.dtype == dtype
    assert grad.astype(np.float64) == pytest.approx(wanted.grad, rel=1e-3, abs=1e-7)
    if dtype == np.float64:
        assert grad.tobytes() == wanted.grad.tobytes()


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("options", [{}, {"weight": [0.5] * 599 + [2.0], "z_loss": 0.1}], ids=len)
def test_what_is_shown_is_what_is_found(options: dict[str, Any], exact: bool) -> None:
    problem = exact_problem(**options)
    shown = Shown(frozenset({"softmax", "log_softmax", "losses", "grad"}), 9, True, worst=40)
    answer = find_answer("grad", problem, None, exact=exact, shown=shown)
    result = cecli.cross_entropy(
        problem.logits, np.asarray(problem.target), ignore_index=-1, exact=exact, **options
    )
    for name in shown.arrays:
        assert answer.arrays[name].tobytes() == getattr(result, name).tobytes()
    head, summary = answer.head, answer.summary
    assert head is not None
    assert summary is not None
    assert head.losses is not None
    assert head.rows is not None
    assert head.losses.tolist() == result.losses[:9].tolist()
    assert head.rows.tolist() == result.grad[:9].tolist()
    assert head.kept.tolist() == [row != 7 for row in range(9)]
    each, predicted = np.arange(9), head.predictions.predicted
    best = result.softmax[each, predicted]
    assert head.predictions.probability[head.kept].tolist() == best[head.kept].tolist()
    assert summary.worst_samples is not None
    assert len(summary.worst_samples) == 39
    for sample in summary.worst_samples:
        softmax = result.softmax[sample.sample]
        assert sample.loss == result.losses[sample.sample]
        assert np.float32(sample.predicted_probability) == softmax[sample.predicted]
        assert sample.target is not None
        assert sample.target_probability is not None
        assert np.float32(sample.target_probability) == softmax[sample.target]


def test_a_bad_row_is_told_before_the_exact_arithmetic_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logits = RANDOM.normal(size=(5000, 10))
    logits[4321, 3] = np.nan
    monkeypatch.setattr("cecli.exact.row.ExactRow.at", None)
    problem = Problem.of(logits, np.zeros(5000, dtype=int))
    with pytest.raises(cecli.CecliError, match="logit 3 of sample 4321 is NaN"):
        find_answer("loss", problem, None, exact=True)


@pytest.mark.parametrize("shape", [(30, 10), (1, 300), (300,)])
@pytest.mark.parametrize("exact", [[], ["--exact"]], ids=len)
def test_a_gradient_that_is_not_held_is_checked_in_part(
    shape: tuple[int, ...], exact: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cecli.gradcheck.check.MOST_HELD", 200)
    monkeypatch.setattr("cecli.gradcheck.check.MOST_DRAWN", 50)
    monkeypatch.chdir(tmp_path)
    logits = RANDOM.normal(size=shape)
    target = np.zeros(shape[:-1], dtype=int)
    np.save("z.npy", logits)
    np.save("t.npy", target)
    arguments = ["grad", "z.npy", "-t", "t.npy", "--check", "--seed", "3", *exact]
    check = printed(*arguments)["check"]
    rows = 5 if shape == (30, 10) else 1
    assert (check["passed"], check["total"], check["seed"]) == (True, 300, 3)
    assert check["checked"] == rows * shape[-1]
    assert len(check["worst"]) == len(shape)
    logits.reshape(-1, shape[-1])[-1, 0] = -np.inf
    np.save("z.npy", logits)
    assert "is infinite" in complaint(*arguments)
