"""What is asked: logits, a target and an objective, checked and laid out as rows.

Everything that computes (the float core, the exact arithmetic, the finite differences) starts from
a `Problem`, so each rule of what counts as good input stands here and nowhere else.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cecli.errors import CecliError
from cecli.objective import Objective

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Logits = NDArray[np.float32] | Floats

SOFT_TARGET_SLACK = 0.01
FEW_CLASSES = 64


@dataclass(frozen=True, eq=False)
class Block:
    """Consecutive rows of a problem, the first of them row number start.

    logits (N, C): float32 where they were given in half or single precision, else float64; zeros in
    the rows that are not kept, and perhaps the caller's own memory in the others. maximum (N,): of
    each row. index (N,) or soft (N, C): the target, neither where only the softmax is wanted.
    kept (N,): not ignored.
    """

    problem: Problem
    start: int
    logits: Logits
    maximum: Floats
    index: Integers | None
    soft: Floats | None
    kept: NDArray[np.bool_]


class Problem:
    """Logits of any shape as N rows of C classes, their targets and the objective, all checked.

    logits: real numbers, shape (…, C, …) with the classes on objective.axis.
    target: integers of the batch's shape (class indices), floats of the logits' shape (class
    probabilities), or None where only the softmax is wanted.
    Raises CecliError for whatever cannot be computed, naming the sample and the value.

    logits, target: as given, as arrays. The logits themselves are looked at when their `block` is
    taken, so that a problem may be larger than memory.
    """

    def __init__(
        self, logits: ArrayLike, target: ArrayLike | None, objective: Objective | None = None
    ) -> None:
        self.objective = objective = objective or Objective()
        self.logits = given = as_real_array("logits", logits)
        self.target: NDArray[Any] | None = None
        if given.ndim == 0:
            raise CecliError("logits must have a dimension of classes; got a single number")
        if not -given.ndim <= objective.axis < given.ndim:
            raise CecliError(
                f"axis {objective.axis} is out of range for logits of shape {given.shape}"
            )
        moved = np.moveaxis(given, objective.axis, -1)
        self.shape = given.shape
        self.batch_shape = moved.shape[:-1]
        self.classes = moved.shape[-1]
        if self.classes == 0:
            raise CecliError(f"logits of shape {given.shape} have no classes: an empty sample")
        self.dtype = np.dtype(np.float32 if _is_short(given.dtype) else np.float64)
        self._given_rows = moved.reshape(-1, self.classes)
        self.samples = len(self._given_rows)
        self.index: Integers | None = None
        self.soft: NDArray[Any] | None = None
        self.kept = np.ones(self.samples, dtype=bool)
        if target is not None:
            self._take_target(target)
        self.weight = self._checked_weight()

    def unweighted(self) -> Problem:
        """The same logits and target without weights, smoothing and z-loss, under the mean."""
        objective = replace(
            self.objective, weight=None, label_smoothing=0.0, z_loss=0.0, reduction="mean"
        )
        return Problem(self.logits, self.target, objective)

    def unreduced(self) -> Problem:
        """The same problem without a reduction: each sample by itself."""
        if self.objective.reduction == "none":
            return self
        return Problem(self.logits, self.target, replace(self.objective, reduction="none"))

    def rounded_to(self, dtype: np.dtype[Any]) -> Problem:
        """The same problem with results of another type."""
        problem = copy(self)
        problem.dtype = dtype
        return problem

    def place(self, row: int | np.integer[Any]) -> str:
        """How a row is called in a message: nothing for one sample alone, else its index."""
        if not self.batch_shape:
            return ""
        position = np.unravel_index(int(row), self.batch_shape)
        inner = ", ".join(str(int(i)) for i in position)
        return f" of sample {inner}" if len(position) == 1 else f" of sample ({inner})"

    def block(self, start: int, stop: int) -> Block:
        """The rows from start to stop, checked."""
        # Stored column by column, few classes make for long operations all the same.
        order: Literal["C", "F"] = "F" if self.classes <= FEW_CLASSES else "C"
        given = self._given_rows[start:stop]
        dtype = np.dtype(np.float32 if _is_short(given.dtype) else np.float64)
        logits: Logits = np.asarray(given, dtype=dtype, order=order)
        kept = self.kept[start:stop]
        if not kept.all():
            logits = logits.copy(order="K")
            logits[~kept] = 0.0
        maximum = logits.max(axis=1).astype(np.float64)
        if not np.isfinite(maximum).all():
            self._refuse_rows(logits, start)
        index = None if self.index is None else self.index[start:stop]
        soft = None if self.soft is None else self._checked_soft(start, stop)
        return Block(self, start, logits, maximum, index, soft, kept)

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
        return np.moveaxis(array, self.objective.axis, -1).reshape(-1, self.classes)

    @property
    def target_rows(self) -> NDArray[Any]:
        """Class indices (N,) or class probabilities (N, C)."""
        if self.index is not None:
            return self.index
        if self.soft is not None:
            return self.soft
        raise CecliError("a target is needed")

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
        if self.weight is None or self.index is None:
            return float(self.kept.sum())
        try:
            divisor = math.fsum(self.weight[self.index[self.kept]].tolist())
        except OverflowError:
            divisor = math.inf
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
        return float(self.kept.sum())

    def _require_rows(self) -> None:
        if not self.samples:
            raise CecliError("the mean is undefined: the batch has no samples")
        if not self.kept.any():
            raise CecliError(
                f"the mean is undefined: every target is {self.objective.ignore_index}, "
                "the index to ignore"
            )

    def _take_target(self, target: ArrayLike) -> None:
        self.target = given = as_real_array("target", target)
        if given.dtype.kind in "iu":
            self._take_index(given)
        elif given.dtype.kind == "f" and given.shape == self.shape:
            self._take_soft(given)
        else:
            raise CecliError(
                f"a target of type {given.dtype} and shape {given.shape} does not fit logits of "
                f"shape {self.shape}: class indices are integers of shape {self.batch_shape}, "
                f"class probabilities floats of shape {self.shape}"
            )

    def _take_index(self, given: NDArray[Any]) -> None:
        if given.shape != self.batch_shape:
            samples = f"{self.samples} sample{'s' if self.samples != 1 else ''}"
            count = f"{given.size} target{'s' if given.size != 1 else ''}"
            wanted = f"logits of shape {self.shape} need targets of shape {self.batch_shape}"
            if given.size == self.samples:
                raise CecliError(f"targets of shape {given.shape}: {wanted}")
            raise CecliError(f"{count} for {samples}: {wanted}")
        flat = given.reshape(-1)
        ignored = self.objective.ignore_index
        if ignored is not None:
            self.kept = flat != ignored
        wrong = self.kept & ((flat < 0) | (flat >= self.classes))
        if wrong.any():
            row = int(wrong.argmax())
            hint = "; if it marks samples to ignore, say so: ignore_index (--ignore-index) -100"
            valid = (
                f"the {self.classes} classes are 0 to {self.classes - 1}"
                if self.classes > 1
                else "the only class is 0"
            )
            raise CecliError(
                f"target {flat[row]}{self.place(row)} is out of range: {valid}"
                + (hint if flat[row] == -100 else "")
            )
        self.index = np.where(self.kept, flat, 0).astype(np.int64)

    def _take_soft(self, given: NDArray[Any]) -> None:
        if self.objective.ignore_index is not None:
            raise CecliError("an index to ignore needs class indices: the target is soft")
        self.soft = self.to_rows(given)

    def _checked_soft(self, start: int, stop: int) -> Floats:
        soft: Floats = np.array(np.asarray(self.soft)[start:stop], dtype=np.float64)
        bad = ~((soft >= 0) & (soft < np.inf))
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise CecliError(
                f"soft target{self.place(start + row)} has {soft[row, column]:g} for class "
                f"{column}: probabilities are 0 or more"
            )
        totals = soft.sum(axis=1)
        off = np.abs(totals - 1.0) > SOFT_TARGET_SLACK
        if off.any():
            row = off.argmax()
            raise CecliError(
                f"soft target{self.place(start + row)} sums to {totals[row]:.6g}: "
                "probabilities sum to 1"
            )
        return soft

    def _refuse_rows(self, rows: Logits, start: int) -> None:
        bad = np.isnan(rows) | (rows == np.inf)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            value = "NaN" if np.isnan(rows[row, column]) else "+inf"
            raise CecliError(
                f"logit {column}{self.place(start + row)} is {value}: logits are finite, "
                "or -inf for a class that is masked"
            )
        masked = (rows == -np.inf).all(axis=1)
        place = self.place(start + masked.argmax())
        raise CecliError(f"every logit{place} is -inf: at least one class must not be masked")

    def _checked_weight(self) -> Floats | None:
        if self.objective.weight is None:
            return None
        weight = as_real_array("weight", self.objective.weight).astype(np.float64)
        if weight.shape != (self.classes,):
            raise CecliError(
                f"weight has shape {weight.shape}: {self.classes} classes need "
                f"{self.classes} weights"
            )
        bad = ~((weight >= 0) & (weight < np.inf))
        if bad.any():
            column = int(bad.argmax())
            raise CecliError(
                f"weight {column} is {weight[column]:g}: weights are 0 or more and finite"
            )
        return weight


def _is_short(dtype: np.dtype[Any]) -> bool:
    return dtype.name in ("float16", "float32", "bfloat16")


def as_real_array(name: str, values: ArrayLike) -> NDArray[Any]:
    """An array of real numbers; CecliError, with the name, for anything else."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, OverflowError):
        raise CecliError(f"{name} must be an array of numbers with rows of equal length") from None
    if array.dtype.kind in "iuf" or array.dtype.name == "bfloat16":
        return array
    raise CecliError(f"{name} must be an array of real numbers; its type is {array.dtype}")
