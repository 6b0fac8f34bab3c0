"""Softmax, log-softmax, cross-entropy and its gradient: arrays in, arrays out.

The functions of the library, which choose between the two arithmetics: in doubles (`core`), and
correctly rounded (`exact`). The rules for what may be asked stand in `problem`.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike, NDArray

from cecli.core import evaluate
from cecli.errors import CecliError
from cecli.machine.float_mode import in_standard_mode
from cecli.problem.objective import Objective, Reduction
from cecli.problem.problem import Problem
from cecli.problem.result import CrossEntropy


@in_standard_mode
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
    problem = Problem.of(
        logits, None, Objective(temperature=temperature, softcap=softcap, axis=axis)
    )
    return softmax_of(problem, exact=exact)


@in_standard_mode
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
    problem = Problem.of(
        logits, None, Objective(temperature=temperature, softcap=softcap, axis=axis)
    )
    return log_softmax_of(problem, exact=exact)


@in_standard_mode
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
    sample_weight: ArrayLike | None = None,
    divisor: float | None = None,
    axis: int = -1,
    exact: bool = False,
) -> CrossEntropy:
    """Softmax, log-softmax, loss L = −Σ_i y_i log ŷ_i and gradient ∂L/∂z.

    logits: real numbers, shape (…, C, …), the classes on axis; −inf masks a class.
    target: class indices (integers of the batch's shape) or class probabilities (floats of the
    logits' shape), told apart by their type as in PyTorch.
    weight (C,), ignore_index, label_smoothing, reduction: PyTorch's, to the divisor of the mean.
    temperature, softcap: as in `softmax`. z_loss: adds z_loss·logsumexp² for each sample.
    sample_weight: of the batch's shape, multiplies all that a sample adds; one of 0 does not count,
    whatever the sample holds, and the mean divides by the sum. divisor: of the mean instead.
    exact: every number correctly rounded, by decimal arithmetic (about 50 µs a component).

    For index targets the loss is within 3 ulps and every component of softmax and gradient within
    4 ulps of the exact result; for soft targets and smoothing a component of the gradient is within
    4 ulps of the larger of Yŷ_i and y_i. An ignored sample has loss 0, gradient 0 and softmax NaN,
    whatever its logits hold. A sample whose loss overflows before it is weighted has an infinite
    loss, but for exact. With reduction none the gradient is that of the sum.
    Raises CecliError for whatever cannot be computed.
    """
    if target is None:
        raise CecliError("a target is needed: class indices or class probabilities", about="target")
    objective = Objective(
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
        temperature=temperature,
        softcap=softcap,
        z_loss=z_loss,
        sample_weight=sample_weight,
        divisor=divisor,
        axis=axis,
    )
    return solve(Problem.of(logits, target, objective), exact=exact)


def softmax_of(problem: Problem, *, exact: bool = False) -> NDArray[Any]:
    """`softmax` of a problem that is checked already."""
    if exact:
        from cecli.exact import solve as decimal_arithmetic

        return decimal_arithmetic.softmax_of(problem)
    return evaluate.softmax_of(problem)


def log_softmax_of(problem: Problem, *, exact: bool = False) -> NDArray[Any]:
    """`log_softmax` of a problem that is checked already."""
    if exact:
        from cecli.exact import solve as decimal_arithmetic

        return decimal_arithmetic.log_softmax_of(problem)
    return evaluate.log_softmax_of(problem)


def solve(problem: Problem, *, exact: bool = False) -> CrossEntropy:
    """`cross_entropy` of a problem that is checked already."""
    if exact:
        from cecli.exact import solve as decimal_arithmetic

        return decimal_arithmetic.solve(problem)
    return evaluate.solve(problem)
