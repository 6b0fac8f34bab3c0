"""How far a correct gradient may be from its finite difference: component by component, derived.

Rounding: 4 ulps (of the gradient's type) of the largest term summed into the component, and half
the smallest subnormal number; where a softcap rounds the logits to u, also what 8·2⁻⁵³·max|u| moves
the component by. Truncation: h²/6·|L‴| for central differences, h/2·|L″| for forward ones. In
double precision the difference has errors of its own, in the two losses and in z ± h.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any, NamedTuple

import numpy as np

from cecli.machine.decimals import wide_context
from cecli.machine.rational import RationalRow
from cecli.problem.dtypes import Floats, Integers
from cecli.problem.precision import type_precision

ULPS = 4
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

    first: Floats
    second: Floats
    third: Floats
    capping: Floats


def tolerances_of(
    row: RationalRow,
    softmax: Floats,
    beside: Floats,
    columns: Integers,
    step: float,
    order: int,
    dtype: np.dtype[Any],
    losses: Floats | None = None,
) -> Tolerances:
    """Tolerances of the components of a row.

    softmax, beside (C,): ŷ and 1 − ŷ. order: 2 for central differences, 1 for forward ones.
    losses (components,): the larger of the two losses, where they are taken in double precision.
    """
    p, q = softmax[columns], beside[columns]
    largest = _largest_terms(row, p, q, columns)
    derivatives = _derivative_bounds(row, p, q, columns)
    # ŷ(1 − ŷ) and the slope of the cap grow by no more than this between z − h and z + h.
    rate = 1.0 / float(row.temperature) + 1.0 / (row.softcap or math.inf)
    growth = math.exp(min(700.0, 2.0 * step * rate))
    if order == 2:
        truncation = step**2 / 6.0 * derivatives.third * growth
    else:
        truncation = step / 2.0 * derivatives.second * growth
    precision = type_precision(dtype.name)
    rounding = ULPS * precision.epsilon * largest + derivatives.capping
    if losses is not None:
        rounding += _difference_error(row, derivatives, columns, order * step, losses)
    with localcontext(wide_context(40)):
        half_smallest = Decimal(precision.smallest_subnormal) / 2 * (1 + Decimal("1e-14"))
        truncations = [Decimal(t) for t in truncation.tolist()]
        return Tolerances(
            [
                Decimal(r) + t + half_smallest
                for r, t in zip(rounding.tolist(), truncations, strict=True)
            ],
            truncations,
        )


def _largest_terms(row: RationalRow, p: Floats, q: Floats, columns: Integers) -> Floats:
    """The largest term summed into each component of the gradient.

    Yŷ − y has both as its terms, but where y is none or all of Y it is Yŷ or −y(1 − ŷ) alone.
    """
    total = sum(row.mass)
    mass = [row.mass[i] for i in columns.tolist()]
    y = np.array([float(m) for m in mass])
    alone = np.array([m == total for m in mass])
    terms = np.where(y == 0.0, float(total) * p, np.maximum(float(total) * p, y))
    terms = np.where(alone & (y > 0.0), y * q, terms) / float(row.divisor)
    if row.z_loss:
        terms = np.maximum(
            terms, 2.0 * float(row.z_loss / row.z_divisor) * _largest_log_sum_exp(row) * p
        )
    return terms * _slope(row, columns)


def _derivative_bounds(row: RationalRow, p: Floats, q: Floats, columns: Integers) -> Derivatives:
    """Bounds on the derivatives of L along each logit, by the chain rule through v(z).

    With respect to v, each part over its divisor: |L′| ≤ (Y − y)ŷ + y(1 − ŷ) + 2λ|lse|ŷ,
    |L″| ≤ Yŷ(1 − ŷ) + 2λ(ŷ² + |lse|ŷ(1 − ŷ)), |L‴| ≤ Yŷ(1 − ŷ) + 2λ(3ŷ²(1 − ŷ) + |lse|ŷ(1 − ŷ)).
    """
    mass_sum = sum(row.mass)
    total = float(mass_sum / row.divisor)
    y = np.array([float(row.mass[i] / row.divisor) for i in columns.tolist()])
    others = np.array([float((mass_sum - row.mass[i]) / row.divisor) for i in columns.tolist()])
    factor = 2.0 * float(row.z_loss / row.z_divisor)
    lse = _largest_log_sum_exp(row) if factor else 0.0
    first = others * p + y * q + factor * lse * p
    second = total * p * q + factor * (p**2 + lse * p * q)
    third = total * p * q + factor * (3.0 * p**2 * q + lse * p * q)
    inner = _slope(row, columns)
    if row.softcap is None:
        nothing = np.zeros_like(first)
        return Derivatives(first * inner, second * inner**2, third * inner**3, nothing)
    # |v″| ≤ 2v′/c and |v‴| ≤ 4v′/c² for v = c·tanh(z/c)/T
    bend, twist = 2.0 * inner / row.softcap, 4.0 * inner / row.softcap / row.softcap
    return Derivatives(
        first=first * inner,
        second=second * inner**2 + first * bend,
        third=third * inner**3 + 3.0 * second * inner * bend + first * twist,
        capping=8.0 * 2.0**-53 * _largest_capped(row) / float(row.temperature) * second * inner,
    )


def _difference_error(
    row: RationalRow, derivatives: Derivatives, columns: Integers, width: float, losses: Floats
) -> Floats:
    """What double precision does to a difference over width: in both losses and in z ± h.

    losses (components,): the larger of the two. Each has an error of 2 ulps, and of what rounding
    in the softcap moves it by.
    """
    z = np.abs(np.array([row.logits[i] for i in columns.tolist()]))
    moved = derivatives.first * np.where(np.isfinite(z), z + width, 0.0) * 2.0**-52
    lost = 2.0 * ULPS * (DOUBLE_EPSILON * losses + SMALLEST_DOUBLE)
    if row.softcap is not None:
        total = float(sum(row.mass) / row.divisor)
        capped = _largest_capped(row) / float(row.temperature)
        lost = lost + 2.0 * 8.0 * DOUBLE_EPSILON * capped * total
    return (moved + lost) / width


def _largest_capped(row: RationalRow) -> float:
    """max |u| of the logits as the softcap leaves them."""
    largest = max(abs(row.logits[i]) for i in row.unmasked)
    return largest if row.softcap is None else row.softcap * math.tanh(largest / row.softcap)


def _largest_log_sum_exp(row: RationalRow) -> float:
    """A bound on both parts of logsumexp = m/T + log Σ_j e^{v_j − m}."""
    return _largest_capped(row) / float(row.temperature) + math.log(len(row.unmasked))


def _slope(row: RationalRow, columns: Integers) -> Floats:
    """dv/dz = (1 − tanh²(z/c)) / T; 1/T without a softcap and where a class is masked."""
    slope = np.ones(len(columns))
    if row.softcap is not None:
        ratio = np.abs(np.array([row.logits[i] for i in columns.tolist()])) / row.softcap
        decay = np.exp(-2.0 * ratio)
        slope = np.where(np.isfinite(ratio), 4.0 * decay / (1.0 + decay) ** 2, 1.0)
    return slope / float(row.temperature)
