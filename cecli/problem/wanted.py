"""What may be asked of a problem's rows: one vocabulary for both arithmetics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.problem.dtypes import Floats, Integers

RowsName = Literal["softmax", "log_softmax", "grad"]


class RowArray(NamedTuple):
    """An array with a row for each sample, and the type that its numbers are rounded to."""

    name: RowsName
    dtype: np.dtype[Any]


@dataclass(frozen=True, eq=False, repr=False)
class Wanted:
    """What is asked of each row.

    arrays: its row of which arrays, and for each the whole array (N, C) that it is stored in, or
    None where each block has its own. losses: whether there is a target. log_sum_exp: as it says.
    logits: where those that were computed with are stored, (N, C). worst: how many of the highest
    losses are told; None counts nothing. first: of how many of the first rows the prediction is
    told, and the row of first_array.
    """

    arrays: Mapping[RowArray, NDArray[Any] | None] = field(default_factory=dict)
    losses: bool = True
    log_sum_exp: bool = False
    logits: NDArray[Any] | None = None
    worst: int | None = None
    first: int = 0
    first_array: RowArray | None = None


class Predictions(NamedTuple):
    """Of some rows the class with the largest logit, the first of several, and probabilities.

    predicted (n,): the class, 0 where a row is ignored. probability (n,): its ŷ as in the array
    softmax, in the problem's dtype. predicted_probability, target_probability (n,): that and the
    target's as doubles, NaN where a row is ignored; the latter is None without class indices.
    """

    predicted: Integers
    probability: NDArray[Any]
    predicted_probability: Floats
    target_probability: Floats | None

    def take(self, rows: slice | Integers) -> Predictions:
        """Those of some of the rows."""
        target = self.target_probability
        return Predictions(
            self.predicted[rows],
            self.probability[rows],
            self.predicted_probability[rows],
            None if target is None else target[rows],
        )

    @classmethod
    def joined(cls, parts: Sequence[Predictions]) -> Predictions:
        """Those of rows that follow one another."""
        if not parts:
            return cls(np.zeros(0, dtype=np.int64), *[np.zeros(0)] * 3)
        targets = [part.target_probability for part in parts if part.target_probability is not None]
        return cls(
            np.concatenate([part.predicted for part in parts]),
            np.concatenate([part.probability for part in parts]),
            np.concatenate([part.predicted_probability for part in parts]),
            np.concatenate(targets) if targets else None,
        )
