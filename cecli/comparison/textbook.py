"""The textbook formulas with every part of them within reach, and what mistakes make of them.

    v = c·tanh(z/c) / T      y_k = w_k ((1 − ε) q_k + ε/C)      p = softmax(v)
    L = (−Σ y log p) / D + λ lse²/N      ∂L/∂z = ((Y p − y) / D + 2 λ lse p / N) · dv/dz

In plain float64, vectorised, on any rows of a problem: `core` is the arithmetic to trust, this is
the one to make mistakes in. A `Maker` returns another batch, whose gradient and loss are then the
wrong ones, or the wrong gradient itself, (n, C), where the loss is right; None where the problem
has no room for the mistake. What takes a setting returns a maker.
"""

from __future__ import annotations

from collections.abc import Callable
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


Made = Batch | Floats | None
Maker = Callable[[Batch], Made]


def gradient_of(maker: Maker, batch: Batch) -> Floats | None:
    """The gradient of these rows, (n, C), or None where the mistake cannot be made."""
    made = maker(batch)
    return made.gradient() if isinstance(made, Batch) else made


def losses_of(maker: Maker, batch: Batch) -> Floats | None:
    """What each of these rows adds to the loss, (n,), or None where the loss is right."""
    made = maker(batch)
    return made.losses() if isinstance(made, Batch) else None


def scaled(batch: Batch, divisor: float) -> Batch:
    """Loss and gradient over one divisor more."""
    return replace(batch, divisor=batch.divisor * divisor, z_divisor=batch.z_divisor * divisor)


def divided_by(batch: Batch, divisor: float, *, also_z_loss: bool = True) -> Batch | None:
    """Another divisor in place of the mean's."""
    if not batch.averaged or not divisor:
        return None
    return replace(batch, divisor=divisor, z_divisor=divisor if also_z_loss else batch.z_divisor)


def over(divisor: Callable[[Batch], float]) -> Maker:
    """Another divisor of the mean."""
    return lambda batch: divided_by(batch, divisor(batch))


def unaveraged(batch: Batch) -> Batch | None:
    """The sum, where the mean was asked for."""
    return divided_by(batch, 1.0)


def averaged(batch: Batch) -> Batch | None:
    """The mean, where it was not asked for."""
    return None if batch.averaged or not batch.counted else scaled(batch, batch.counted)


def divided_again(batch: Batch) -> Batch | None:
    """The mean of the mean."""
    return scaled(batch, batch.divisor) if batch.averaged else None


def moved_target(step: int) -> Maker:
    """The target's index off by one; Python counts index -1 as the last class."""

    def made(batch: Batch) -> Made:
        if batch.index is None or batch.classes < 2:
            return None
        return replace(batch, index=(batch.index + step) % batch.classes)

    return made


def unwrapped_target(step: int) -> Maker:
    """The same with no 1 at all where the index falls off the end, as one_hot often has it."""

    def made(batch: Batch) -> Made:
        if batch.index is None or batch.samples < 2:
            return None
        moved = batch.index + step
        weight = batch.weight
        mass = (1.0 - batch.smoothing) * batch.one_hot(moved) + batch.smoothing / batch.classes
        return batch.gradient(mass=mass if weight is None else mass * weight)

    return made


def neighbours_target(name: str) -> Maker:
    """The target of the sample before or after."""

    def made(batch: Batch) -> Made:
        index = getattr(batch, name)
        return None if index is None or batch.samples < 2 else replace(batch, index=index)

    return made


def class_for_target(choose: Callable[[Batch], Any]) -> Maker:
    """Another class in place of the target."""

    def made(batch: Batch) -> Made:
        if batch.index is None:
            return None
        return replace(batch, index=np.broadcast_to(choose(batch), batch.index.shape))

    return made


def softmax_across(axis: int) -> Maker:
    """The softmax over an axis of samples."""

    def made(batch: Batch) -> Made:
        if axis >= len(batch.across):
            return None
        return batch.gradient(softmax=batch.across[axis])

    return made


def second_softmax(batch: Batch) -> Made:
    """softmax(p) in place of p."""
    return batch.gradient(softmax=softmax_of(batch.softmax))


def through_both_softmaxes(batch: Batch) -> Made:
    """(J_p)ᵀ (Y softmax(p) − y), J_p = diag(p) − p pᵀ"""
    p = batch.softmax
    outer = batch.total * softmax_of(p) - batch.mass
    return batch.gradient(by_scaled=p * (outer - (p * outer).sum(axis=1, keepdims=True)))


def sigmoid(divided_by_classes: bool) -> Maker:
    """σ(v) in place of p, with or without the mean over classes that goes with it."""

    def made(batch: Batch) -> Made:
        decay = np.exp(-np.abs(batch.scaled))
        sigmoid = np.where(batch.scaled >= 0.0, 1.0, decay) / (1.0 + decay)
        gradient = batch.gradient(softmax=sigmoid)
        return gradient / batch.classes if divided_by_classes else gradient

    return made


def by_probabilities(batch: Batch) -> Made:
    """−y / p"""
    return batch.gradient(
        by_scaled=np.where(batch.mass == 0.0, 0.0, -batch.mass / batch.softmax), slope=1.0
    )


def jacobian_diagonal(batch: Batch) -> Made:
    """−y/p · p(1 − p)"""
    return batch.gradient(by_scaled=-batch.mass * (1.0 - batch.softmax))


def through_maximum(sign: float) -> Maker:
    """The derivative of the maximum in one of the two places where it stands."""

    def made(batch: Batch) -> Made:
        at_maximum = batch.one_hot(batch.scaled.argmax(axis=1))
        right = batch.total * batch.softmax - batch.mass
        return batch.gradient(by_scaled=right + sign * batch.total * at_maximum)

    return made


def changed(**changes: Callable[[Batch], Any]) -> Maker:
    """A batch with other options."""
    return lambda batch: replace(batch, **{name: to(batch) for name, to in changes.items()})


def where(option: str, maker: Maker) -> Maker:
    """Only where an option is not at its default."""
    default = {"temperature": 1.0, "smoothing": 0.0, "softcap": None, "z_loss": 0.0}
    return lambda batch: None if getattr(batch, option) == default[option] else maker(batch)


def weighted(maker: Maker) -> Maker:
    """Only where there are weights of the classes."""
    return lambda batch: None if batch.weight is None else maker(batch)


def smoothed_over_others(at_target: float) -> Maker:
    """ε/(C−1) on each class, the target keeping 1 − ε and at_target times that share."""

    def made(batch: Batch) -> Made:
        if batch.classes < 2:
            return None
        share = batch.smoothing / (batch.classes - 1)
        q = batch.target
        soft = (1.0 - batch.smoothing) * q + share * (1.0 - (1.0 - at_target) * q)
        return replace(batch, soft=soft, smoothing=0.0)

    return made


def reweighted(
    change: Callable[[Batch, Floats], Floats], divisor: Callable[[Batch], float] | None = None
) -> Maker:
    """Other weights of the classes, and another divisor where one is given."""

    def made(batch: Batch) -> Made:
        if batch.weight is None:
            return None
        changed = replace(batch, weight=change(batch, batch.weight))
        if divisor is None or not batch.averaged:
            return changed
        return divided_by(changed, divisor(batch), also_z_loss=False)

    return made


def ignored_rows(with_target: bool) -> Maker:
    """What the ignored rows would have, were they not ignored."""

    def made(batch: Batch) -> Made:
        if batch.counted == batch.samples or batch.index is None:
            return None
        whole = replace(batch, kept=np.ones_like(batch.kept))
        if with_target:
            return np.where(batch.kept, batch.gradient(), whole.gradient())
        without = whole.softmax * whole.slope / batch.divisor
        return np.where(batch.kept, batch.gradient(), without)

    return made


def saturated(type_: type[np.floating[Any]]) -> Maker:
    """p_t − 1 = 0 where p_t rounds to 1 in that type."""

    def made(batch: Batch) -> Made:
        if batch.index is None or batch.smoothing or batch.z_loss:
            return None
        one = (batch.target == 1.0) & (batch.softmax.astype(type_) == 1.0)
        return np.where(one, 0.0, batch.gradient())

    return made


def overflowing(type_: type[np.floating[Any]], whole_row: bool) -> Maker:
    """e^v / Σ e^v without subtracting the maximum: ∞/∞, or 0/0."""

    def made(batch: Batch) -> Made:
        exponentials = np.exp(batch.scaled.astype(type_))
        total = exponentials.astype(np.float64).sum(axis=1, keepdims=True).astype(type_)
        bad = batch.kept & (np.isinf(total) | (total == 0.0))
        broken = np.nan if whole_row else (exponentials / total).astype(np.float64)
        return batch.gradient(softmax=np.where(bad, broken, batch.softmax))

    return made


def summed_in_half(batch: Batch, candidate: Floats, digits: int) -> Floats | None:
    """The gradient with Σ e^{v − m} rounded to so many binary digits.

    candidate (n, C): whose sum it is. Nothing is assumed about the order of the additions.
    """
    if batch.index is None or batch.z_loss:
        return None
    others = batch.one_hot(batch.index) == 0.0
    right = np.where(others, batch.gradient(), 0.0).sum(axis=1, keepdims=True)
    ratio = right / np.where(others, candidate, 0.0).sum(axis=1, keepdims=True)
    total = np.exp(batch.scaled - batch.maximum).sum(axis=1, keepdims=True)
    mantissa, exponent = np.frexp(total * ratio)
    half = np.ldexp(np.rint(np.ldexp(mantissa, digits)), exponent - digits)
    return batch.gradient(softmax=batch.softmax * total / half)
