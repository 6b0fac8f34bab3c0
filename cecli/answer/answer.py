"""What a command found: the one object that every view of it reads, with all that they show.

What they will show is known before anything is computed, so that one pass over the rows is enough
and no view starts another. Of files of any size nothing is held but what is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from cecli.api import Pass
from cecli.core.totals import Part, Tally, Totals
from cecli.machine.blocks import check_rows
from cecli.problem.dtypes import Floats, Integers
from cecli.problem.problem import Problem
from cecli.problem.targets import ClassIndices
from cecli.problem.wanted import Predictions, RowArray, RowsName, Wanted

if TYPE_CHECKING:
    from cecli.answer.summary import Summary
    from cecli.comparison.compare import Comparison
    from cecli.derivation.model import Derivation
    from cecli.exact.sums import ExactSums
    from cecli.gradcheck.check import GradientCheck
    from cecli.gradcheck.differences import ProgressCallback
    from cecli.input.problem_from import Request

Command = Literal["softmax", "loss", "grad", "explain", "compare"]
ArrayName = Literal["softmax", "log_softmax", "log_sum_exp", "grad", "losses"]
OwnRowsName = Literal["softmax", "grad"]
ROWS_NAMES: tuple[RowsName, ...] = ("softmax", "log_softmax", "grad")
# What the array of a command has in each of its rows; losses are no array of rows.
_ROWS: dict[Command, OwnRowsName | None] = {
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


class Shown(NamedTuple):
    """What the views of an answer show, beside what it comes to.

    arrays: those that are shown, or needed, as a whole. first: how many of a batch's first samples,
    and first_rows: whether with their rows of the command's array. worst: how many of the samples
    with the highest loss.
    """

    arrays: frozenset[ArrayName] = frozenset()
    first: int = 0
    first_rows: bool = False
    worst: int = 0


class Head(NamedTuple):
    """The first samples of a batch: predictions, losses (n,), and rows (n, C) of the array.

    losses are None for softmax, and so are rows that were not asked for. kept (n,): not ignored.
    target (n,): class indices, or None.
    """

    predictions: Predictions
    kept: NDArray[np.bool_]
    target: Integers | None
    losses: Floats | None
    rows: NDArray[Any] | None


@dataclass(frozen=True, eq=False, repr=False)
class Answer:
    """The problem of a command and its results.

    loss: the reduced one; None for softmax, and for a batch with reduction none. kl: the mean
    KL(q‖ŷ) of soft targets, without weights and smoothing. tally: None for softmax. summary, head:
    of a batch. arrays: those that were asked for, softmax, log_softmax and grad in the logits'
    shape, losses and log_sum_exp in the batch's. check where one was asked for, derivation for
    explain, comparison for compare.
    """

    command: Command
    problem: Problem
    labels: tuple[str, ...] | None
    exact: bool
    loss: float | None = None
    kl: float | None = None
    tally: Tally | None = None
    summary: Summary | None = None
    head: Head | None = None
    arrays: Mapping[ArrayName, NDArray[Any]] = field(default_factory=dict)
    check: GradientCheck | None = None
    derivation: Derivation | None = None
    comparison: Comparison | None = None

    @property
    def passed(self) -> bool:
        """Whether no check and no comparison failed."""
        return all(found is None or found.passed for found in (self.check, self.comparison))

    @property
    def divisor(self) -> float | None:
        """What the sum of the losses is divided by."""
        return self.problem.divisor

    @property
    def z_loss_divisor(self) -> float | None:
        """What the sum of the z-losses is divided by, where there is a z-loss."""
        return self.problem.z_loss_divisor if self.problem.objective.z_loss else None


def array_name_of(command: Command) -> ArrayName:
    """What the array of a command is called, in JSON and in .npz files."""
    return _ROWS[command] or "losses"


def rows_name_of(command: Command) -> OwnRowsName | None:
    """What the array of a command has in each row; None: a loss."""
    return _ROWS[command]


def find_answer(
    command: Command,
    problem: Problem,
    labels: tuple[str, ...] | None,
    *,
    exact: bool,
    shown: Shown | None = None,
    jobs: int | None = None,
    output: Output | None = None,
    progress: ProgressCallback | None = None,
) -> Answer:
    """Compute what a command is asked for; the check is added by whoever shows its progress.

    jobs: threads, default one a core. output: where the rows of the command's array go, one block
    after another. progress: is told the share that is done.
    """
    written, name = None, _ROWS[command]
    if output is not None:
        if output.is_final:
            check_rows(problem, jobs)
        output.begin(problem)
        written = None if name is None else RowArray(name, output.dtype_for(problem))
    held = _Held(command, problem, shown or Shown())
    run = Pass(problem, held.wanted(written), exact=exact, jobs=jobs)
    for part in run:
        held.take(part)
        if output is not None:
            output.write(part.total if written is None else part.arrays[written])
        if progress is not None:
            progress(part.stop / problem.samples)
    answer = Answer(command, problem, labels, exact, head=held.head, arrays=held.arrays)
    if command == "softmax":
        return answer
    loss = held.only_loss if problem.divisor is None else run.loss
    return replace(answer, loss=loss, kl=run.kl, tally=run.tally, summary=_summary_of(run))


def answer_of_totals(
    command: Command,
    problem: Problem,
    labels: tuple[str, ...] | None,
    totals: Totals,
    sums: ExactSums | None,
    shown: Shown,
) -> Answer:
    """The answer where the rows were computed elsewhere; those that are shown are computed here.

    sums: of the rows, where these are exact.
    """
    exact = sums is not None
    held = _Held(command, problem, shown)
    own = problem if held.needs_all else problem.only(np.arange(held.first))
    if own.samples:
        for part in Pass(own, held.wanted(None), exact=exact):
            held.take(part)
    run = Pass(problem, Wanted(worst=shown.worst), totals=totals, sums=sums)
    return Answer(
        command,
        problem,
        labels,
        exact,
        loss=held.only_loss if problem.divisor is None else run.loss,
        kl=run.kl,
        tally=run.tally,
        summary=_summary_of(run),
        head=held.head,
        arrays=held.arrays,
    )


def _summary_of(run: Pass) -> Summary | None:
    """What a batch comes to beside its loss; None for one sample."""
    if not run.problem.batch_shape:
        return None
    from cecli.answer.summary import summarize

    return summarize(run)


class _Held:
    """What is held of the parts of a problem: arrays shown as a whole, and the first samples."""

    def __init__(self, command: Command, problem: Problem, shown: Shown) -> None:
        self._problem, self._shown, self._name = problem, shown, _ROWS[command]
        self._has_losses = command != "softmax"
        self.first = min(shown.first, problem.samples)
        shape = problem.samples, problem.classes
        dtypes = dict.fromkeys(ROWS_NAMES, problem.dtype)
        if command == "compare":  # what is compared with is not rounded to a shorter type
            dtypes["grad"] = np.dtype(np.float64)
        self._arrays = {
            RowArray(name, dtype): np.empty(shape, dtype)
            for name, dtype in dtypes.items()
            if name in shown.arrays
        }
        whole = "losses" in shown.arrays or not problem.batch_shape
        self._losses = np.empty(problem.samples) if whole and self._has_losses else None
        has_sums = "log_sum_exp" in shown.arrays
        self._log_sum_exp = np.empty(problem.samples) if has_sums else None
        self._predictions: list[Predictions] = []
        self._first_losses: list[Floats] = []
        self._first_rows: list[NDArray[Any]] = []

    @property
    def needs_all(self) -> bool:
        """Whether what is held is of all rows."""
        sums = self._losses, self._log_sum_exp
        return bool(self._arrays) or any(each is not None for each in sums)

    def wanted(self, written: RowArray | None) -> Wanted:
        """What is asked of each row; written: of which array all rows are handed on."""
        first_array = None
        if self._shown.first_rows and self._name is not None:
            first_array = RowArray(self._name, self._problem.dtype)
        return Wanted(
            {**({} if written is None else {written: None}), **self._arrays},
            losses=self._has_losses,
            log_sum_exp=self._log_sum_exp is not None,
            worst=self._shown.worst if self._has_losses else None,
            first=self.first,
            first_array=first_array,
        )

    def take(self, part: Part) -> None:
        """Take what is held of a part; the rest of it is forgotten."""
        if self._losses is not None:
            self._losses[part.start : part.stop] = part.total
        if self._log_sum_exp is not None and part.log_sum_exp is not None:
            self._log_sum_exp[part.start : part.stop] = part.log_sum_exp
        if part.start < self.first:
            if part.predictions is not None:
                self._predictions.append(part.predictions)
            if self._has_losses:
                self._first_losses.append(part.total[: self.first - part.start])
            if part.first_rows is not None:
                self._first_rows.append(part.first_rows)

    @property
    def only_loss(self) -> float | None:
        """The loss of one sample alone."""
        if self._problem.batch_shape or self._losses is None:
            return None
        return float(self._losses[0])

    @property
    def head(self) -> Head | None:
        """The first samples of a batch."""
        problem, count = self._problem, self.first
        if not problem.batch_shape:
            return None
        kept, target, rows = np.ones(count, dtype=bool), None, None
        if problem.truth is not None:
            kept = problem.truth.kept(0, count)
        if isinstance(problem.truth, ClassIndices):
            target = problem.truth.rows[:count]
        if self._shown.first_rows and self._name is not None:
            rows = np.concatenate([np.zeros((0, problem.classes)), *self._first_rows])
        losses = np.concatenate([np.zeros(0), *self._first_losses]) if self._has_losses else None
        predictions = Predictions.joined(self._predictions).take(slice(count))
        return Head(predictions, kept, target, losses, rows)

    @property
    def arrays(self) -> dict[ArrayName, NDArray[Any]]:
        """The arrays shown as a whole."""
        problem = self._problem
        found: dict[ArrayName, NDArray[Any]] = {
            array.name: problem.restore(rows) for array, rows in self._arrays.items()
        }
        if self._losses is not None:
            found["losses"] = self._losses.reshape(problem.batch_shape)
        if self._log_sum_exp is not None:
            found["log_sum_exp"] = self._log_sum_exp.reshape(problem.batch_shape)
        return found


# --- Comparisons ----------------------------------------------------------------------------------


def find_comparison(
    request: Request,
    *,
    rtol: float | None,
    keep: int,
    exact: bool = False,
    shown: Shown | None = None,
    output: Output | None = None,
    progress: ProgressCallback | None = None,
) -> Answer:
    """Compare the gradient and the loss of a request with the exact ones.

    keep: how many of the worst numbers are told. exact: whether the loss that is told of a large
    problem is correctly rounded, too.
    """
    from cecli.comparison.compare import compare_candidates

    problem, shown = request.problem, shown or Shown()
    comparison = compare_candidates(
        problem, request.grad, request.loss, rtol, keep=keep, exact=exact, progress=progress
    )
    run = comparison.run
    if run is None or shown.arrays or output is not None or not problem.batch_shape:
        answer = find_answer(
            "compare", problem, request.labels, exact=True, shown=shown, output=output
        )
    else:
        loss, summary = run.loss, _summary_of(run)
        answer = Answer(
            "compare", problem, request.labels, run.exact, loss, run.kl, run.tally, summary
        )
    return replace(answer, comparison=comparison)
