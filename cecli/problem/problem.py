"""What is asked: logits, a target and an objective, checked and laid out as rows.

Everything that computes (the float core, the exact arithmetic, the finite differences) starts from
a `Problem`, so each rule of what counts as good input stands here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cecli.errors import CecliError
from cecli.problem.concatenated import Joined, JoinedRows, rows_in_place, rows_of
from cecli.problem.dtypes import (
    BFLOAT16,
    Floats,
    Integers,
    Logits,
    as_doubles,
    as_logits,
    as_real_array,
    result_dtype,
    row_maxima,
    widened,
)
from cecli.problem.objective import Objective
from cecli.problem.targets import ClassIndices

SOFT_TARGET_SLACK = 0.01 + 2.0**-40  # with room for the rounding of a sum
FEW_CLASSES = 64


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive rows of a problem, the first of them row number start.

    logits (N, C): float32 where they were given in half or single precision, else float64; zeros in
    the rows that are not kept, and perhaps the caller's own memory in the others. maximum (N,): of
    each row. index (N,) or soft (N, C): the target, neither where only the softmax is wanted.
    kept (N,): not ignored; all_kept: whether none is.
    """

    problem: Problem
    start: int
    logits: Logits
    maximum: Floats
    index: Integers | None
    soft: Floats | None
    kept: NDArray[np.bool_]
    all_kept: bool


class Problem:
    """Logits of any shape as N rows of C classes, their targets and the objective, all checked.

    logits: real numbers, shape (…, C, …) with the classes on objective.axis; an array of two bytes
    without a type, as NumPy saves it, is bfloat16.
    target: integers of the batch's shape (class indices), floats of the logits' shape (class
    probabilities), or None where only the softmax is wanted.
    Raises CecliError for whatever cannot be computed, naming the sample and the value.

    logits, target: as given, as arrays; given and given_target: the same, in several files perhaps.
    The logits themselves are looked at when their `block` is taken, and the targets piece by piece,
    so that a problem may be larger than memory. dtype: of the arrays that come out; kept_count: the
    number of rows that are not ignored; indexed: whether the target is class indices.
    """

    def __init__(
        self, logits: ArrayLike, target: ArrayLike | None, objective: Objective | None = None
    ) -> None:
        self.objective = objective = objective or Objective()
        self.given = given = as_real_array("logits", logits)
        self.given_target: NDArray[Any] | None = None
        self.shape = given.shape
        self.batch_shape = batch_shape_of(given.shape, objective.axis)
        self.classes = given.shape[objective.axis]
        if isinstance(given, Joined) and objective.axis % given.ndim == 0:
            raise CecliError(
                "samples of several files lie behind one another along the first dimension: "
                "it cannot be that of the classes"
            )
        if self.classes == 0:
            raise CecliError(
                f"logits of shape {given.shape} have no classes: an empty sample", about="logits"
            )
        self.dtype = result_dtype(given.dtype)
        self._given_rows = rows_in_place(given, objective.axis)
        self.samples = self.kept_count = len(self._given_rows)
        self.soft: NDArray[Any] | None = None
        self._indices: ClassIndices | None = None
        if target is not None:
            self._take_target(target)
        self.weight = self._checked_weight()

    @cached_property
    def logits(self) -> NDArray[Any]:
        """The logits as given, bfloat16 as float32."""
        return widened(np.asarray(self.given))

    @property
    def target(self) -> NDArray[Any] | None:
        """The target as given, in memory where it comes from several files."""
        return None if self.given_target is None else np.asarray(self.given_target)

    @property
    def own_dtype(self) -> np.dtype[Any]:
        """The logits' own type: float64 for integers, float32 for bfloat16."""
        given = self.given.dtype
        return np.dtype(given.name) if given.name in ("float16", "float32") else self.dtype

    @property
    def nbytes(self) -> int:
        """How many bytes the logits take as given."""
        return self.given.nbytes

    @property
    def row_bytes(self) -> int:
        """How many bytes a row of a block's logits takes."""
        return int(self.classes) * result_dtype(self.given.dtype).itemsize

    @property
    def has_target(self) -> bool:
        """Whether there is a target, not only logits."""
        return self.given_target is not None

    @property
    def indexed(self) -> bool:
        """Whether the target is class indices."""
        return self._indices is not None

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        """(N,) which rows are not ignored."""
        return self._kept_in(0, self.samples)

    @cached_property
    def index(self) -> Integers | None:
        """(N,) the class indices, 0 where a row is ignored; None for a soft target."""
        return None if self._indices is None else self._indices.columns(0, self.samples)

    def unweighted(self) -> Problem:
        """The same logits and target without weights, smoothing and z-loss, under the mean."""
        return self._under(weight=None, label_smoothing=0.0, z_loss=0.0, reduction="mean")

    def unreduced(self) -> Problem:
        """The same problem without a reduction: each sample by itself."""
        return self._under(reduction="none")

    def _under(self, **changes: Any) -> Problem:
        """The same rows and targets, which are not checked once more, under another objective."""
        problem = copy(self)
        problem.objective = replace(self.objective, **changes)
        problem.weight = None if problem.objective.weight is None else self.weight
        for derived in ("divisor", "z_loss_divisor"):
            vars(problem).pop(derived, None)
        return problem

    def only(self, rows: Integers, *, divided: bool = True) -> Problem:
        """Some of the rows as a batch of their own, over the divisors of the whole or over none."""
        given = self.soft if self._indices is None else self._indices.given
        target = None if given is None else given[rows]
        objective = replace(self.objective, axis=-1)
        if not divided:
            objective = replace(objective, reduction="none")
        chosen = Problem(self._given_rows[rows], target, objective)
        if divided:
            chosen.divisor, chosen.z_loss_divisor = self.divisor, self.z_loss_divisor
        return chosen.rounded_to(self.dtype)

    def of_each_file(self) -> Iterator[Problem]:
        """The logits of each of several files by themselves, without their targets."""
        given: Any = self.given
        for piece in given.pieces:
            yield Problem(piece.array, None, Objective(axis=self.objective.axis))

    def rounded_to(self, dtype: np.dtype[Any]) -> Problem:
        """The same problem with results of another type."""
        problem = copy(self)
        problem.dtype = dtype
        return problem

    def place(self, row: int | np.integer[Any]) -> str:
        """How a row is called in a message: nothing for one sample alone, else its index."""
        return _place(int(row), self.batch_shape)

    def _found_in(self, rows: NDArray[Any] | None, row: int) -> tuple[str, str]:
        """How a message about a row begins, and how it calls the row: by its file, of several."""
        if not isinstance(rows, JoinedRows):
            return "", self.place(row)
        name, row, batch_shape = rows.place(row)
        return f"{name}: " if name else "", _place(row, batch_shape)

    def block(self, start: int, stop: int) -> Block:
        """The rows from start to stop, checked."""
        # Stored column by column, few classes make for long operations all the same.
        order: Literal["C", "F"] = "F" if self.classes <= FEW_CLASSES else "C"
        kept = self._kept_in(start, stop)
        all_kept = self.kept_count == self.samples or bool(kept.all())
        with np.errstate(invalid="ignore"):  # a signalling NaN is one like any other
            logits = as_logits(self._given_rows[start:stop], order)
            if not all_kept:
                logits = logits.copy(order="K")
                logits[~kept] = 0.0
            maximum = row_maxima(logits)
        extremes = maximum.min(initial=0.0), maximum.max(initial=0.0)
        if not np.isfinite(extremes).all():
            self._refuse_rows(logits, start)
        index = None if self._indices is None else self._indices.columns(start, stop)
        soft = None if self.soft is None else self._checked_soft(start, stop)
        return Block(self, start, logits, maximum, index, soft, kept, all_kept)

    @cached_property
    def rows(self) -> Floats:
        """All rows as one block's logits (N, C)."""
        return np.asarray(self.block(0, self.samples).logits, dtype=np.float64)

    def restore(self, rows: NDArray[Any]) -> NDArray[Any]:
        """(N, C) rows in the logits' own shape."""
        moved = rows.reshape(*self.batch_shape, self.classes)
        return np.ascontiguousarray(np.moveaxis(moved, -1, self.objective.axis))

    def to_rows(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array of the logits' shape as (N, C) rows: the inverse of `restore`."""
        rows: NDArray[Any] = rows_of(array, self.objective.axis)
        return rows

    @property
    def target_rows(self) -> NDArray[Any]:
        """Class indices (N,) or class probabilities (N, C)."""
        if self.index is not None:
            return self.index
        if self.soft is not None:
            return self.soft
        raise CecliError("a target is needed", about="target")

    def indices_of(self, rows: Integers, columns: Integers) -> Integers:
        """(k, ndim) indices in the logits of k components given by row and class."""
        position = list(np.unravel_index(rows, self.batch_shape)) if self.batch_shape else []
        position.insert(self.objective.axis % len(self.shape), columns)
        return np.stack(position, axis=1)

    @cached_property
    def divisor(self) -> float | None:
        """What the summed loss is divided by: None for reduction none, 1 for sum.

        The mean over index targets divides by Σ weight[target] over the samples kept, over soft
        targets by their number, as PyTorch does.
        """
        if self.objective.reduction == "none":
            return None
        if self.objective.reduction == "sum":
            return 1.0
        self._require_rows()
        if self.weight is None or self._indices is None:
            return float(self.kept_count)
        divisor = self._indices.total_weight(self.weight)
        if not 0.0 < divisor < math.inf:
            raise CecliError(
                f"the mean is undefined: the weights of the targets sum to {divisor:g}"
            )
        return divisor

    @cached_property
    def z_loss_divisor(self) -> float | None:
        """What the summed z-loss is divided by: the mean's is the number of samples kept."""
        if self.objective.reduction != "mean":
            return self.divisor
        self._require_rows()
        return float(self.kept_count)

    def _require_rows(self) -> None:
        if not self.samples:
            raise CecliError("the mean is undefined: the batch has no samples")
        if not self.kept_count:
            raise CecliError(
                f"the mean is undefined: every target is {self.objective.ignore_index}, "
                "the index to ignore"
            )

    def _take_target(self, target: ArrayLike) -> None:
        self.given_target = given = as_real_array("target", target)
        if given.dtype.kind in "iu":
            self._take_index(given)
        elif (given.dtype.kind == "f" or given.dtype == BFLOAT16) and given.shape == self.shape:
            self._take_soft(given)
        else:
            raise CecliError(
                f"a target of type {given.dtype} and shape {given.shape} does not fit logits of "
                f"shape {self.shape}: class indices are integers of shape {self.batch_shape}, "
                f"class probabilities floats of shape {self.shape}",
                about="target",
            )

    def _take_index(self, given: NDArray[Any]) -> None:
        if given.shape != self.batch_shape:
            samples = f"{self.samples} sample{'s' if self.samples != 1 else ''}"
            count = f"{given.size} target{'s' if given.size != 1 else ''}"
            wanted = f"logits of shape {self.shape} need targets of shape {self.batch_shape}"
            if given.size == self.samples:
                raise CecliError(f"targets of shape {given.shape}: {wanted}", about="target")
            raise CecliError(f"{count} for {samples}: {wanted}", about="target")
        flat = rows_of(given, None)
        self._indices = ClassIndices(flat, self.classes, self.objective.ignore_index)
        self.kept_count, wrong = self._indices.count()
        if wrong is not None:
            self._refuse_target(flat, wrong)

    def _refuse_target(self, flat: NDArray[Any], row: int) -> None:
        file, place = self._found_in(flat, row)
        target = int(np.asarray(flat[row]))
        hint = "; if it marks samples to ignore, say so: ignore_index (--ignore-index) -100"
        valid = (
            f"the {self.classes} classes are 0 to {self.classes - 1}"
            if self.classes > 1
            else "the only class is 0"
        )
        raise CecliError(
            f"{file}target {target}{place} is out of range: {valid}"
            + (hint if target == -100 else ""),
            about=None if file else "target",
        )

    def _kept_in(self, start: int, stop: int) -> NDArray[np.bool_]:
        if self._indices is None:
            return np.ones(stop - start, dtype=bool)
        return self._indices.kept(start, stop)

    def _take_soft(self, given: NDArray[Any]) -> None:
        if self.objective.ignore_index is not None:
            raise CecliError("an index to ignore needs class indices: the target is soft")
        self.soft = rows_in_place(given, self.objective.axis)

    def _checked_soft(self, start: int, stop: int) -> Floats:
        soft = as_doubles(self.target_rows[start:stop])
        bad = ~((soft >= 0) & (soft < np.inf))
        if bad.any():
            row, column = np.argwhere(bad)[0]
            file, place = self._found_in(self.soft, start + int(row))
            raise CecliError(
                f"{file}soft target{place} has {soft[row, column]:g} for class "
                f"{column}: probabilities are 0 or more",
                about=None if file else "soft_target",
            )
        totals = soft.sum(axis=1)
        off = np.abs(totals - 1.0) > SOFT_TARGET_SLACK
        if off.any():
            row = off.argmax()
            file, place = self._found_in(self.soft, start + int(row))
            raise CecliError(
                f"{file}soft target{place} sums to {totals[row]:.6g}: probabilities sum to 1",
                about=None if file else "soft_target",
            )
        return soft

    def _refuse_rows(self, rows: Logits, start: int) -> None:
        bad = np.isnan(rows) | (rows == np.inf)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            value = "NaN" if np.isnan(rows[row, column]) else "+inf"
            file, place = self._found_in(self._given_rows, start + int(row))
            raise CecliError(
                f"{file}logit {column}{place} is {value}: logits are finite, "
                "or -inf for a class that is masked",
                about=None if file else "logits",
            )
        masked = (rows == -np.inf).all(axis=1)
        file, place = self._found_in(self._given_rows, start + int(masked.argmax()))
        raise CecliError(
            f"{file}every logit{place} is -inf: at least one class must not be masked",
            about=None if file else "logits",
        )

    def _checked_weight(self) -> Floats | None:
        if self.objective.weight is None:
            return None
        weight = as_doubles(as_real_array("weight", self.objective.weight))
        if weight.shape != (self.classes,):
            raise CecliError(
                f"weight has shape {weight.shape}: {self.classes} classes need "
                f"{self.classes} weights",
                about="weight",
            )
        bad = ~((weight >= 0) & (weight < np.inf))
        if bad.any():
            column = int(bad.argmax())
            raise CecliError(
                f"weight {column} is {weight[column]:g}: weights are 0 or more and finite",
                about="weight",
            )
        return weight


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


def _place(row: int, batch_shape: tuple[int, ...]) -> str:
    """How a row is called in a message: nothing for one sample alone, else its index."""
    if not batch_shape:
        return ""
    position = np.unravel_index(row, batch_shape)
    inner = ", ".join(str(int(i)) for i in position)
    return f" of sample {inner}" if len(position) == 1 else f" of sample ({inner})"
