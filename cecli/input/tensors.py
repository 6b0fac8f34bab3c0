"""Tensors that PyTorch saved, read by PyTorch with weights_only=True and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.input.array_files import chosen_key, open_regular, require_few_dimensions
from cecli.problem.foreign import array_of_tensor


def read_tensor(path: str, key: str | None) -> NDArray[Any]:
    """The tensor of a .pt file, or of a dictionary in it the one with that key.

    Raises CecliError for whatever else the file holds.
    """
    open_regular(path).close()
    try:
        import torch
    except ImportError:
        raise CecliError(
            "reading it needs PyTorch; numpy.save('logits.npy', logits.float().numpy()) where it "
            "is installed writes what can be read without"
        ) from None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - whatever a damaged or hostile file makes it raise
        raise CecliError(
            "not a file of torch.save, or one that holds more than tensors, which is never loaded"
        ) from None
    if isinstance(found, dict):
        tensors = {str(name): value for name, value in found.items() if torch.is_tensor(value)}
        found = tensors[chosen_key(list(tensors), key)]
    elif key is not None:
        raise CecliError(f"--key {key}: the file holds a single tensor, without a name")
    if not torch.is_tensor(found):
        raise CecliError(f"holds a {type(found).__name__}, not a tensor or a dictionary of tensors")
    require_few_dimensions(found.shape)
    array = array_of_tensor(found)
    return array.view(np.uint8) if array.dtype.kind == "b" else array
