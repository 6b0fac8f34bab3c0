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
from collections import Counter
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.exact.row import (
    GUARD_DIGITS,
    INFINITY,
    ONE,
    ZERO,
    Enclosure,
    ExactRow,
    Number,
    RowResult,
)
from cecli.machine.decimals import as_decimal, round_to, wide_context
from cecli.machine.rational import exact_divisors
from cecli.problem.dtypes import Floats
from cecli.problem.problem import Problem
from cecli.problem.result import CrossEntropy

FIRST_PRECISION = 40
DOUBLE = np.dtype(np.float64)


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
    for rows in _alike(problem):
        exact_row = ExactRow(problem, rows[0])
        precision = FIRST_PRECISION
        while rows[0] not in unrounded:
            result = exact_row.at(precision)
            loss = _total([(result.cross_entropy, ONE), (result.z_loss, ONE)], precision)
            try:
                softmax[rows] = _each_rounded(result.softmax, problem.dtype)
                log_softmax[rows] = _each_rounded(result.log_softmax, problem.dtype)
                losses[rows] = _rounded(loss)
                grad[rows] = _each_rounded(result.grad, problem.dtype)
                unrounded |= dict.fromkeys(rows, result)
            except _UnsettledError:
                precision *= 2
    return _Solved(softmax, log_softmax, losses, grad, unrounded)


def _alike(problem: Problem) -> list[list[int]]:
    """The rows that are kept, together with those of the same logits and target."""
    alike: dict[tuple[bytes, bytes], list[int]] = {}
    targets = None if problem.target is None else problem.target_rows
    for row in np.flatnonzero(problem.kept).tolist():
        target = b"" if targets is None else targets[row].tobytes()
        weights = problem.sample_weight
        weight = b"" if weights is None else weights[row].tobytes()
        alike.setdefault((problem.rows[row].tobytes(), target + weight), []).append(row)
    return list(alike.values())


def _results(problem: Problem, precision: int) -> dict[int, RowResult]:
    """The results of the rows that are kept; rows that are alike share theirs."""
    results: dict[int, RowResult] = {}
    for rows in _alike(problem):
        results |= dict.fromkeys(rows, ExactRow(problem, rows[0]).at(precision))
    return results


def _reduced_loss(problem: Problem, results: dict[int, RowResult]) -> float:
    """The loss of the batch, from its rows' results at the first precision that rounded them."""
    precision = FIRST_PRECISION
    while True:
        try:
            return _rounded(_reduced(problem, results, precision))
        except _UnsettledError:
            precision *= 2
            results = _results(problem, precision)


def _reduced(problem: Problem, results: dict[int, RowResult], precision: int) -> Number:
    divisor, z_divisor = exact_divisors(problem)
    different = {id(result): result for result in results.values()}
    count = Counter(map(id, results.values()))
    terms = [
        term
        for key, result in different.items()
        for term in (
            (result.cross_entropy, divisor / count[key]),
            (result.z_loss, z_divisor / count[key]),
        )
    ]
    return _total(terms, precision)


def perplexity_and_bits_of(problem: Problem) -> tuple[float, float]:
    """e to the loss of the batch, and the loss over log 2, each correctly rounded."""
    precision = FIRST_PRECISION
    while True:
        loss = _reduced(problem, _results(problem, precision), precision)
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


def _each_rounded(numbers: list[Number], dtype: np.dtype[Any]) -> list[float]:
    """Each number rounded; classes that are alike share one object, which is rounded once."""
    different = {id(number): number for number in numbers}
    rounded = {key: _rounded(number, dtype) for key, number in different.items()}
    return [rounded[id(number)] for number in numbers]
