"""What is asked: logits, a target and an objective, checked and laid out as rows.

Everything that computes (the float core, the exact arithmetic, the finite differences) starts from
a `Problem`, so each rule of what counts as good input stands in this room and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cecli.errors import CecliError
from cecli.problem.divisors import Divisors
from cecli.problem.dtypes import (
    AnyArray,
    Floats,
    Integers,
    Logits,
    as_any_array,
    as_doubles,
    as_logits,
    as_real_array,
    first_rounded,
    no_double,
    result_dtype,
    row_maxima,
    widened,
)
from cecli.problem.objective import Objective
from cecli.problem.rows import Joined, Rows, rows_of, sample_name
from cecli.problem.targets import ClassIndices, Probabilities, as_indices


@dataclass(frozen=True, eq=False, repr=False)
class Block:
    """Consecutive rows of a problem, the first of them row number start.

    logits (N, C): float32 where they were given in half or single precision, else float64; perhaps
    the caller's own memory. index (N,) or soft (N, C): the target, neither where only the softmax
    is wanted. kept (N,): not ignored; all_kept: whether none is. weights (N,): of the samples.
    """

    problem: Problem
    start: int
    logits: Logits
    index: Integers | None
    soft: Floats | None
    kept: NDArray[np.bool_]
    all_kept: bool
    weights: Floats | None = None

    def refuse(self) -> NoReturn:
        """Raise CecliError for a row that is kept and has NaN, +∞ or nothing but −∞."""
        self.problem.refuse_rows(np.where(self.kept[:, None], self.logits, 0.0), self.start)


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    """Logits of any shape as N rows of C classes, their targets and the objective, all checked.

    Made by `Problem.of`, and never changed; others are made of it, whose rows and targets are the
    same or some of them and are not checked once more.

    given: the logits as given, as an array, perhaps of several files. truth: the target, None where
    only the softmax is wanted. weight (C,): of the classes; sample_weight (N,): of the samples.
    dtype: of the arrays that come out.
    shared: the divisors, where they are those of a batch that this is a part of.
    The logits themselves are looked at when their `block` is taken, and the targets piece by piece,
    so that a problem may be larger than memory.
    """

    given: AnyArray
    truth: ClassIndices | Probabilities | None
    objective: Objective
    weight: Floats | None
    dtype: np.dtype[Any]
    shared: Divisors | None = None
    sample_weight: Floats | None = None

    @classmethod
    def of(
        cls,
        logits: ArrayLike | Joined | Rows,
        target: ArrayLike | Joined | Rows | None = None,
        objective: Objective | None = None,
        *,
        dtype: np.dtype[Any] | None = None,
        divisors: Divisors | None = None,
    ) -> Problem:
        """The problem of logits, a target and an objective.

        logits: real numbers, shape (…, C, …) with the classes on objective.axis; an array of two
        bytes without a type, as NumPy saves it, is bfloat16.
        target: integers of the batch's shape (class indices), floats of the logits' shape (class
        probabilities), or None where only the softmax is wanted.
        dtype: of the arrays that come out; by default float32 for half and single precision, else
        float64. divisors: those of a larger batch; by default the problem's own.
        Raises CecliError for whatever cannot be computed, naming the sample and the value.
        """
        objective = objective or Objective()
        given = as_any_array("logits", logits)
        batch_shape = batch_shape_of(given.shape, objective.axis)
        classes = given.shape[objective.axis]
        several = isinstance(given, Joined) and len(given.segments) > 1
        if several and objective.axis % given.ndim == 0:
            raise CecliError(
                "samples of several files lie behind one another along the first dimension: "
                "it cannot be that of the classes"
            )
        if classes == 0:
            raise CecliError(
                f"logits of shape {given.shape} have no classes: an empty sample", about="logits"
            )
        truth: ClassIndices | Probabilities | None = None
        sample_weight = _checked_sample_weight(batch_shape, objective)
        if target is not None:
            truth = _checked_truth(target, given.shape, batch_shape, objective, sample_weight)
        weight = _checked_weight(classes, objective)
        dtype = dtype or result_dtype(given.dtype)
        return cls(given, truth, objective, weight, dtype, divisors, sample_weight)

    # --- What it consists of ------------------------------------------------------------------

    @cached_property
    def given_rows(self) -> Rows:
        """The logits as given, (N, C)."""
        return rows_of(self.given, self.objective.axis)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the logits."""
        return self.given.shape

    @cached_property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape of the logits without the dimension of the classes."""
        return batch_shape_of(self.given.shape, self.objective.axis)

    @cached_property
    def samples(self) -> int:
        """N"""
        return len(self.given_rows)

    @cached_property
    def classes(self) -> int:
        """C"""
        return int(self.given.shape[self.objective.axis])

    @cached_property
    def logits(self) -> NDArray[Any]:
        """The logits as given, bfloat16 as float32."""
        return widened(np.asarray(self.given))

    @cached_property
    def rows(self) -> Floats:
        """All rows as one block's logits (N, C)."""
        return np.asarray(self.block(0, self.samples).logits, dtype=np.float64)

    @property
    def own_dtype(self) -> np.dtype[Any]:
        """The logits' own type: float64 for integers, float32 for bfloat16."""
        own = self.given.dtype
        return np.dtype(own.name) if own.name in ("float16", "float32") else result_dtype(own)

    @property
    def nbytes(self) -> int:
        """How many bytes the logits take as given."""
        return self.given.nbytes

    @property
    def row_bytes(self) -> int:
        """How many bytes a row of a block's logits takes."""
        return self.classes * result_dtype(self.given.dtype).itemsize

    # --- The target -----------------------------------------------------------------------------

    @property
    def has_target(self) -> bool:
        """Whether there is a target, not only logits."""
        return self.truth is not None

    @property
    def indexed(self) -> bool:
        """Whether the target is class indices."""
        return isinstance(self.truth, ClassIndices)

    @property
    def target(self) -> NDArray[Any] | None:
        """The target as given, in memory where it comes from several files."""
        return None if self.truth is None else np.asarray(self.truth.given)

    @cached_property
    def index(self) -> Integers | None:
        """(N,) the class indices, 0 where a row is ignored; None for a soft target."""
        return self.truth.columns(0, self.samples) if isinstance(self.truth, ClassIndices) else None

    @cached_property
    def soft(self) -> NDArray[Any] | None:
        """(N, C) the class probabilities as given; None for class indices."""
        return np.asarray(self.truth.rows) if isinstance(self.truth, Probabilities) else None

    @property
    def target_rows(self) -> NDArray[Any]:
        """Class indices (N,) or class probabilities (N, C)."""
        rows = self.soft if self.index is None else self.index
        if rows is None:
            raise CecliError("a target is needed", about="target")
        return rows

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        """(N,) which rows are not ignored."""
        return self._kept_in(0, self.samples)

    @property
    def kept_count(self) -> int:
        """The number of rows that are not ignored."""
        return self.samples if self.truth is None else self.truth.kept_count

    def _kept_in(self, start: int, stop: int) -> NDArray[np.bool_]:
        if self.truth is None:
            return np.ones(stop - start, dtype=bool)
        return self.truth.kept(start, stop)

    # --- What it is divided by ------------------------------------------------------------------

    @cached_property
    def divisors(self) -> Divisors:
        """What the sums of the losses and of the z-losses are divided by.

        The mean over index targets divides by Σ weight[target] over the samples kept, over soft
        targets by their number, as PyTorch does; the mean of the z-losses by that number always.
        Raises CecliError for a mean over nothing.
        """
        if self.shared is not None:
            return self.shared
        if self.objective.reduction == "none":
            return Divisors(None, None)
        if self.objective.reduction == "sum":
            return Divisors(1.0, 1.0)
        if not self.samples:
            raise CecliError("the mean is undefined: the batch has no samples")
        count = self.kept_count
        if self.objective.divisor is not None:
            return Divisors(float(self.objective.divisor), float(self.objective.divisor))
        if not count and self.sample_weight is not None:
            raise CecliError("the mean is undefined: no sample has a weight and a target")
        if not count:
            raise CecliError(
                f"the mean is undefined: every target is {self.objective.ignore_index}, "
                "the index to ignore"
            )
        if self.sample_weight is not None:
            return self._weighted_divisors(self.sample_weight)
        if self.weight is None or not isinstance(self.truth, ClassIndices):
            return Divisors(float(count), float(count))
        total = self.truth.total_weight(self.weight)
        if not 0.0 < total < math.inf:
            raise CecliError(f"the mean is undefined: the weights of the targets sum to {total:g}")
        return Divisors(total, float(count), self.truth.counts)

    def _weighted_divisors(self, sample_weight: Floats) -> Divisors:
        """Σ sample weight·weight[target], and Σ sample weight, over the rows kept."""
        weights = sample_weight[self.kept]
        of_classes = np.ones_like(weights)
        if self.weight is not None and self.index is not None:
            of_classes = self.weight[self.index[self.kept]]
        found = Divisors(None, None, shares=(weights, of_classes))
        try:
            losses, z_losses = map(float, found.of_shares)
        except OverflowError:
            raise CecliError("the mean is undefined: the weights sum to inf") from None
        if not losses:
            raise CecliError("the mean is undefined: the weights sum to 0")
        return replace(found, losses=losses, z_losses=z_losses)

    @property
    def divisor(self) -> float | None:
        """What the summed loss is divided by: None for reduction none, 1 for sum."""
        return self.divisors.losses

    @property
    def z_loss_divisor(self) -> float | None:
        """What the summed z-loss is divided by: the mean's is the number of samples kept."""
        return self.divisors.z_losses

    # --- Others made of it ----------------------------------------------------------------------

    def unweighted(self) -> Problem:
        """The same logits and target without weights, smoothing and z-loss, under the mean."""
        plain = self._under(
            weight=None,
            label_smoothing=0.0,
            z_loss=0.0,
            reduction="mean",
            sample_weight=None,
            divisor=None,
        )
        return replace(plain, sample_weight=None)

    def unreduced(self) -> Problem:
        """The same problem without a reduction: each sample by itself."""
        return self._under(reduction="none", divisor=None)

    def undivided(self) -> Problem:
        """The same problem, its loss not divided by anything."""
        return self._under(reduction="sum", divisor=None)

    def _under(self, **changes: Any) -> Problem:
        objective = replace(self.objective, **changes)
        weight = None if objective.weight is None else self.weight
        return replace(self, objective=objective, weight=weight, shared=None)

    def only(self, rows: Integers, *, divided: bool = True) -> Problem:
        """Some of the rows as a batch of their own, over the divisors of the whole or over none."""
        objective = replace(self.objective, axis=-1)
        if not divided:
            objective = replace(objective, reduction="none", divisor=None)
        weights = self.sample_weight
        return replace(
            self,
            given=self.given_rows.only(rows),
            truth=None if self.truth is None else self.truth.only(rows),
            objective=objective,
            shared=self.divisors if divided else None,
            sample_weight=None if weights is None else weights[rows],
        )

    def sample(self, row: int) -> Problem:
        """One sample as a problem of its own, which is not ignored."""
        return replace(
            self,
            given=self.given_rows[row],
            truth=None if self.truth is None else self.truth.one(row),
            objective=replace(self.objective, axis=-1, ignore_index=None, sample_weight=None),
            shared=None,
            sample_weight=None,
        )

    def rounded_to(self, dtype: np.dtype[Any]) -> Problem:
        """The same problem with results of another type."""
        return replace(self, dtype=dtype)

    def of_each_file(self) -> Iterator[Problem]:
        """The logits of each of several files by themselves, without their targets."""
        for stretch in self.given_rows.stretches:
            own = Joined([stretch.segment])
            yield Problem.of(own, None, Objective(axis=self.objective.axis))

    # --- Rows and samples -----------------------------------------------------------------------

    def block(self, start: int, stop: int, *, checked: bool = True) -> Block:
        """The rows from start to stop; checked, or to be checked by whoever works them out.

        A row that is ignored has zeros where the block is checked.
        """
        kept = self._kept_in(start, stop)
        all_kept = self.kept_count == self.samples or bool(kept.all())
        given = self.given_rows[start:stop]
        if (first := first_rounded(given, kept)) is not None:
            self._refuse_rounded(given, first, start)
        with np.errstate(invalid="ignore"):  # a signalling NaN is one like any other
            logits = as_logits(given)
            if checked:
                logits = self._checked_rows(logits, None if all_kept else kept, start)
        truth = self.truth
        index = truth.columns(start, stop) if isinstance(truth, ClassIndices) else None
        soft = truth.checked(start, stop) if isinstance(truth, Probabilities) else None
        weights = None if self.sample_weight is None else self.sample_weight[start:stop]
        return Block(self, start, logits, index, soft, kept, all_kept, weights)

    def _checked_rows(self, logits: Logits, kept: NDArray[np.bool_] | None, start: int) -> Logits:
        if kept is not None:
            logits = logits.copy()
            logits[~kept] = 0.0
        maximum = row_maxima(logits)
        extremes = maximum.min(initial=0.0), maximum.max(initial=0.0)
        if not np.isfinite(extremes).all():
            self.refuse_rows(logits, start)
        return logits

    def place(self, row: int | np.integer[Any]) -> str:
        """How a row is called in a message: nothing for one sample alone, else its index."""
        return sample_name(int(row), self.batch_shape)

    def restore(self, rows: NDArray[Any]) -> NDArray[Any]:
        """(N, C) rows in the logits' own shape."""
        moved = rows.reshape(*self.batch_shape, self.classes)
        return np.ascontiguousarray(np.moveaxis(moved, -1, self.objective.axis))

    def to_rows(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array of the logits' shape as (N, C) rows: the inverse of `restore`."""
        return np.moveaxis(array, self.objective.axis, -1).reshape(-1, self.classes)

    def indices_of(self, rows: Integers, columns: Integers) -> Integers:
        """(k, ndim) indices in the logits of k components given by row and class."""
        position = list(np.unravel_index(rows, self.batch_shape)) if self.batch_shape else []
        position.insert(self.objective.axis % len(self.shape), columns)
        return np.stack(position, axis=1)

    def _refuse_rounded(self, given: NDArray[Any], first: tuple[int, ...], start: int) -> NoReturn:
        """Raise CecliError for an integer of the rows from start on that no double holds."""
        row, column = first
        file, place = self.given_rows.called(start + row)
        raise CecliError(
            f"{file}logit {column}{place} is {no_double(given[first])}",
            about=None if file else "logits",
        )

    def refuse_rows(self, rows: Logits, start: int) -> NoReturn:
        """Raise CecliError for one of the rows from start on that cannot be used."""
        bad = np.isnan(rows) | (rows == np.inf)
        if bad.any():
            row, column = np.argwhere(bad)[0].tolist()
            value = "NaN" if np.isnan(rows[row, column]) else "+inf"
            file, place = self.given_rows.called(start + row)
            raise CecliError(
                f"{file}logit {column}{place} is {value}: logits are finite, "
                "or -inf for a class that is masked",
                about=None if file else "logits",
            )
        masked = (rows == -np.inf).all(axis=1)
        file, place = self.given_rows.called(start + int(masked.argmax()))
        raise CecliError(
            f"{file}every logit{place} is -inf: at least one class must not be masked",
            about=None if file else "logits",
        )


# --- What is checked at once ----------------------------------------------------------------------


def batch_shape_of(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """The shape of logits without the dimension of the classes."""
    if not shape:
        raise CecliError(
            "logits must have a dimension of classes; got a single number", about="logits"
        )
    if not -len(shape) <= axis < len(shape):
        raise CecliError(f"axis {axis} is out of range for logits of shape {shape}")
    axis %= len(shape)
    return shape[:axis] + shape[axis + 1 :]


def _checked_truth(
    target: ArrayLike | Joined | Rows,
    shape: tuple[int, ...],
    batch_shape: tuple[int, ...],
    objective: Objective,
    weights: Floats | None,
) -> ClassIndices | Probabilities:
    given = as_any_array("target", target)
    if isinstance(given, Joined) and len(given.segments) == 1 and given.shape != batch_shape:
        given = np.asarray(given) if given.dtype.kind in "iu" else given
    if isinstance(given, np.ndarray):
        given = as_indices(given, shape, batch_shape, objective.axis)
    if given.dtype.kind in "iu":
        return _checked_indices(given, shape, batch_shape, objective, weights)
    if given.shape == shape and given.dtype.kind != "b":
        if objective.ignore_index is not None:
            raise CecliError("an index to ignore needs class indices: the target is soft")
        return Probabilities(given, rows_of(given, objective.axis), weights)
    found = (
        f"a target of type {given.dtype} and shape {given.shape}"
        if given.shape
        else (f"a single number of type {given.dtype}")
    )
    wanted = f"integers of shape {batch_shape}" if batch_shape else "a single integer"
    raise CecliError(
        f"{found} does not fit logits of shape {shape}: class indices are {wanted}, "
        f"class probabilities floats of shape {shape}",
        about="target",
    )


def _checked_indices(
    given: AnyArray,
    shape: tuple[int, ...],
    batch_shape: tuple[int, ...],
    objective: Objective,
    weights: Floats | None,
) -> ClassIndices:
    if given.shape != batch_shape:
        raise _misshapen(given.shape, shape, batch_shape)
    rows, classes = rows_of(given, None), shape[objective.axis]
    truth = ClassIndices(given, rows, classes, objective.ignore_index, weights)
    _ = truth.kept_count  # a class that there is not is told at once
    return truth


def _misshapen(
    given: tuple[int, ...], shape: tuple[int, ...], batch_shape: tuple[int, ...]
) -> CecliError:
    """That class indices are not as many as the samples, and along which axis they would be."""
    wanted = f"logits of shape {shape} need targets of shape {batch_shape}"
    if not batch_shape:
        wanted = "one sample has one target"
    others = [axis for axis in range(len(shape)) if batch_shape_of(shape, axis) == given]
    hint = f"; with the classes on axis {others[0]} they fit" if others else ""
    size, count = math.prod(given), math.prod(batch_shape)
    if size == count:
        return CecliError(f"targets of shape {given}: {wanted}{hint}", about="target")
    targets = f"{size} target{'s' if size != 1 else ''}"
    samples = f"{count} sample{'s' if count != 1 else ''}"
    return CecliError(f"{targets} for {samples}: {wanted}{hint}", about="target")


def _checked_sample_weight(batch_shape: tuple[int, ...], objective: Objective) -> Floats | None:
    """(N,) the weights of the samples."""
    if objective.sample_weight is None:
        return None
    given = as_real_array("sample_weight", objective.sample_weight)
    weights = as_doubles(given)
    if weights.size != math.prod(batch_shape) or (
        weights.ndim > 1 and weights.shape != batch_shape
    ):
        raise CecliError(
            f"sample_weight has shape {weights.shape}: samples of shape {batch_shape} need a "
            "weight each",
            about="sample_weight",
        )
    weights = weights.reshape(-1)
    if (first := first_rounded(given.reshape(-1))) is not None:
        place = sample_name(first[0], batch_shape)
        value = no_double(given.reshape(-1)[first])
        raise CecliError(f"sample_weight{place} is {value}", about="sample_weight")
    bad = ~((weights >= 0) & (weights < np.inf))
    if bad.any():
        row = int(bad.argmax())
        raise CecliError(
            f"sample_weight{sample_name(row, batch_shape)} is {weights[row]:g}: weights are 0 or "
            "more and finite",
            about="sample_weight",
        )
    return weights


def _checked_weight(classes: int, objective: Objective) -> Floats | None:
    if objective.weight is None:
        return None
    given = as_real_array("weight", objective.weight)
    weight = as_doubles(given)
    if weight.shape != (classes,):
        raise CecliError(
            f"weight has shape {weight.shape}: {classes} classes need {classes} weights",
            about="weight",
        )
    if (first := first_rounded(given)) is not None:
        raise CecliError(f"weight {first[0]} is {no_double(given[first])}", about="weight")
    bad = ~((weight >= 0) & (weight < np.inf))
    if bad.any():
        column = int(bad.argmax())
        raise CecliError(
            f"weight {column} is {weight[column]:g}: weights are 0 or more and finite",
            about="weight",
        )
    return weight
