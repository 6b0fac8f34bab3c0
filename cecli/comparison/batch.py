"""The textbook formulas with every part of them within reach, so that each can be got wrong.

    v = c·tanh(z/c) / T      y_k = w_k ((1 − ε) q_k + ε/C)      p = softmax(v)
    L = (−Σ y log p) / D + λ lse²/N      ∂L/∂z = ((Y p − y) / D + 2 λ lse p / N) · dv/dz

In plain float64, vectorised, on any rows of a problem: `core` is the arithmetic to trust, this is
the one to make mistakes in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.problem.dtypes import Floats, Integers
from cecli.problem.problem import Problem


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows of a problem, and what of the whole of it they depend on.

    logits (n, C): ignored rows too, as they were given. index (n,) or soft (n, C): the target.
    index_before, index_after (n,): the targets of the neighbouring samples; None for soft ones.
    across: of each axis of samples the softmax over it, (n, C). kept (n, 1): not ignored.
    samples, counted: how many rows the whole problem has, and how many of them are kept.
    total_weight, total_squared_weight: Σ weight of their targets, and of its square.
    divisor, z_divisor: 1 where nothing is averaged.
    """

    logits: Floats
    index: Integers | None
    soft: Floats | None
    index_before: Integers | None
    index_after: Integers | None
    across: tuple[Floats, ...]
    kept: NDArray[np.bool_]
    weight: Floats | None
    smoothing: float
    temperature: float
    softcap: float | None
    z_loss: float
    samples: int
    counted: int
    total_weight: float
    total_squared_weight: float
    averaged: bool
    divisor: float
    z_divisor: float

    def take(self, rows: Integers | slice) -> Batch:
        """The same of some of the rows."""

        def part(array: Any) -> Any:
            return None if array is None else array[rows]

        return replace(
            self,
            logits=self.logits[rows],
            index=part(self.index),
            soft=part(self.soft),
            index_before=part(self.index_before),
            index_after=part(self.index_after),
            across=tuple(map(part, self.across)),
            kept=self.kept[rows],
        )

    @property
    def classes(self) -> int:
        """C"""
        return int(self.logits.shape[1])

    @cached_property
    def slope(self) -> Floats | float:
        """dv/dz, (n, C): a number where all are alike."""
        return self.cap_slope / self.temperature

    @cached_property
    def cap_slope(self) -> Floats | float:
        """1 − tanh²(z/c)"""
        if self.softcap is None:
            return 1.0
        decay = np.exp(-2.0 * np.abs(self.logits / self.softcap))
        return np.where(np.isinf(self.logits), 1.0, 4.0 * decay / (1.0 + decay) ** 2)

    @cached_property
    def scaled(self) -> Floats:
        """v (n, C): the logits after softcap and temperature."""
        logits = self.logits
        if self.softcap is not None:
            masked = logits == -np.inf
            logits = np.where(masked, -np.inf, self.softcap * np.tanh(logits / self.softcap))
        scaled: Floats = logits / self.temperature
        return scaled

    @cached_property
    def maximum(self) -> Floats:
        """m = max v (n, 1)"""
        maximum: Floats = self.scaled.max(axis=1, keepdims=True)
        return maximum

    @cached_property
    def softmax(self) -> Floats:
        """p (n, C)"""
        return softmax_of(self.scaled)

    @cached_property
    def log_sum_exp(self) -> Floats:
        """lse (n, 1)"""
        log_sum_exp: Floats = self.maximum + np.log(self.total_exponential)
        return log_sum_exp

    @cached_property
    def total_exponential(self) -> Floats:
        """Σ e^{v − m} (n, 1)"""
        total: Floats = np.exp(self.scaled - self.maximum).sum(axis=1, keepdims=True)
        return total

    @cached_property
    def target(self) -> Floats:
        """q (n, C): the target itself as probabilities."""
        if self.soft is not None:
            return self.soft
        return self.one_hot(np.zeros(0, dtype=np.int64) if self.index is None else self.index)

    def one_hot(self, index: Integers) -> Floats:
        """1 at one class of each row, (n, C); no 1 where there is no such class."""
        return np.equal(np.arange(self.classes), index[:, None]).astype(np.float64)

    @cached_property
    def mass(self) -> Floats:
        """y (n, C)"""
        mass = (1.0 - self.smoothing) * self.target + self.smoothing / self.classes
        return np.asarray(mass if self.weight is None else mass * self.weight)

    @cached_property
    def total(self) -> Floats:
        """Y = Σ y (n, 1)"""
        total: Floats = self.mass.sum(axis=1, keepdims=True)
        return total

    def gradient(
        self,
        *,
        softmax: Floats | None = None,
        mass: Floats | float | None = None,
        by_scaled: Floats | None = None,
        slope: Floats | float | None = None,
    ) -> Floats:
        """∂L/∂z (n, C), 0 where ignored; what is given takes the place of a part of it.

        softmax: p. mass: y where it is subtracted. by_scaled: Y p − y as a whole. slope: dv/dz.
        """
        p = self.softmax if softmax is None else softmax
        if by_scaled is None:
            by_scaled = self.total * p - (self.mass if mass is None else mass)
        gradient = by_scaled / self.divisor
        if self.z_loss:
            gradient = gradient + 2.0 * self.z_loss / self.z_divisor * self.log_sum_exp * p
        return np.where(self.kept, gradient * (self.slope if slope is None else slope), 0.0)

    def losses(self) -> Floats:
        """What each row adds to L, (n,)."""
        # in this order, or a large maximum would absorb the logarithm
        log_softmax = self.scaled - self.maximum - np.log(self.total_exponential)
        terms = np.where(self.mass == 0.0, 0.0, self.mass * log_softmax)
        losses = -terms.sum(axis=1) / self.divisor
        if self.z_loss:
            losses = losses + self.z_loss / self.z_divisor * self.log_sum_exp[:, 0] ** 2
        return np.where(self.kept[:, 0], losses, 0.0)


def softmax_of(numbers: Floats, axis: int = 1) -> Floats:
    """The softmax over an axis."""
    exponentials = np.exp(numbers - numbers.max(axis=axis, keepdims=True))
    softmax: Floats = exponentials / exponentials.sum(axis=axis, keepdims=True)
    return softmax


def with_softmax_across(batch: Batch, problem: Problem) -> Batch:
    """A whole batch with the softmax over each axis of its samples."""
    return replace(batch, across=_across(problem, batch.scaled))


def batch_of(problem: Problem) -> Batch:
    """All rows of a problem, without the softmax across them."""
    objective, kept = problem.objective, problem.kept
    logits = problem.rows
    if not kept.all():
        logits = problem.to_rows(problem.logits).astype(np.float64)
    soft = None if problem.soft is None else np.asarray(problem.soft, np.float64)
    before = after = None
    counted = int(kept.sum())
    total_weight = total_squared = float(counted)
    if problem.index is not None:
        index = np.asarray(problem.target).reshape(-1).astype(np.int64)
        before, after = np.roll(index, 1), np.roll(index, -1)
        if problem.weight is not None:
            weights = problem.weight[problem.index[kept]]
            total_weight, total_squared = float(weights.sum()), float((weights**2).sum())
    elif soft is not None and problem.weight is not None:
        total_weight = float((soft * problem.weight).sum())
        total_squared = float((soft * problem.weight**2).sum())
    return Batch(
        logits=logits,
        index=None if problem.index is None else index,
        soft=soft,
        index_before=before,
        index_after=after,
        across=(),
        kept=kept[:, None],
        weight=problem.weight,
        smoothing=float(objective.label_smoothing),
        temperature=float(objective.temperature),
        softcap=None if objective.softcap is None else float(objective.softcap),
        z_loss=float(objective.z_loss),
        samples=len(problem.rows),
        counted=counted,
        total_weight=total_weight,
        total_squared_weight=total_squared,
        averaged=objective.reduction == "mean",
        divisor=problem.divisor or 1.0,
        z_divisor=problem.z_loss_divisor or 1.0,
    )


def _across(problem: Problem, scaled: Floats) -> tuple[Floats, ...]:
    """The softmax over each axis that is not the classes'."""
    shape = (*problem.batch_shape, problem.classes)
    return tuple(
        softmax_of(scaled.reshape(shape), axis).reshape(scaled.shape)
        for axis in range(len(problem.batch_shape))
    )
