"""Options that were applied with another value than asked for, as functions of that value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cecli.comparison.evidence import Evidence
from cecli.comparison.textbook import Batch
from cecli.problem.dtypes import Floats

STEPS, DIFFERENCE = 30, 1e-6
SHORTEST_STEP, LONGEST_STEP = 1e-15, 0.5
MOST_STARTS, MOST_DIGITS = 3, 12
# A shorter value may fit as much worse, in relation to what rounding explains.
NEARLY = 0.1


@dataclass(frozen=True)
class Fitted:
    """An option with another value than was asked for.

    option: of a batch. unasked, other: the ids where the option is at its default, and where not.
    made: the gradients for a value. trials: where to look for it.
    """

    option: str
    unasked: str
    name: str
    default: float | None
    makers: tuple[Callable[[Batch, float], Floats], ...]
    trials: Callable[[Batch], Floats]

    def id_for(self, batch: Batch) -> str:
        """unasked-… where it was not asked for, else other-…"""
        asked = getattr(batch, self.option) != self.default
        return self.unasked.replace("unasked", "other") if asked else self.unasked

    def explanation_for(self, batch: Batch, value: float) -> str:
        """What was found, with its value."""
        asked = getattr(batch, self.option)
        if asked == self.default:
            return f"A {self.name} of {value:.6g} is applied, which was not asked for."
        return f"A {self.name} of {value:.6g} is applied, where {asked:.6g} was asked for."

    def remedy_for(self, batch: Batch, value: float) -> str:
        """To drop it, or to say it."""
        flag = self.option if self.option != "smoothing" else "label_smoothing"
        return f"Take it out, or compare with --{flag.replace('_', '-')} {value:.6g}."


def _option(name: str) -> Callable[[Batch, float], Floats]:
    def gradient(batch: Batch, value: float) -> Floats:
        changes: dict[str, Any] = {name: value}
        return replace(batch, **changes).gradient()

    return gradient


FITTED: tuple[Fitted, ...] = (
    Fitted(
        "temperature",
        "unasked-temperature",
        "temperature",
        1.0,
        (
            _option("temperature"),
            lambda b, value: replace(b, temperature=value).gradient(slope=b.slope),
        ),
        lambda batch: np.geomspace(0.02, 50.0, 48),
    ),
    Fitted(
        "smoothing",
        "unasked-smoothing",
        "label smoothing",
        0.0,
        (_option("smoothing"),),
        lambda batch: np.geomspace(1e-4, 1.0, 16),
    ),
    Fitted(
        "z_loss",
        "unasked-z-loss",
        "z-loss",
        0.0,
        (_option("z_loss"),),
        lambda batch: np.geomspace(1e-6, 10.0, 24),
    ),
    Fitted(
        "softcap",
        "unasked-softcap",
        "softcap",
        None,
        (
            _option("softcap"),
            lambda b, value: replace(b, softcap=value).gradient(slope=b.slope),
        ),
        lambda batch: _largest(batch) * np.geomspace(0.05, 50.0, 48),
    ),
)


def _largest(batch: Batch) -> float:
    return float(np.abs(batch.logits[np.isfinite(batch.logits)]).max(initial=1e-300))


def find_value(
    evidence: Evidence, fitted: Fitted, maker: Callable[[Batch, float], Floats]
) -> float | None:
    """The value whose gradient is nearest to a candidate; the shortest that is near enough.

    The best of the trials, then Gauss–Newton steps on its logarithm.
    """
    batch, rows = evidence.first_batch, evidence.first
    candidate = evidence.candidate.values[rows]
    weight = 1.0 / np.maximum(evidence.slack(candidate, rows), np.finfo(np.float64).tiny)

    def residual(value: float) -> Floats:
        return (maker(batch, value) - candidate) * weight

    def cost(value: float) -> float:
        squares = float((residual(value) ** 2).sum())
        return squares if np.isfinite(squares) else np.inf

    trials = fitted.trials(batch)
    costs = np.array([cost(float(trial)) for trial in trials])
    valleys = np.flatnonzero((costs <= np.append(costs[1:], np.inf)) & np.isfinite(costs))
    valleys = valleys[costs[valleys] <= np.append(np.inf, costs)[valleys]]
    starts = valleys[np.argsort(costs[valleys], kind="stable")[:MOST_STARTS]]
    values = [_refined(residual, float(trials[start])) for start in starts]
    if not values:
        return None
    value = min(values, key=cost)
    enough = evidence.compare(maker(batch, value), rows).ratio + NEARLY
    for digits in range(1, MOST_DIGITS):
        short = float(f"{value:.{digits}g}")
        if evidence.compare(maker(batch, short), rows).ratio <= enough:
            return short
    return value


def _refined(residual: Callable[[float], Floats], start: float) -> float:
    """The value of the least squares near a start."""
    logarithm = math.log(start)
    for _ in range(STEPS):
        here = residual(math.exp(logarithm))
        slope = (residual(math.exp(logarithm + DIFFERENCE)) - here) / DIFFERENCE
        square = float((slope * slope).sum())
        step = -float((slope * here).sum()) / square if square else 0.0
        if not math.isfinite(step):
            break
        logarithm += min(LONGEST_STEP, max(-LONGEST_STEP, step))
        if abs(step) < SHORTEST_STEP:
            break
    return math.exp(logarithm)
