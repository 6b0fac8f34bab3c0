"""What the sums of a problem's losses are divided by, exact where samples have weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cecli.problem.dtypes import Floats, Integers

if TYPE_CHECKING:
    from fractions import Fraction


@dataclass(frozen=True, eq=False, repr=False)
class Divisors:
    """What the summed losses and the summed z-losses are divided by: 1 for sum, None for none.

    counts (C,): where losses is Σ weight[target], how many rows kept have each class as target.
    shares: where samples have weights, those of the rows kept, and what each weighs in the losses.
    """

    losses: float | None
    z_losses: float | None
    counts: Integers | None = None
    shares: tuple[Floats, Floats] | None = None

    @cached_property
    def of_shares(self) -> tuple[Fraction, Fraction]:
        """Both divisors as they are before they are rounded, where samples have weights."""
        weights, of_classes = self.shares or (np.zeros(0), np.zeros(0))
        return _sum_of_products(weights, of_classes), _sum_of_products(weights, np.ones(1))


def _sum_of_products(ones: Floats, others: Floats) -> Fraction:
    """Σ a·b exactly: integers of 53 bits, times powers of two over the lowest of these."""
    from fractions import Fraction  # which takes a while to import, and most do without

    mantissa, exponent = np.frexp(ones)
    other_mantissa, other_exponent = np.frexp(np.broadcast_to(others, ones.shape))
    exponents = exponent.astype(np.int64) + other_exponent
    lowest = int(exponents.min(initial=0))
    integers = (np.ldexp(each, 53).astype(np.int64).tolist() for each in (mantissa, other_mantissa))
    total = sum(
        (a * b) << shift
        for a, b, shift in zip(*integers, (exponents - lowest).tolist(), strict=True)
    )
    scale = lowest - 106
    return Fraction(total << scale) if scale >= 0 else Fraction(total, 1 << -scale)
