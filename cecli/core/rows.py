"""What follows from rows of logits relative to their maximum: vectorised float64.

For one row with logits v (capped and over the temperature), target mass y of total Y, m = max v
and R = Σ_{j≠argmax} e^{v_j − m}:

    softmax      ŷ_i    = e^{v_i − m} / (1 + R)
    log-softmax         = (v_i − m) − log1p(R)
    loss         L      = Y log1p(R) − Σ_i y_i (v_i − m)
    gradient     ∂L/∂v_i = Y ŷ_i − y_i

Nothing in these lines cancels, but for ŷ_i ≈ y_i (by nature) and ŷ_i ≈ 1, where the gradient is
summed from the other classes: (Y − y_i) ŷ_i − y_i R / (1 + R). How the exponentials and R keep
their digits stands in `shifted`; results among the subnormal numbers are rounded once.

Source: Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions",
IMA J. Numer. Anal. 2021, for the shifted formulas; the arithmetic's sources stand in `error_free`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.core.error_free import scaled_product, small_buffer, times_square
from cecli.core.shifted import TAIL_SCALE, TAIL_START, Shifted, tail_exponentials
from cecli.core.target import Mass, OneHot
from cecli.problem.dtypes import Floats
from cecli.problem.problem import Problem


def _scaled_exponentials(
    shifted: Shifted, factor: Floats, sech: Floats | None, place: NDArray[Any] | None
) -> NDArray[Any]:
    """factor·e^{v − m}·sech², rounded once where it or the exponential alone is subnormal.

    In place, (N, C) of any type, where that can be, else in doubles.
    """
    exponentials = shifted.exponentials
    if place is None or sech is not None or not exponentials.flags.c_contiguous:
        place = np.empty_like(exponentials)
    with small_buffer(exponentials):
        np.multiply(exponentials, factor[:, None], out=place, casting="same_kind")
    place = times_square(place, sech)
    if shifted.lowest < shifted.highest + TAIL_START * shifted.temperature:
        tail = shifted.logits < (shifted.maximum + TAIL_START * shifted.temperature)[:, None]
        tail &= shifted.logits > -np.inf
        row = tail.nonzero()[0]
        terms = tail_exponentials(shifted.logits[tail], shifted.maximum[row], shifted.temperature)
        terms = times_square(terms, None if sech is None else sech[tail])
        place[tail] = scaled_product(terms, factor[row], TAIL_SCALE)
    return place


def softmax_rows(shifted: Shifted, place: NDArray[Any]) -> None:
    """Store ŷ_i = e^{v_i − m} / (1 + R) in place (N, C), rounded to its type."""
    probabilities = _scaled_exponentials(shifted, 1.0 / shifted.sum, None, place)
    if probabilities is not place:
        place[...] = probabilities
    place[~shifted.kept] = np.nan


def log_softmax_rows(shifted: Shifted, place: NDArray[Any]) -> None:
    """Store log ŷ_i = (v_i − m) − log1p(R) in place (N, C), rounded to its type."""
    logarithms, remainder = shifted.difference()
    logarithms += remainder - (shifted.log_sum * shifted.scale)[:, None]
    place[...] = logarithms
    place += 0.0  # a zero is never −0
    place[~shifted.kept] = np.nan


def loss_rows(shifted: Shifted, mass: Mass) -> Floats:
    """L = Y log1p(R) − Σ_i y_i (v_i − m)"""
    dot, left_out = mass.dot(shifted)
    near = scaled_product(shifted.log_sum, mass.total, shifted.scale)
    if isinstance(left_out, np.ndarray):
        near = near - left_out
    if not np.isfinite(dot.min(initial=0.0)):
        near = np.where(np.isinf(dot), 0.0, near)
    return near - dot


def z_loss_rows(shifted: Shifted, z_loss: float) -> Floats:
    """z_loss·(log Σ_j e^{v_j})², multiplied in the order that overflows last."""
    if not z_loss:
        return np.zeros_like(shifted.rest)
    return np.where(shifted.kept, z_loss * shifted.log_sum_exp * shifted.log_sum_exp, 0.0)


def grad_rows(shifted: Shifted, mass: Mass, problem: Problem, place: NDArray[Any]) -> None:
    """Store ∂L/∂z_i = ((Y + 2 z_loss·logsumexp) ŷ_i − y_i) · dv_i/dz_i, each part over its divisor.

    Where ŷ_i may be next to 1, `mass` sums it from the other classes. In place (N, C), rounded to
    its type.
    """
    temperature = float(problem.objective.temperature)
    # 1/T alone may overflow where the gradient does not.
    enlarged = 2.0**600 if temperature < 2.0**-600 else 1.0
    temperature *= enlarged
    divisor = (problem.divisor or 1.0) * temperature
    z_divisor = (problem.z_loss_divisor or 1.0) * temperature
    factor, z_term = mass.total / divisor, None
    if problem.objective.z_loss:
        z_term = 2.0 * problem.objective.z_loss * shifted.log_sum_exp / z_divisor
        z_term[~shifted.kept] = 0.0
        factor = factor + z_term
    factor = factor / shifted.sum
    is_final = isinstance(mass, OneHot) and enlarged == 1.0
    grad = _scaled_exponentials(shifted, factor, shifted.sech, place if is_final else None)
    if is_final:
        if grad is not place:
            place[...] = grad
        mass.finish(place, shifted, divisor, z_term)
    else:
        mass.finish(grad, shifted, divisor, z_term)
        place[...] = grad * enlarged
        place += 0.0  # a zero is never −0
