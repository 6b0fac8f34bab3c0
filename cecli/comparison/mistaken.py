"""What mistakes make of a batch: the gradients of the catalogue, as functions of the problem.

Each returns another batch, whose gradient and loss are then the wrong ones, or the wrong gradient
itself, (n, C), where the loss is right; None where the problem has no room for the mistake. Those
that take a setting return such a function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from cecli.comparison.batch import Batch, softmax_of
from cecli.problem.dtypes import Floats

Made = Batch | Floats | None
Maker = Callable[[Batch], Made]


class Mistake:
    """A mistake: its id, a sentence each of explanation and remedy, and what makes it."""

    def __init__(self, id: str, explanation: str, remedy: str, *makers: Maker) -> None:  # noqa: A002
        self.id = id
        self.explanation = explanation
        self.remedy = remedy
        self.makers = makers


def gradient_of(maker: Maker, batch: Batch) -> Floats | None:
    """The gradient of these rows, (n, C), or None where the mistake cannot be made."""
    made = maker(batch)
    return made.gradient() if isinstance(made, Batch) else made


def losses_of(maker: Maker, batch: Batch) -> Floats | None:
    """What each of these rows adds to the loss, (n,), or None where the loss is right."""
    made = maker(batch)
    return made.losses() if isinstance(made, Batch) else None


# --- Divisors ---------------------------------------------------------------------------------


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


def summed_in_half(batch: Batch, given: Floats, digits: int) -> Floats | None:
    """The gradient with Σ e^{v − m} rounded to so many binary digits, the sum read off the given.

    given (n, C). Nothing is assumed about the order of the additions.
    """
    if batch.index is None or batch.z_loss:
        return None
    others = batch.one_hot(batch.index) == 0.0
    right = np.where(others, batch.gradient(), 0.0).sum(axis=1, keepdims=True)
    ratio = right / np.where(others, given, 0.0).sum(axis=1, keepdims=True)
    total = np.exp(batch.scaled - batch.maximum).sum(axis=1, keepdims=True)
    mantissa, exponent = np.frexp(total * ratio)
    half = np.ldexp(np.rint(np.ldexp(mantissa, digits)), exponent - digits)
    return batch.gradient(softmax=batch.softmax * total / half)
