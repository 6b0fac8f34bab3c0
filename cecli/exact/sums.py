"""What the rows of a problem come to together, correctly rounded: its loss, perplexity and bits.

A sum of enclosures is one, whose bounds are added up too. While its two ends round to different
doubles, all rows are evaluated again, at twice the precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np

from cecli.exact.pairs import entropies
from cecli.exact.plan import BIAS
from cecli.exact.rounding import FIRST_PRECISION, UnsettledError, rounded, rounded_tie, total
from cecli.exact.row import GUARD_DIGITS, INFINITE, ZERO, Enclosure, ExactRow, Number
from cecli.machine.decimals import as_decimal, wide_context
from cecli.machine.rational import exact_divisors
from cecli.problem.dtypes import Floats
from cecli.problem.problem import Problem

Rounded = TypeVar("Rounded")

# Digits enough to count so many rows that nobody will ever have them.
DIGITS_OF_A_COUNT = 20
MOST_DIGITS = 400
NUMBERS_AT_ONCE = 2**13
INFINITE_EXPONENT = 1000  # of e, and its power is more than any double
LARGEST_PLAIN = 2.0**900
# Each takes 53 − log₂ n bits; what they leave is next to nothing.
EXTRACTIONS = 4
ROUNDED_UP = 1.0 + 2.0**-40


class Sum:
    """Σ of numbers ≥ 0: what is rational by itself, and an enclosure of the rest."""

    def __init__(self) -> None:
        self.rational, self.enclosed = ZERO, Enclosure(Decimal(0), Decimal(0))

    def add(self, number: Number) -> None:
        """Take one more number, at the context's precision."""
        if isinstance(number, Fraction):
            self.rational += number
        else:
            value, bound = self.enclosed
            self.enclosed = Enclosure(value + number.value, bound + number.bound)

    def merge(self, other: Sum) -> None:
        """Take another sum, at the context's precision."""
        self.rational += other.rational
        self.add(other.enclosed)

    def over(self, divisor: Fraction) -> list[tuple[Number, Fraction]]:
        """Its parts, to be divided."""
        if not any(self.enclosed):
            return [(self.rational, divisor)]
        return [(self.rational, divisor), (self.enclosed, divisor)]


class RowSums(NamedTuple):
    """What some rows come to together, divided by nothing.

    plain: the cross-entropy without weights and smoothing. entropy: H(q) of soft targets.
    """

    cross_entropy: Sum
    z_loss: Sum
    plain: Sum
    entropy: Sum

    def add(self, losses: Iterable[Number], precision: int = FIRST_PRECISION) -> None:
        """Take one more number of each but the entropies."""
        with localcontext(wide_context(precision + GUARD_DIGITS + DIGITS_OF_A_COUNT)):
            for own, number in zip(self[:3], losses, strict=True):
                own.add(number)

    def add_entropies(self, soft: Floats, precision: int = FIRST_PRECISION) -> None:
        """Take those of rows of soft targets, (n, C)."""
        pairs = entropies(soft) if precision == FIRST_PRECISION else None
        with localcontext(wide_context(precision + GUARD_DIGITS + DIGITS_OF_A_COUNT)):
            if pairs is not None:
                self.entropy.add(sum_of_pairs(pairs))
                return
            for q in map(Decimal, soft[soft > 0.0].tolist()):
                term = -q * q.ln()
                self.entropy.add(Enclosure(term, (q + abs(term)).scaleb(-precision)))


def row_sums(rows: Iterable[tuple[Number, Number, Number]], precision: int) -> RowSums:
    """Those of the losses of rows in decimal arithmetic."""
    sums = RowSums(Sum(), Sum(), Sum(), Sum())
    for losses in rows:
        sums.add(losses, precision)
    return sums


def sum_of_pairs(pairs: Floats) -> Enclosure:
    """Σ of numbers as `pairs.PairRows` has them: (n, 3), BIAS times h, l, and their bound."""
    high, low, bound = np.ascontiguousarray(pairs.T)
    largest = float(high.max(initial=0.0))
    if largest == math.inf:
        return INFINITE
    with localcontext(wide_context(FIRST_PRECISION + GUARD_DIGITS + DIGITS_OF_A_COUNT)):
        if largest > LARGEST_PLAIN:
            value = sum(map(Decimal, [*high.tolist(), *low.tolist()]), Decimal(0))
            left = sum(map(Decimal, bound.tolist()), value.scaleb(-FIRST_PRECISION))
        else:
            (value, left_high), (small, left_low) = _extracted(high), _extracted(low)
            value += small
            left = Decimal((float(bound.sum()) + left_high + left_low) * ROUNDED_UP)
        return Enclosure(value / BIAS, left / BIAS)


def _extracted(numbers: Floats) -> tuple[Decimal, float]:
    """Σ of doubles but for what their leading bits leave of it, and how much that is at the most.

    The bits above those of σ/2⁵³, σ ≥ (n + 2) max |x|, are added up without rounding:
    `ExtractVector` of Rump, Ogita and Oishi, Accurate floating-point summation I (2008).
    """
    value, places = Decimal(0), math.ceil(math.log2(len(numbers) + 2))
    largest = float(np.abs(numbers).max(initial=0.0))
    for _ in range(EXTRACTIONS):
        if not largest:
            break
        sigma = math.ldexp(1.0, math.frexp(largest)[1] + places)
        leading = (sigma + numbers) - sigma
        value += Decimal(float(leading.sum()))
        numbers = numbers - leading
        largest = float(np.abs(numbers).max(initial=0.0))
    return value, len(numbers) * largest


class ExactSums:
    """What the rows of a problem come to together, unrounded: the losses of those taken so far.

    divisors: of the losses and of the z-losses; by default the problem's own. rows: the sums.
    """

    def __init__(self, problem: Problem, divisors: tuple[Fraction, Fraction] | None = None) -> None:
        self._problem, self._divisors = problem, divisors
        self.rows = RowSums(Sum(), Sum(), Sum(), Sum())

    @cached_property
    def divisors(self) -> tuple[Fraction, Fraction]:
        """What the losses and the z-losses are divided by."""
        return self._divisors or exact_divisors(self._problem)

    def add(self, rows: RowSums) -> None:
        """Take some rows."""
        with localcontext(wide_context(FIRST_PRECISION + GUARD_DIGITS + DIGITS_OF_A_COUNT)):
            for own, other in zip(self.rows, rows, strict=True):
                own.merge(other)

    def loss(self) -> float:
        """The loss of all rows, correctly rounded."""

        def reduced(sums: RowSums, precision: int) -> float:
            divisor, z_divisor = self.divisors
            terms = [*sums.cross_entropy.over(divisor), *sums.z_loss.over(z_divisor)]
            return rounded(total(terms, precision))

        return self._settled(reduced)

    def perplexity_and_bits(self) -> tuple[float, float]:
        """e to the mean cross-entropy without weights, and that in bits, each correctly rounded."""
        count = Fraction(self._problem.kept_count)

        def both(sums: RowSums, precision: int) -> tuple[float, float]:
            return _perplexity_and_bits(total(sums.plain.over(count), precision), precision)

        return self._settled(both)

    def kl(self) -> float:
        """The mean KL(q‖ŷ) = L − H(q) of soft targets, without weights, correctly rounded."""
        count = Fraction(self._problem.kept_count)

        def settle(sums: RowSums, precision: int) -> float:
            loss, entropy = total(sums.plain.over(count), precision), sums.entropy.enclosed
            if loss == INFINITE:
                return math.inf
            with localcontext(wide_context(precision + GUARD_DIGITS)):
                value, bound = Decimal(0), Decimal(0)
                if isinstance(loss, Enclosure):
                    value, bound = loss.value, loss.bound
                by = as_decimal(count)
                found = Enclosure(value - entropy.value / by, bound + entropy.bound / by)
            # Two numbers that are equal never differ, whatever the precision.
            if precision > MOST_DIGITS and abs(found.value) <= found.bound:
                return 0.0
            return rounded(found)

        return self._settled(settle)

    def _settled(self, settle: Callable[[RowSums, int], Rounded]) -> Rounded:
        precision, sums = FIRST_PRECISION, self.rows
        while True:
            try:
                return settle(sums, precision)
            except UnsettledError:
                precision *= 2
                sums = self._evaluated_at(precision)

    def _evaluated_at(self, precision: int) -> RowSums:
        """The sums of all rows, each evaluated once more in decimal arithmetic."""
        problem, divisors = self._problem, self.divisors
        size = max(1, NUMBERS_AT_ONCE // problem.classes)

        sums = row_sums([], precision)
        for start in range(0, problem.samples, size):
            block = problem.block(start, min(start + size, problem.samples))
            for place in np.flatnonzero(block.kept).tolist():
                sums.add(ExactRow(block, place, divisors).at(precision).losses, precision)
            if block.soft is not None:
                sums.add_entropies(block.soft[block.kept], precision)
        return sums


def _perplexity_and_bits(loss: Number, precision: int) -> tuple[float, float]:
    if isinstance(loss, Fraction):
        return 1.0, 0.0  # a loss is rational only where each sample has one class alone
    if loss == INFINITE:
        return math.inf, math.inf
    with localcontext(wide_context(precision + GUARD_DIGITS)):
        own = Enclosure(loss.value / Decimal(2).ln(), 2 * loss.bound)
        # Those of 2ⁿ equal logits are n times the mass of the target, a sum that may be a midpoint.
        bits = rounded(own) if precision <= MOST_DIGITS else rounded_tie(own)
        if loss.value > INFINITE_EXPONENT:
            return math.inf, bits
        low, high = (loss.value - loss.bound).exp(), (loss.value + loss.bound).exp()
        return rounded(Enclosure((low + high) / 2, high - low)), bits
