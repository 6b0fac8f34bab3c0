"""Somebody's functions as implementations: a Python function, and what all of them share.

A function is asked what it supports by its parameters. Those of PyTorch and JAX stand in modules of
their own, which import the framework.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.conformance.model import Failure, Inputs, NotSupported, Reply
from cecli.conformance.runners.load import one_line, reason_of
from cecli.errors import Terminated

# What Python says of a keyword that a function does not take, and builtins of any.
REFUSALS = ("unexpected keyword", "takes no keyword")


class Function:
    """What runs a function in this process; a kind of function says how in `answer`.

    features: what it is said to support, None to ask it. dtype: the type of all logits, None for
    each case's own.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        features: frozenset[str] | None = None,
        dtype: str | None = None,
    ) -> None:
        self.function, self.name, self.dtype = function, name, dtype
        # Arrays in memory are what every function is handed.
        self.features = None if features is None else features | {"arrays"}
        self._taken = parameters(function) if features is None else None

    def run(self, inputs: Inputs) -> Reply:
        """The function's loss and gradient. Raises NotSupported or Failure."""
        options, reduction = self._options(inputs)
        try:
            return self.answer(inputs, options, reduction)
        except Failure as failure:
            # No parameter tells whether it takes these: it was asked, and this is the answer.
            asked = inputs.target.dtype.kind == "f" or (
                self.dtype is None and inputs.dtype != "float64"
            )
            if self.features is None and asked:
                raise NotSupported(str(failure)) from None
            raise

    def answer(self, inputs: Inputs, options: dict[str, Any], reduction: str | None) -> Reply:
        """What run does once it is known which options to pass, and what is reduced here."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing was started."""

    def _options(self, inputs: Inputs) -> tuple[dict[str, Any], str | None]:
        """The options to pass by keyword; and the reduction, where the function knows none."""
        options, taken, reduction = dict(inputs.options), self._taken, None
        if taken is not None and "reduction" not in taken:
            reduction = options.pop("reduction", "mean")
        missing = [name for name in options if taken is not None and name not in taken]
        if missing:
            raise NotSupported(f"there is no parameter {missing[0]}")
        return options, reduction


class PythonFunction(Function):
    """(logits, target, **options) → (loss, gradient), all arrays of NumPy.

    Or an object with the attributes loss and grad, as cecli's own.
    """

    def answer(self, inputs: Inputs, options: dict[str, Any], reduction: str | None) -> Reply:
        """Call the function; reduce a loss and a gradient that it gives for each row."""
        if inputs.dtype == "bfloat16":
            raise NotSupported("NumPy has no bfloat16")
        if np.any(inputs.upstream != 1.0):
            if self._taken is not None and "upstream" not in self._taken:
                raise NotSupported("there is no parameter upstream")
            options["upstream"] = inputs.upstream
        with np.errstate(all="ignore"):  # a masked class alone makes most functions warn
            pair = call(self.function, inputs.logits, inputs.target, **options)
        if hasattr(pair, "loss") and hasattr(pair, "grad"):
            pair = pair.loss, pair.grad
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise Failure(f"it returned {type(pair).__name__}, not a pair of loss and gradient")
        loss, grad = as_numbers(pair[0], "loss"), as_numbers(pair[1], "gradient")
        by = divisor(inputs, reduction, loss.shape)
        precision = min(loss.dtype, grad.dtype, key=lambda dtype: dtype.itemsize).name
        lower = precision if precision in ("float16", "float32") else None
        if by is None:
            return Reply(loss, grad, lower)
        return Reply(total(loss) / by, grad / by, lower)


def parameters(function: Callable[..., Any]) -> frozenset[str] | None:
    """What a function takes by keyword; None where that may be anything."""
    try:
        found = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in found):
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return frozenset(parameter.name for parameter in found if parameter.kind in named)


def call(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call somebody's function. Whatever it raises becomes NotSupported or Failure."""
    try:
        return function(*arguments, **options)
    except (KeyboardInterrupt, Terminated, NotSupported, Failure):
        raise
    except NotImplementedError as error:
        raise NotSupported(one_line(str(error)) or "it says so") from None
    except BaseException as error:  # noqa: BLE001 - a panic in Rust is no Exception
        said = reason_of(error)
        if isinstance(error, TypeError) and any(refusal in said for refusal in REFUSALS):
            raise NotSupported(said) from None
        raise Failure(said) from None


def as_numbers(value: Any, name: str) -> NDArray[Any]:
    """What a function returned, as an array. Raises Failure where it does not hold numbers."""
    array: NDArray[Any] = call(np.asarray, value)
    if array.dtype.kind not in "fiu":
        raise Failure(f"the {name} is of type {type(value).__name__}, which holds no numbers")
    return array


def divisor(inputs: Inputs, reduction: str | None, shape: tuple[int, ...]) -> float | None:
    """What to divide a sum over rows by, where they are still to be reduced.

    reduction: None where the function does that itself. shape: that of the loss it returned.
    Raises NotSupported where it cannot be reduced as asked.
    """
    rows = len(inputs.logits)
    if reduction is None or (reduction == "none" and shape == (rows,)):
        return None
    if shape != (rows,):
        if reduction != "mean":
            raise NotSupported("there is no parameter reduction, and the loss is one number")
        return None
    return 1.0 if reduction == "sum" else _samples(inputs.target, inputs.options)


def total(losses: NDArray[Any]) -> float:
    """The sum, so that what is reduced here adds no error of its own."""
    try:
        return math.fsum(losses)
    except (OverflowError, ValueError):  # beyond a double on the way, or both infinities
        with np.errstate(all="ignore"):
            return float(losses.sum())


def _samples(target: NDArray[Any], options: Mapping[str, Any]) -> float:
    """The number of rows that count, or the sum of their weights; NaN where that is 0."""
    if target.dtype.kind == "f":
        return float(len(target))
    kept = target[target != options["ignore_index"]] if "ignore_index" in options else target
    weight = options.get("weight")
    if weight is None:
        return float(len(kept)) or math.nan
    if "z_loss" in options:
        raise NotSupported("there is no parameter reduction, and z-loss has another divisor")
    return math.fsum(np.asarray(weight, dtype=np.float64)[kept]) or math.nan


def cotangent(inputs: Inputs, reduction: str | None, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """What to pull back through a loss of that shape, where a mean over rows may be left to take.

    Of that mean it is 1/divisor for each row. Raises Failure where the loss has no such shape.
    """
    by = divisor(inputs, reduction, shape)
    upstream = np.asarray(inputs.upstream, dtype=np.float64)
    try:
        return np.broadcast_to(upstream if by is None else upstream / by, shape)
    except ValueError:
        raise Failure(f"the loss has shape {shape}") from None
