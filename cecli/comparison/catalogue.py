"""The catalogue of known mistakes: a stable id, what it is, how to mend it, what it produces.

The order is that of simplicity: what comes first is named first. One mistake may produce one of
several gradients. What only moves the right numbers to other places stands behind the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from cecli.comparison.textbook import (
    Maker,
    averaged,
    by_probabilities,
    changed,
    class_for_target,
    divided_again,
    ignored_rows,
    jacobian_diagonal,
    moved_target,
    neighbours_target,
    over,
    overflowing,
    reweighted,
    saturated,
    scaled,
    second_softmax,
    sigmoid,
    smoothed_over_others,
    softmax_across,
    through_both_softmaxes,
    through_maximum,
    unaveraged,
    unwrapped_target,
    weighted,
    where,
)
from cecli.problem.dtypes import Floats


class Mistake:
    """A mistake: its id, a sentence each of explanation and remedy, and what makes it."""

    def __init__(self, id: str, explanation: str, remedy: str, *makers: Maker) -> None:  # noqa: A002
        self.id = id
        self.explanation = explanation
        self.remedy = remedy
        self.makers = makers


CATALOGUE: tuple[Mistake, ...] = (
    Mistake(
        "all-zero",
        "Every component is zero.",
        "See that the backward pass runs at all, and that its result is not cleared or detached.",
        lambda batch: np.zeros_like(batch.logits),
    ),
    Mistake(
        "missing-one-hot",
        "The gradient is the softmax itself: the one-hot target is not subtracted from it.",
        "Subtract 1 from the component of the target's class, before dividing by the samples.",
        lambda batch: batch.gradient(mass=0.0),
    ),
    Mistake(
        "sign-flipped",
        "The sign is flipped.",
        "Negate it: the loss is −log p, and its gradient softmax minus target.",
        lambda batch: scaled(batch, -1.0),
    ),
    Mistake(
        "not-averaged",
        "It is the sum over the samples, where their mean was asked for.",
        "Divide by the number of samples, or by the sum of the weights of their targets.",
        unaveraged,
    ),
    Mistake(
        "averaged-unasked",
        "It is the mean over the samples, where it was asked not to average.",
        "Leave out the division by the number of samples.",
        averaged,
    ),
    Mistake(
        "averaged-twice",
        "It is divided by the number of samples twice.",
        "Divide once: in the loss, or in its gradient.",
        divided_again,
        over(lambda batch: batch.divisor * batch.counted),
    ),
    Mistake(
        "divided-by-classes",
        "It is divided by the number of classes, and not by the number of samples.",
        "Average over the axis of the samples; classes are summed.",
        over(lambda batch: batch.classes),
    ),
    Mistake(
        "divided-by-components",
        "It is divided by the number of components, samples times classes.",
        "Average over the samples only; a plain mean over all components divides by both.",
        over(lambda batch: batch.divisor * batch.classes),
    ),
    Mistake(
        "wrong-divisor",
        "The mean divides by the number of samples where it should divide by the sum of the "
        "weights, or the reverse.",
        "With class indices divide by the sum of the targets' weights, with probabilities by the "
        "number of samples.",
        weighted(over(lambda b: b.counted if b.soft is None else b.total_weight)),
        weighted(lambda b: replace(b, divisor=float(b.counted)) if b.averaged else None),
        weighted(lambda b: replace(b, divisor=b.total_weight) if b.averaged else None),
    ),
    Mistake(
        "ignored-counted",
        "The mean divides by all samples, those that are ignored among them.",
        "Divide by the number of samples that are kept.",
        over(lambda batch: batch.samples),
    ),
    Mistake(
        "ignored-not-zeroed",
        "The samples to ignore have a gradient.",
        "Set the rows of ignored samples to zero.",
        ignored_rows(with_target=False),
        ignored_rows(with_target=True),
    ),
    Mistake(
        "added-one-hot",
        "The one-hot target is added to the softmax, in place of subtracted.",
        "Subtract it.",
        lambda batch: batch.gradient(mass=-batch.mass),
    ),
    Mistake(
        "wrong-target-index",
        "The 1 is subtracted at another class than the target's: one to the side (do the labels "
        "count from 1?), a neighbouring sample's, the predicted class, or always the same.",
        "Index the row of each sample by its own target, counted from 0.",
        moved_target(-1),
        moved_target(1),
        unwrapped_target(-1),
        unwrapped_target(1),
        neighbours_target("index_before"),
        neighbours_target("index_after"),
        class_for_target(lambda batch: batch.scaled.argmax(axis=1)),
        class_for_target(lambda batch: 0),
        class_for_target(lambda batch: batch.classes - 1),
    ),
    Mistake(
        "wrong-axis",
        "The softmax is taken over the samples, in place of the classes.",
        "Take maximum and sum over the axis of the classes, usually the last one.",
        *(softmax_across(axis) for axis in range(4)),
    ),
    Mistake(
        "softmax-twice",
        "The softmax is applied twice: the loss was given probabilities where it takes logits.",
        "Hand the logits themselves to the loss.",
        second_softmax,
        through_both_softmaxes,
    ),
    Mistake(
        "sigmoid",
        "It has the sigmoid of each logit in place of their softmax.",
        "Divide each exponential by the sum over the classes; the sigmoid treats each alone.",
        sigmoid(divided_by_classes=False),
        sigmoid(divided_by_classes=True),
    ),
    Mistake(
        "wrt-probabilities",
        "It is the gradient with respect to the probabilities, −1/p at the target.",
        "Multiply by the Jacobian of the softmax; together they are softmax minus target.",
        by_probabilities,
    ),
    Mistake(
        "wrt-log-probabilities",
        "It is the gradient with respect to the log-probabilities, −1 at the target.",
        "Add the softmax: the logarithm of the sum depends on every logit.",
        lambda batch: batch.gradient(by_scaled=-batch.mass, slope=1.0),
    ),
    Mistake(
        "jacobian-diagonal",
        "Only the diagonal of the softmax's Jacobian was used, p(1 − p) at each class.",
        "Add the other entries, −p_i p_j: every logit moves the target's probability.",
        jacobian_diagonal,
    ),
    Mistake(
        "log-base",
        "The loss is taken with a logarithm to another base, 2 or 10.",
        "Use the natural logarithm, or multiply by log 2 or log 10.",
        lambda batch: scaled(batch, math.log(2.0)),
        lambda batch: scaled(batch, math.log(10.0)),
    ),
    Mistake(
        "maximum-differentiated",
        "The maximum that is subtracted was differentiated in one of the two places it stands in.",
        "Treat the maximum as a constant: it cancels.",
        through_maximum(-1.0),
        through_maximum(1.0),
    ),
    Mistake(
        "temperature-forgotten",
        "The temperature is left out.",
        "Divide the logits by it before the softmax, and the gradient by it once more.",
        where("temperature", changed(temperature=lambda batch: 1.0)),
    ),
    Mistake(
        "temperature-chain",
        "The gradient is with respect to the tempered logits: the chain rule's 1/T is missing.",
        "Divide the gradient by the temperature.",
        where("temperature", lambda b: b.gradient(slope=b.cap_slope)),
    ),
    Mistake(
        "temperature-inverted",
        "The logits are multiplied by the temperature, in place of divided.",
        "Divide by it; a temperature above 1 makes the softmax flatter.",
        where("temperature", changed(temperature=lambda b: 1.0 / b.temperature)),
        where("temperature", lambda b: b.gradient(slope=b.cap_slope * b.temperature)),
        where(
            "temperature",
            lambda b: replace(b, temperature=1.0 / b.temperature).gradient(slope=b.slope),
        ),
    ),
    Mistake(
        "smoothing-forgotten",
        "The label smoothing is left out.",
        "Subtract (1 − ε) at the target and ε/C at every class.",
        where("smoothing", changed(smoothing=lambda batch: 0.0)),
    ),
    Mistake(
        "smoothing-share",
        "The label smoothing spreads ε/(C − 1), in place of ε/C on every class.",
        "Give every class ε/C, the target among them.",
        where("smoothing", smoothed_over_others(at_target=0.0)),
        where("smoothing", smoothed_over_others(at_target=1.0)),
    ),
    Mistake(
        "smoothing-twice",
        "The label smoothing is applied twice.",
        "Smooth the target, or hand the smoothing to the loss, but not both.",
        where("smoothing", changed(smoothing=lambda b: 1.0 - (1.0 - b.smoothing) ** 2)),
    ),
    Mistake(
        "weights-forgotten",
        "The weights of the classes are left out.",
        "Multiply each sample's gradient by the weight of its target.",
        weighted(lambda b: replace(b, weight=None)),
        weighted(
            lambda b: replace(b, weight=None, divisor=float(b.counted)) if b.averaged else None
        ),
    ),
    Mistake(
        "weights-squared",
        "The weights of the classes are applied twice.",
        "Multiply by them once, in the loss or in its gradient.",
        reweighted(lambda batch, weight: weight**2),
        reweighted(lambda batch, weight: weight**2, lambda b: b.total_squared_weight),
    ),
    Mistake(
        "weights-normalised",
        "The weights of the classes are normalised in another way before they are applied.",
        "Use the weights as they are, and divide by the sum over the targets.",
        reweighted(lambda batch, weight: weight / weight.sum(), lambda b: b.counted),
        reweighted(lambda batch, weight: weight / weight.mean(), lambda b: b.counted),
        reweighted(lambda batch, weight: weight / weight.max(), lambda b: b.counted),
        reweighted(lambda batch, weight: weight / weight.sum()),
        reweighted(lambda batch, weight: weight / weight.mean()),
    ),
    Mistake(
        "softcap-forgotten",
        "The softcap is left out.",
        "Replace z by c·tanh(z/c) before the softmax, and multiply by its derivative.",
        where("softcap", changed(softcap=lambda batch: None)),
    ),
    Mistake(
        "softcap-derivative",
        "The logits are capped, but the derivative of the cap is missing.",
        "Multiply each component by 1 − tanh²(z/c).",
        where("softcap", lambda b: b.gradient(slope=1.0 / b.temperature)),
    ),
    Mistake(
        "z-loss-forgotten",
        "The z-loss is left out.",
        "Add 2 λ · logsumexp · softmax.",
        where("z_loss", changed(z_loss=lambda batch: 0.0)),
    ),
    Mistake(
        "z-loss-factor",
        "The z-loss's gradient is half of what it should be: its 2 is missing.",
        "The derivative of λ·logsumexp² is 2 λ · logsumexp · softmax.",
        where("z_loss", lambda b: replace(b, z_loss=b.z_loss / 2.0).gradient()),
    ),
    Mistake(
        "saturated",
        "Where the target's probability rounds to 1 in low precision, p − 1 became 0.",
        "Sum the other classes' probabilities: their sum with a minus is p − 1, with all digits.",
        saturated(np.float32),
        saturated(np.float16),
    ),
    Mistake(
        "overflow",
        "The exponentials overflow or vanish, and their quotient is not a number.",
        "Subtract the largest logit of the row before taking exponentials.",
        *(
            overflowing(type_, whole_row)
            for type_ in (np.float64, np.float32, np.float16)
            for whole_row in (False, True)
        ),
    ),
)

TRANSPOSED = Mistake(
    "transposed",
    "The gradient is transposed: samples and classes have changed places.",
    "Transpose it, or see which axis the backward pass takes for the classes.",
)
PERMUTED_ROWS = Mistake(
    "permuted-rows",
    "The rows are right, but in another order.",
    "Keep logits, targets and gradient in the same order; look for a shuffle of only one.",
)
PERMUTED_CLASSES = Mistake(
    "permuted-classes",
    "The columns are right, but in another order of the classes.",
    "Use the same order of classes for logits, targets and gradient.",
)


def rearranged(exact: Floats, candidate: Floats) -> Iterable[tuple[Mistake, Floats]]:
    """The right numbers in other places, as suggested by the order of random projections."""
    samples, classes = exact.shape
    if samples > 1 and samples == classes:
        yield TRANSPOSED, exact.T
    if not np.isfinite(candidate).all():
        return
    random = np.random.default_rng(0)
    if samples > 1:
        by = random.random(classes)
        yield PERMUTED_ROWS, _reordered(exact, exact @ by, candidate @ by)
    if classes > 1:
        by = random.random(samples)
        yield PERMUTED_CLASSES, _reordered(exact.T, by @ exact, by @ candidate).T


def _reordered(rows: Floats, keys: Floats, wanted: Floats) -> Floats:
    """Rows so that their keys stand in the order of those wanted."""
    reordered = np.empty_like(rows)
    reordered[np.argsort(wanted, kind="stable")] = rows[np.argsort(keys, kind="stable")]
    return reordered
