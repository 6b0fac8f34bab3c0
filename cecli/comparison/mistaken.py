"""What mistakes make of a batch: wrong gradients and losses, as functions of the right formulas.

A function that returns a batch makes both, its gradient and its losses. The others return the wrong
gradient, (n, C), or what each row adds to the wrong loss, (n,). All of them return None where the
problem has no room for the mistake. Those that take a setting return such a function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.comparison.textbook import Batch, sech_squared
from cecli.problem.dtypes import Floats, Integers

MakesBatch = Callable[[Batch], Batch | None]
Makes = Callable[[Batch], Floats | None]

DEFAULTS = {"temperature": 1.0, "smoothing": 0.0, "softcap": None, "z_loss": 0.0}


@dataclass(frozen=True)
class Variant:
    """One way to make a mistake: what becomes of gradient and loss, None where that is right.

    words: what its mistake's explanation says of it. common: often enough to be told by two digits
    of a loss; rare: one of so many values that it takes very many.
    """

    gradient: Makes | None = None
    losses: Makes | None = None
    words: str = ""
    common: bool = False
    rare: bool = False


def both(make: MakesBatch, words: str = "", *, common: bool = False) -> Variant:
    """A variant that is another batch."""

    def gradient(batch: Batch) -> Floats | None:
        made = make(batch)
        return None if made is None else made.gradient()

    def losses(batch: Batch) -> Floats | None:
        made = make(batch)
        return None if made is None else made.losses()

    return Variant(gradient, losses, words, common)


def where(option: str, variant: Variant) -> Variant:
    """Only where an option is not at its default."""
    return only(lambda batch: getattr(batch, option) != DEFAULTS[option], variant)


def weighted(variant: Variant) -> Variant:
    """Only where there are weights of the classes."""
    return only(lambda batch: batch.weight is not None, variant)


def indexed(variant: Variant) -> Variant:
    """Only where the target is class indices."""
    return only(lambda batch: batch.index is not None, variant)


def soft(variant: Variant) -> Variant:
    """Only where the target is probabilities."""
    return only(lambda batch: batch.soft is not None, variant)


def by_count(variant: Variant) -> Variant:
    """Only where the mean divides by the number of samples."""
    return only(lambda batch: batch.divisor == batch.whole.counted, variant)


def by_weights(variant: Variant) -> Variant:
    """Only where it divides by something else: a sum of weights, or what it was told."""
    return only(lambda batch: batch.divisor != batch.whole.counted, variant)


def only(holds: Callable[[Batch], bool], variant: Variant) -> Variant:
    """Only where something holds."""

    def limited(make: Makes | None) -> Makes | None:
        return None if make is None else lambda batch: make(batch) if holds(batch) else None

    return Variant(
        limited(variant.gradient),
        limited(variant.losses),
        variant.words,
        variant.common,
        variant.rare,
    )


# --- Divisors -------------------------------------------------------------------------------------


def scaled(batch: Batch, divisor: float) -> Batch:
    """Loss and gradient over one divisor more."""
    return batch.but(divisor=batch.divisor * divisor, z_divisor=batch.z_divisor * divisor)


def divided_by(batch: Batch, divisor: float, *, also_z_loss: bool = True) -> Batch | None:
    """Another divisor in place of the mean's."""
    if not batch.whole.averaged or not divisor:
        return None
    return batch.but(divisor=divisor, z_divisor=divisor if also_z_loss else batch.z_divisor)


def over(divisor: Callable[[Batch], float]) -> MakesBatch:
    """Another divisor of the mean."""
    return lambda batch: divided_by(batch, divisor(batch))


def averaged(batch: Batch) -> Batch | None:
    """The mean, where it was not asked for."""
    if batch.whole.averaged or not batch.whole.counted:
        return None
    return scaled(batch, batch.whole.counted)


def divided_again(batch: Batch) -> Batch | None:
    """The mean of the mean."""
    return scaled(batch, batch.divisor) if batch.whole.averaged else None


def all_counted(batch: Batch) -> Batch | None:
    """The mean over all rows, where some are ignored."""
    ignored = batch.whole.samples - batch.whole.counted
    return divided_by(batch, batch.whole.samples) if ignored else None


def only_one_divided(*, softmax: bool) -> Makes:
    """Of Y p − y only one is divided by D."""

    def make(batch: Batch) -> Floats | None:
        if not batch.whole.averaged:
            return None
        p, y, by = batch.total * batch.softmax, batch.mass, batch.divisor
        return batch.gradient(by_scaled=p - by * y if softmax else by * p - y)

    return make


def _of_own_sequence(batch: Batch) -> Floats | None:
    """What to multiply rows by for the mean over sequences of their means, (n, 1)."""
    if batch.own_sequence is None or not batch.whole.averaged:
        return None
    each = batch.own_sequence * batch.whole.sequences
    return batch.divisor / np.where(each > 0.0, each, np.inf)


def sequence_means_gradient(batch: Batch) -> Floats | None:
    """That of the mean over sequences of their means."""
    factor = _of_own_sequence(batch)
    return None if factor is None else batch.gradient() * factor


def sequence_means_losses(batch: Batch) -> Floats | None:
    """The same for the losses."""
    factor = _of_own_sequence(batch)
    return None if factor is None else batch.losses() * factor[:, 0]


# --- Targets --------------------------------------------------------------------------------------


def moved_target(step: int) -> MakesBatch:
    """The target's index off by one; Python counts index −1 as the last class."""

    def make(batch: Batch) -> Batch | None:
        if batch.index is None or batch.classes < 2:
            return None
        return batch.but(index=(batch.index + step) % batch.classes)

    return make


def unwrapped_target(step: int) -> MakesBatch:
    """The same with no 1 at all where the index falls off the end, as one_hot often has it."""

    def make(batch: Batch) -> Batch | None:
        if batch.index is None or batch.whole.samples < 2:
            return None
        moved = batch.but(index=batch.index + step)
        vars(moved)["total"] = batch.total  # the softmax is subtracted from as ever
        return moved

    return make


def neighbours_target(name: str) -> MakesBatch:
    """The target of the sample before or after."""

    def make(batch: Batch) -> Batch | None:
        index: Integers | None = getattr(batch, name)
        return None if index is None or batch.whole.samples < 2 else batch.but(index=index)

    return make


def class_for_target(choose: Callable[[Batch], Any]) -> MakesBatch:
    """Another class in place of the target."""

    def make(batch: Batch) -> Batch | None:
        if batch.index is None:
            return None
        return batch.but(index=np.broadcast_to(choose(batch), batch.index.shape))

    return make


def shifted_in_sequence(name: str, *, ends: bool, divided: bool = False) -> MakesBatch:
    """The target of the position before or after in the same sequence.

    name: previous or following. ends: the ends of a sequence are neighbours; else the end has no
    target, and with divided the mean is over the others.
    """

    def make(batch: Batch) -> Batch | None:
        index, position, whole = getattr(batch, name), batch.position, batch.whole
        if (
            index is None
            or position is None
            or whole.length < 2
            or (ends and whole.length == whole.samples)
        ):
            return None  # of one sequence alone they are neighbouring samples
        if ends:
            return batch.but(index=index)
        if divided and (not whole.averaged or batch.weight is not None):
            return None
        end = whole.length - 1 if name == "following" else 0
        kept: NDArray[np.bool_] = np.not_equal(position, end)
        if whole.ignore_index is not None:
            kept &= index != whole.ignore_index
        shifted = batch.but(index=np.where(kept, index, 0), kept=kept[:, None])
        left_out = whole.counted_first if name == "following" else whole.counted_last
        return divided_by(shifted, whole.counted - left_out) if divided else shifted

    return make


def columns_subtracted(*, as_often: bool) -> Makes:
    """d[:, y] −= 1: at the targets' classes in every row, once or as often as they are one."""

    def make(batch: Batch) -> Floats | None:
        counts = batch.whole.target_counts
        if counts is None or batch.whole.samples < 2:
            return None
        columns = counts if as_often else counts > 0
        return batch.gradient(mass=batch.mass_of(columns.astype(np.float64)))

    return make


def assigned(batch: Batch) -> Floats | None:
    """d[rows, y] = −1: in place of p − 1."""
    right = batch.total * batch.softmax - batch.mass
    return batch.gradient(by_scaled=np.where(batch.target == 1.0, -batch.mass, right))


def ignored_rows(*, with_target: bool) -> MakesBatch:
    """What the ignored rows would have, were they not ignored."""

    def make(batch: Batch) -> Batch | None:
        if batch.whole.counted == batch.whole.samples or batch.index is None:
            return None
        whole = batch.but(kept=np.ones_like(batch.kept))
        if with_target:
            return whole
        # without the smoothing, which would be a target too
        vars(whole)["mass"] = np.where(batch.kept, batch.mass, 0.0)
        vars(whole)["total"] = np.where(batch.kept, batch.total, 1.0)
        return whole

    return make


# --- Softmax and loss -----------------------------------------------------------------------------


def across(axis: int) -> Variant:
    """The softmax over an axis of samples."""

    def gradient(batch: Batch) -> Floats | None:
        if axis >= len(batch.across):
            return None
        return batch.gradient(softmax=batch.across[axis])

    def losses(batch: Batch) -> Floats | None:
        if axis >= len(batch.across):
            return None
        return batch.losses(batch.expected(np.log(batch.across[axis])))

    return Variant(gradient, losses)


def _of_probabilities(batch: Batch) -> Batch:
    """Probabilities in place of logits."""
    return batch.but(logits=batch.softmax, softcap=None, temperature=1.0)


def second_softmax(batch: Batch) -> Floats:
    """softmax(p) in place of p."""
    return batch.gradient(softmax=_of_probabilities(batch).softmax)


def second_softmax_losses(batch: Batch) -> Floats:
    """−log softmax(p)"""
    return _of_probabilities(batch).losses()


def through_both_softmaxes(batch: Batch) -> Floats:
    """(J_p)ᵀ (Y softmax(p) − y), J_p = diag(p) − p pᵀ"""
    return batch.gradient(
        by_scaled=_times_jacobian(
            batch.softmax, batch.total * _of_probabilities(batch).softmax - batch.mass
        )
    )


def jacobian_again(*, diagonal: bool) -> Makes:
    """The gradient times p(1 − p), or times the whole Jacobian of the softmax, once more."""

    def make(batch: Batch) -> Floats:
        p, right = batch.softmax, batch.total * batch.softmax - batch.mass
        return batch.gradient(
            by_scaled=right * p * (1.0 - p) if diagonal else _times_jacobian(p, right)
        )

    return make


def _times_jacobian(p: Floats, by_probability: Floats) -> Floats:
    product: Floats = p * (by_probability - (p * by_probability).sum(axis=1, keepdims=True))
    return product


def sigmoid(*, divided_by_classes: bool) -> Variant:
    """σ(v) in place of p, and Σ_j Y log(1 + e^v) − y v in place of the loss."""

    def gradient(batch: Batch) -> Floats:
        decay = np.exp(-np.abs(batch.scaled))
        sigmoid = np.where(batch.scaled >= 0.0, 1.0, decay) / (1.0 + decay)
        gradient = batch.gradient(softmax=sigmoid)
        return gradient / batch.classes if divided_by_classes else gradient

    def losses(batch: Batch) -> Floats:
        v = batch.scaled
        softplus = np.maximum(v, 0.0) + np.log1p(np.exp(-np.abs(v)))
        losses = batch.losses((batch.total * softplus).sum(axis=1) + batch.expected(v))
        return losses / batch.classes if divided_by_classes else losses

    return Variant(gradient, losses)


def by_probabilities(batch: Batch) -> Floats:
    """−y / p"""
    return batch.gradient(
        by_scaled=np.where(batch.mass == 0.0, 0.0, -batch.mass / batch.softmax), slope=1.0
    )


def jacobian_diagonal(batch: Batch) -> Floats:
    """−y/p · p(1 − p)"""
    return batch.gradient(by_scaled=-batch.mass * (1.0 - batch.softmax))


def _through_logarithm(batch: Batch, factor: Floats) -> Floats:
    """The gradient where the derivative of each log p is factor/p, (n, C)."""
    mass = factor * batch.mass
    return batch.gradient(by_scaled=batch.softmax * mass.sum(axis=1, keepdims=True) - mass)


def without_logarithm(batch: Batch) -> Floats:
    """The gradient of −Σ y p."""
    return _through_logarithm(batch, batch.softmax)


def without_logarithm_losses(batch: Batch) -> Floats:
    """−Σ y p"""
    return batch.losses(batch.expected(batch.softmax))


def without_softmax_losses(batch: Batch) -> Floats:
    """−Σ y v"""
    return batch.losses(batch.expected(batch.scaled))


def without_scaling_losses(batch: Batch) -> Floats | None:
    """−Σ y z, where v is something else."""
    if batch.softcap is None and batch.temperature == 1.0:
        return None
    return batch.losses(batch.expected(batch.logits))


def clipped(epsilon: float) -> Variant:
    """log of p kept from epsilon to 1 − epsilon."""

    def gradient(batch: Batch) -> Floats:
        within = (batch.softmax >= epsilon) & (batch.softmax <= 1.0 - epsilon)
        return _through_logarithm(batch, within.astype(np.float64))

    def losses(batch: Batch) -> Floats:
        return batch.losses(batch.expected(np.log(batch.softmax.clip(epsilon, 1.0 - epsilon))))

    words = f"kept from {epsilon:g} to 1 − {epsilon:g}"
    return Variant(gradient, losses, words, rare=True)


def increased(epsilon: float) -> Variant:
    """log(p + epsilon)"""

    def gradient(batch: Batch) -> Floats:
        return _through_logarithm(batch, batch.softmax / (batch.softmax + epsilon))

    def losses(batch: Batch) -> Floats:
        return batch.losses(batch.expected(np.log(batch.softmax + epsilon)))

    return Variant(gradient, losses, f"increased by {epsilon:g}", rare=True)


def relative_entropy(*, divided_by_classes: bool) -> Makes:
    """Σ y (log q′ − log p), q′ the smoothed target."""

    def make(batch: Batch) -> Floats | None:
        if batch.soft is None and not batch.smoothing:
            return None
        smoothed = (1.0 - batch.smoothing) * batch.target + batch.smoothing / batch.classes
        log_softmax = batch.scaled - batch.maximum - np.log(batch.total_exponential)
        plain = batch.expected(log_softmax) - batch.expected(np.log(smoothed))
        return batch.losses(plain / batch.classes if divided_by_classes else plain)

    return make


def through_maximum(sign: float) -> Makes:
    """The derivative of the maximum in one of the two places where it stands."""

    def make(batch: Batch) -> Floats:
        at_maximum = batch.one_hot(batch.scaled.argmax(axis=1))
        right = batch.total * batch.softmax - batch.mass
        return batch.gradient(by_scaled=right + sign * batch.total * at_maximum)

    return make


# --- Options --------------------------------------------------------------------------------------


def changed(**changes: Callable[[Batch], Any]) -> MakesBatch:
    """A batch with other options."""
    return lambda batch: batch.but(**{name: to(batch) for name, to in changes.items()})


def smoothed_over_others(at_target: float) -> MakesBatch:
    """ε/(C−1) on each class, the target keeping 1 − ε and at_target times that share."""

    def make(batch: Batch) -> Batch | None:
        if batch.classes < 2:
            return None
        share = batch.smoothing / (batch.classes - 1)
        q = batch.target
        soft = (1.0 - batch.smoothing) * q + share * (1.0 - (1.0 - at_target) * q)
        return batch.but(soft=soft, smoothing=0.0)

    return make


def smoothed_z_loss(batch: Batch) -> Floats | None:
    """2 λ lse (p − ε/C) in place of 2 λ lse p."""
    if not batch.smoothing or not batch.z_loss:
        return None
    share = 2.0 * batch.z_factor * batch.log_sum_exp * batch.smoothing
    return batch.gradient() - np.where(batch.kept, share / batch.classes * batch.slope, 0.0)


def reweighted(
    change: Callable[[Batch, Floats], Floats], divisor: Callable[[Batch], float] | None = None
) -> MakesBatch:
    """Other weights of the classes, and another divisor where there is one."""

    def make(batch: Batch) -> Batch | None:
        if batch.weight is None:
            return None
        changed = batch.but(weight=change(batch, batch.weight))
        if divisor is None or not batch.whole.averaged:
            return changed
        return divided_by(changed, divisor(batch), also_z_loss=False)

    return make


def capped_twice() -> Variant:
    """The softcap of the softcap."""

    def twice(batch: Batch) -> Batch:
        return batch.but(logits=batch.capped)

    def gradient(batch: Batch) -> Floats:
        return twice(batch).gradient(slope=twice(batch).slope * batch.cap_slope)

    return where("softcap", Variant(gradient, lambda batch: twice(batch).losses()))


def capped_by(
    cap: Callable[[Floats, float], Floats], slope: Callable[[Floats, float], Floats], words: str
) -> Variant:
    """Another formula of the cap, and its derivative."""

    def made(batch: Batch) -> Batch:
        softcap = batch.softcap or 1.0
        capped = np.where(batch.logits == -np.inf, -np.inf, cap(batch.logits, softcap))
        return batch.but(logits=capped, softcap=None)

    def gradient(batch: Batch) -> Floats:
        unmasked = np.where(batch.logits == -np.inf, 0.0, batch.logits)
        own = slope(unmasked, batch.softcap or 1.0) / batch.temperature
        return made(batch).gradient(slope=own)

    return where("softcap", Variant(gradient, lambda batch: made(batch).losses(), words))


WRONG_CAPS = (
    capped_by(
        lambda z, c: z * np.tanh(z / c),
        lambda z, c: np.tanh(z / c) + z / c * sech_squared(z / c),
        "z·tanh(z/c)",
    ),
    capped_by(
        lambda z, c: np.tanh(z / c),
        lambda z, c: sech_squared(z / c) / c,
        "tanh(z/c)",
    ),
    capped_by(
        lambda z, c: c * np.tanh(z),
        lambda z, c: c * sech_squared(z),
        "c·tanh(z)",
    ),
)


# --- Low precision --------------------------------------------------------------------------------


def saturated(type_: type[np.floating[Any]]) -> Makes:
    """p_t − 1 = 0 where p_t rounds to 1 in that type."""

    def make(batch: Batch) -> Floats | None:
        if batch.index is None or batch.smoothing or batch.z_loss:
            return None
        one = (batch.target == 1.0) & (batch.softmax.astype(type_) == 1.0)
        return np.where(one, 0.0, batch.gradient())

    return make


def overflowing(type_: type[np.floating[Any]], *, whole_row: bool) -> Makes:
    """e^v / Σ e^v without subtracting the maximum: ∞/∞, or 0/0."""

    def make(batch: Batch) -> Floats:
        exponentials = np.exp(batch.scaled.astype(type_))
        total = exponentials.astype(np.float64).sum(axis=1, keepdims=True).astype(type_)
        bad = batch.kept & (np.isinf(total) | (total == 0.0))
        broken = np.nan if whole_row else (exponentials / total).astype(np.float64)
        return batch.gradient(softmax=np.where(bad, broken, batch.softmax))

    return make


def flushed(smallest: float) -> Makes:
    """0 in place of every component below the smallest number."""

    def make(batch: Batch) -> Floats:
        right = batch.gradient()
        return np.where(np.abs(right) < smallest, 0.0, right)

    return make


def flushed_exponentials(smallest: float) -> Makes:
    """0 in place of every e^{v − m} below the smallest number."""

    def make(batch: Batch) -> Floats:
        far = batch.scaled - batch.maximum < np.log(smallest)
        return batch.gradient(softmax=np.where(far, 0.0, batch.softmax))

    return make
