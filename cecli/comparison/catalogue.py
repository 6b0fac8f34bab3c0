"""The catalogue of known mistakes: a stable id, what it is, how to mend it, what it produces.

The order is that of simplicity: of two that produce the same numbers the first is named first, and
so the more specific one stands before the more general. One mistake may produce one of several
gradients and losses.
"""

from __future__ import annotations

import math

import numpy as np

from cecli.comparison.mistake import Mistake
from cecli.comparison.mistaken import (
    WRONG_CAPS,
    Variant,
    across,
    all_counted,
    assigned,
    averaged,
    both,
    by_count,
    by_probabilities,
    by_weights,
    capped_twice,
    changed,
    class_for_target,
    clipped,
    columns_subtracted,
    divided_again,
    divided_by,
    flushed,
    flushed_exponentials,
    ignored_rows,
    increased,
    indexed,
    jacobian_again,
    jacobian_diagonal,
    moved_target,
    neighbours_target,
    only,
    only_one_divided,
    over,
    overflowing,
    relative_entropy,
    reweighted,
    saturated,
    scaled,
    second_softmax,
    second_softmax_losses,
    sequence_means_gradient,
    sequence_means_losses,
    shifted_in_sequence,
    sigmoid,
    smoothed_over_others,
    smoothed_z_loss,
    soft,
    through_both_softmaxes,
    through_maximum,
    unwrapped_target,
    weighted,
    where,
    without_logarithm,
    without_logarithm_losses,
    without_scaling_losses,
    without_softmax_losses,
)
from cecli.comparison.shards import (
    first_of_each_shard,
    own_sums,
    smoothed_by_shard,
    targets_shard_alone,
)

# What logarithms are kept from 0 by: Keras 1e-7, scikit-learn 1e-15, and what people type.
EPSILONS = (1e-7, 1e-15, 1e-12, 1e-10, 1e-9, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3)
SHARDS = (2, 4, 8, 16, 32, 64, 3, 5, 6, 7, 10, 12)
SMALLEST_NORMAL = {"float32": 2.0**-126, "float16": 2.0**-14, "float64": 2.0**-1022}
SMALLEST_OF_ALL = {"float32": 2.0**-150, "float16": 2.0**-25}


CATALOGUE: tuple[Mistake, ...] = (
    Mistake(
        "all-zero",
        "Every component is zero.",
        "See that the backward pass runs at all, and that its result is not cleared or detached.",
        "0",
        (Variant(lambda batch: np.zeros_like(batch.logits)),),
    ),
    Mistake(
        "gradient-is-logits",
        "It is the logits themselves: no gradient was written in their place.",
        "See which buffer the backward pass writes to, and that it runs at all.",
        "z",
        (Variant(lambda batch: batch.logits),),
    ),
    Mistake(
        "missing-one-hot",
        "The gradient is the softmax itself: the {} is not subtracted from it.",
        "Subtract it before dividing by the samples: 1 at the target's class, or probabilities.",
        "p/D",
        (
            indexed(Variant(lambda batch: batch.gradient(mass=0.0), None, "one-hot target")),
            soft(Variant(lambda batch: batch.gradient(mass=0.0), None, "target")),
        ),
    ),
    Mistake(
        "sign-flipped",
        "The sign is flipped.",
        "Negate it: the loss is −log p, and its gradient softmax minus target.",
        "−g, −L",
        (both(lambda batch: scaled(batch, -1.0), common=True),),
    ),
    Mistake(
        "not-averaged",
        "It is the sum over the samples, where their mean was asked for.",
        "Divide by the number of samples, or by the sum of the weights of their targets.",
        "D·g, D·L",
        (both(lambda batch: divided_by(batch, 1.0), common=True),),
    ),
    Mistake(
        "averaged-unasked",
        "It is the mean over the samples, where it was asked not to average.",
        "Leave out the division by the number of samples.",
        "g/N, L/N",
        (both(averaged, common=True),),
    ),
    Mistake(
        "averaged-twice",
        "It is divided by {}.",
        "Divide once: in the loss, or in its gradient.",
        "g/D, L/D",
        (
            by_count(both(divided_again, "the number of samples twice", common=True)),
            by_weights(both(divided_again, "the divisor of the mean twice", common=True)),
            by_weights(
                both(
                    over(lambda b: b.divisor * b.whole.counted),
                    "the divisor of the mean, and by the number of samples besides",
                    common=True,
                )
            ),
        ),
    ),
    Mistake(
        "divided-by-classes",
        "It is divided by the number of classes, and not by the number of samples.",
        "Average over the axis of the samples; classes are summed.",
        "g·D/C, L·D/C",
        (both(over(lambda batch: batch.classes), common=True),),
    ),
    Mistake(
        "divided-by-components",
        "It is divided by {}.",
        "Average over the samples only; a plain mean over all components divides by both.",
        "g/C, L/C",
        (
            by_count(
                both(
                    over(lambda batch: batch.divisor * batch.classes),
                    "the number of components, samples times classes",
                    common=True,
                )
            ),
            by_weights(
                both(
                    over(lambda batch: batch.divisor * batch.classes),
                    "the divisor of the mean times the number of classes",
                    common=True,
                )
            ),
        ),
    ),
    Mistake(
        "wrong-divisor",
        "The mean divides by {}.",
        "With class indices divide by the sum of the targets' weights, with probabilities by the "
        "number of samples.",
        "g·W/N, or g·N/W",
        (
            weighted(
                both(
                    lambda b: None if b.soft is not None else divided_by(b, b.whole.counted),
                    "the number of samples, and not by the sum of the weights of their targets",
                    common=True,
                )
            ),
            weighted(
                both(
                    lambda b: None if b.soft is None else divided_by(b, b.whole.total_weight),
                    "the sum of the weights, and not by the number of samples",
                    common=True,
                )
            ),
            weighted(
                both(
                    lambda b: b.but(divisor=b.whole.counted) if b.whole.averaged else None,
                    "the number of samples, and not by the sum of the weights of their targets",
                    common=True,
                )
            ),
            weighted(
                both(
                    lambda b: b.but(divisor=b.whole.total_weight) if b.whole.averaged else None,
                    "the sum of the weights, and not by the number of samples",
                    common=True,
                )
            ),
        ),
    ),
    Mistake(
        "ignored-counted",
        "The mean divides by all samples, those that are ignored among them.",
        "Divide by the number of samples that are kept.",
        "g·D/N, N with the ignored ones",
        (both(all_counted, common=True),),
    ),
    Mistake(
        "ignored-not-zeroed",
        "The samples to ignore are not left out{}.",
        "Set the rows of ignored samples, and their losses, to zero.",
        "p/D in the ignored rows",
        (
            both(ignored_rows(with_target=False), ": their gradient is the softmax"),
            both(ignored_rows(with_target=True), ": they count like the others"),
        ),
    ),
    Mistake(
        "half-averaged",
        "{} is averaged over the samples.",
        "Divide the difference, softmax minus target, as a whole.",
        "p − y/D, or p/D − y",
        (
            Variant(only_one_divided(softmax=True), None, "Only the softmax"),
            Variant(only_one_divided(softmax=False), None, "Only the target"),
        ),
    ),
    Mistake(
        "added-one-hot",
        "The target is added to the softmax, in place of subtracted.",
        "Subtract it.",
        "(p + y)/D",
        (Variant(lambda batch: batch.gradient(mass=-batch.mass)),),
    ),
    Mistake(
        "assigned-not-subtracted",
        "The components of the targets are set to −1, in place of reduced by 1: d[rows, y] = −1.",
        "Subtract: d[rows, y] −= 1.",
        "−y/D at the target, g elsewhere",
        (indexed(Variant(assigned)),),
    ),
    Mistake(
        "target-columns-for-all-rows",
        "Every row has the 1 subtracted at the targets of all samples: d[:, y] −= 1.",
        "Pair each row with its own target: d[range(N), y] −= 1.",
        "(p − [some y = j])/D",
        (
            Variant(columns_subtracted(as_often=False)),
            Variant(columns_subtracted(as_often=True)),
        ),
    ),
    Mistake(
        "shifted-by-one",
        "The targets are shifted by one within the sequence: each position is held against the "
        "target of {}.",
        "Shift once, in the data or in the loss: predict position i + 1 from position i.",
        "(p − y of position i ± 1)/D",
        (
            both(shifted_in_sequence("following", ends=True), "the next"),
            both(shifted_in_sequence("previous", ends=True), "the one before"),
            both(
                shifted_in_sequence("following", ends=False),
                "the next, and the last one against none",
            ),
            both(
                shifted_in_sequence("previous", ends=False),
                "the one before, and the first one against none",
            ),
            both(
                shifted_in_sequence("following", ends=False, divided=True),
                "the next, and the last one is left out of the mean",
            ),
            both(
                shifted_in_sequence("previous", ends=False, divided=True),
                "the one before, and the first one is left out of the mean",
            ),
        ),
    ),
    Mistake(
        "wrong-target-index",
        "Another class is taken for the target: {}.",
        "Index the row of each sample by its own target, counted from 0.",
        "(p − [j = t ± 1])/D, …",
        (
            only(lambda b: b.classes == 2, both(moved_target(1), "the other one of the two")),
            both(moved_target(-1), "one class before it (do the labels count from 1?)"),
            both(moved_target(1), "one class behind it (do the labels count from 1?)"),
            both(unwrapped_target(-1), "one class before it, and nowhere before the first"),
            both(unwrapped_target(1), "one class behind it, and nowhere behind the last"),
            both(neighbours_target("before"), "the target of the sample before"),
            both(neighbours_target("after"), "the target of the next sample"),
            both(class_for_target(lambda b: b.scaled.argmax(axis=1)), "the one predicted"),
            both(class_for_target(lambda b: 0), "always the first"),
            both(class_for_target(lambda b: b.classes - 1), "always the last"),
        ),
    ),
    Mistake(
        "wrong-axis",
        "The softmax is taken over the samples, in place of the classes.",
        "Take maximum and sum over the axis of the classes, usually the last one.",
        "(e^v / Σ over samples − y)/D",
        tuple(across(axis) for axis in range(4)),
    ),
    Mistake(
        "softmax-twice",
        "The softmax is applied twice: the loss was given probabilities where it takes logits.",
        "Hand the logits themselves to the loss.",
        "(softmax(p) − y)/D, or that times the Jacobian; −log softmax(p)",
        (Variant(second_softmax, second_softmax_losses), Variant(through_both_softmaxes)),
    ),
    Mistake(
        "sigmoid",
        "It has the sigmoid of each logit in place of their softmax.",
        "Divide each exponential by the sum over the classes; the sigmoid treats each alone.",
        "(σ(v) − y)/D; Σ log(1 + e^v) − y v",
        (sigmoid(divided_by_classes=False), sigmoid(divided_by_classes=True)),
    ),
    Mistake(
        "log-forgotten",
        "The logarithm is missing: the loss is −p at the target, as of a loss that expects "
        "log-probabilities and is given probabilities.",
        "Take the logarithm of the softmax, best as log-softmax.",
        "−p_t; p_t·(p − y)/D",
        (Variant(without_logarithm, without_logarithm_losses),),
    ),
    Mistake(
        "softmax-forgotten",
        "The softmax is missing: the loss is −z at the target, as of a loss that expects "
        "log-probabilities and is given logits.",
        "Take the log-softmax of the logits first.",
        "−z_t",
        (Variant(None, without_softmax_losses), Variant(None, without_scaling_losses)),
    ),
    Mistake(
        "wrt-probabilities",
        "It is the gradient with respect to the probabilities, minus the target over them.",
        "Multiply by the Jacobian of the softmax; together they are softmax minus target.",
        "−y/p /D",
        (Variant(by_probabilities),),
    ),
    Mistake(
        "wrt-log-probabilities",
        "It is the gradient with respect to the log-probabilities, minus the target.",
        "Add the softmax: the logarithm of the sum depends on every logit.",
        "−y/D",
        (Variant(lambda batch: batch.gradient(by_scaled=-batch.mass, slope=1.0)),),
    ),
    Mistake(
        "jacobian-diagonal",
        "Only the diagonal of the softmax's Jacobian was used, p(1 − p) at each class.",
        "Add the other entries, −p_i p_j: every logit moves the target's probability.",
        "−y (1 − p)/D",
        (Variant(jacobian_diagonal),),
    ),
    Mistake(
        "jacobian-twice",
        "The derivative of the softmax is applied once more{}.",
        "Softmax minus target is the gradient with respect to the logits already: hand it on as "
        "it is.",
        "g p(1 − p), or p (g − Σ p g)",
        (
            Variant(jacobian_again(diagonal=True), None, ", as p(1 − p) at each class"),
            Variant(jacobian_again(diagonal=False), None, ", the whole of its Jacobian"),
        ),
    ),
    Mistake(
        "log-base",
        "The loss is taken with a logarithm to the base {}.",
        "Use the natural logarithm, or multiply by log 2 or log 10.",
        "g/log 2, L/log 2; g/log 10, L/log 10",
        (
            both(lambda batch: scaled(batch, math.log(2.0)), "2", common=True),
            both(lambda batch: scaled(batch, math.log(10.0)), "10", common=True),
        ),
    ),
    Mistake(
        "maximum-differentiated",
        "The maximum that is subtracted was differentiated in one of the two places it stands in.",
        "Treat the maximum as a constant: it cancels.",
        "g ± Y/D at the largest logit",
        (Variant(through_maximum(-1.0)), Variant(through_maximum(1.0))),
    ),
    Mistake(
        "temperature-forgotten",
        "The temperature is left out.",
        "Divide the logits by it before the softmax, and the gradient by it once more.",
        "g and L with T = 1",
        (where("temperature", both(changed(temperature=lambda batch: 1.0), common=True)),),
    ),
    Mistake(
        "temperature-chain",
        "The gradient is with respect to the tempered logits: the chain rule's 1/T is missing.",
        "Divide the gradient by the temperature.",
        "T·g",
        (where("temperature", Variant(lambda b: b.gradient(slope=b.cap_slope))),),
    ),
    Mistake(
        "temperature-squared",
        "It is multiplied by the square of the temperature, as distillation does with its term.",
        "Leave out the T², or compare with the loss that has it.",
        "T²·g, T²·L",
        (where("temperature", both(lambda b: scaled(b, 1.0 / b.temperature / b.temperature))),),
    ),
    Mistake(
        "temperature-inverted",
        "The logits are multiplied by the temperature, in place of divided.",
        "Divide by it; a temperature above 1 makes the softmax flatter.",
        "g and L with 1/T in place of T",
        (
            where("temperature", both(changed(temperature=lambda b: 1.0 / b.temperature))),
            where(
                "temperature",
                Variant(lambda b: b.but(temperature=1.0 / b.temperature).gradient(slope=b.slope)),
            ),
        ),
    ),
    Mistake(
        "smoothing-forgotten",
        "The label smoothing is left out.",
        "Subtract (1 − ε) at the target and ε/C at every class.",
        "g and L with ε = 0",
        (where("smoothing", both(changed(smoothing=lambda batch: 0.0), common=True)),),
    ),
    Mistake(
        "smoothing-share",
        "The label smoothing spreads ε/(C − 1), in place of ε/C on every class.",
        "Give every class ε/C, the target among them.",
        "y = (1 − ε) q + ε/(C − 1)",
        (
            where("smoothing", both(smoothed_over_others(at_target=0.0), common=True)),
            where("smoothing", both(smoothed_over_others(at_target=1.0), common=True)),
        ),
    ),
    Mistake(
        "smoothing-twice",
        "The label smoothing is applied twice.",
        "Smooth the target, or hand the smoothing to the loss, but not both.",
        "y with 1 − (1 − ε)² in place of ε",
        (
            where(
                "smoothing",
                both(changed(smoothing=lambda b: 1.0 - (1.0 - b.smoothing) ** 2), common=True),
            ),
        ),
    ),
    Mistake(
        "smoothing-z-loss",
        "The z-loss's gradient is multiplied by p − ε/C, the smoothed difference, in place of p.",
        "Its derivative is 2 λ · logsumexp · p, whatever the target.",
        "2 λ lse (p − ε/C) for 2 λ lse p",
        (Variant(smoothed_z_loss),),
    ),
    Mistake(
        "kl-divergence",
        "It is the Kullback-Leibler divergence: the target's own entropy is subtracted{}.",
        "Add the entropy of the target; the gradient is the same.",
        "L + Σ y log q",
        (
            Variant(None, relative_entropy(divided_by_classes=False)),
            Variant(
                None,
                relative_entropy(divided_by_classes=True),
                ", and it is divided by the number of classes too",
            ),
        ),
    ),
    Mistake(
        "weights-forgotten",
        "The weights of the classes are left out.",
        "Multiply each sample's gradient by the weight of its target.",
        "g and L with w = 1",
        (
            weighted(both(lambda b: b.but(weight=None))),
            weighted(
                both(
                    lambda b: (
                        b.but(weight=None, divisor=b.whole.counted) if b.whole.averaged else None
                    )
                )
            ),
        ),
    ),
    Mistake(
        "weights-squared",
        "The weights of the classes are applied twice.",
        "Multiply by them once, in the loss or in its gradient.",
        "g and L with w²",
        (
            both(reweighted(lambda batch, weight: weight**2)),
            both(
                reweighted(lambda batch, weight: weight**2, lambda b: b.whole.total_squared_weight)
            ),
        ),
    ),
    Mistake(
        "weights-normalised",
        "The weights of the classes are normalised before they are applied, {}.",
        "Use the weights as they are, and divide by the sum over the targets.",
        "g and L with w / Σw, w / mean w or w / max w, over N",
        (
            both(
                reweighted(lambda b, weight: weight / weight.sum(), lambda b: b.whole.counted),
                "to the sum 1, and the mean divides by the number of samples",
            ),
            both(
                reweighted(lambda b, weight: weight / weight.mean(), lambda b: b.whole.counted),
                "to the mean 1, and the mean divides by the number of samples",
            ),
            both(
                reweighted(lambda b, weight: weight / weight.max(), lambda b: b.whole.counted),
                "to the maximum 1, and the mean divides by the number of samples",
            ),
            both(reweighted(lambda b, weight: weight / weight.sum()), "to the sum 1"),
            both(reweighted(lambda b, weight: weight / weight.mean()), "to the mean 1"),
        ),
    ),
    Mistake(
        "softcap-forgotten",
        "The softcap is left out.",
        "Replace z by c·tanh(z/c) before the softmax, and multiply by its derivative.",
        "g and L without c",
        (where("softcap", both(changed(softcap=lambda batch: None))),),
    ),
    Mistake(
        "softcap-derivative",
        "The logits are capped, but the derivative of the cap is missing.",
        "Multiply each component by 1 − tanh²(z/c).",
        "g / (1 − tanh²(z/c))",
        (where("softcap", Variant(lambda b: b.gradient(slope=1.0 / b.temperature))),),
    ),
    Mistake(
        "softcap-twice",
        "The softcap is applied twice.",
        "Cap the logits once, in the model or in the loss.",
        "g and L with c·tanh(tanh(z/c))",
        (capped_twice(),),
    ),
    Mistake(
        "softcap-formula",
        "The logits are capped by {}, in place of c·tanh(z/c).",
        "Divide by c, take tanh, and multiply by c.",
        "g and L with z·tanh(z/c), tanh(z/c) or c·tanh(z)",
        WRONG_CAPS,
    ),
    Mistake(
        "z-loss-forgotten",
        "The z-loss is left out.",
        "Add λ · logsumexp² to the loss, and 2 λ · logsumexp · softmax to the gradient.",
        "g and L with λ = 0",
        (where("z_loss", both(changed(z_loss=lambda batch: 0.0))),),
    ),
    Mistake(
        "z-loss-factor",
        "The z-loss's gradient is half of what it should be: its 2 is missing.",
        "The derivative of λ·logsumexp² is 2 λ · logsumexp · softmax.",
        "g with λ/2",
        (where("z_loss", Variant(lambda b: b.but(z_loss=b.z_loss / 2.0).gradient())),),
    ),
    Mistake(
        "mean-of-means",
        "It is the mean over {} of their own means, which are not of the same size.",
        "Divide the sum over all samples by how many they are in all.",
        "g·N/(K n_k) in the k-th of K parts",
        (
            Variant(
                sequence_means_gradient,
                sequence_means_losses,
                "the sequences",
            ),
        ),
    ),
    Mistake(
        "shards",
        "The classes are in shards that do not know of one another: {}.",
        "Reduce maximum and sum over all shards, and give each the global number of classes.",
        "e^v / Σ over a shard, ε over a shard's classes, …",
        (
            *map(own_sums, SHARDS),
            *map(smoothed_by_shard, SHARDS),
            *map(targets_shard_alone, SHARDS),
            *map(first_of_each_shard, SHARDS),
        ),
    ),
    Mistake(
        "saturated",
        "Where the target's probability rounds to 1 in low precision, p − 1 became 0.",
        "Sum the other classes' probabilities: their sum with a minus is p − 1, with all digits.",
        "0 at the target where p rounds to 1",
        (Variant(saturated(np.float32)), Variant(saturated(np.float16))),
    ),
    Mistake(
        "flush-to-zero",
        "Numbers below the smallest{} are 0.",
        "Let the hardware keep subnormal numbers, or compute in a wider type.",
        "0 where |g| or e^(v − m) is below the smallest number, normal or not",
        (
            *(
                Variant(flushed(smallest), None, f" normal one of {name}")
                for name, smallest in SMALLEST_NORMAL.items()
            ),
            *(
                Variant(
                    flushed_exponentials(smallest),
                    None,
                    f" normal one of {name}, of the exponentials,",
                )
                for name, smallest in SMALLEST_NORMAL.items()
                if name != "float64"
            ),
            *(
                Variant(flushed_exponentials(smallest), None, f" of {name}, of the exponentials,")
                for name, smallest in SMALLEST_OF_ALL.items()
            ),
        ),
    ),
    Mistake(
        "overflow",
        "The exponentials overflow or vanish, and their quotient is not a number.",
        "Subtract the largest logit of the row before taking exponentials.",
        "∞/∞ or 0/0",
        tuple(
            Variant(overflowing(type_, whole_row=whole_row))
            for type_ in (np.float64, np.float32, np.float16)
            for whole_row in (False, True)
        ),
    ),
    Mistake(
        "clipped",
        "The probabilities are {} before the logarithm is taken.",
        "Take the logarithm of the softmax as one, which needs no bound: z − logsumexp.",
        "−log max(p, ε), or −log(p + ε)",
        (*map(clipped, EPSILONS), *map(increased, EPSILONS)),
    ),
)


def mistake_called(name: str) -> Mistake:
    """The mistake of this id."""
    return next(mistake for mistake in CATALOGUE if mistake.id == name)
