"""What rows come to together: reproducible sums, and what is counted beside them.

Rows come in pieces, from blocks, threads and machines; how they are cut leaves no trace. A sum is
that of groups of 1,024 rows, whose sums are added up as if without rounding. A tally counts right
predictions, how losses are spread and which are the highest: that of some rows and one of others
make that of both.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.machine.compiled import kernel
from cecli.machine.elementary import exponential, fold
from cecli.machine.plan import BEYOND
from cecli.problem.divisors import Divisors
from cecli.problem.dtypes import Floats, Integers, Logits
from cecli.problem.problem import Block
from cecli.problem.wanted import Predictions, RowArray

ROWS_PER_GROUP = 1024
# Numbers wait until there are so many that to sum them is worth an interruption of other threads.
WORTHWHILE = 2**17
# Sums of numbers beyond this might overflow although their mean does not.
LARGEST_PLAIN = 2.0**900
SHRINK = 2.0**-100
# Over 2^BEYOND: neither a sum of such overflows, nor is a mean of more a double.
LARGEST_BEYOND = 2.0**960
BEST = 5
BARS = 16
SMALLEST_EXPONENT = -1074


@dataclass(frozen=True, eq=False, repr=False)
class Part:
    """What a block's rows come to; None for what was not asked for.

    start, stop: the first of them and the one behind the last. losses (n,): their cross-entropy,
    divided by nothing. z_losses (n,): likewise, where there is a z-loss. plain (n,): the
    cross-entropy without weights and smoothing, where there are any. log_sum_exp (n,): NaN where a
    row is ignored. entropies (n,): of soft targets. arrays: (n, C) each. tally: of the n rows.
    beyond: of losses, z_losses and plain the numbers that are infinite as doubles, over 2^BEYOND.
    predictions, first_rows: of those among the first rows of the problem.
    """

    start: int
    stop: int
    losses: Floats | None = None
    z_losses: Floats | None = None
    plain: Floats | None = None
    log_sum_exp: Floats | None = None
    entropies: Floats | None = None
    arrays: Mapping[RowArray, NDArray[Any]] = field(default_factory=dict)
    tally: Tally | None = None
    predictions: Predictions | None = None
    first_rows: NDArray[Any] | None = None
    beyond: Mapping[str, Floats] = field(default_factory=dict)

    @property
    def total(self) -> Floats:
        """(n,) cross-entropy and z-loss together."""
        if self.losses is None:
            raise ValueError("no losses were asked for")
        if self.z_losses is None:
            return self.losses
        with np.errstate(over="ignore"):
            return self.losses + self.z_losses


class Totals:
    """What the parts of a problem come to together.

    losses, z_losses, plain, entropies: Σ over the rows; plain without weights and smoothing.
    tally: of all rows, with as many of the highest losses as worst says.
    """

    def __init__(self, worst: int) -> None:
        self.losses, self.z_losses, self._plain = GroupedSum(), GroupedSum(), GroupedSum()
        self.entropies = GroupedSum()
        self.tally, self.worst = empty_tally(), worst
        self.plain = self.losses

    def add(self, part: Part) -> None:
        """Take the part of the rows that follow."""
        if part.losses is not None:
            self.losses.add(part.losses, part.beyond.get("losses"))
        if part.z_losses is not None:
            self.z_losses.add(part.z_losses, part.beyond.get("z_losses"))
        if part.plain is not None:
            self.plain = self._plain
            self.plain.add(part.plain, part.beyond.get("plain"))
        if part.entropies is not None:
            self.entropies.add(part.entropies)
        if part.tally is not None:
            self.tally = self.tally.merged(part.tally, self.worst)

    def extend(self, later: Totals, start: int) -> None:
        """Take the totals of the rows that follow, from start on, which they count from 0.

        The rows up to start make whole groups of those that are summed first.
        """
        self.losses.extend(later.losses)
        self.z_losses.extend(later.z_losses)
        self.entropies.extend(later.entropies)
        if later.plain is not later.losses:
            self.plain = self._plain
            self.plain.extend(later.plain)
        self.tally = self.tally.merged(later.tally.shifted(start), self.worst)

    def loss(self, divisors: Divisors) -> float:
        """The loss of all rows over the divisors of the problem."""
        loss = self.losses.total(divisors.losses or 1.0)
        return loss + self.z_losses.total(divisors.z_losses or 1.0)

    def kl(self, kept_count: int) -> float:
        """Mean KL(q‖ŷ) = L − H(q) of soft targets, without weights, over the rows kept."""
        return self.plain.total(float(kept_count)) - self.entropies.total(float(kept_count))

    def perplexity_and_bits(self, kept_count: int) -> tuple[float, float]:
        """e to the mean cross-entropy without weights over the rows kept, and that mean in bits."""
        mean = self.plain.total(float(kept_count))
        return exponential(mean), mean / math.log(2)


# --- Sums -----------------------------------------------------------------------------------------


class GroupedSum:
    """Σ of numbers ≥ 0, one for each row: groups of 1,024 rows are summed, then their sums.

    A group's sum and the sum of all groups are as good as correctly rounded, and which rows make a
    group depends on nothing but their number: blocks, threads and machines leave no trace. Numbers
    beyond the doubles are summed by themselves.
    """

    def __init__(self) -> None:
        self._sums, self._shrunk, self._beyond = array("d"), array("d"), array("d")
        self._waiting: list[Floats] = []

    def __getstate__(self) -> dict[str, Any]:
        # What is sent to another process is small.
        self._sum_whole_groups()
        return vars(self)

    def add(self, values: Floats, beyond: Floats | None = None) -> None:
        """Take the numbers of the rows that follow, (n,); beyond: the infinite ones over 2^BEYOND.

        What is infinite even then is infinite.
        """
        if beyond is not None and len(beyond):
            values = np.where(np.isinf(values), 0.0, values)
            self._beyond.extend(np.where(beyond > LARGEST_BEYOND, np.inf, beyond).tolist())
        self._waiting.append(values)
        if sum(map(len, self._waiting)) >= WORTHWHILE:
            self._sum_whole_groups()

    def extend(self, other: GroupedSum) -> None:
        """Take the sum of the rows that follow; the rows up to them make whole groups."""
        if len(self._sum_whole_groups()):
            raise ValueError("only whole groups of rows can be followed by another sum")
        self._sums.extend(other._sums)
        self._shrunk.extend(other._shrunk)
        self._beyond.extend(other._beyond)
        self._waiting = list(other._waiting)

    def total(self, divisor: float = 1.0) -> float:
        """Σ / divisor of all that was taken."""
        last = np.zeros((1, ROWS_PER_GROUP))
        rest = self._sum_whole_groups()
        last[0, : len(rest)] = rest
        sums, shrunk = _group_sums(last)
        sums += self._sums
        shrunk += self._shrunk
        with np.errstate(all="ignore"):
            if not shrunk and not self._beyond:
                return float(np.float64(math.fsum(sums)) / divisor)
            if not self._beyond:
                total = math.fsum([*shrunk, *(SHRINK * value for value in sums)])
                return float(np.float64(total) / divisor / SHRINK)
            scale = math.ldexp(1.0, -BEYOND)
            others = [*(value * (scale / SHRINK) for value in shrunk), *(scale * s for s in sums)]
            total = math.fsum([*self._beyond, *others])
            return float(np.ldexp(np.float64(total) / divisor, BEYOND))

    def _sum_whole_groups(self) -> Floats:
        """Sum what is waiting; what does not make a group waits on, and is returned."""
        values = np.concatenate([np.zeros(0), *self._waiting])
        whole = len(values) // ROWS_PER_GROUP * ROWS_PER_GROUP
        sums, shrunk = _group_sums(values[:whole].reshape(-1, ROWS_PER_GROUP))
        self._sums.extend(sums)
        self._shrunk.extend(shrunk)
        rest = values[whole:].copy()
        self._waiting = [rest]
        return rest


def _group_sums(groups: Floats) -> tuple[list[float], list[float]]:
    """The sums of groups (n, ROWS_PER_GROUP), those of large numbers by themselves and shrunk."""
    with np.errstate(all="ignore"):
        large = groups.max(axis=1, initial=0.0) > LARGEST_PLAIN
        if not large.any():
            return _sums(groups), []
        return _sums(groups[~large]), _sums(groups[large] * SHRINK)


def _sums(groups: Floats) -> list[float]:
    compiled = kernel()
    total, left_out = fold(groups) if compiled is None else compiled.fold(groups)
    sums: list[float] = np.where(np.isfinite(total), total + left_out, total).tolist()
    return sums


# --- What is counted ------------------------------------------------------------------------------


class Bars(NamedTuple):
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


@dataclass(frozen=True, eq=False, repr=False)
class Tally:
    """What was counted of some rows; ignored ones count nowhere.

    hits: rows whose largest logit, the first among equal ones, is the target's. best: the same for
    the five largest. bars: of the losses. highest: the losses that are the highest, falling, and
    their rows. infinite: the first row whose loss is infinite; masked: whether in such a row a
    masked class carries mass of the target.
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
        _carries_mass(block, infinite),
    )


def _carries_mass(block: Block, rows: Integers) -> bool:
    """Whether in one of the rows a masked class has a share of the target."""
    masked, objective = block.logits[rows] == -np.inf, block.problem.objective
    if not masked.any():
        return False
    if block.soft is not None:
        shares = np.asarray(block.soft[rows] > 0.0)
    else:
        shares = np.arange(masked.shape[1]) == np.asarray(block.index)[rows, None]
    shares |= objective.label_smoothing > 0.0
    if block.problem.weight is not None:
        shares &= block.problem.weight > 0.0
    return bool((masked & shares).any())


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
    found = comparison(rows, numbers[:, None])
    # Sums of the shortest integers that they fit into take the least time.
    counts = found.sum(axis=1, dtype=np.min_scalar_type(rows.shape[1]))
    return np.asarray(counts, dtype=np.int64)
