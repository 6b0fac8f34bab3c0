"""Loss functions of PyTorch and JAX as implementations: their arrays, their derivative.

Neither framework is imported before one of its functions is to run.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.conformance.model import Failure, Inputs, NotSupported, Options, Reply
from cecli.conformance.runners.binding import Binding
from cecli.conformance.runners.functions import (
    Function,
    call,
    cotangent,
    divisor,
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
        *,
        one_hot: bool = False,
    ) -> None:
        try:
            torch: Any = import_module("torch")
        except ImportError:
            raise CecliError("PyTorch is not installed beside cecli: pip install torch") from None
        self._torch = torch
        super().__init__(function, name, features, dtype, one_hot=one_hot)
        try:
            self._device = torch.device(device or "cpu")
            torch.empty(1, device=self._device)
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise CecliError(f"--device {device}: {reason_of(error)}") from None

    def bound(self) -> Binding:
        """A module takes anything, and hands it on; a function of autograd, only by places."""
        made: Any = self.function
        if not _is_class(made):
            is_module = isinstance(made, self._torch.nn.Module)
            return Binding.of(made.forward if is_module else made, None)
        if issubclass(made, self._torch.autograd.Function):
            return Binding(frozenset())
        return Binding.of(partial(made.forward, None), made)

    def answer(
        self, inputs: Inputs, target: NDArray[Any], options: Options, reduction: str | None
    ) -> Reply:
        """Call the function on tensors, and pull the gradient back through what it returns."""
        torch = self._torch
        leaf = self._tensor(inputs.logits, inputs.dtype).requires_grad_()
        soft = target.dtype.kind == "f"
        handed = self._tensor(target, inputs.dtype if soft else "int64")
        options = {
            name: self._tensor(value, inputs.dtype) if isinstance(value, np.ndarray) else value
            for name, value in options.items()
        }
        loss = self._called(leaf, handed, options)
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
        if target is inputs.target and target.flags.writeable:
            target[...] = _array(torch, handed)
        by = divisor(inputs, reduction, losses.shape)
        return Reply(losses if by is None else total(losses) / by, grad)

    def _called(self, logits: Any, target: Any, options: Options) -> Any:
        places, keywords = self.binding.arguments(logits, target)
        made: Any = self.function
        if not _is_class(made):
            return call(made, *places, **keywords, **options)
        if issubclass(made, self._torch.autograd.Function):
            return call(made.apply, *places, **options)
        module = call(made, **options)
        return call(
            module.to(self._device) if hasattr(module, "to") else module, *places, **keywords
        )

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


def _is_class(made: Any) -> bool:
    return isinstance(made, type)


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
        *,
        one_hot: bool = False,
    ) -> None:
        try:
            jax: Any = import_module("jax")
        except ImportError:
            raise CecliError("JAX is not installed beside cecli: pip install jax") from None
        self._jax = jax
        super().__init__(function, name, features, dtype, one_hot=one_hot)
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

    def answer(
        self, inputs: Inputs, target: NDArray[Any], options: Options, reduction: str | None
    ) -> Reply:
        """Differentiate the function at the logits."""
        jax = self._jax
        dtype = getattr(jax.numpy, inputs.dtype)

        def array(values: Any) -> Any:
            values = np.ascontiguousarray(values)
            kept = values.dtype if values.dtype.kind == "i" else dtype
            return jax.device_put(jax.numpy.asarray(values, dtype=kept), self._device)

        options = {
            name: array(value) if isinstance(value, np.ndarray) else value
            for name, value in options.items()
        }

        def both(logits: Any, target: Any) -> tuple[Any, Any]:
            def loss_of(logits: Any) -> Any:
                places, keywords = self.binding.arguments(logits, target)
                found = self.function(*places, **keywords, **options)
                return found[0] if isinstance(found, tuple) else found

            loss, pull_back = jax.vjp(loss_of, logits)
            upstream = cotangent(inputs, reduction, loss.shape)
            return loss, pull_back(jax.numpy.asarray(upstream, dtype=loss.dtype))[0]

        arrays = array(inputs.logits), array(target)
        try:
            # To compile it whole takes a fraction of the time, where it can be.
            loss, grad = call(jax.jit(both), *arrays)
        except Failure:
            loss, grad = call(both, *arrays)
        losses, grad = (np.asarray(found, dtype=np.float64) for found in (loss, grad))
        by = divisor(inputs, reduction, losses.shape)
        return Reply(losses if by is None else total(losses) / by, grad)
