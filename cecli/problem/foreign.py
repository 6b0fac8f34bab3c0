"""Arrays of other libraries as NumPy's: tensors of PyTorch and MLX, and masked arrays.

None of these libraries is imported here but by somebody's array of its own.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.errors import About, CecliError

# NumPy has no name for bfloat16: it saves such an array as two bytes of anything.
BFLOAT16 = np.dtype("V2")


def array_of(name: About, values: Any) -> NDArray[Any]:
    """Whatever is an array, or can be made one; a masked logit is −inf.

    A tensor is detached and copied to the processor where it must be. Raises CecliError, with the
    name, for what NumPy makes no array of.
    """
    library = type(values).__module__.partition(".")[0]
    masked: Any = sys.modules.get("numpy.ma")  # where nobody imported it there is no masked array
    try:
        if masked is not None and isinstance(values, masked.MaskedArray):
            return _unmasked(name, values)
        if library == "torch":
            return array_of_tensor(values)
        if library == "mlx":
            import mlx.core as mx

            return np.array(values.astype(mx.float32) if values.dtype == mx.bfloat16 else values)
        return np.asarray(values)
    except CecliError:
        raise
    except Exception:  # noqa: BLE001 - whatever somebody's __array__ raises
        if type(values).__name__.endswith("Tracer"):
            raise CecliError(
                f"{name}: no numbers while JAX traces it: call cecli outside of jit and grad",
                about=name,
            ) from None
        raise CecliError(
            f"{name} must be an array of numbers with rows of equal length", about=name
        ) from None


def _unmasked(name: About, values: np.ma.MaskedArray[Any, Any]) -> NDArray[Any]:
    if not np.ma.is_masked(values):
        return np.asarray(values.data)
    if name != "logits":
        raise CecliError(f"{name} has masked elements, which only logits may have", about=name)
    floats: Any = values if values.dtype.kind == "f" else values.astype(np.float64)
    filled: NDArray[Any] = floats.filled(-np.inf)
    return filled


def array_of_tensor(tensor: Any) -> NDArray[Any]:
    """A tensor of PyTorch as an array, of `BFLOAT16` where it is of bfloat16."""
    import torch

    tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
    if tensor.is_quantized or tensor.is_sparse:
        tensor = tensor.dequantize() if tensor.is_quantized else tensor.to_dense()
    if tensor.dtype == torch.bfloat16:
        return np.asarray(tensor.contiguous().view(torch.int16).numpy()).view(BFLOAT16)
    name = str(tensor.dtype).removeprefix("torch.")
    if name.startswith("float8_"):
        return np.asarray(tensor.contiguous().view(torch.uint8).numpy()).view(float8(name))
    array: NDArray[Any] = tensor.numpy()
    return array


def float8(name: str) -> np.dtype[Any]:
    """A type of eight bits, which NumPy knows from ml_dtypes."""
    try:
        import ml_dtypes
    except ImportError:
        raise CecliError("float8 needs the package ml_dtypes: pip install ml_dtypes") from None
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype


def type_name(dtype: np.dtype[Any]) -> str:
    """What an array holds that is no array of real numbers, as its owner would call it."""
    if dtype.hasobject:
        return "objects"
    names = {"U": "texts", "S": "texts", "c": "complex numbers", "M": "dates", "m": "times"}
    return names.get(dtype.kind, dtype.name)
