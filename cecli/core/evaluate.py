"""Softmax, log-softmax, cross-entropy and its gradient: arrays in, arrays out.

The functions of the library; the formulas stand in `rows`, how no digit is lost in them in
`shifted`, the rules for what may be asked in `problem`, and the correctly rounded arithmetic in
`exact`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cecli.core.sweep import ArrayName, Totals, Wanted, sweep
from cecli.problem.dtypes import Floats
from cecli.problem.objective import Objective, Reduction
from cecli.problem.problem import Problem


@dataclass(frozen=True, eq=False)
class CrossEntropy:
    """What `cross_entropy` returns.

    softmax, log_softmax, grad: arrays of the logits' shape; float32 for half and single precision
    input, else float64. losses: float64, one for each sample, in the batch's shape. loss: the
    reduced loss, a double, or losses again for reduction none. divisor: what the mean divided by
    (None for reduction none); z_loss_divisor: the same for the z-loss term.
    """

    losses: Floats
    loss: float | Floats
    grad: NDArray[Any]
    divisor: float | None
    z_loss_divisor: float | None
    probabilities: Callable[[], tuple[NDArray[Any], NDArray[Any]]]

    @cached_property
    def _probabilities(self) -> tuple[NDArray[Any], NDArray[Any]]:
        # Made when they are asked for: who wants the loss alone does not pay for them.
        return self.probabilities()

    @property
    def softmax(self) -> NDArray[Any]:
        """ŷ, of the logits' shape."""
        return self._probabilities[0]

    @property
    def log_softmax(self) -> NDArray[Any]:
        """log ŷ, of the logits' shape."""
        return self._probabilities[1]


def softmax(
    logits: ArrayLike,
    *,
    temperature: float = 1.0,
    softcap: float | None = None,
    axis: int = -1,
    exact: bool = False,
) -> NDArray[Any]:
    """ŷ = e^{z_i} / Σ_j e^{z_j}, every component within 4 ulps of the exact value.

    logits: real numbers, shape (…, C, …), the classes on axis; −inf masks a class.
    temperature: z is divided by it. softcap: z becomes softcap·tanh(z/softcap) before that.
    exact: every component correctly rounded, by decimal arithmetic (about 50 µs a component).
    Returns an array of the logits' shape, float32 for half and single precision input, else
    float64. Raises CecliError for NaN, +inf, a sample of nothing but −inf, or no classes.
    """
    problem = Problem(logits, None, Objective(temperature=temperature, softcap=softcap, axis=axis))
    return softmax_of(problem, exact=exact)


def log_softmax(
    logits: ArrayLike,
    *,
    temperature: float = 1.0,
    softcap: float | None = None,
    axis: int = -1,
    exact: bool = False,
) -> NDArray[Any]:
    """log ŷ_i = (z_i − m) − log Σ_j e^{z_j − m}, without ever taking the logarithm of ŷ_i.

    Arguments, result and errors are those of `softmax`; a masked class has −inf.
    """
    problem = Problem(logits, None, Objective(temperature=temperature, softcap=softcap, axis=axis))
    return log_softmax_of(problem, exact=exact)


def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    axis: int = -1,
    exact: bool = False,
) -> CrossEntropy:
    """Softmax, log-softmax, loss L = −Σ_i y_i log ŷ_i and gradient ∂L/∂z.

    logits: real numbers, shape (…, C, …), the classes on axis; −inf masks a class.
    target: class indices (integers of the batch's shape) or class probabilities (floats of the
    logits' shape), told apart by their type as in PyTorch.
    weight (C,), ignore_index, label_smoothing, reduction: PyTorch's, to the divisor of the mean.
    temperature, softcap: as in `softmax`. z_loss: adds z_loss·logsumexp² for each sample.
    exact: every number correctly rounded, by decimal arithmetic (about 50 µs a component).

    For index targets the loss is within 3 ulps and every component of softmax and gradient within
    4 ulps of the exact result; for soft targets and smoothing a component of the gradient is within
    4 ulps of the larger of Yŷ_i and y_i. An ignored sample has loss 0, gradient 0 and softmax NaN,
    whatever its logits hold. A sample whose loss overflows before it is weighted has an infinite
    loss, but for exact. With reduction none the gradient is that of the sum.
    Raises CecliError for whatever cannot be computed.
    """
    objective = Objective(
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
        temperature=temperature,
        softcap=softcap,
        z_loss=z_loss,
        axis=axis,
    )
    return solve(Problem(logits, target, objective), exact=exact)


def softmax_of(problem: Problem, *, exact: bool = False) -> NDArray[Any]:
    """`softmax` of a problem that is checked already."""
    if exact:
        from cecli.exact import solve as decimal_arithmetic

        return decimal_arithmetic.softmax_of(problem)
    return _array_of(problem, "softmax")


def log_softmax_of(problem: Problem, *, exact: bool = False) -> NDArray[Any]:
    """`log_softmax` of a problem that is checked already."""
    if exact:
        from cecli.exact import solve as decimal_arithmetic

        return decimal_arithmetic.log_softmax_of(problem)
    return _array_of(problem, "log_softmax")


def _array_of(problem: Problem, name: ArrayName) -> NDArray[Any]:
    array = np.empty((problem.samples, problem.classes), dtype=problem.dtype)
    deque(sweep(problem, Wanted(name, array, losses=False)), maxlen=0)
    return problem.restore(array)


def solve(problem: Problem, *, exact: bool = False) -> CrossEntropy:
    """`cross_entropy` of a problem that is checked already."""
    if exact:
        from cecli.exact import solve as decimal_arithmetic

        return decimal_arithmetic.solve(problem)
    divisor, z_loss_divisor = problem.divisor, problem.z_loss_divisor
    grad = np.empty((problem.samples, problem.classes), dtype=problem.dtype)
    each, totals = np.empty(problem.samples), Totals(worst=0)
    for part in sweep(problem, Wanted("grad", grad)):
        each[part.start : part.start + len(part.total)] = part.total
        totals.add(part)
    losses = each.reshape(problem.batch_shape)
    return CrossEntropy(
        losses=losses,
        loss=losses if divisor is None else reduced_loss(problem, totals),
        grad=problem.restore(grad),
        divisor=divisor,
        z_loss_divisor=z_loss_divisor if problem.objective.z_loss else None,
        probabilities=lambda: (softmax_of(problem), log_softmax_of(problem)),
    )


def reduced_loss(problem: Problem, totals: Totals) -> float:
    """The loss of all rows, by whatever the problem divides it."""
    loss = totals.losses.total(problem.divisor or 1.0)
    return loss + totals.z_losses.total(problem.z_loss_divisor or 1.0)


def losses_of(problem: Problem) -> tuple[Floats, Floats]:
    """(N,) the cross-entropy and the z-loss of each row, not yet divided by anything."""
    losses, z_losses = np.empty(problem.samples), np.zeros(problem.samples)
    for part in sweep(problem, Wanted()):
        rows = slice(part.start, part.start + len(part.total))
        losses[rows] = part.losses
        if part.z_losses is not None:
            z_losses[rows] = part.z_losses
    return losses, z_losses
