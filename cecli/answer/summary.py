"""What a batch comes to beside its loss: perplexity, accuracy, how the losses are spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cecli.api import Pass
from cecli.core.totals import Bars
from cecli.problem.wanted import Predictions, Wanted

CLASSES_FOR_BEST = 10
SAMPLES_FOR_BARS = 20


@dataclass(frozen=True, eq=False, repr=False)
class Histogram:
    """How many finite losses of samples kept lie between two edges, of which there is one more.

    An edge belongs to the bar above it. The bars are as wide as a power of two, at most sixteen,
    and reach from the lowest loss to the highest.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, eq=False, repr=False)
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


@dataclass(frozen=True, eq=False, repr=False)
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


def summarize(run: Pass) -> Summary:
    """What a batch comes to beside its loss, after a pass over all of it."""
    problem, tally = run.problem, run.tally
    kept = problem.kept_count
    if not kept:
        return Summary(problem.samples, problem.classes)
    perplexity, bits = run.perplexity_and_bits
    return Summary(
        problem.samples,
        problem.classes,
        perplexity,
        bits,
        tally.hits / kept if problem.indexed else None,
        tally.best / kept if problem.indexed and problem.classes >= CLASSES_FOR_BEST else None,
        _histogram(tally.bars),
        _worst(run) if run.wanted.worst else None,
    )


def _histogram(bars: Bars) -> Histogram | None:
    filled = np.flatnonzero(bars.counts)
    if bars.counts.sum() < SAMPLES_FOR_BARS or bars.is_point:
        return None
    first, last = int(filled[0]), int(filled[-1])
    with np.errstate(over="ignore"):
        edges = np.ldexp(np.arange(first, last + 2, dtype=np.float64), bars.exponent)
    edges = np.minimum(edges, np.finfo(np.float64).max)
    return Histogram(tuple(edges.tolist()), tuple(bars.counts[first : last + 1].tolist()))


def _worst(run: Pass) -> tuple[Sample, ...]:
    problem, (losses, rows) = run.problem, run.tally.highest
    own = problem.only(rows)
    parts = Pass(own, Wanted(losses=False, first=len(rows)), exact=run.exact)
    found = Predictions.joined([p.predictions for p in parts if p.predictions is not None])
    shares = found.target_probability
    return tuple(
        Sample(
            sample=tuple(int(i) for i in np.unravel_index(row, problem.batch_shape)),
            target=None if own.index is None else int(own.index[k]),
            predicted=int(found.predicted[k]),
            loss=float(losses[k]),
            target_probability=None if shares is None else float(shares[k]),
            predicted_probability=float(found.predicted_probability[k]),
        )
        for k, row in enumerate(rows.tolist())
    )
