"""The target mass y of a problem's rows: y_k = weight_k · ((1 − ε)·q_k + ε/C), 0 where ignored.

With a class index and no smoothing it stands on one class of each row, and nothing of the size of
the logits is made; soft targets and smoothing spread it over all classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cecli.accurate import scaled_product, sum_rows, times_square
from cecli.problem import Block
from cecli.real_arrays import Floats, Integers

if TYPE_CHECKING:
    from cecli.rows import Shifted


@dataclass(frozen=True, eq=False)
class OneHot:
    """Mass on one class of each row: its column (N,) and the amount, which is the total (N,)."""

    column: Integers
    total: Floats

    def dot(self, shifted: Shifted) -> tuple[Floats, Floats]:
        """(N,) Σ_i y_i (m − v_i), in two parts: rounded, and what that left out.

        A class without mass takes no part, not even where its distance is infinite.
        """
        difference, remainder = shifted.difference(self.column)
        amount = self.total * -difference
        return np.where(self.total == 0.0, 0.0, amount), self.total * -remainder

    def finish(
        self, grad: NDArray[Any], shifted: Shifted, divisor: float, z_term: Floats | float
    ) -> None:
        """Turn factor·ŷ_t into its gradient, with 1 − ŷ_t summed from the other classes.

        1 − ŷ_t = ((1 − e^{v_t − m}) + R) / (1 + R), which is R / (1 + R) for the largest logit.
        """
        target = pick(shifted.exponentials, self.column)
        others, scale = (1.0 - target) + shifted.rest * shifted.scale, shifted.scale
        if shifted.has_tails:
            leads = target == 1.0
            others = np.where(leads, shifted.rest, others)
            scale = np.where(leads, scale, 1.0)
        sech = None if shifted.sech is None else pick(shifted.sech, self.column)
        own = times_square(others / shifted.sum, sech)
        component = times_square(
            z_term / shifted.sum * target, sech
        ) - scaled_product(own, self.total / divisor, scale)
        # rounded before it is made sure that no zero is −0
        grad[np.arange(len(grad)), self.column] = component.astype(grad.dtype) + 0.0


@dataclass(frozen=True, eq=False)
class Spread:
    """Mass over all classes, (N, C): soft targets and label smoothing. Methods as in `OneHot`."""

    mass: Floats

    @cached_property
    def total(self) -> Floats:
        """(N,) Y = Σ_i y_i"""
        return sum_rows(self.mass)

    def dot(self, shifted: Shifted) -> tuple[Floats, Floats]:
        """(N,) Σ_i y_i (m − v_i), in two parts: rounded, and what that left out."""
        difference, remainder = shifted.difference()
        terms = np.where(self.mass == 0.0, 0.0, self.mass * -difference)
        return sum_rows(terms), -(self.mass * remainder).sum(axis=1)

    def finish(
        self, grad: NDArray[Any], shifted: Shifted, divisor: float, z_term: Floats | float
    ) -> None:
        """Subtract y; at the largest logit (Y − y_i) ŷ_i − y_i (1 − ŷ_i), both parts ≥ 0."""
        grad -= times_square(self.mass / divisor, shifted.sech)
        top = shifted.top
        each = np.arange(len(top))
        others = self.mass.copy()
        others[each, top] = 0.0
        sech = None if shifted.sech is None else shifted.sech[each, top]
        up = times_square((sum_rows(others) / divisor + z_term) / shifted.sum, sech)
        down = times_square(shifted.rest / shifted.sum, sech)
        grad[each, top] = up - scaled_product(down, self.mass[each, top] / divisor, shifted.scale)


Mass = OneHot | Spread


def pick(rows: NDArray[Any], column: Integers) -> NDArray[Any]:
    """(N,) of each row the element in its column. Faster than a pair of indices."""
    # Blocks are contiguous one way or the other, so that neither ravel copies.
    by_row = rows.flags.c_contiguous
    flat, each = (rows if by_row else rows.T).ravel(), np.arange(len(column))
    picked: NDArray[Any] = flat.take(
        each * rows.shape[1] + column if by_row else column * len(rows) + each
    )
    return picked


def mass_of(block: Block) -> Mass:
    """The target mass of a block's rows."""
    problem, index = block.problem, block.index
    smoothing, weight = problem.objective.label_smoothing, problem.weight
    if index is not None and not smoothing:
        amount = block.kept.astype(np.float64)
        return OneHot(index, amount if weight is None else amount * weight[index])
    if block.soft is not None:
        mass = block.soft.copy()
    else:
        mass = np.zeros_like(block.logits, dtype=np.float64)
        mass[np.arange(len(mass)), index] = 1.0
    if smoothing:
        mass = (1.0 - smoothing) * mass + smoothing / problem.classes
    if weight is not None:
        mass *= weight
    mass[~block.kept] = 0.0
    return Spread(mass)
