"""Somebody's functions as implementations: a Python function, and what all of them share.

A function is asked what it supports by its parameters. Those of PyTorch and JAX stand in modules of
their own, which import the framework.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.conformance.model import Failure, Inputs, NotSupported, Options, Reply
from cecli.conformance.runners.binding import Binding
from cecli.conformance.runners.load import one_line, reason_of
from cecli.errors import Terminated

# What Python says of a keyword that a function does not take, and builtins of any.
REFUSALS = ("unexpected keyword", "takes no keyword")
# The methods of a loss that is an object of its own.
FORWARD = ("forward", "__call__")
BACKWARD = ("backward", "gradient", "derivative")


class Function:
    """What runs a function in this process; a kind of function says how in `answer`.

    features: what it is said to support, None to ask it. dtype: the type of all logits, None for
    each case's own. one_hot: it takes classes as one-hot rows.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        features: frozenset[str] | None = None,
        dtype: str | None = None,
        *,
        one_hot: bool = False,
    ) -> None:
        self.function, self.name, self.dtype, self.one_hot = function, name, dtype, one_hot
        # Arrays in memory are what every function is handed.
        self.features = None if features is None else features | {"arrays"}
        self.binding = self.bound()
        self.found: list[str] = []

    def bound(self) -> Binding:
        """By which names the function is called."""
        return Binding.of(self.function, None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of how it is called."""
        return (*self.binding.notes, *self.found)

    def run(self, inputs: Inputs) -> Reply:
        """The function's loss and gradient. Raises NotSupported or Failure."""
        options, reduction = self._options(inputs)
        target = one_hot_rows(inputs) if self.one_hot else inputs.target
        try:
            return self.answer(inputs, target, options, reduction)
        except Failure as failure:
            # No parameter tells whether it takes these: it was asked, and this is the answer.
            asked = inputs.target.dtype.kind == "f" or (
                self.dtype is None and inputs.dtype != "float64"
            )
            if self.features is None and asked:
                raise NotSupported(str(failure)) from None
            raise

    def answer(
        self, inputs: Inputs, target: NDArray[Any], options: Options, reduction: str | None
    ) -> Reply:
        """What run does once it is known what to pass, and what is reduced here."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing was started."""

    def _options(self, inputs: Inputs) -> tuple[Options, str | None]:
        """The options to pass by keyword; and the reduction, where the function knows none."""
        options, reduction = dict(inputs.options), None
        if self.one_hot and options.pop("ignore_index", None) is not None:
            raise NotSupported("an ignored row has no one-hot label")
        if self.features is None and self.binding.name_of("reduction") is None:
            reduction = options.pop("reduction", "mean")
        return self.binding.options(options, declared=self.features is not None), reduction


class PythonFunction(Function):
    """(logits, target, **options) → loss and gradient, or one of both; all arrays of NumPy.

    Or an object with the attributes loss and grad, as cecli's own. Or a class, made with the
    options, or an object, with the methods forward and backward.
    """

    def bound(self) -> Binding:
        """Options go to whoever makes the object."""
        forward = method_of(self.function, FORWARD)
        if forward is None or method_of(self.function, BACKWARD) is None:
            return super().bound()
        if isinstance(self.function, type):
            return Binding.of(partial(forward, None), self.function)
        return Binding.of(forward, None)

    def answer(
        self, inputs: Inputs, target: NDArray[Any], options: Options, reduction: str | None
    ) -> Reply:
        """Call the function; reduce a loss and a gradient that it gives for each row."""
        if inputs.dtype == "bfloat16":
            raise NotSupported("NumPy has no bfloat16")
        if np.any(inputs.upstream != 1.0):
            name = self.binding.name_of("upstream")
            if name is None and self.features is None:
                raise NotSupported("there is no parameter upstream")
            options = {**options, name or "upstream": inputs.upstream}
        with np.errstate(all="ignore"):  # a masked class alone makes most functions warn
            returned = self._called(inputs.logits, target, options)
        loss, grad = parts_of(returned, inputs.logits.shape)
        by = divisor(inputs, reduction, () if loss is None else loss.shape)
        types = [part.dtype for part in (loss, grad) if part is not None]
        precision = min(types, key=lambda dtype: dtype.itemsize).name
        lower = precision if precision in ("float16", "float32") else None
        if by is None:
            return Reply(loss, grad, lower)
        reduced = None if loss is None else total(loss) / by
        return Reply(reduced, None if grad is None else grad / by, lower)

    def _called(self, logits: Any, target: Any, options: Options) -> Any:
        places, keywords = self.binding.arguments(logits, target)
        forward = method_of(self.function, FORWARD)
        if forward is None or method_of(self.function, BACKWARD) is None:
            return call(self.function, *places, **keywords, **options)
        made = self.function
        if isinstance(made, type):
            made, options = call(made, **options), {}
        forward, backward = method_of(made, FORWARD), method_of(made, BACKWARD)
        assert forward is not None
        assert backward is not None
        loss = call(forward, *places, **keywords, **options)
        # Some keep what backward needs, and others take it once more.
        taken = Binding.of(backward, None)
        if taken.names[1]:
            again, by_name = taken.arguments(logits, target)
            return loss, call(backward, *again, **by_name)
        return loss, call(backward)


def method_of(owner: Any, names: Sequence[str]) -> Callable[..., Any] | None:
    """The first of some methods that an object or a class has."""
    found = (getattr(owner, name, None) for name in names)
    return next((method for method in found if callable(method)), None)


def parts_of(
    returned: Any, shape: tuple[int, ...]
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Loss and gradient of what a function returned; None for what it did not.

    shape: that of the logits, by which a gradient is known from losses. Raises Failure.
    """
    if hasattr(returned, "loss") and hasattr(returned, "grad"):
        returned = returned.loss, returned.grad
    if isinstance(returned, tuple | list) and len(returned) == 2:
        loss, grad = returned
        if loss is None or grad is None:
            return (
                None if loss is None else as_numbers(loss, "loss"),
                None if grad is None else as_numbers(grad, "gradient"),
            )
        loss, grad = as_numbers(loss, "loss"), as_numbers(grad, "gradient")
        is_turned = loss.shape == shape and grad.shape != shape
        return (grad, loss) if is_turned else (loss, grad)
    if isinstance(returned, float | int | np.number) or hasattr(returned, "__array__"):
        alone = as_numbers(returned, "result")
        return (None, alone) if alone.ndim == len(shape) else (alone, None)
    raise Failure(
        f"it returned {type(returned).__name__}, not a pair of loss and gradient, nor one of both"
    )


def one_hot_rows(inputs: Inputs) -> NDArray[Any]:
    """Class indices as rows of 0 and 1 in the type of the logits, (N, C); probabilities as is."""
    target = inputs.target
    if target.dtype.kind == "f":
        return target
    rows = np.zeros(inputs.logits.shape, dtype=inputs.logits.dtype)
    rows[np.arange(len(target)), target] = 1.0
    return rows


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
        refused = isinstance(error, TypeError) and any(refusal in said for refusal in REFUSALS)
        # Of a keyword that it passes on itself, that is an error of its own.
        if refused and ("takes no" in said or any(f"'{name}'" in said for name in options)):
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


def _samples(target: NDArray[Any], options: Options) -> float:
    """The number of rows that count, or the sum of their weights; NaN where that is 0."""
    weight, each = options.get("weight"), np.ones(len(target))
    if "sample_weight" in options:
        each = np.asarray(options["sample_weight"], dtype=np.float64)
    if target.dtype.kind == "f":
        return math.fsum(each) or math.nan
    kept = target != options.get("ignore_index")
    if weight is not None:
        if "z_loss" in options:
            raise NotSupported("there is no parameter reduction, and z-loss has another divisor")
        each, kept = each[kept] * np.asarray(weight, dtype=np.float64)[target[kept]], slice(None)
    return math.fsum(each[kept]) or math.nan


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
