"""What a command found: the one object that every view of it reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cecli.api import log_softmax_of, softmax_of, solve
from cecli.core.evaluate import Wanted, reduced_loss, sweep, totals_of
from cecli.core.totals import Tally, Totals, tally_of
from cecli.machine.blocks import check_rows, each_block
from cecli.problem.dtypes import Floats
from cecli.problem.problem import Block, Problem
from cecli.problem.result import CrossEntropy

if TYPE_CHECKING:
    from cecli.answer.summary import Summary
    from cecli.comparison.compare import Comparison
    from cecli.derivation.model import Derivation
    from cecli.gradcheck.check import GradientCheck
    from cecli.input.problem_from import Request

Command = Literal["softmax", "loss", "grad", "explain", "compare"]
RowsName = Literal["softmax", "grad"]
ArrayName = Literal["softmax", "grad", "losses"]
Report = Callable[[float], None]
NUMBERS_AT_ONCE = 2**18
# Up to here a comparison keeps the arrays that a document shows.
MOST_WHOLE = 100_000
# What the array of a command has in each of its rows; losses are no array of rows.
_ROWS: dict[Command, RowsName | None] = {
    "softmax": "softmax",
    "loss": None,
    "grad": "grad",
    "explain": "grad",
    "compare": "grad",
}


class Output(Protocol):
    """Takes the rows of a command's array in their order, for one file or several."""

    @property
    def is_final(self) -> bool:
        """Whether what is written cannot be taken back."""

    def dtype_for(self, problem: Problem) -> np.dtype[Any]:
        """The type in which it takes the numbers."""

    def begin(self, problem: Problem) -> None:
        """Get ready for the rows of a problem."""

    def write(self, rows: NDArray[Any]) -> None:
        """Take the rows that follow: (n, C), losses (n,)."""


@dataclass(frozen=True, eq=False)
class Answer:
    """The problem of a command and its results.

    totals and summary are None for softmax, summary for one sample too; check where none was asked,
    derivation but for explain, comparison but for compare. whole: the result where all its arrays
    are at hand; where they are not, an array is made when it is asked for.
    """

    command: Command
    problem: Problem
    labels: tuple[str, ...] | None
    exact: bool
    totals: Totals | None = None
    summary: Summary | None = None
    check: GradientCheck | None = None
    derivation: Derivation | None = None
    comparison: Comparison | None = None
    whole: CrossEntropy | None = None

    @property
    def passed(self) -> bool:
        """Whether no check and no comparison failed."""
        return all(found is None or found.passed for found in (self.check, self.comparison))

    @cached_property
    def result(self) -> CrossEntropy:
        """Losses and gradient of all samples."""
        return self.whole or solve(self.problem, exact=self.exact)

    @cached_property
    def softmax(self) -> NDArray[Any]:
        """ŷ, of the logits' shape."""
        if self.exact and self.totals is not None:
            return self.result.softmax
        return softmax_of(self.problem, exact=self.exact)

    @cached_property
    def log_softmax(self) -> NDArray[Any]:
        """log ŷ, of the logits' shape."""
        if self.exact and self.totals is not None:
            return self.result.log_softmax
        return log_softmax_of(self.problem, exact=self.exact)

    @property
    def divisor(self) -> float | None:
        """What the sum of the losses is divided by."""
        return self.problem.divisor

    @property
    def z_loss_divisor(self) -> float | None:
        """What the sum of the z-losses is divided by, where there is a z-loss."""
        return self.problem.z_loss_divisor if self.problem.objective.z_loss else None

    @cached_property
    def loss(self) -> float | Floats:
        """The reduced loss; with reduction none those of the samples."""
        if self.whole is None and self.totals is not None and self.divisor is not None:
            return reduced_loss(self.problem, self.totals)
        return self.result.loss

    def first(self, count: int) -> Iterator[tuple[Answer, int]]:
        """The answers for the first samples, and for how many each, over the divisors of the whole.

        They are for a few samples each, since a row may have a million classes.
        """
        if self.exact or self.whole is not None or not count:
            yield self, count
            return
        size = max(1, NUMBERS_AT_ONCE // self.problem.classes)
        for start in range(0, count, size):
            rows = np.arange(start, min(start + size, count))
            problem = self.problem.only(rows)
            yield Answer(self.command, problem, self.labels, self.exact, self.totals), len(rows)

    @property
    def array(self) -> NDArray[Any]:
        """The array that the command is for: probabilities, losses of the samples, or gradient."""
        name = array_name_of(self.command)
        return self.softmax if name == "softmax" else getattr(self.result, name)


def array_name_of(command: Command) -> ArrayName:
    """What the array of a command is called, in JSON and in .npz files."""
    return _ROWS[command] or "losses"


def rows_name_of(command: Command) -> RowsName | None:
    """What the array of a command has in each row; None: a loss."""
    return _ROWS[command]


def find_answer(
    command: Command,
    problem: Problem,
    labels: tuple[str, ...] | None,
    *,
    exact: bool,
    worst: int = 0,
    jobs: int | None = None,
    output: Output | None = None,
    report: Report | None = None,
) -> Answer:
    """Compute what a command is asked for; the check is added by whoever shows its progress.

    worst: how many samples of the highest loss the summary of a batch tells. jobs: threads, default
    one a core. output: where the rows of the command's array go, one block after another. report:
    is told the share that is done.
    """
    if exact:
        answer = _exact_answer(command, problem, labels, worst)
        if output is not None:
            write_array(answer, output)
        return answer
    array: RowsName | None = None
    rounded = problem
    if output is not None:
        if output.is_final:
            check_rows(problem, jobs)
        output.begin(problem)
        array = _ROWS[command]
        rounded = problem.rounded_to(output.dtype_for(problem))
    totals = Totals(worst)
    for part in sweep(rounded, Wanted(array, losses=command != "softmax", worst=worst), jobs):
        totals.add(part)
        if output is not None:
            output.write(part.total if part.array is None else part.array)
        if report is not None:
            report(part.stop / problem.samples)
    if command == "softmax":
        return Answer(command, problem, labels, exact)
    return Answer(command, problem, labels, exact, totals, summary_of(problem, totals, exact))


def _exact_answer(
    command: Command, problem: Problem, labels: tuple[str, ...] | None, worst: int
) -> Answer:
    if command == "softmax":
        answer = Answer(command, problem, labels, exact=True)
        _ = answer.softmax
        return answer
    result = solve(problem, exact=True)
    totals = tallied(problem, result.losses, worst)
    summary = summary_of(problem, totals, exact=True)
    return Answer(command, problem, labels, True, totals, summary, whole=result)


def tallied(problem: Problem, losses: Floats, worst: int) -> Totals:
    """Totals of nothing but what is counted, of losses that are known."""
    flat, totals = losses.reshape(-1), Totals(worst)

    def work(block: Block) -> Tally:
        return tally_of(block, flat[block.start : block.start + len(block.kept)], worst)

    for tally in each_block(problem, work):
        totals.tally = totals.tally.merged(tally, worst)
    return totals


def find_comparison(
    request: Request,
    *,
    rtol: float | None,
    exact: bool,
    keep: int,
    output: Output | None = None,
    report: Report | None = None,
) -> Answer:
    """Compare the gradient and the loss of a request with the exact ones.

    keep: how many of the worst numbers are told.
    """
    from cecli.comparison.compare import compare_candidates

    problem, labels = request.problem, request.labels
    comparison = compare_candidates(
        problem, request.grad, request.loss, rtol, exact=exact, keep=keep, progress=report
    )
    whole, totals = comparison.result, comparison.totals
    if exact and whole is not None:
        totals = tallied(problem, whole.losses, 0)
    elif totals is None:
        totals = totals_of(problem)
    if whole is None and problem.samples * problem.classes <= MOST_WHOLE:
        whole = solve(problem.rounded_to(np.dtype(np.float64)))
    summary = summary_of(problem, totals, exact)
    answer = Answer(
        "compare", problem, labels, exact, totals, summary, comparison=comparison, whole=whole
    )
    if output is not None and whole is not None:
        write_array(answer, output)
    elif output is not None:
        find_answer("compare", problem, labels, exact=exact, output=output)
    return answer


def summary_of(problem: Problem, totals: Totals, exact: bool) -> Summary | None:
    """That of a batch; one sample alone has none."""
    if not problem.batch_shape:
        return None
    from cecli.answer.summary import summarize

    return summarize(problem, totals, exact=exact)


def write_array(answer: Answer, output: Output) -> None:
    """Write the array of an answer that is there as a whole: the double result rounded once."""
    problem, wanted = answer.problem, output.dtype_for(answer.problem)
    output.begin(problem)
    if answer.command != "loss" and wanted != problem.dtype:
        answer = find_answer(
            answer.command, problem.rounded_to(wanted), answer.labels, exact=answer.exact
        )
    array = answer.array
    output.write(array.reshape(-1) if answer.command == "loss" else problem.to_rows(array))
