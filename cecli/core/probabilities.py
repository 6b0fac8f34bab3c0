"""Numbers that are probabilities, or their logarithms, where logits are asked for.

The softmax of log ŷ is ŷ, so log ŷ are logits; those of a class of probability 0 are −inf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cecli.errors import CecliError
from cecli.machine.elementary import log
from cecli.problem.dtypes import Floats, as_doubles, as_real_array, widened
from cecli.problem.problem import batch_shape_of
from cecli.problem.rows import sample_name

From = Literal["logits", "probabilities", "log-probabilities"]

KINDS: tuple[From, ...] = ("logits", "probabilities", "log-probabilities")
# How far a sum may be from 1: where that is said, and where rows are only taken for probabilities.
SLACK, CLOSE = 0.01 + 2.0**-40, 1e-3


def logits_from(given: ArrayLike, kind: From, axis: int) -> ArrayLike:
    """The logits of an array of any shape, with the classes on axis; itself where it holds logits.

    Raises CecliError, with the sample, for numbers that are no probabilities.
    """
    if kind not in KINDS:
        raise CecliError(
            f"from_ is {kind!r}: it must be logits, probabilities or log-probabilities"
        )
    if kind == "logits":
        return given
    array = as_real_array("logits", given)
    batch_shape = batch_shape_of(array.shape, axis)
    moved = np.moveaxis(array, axis, -1)
    rows = moved.reshape(-1, moved.shape[-1])
    logits = logits_of_rows(rows, kind, lambda row: sample_name(row, batch_shape))
    return np.moveaxis(logits.reshape(moved.shape), -1, axis)


def logits_of_rows(rows: NDArray[np.generic], kind: From, called: Callable[[int], str]) -> Floats:
    """(N, C) log ŷ of rows that hold ŷ or log ŷ; NaN stays NaN. called: how a row is called."""
    values = as_doubles(rows)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shares = values if kind == "probabilities" else np.exp(values)
        bad = (shares < 0.0) | (shares > 1.0 + SLACK)
        if bad.any():
            row, column = (int(place) for place in np.argwhere(bad)[0])
            raise CecliError(
                f"{kind.replace('ies', 'y')} {column}{called(row)} is {values[row, column]:g}: "
                f"{'it is' if kind == 'probabilities' else 'its exponential is'} from 0 to 1",
                about="logits",
            )
        totals = shares.sum(axis=1)
        off = np.abs(totals - 1.0) > SLACK
        if off.any():
            row = int(off.argmax())
            raise CecliError(
                f"the probabilities{called(row)} sum to {totals[row]:.6g}: they must sum to 1",
                about="logits",
            )
        return log(values) if kind == "probabilities" else values


def are_probabilities(rows: NDArray[np.generic]) -> bool:
    """Whether rows (N, C) of logits, of two classes or more, all look like probabilities."""
    if not len(rows) or rows.shape[1] < 2:
        return False
    values = widened(rows)
    if not ((values >= 0) & (values <= 1)).all():
        return False
    return bool((np.abs(values.sum(axis=1, dtype=np.float64) - 1.0) <= CLOSE).all())
