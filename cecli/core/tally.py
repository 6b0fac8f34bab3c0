"""What is counted of a batch's rows: right predictions, how losses are spread, the highest ones.

A tally of some rows and one of others make that of both, in whatever pieces the rows come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cecli.core.error_free import small_buffer
from cecli.problem.dtypes import Floats, Integers, Logits
from cecli.problem.problem import Block

BEST = 5
BARS = 16
SMALLEST_EXPONENT = -1074


@dataclass(frozen=True, eq=False)
class Bars:
    """How many finite losses lie in each of BARS intervals from 0 up, each 2^exponent wide.

    The largest loss is always in the upper half, so the bars depend on the losses alone.
    """

    exponent: int
    counts: NDArray[np.int64]

    @property
    def is_point(self) -> bool:
        """Whether every loss is 0, or nearly so."""
        return self.exponent == SMALLEST_EXPONENT

    def merged(self, other: Bars) -> Bars:
        """The bars of both."""
        exponent = max(self.exponent, other.exponent)
        return Bars(exponent, self._widened(exponent) + other._widened(exponent))

    def _widened(self, exponent: int) -> NDArray[np.int64]:
        place = np.arange(BARS) >> min(exponent - self.exponent, BARS)
        return np.bincount(place, self.counts, BARS).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Tally:
    """What was counted of some rows; ignored ones count nowhere.

    hits: rows whose largest logit, the first among equal ones, is the target's. best: the same for
    the five largest. bars: of the losses. highest: the losses that are the highest, falling, and
    their rows. infinite: the first row whose loss is infinite; masked: whether in such a row a
    class is masked.
    """

    hits: int
    best: int
    bars: Bars
    highest: tuple[Floats, Integers]
    infinite: int | None
    masked: bool

    def shifted(self, rows: int) -> Tally:
        """The same with its first row that many rows further on."""
        losses, numbers = self.highest
        infinite = None if self.infinite is None else self.infinite + rows
        return replace(self, highest=(losses, numbers + rows), infinite=infinite)

    def merged(self, later: Tally, worst: int) -> Tally:
        """That of these rows and later ones, with as many of the highest losses as worst says."""
        losses = np.concatenate([self.highest[0], later.highest[0]])
        rows = np.concatenate([self.highest[1], later.highest[1]])
        return Tally(
            self.hits + later.hits,
            self.best + later.best,
            self.bars.merged(later.bars),
            _highest(losses, rows, worst),
            later.infinite if self.infinite is None else self.infinite,
            self.masked or later.masked,
        )


def tally_of(block: Block, losses: Floats, worst: int) -> Tally:
    """The tally of a block's rows, whose losses (N,) are known."""
    kept = np.flatnonzero(block.kept)
    own = losses[kept]
    infinite = kept[np.isinf(own)]
    hits = best = 0
    if block.index is not None:
        ranks = _ranks(block)[kept]
        hits, best = int((ranks == 0).sum()), int((ranks < BEST).sum())
    return Tally(
        hits,
        best,
        _bars(own[np.isfinite(own)]),
        _highest(own, kept + block.start, worst),
        int(infinite[0]) + block.start if len(infinite) else None,
        bool((block.logits[infinite] == -np.inf).any()),
    )


def empty_tally() -> Tally:
    """That of no rows."""
    nothing = np.zeros(0)
    return Tally(0, 0, _bars(nothing), (nothing, nothing.astype(np.int64)), None, False)


def _bars(losses: Floats) -> Bars:
    largest = float(losses.max(initial=0.0))
    bits = BARS.bit_length() - 1
    exponent = SMALLEST_EXPONENT
    if largest:
        exponent = max(exponent, math.frexp(largest)[1] - bits)
    # A loss is never negative, but for one that rounding has made so.
    place = np.maximum(np.ldexp(losses, -exponent), 0.0).astype(np.int64)
    return Bars(exponent, np.bincount(place, minlength=BARS))


def _highest(losses: Floats, rows: Integers, count: int) -> tuple[Floats, Integers]:
    """The highest losses, falling, and their rows; of equal ones the first."""
    if not count or not len(losses):
        return losses[:0], rows[:0]
    least = np.partition(losses, max(0, len(losses) - count))[max(0, len(losses) - count)]
    among = np.flatnonzero(losses >= least)
    order = among[np.argsort(-losses[among], kind="stable")[:count]]
    return losses[order], rows[order]


def _ranks(block: Block) -> Integers:
    """(N,) how many logits of a row come before the target's, the first among equal ones first.

    Where BEST or more are greater, only those are counted.
    """
    logits, index = block.logits, np.asarray(block.index)
    own = logits[np.arange(len(index)), index]
    ranks = _count(np.greater, logits, own)
    first = np.flatnonzero(ranks < BEST)
    tied = first[_count(np.equal, logits[first], own[first]) > 1]
    before = np.arange(logits.shape[1]) < index[tied, None]
    ranks[tied] += (before & (logits[tied] == own[tied, None])).sum(axis=1)
    return ranks


def _count(comparison: np.ufunc, rows: Logits, numbers: Logits) -> Integers:
    """(N,) for how many elements of a row the comparison with the row's number holds."""
    with small_buffer(rows):
        found = comparison(rows, numbers[:, None])
    # Sums of the shortest integers that they fit into take the least time.
    counts = found.sum(axis=1, dtype=np.min_scalar_type(rows.shape[1]))
    return np.asarray(counts, dtype=np.int64)
