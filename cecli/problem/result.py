"""What a cross-entropy comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from cecli.problem.dtypes import Floats


@dataclass(frozen=True, eq=False)
class CrossEntropy:
    """What `cross_entropy` returns.

    softmax, log_softmax, grad: arrays of the logits' shape; float32 for half and single precision
    input, else float64. losses: float64, one for each sample, in the batch's shape. loss: the
    reduced loss, a double, or losses again for reduction none. divisor: what the mean divided by
    (None for reduction none); z_loss_divisor: the same for the z-loss term.
    """

    losses: Floats
    loss: float | Floats
    grad: NDArray[Any]
    divisor: float | None
    z_loss_divisor: float | None
    probabilities: Callable[[], tuple[NDArray[Any], NDArray[Any]]]

    @cached_property
    def _probabilities(self) -> tuple[NDArray[Any], NDArray[Any]]:
        # Made when they are asked for: who wants the loss alone does not pay for them.
        return self.probabilities()

    @property
    def softmax(self) -> NDArray[Any]:
        """ŷ, of the logits' shape."""
        return self._probabilities[0]

    @property
    def log_softmax(self) -> NDArray[Any]:
        """log ŷ, of the logits' shape."""
        return self._probabilities[1]
