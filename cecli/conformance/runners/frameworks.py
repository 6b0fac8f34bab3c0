"""Loss functions of PyTorch and JAX as implementations: their arrays, their derivative.

Neither framework is imported before one of its functions is to run.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.conformance.model import Failure, Inputs, NotSupported, Reply
from cecli.conformance.runners.functions import (
    Function,
    call,
    cotangent,
    divisor,
    parameters,
    total,
)
from cecli.conformance.runners.load import reason_of
from cecli.errors import CecliError


class TorchFunction(Function):
    """(logits, target, **options) → loss as tensors; or a module's class, made with the options.

    Raises CecliError where PyTorch is not installed or the device is none.
    """

    def __init__(
        self,
        function: Any,
        name: str,
        features: frozenset[str] | None = None,
        dtype: str | None = None,
        device: str | None = None,
    ) -> None:
        try:
            torch: Any = import_module("torch")
        except ImportError:
            raise CecliError("PyTorch is not installed beside cecli: pip install torch") from None
        self._torch = torch
        self._is_class = isinstance(function, type)
        super().__init__(function, name, features, dtype)
        if isinstance(function, torch.nn.Module) and features is None:
            # A module takes anything, and hands it on.
            self._taken = parameters(function.forward)
        try:
            self._device = torch.device(device or "cpu")
            torch.empty(1, device=self._device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise CecliError(f"--device {device}: {reason_of(error)}") from None

    def answer(self, inputs: Inputs, options: dict[str, Any], reduction: str | None) -> Reply:
        """Call the function on tensors, and pull the gradient back through what it returns."""
        torch = self._torch
        leaf = self._tensor(inputs.logits, inputs.dtype).requires_grad_()
        soft = inputs.target.dtype.kind == "f"
        target = self._tensor(inputs.target, inputs.dtype if soft else "int64")
        if options.get("weight") is not None:
            options["weight"] = self._tensor(np.asarray(options["weight"]), inputs.dtype)
        if self._is_class:
            module = call(self.function, **options)
            loss = call(module.to(self._device) if hasattr(module, "to") else module, leaf, target)
        else:
            loss = call(self.function, leaf, target, **options)
        loss = loss[0] if isinstance(loss, tuple) and loss else loss
        if not isinstance(loss, torch.Tensor):
            raise Failure(f"it returned {type(loss).__name__}, not a tensor")
        upstream = cotangent(inputs, reduction, tuple(loss.shape))
        call(loss.backward, torch.tensor(upstream).to(loss))
        if leaf.grad is None:
            raise Failure("backward() left no gradient in the logits")
        losses, grad = (call(_array, torch, tensor) for tensor in (loss, leaf.grad))
        # What was changed in the tensors is to be seen in what they were made of.
        if inputs.logits.flags.writeable:
            inputs.logits[...] = _array(torch, leaf)
        if inputs.target.flags.writeable:
            inputs.target[...] = _array(torch, target)
        by = divisor(inputs, reduction, losses.shape)
        return Reply(losses if by is None else total(losses) / by, grad)

    def _tensor(self, array: NDArray[Any], dtype: str) -> Any:
        """A new tensor with the same numbers and the same strides."""
        torch = self._torch
        layout = zip(array.shape, array.strides, strict=True)
        repeated = [stride == 0 and size > 1 for size, stride in layout]
        if any(repeated):
            once = array[tuple(slice(1 if same else None) for same in repeated)]
            return self._tensor(once, dtype).expand(array.shape)
        strides = [stride // array.itemsize for stride in array.strides]
        try:
            made = torch.empty_strided(
                array.shape, strides, dtype=getattr(torch, dtype), device=self._device
            )
            return made.copy_(torch.tensor(array))
        except (RuntimeError, TypeError, NotImplementedError) as error:
            raise NotSupported(reason_of(error)) from None


def _array(torch: Any, tensor: Any) -> NDArray[Any]:
    """A tensor's numbers; bfloat16, which NumPy lacks, as float32."""
    tensor = tensor.detach().cpu()
    array: NDArray[Any] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


class JaxFunction(Function):
    """(logits, target, **options) → loss as arrays of JAX.

    Raises CecliError where JAX is not installed or the device is none.
    """

    def __init__(
        self,
        function: Any,
        name: str,
        features: frozenset[str] | None = None,
        dtype: str | None = None,
        device: str | None = None,
    ) -> None:
        try:
            jax: Any = import_module("jax")
        except ImportError:
            raise CecliError("JAX is not installed beside cecli: pip install jax") from None
        self._jax = jax
        super().__init__(function, name, features, dtype)
        platform, _, place = (device or "").partition(":")
        try:
            self._device = jax.devices(platform or None)[int(place or 0)]
        except (RuntimeError, ValueError, IndexError) as error:
            raise CecliError(f"--device {device}: {reason_of(error)}") from None
        # Without it JAX has no doubles; who calls the library gets it back as it was.
        self._had_doubles = bool(jax.config.jax_enable_x64)
        jax.config.update("jax_enable_x64", True)

    def close(self) -> None:
        """Leave JAX configured as it was."""
        self._jax.config.update("jax_enable_x64", self._had_doubles)

    def answer(self, inputs: Inputs, options: dict[str, Any], reduction: str | None) -> Reply:
        """Differentiate the function at the logits."""
        jax = self._jax
        dtype = getattr(jax.numpy, inputs.dtype)

        def array(values: Any) -> Any:
            values = np.ascontiguousarray(values)
            kept = values.dtype if values.dtype.kind == "i" else dtype
            return jax.device_put(jax.numpy.asarray(values, dtype=kept), self._device)

        if options.get("weight") is not None:
            options["weight"] = array(options["weight"])

        def both(logits: Any, target: Any) -> tuple[Any, Any]:
            def loss_of(logits: Any) -> Any:
                found = self.function(logits, target, **options)
                return found[0] if isinstance(found, tuple) else found

            loss, pull_back = jax.vjp(loss_of, logits)
            upstream = cotangent(inputs, reduction, loss.shape)
            return loss, pull_back(jax.numpy.asarray(upstream, dtype=loss.dtype))[0]

        arrays = array(inputs.logits), array(inputs.target)
        try:
            # To compile it whole takes a fraction of the time, where it can be.
            loss, grad = call(jax.jit(both), *arrays)
        except Failure:
            loss, grad = call(both, *arrays)
        losses, grad = (np.asarray(found, dtype=np.float64) for found in (loss, grad))
        by = divisor(inputs, reduction, losses.shape)
        return Reply(losses if by is None else total(losses) / by, grad)
