"""How far a correct gradient may be from its finite difference: component by component, derived.

Rounding: 4 ulps (of the gradient's type) of the largest term summed into the component, and half
the smallest subnormal number; where a softcap rounds the logits to u, also what 8·2⁻⁵³·max|u| moves
the component by. Truncation: h²/6·|L‴| for central differences, h/2·|L″| for forward ones. In
double precision the difference has errors of its own, in the two losses and in z ± h.

The bounds are decimal numbers, whose exponents never run out: of a subnormal gradient a few ulps
are no double.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.machine.decimals import as_decimal, cap_slope, wide_context
from cecli.machine.rational import RationalRow
from cecli.problem.dtypes import Floats, Integers
from cecli.problem.precision import type_precision

Decimals = NDArray[np.object_]

ULPS = 4
PRECISION = 25
DOUBLE_EPSILON, SMALLEST_DOUBLE = 2.0**-52, 2.0**-1074


@dataclass(frozen=True, eq=False)
class Tolerances:
    """For each component what it may be off by in all, and the part that is truncation."""

    total: list[Decimal]
    truncation: list[Decimal]

    @classmethod
    def zero(cls, count: int) -> Tolerances:
        """Of components that are exactly zero."""
        return cls([Decimal(0)] * count, [Decimal(0)] * count)


class Derivatives(NamedTuple):
    """Bounds on |dL/dz|, |d²L/dz²| and |d³L/dz³| of each component, and what capping adds."""

    first: Decimals
    second: Decimals
    third: Decimals
    capping: Decimals


def tolerances_of(
    row: RationalRow,
    softmax: Sequence[Decimal],
    beside: Sequence[Decimal],
    step: float,
    order: int,
    dtype: np.dtype[Any],
    columns: Integers,
    losses: Floats | None = None,
) -> Tolerances:
    """Tolerances of the components of a row.

    softmax, beside: ŷ and 1 − ŷ of each component. order: 2 for central differences, 1 for forward
    ones. losses (components,): the larger of the two losses, where they are taken in double
    precision.
    """
    with localcontext(wide_context(PRECISION)) as context:
        context.clear_traps()  # what is no number fails like any other that is too large
        p, q = _array(softmax), _array(beside)
        largest = _largest_terms(row, p, q, columns)
        derivatives = _derivative_bounds(row, p, q, columns)
        # ŷ(1 − ŷ) and the slope of the cap grow by no more than this between z − h and z + h.
        rate = 1.0 / float(row.temperature) + 1.0 / (row.softcap or math.inf)
        growth, h = Decimal(math.exp(min(700.0, 2.0 * step * rate))), Decimal(step)
        if order == 2:
            truncation = h * h / 6 * derivatives.third * growth
        else:
            truncation = h / 2 * derivatives.second * growth
        precision = type_precision(dtype.name)
        rounding = ULPS * Decimal(precision.epsilon) * largest + derivatives.capping
        if losses is not None:
            rounding = rounding + _difference_error(row, derivatives, columns, order * h, losses)
        half_smallest = Decimal(precision.smallest_subnormal) / 2 * (1 + Decimal("1e-14"))
        total = rounding + truncation + half_smallest
        return Tolerances(total.tolist(), truncation.tolist())


def _array(values: Sequence[Decimal]) -> Decimals:
    return np.array(values, dtype=object)


def _largest_terms(row: RationalRow, p: Decimals, q: Decimals, columns: Integers) -> Decimals:
    """The largest term summed into each component of the gradient.

    Yŷ − y has both as its terms, but where y is none or all of Y it is Yŷ or −y(1 − ŷ) alone.
    """
    whole = sum(row.mass)
    mass = [row.mass[i] for i in columns.tolist()]
    y, total = _array([as_decimal(m / row.divisor) for m in mass]), as_decimal(whole / row.divisor)
    alone, none = np.array([m == whole for m in mass]), np.array([m == 0 for m in mass])
    terms = np.where(none, total * p, np.maximum(total * p, y))
    terms = np.where(alone & ~none, y * q, terms)
    if row.z_loss:
        factor = 2 * as_decimal(row.z_loss / row.z_divisor)
        terms = np.maximum(terms, factor * _largest_log_sum_exp(row) * p)
    return np.asarray(terms * _slope(row, columns))


def _derivative_bounds(
    row: RationalRow, p: Decimals, q: Decimals, columns: Integers
) -> Derivatives:
    """Bounds on the derivatives of L along each logit, by the chain rule through v(z).

    With respect to v, each part over its divisor: |L′| ≤ (Y − y)ŷ + y(1 − ŷ) + 2λ|lse|ŷ,
    |L″| ≤ Yŷ(1 − ŷ) + 2λ(ŷ² + |lse|ŷ(1 − ŷ)), |L‴| ≤ Yŷ(1 − ŷ) + 2λ(3ŷ²(1 − ŷ) + |lse|ŷ(1 − ŷ)).
    """
    mass_sum = sum(row.mass)
    total = as_decimal(mass_sum / row.divisor)
    mass = [row.mass[i] for i in columns.tolist()]
    y = _array([as_decimal(m / row.divisor) for m in mass])
    others = _array([as_decimal((mass_sum - m) / row.divisor) for m in mass])
    factor = 2 * as_decimal(row.z_loss / row.z_divisor)
    lse = _largest_log_sum_exp(row) if factor else Decimal(0)
    first = others * p + y * q + factor * lse * p
    second = total * p * q + factor * (p * p + lse * p * q)
    third = total * p * q + factor * (3 * p * p * q + lse * p * q)
    inner = _slope(row, columns)
    if row.softcap is None:
        nothing = _array([Decimal(0)] * len(p))
        return Derivatives(first * inner, second * inner**2, third * inner**3, nothing)
    # |v″| ≤ 2v′/c and |v‴| ≤ 4v′/c² for v = c·tanh(z/c)/T
    softcap = Decimal(row.softcap)
    bend, twist = 2 * inner / softcap, 4 * inner / softcap / softcap
    return Derivatives(
        first=first * inner,
        second=second * inner**2 + first * bend,
        third=third * inner**3 + 3 * second * inner * bend + first * twist,
        capping=8 * Decimal(2.0**-53) * _largest_scaled(row) * second * inner,
    )


def _difference_error(
    row: RationalRow, derivatives: Derivatives, columns: Integers, width: Decimal, losses: Floats
) -> Decimals:
    """What double precision does to a difference over width: in both losses and in z ± h.

    losses (components,): the larger of the two. Each has an error of 2 ulps, and of what rounding
    in the softcap moves it by.
    """
    logits = [abs(Decimal(row.logits[i])) for i in columns.tolist()]
    moves = _array([z + width if z.is_finite() else Decimal(0) for z in logits])
    moved = derivatives.first * moves * Decimal(DOUBLE_EPSILON)
    size = _array([Decimal(loss) for loss in losses.tolist()])
    lost = 2 * ULPS * (Decimal(DOUBLE_EPSILON) * size + Decimal(SMALLEST_DOUBLE))
    if row.softcap is not None:
        total = as_decimal(sum(row.mass) / row.divisor)
        lost = lost + 2 * 8 * Decimal(DOUBLE_EPSILON) * _largest_scaled(row) * total
    return np.asarray((moved + lost) / width)


def _largest_scaled(row: RationalRow) -> Decimal:
    """max |u|/T of the logits as the softcap leaves them."""
    largest = max(abs(row.logits[i]) for i in row.unmasked)
    capped = largest if row.softcap is None else row.softcap * math.tanh(largest / row.softcap)
    return Decimal(capped) / as_decimal(row.temperature)


def _largest_log_sum_exp(row: RationalRow) -> Decimal:
    """A bound on both parts of logsumexp = m/T + log Σ_j e^{v_j − m}."""
    return _largest_scaled(row) + Decimal(math.log(len(row.unmasked)))


def _slope(row: RationalRow, columns: Integers) -> Decimals:
    """dv/dz = (1 − tanh²(z/c)) / T; 1/T without a softcap and where a class is masked."""
    logits = [row.logits[i] for i in columns.tolist()]
    temperature = as_decimal(row.temperature)
    slopes = [cap_slope(z, row.softcap) if math.isfinite(z) else Decimal(1) for z in logits]
    return _array([slope / temperature for slope in slopes])
