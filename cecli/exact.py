"""The same results, every number the correctly rounded value of the exact result.

The definitions are evaluated in the standard library's decimal arithmetic, whose every operation
is correctly rounded, so that the bits are the same on every machine. Each number carries a bound on
its error; while the two ends of a number's interval round to different doubles, its row is
evaluated again at twice the precision (Ziv, "Fast evaluation of elementary mathematical functions
with correctly rounded last bit", ACM TOMS 1991).

That would go on for ever for a result that is exactly zero or exactly half way between two floating
point numbers. e^x is transcendental for every rational x ≠ 0 (Lindemann), so this can happen only
where all logits of a row that are not masked are equal; what is rational there is computed as
fractions.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.core import CrossEntropy
from cecli.decimals import (
    as_decimal,
    cap,
    cap_slope,
    exponential,
    log1p,
    round_to,
    sums_without_each,
    wide_context,
)
from cecli.exact_mass import exact_divisors, exact_mass
from cecli.problem import Floats, Problem

FIRST_PRECISION = 40
GUARD_DIGITS = 10
ZERO, ONE = Fraction(0), Fraction(1)
INFINITY = Decimal("Infinity")
DOUBLE = np.dtype(np.float64)


class Enclosure(NamedTuple):
    """A number known to lie within bound of value; an infinite one has bound 0."""

    value: Decimal
    bound: Decimal


Number = Enclosure | Fraction


class RowResult(NamedTuple):
    """What one row comes to, before rounding."""

    softmax: list[Number]
    log_softmax: list[Number]
    cross_entropy: Number
    z_loss: Number
    grad: list[Number]


def softmax_of(problem: Problem) -> NDArray[Any]:
    """`cecli.softmax`, every component correctly rounded."""
    return problem.restore(_solve_rows(problem).softmax.astype(problem.dtype))


def log_softmax_of(problem: Problem) -> NDArray[Any]:
    """`cecli.log_softmax`, every component correctly rounded."""
    return problem.restore(_solve_rows(problem).log_softmax.astype(problem.dtype))


def solve(problem: Problem) -> CrossEntropy:
    """`cecli.cross_entropy`, every number correctly rounded."""
    solved = _solve_rows(problem)
    each = solved.losses.reshape(problem.batch_shape)
    softmax, log_softmax = (
        problem.restore(rows.astype(problem.dtype)) for rows in (solved.softmax, solved.log_softmax)
    )
    return CrossEntropy(
        losses=each,
        loss=each if problem.divisor is None else _reduced_loss(problem, solved.unrounded),
        grad=problem.restore(solved.grad.astype(problem.dtype)),
        divisor=problem.divisor,
        z_loss_divisor=problem.z_loss_divisor if problem.objective.z_loss else None,
        probabilities=lambda: (softmax, log_softmax),
    )


class _Solved(NamedTuple):
    softmax: Floats
    log_softmax: Floats
    losses: Floats
    grad: Floats
    unrounded: dict[int, RowResult]


class _UnsettledError(Exception):
    """The two ends of an enclosure round to different numbers."""


def _solve_rows(problem: Problem) -> _Solved:
    shape = problem.rows.shape
    softmax, log_softmax = np.full(shape, math.nan), np.full(shape, math.nan)
    losses, grad = np.zeros(shape[0]), np.zeros(shape)
    unrounded: dict[int, RowResult] = {}
    for row in np.flatnonzero(problem.kept).tolist():
        exact_row = ExactRow(problem, row)
        precision = FIRST_PRECISION
        while row not in unrounded:
            result = exact_row.at(precision)
            loss = _total([(result.cross_entropy, ONE), (result.z_loss, ONE)], precision)
            try:
                softmax[row] = [_rounded(number, problem.dtype) for number in result.softmax]
                log_softmax[row] = [
                    _rounded(number, problem.dtype) for number in result.log_softmax
                ]
                losses[row] = _rounded(loss)
                grad[row] = [_rounded(number, problem.dtype) for number in result.grad]
                unrounded[row] = result
            except _UnsettledError:
                precision *= 2
    return _Solved(softmax, log_softmax, losses, grad, unrounded)


def _reduced_loss(problem: Problem, results: dict[int, RowResult]) -> float:
    """The loss of the batch, from its rows' results at the first precision that rounded them."""
    precision = FIRST_PRECISION
    while True:
        try:
            return _rounded(_reduced(problem, results, precision))
        except _UnsettledError:
            precision *= 2
            results = {row: ExactRow(problem, row).at(precision) for row in results}


def _reduced(problem: Problem, results: dict[int, RowResult], precision: int) -> Number:
    divisor, z_divisor = exact_divisors(problem)
    terms = [
        term
        for result in results.values()
        for term in ((result.cross_entropy, divisor), (result.z_loss, z_divisor))
    ]
    return _total(terms, precision)


def perplexity_and_bits_of(problem: Problem) -> tuple[float, float]:
    """e to the loss of the batch, and the loss over log 2, each correctly rounded."""
    precision = FIRST_PRECISION
    while True:
        kept = np.flatnonzero(problem.kept).tolist()
        results = {row: ExactRow(problem, row).at(precision) for row in kept}
        loss = _reduced(problem, results, precision)
        if isinstance(loss, Fraction):
            return 1.0, 0.0  # a loss is rational only where each sample has one class alone
        if loss.value.is_infinite():
            return math.inf, math.inf
        try:
            with localcontext(wide_context(precision + GUARD_DIGITS)):
                least, most = loss.value - loss.bound, loss.value + loss.bound
                low, high = least.exp(), most.exp()
                one_bit = Decimal(2).ln()
                bits = Enclosure(loss.value / one_bit, 2 * loss.bound)
                return _rounded(Enclosure((low + high) / 2, high - low)), _rounded(bits)
        except _UnsettledError:
            precision *= 2


class ExactRow:
    """One row of a problem, its target mass as fractions, evaluated at any precision."""

    def __init__(self, problem: Problem, row: int) -> None:
        objective = problem.objective
        self.logits: list[float] = problem.rows[row].tolist()
        self.unmasked = [i for i, z in enumerate(self.logits) if z > -math.inf]
        self.equal = len({self.logits[i] for i in self.unmasked}) == 1
        self.mass = exact_mass(problem, row)
        self.divisor, self.z_divisor = exact_divisors(problem)
        self.temperature = Fraction(float(objective.temperature))
        self.softcap = None if objective.softcap is None else float(objective.softcap)
        self.z_loss = Fraction(float(objective.z_loss))

    def at(self, precision: int) -> RowResult:
        """Every result; a bound is 10^−precision times the parts that were added up."""
        digits = precision + GUARD_DIGITS + len(str(len(self.logits)))
        if self.softcap is not None:
            # A capped logit is rounded, and its error goes into the exponent multiplied by 1/T.
            largest = min(max(abs(self.logits[i]) for i in self.unmasked), self.softcap)
            digits += max(0, 1 + as_decimal(Fraction(largest) / self.temperature).adjusted())
        with localcontext(wide_context(digits)):
            return self._evaluate(precision)

    def _evaluate(self, precision: int) -> RowResult:
        logits = [self.logits[i] for i in self.unmasked]
        top = max(range(len(logits)), key=logits.__getitem__)
        temperature = as_decimal(self.temperature)
        capped = [cap(z, self.softcap) for z in logits]
        difference = [(u - capped[top]) / temperature for u in capped]
        exponentials = [exponential(d) for d in difference]
        sum_others = sums_without_each(exponentials)
        sum_, log_sum = 1 + sum_others[top], log1p(sum_others[top])
        softmax = [e / sum_ for e in exponentials]
        mass = [as_decimal(y) for y in self.mass]
        mass_others = sums_without_each(mass)
        shift, z_loss = capped[top] / temperature, as_decimal(self.z_loss)
        log_sum_exp, log_sum_exp_parts = shift + log_sum, abs(shift) + log_sum

        # ∂L/∂z_i = ((Y − y_i) ŷ_i − y_i (1 − ŷ_i) + 2 z_loss·logsumexp·ŷ_i) · dv_i/dz_i
        divisor, z_divisor = as_decimal(self.divisor), as_decimal(self.z_divisor)
        slope = [cap_slope(z, self.softcap) / temperature for z in logits]
        up = [mass_others[i] * p / divisor for i, p in zip(self.unmasked, softmax, strict=True)]
        down = [
            mass[i] * others / sum_ / divisor
            for i, others in zip(self.unmasked, sum_others, strict=True)
        ]
        z_part = [2 * z_loss * p / z_divisor for p in softmax]

        def enclose(value: Decimal, parts: Decimal) -> Enclosure:
            return Enclosure(value, parts.scaleb(-precision))

        result = RowResult(
            softmax=[ZERO] * len(self.logits),
            log_softmax=[Enclosure(-INFINITY, Decimal(0))] * len(self.logits),
            cross_entropy=self._cross_entropy(difference, log_sum, mass, precision),
            z_loss=self._rational_z_loss()
            or enclose(z_loss * log_sum_exp**2, z_loss * log_sum_exp_parts**2),
            grad=[-y / (self.divisor * self.temperature) for y in self.mass],
        )
        for k, i in enumerate(self.unmasked):
            if self.equal:
                result.softmax[i] = Fraction(1, len(logits))
            else:
                result.softmax[i] = enclose(softmax[k], softmax[k])
            if len(logits) == 1:
                result.log_softmax[i] = ZERO
            else:
                result.log_softmax[i] = enclose(difference[k] - log_sum, log_sum - difference[k])
            rational = self._rational_grad(i)
            if rational is not None:
                result.grad[i] = rational
            else:
                result.grad[i] = enclose(
                    (up[k] - down[k] + z_part[k] * log_sum_exp) * slope[k],
                    (up[k] + down[k] + z_part[k] * log_sum_exp_parts) * slope[k],
                )
        return result

    def _cross_entropy(
        self, difference: list[Decimal], log_sum: Decimal, mass: list[Decimal], precision: int
    ) -> Number:
        """Σ_i y_i (log Σ_j e^{v_j − m} − (v_i − m)): no term is negative."""
        if any(y and z == -math.inf for y, z in zip(self.mass, self.logits, strict=True)):
            return Enclosure(INFINITY, Decimal(0))
        if len(self.unmasked) == 1:
            return ZERO
        terms = (mass[i] * (log_sum - d) for i, d in zip(self.unmasked, difference, strict=True))
        loss = sum(terms, Decimal(0))
        return Enclosure(loss, loss.scaleb(-precision))

    def _rational_log_sum_exp(self) -> Fraction | None:
        """log Σ_j e^{v_j} where it is rational: one class alone, and no tanh in its way."""
        logit = self.logits[self.unmasked[0]]
        if len(self.unmasked) > 1 or (self.softcap is not None and logit):
            return None
        return Fraction(logit) / self.temperature

    def _rational_z_loss(self) -> Fraction | None:
        if not self.z_loss:
            return ZERO
        log_sum_exp = self._rational_log_sum_exp()
        return None if log_sum_exp is None else self.z_loss * log_sum_exp**2

    def _rational_grad(self, i: int) -> Fraction | None:
        """The gradient at an unmasked class where it is rational."""
        log_sum_exp = self._rational_log_sum_exp() if self.z_loss else ZERO
        if not self.equal or log_sum_exp is None:
            return None
        p = Fraction(1, len(self.unmasked))
        grad = (sum(self.mass) * p - self.mass[i]) / self.divisor
        grad += 2 * self.z_loss * log_sum_exp * p / self.z_divisor
        if self.softcap is not None and self.logits[i] and grad:
            return None
        return grad / self.temperature


def _total(terms: list[tuple[Number, Fraction]], precision: int) -> Number:
    """Σ number/divisor"""
    fractions = [number / by for number, by in terms if isinstance(number, Fraction)]
    rational = sum(fractions, ZERO)
    if len(fractions) == len(terms):
        return rational
    with localcontext(wide_context(precision + GUARD_DIGITS + len(str(len(terms))))):
        value, bound = as_decimal(rational), Decimal(0)
        for number, by in terms:
            if isinstance(number, Enclosure):
                value += number.value / as_decimal(by)
                bound += number.bound / as_decimal(by)
        if value == INFINITY:
            return Enclosure(value, Decimal(0))
        return Enclosure(value, bound + value.scaleb(-precision))


def _rounded(number: Number, dtype: np.dtype[Any] = DOUBLE) -> float:
    if isinstance(number, Fraction):
        return round_to(number, dtype) + 0.0  # no zero is −0
    with localcontext(wide_context(2 * len(number.value.as_tuple().digits) + GUARD_DIGITS)):
        low = round_to(number.value - number.bound, dtype)
        high = round_to(number.value + number.bound, dtype)
    if low != high:
        raise _UnsettledError
    return low + 0.0
