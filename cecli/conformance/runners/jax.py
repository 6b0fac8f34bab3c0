"""Loss functions of JAX as implementations: its arrays, its derivative."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from cecli.conformance.model import Failure, Inputs, Reply
from cecli.conformance.runners.functions import Function, call, cotangent, divisor, total
from cecli.conformance.runners.load import reason_of
from cecli.errors import CecliError


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
        jax.config.update("jax_enable_x64", True)
        self._jax = jax
        super().__init__(function, name, features, dtype)
        platform, _, place = (device or "").partition(":")
        try:
            self._device = jax.devices(platform or None)[int(place or 0)]
        except (RuntimeError, ValueError, IndexError) as error:
            raise CecliError(f"--device {device}: {reason_of(error)}") from None

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
