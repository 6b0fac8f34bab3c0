"""The right numbers in other places: transposed, or with rows or classes in another order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cecli.comparison.mistaken import Mistake
from cecli.problem.dtypes import Floats

TRANSPOSED = Mistake(
    "transposed",
    "The gradient is transposed: samples and classes have changed places.",
    "Transpose it, or see which axis the backward pass takes for the classes.",
)
PERMUTED_ROWS = Mistake(
    "permuted-rows",
    "The rows are right, but in another order.",
    "Keep logits, targets and gradient in the same order; look for a shuffle of only one.",
)
PERMUTED_CLASSES = Mistake(
    "permuted-classes",
    "The columns are right, but in another order of the classes.",
    "Use the same order of classes for logits, targets and gradient.",
)


def rearranged(exact: Floats, given: Floats) -> Iterable[tuple[Mistake, Floats]]:
    """The right numbers in other places, as suggested by the order of random projections."""
    samples, classes = exact.shape
    if samples > 1 and samples == classes:
        yield TRANSPOSED, exact.T
    if not np.isfinite(given).all():
        return
    random = np.random.default_rng(0)
    if samples > 1:
        by = random.random(classes)
        yield PERMUTED_ROWS, _reordered(exact, exact @ by, given @ by)
    if classes > 1:
        by = random.random(samples)
        yield PERMUTED_CLASSES, _reordered(exact.T, by @ exact, by @ given).T


def _reordered(rows: Floats, keys: Floats, wanted: Floats) -> Floats:
    """Rows so that their keys stand in the order of those wanted."""
    reordered = np.empty_like(rows)
    reordered[np.argsort(wanted, kind="stable")] = rows[np.argsort(keys, kind="stable")]
    return reordered
