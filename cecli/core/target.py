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

from cecli.core.error_free import scaled_product, sum_rows, times_square
from cecli.problem.dtypes import Floats, Integers
from cecli.problem.problem import Block

if TYPE_CHECKING:
    from cecli.core.shifted import Shifted


@dataclass(frozen=True, eq=False)
class OneHot:
    """Mass on one of the classes of each row: its column (N,), and how much, which is the total.

    total: (N,), or one number where it is the same in all rows.
    """

    classes: int
    column: Integers
    total: Floats | float

    def dot(self, shifted: Shifted) -> tuple[Floats, Floats | float]:
        """(N,) Σ_i y_i (v_i − m), in two parts: rounded, and what that left out.

        A class without mass takes no part, not even where its distance is infinite.
        """
        difference, remainder = shifted.difference(self.pick(shifted.logits))
        if isinstance(self.total, np.ndarray):
            difference = difference * self.total
            difference[self.total == 0.0] = 0.0
        return difference, remainder * self.total

    def finish(
        self, grad: NDArray[Any], shifted: Shifted, divisor: float, z_term: Floats | None
    ) -> None:
        """Turn factor·ŷ_t into its gradient, with 1 − ŷ_t summed from the other classes.

        1 − ŷ_t = ((1 − e^{v_t − m}) + R) / (1 + R), which is R / (1 + R) for the largest logit.
        """
        target = self.pick(shifted.exponentials)
        others, scale = (1.0 - target) + shifted.plain_rest, shifted.scale
        if shifted.has_tails:
            leads = target == 1.0
            others = np.where(leads, shifted.rest, others)
            scale = np.where(leads, scale, 1.0)
        sech = None if shifted.sech is None else self.pick(shifted.sech)
        own = times_square(others / shifted.sum, sech)
        component = scaled_product(own, self.total / divisor, scale)
        if z_term is not None:
            component -= times_square(z_term / shifted.sum * target, sech)
        # 0 less what is rounded already: no zero is −0
        self.put(grad, 0.0 - component.astype(grad.dtype, copy=False))

    def pick(self, rows: NDArray[Any]) -> NDArray[Any]:
        """(N,) of contiguous rows (N, C) the elements in the columns."""
        flat, places = self._places(rows)
        picked: NDArray[Any] = flat.take(places)
        return picked

    def put(self, rows: NDArray[Any], numbers: NDArray[Any]) -> None:
        """Set of contiguous rows (N, C) the elements in the columns."""
        flat, places = self._places(rows)
        flat[places] = numbers

    def _places(self, rows: NDArray[Any]) -> tuple[NDArray[Any], Integers]:
        """All elements of rows, one behind another, and where those in the columns are.

        Faster than a pair of indices.
        """
        if rows.flags.c_contiguous:
            return rows.reshape(-1), self._places_by_row
        return rows.T.reshape(-1), self._places_by_column

    @cached_property
    def _places_by_row(self) -> Integers:
        return np.arange(0, len(self.column) * self.classes, self.classes) + self.column

    @cached_property
    def _places_by_column(self) -> Integers:
        samples = len(self.column)
        return np.arange(samples) + self.column * samples


@dataclass(frozen=True, eq=False)
class Spread:
    """Mass over all classes, (N, C): soft targets and label smoothing. Methods as in `OneHot`."""

    mass: Floats

    @cached_property
    def total(self) -> Floats:
        """(N,) Y = Σ_i y_i"""
        return sum_rows(self.mass)

    def dot(self, shifted: Shifted) -> tuple[Floats, Floats | float]:
        """(N,) Σ_i y_i (v_i − m), in two parts: rounded, and what that left out."""
        difference, remainder = shifted.difference()
        terms = np.where(self.mass == 0.0, 0.0, self.mass * -difference)
        return -sum_rows(terms), (self.mass * remainder).sum(axis=1)

    def finish(
        self, grad: NDArray[Any], shifted: Shifted, divisor: float, z_term: Floats | None
    ) -> None:
        """Subtract y; at the largest logit (Y − y_i) ŷ_i − y_i (1 − ŷ_i), both parts ≥ 0."""
        grad -= times_square(self.mass / divisor, shifted.sech)
        top = shifted.top
        each = np.arange(len(top))
        others = self.mass.copy()
        others[each, top] = 0.0
        sech = None if shifted.sech is None else shifted.sech[each, top]
        up = sum_rows(others) / divisor
        if z_term is not None:
            up += z_term
        up = times_square(up / shifted.sum, sech)
        down = times_square(shifted.rest / shifted.sum, sech)
        grad[each, top] = up - scaled_product(down, self.mass[each, top] / divisor, shifted.scale)


Mass = OneHot | Spread


def mass_of(block: Block) -> Mass:
    """The target mass of a block's rows."""
    problem, index = block.problem, block.index
    smoothing, weight = problem.objective.label_smoothing, problem.weight
    if index is not None and not smoothing:
        amount = 1.0 if block.all_kept else block.kept.astype(np.float64)
        return OneHot(problem.classes, index, amount if weight is None else amount * weight[index])
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
