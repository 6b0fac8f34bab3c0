"""Files of several blocks of rows, and of more rows than memory holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS, CLASSES = 30_000, 12
MEBIBYTE = 2**20


def saved(dtype: str = "f4", rows: int = ROWS) -> tuple[NDArray[Any], NDArray[Any]]:
    """Logits and targets of several blocks, in z.npy and t.npy."""
    random = np.random.default_rng(11)
    logits = (random.normal(size=(rows, CLASSES)) * 4).astype(dtype)
    target = random.integers(0, CLASSES, rows)
    np.save("z.npy", logits)
    np.save("t.npy", target)
    return logits, target


def sparse(rows: int, classes: int, dtype: type[np.generic] = np.float32) -> None:
    """Logits that are all zero and take no room on the disk, and targets, in z.npy and t.npy."""
    np.lib.format.open_memmap("z.npy", "w+", dtype, (rows, classes))
    np.lib.format.open_memmap("t.npy", "w+", np.int8, (rows,))
