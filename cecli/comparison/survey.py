"""All rows of a gradient gone through, block by block: what is right, and what is made of it.

The right numbers are correctly rounded ones. Nothing is kept of a block but counts, the worst
numbers and what tells rows and classes apart, so that a gradient may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from cecli.api import CrossEntropy, Pass, solve, solve_and_count
from cecli.comparison.evidence import Evidence, Found, Hypothesis, Match
from cecli.comparison.grade import (
    ACCEPTABLE,
    Marked,
    Marks,
    gradient_allowance,
    loss_sizes,
    mark,
    no_marks,
)
from cecli.comparison.mistake import Diagnosis
from cecli.comparison.mistaken import Makes
from cecli.comparison.structure import Facts, File, Keys, decimals_of
from cecli.comparison.textbook import (
    Batch,
    Textbook,
    over_classes,
    over_rows,
    rows_at_once,
)
from cecli.core.evaluate import part_of
from cecli.core.totals import Part
from cecli.input.candidate import Candidate
from cecli.machine.blocks import each_block
from cecli.problem.dtypes import Floats, Integers, as_doubles
from cecli.problem.precision import round_to_type, type_precision
from cecli.problem.problem import Block, Problem
from cecli.problem.rows import Rows, rows_of
from cecli.problem.wanted import RowArray, Wanted

# All right numbers are correctly rounded where they are so few.
ALL_EXACT = 2**16
# What tells rows apart is kept of so many.
MOST_KEYS = 2**20
# By so many roundings the keys of the same numbers differ.
NEAR_KEYS = 16.0
# So many components, and at least so many rows, are looked at to find a mistake.
SAMPLE_COMPONENTS, SAMPLE_ROWS = 2**13, 8
LONG_ROW = 2**18
# To round numbers of so few classes correctly takes longer than to see which need be.
SHORT_ROW = 5
# The first of a piece, in which most classes are seen not to be left out.
FEW_ROWS = 64

if TYPE_CHECKING:
    from cecli.exact.sums import RowSums
    from cecli.gradcheck.differences import ProgressCallback

    Solved = tuple[Part, RowSums | None]

Result = TypeVar("Result")


class Reference:
    """The right numbers of a problem, correctly rounded, and the textbook beside them.

    exact: whether all are to be. Otherwise the loss of a large problem is what arithmetic in
    doubles makes of it, and so is its gradient where correct rounding takes long and changes no
    grade and no figure. run: the pass that finds them, and what it has counted when all rows were
    gone through.
    """

    def __init__(self, problem: Problem, *, exact: bool = True) -> None:
        self.problem = problem.rounded_to(np.dtype(np.float64))
        self.textbook = Textbook(self.problem)
        self._grad = RowArray("grad", self.problem.dtype)
        self._exact = exact or problem.samples * problem.classes <= ALL_EXACT
        self.run = self._new_pass()
        self._result: CrossEntropy | None = None
        self._losses_made: dict[Makes, Floats | None] = {}

    def _new_pass(self) -> Pass:
        return Pass(self.problem, Wanted({self._grad: None}, worst=0), exact=self._exact)

    def start(self) -> None:
        """Begin to go through all rows, perhaps once more."""
        if self._result is None:
            self.run = self._new_pass()

    @cached_property
    def _in_doubles(self) -> Callable[[Block], Part]:
        return part_of(self.problem, Wanted({self._grad: None}))

    @property
    def result(self) -> CrossEntropy:
        """All numbers."""
        if self._result is None:
            self._result, self.run = solve_and_count(self.problem, 0, exact=True)
        return self._result

    @cached_property
    def _rows(self) -> Floats | None:
        """(N, C) the right gradient, where it is there as a whole."""
        return None if self._result is None else self.problem.to_rows(self._result.grad)

    @cached_property
    def _settling(self) -> Pass:
        return Pass(self.problem, Wanted({self._grad: None}), exact=True)

    def settled(self, block: Block) -> Floats:
        """(n, C) the right gradient of a block, correctly rounded."""
        part, _ = self._settling.solve_block(block)
        return part.arrays[self._grad]

    def right_of(self, rows: Integers, *, exact: bool = False) -> Floats:
        """(n, C) the right gradient of some rows; doubles are good enough to know a mistake."""
        if self._rows is not None:
            return self._rows[rows]
        only = self.problem.only(rows)
        return np.asarray(solve(only, exact=exact, keep_logits=False).grad)

    def losses_made(self, batch: Batch, make: Makes) -> Floats | None:
        """Losses of a batch as a mistake makes them; those of the whole problem are made once."""
        if len(batch.logits) != self.problem.samples:
            return make(batch)
        if make not in self._losses_made:
            self._losses_made[make] = make(batch)
        return self._losses_made[make]

    def of_block(self, block: Block, *, again: bool = False) -> Right:
        """The right gradient of a block, and what the pass is to take of it.

        again: all rows were gone through before; doubles are good enough to know a mistake.
        """
        if self._rows is not None:
            return Right(self._rows[block.start : block.start + len(block.kept)])
        if again:
            return Right(self._in_doubles(block).arrays[self._grad])
        part, sums = self.run.solve_block(block)
        grad, solved = part.arrays[self._grad], (replace(part, arrays={}), sums)
        if self.run.exact:
            return Right(grad, solved=solved)
        if self.problem.classes < SHORT_ROW or self._settling.takes_long:
            return Right(grad, exact=False, solved=solved)
        return Right(self.settled(block), solved=solved)


class Right(NamedTuple):
    """The right gradient of a block, (n, C); exact: or what arithmetic in doubles makes of it.

    solved: what the pass is to take of the block.
    """

    grad: Floats
    exact: bool = True
    solved: Solved | None = None


class Gradient:
    """A gradient that is judged: its rows beside those of the problem."""

    def __init__(self, reference: Reference, candidate: Candidate, rtol: float | None) -> None:
        self.reference, self.candidate, self.rtol = reference, candidate, rtol
        axis = reference.problem.objective.axis
        self.rows = rows_of(candidate.given, axis)
        self._unit = None if candidate.unit is None else rows_of(candidate.unit, axis)

    def _evidence(
        self, rows: Integers | slice, batch: Batch, right: Floats, *, exact: bool = True
    ) -> Evidence:
        unit = None if self._unit is None else self._unit[rows]
        some = self.candidate.with_values(as_doubles(self.rows[rows]), unit)
        numbers = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
        allowance = gradient_allowance(batch, right, some, self.rtol, exact=exact)
        return Evidence(numbers, batch, some, right, allowance)

    def decimals(self) -> int | None:
        """To how many decimals all its numbers are rounded; None where they are to none."""
        found: int | None = 0
        size = rows_at_once(self.reference.problem.classes)
        for start in range(0, len(self.rows), size):
            values = as_doubles(self.rows[start : start + size])
            found = decimals_of(values, self.candidate.type, found or 0)
            if found is None or self._unit is not None:
                return None
        return found

    def with_decimals(self, decimals: int) -> Gradient:
        """The same, judged as numbers of which so many decimals are known."""
        unit = np.broadcast_to(10.0**-decimals, self.candidate.shape)
        rounded = replace(self.candidate, unit=unit)
        return Gradient(self.reference, rounded, self.rtol)

    def some(self, rows: Integers) -> Evidence:
        """The evidence of any rows."""
        reference = self.reference
        right = reference.right_of(rows, exact=True)
        return self._evidence(rows, reference.textbook.rows(rows), right)

    def of_block(
        self, block: Block, *, again: bool = False
    ) -> tuple[Iterator[tuple[Block, Evidence]], Solved | None]:
        """Its rows, a few at a time, with their evidence; what the reference's pass is to take."""
        right = self.reference.of_block(block, again=again)

        def pieces() -> Iterator[tuple[Block, Evidence]]:
            size, count = rows_at_once(right.grad.shape[1]), len(block.kept)
            for start in range(0, count, size):
                stop = min(start + size, count)
                piece = some_of(block, slice(start, stop))
                batch = self.reference.textbook.of_block(piece)
                rows = slice(piece.start, piece.start + stop - start)
                yield piece, self._evidence(rows, batch, right.grad[start:stop], exact=right.exact)

        return pieces(), right.solved

    def marked(
        self, piece: Block, rows: Evidence, keep: int, before: Marks
    ) -> tuple[Evidence, Marked]:
        """How a piece's rows are graded, and their evidence with what that took correctly rounded.

        keep: how many of the worst. before: marks of some rows before these.
        """
        first = int(rows.numbers[0]) * rows.right.shape[1]
        found = mark(rows.candidate, rows.right, rows.allowance, first, keep, before)
        if found.open is None or not found.open.any():
            return rows, found
        which = over_classes(np.logical_or, found.open)[:, 0]
        right = rows.right.copy()
        right[which] = self.reference.settled(some_of(piece, which))
        allowance = gradient_allowance(rows.batch, right, rows.candidate, self.rtol)
        settled = Evidence(rows.numbers, rows.batch, rows.candidate, right, allowance)
        return settled, mark(rows.candidate, right, allowance, first, keep)


def _each_block(
    problem: Problem,
    work: Callable[[Block], Result],
    progress: ProgressCallback | None = None,
) -> Iterator[Result]:
    """What work makes of each block.

    progress is told the share of the rows that is done.
    """

    def counted(block: Block) -> tuple[int, Result]:
        return block.start + len(block.kept), work(block)

    # one thread where a row alone makes for large arrays
    jobs = 1 if problem.classes > LONG_ROW else None
    for done, found in each_block(problem, counted, jobs):
        if progress is not None:
            progress(done / problem.samples)
        yield found


def some_of(block: Block, which: slice | NDArray[np.bool_]) -> Block:
    """Some of a block's rows as a block; start is told by a slice alone."""
    skipped = which.start if isinstance(which, slice) else 0
    return replace(
        block,
        start=block.start + skipped,
        logits=block.logits[which],
        index=None if block.index is None else block.index[which],
        soft=None if block.soft is None else block.soft[which],
        kept=block.kept[which],
        weights=None if block.weights is None else block.weights[which],
    )


# --- The first pass -------------------------------------------------------------------------------


class Counts:
    """What is counted and kept of rows, one piece after another."""

    def __init__(self, keep: int, classes: int) -> None:
        self._keep = keep
        self.marks = no_marks()
        self.off_at_target, self.largest = 0, 0.0
        self.off_rows: list[NDArray[np.bool_]] = []
        self.keyed_rows: list[NDArray[np.bool_]] = []
        self.broken_rows: list[NDArray[np.bool_]] = []
        self.row_keys: list[tuple[Floats, Floats]] = []
        self.loss_sizes: list[Floats] = []
        self.off_classes = np.zeros(classes, dtype=bool)
        self.zero_classes = np.ones(classes, dtype=bool)
        self.untouched_classes = np.ones(classes, dtype=bool)
        self.class_keys = np.zeros((2, 2, classes))

    def add(self, rows: Evidence, marked: Marked, *, with_keys: bool) -> None:
        """Take the rows that follow, as they are graded."""
        values, right, batch = rows.values, rows.right, rows.batch
        first, off = int(rows.numbers[0]) * right.shape[1], marked.off
        self.marks = self.marks.merged(marked.marks, self._keep)
        kept, finite = batch.kept[:, 0], np.isfinite(values)
        off_rows: NDArray[np.bool_] = over_classes(np.logical_or, off)[:, 0]
        self.off_rows.append(off_rows)
        self.broken_rows.append(~over_classes(np.logical_and, finite)[:, 0])
        self.largest = max(self.largest, float(np.abs(values).max(initial=0.0, where=finite)))
        self.loss_sizes.append(loss_sizes(batch))
        any_off = bool(off_rows.any())
        self.keyed_rows.append(np.full(len(off_rows), any_off and with_keys))
        if any_off:
            self.off_classes |= over_rows(np.logical_or, off)
            self._look_for_classes(rows, kept)
            if batch.index is not None:
                inside = np.flatnonzero(kept)
                self.off_at_target += int(off[inside, batch.index[inside]].sum())
            self._add_keys(values, right, first, with_keys=with_keys)

    def _look_for_classes(self, rows: Evidence, kept: NDArray[np.bool_]) -> None:
        """Classes that are 0, or still the logits, in every row; a few rows say no of most."""
        for some in (slice(0, FEW_ROWS), slice(FEW_ROWS, None)):
            here = kept[some]
            values = rows.values[some] if here.all() else rows.values[some][here]
            if self.zero_classes.any():
                self.zero_classes &= over_rows(np.logical_and, values == 0.0)
            if self.untouched_classes.any():
                logits = rows.batch.logits[some] if here.all() else rows.batch.logits[some][here]
                same = values == round_to_type(logits, rows.type)
                self.untouched_classes &= over_rows(np.logical_and, same)

    def _add_keys(self, values: Floats, right: Floats, first: int, *, with_keys: bool) -> None:
        """Random projections of rows, and of the classes in them, without cancellation.

        Not by matrix products, for which BLAS begins threads of its own.
        """
        by_row = np.random.default_rng((0, first)).random(len(right))
        by_class = np.random.default_rng(0).random(right.shape[1])
        of_rows = np.empty((2, 2, len(right)))
        for number, array in enumerate((values, right)):
            sizes = np.abs(array)
            for key, some in enumerate((sizes, np.sqrt(np.sqrt(sizes)))):
                self.class_keys[number, key] += np.einsum("i,ij->j", by_row, some)
                if with_keys:
                    of_rows[number, key] = np.einsum("ij,j->i", some, by_class)
        if with_keys:
            self.row_keys.append((of_rows[0], of_rows[1]))

    def extend(self, other: Counts) -> None:
        """Take what is counted of the rows that follow."""
        self.marks = self.marks.merged(other.marks, self._keep)
        self.off_at_target += other.off_at_target
        self.largest = max(self.largest, other.largest)
        for name in ("off_rows", "keyed_rows", "broken_rows", "row_keys", "loss_sizes"):
            getattr(self, name).extend(getattr(other, name))
        self.off_classes |= other.off_classes
        self.zero_classes &= other.zero_classes
        self.untouched_classes &= other.untouched_classes
        self.class_keys += other.class_keys

    def facts(self, gradient: Gradient) -> Facts:
        """What is known of all rows."""
        own, logits = gradient.rows, gradient.reference.problem.given_rows
        keys = [np.concatenate(some, axis=1) for some in zip(*self.row_keys, strict=True)]
        near = NEAR_KEYS * type_precision(gradient.candidate.type).epsilon
        return Facts(
            off=int(self.marks.counts[ACCEPTABLE + 1 :].sum()),
            off_at_target=self.off_at_target,
            off_rows=np.concatenate(self.off_rows),
            keyed_rows=np.concatenate(self.keyed_rows),
            off_classes=self.off_classes,
            kept=gradient.reference.problem.kept,
            broken_rows=np.concatenate(self.broken_rows),
            zero_classes=self.zero_classes,
            untouched_classes=self.untouched_classes,
            largest=self.largest,
            row_keys=Keys(keys[0], keys[1], near) if keys else None,
            class_keys=Keys(self.class_keys[0], self.class_keys[1], near),
            places=_files_of(own, "{}") or _files_of(logits, "what stands for {}"),
            owners=_files_of(logits, "{}") or _files_of(own, "the place of {}"),
        )


def _files_of(rows: Rows, called: str) -> tuple[File, ...]:
    """The files that rows are of, where they are several."""
    if len(rows.stretches) < 2:
        return ()
    ends = np.cumsum([0, *(stretch.length for stretch in rows.stretches)]).tolist()
    names = [called.format(stretch.segment.name) for stretch in rows.stretches]
    return tuple(File(*file) for file in zip(names, ends[:-1], ends[1:], strict=True))


@dataclass(frozen=True, eq=False)
class Survey:
    """What the first pass comes to.

    marks, facts: of the gradient, None where there is none. losses, loss_sizes (N,): where each
    loss was asked for, else no losses and the sum of their sizes.
    """

    marks: Marks | None
    facts: Facts | None
    losses: Floats | None
    loss_sizes: Floats


def survey(
    reference: Reference,
    gradient: Gradient | None,
    *,
    keep: int,
    each_loss: bool = False,
    progress: ProgressCallback | None = None,
) -> Survey:
    """Go through all rows once; the reference's pass is complete then.

    keep: so many of the worst components. each_loss: and the losses. progress is told the share of
    the rows that is done.
    """
    problem = reference.problem
    _ = problem.divisors  # what is wrong with it is said before anything is computed
    reference.start()
    with_keys = problem.samples <= MOST_KEYS
    counts, losses = Counts(keep, problem.classes), []

    def work(block: Block) -> tuple[Counts, Solved | None]:
        found = Counts(keep, problem.classes)
        with np.errstate(all="ignore"):
            if gradient is None:
                solved = reference.of_block(block).solved
                found.loss_sizes.append(loss_sizes(reference.textbook.of_block(block)))
            else:
                pieces, solved = gradient.of_block(block)
                for piece, rows in pieces:
                    marked = gradient.marked(piece, rows, keep, counts.marks)
                    found.add(*marked, with_keys=with_keys)
            if not each_loss:
                found.loss_sizes = [np.array([size.sum()]) for size in found.loss_sizes]
        return found, solved

    for found, solved in _each_block(problem, work, progress):
        counts.extend(found)
        if solved is not None:
            part = reference.run.take(solved)
            if each_loss:
                losses.append(part.total)
    sizes = np.concatenate(counts.loss_sizes) if counts.loss_sizes else np.zeros(0)
    return Survey(
        marks=None if gradient is None else counts.marks,
        facts=None if gradient is None or not problem.samples else counts.facts(gradient),
        losses=np.concatenate(losses) if losses else None,
        loss_sizes=sizes if each_loss else np.asarray(sizes.sum()),
    )


# --- Looking for what explains it -----------------------------------------------------------------


def sample_of(gradient: Gradient, survey: Survey) -> Evidence:
    """Rows to find a mistake with: all of few, else the worst, the first, the last and others."""
    facts, marks = survey.facts, survey.marks
    assert facts is not None
    assert marks is not None
    count, classes = len(facts.off_rows), len(facts.off_classes)
    most = max(SAMPLE_ROWS, SAMPLE_COMPONENTS // classes)
    if count <= most:
        return gradient.some(np.arange(count))
    off = np.flatnonzero(facts.off_rows)
    right = np.flatnonzero(~facts.off_rows)
    worst = np.unique(marks.worst.place // classes)[: most // 4]
    chosen = [worst, off[:2], off[-2:], right[:1], right[-1:]]
    random = np.random.default_rng(0)
    chosen.append(random.choice(off, min(len(off), most // 2), replace=False))
    if len(right):
        chosen.append(random.choice(right, min(len(right), most // 8), replace=False))
    return gradient.some(np.unique(np.concatenate(chosen).astype(np.int64)))


def confirmed(
    gradient: Gradient,
    sample: Evidence,
    hypotheses: Sequence[Hypothesis],
    progress: ProgressCallback | None = None,
) -> Found:
    """Those that explain all rows, which are gone through once more where the sample is not all."""
    trials, limit = [Trial(hypothesis) for hypothesis in hypotheses], sample.limit
    is_all = len(sample.numbers) == len(gradient.rows)
    for trial in trials:
        if is_all or trial.hypothesis.holds:
            trial.add(sample, limit)
    left = [trial for trial in trials if not is_all and not trial.hypothesis.holds]

    def work(block: Block) -> list[Trial]:
        again = [trial.again() for trial in left]
        with np.errstate(all="ignore"):
            for _, rows in gradient.of_block(block, again=True)[0]:
                for trial in again:
                    trial.add(rows, limit)
        return again

    for done in _each_block(gradient.reference.problem, work, progress) if left else ():
        for trial, more in zip(left, done, strict=True):
            trial.extend(more)
        if not any(trial.holds for trial in left):
            break
    found = []
    for trial in trials:
        diagnosis = trial.named() if trial.holds else None
        if diagnosis is not None:
            found.append((trial.match, diagnosis))
    return found


def right_rows(gradient: Gradient, sample: Evidence, rows: Integers) -> Floats:
    """(n, C) the right gradient of any rows; of a sample that is all of them it is known."""
    if len(sample.numbers) == len(gradient.rows):
        return sample.right[rows]
    return gradient.reference.right_of(rows)


class Trial:
    """A hypothesis held against one piece of rows after another; holds: whether it fits them."""

    def __init__(self, hypothesis: Hypothesis) -> None:
        self.hypothesis = hypothesis
        self.holds, self.match = True, Match(0.0, 0.0)
        self.seen: list[object] = []

    def again(self) -> Trial:
        """Another one of the same, which need not be held where this one does not."""
        other = Trial(self.hypothesis)
        other.holds = self.holds
        return other

    def add(self, rows: Evidence, limit: float) -> None:
        """Take the rows that follow."""
        predicted = self.hypothesis.predict(rows) if self.holds else None
        if predicted is None:
            self.holds = False
            return
        self.match = self.match.worse(rows.match(predicted))
        self.holds = self.match.ratio <= limit
        if self.hypothesis.watch is not None:
            self.seen.append(self.hypothesis.watch(rows))

    def extend(self, later: Trial) -> None:
        """Take what became of the rows that follow."""
        self.holds = self.holds and later.holds
        self.match = self.match.worse(later.match)
        self.seen += later.seen

    def named(self) -> Diagnosis | None:
        """What it is called after all that was seen."""
        name = self.hypothesis.name
        return self.hypothesis.diagnosis if name is None else name(self.seen)


def losses_by(
    reference: Reference,
    makes: Sequence[Makes],
    *,
    each: bool,
    progress: ProgressCallback | None = None,
) -> Sequence[Floats | None]:
    """What some ways to make a loss come to: a sum, or (N,) with each; None without room for it."""
    problem = reference.problem

    def work(block: Block) -> list[Floats | None]:
        parts: list[list[Floats | None]] = []
        size, count = rows_at_once(block.logits.shape[1]), len(block.kept)
        with np.errstate(all="ignore"):
            for start in range(0, count, size):
                piece = some_of(block, slice(start, min(start + size, count)))
                batch = reference.textbook.of_block(piece)
                made = [reference.losses_made(batch, make) for make in makes]
                parts.append([m if m is None or each else np.atleast_1d(m.sum()) for m in made])
        return list(map(_together, zip(*parts, strict=True)))

    blocks = list(_each_block(problem, work, progress))
    if not blocks:
        return [None for _ in makes]
    found = list(map(_together, zip(*blocks, strict=True)))
    if each:
        return found
    return [None if losses is None else np.asarray(losses.sum()) for losses in found]


def _together(parts: Sequence[Floats | None]) -> Floats | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if len(known) == len(parts) else None
