"""One row in decimal arithmetic, at any precision: every result with a bound on its error.

Classes of the same logit and the same target mass have the same results, and are worked out once.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import NamedTuple

from cecli.machine.decimals import (
    as_decimal,
    cap,
    cap_slope,
    exponential,
    log1p,
    sums_without_each,
    wide_context,
)
from cecli.machine.rational import RationalRow
from cecli.problem.problem import Problem

GUARD_DIGITS = 10
ZERO, ONE = Fraction(0), Fraction(1)
INFINITY = Decimal("Infinity")


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


@dataclass(frozen=True)
class Kind:
    """Classes that are alike: their logit, their target mass, and how many they are."""

    logit: float
    mass: Fraction
    count: int

    @property
    def masked(self) -> bool:
        """Whether they take no part."""
        return self.logit == -math.inf


class ExactRow(RationalRow):
    """One row of a problem, evaluated at any precision."""

    def __init__(self, problem: Problem, row: int) -> None:
        super().__init__(problem, row)
        # equal masses are one object, and its identity is found sooner than its value
        alike = [(z, id(y)) for z, y in zip(self.logits, self.mass, strict=True)]
        example = dict(zip(alike, self.mass, strict=True))
        self.kinds = [Kind(z, example[z, y], count) for (z, y), count in Counter(alike).items()]
        place = {key: k for k, key in enumerate(example)}
        self._kind_of = [place[key] for key in alike]
        self.equal = len({kind.logit for kind in self.kinds if not kind.masked}) == 1
        self.total_mass = sum((kind.count * kind.mass for kind in self.kinds), ZERO)

    def at(self, precision: int) -> RowResult:
        """Every result; a bound is 10^−precision times the parts that were added up."""
        digits = precision + GUARD_DIGITS + len(str(len(self.logits)))
        if self.softcap is not None:
            # A capped logit is rounded, and its error goes into the exponent multiplied by 1/T.
            largest = max(abs(kind.logit) for kind in self.kinds if not kind.masked)
            largest = min(largest, self.softcap)
            digits += max(0, 1 + as_decimal(Fraction(largest) / self.temperature).adjusted())
        with localcontext(wide_context(digits)):
            return self._each_class(self._evaluate(precision))

    def _each_class(self, result: RowResult) -> RowResult:
        """The results of every class from those of their kinds."""
        return result._replace(
            softmax=[result.softmax[k] for k in self._kind_of],
            log_softmax=[result.log_softmax[k] for k in self._kind_of],
            grad=[result.grad[k] for k in self._kind_of],
        )

    def _evaluate(self, precision: int) -> RowResult:
        """Every result, by kind in place of class."""
        places = [k for k, kind in enumerate(self.kinds) if not kind.masked]
        kinds = [self.kinds[k] for k in places]
        counts = [kind.count for kind in kinds]
        top = max(range(len(kinds)), key=lambda k: kinds[k].logit)
        temperature = as_decimal(self.temperature)
        capped = [cap(kind.logit, self.softcap) for kind in kinds]
        difference = [(u - capped[top]) / temperature for u in capped]
        exponentials = [exponential(d) for d in difference]
        sum_others = sums_without_each(exponentials, counts)
        sum_, log_sum = 1 + sum_others[top], log1p(sum_others[top])
        softmax = [e / sum_ for e in exponentials]
        mass = [as_decimal(kind.mass) for kind in self.kinds]
        mass_others = sums_without_each(mass, [kind.count for kind in self.kinds])
        shift, z_loss = capped[top] / temperature, as_decimal(self.z_loss)
        log_sum_exp, log_sum_exp_parts = shift + log_sum, abs(shift) + log_sum

        # ∂L/∂z_i = ((Y − y_i) ŷ_i − y_i (1 − ŷ_i) + 2 z_loss·logsumexp·ŷ_i) · dv_i/dz_i
        divisor, z_divisor = as_decimal(self.divisor), as_decimal(self.z_divisor)
        slope = [cap_slope(kind.logit, self.softcap) / temperature for kind in kinds]
        up = [mass_others[i] * p / divisor for i, p in zip(places, softmax, strict=True)]
        down = [
            mass[i] * others / sum_ / divisor for i, others in zip(places, sum_others, strict=True)
        ]
        z_part = [2 * z_loss * p / z_divisor for p in softmax]

        def enclose(value: Decimal, parts: Decimal) -> Enclosure:
            return Enclosure(value, parts.scaleb(-precision))

        result = RowResult(
            softmax=[ZERO] * len(self.kinds),
            log_softmax=[Enclosure(-INFINITY, Decimal(0))] * len(self.kinds),
            cross_entropy=self._cross_entropy([log_sum - d for d in difference], precision),
            z_loss=self._rational_z_loss()
            or enclose(z_loss * log_sum_exp**2, z_loss * log_sum_exp_parts**2),
            grad=[-kind.mass / (self.divisor * self.temperature) for kind in self.kinds],
        )
        for k, i in enumerate(places):
            if self.equal:
                result.softmax[i] = Fraction(1, len(self.unmasked))
            else:
                result.softmax[i] = enclose(softmax[k], softmax[k])
            if len(self.unmasked) == 1:
                result.log_softmax[i] = ZERO
            else:
                result.log_softmax[i] = enclose(difference[k] - log_sum, log_sum - difference[k])
            rational = self._rational_grad(kinds[k])
            if rational is not None:
                result.grad[i] = rational
            else:
                result.grad[i] = enclose(
                    (up[k] - down[k] + z_part[k] * log_sum_exp) * slope[k],
                    (up[k] + down[k] + z_part[k] * log_sum_exp_parts) * slope[k],
                )
        return result

    def _cross_entropy(self, surprise: list[Decimal], precision: int) -> Number:
        """Σ_i y_i (log Σ_j e^{v_j − m} − (v_i − m)): no term is negative.

        surprise: −log ŷ of each kind that is not masked.
        """
        if any(kind.masked and kind.mass for kind in self.kinds):
            return Enclosure(INFINITY, Decimal(0))
        if len(self.unmasked) == 1:
            return ZERO
        kinds = [kind for kind in self.kinds if not kind.masked]
        terms = (as_decimal(k.count * k.mass) * s for k, s in zip(kinds, surprise, strict=True))
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

    def _rational_grad(self, kind: Kind) -> Fraction | None:
        """The gradient at classes that are not masked, where it is rational."""
        log_sum_exp = self._rational_log_sum_exp() if self.z_loss else ZERO
        if not self.equal or log_sum_exp is None:
            return None
        p = Fraction(1, len(self.unmasked))
        grad = (self.total_mass * p - kind.mass) / self.divisor
        grad += 2 * self.z_loss * log_sum_exp * p / self.z_divisor
        if self.softcap is not None and kind.logit and grad:
            return None
        return grad / self.temperature
