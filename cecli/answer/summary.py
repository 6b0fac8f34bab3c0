"""What a batch comes to beside its loss: perplexity, accuracy, how the losses are spread."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from cecli.api import softmax_of
from cecli.core.totals import Bars, Totals
from cecli.machine.elementary import exponential
from cecli.problem.problem import Problem

CLASSES_FOR_BEST = 10
SAMPLES_FOR_BARS = 20


@dataclass(frozen=True)
class Histogram:
    """How many finite losses of samples kept lie between two edges, of which there is one more.

    An edge belongs to the bar above it. The bars are as wide as a power of two, at most sixteen,
    and reach from the lowest loss to the highest.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """One of the samples with the highest loss.

    sample: its index in the batch's shape. target is None for a soft target, and so is its
    probability. predicted: the class of the largest logit.
    """

    sample: tuple[int, ...]
    target: int | None
    predicted: int
    loss: float
    target_probability: float | None
    predicted_probability: float


@dataclass(frozen=True)
class Summary:
    """What `summarize` returns.

    samples, classes: their numbers. perplexity: e to the mean of −log ŷ_t over the samples kept,
    without weights, smoothing and z-loss; bits: that mean in bits. accuracy: the share of the
    samples kept whose largest logit (the first, among equal ones) is the target's; top5_accuracy:
    the same for the five largest, from ten classes on. histogram: from twenty samples on.
    worst_samples: those with the highest loss, where they were asked for. None where not defined.
    """

    samples: int
    classes: int
    perplexity: float | None = None
    bits: float | None = None
    accuracy: float | None = None
    top5_accuracy: float | None = None
    histogram: Histogram | None = None
    worst_samples: tuple[Sample, ...] | None = None


def summarize(problem: Problem, totals: Totals, *, exact: bool = False) -> Summary:
    """What a batch comes to beside its loss.

    totals: of all rows. exact: perplexity and bits correctly rounded, by decimal arithmetic.
    """
    kept, tally = problem.kept_count, totals.tally
    if not kept:
        return Summary(problem.samples, problem.classes)
    perplexity, bits = _perplexity_and_bits(problem, totals, exact)
    return Summary(
        problem.samples,
        problem.classes,
        perplexity,
        bits,
        tally.hits / kept if problem.indexed else None,
        tally.best / kept if problem.indexed and problem.classes >= CLASSES_FOR_BEST else None,
        _histogram(tally.bars),
        _worst(problem, totals, exact) if totals.worst else None,
    )


def _perplexity_and_bits(problem: Problem, totals: Totals, exact: bool) -> tuple[float, float]:
    if exact:
        from cecli.exact import solve as decimal_arithmetic

        return decimal_arithmetic.perplexity_and_bits_of(problem.unweighted())
    mean = totals.plain.total(float(problem.kept_count))
    return exponential(mean), mean / math.log(2)


def _histogram(bars: Bars) -> Histogram | None:
    filled = np.flatnonzero(bars.counts)
    if bars.counts.sum() < SAMPLES_FOR_BARS or bars.is_point:
        return None
    first, last = int(filled[0]), int(filled[-1])
    edges = np.ldexp(np.arange(first, last + 2, dtype=np.float64), bars.exponent)
    return Histogram(tuple(edges.tolist()), tuple(bars.counts[first : last + 1].tolist()))


def _worst(problem: Problem, totals: Totals, exact: bool) -> tuple[Sample, ...]:
    losses, rows = totals.tally.highest
    found = []
    # One by one, for a row alone may have a million classes.
    for row, loss in zip(rows, losses.tolist(), strict=True):
        own = problem.only(row[None]).rounded_to(np.dtype(np.float64))
        probabilities = softmax_of(own, exact=exact)[0]
        predicted = int(own.rows[0].argmax())
        target = None if own.index is None else int(own.index[0])
        found.append(
            Sample(
                tuple(int(i) for i in np.unravel_index(row, problem.batch_shape)),
                target,
                predicted,
                loss,
                None if target is None else float(probabilities[target]),
                float(probabilities[predicted]),
            )
        )
    return tuple(found)
