"""Where arithmetic in doubles grades, every grade and figure is that of the exact numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

import cecli
from cecli.api import Pass
from cecli.comparison import survey
from cecli.comparison.compare import compare_candidates
from cecli.comparison.grade import Marks, gradient_allowance
from cecli.comparison.textbook import Textbook
from cecli.input.candidate import Candidate, candidate_of_array
from cecli.machine.compiled import kernel
from cecli.problem.objective import Objective
from cecli.problem.precision import round_to_type, spacing
from cecli.problem.problem import Problem

Array = NDArray[np.float64]


def in_doubles(
    problem: Problem, candidate: Candidate, rtol: float | None = None
) -> tuple[Marks, int]:
    """The marks of numbers as if there were many, and how many rows were rounded correctly."""
    settled, settle = [0], survey.Reference.settled

    def counted(self: survey.Reference, block: Any) -> Array:
        settled[0] += len(block.kept)
        return settle(self, block)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(survey, "ALL_EXACT", -1)
        patch.setattr(survey, "_each_block", _row_by_row)
        patch.setattr(Pass, "takes_long", property(lambda run: True))
        patch.setattr(survey.Reference, "settled", counted)
        return marks_of(survey.Reference(problem, exact=False), candidate, rtol), settled[0]


def marks_of(reference: survey.Reference, candidate: Candidate, rtol: float | None = None) -> Marks:
    found = survey.survey(reference, survey.Gradient(reference, candidate, rtol), keep=KEEP)
    assert found.marks is not None
    return found.marks


def _row_by_row(problem: Problem, work: Any, progress: Any = None) -> Any:
    """Blocks of two rows, so that those before say what the next ones have to surpass."""
    for start in range(0, problem.samples, 2):
        yield work(problem.block(start, min(start + 2, problem.samples)))


def assert_alike(one: Marks, other: Marks) -> None:
    assert one.counts.tolist() == other.counts.tolist()
    for name in ("max_abs_error", "max_rel_error", "max_ulp_error", "max_rel_error_off"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("place", "candidate", "right", "allowed"):  # NaN among them
        assert repr(getattr(one.worst, name)) == repr(getattr(other.worst, name)), name


KEEP = 3
OBJECTIVES: list[dict[str, Any]] = [
    {},
    {"reduction": "sum"},
    {"reduction": "none", "ignore_index": 1},
    {"label_smoothing": 0.1},
    {"temperature": 0.3, "softcap": 5.0},
    {"z_loss": 1e-2},
    {"weight": [0.0, 1e300, 1e-300, 1.0]},
    {"sample_weight": [0.5, 0.0, 3.0, 1e-310, 2.0, 1.0] * 4},
]
KINDS = ("rounded", "next", "tie", "few", "allowed", "digit", "zero", "noise", "half", "broken")
COUNT = 24


def candidate_of(
    kind: str, type_: str, unit: float | None, right: Array, allowed: Array, seed: int
) -> Array:
    """Numbers next to where one grade ends and another begins."""
    draw = np.random.default_rng(seed)
    ulp = spacing(right, type_)
    sign = draw.choice([-1.0, 1.0], right.shape)
    near = {
        "rounded": right,
        "next": right + ulp * draw.integers(-3, 4, right.shape),
        "tie": right + (ulp + (unit or 0.0)) * sign / 2.0,
        "few": right + (unit or 4.0 * ulp) * sign,
        "allowed": right + allowed * sign,
        "digit": right * (1.0 + sign / 10.0),
        "zero": np.where(draw.random(right.shape) < 0.3, 0.0, right),
        "noise": right * (1.0 + 1e-3 * draw.normal(size=right.shape)),
        "half": right / 2.0,
        "broken": np.where(draw.random(right.shape) < 0.1, np.nan, right),
    }[kind]
    return near if kind in ("tie", "few", "allowed", "digit") else round_to_type(near, type_)


@given(
    scale=st.sampled_from([0.0, 0.01, 3.0, 30.0, 400.0, 1000.0]),
    masked=st.booleans(),
    soft=st.booleans(),
    objective=st.integers(0, len(OBJECTIVES) - 1),
    kind=st.sampled_from(KINDS),
    type_=st.sampled_from(["float64", "float32", "float16", "bfloat16", "typed"]),
    rtol=st.sampled_from([None, None, 1e-6]),
    led=st.booleans(),
    seed=st.integers(0, 2**16),
)
@example(3.0, False, False, 0, "tie", "typed", None, True, 0)
@example(3.0, False, False, 0, "few", "float32", None, True, 0)
@example(3.0, False, False, 0, "allowed", "float32", None, True, 0)
@example(3.0, False, False, 0, "digit", "float32", None, True, 0)
def test_grades_are_those_of_the_exact_numbers(
    scale: float,
    masked: bool,
    soft: bool,
    objective: int,
    kind: str,
    type_: str,
    rtol: float | None,
    led: bool,
    seed: int,
) -> None:
    draw = np.random.default_rng(seed)
    logits = scale * draw.normal(size=(COUNT, 4)).astype(np.float32)
    target: Any = draw.integers(0, 4, COUNT)
    if masked:
        logits[np.arange(COUNT), (target + 1) % 4] = -np.inf
    if soft:
        target = draw.dirichlet(np.ones(4), COUNT)
        target[np.isneginf(logits)] = 0.0
        target /= target.sum(axis=1, keepdims=True)
    own = OBJECTIVES[objective]
    if soft:
        own = {name: value for name, value in own.items() if name != "ignore_index"}
    if masked and "label_smoothing" in own:
        own = {}
    problem = Problem.of(logits, target, Objective(**own))
    right = np.asarray(cecli.cross_entropy(logits.astype(float), target, exact=True, **own).grad)
    judged, digit = ("float64", 1e-4) if type_ == "typed" else (type_, None)
    unit = None if digit is None else np.full(right.shape, digit)
    with np.errstate(all="ignore"):
        batch = Textbook(problem.rounded_to(np.dtype(np.float64))).everything
        some = Candidate(right, judged, unit)
        allowed = gradient_allowance(batch, right, some, rtol).total
        numbers = candidate_of(kind, judged, digit, right, allowed, seed)
        numbers[0] = np.where(led, np.nan, numbers[0])  # none of the others is as far off
        candidate = Candidate(numbers, judged, unit)
    exact = marks_of(survey.Reference(problem), candidate, rtol)
    assert_alike(in_doubles(problem, candidate, rtol)[0], exact)


def test_few_rows_of_many_are_rounded_correctly() -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(400, 30)).astype(np.float32)
    target = draw.integers(0, 30, 400)
    right = cecli.cross_entropy(logits, target).grad
    problem = Problem.of(logits, target)
    candidate = Candidate(np.asarray(right, np.float64), "float32")
    found, settled = in_doubles(problem, candidate)
    assert found.counts.tolist() == [right.size, 0, 0, 0, 0]
    assert 0 < settled < 100
    assert_alike(found, marks_of(survey.Reference(problem), candidate))


@pytest.mark.skipif(kernel() is None, reason="decimal arithmetic takes half a minute")
def test_the_loss_of_many_is_exact_where_it_matters() -> None:
    logits = np.random.default_rng(0).normal(size=(700, 100)).astype(np.float32)
    target = np.arange(700) % 100
    grad, loss = (
        candidate_of_array(getattr(cecli.cross_entropy(logits, target), name), name)
        for name in ("grad", "loss")
    )

    def is_exact(samples: int, loss: Candidate | None = None, *, exact: bool = False) -> bool:
        some = Candidate(np.asarray(grad.given)[:samples], "float32")
        problem = Problem.of(logits[:samples], target[:samples])
        found = compare_candidates(problem, some, loss, exact=exact)
        assert found.run is not None
        return found.run.exact

    assert is_exact(600)
    assert not is_exact(700)
    assert is_exact(700, exact=True)
    assert is_exact(700, loss)
