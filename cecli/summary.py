"""What a batch comes to beside its loss: perplexity, accuracy, how the losses are spread."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cecli.blocks import each_block
from cecli.core import losses_of, softmax_of
from cecli.objective import Objective
from cecli.problem import Block, Floats, Integers, Problem
from cecli.rows import reduce_rows

BEST = 5
CLASSES_FOR_BEST = 10
BARS = 10
SAMPLES_FOR_BARS = 20


@dataclass(frozen=True)
class Histogram:
    """How many finite losses of samples kept lie between two edges, of which there is one more.

    An edge belongs to the bar above it, the last one to the last bar.
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


def summarize(
    problem: Problem, losses: Floats | None = None, *, exact: bool = False, worst: int = 0
) -> Summary:
    """What a batch comes to beside its loss.

    losses: those of the samples, in the batch's shape; without them there is neither a histogram
    nor the worst. worst: how many samples of the highest loss.
    """
    kept = problem.kept
    if not kept.any():
        return Summary(problem.samples, problem.classes)
    perplexity, bits = _perplexity_and_bits(problem, exact)
    accuracy = top5 = None
    if problem.index is not None:
        ranks = _ranks(problem)[kept]
        accuracy = float((ranks == 0).mean())
        if problem.classes >= CLASSES_FOR_BEST:
            top5 = float((ranks < BEST).mean())
    flat = None if losses is None else losses.reshape(-1)
    return Summary(
        problem.samples,
        problem.classes,
        perplexity,
        bits,
        accuracy,
        top5,
        None if flat is None else _histogram(flat[kept]),
        None if flat is None or not worst else _worst(problem, flat, worst, exact),
    )


def _perplexity_and_bits(problem: Problem, exact: bool) -> tuple[float, float]:
    plain = problem.unweighted()
    if exact:
        from cecli import exact as decimal_arithmetic

        return decimal_arithmetic.perplexity_and_bits_of(plain)
    with np.errstate(all="ignore"):
        mean = reduce_rows(losses_of(plain)[0], float(problem.kept.sum()))
        return float(np.exp(mean)), mean / math.log(2)


def _ranks(problem: Problem) -> Integers:
    """(N,) how many logits of a row come before the target's, the first among equal ones first."""

    def work(block: Block) -> Integers:
        index = np.asarray(block.index)
        own = block.logits[np.arange(len(index)), index][:, None]
        before = np.arange(problem.classes) < index[:, None]
        ahead = (block.logits > own) | ((block.logits == own) & before)
        ranks: Integers = ahead.sum(axis=1)
        return ranks

    return np.concatenate(list(each_block(problem, work)))


def _histogram(losses: Floats) -> Histogram | None:
    finite = losses[np.isfinite(losses)]
    if len(finite) < SAMPLES_FOR_BARS:
        return None
    low, high = min(0.0, float(finite.min())), float(finite.max())
    if not high > low or not math.isfinite(high - low):
        return None
    counts, edges = np.histogram(finite, BARS, (low, high))
    return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))


def _worst(problem: Problem, losses: Floats, count: int, exact: bool) -> tuple[Sample, ...]:
    order = np.argsort(np.where(problem.kept, -losses, np.inf), kind="stable")
    rows = order[: min(count, int(problem.kept.sum()))]
    logits = problem.to_rows(problem.logits)[rows]
    objective = Objective(
        temperature=problem.objective.temperature, softcap=problem.objective.softcap
    )
    probabilities: NDArray[np.float64] = softmax_of(
        Problem(logits, None, objective).rounded_to(np.dtype(np.float64)), exact=exact
    )
    predicted = logits.argmax(axis=1).tolist()
    found = []
    for place, row in enumerate(rows.tolist()):
        target = None if problem.index is None else int(problem.index[row])
        found.append(
            Sample(
                tuple(int(i) for i in np.unravel_index(row, problem.batch_shape)),
                target,
                predicted[place],
                float(losses[row]),
                None if target is None else float(probabilities[place, target]),
                float(probabilities[place, predicted[place]]),
            )
        )
    return tuple(found)
