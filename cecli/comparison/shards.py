"""What becomes of a batch whose classes are in shards that do not know of one another."""

from __future__ import annotations

import numpy as np

from cecli.comparison.mistaken import Variant, both
from cecli.comparison.textbook import Batch
from cecli.problem.dtypes import Floats, Integers


def _shards(classes: int, count: int) -> Integers | None:
    """(C,) which of the shards each class is in; None where there are not so many."""
    shards = np.arange(classes) // -(-classes // count)
    return shards if 1 < shards[-1] + 1 == count < classes else None


def own_sums(count: int) -> Variant:
    """Each shard takes the softmax over its own classes."""

    def log_softmax(batch: Batch) -> Floats | None:
        shards = _shards(batch.classes, count)
        if shards is None:
            return None
        starts = np.searchsorted(shards, np.arange(count))
        maximum = np.maximum.reduceat(batch.scaled, starts, axis=1)
        maximum[np.isneginf(maximum)] = 0.0
        difference = batch.scaled - maximum[:, shards]
        sums = np.add.reduceat(np.exp(difference), starts, axis=1)
        found: Floats = difference - np.log(sums)[:, shards]
        return found

    def gradient(batch: Batch) -> Floats | None:
        found = log_softmax(batch)
        return None if found is None else batch.gradient(softmax=np.exp(found))

    def losses(batch: Batch) -> Floats | None:
        found = log_softmax(batch)
        return None if found is None else batch.losses(batch.expected(found))

    words = f"each of {count} shards of the classes divides by its own sum"
    return Variant(gradient, losses, words, rare=True)


def smoothed_by_shard(count: int) -> Variant:
    """ε over the number of a shard's classes."""

    def make(batch: Batch) -> Batch | None:
        shards = _shards(batch.classes, count)
        if shards is None or not batch.smoothing:
            return None
        sizes = np.bincount(shards)[shards]
        soft = (1.0 - batch.smoothing) * batch.target + batch.smoothing / sizes
        changed = batch.but(soft=soft, smoothing=0.0)
        vars(changed)["total"] = batch.total
        return changed

    found = both(make, f"the smoothing is spread over each of {count} shards of the classes")
    return Variant(found.gradient, found.losses, found.words, rare=True)


def targets_shard_alone(count: int) -> Variant:
    """Right in the shard of the target, 0 in the others."""

    def gradient(batch: Batch) -> Floats | None:
        shards = _shards(batch.classes, count)
        if shards is None or batch.index is None:
            return None
        own = shards[batch.index.clip(0, batch.classes - 1)]
        return np.where(shards == own[:, None], batch.gradient(), 0.0)

    words = f"of {count} shards of the classes that of the target alone has a gradient"
    return Variant(gradient, None, words, rare=True)


def first_of_each_shard(count: int) -> Variant:
    """A shard that has not the target subtracts at its first class."""

    def gradient(batch: Batch) -> Floats | None:
        shards = _shards(batch.classes, count)
        if shards is None or batch.index is None:
            return None
        own = shards[batch.index.clip(0, batch.classes - 1)]
        first = np.append(True, shards[1:] != shards[:-1])
        others = first & (shards != own[:, None])
        return batch.gradient(mass=batch.mass + batch.mass_of(np.where(others, 1.0, 0.0)))

    words = f"of {count} shards of the classes those without the target subtract at their first"
    return Variant(gradient, None, words, rare=True)
