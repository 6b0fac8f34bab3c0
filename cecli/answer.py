"""What a command found: the one object that every view of it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from cecli.core import CrossEntropy, log_softmax_of, softmax_of, solve
from cecli.problem import Problem

if TYPE_CHECKING:
    from cecli.comparison import Comparison
    from cecli.derivation import Derivation
    from cecli.finite_difference import GradientCheck
    from cecli.requests import Request
    from cecli.summary import Summary

Command = Literal["softmax", "loss", "grad", "explain", "compare"]


@dataclass(frozen=True, eq=False)
class Answer:
    """The problem of a command and its results.

    result and summary are None for softmax, summary for one sample too; check where none was asked,
    derivation but for explain, comparison but for compare.
    """

    command: Command
    problem: Problem
    labels: tuple[str, ...] | None
    exact: bool
    softmax: NDArray[Any]
    log_softmax: NDArray[Any]
    result: CrossEntropy | None = None
    summary: Summary | None = None
    check: GradientCheck | None = None
    derivation: Derivation | None = None
    comparison: Comparison | None = None

    @property
    def passed(self) -> bool:
        """Whether no check and no comparison failed."""
        return all(found is None or found.passed for found in (self.check, self.comparison))

    @property
    def array_name(self) -> str:
        """What the array is called, in JSON and in .npz files."""
        return {"softmax": "softmax", "loss": "losses"}.get(self.command, "grad")

    @property
    def array(self) -> NDArray[Any]:
        """The array that the command is for: probabilities, losses of the samples, or gradient."""
        if self.result is None:
            return self.softmax
        return self.result.losses if self.command == "loss" else self.result.grad


def find_answer(
    command: Command,
    problem: Problem,
    labels: tuple[str, ...] | None,
    *,
    exact: bool,
    worst: int = 0,
) -> Answer:
    """Compute what a command is asked for; the check is added by whoever shows its progress.

    worst: how many samples of the highest loss the summary of a batch tells.
    """
    if command == "softmax":
        return Answer(
            command,
            problem,
            labels,
            exact,
            softmax_of(problem, exact=exact),
            log_softmax_of(problem, exact=exact),
        )
    result = solve(problem, exact=exact)
    summary = _summary(problem, result, exact, worst)
    return Answer(
        command, problem, labels, exact, result.softmax, result.log_softmax, result, summary
    )


def find_comparison(request: Request, *, rtol: float | None, exact: bool) -> Answer:
    """Compare the gradient and the loss of a request with the exact ones."""
    from cecli.comparison import compare_given

    problem = request.problem
    comparison = compare_given(problem, request.grad, request.loss, rtol, exact=exact)
    result = comparison.result
    return Answer(
        "compare",
        problem,
        request.labels,
        exact,
        result.softmax,
        result.log_softmax,
        result,
        _summary(problem, result, exact),
        comparison=comparison,
    )


def _summary(problem: Problem, result: CrossEntropy, exact: bool, worst: int = 0) -> Summary | None:
    """That of a batch; one sample alone has none."""
    if not problem.batch_shape:
        return None
    from cecli.summary import summarize

    return summarize(problem, result.losses, exact=exact, worst=worst)


def array_in(answer: Answer, dtype: str | None) -> NDArray[Any]:
    """The array of an answer as a file holds it: the double result rounded once.

    dtype: float16, float32 or float64; None means the logits' own, float64 for integers.
    """
    given = answer.problem.logits.dtype
    wanted = np.dtype(dtype or (given.name if given.kind == "f" else "float64"))
    if answer.command != "loss" and wanted != answer.problem.dtype:
        problem = answer.problem.rounded_to(wanted)
        answer = find_answer(answer.command, problem, answer.labels, exact=answer.exact)
    with np.errstate(over="ignore", under="ignore"):
        return answer.array.astype(wanted, copy=False)
