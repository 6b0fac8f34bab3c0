"""One row in decimal arithmetic: its numbers at any precision, and each with a bound on its error.

`DecimalRow` has the numbers straight from the formulas, as a derivation shows them. `ExactRow`
encloses the results among them, so that they can be rounded. Classes of the same logit and the same
target mass have the same results, and are worked out once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cached_property
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
from cecli.machine.rational import RationalRow, exact_mass
from cecli.problem.problem import Block

GUARD_DIGITS = 10
ZERO, ONE = Fraction(0), Fraction(1)
INFINITY = Decimal("Infinity")


@dataclass(frozen=True, eq=False)
class DecimalRow:
    """The numbers of a row, one for each class where they are lists, at the context's precision.

    logits z; target y. counts: how many classes like it each class stands for. powers_of: makes
    e^d of a d ≤ 0.
    """

    logits: list[Decimal]
    target: list[Decimal]
    counts: list[int]
    temperature: Decimal
    softcap: float | None
    z_loss: Decimal
    power_of: Callable[[Decimal], Decimal]

    @cached_property
    def capped(self) -> list[Decimal]:
        """u = c·tanh(z/c)"""
        return [z if z == -INFINITY else cap(z, self.softcap) for z in self.logits]

    @cached_property
    def scaled(self) -> list[Decimal]:
        """v = u/T"""
        return [u / self.temperature for u in self.capped]

    @cached_property
    def _largest(self) -> int:
        return max(range(len(self.capped)), key=self.capped.__getitem__)

    @property
    def top(self) -> Decimal:
        """m, the largest v."""
        return self.scaled[self._largest]

    @cached_property
    def difference(self) -> list[Decimal]:
        """d_i = v_i − m"""
        largest = self.capped[self._largest]
        return [(u - largest) / self.temperature for u in self.capped]

    @cached_property
    def powers(self) -> list[Decimal]:
        """a_i = e^d_i, 0 for a masked class."""
        return [Decimal(0) if d == -INFINITY else self.power_of(d) for d in self.difference]

    @cached_property
    def _others(self) -> list[Decimal]:
        return sums_without_each(self.powers, self.counts)

    @property
    def rest(self) -> Decimal:
        """S − 1: the sum without the largest power, which is 1."""
        return self._others[self._largest]

    @cached_property
    def sum(self) -> Decimal:
        """S = Σ_j a_j"""
        return 1 + self.rest

    @cached_property
    def log_sum(self) -> Decimal:
        """log S"""
        return log1p(self.rest)

    @cached_property
    def probability(self) -> list[Decimal]:
        """ŷ_i = a_i / S"""
        return [a / self.sum for a in self.powers]

    @cached_property
    def beside(self) -> list[Decimal]:
        """1 − ŷ_i, without the subtraction."""
        return [others / self.sum for others in self._others]

    @cached_property
    def surprise(self) -> list[Decimal]:
        """−log ŷ_i = log S − d_i, infinite for a masked class."""
        return [self.log_sum - d for d in self.difference]

    @cached_property
    def total(self) -> Decimal:
        """Y = Σ_i y_i"""
        pairs = zip(self.target, self.counts, strict=True)
        return sum((y * n for y, n in pairs), Decimal(0))

    @cached_property
    def loss(self) -> Decimal:
        """L = −Σ_i y_i log ŷ_i, infinite where a class with target mass has no probability."""
        terms = zip(self.target, self.surprise, self.counts, strict=True)
        return sum((n * y * s for y, s, n in terms if y), Decimal(0))

    @cached_property
    def log_sum_exp(self) -> Decimal:
        """lse = m + log S"""
        return self.top + self.log_sum

    @cached_property
    def full_loss(self) -> Decimal:
        """L with the z-loss λ·lse²."""
        return self.loss + self.z_loss * self.log_sum_exp**2

    @cached_property
    def slope(self) -> list[Decimal]:
        """dv/dz, 1/T for a masked class."""
        slopes = [Decimal(1) if z == -INFINITY else cap_slope(z, self.softcap) for z in self.logits]
        return [slope / self.temperature for slope in slopes]

    @cached_property
    def up(self) -> list[Decimal]:
        """(Y − y_i) ŷ_i"""
        others = sums_without_each(self.target, self.counts)
        return [y * p for y, p in zip(others, self.probability, strict=True)]

    @cached_property
    def down(self) -> list[Decimal]:
        """y_i (1 − ŷ_i)"""
        return [y * q for y, q in zip(self.target, self.beside, strict=True)]

    @cached_property
    def grad_plain(self) -> list[Decimal]:
        """∂L/∂v_i = Yŷ_i − y_i, of the cross-entropy alone, without cancellation."""
        return [up - down for up, down in zip(self.up, self.down, strict=True)]

    @cached_property
    def grad_z_loss(self) -> list[Decimal]:
        """2λ·lse·ŷ_i"""
        return [2 * self.z_loss * self.log_sum_exp * p for p in self.probability]

    @cached_property
    def grad(self) -> list[Decimal]:
        """∂L/∂z_i of the whole loss."""
        parts = zip(self.grad_plain, self.grad_z_loss, self.slope, strict=True)
        return [(plain + z_part) * slope for plain, z_part, slope in parts]


def decimal_row(block: Block, logits: list[Decimal] | None = None) -> DecimalRow:
    """The numbers of a block's one row, or of other logits with its target and objective."""
    objective = block.problem.objective
    own = [Decimal(z) for z in block.logits[0].tolist()] if logits is None else logits
    return DecimalRow(
        logits=own,
        target=[as_decimal(y) for y in exact_mass(block, 0)],
        counts=[1] * len(own),
        temperature=as_decimal(float(objective.temperature)),
        softcap=None if objective.softcap is None else float(objective.softcap),
        z_loss=as_decimal(float(objective.z_loss)),
        power_of=Decimal.exp,
    )


# --- Results that can be rounded ------------------------------------------------------------------


class Enclosure(NamedTuple):
    """A number known to lie within bound of value; an infinite one has bound 0."""

    value: Decimal
    bound: Decimal


Number = Enclosure | Fraction
INFINITE = Enclosure(INFINITY, Decimal(0))


class RowResult(NamedTuple):
    """What one row comes to, before rounding.

    plain: the cross-entropy without weights and smoothing. softmax, log_softmax, grad: a number for
    each class, 0 for one that was not asked for.
    """

    softmax: list[Number]
    log_softmax: list[Number]
    log_sum_exp: Number
    cross_entropy: Number
    z_loss: Number
    plain: Number
    grad: list[Number]

    @property
    def losses(self) -> tuple[Number, Number, Number]:
        """What is added up over rows."""
        return self.cross_entropy, self.z_loss, self.plain


@dataclass(frozen=True)
class AlikeClasses:
    """Classes that are alike: their logit, their target mass, and how many they are."""

    logit: float
    mass: Fraction
    count: int

    @property
    def masked(self) -> bool:
        """Whether they take no part."""
        return self.logit == -math.inf


class ExactRow(RationalRow):
    """One row of a block, evaluated at any precision.

    divisors: what the losses and the z-losses of the problem are divided by.
    """

    def __init__(self, block: Block, place: int, divisors: tuple[Fraction, Fraction]) -> None:
        super().__init__(block, place, divisors)
        # equal masses are one object, and its identity is found sooner than its value
        alike = [(z, id(y)) for z, y in zip(self.logits, self.mass, strict=True)]
        example = dict(zip(alike, self.mass, strict=True))
        counts = Counter(alike).items()
        self.kinds = [AlikeClasses(z, example[z, y], count) for (z, y), count in counts]
        place_of = {key: k for k, key in enumerate(example)}
        self._kind_of = [place_of[key] for key in alike]
        self.equal = len({kind.logit for kind in self.kinds if not kind.masked}) == 1
        self.total_mass = sum((kind.count * kind.mass for kind in self.kinds), ZERO)
        self._index = None if block.index is None else int(block.index[place])
        self._soft = None if block.soft is None else block.soft[place].tolist()

    def at(self, precision: int, classes: Iterable[int] | None = None) -> RowResult:
        """Every result, or those of some classes; classes that are alike are so many objects.

        A bound is 10^−precision times the parts that were added up.
        """
        digits = precision + GUARD_DIGITS + len(str(len(self.logits)))
        if self.softcap is not None:
            # A capped logit is rounded, and its error goes into the exponent multiplied by 1/T.
            largest = max(abs(kind.logit) for kind in self.kinds if not kind.masked)
            largest = min(largest, self.softcap)
            digits += max(0, 1 + as_decimal(Fraction(largest) / self.temperature).adjusted())
        with localcontext(wide_context(digits)):
            row = DecimalRow(
                logits=[Decimal(kind.logit) for kind in self.kinds],
                target=[as_decimal(kind.mass) for kind in self.kinds],
                counts=[kind.count for kind in self.kinds],
                temperature=as_decimal(self.temperature),
                softcap=self.softcap,
                z_loss=as_decimal(self.z_loss),
                power_of=exponential,
            )
            alike = None if classes is None else {self._kind_of[i] for i in classes}
            return self._each_class(self._enclosed(row, precision, alike))

    def _each_class(self, result: RowResult) -> RowResult:
        """The results of every class from those of their kinds."""
        return result._replace(
            softmax=[result.softmax[k] for k in self._kind_of],
            log_softmax=[result.log_softmax[k] for k in self._kind_of],
            grad=[result.grad[k] for k in self._kind_of],
        )

    def _enclosed(self, row: DecimalRow, precision: int, wanted: Set[int] | None) -> RowResult:
        """Every result, or those of some kinds, by kind in place of class."""

        def enclose(value: Decimal, parts: Decimal) -> Enclosure:
            return Enclosure(value, parts.scaleb(-precision))

        alone = len(self.unmasked) == 1
        lse, lse_parts = row.log_sum_exp, abs(row.top) + row.log_sum
        rational_lse = self._rational_log_sum_exp()
        softmax: list[Number] = [ZERO] * len(self.kinds)
        log_softmax: list[Number] = [Enclosure(-INFINITY, Decimal(0))] * len(self.kinds)
        some = range(len(self.kinds)) if wanted is None else wanted
        for k in some:
            if not self.kinds[k].masked:
                p, surprise = row.probability[k], row.surprise[k]
                softmax[k] = Fraction(1, len(self.unmasked)) if self.equal else enclose(p, p)
                log_softmax[k] = ZERO if alone else enclose(-surprise, surprise)
        return RowResult(
            softmax=softmax,
            log_softmax=log_softmax,
            log_sum_exp=enclose(lse, lse_parts) if rational_lse is None else rational_lse,
            cross_entropy=self._enclosed_loss(row.loss, precision),
            z_loss=self._enclosed_z_loss(row, lse_parts, precision),
            plain=self._enclosed_loss(self._plain_loss(row), precision),
            grad=self._enclosed_grad(row, lse_parts, precision, some),
        )

    def _enclosed_loss(self, loss: Decimal, precision: int) -> Number:
        """A sum of terms none of which is negative."""
        if loss == INFINITY:
            return INFINITE
        return ZERO if len(self.unmasked) == 1 else Enclosure(loss, loss.scaleb(-precision))

    def _plain_loss(self, row: DecimalRow) -> Decimal:
        """−Σ_i q_i log ŷ_i, q the target itself."""
        if self._index is not None:
            return row.surprise[self._kind_of[self._index]]
        pairs = zip(self._soft or [], self._kind_of, strict=False)
        return sum((Decimal(q) * row.surprise[k] for q, k in pairs if q), Decimal(0))

    def _enclosed_grad(
        self, row: DecimalRow, lse_parts: Decimal, precision: int, wanted: Iterable[int]
    ) -> list[Number]:
        """∂L/∂z_i = ((Y − y_i) ŷ_i − y_i (1 − ŷ_i) + 2 z_loss·logsumexp·ŷ_i) · dv_i/dz_i"""
        divisor, z_divisor = as_decimal(self.divisor), as_decimal(self.z_divisor)
        grad: list[Number] = [ZERO] * len(self.kinds)
        for k in wanted:
            rational = self._rational_grad(self.kinds[k])
            if rational is not None:
                grad[k] = rational
                continue
            up, down = row.up[k] / divisor, row.down[k] / divisor
            z_part = 2 * row.z_loss * row.probability[k] / z_divisor
            value = (up - down + z_part * row.log_sum_exp) * row.slope[k]
            parts = (up + down + z_part * lse_parts) * row.slope[k]
            grad[k] = Enclosure(value, parts.scaleb(-precision))
        return grad

    def _rational_log_sum_exp(self) -> Fraction | None:
        """log Σ_j e^{v_j} where it is rational: one class alone, and no tanh in its way."""
        logit = self.logits[self.unmasked[0]]
        if len(self.unmasked) > 1 or (self.softcap is not None and logit):
            return None
        return Fraction(logit) / self.temperature

    def _enclosed_z_loss(self, row: DecimalRow, lse_parts: Decimal, precision: int) -> Number:
        rational = self._rational_log_sum_exp() if self.z_loss else ZERO
        if rational is not None:
            return self.z_loss * rational**2
        value, parts = row.z_loss * row.log_sum_exp**2, row.z_loss * lse_parts**2
        return Enclosure(value, parts.scaleb(-precision))

    def _rational_grad(self, kind: AlikeClasses) -> Fraction | None:
        """The gradient at classes that are alike, where it is rational."""
        if kind.masked:
            return -kind.mass / (self.divisor * self.temperature)
        log_sum_exp = self._rational_log_sum_exp() if self.z_loss else ZERO
        if not self.equal or log_sum_exp is None:
            return None
        p = Fraction(1, len(self.unmasked))
        grad = (self.total_mass * p - kind.mass) / self.divisor
        grad += 2 * self.z_loss * log_sum_exp * p / self.z_divisor
        if self.softcap is not None and kind.logit and grad:
            return None
        return grad / self.temperature
