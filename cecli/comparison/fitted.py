"""Options that were applied with another value than asked for, as functions of that value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cecli.comparison.evidence import Evidence
from cecli.comparison.mistake import Diagnosis
from cecli.comparison.mistaken import DEFAULTS
from cecli.comparison.textbook import Batch
from cecli.problem.dtypes import Floats

STEPS, DIFFERENCE = 30, 1e-6
LARGEST_LOGARITHM = 709.0  # of a double, or nearly
SHORTEST_STEP, LONGEST_STEP = 1e-15, 0.5
MOST_STARTS, MOST_DIGITS = 3, 12
# A shorter value may fit as much worse, in relation to what rounding explains.
NEARLY = 0.1
# Where a value so many times as large fits, too, none has been found.
FAR_AWAY = (0.5, 2.0)

Makes = Callable[[Batch, float], Floats]


@dataclass(frozen=True)
class Fitted:
    """An option with another value than was asked for.

    option: of a batch. name: in a sentence. makers: the gradients for a value. trials: where to
    look for it. usual: the values that a loss alone is enough to tell.
    """

    option: str
    name: str
    makers: tuple[Makes, ...]
    trials: Callable[[Batch], Floats]
    usual: tuple[float, ...] = ()

    def found(self, batch: Batch, value: float) -> Diagnosis:
        """What it is called: unasked-… where it was not asked for, else other-…"""
        asked = getattr(batch, self.option)
        flag = self.name.replace(" ", "-")
        explanation = f"A {self.name} of {value:.6g} is applied, "
        if asked == DEFAULTS[self.option]:
            explanation += "which was not asked for."
            id_ = f"unasked-{self.option.replace('_', '-')}"
        else:
            explanation += f"where {asked:.6g} was asked for."
            id_ = f"other-{self.option.replace('_', '-')}"
        remedy = f"Take it out, or compare with --{flag} {value:.6g}."
        return Diagnosis(id_, explanation, remedy, 0.0, value=value)

    def losses(self, batch: Batch, value: float) -> Floats | None:
        """What each row adds to the loss with a usual value, where the option was not asked for."""
        if getattr(batch, self.option) != DEFAULTS[self.option]:
            return None
        return batch.but(**{self.option: value}).losses()


def _option(name: str) -> Makes:
    return lambda batch, value: batch.but(**{name: value}).gradient()


FITTED: tuple[Fitted, ...] = (
    Fitted(
        "temperature",
        "temperature",
        (
            _option("temperature"),
            lambda b, value: b.but(temperature=value).gradient(slope=b.slope),
        ),
        lambda batch: np.geomspace(0.02, 50.0, 48),
        (0.07, 0.1, 0.2, 0.5, 0.7, 0.8, 1.5, 2.0, 3.0, 4.0, 5.0, 10.0),
    ),
    Fitted(
        "smoothing",
        "label smoothing",
        (_option("smoothing"),),
        lambda batch: np.geomspace(1e-4, 1.0, 16),
        (0.1, 0.05, 0.2, 0.01),
    ),
    Fitted(
        "z_loss",
        "z-loss",
        (_option("z_loss"),),
        lambda batch: np.geomspace(1e-6, 10.0, 24),
        (1e-4, 1e-3, 1e-2, 1e-5, 0.1, 2e-4, 5e-4),
    ),
    Fitted(
        "softcap",
        "softcap",
        (
            _option("softcap"),
            lambda b, value: b.but(softcap=value).gradient(slope=b.slope),
        ),
        lambda batch: _largest(batch) * np.geomspace(0.05, 50.0, 48),
        (30.0, 50.0, 15.0, 20.0),
    ),
)


def _largest(batch: Batch) -> float:
    return float(np.abs(batch.logits[np.isfinite(batch.logits)]).max(initial=1e-300))


def find_value(evidence: Evidence, fitted: Fitted, maker: Makes) -> float | None:
    """The value whose gradient is nearest to a candidate; the shortest that is near enough.

    None where the candidate tells nothing of it.

    The best of the trials, then Gauss–Newton steps on its logarithm.
    """
    batch, candidate = evidence.batch, evidence.values
    weight = 1.0 / np.maximum(evidence.slack(candidate), np.finfo(np.float64).tiny)

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
    enough = evidence.match(maker(batch, value)).ratio + NEARLY
    if any(evidence.match(maker(batch, value * far)).ratio <= enough for far in FAR_AWAY):
        return None  # as of a temperature next to 0, with which a softmax is the largest logit's 1
    for digits in range(1, MOST_DIGITS):
        short = float(f"{value:.{digits}g}")
        if evidence.match(maker(batch, short)).ratio <= enough:
            return short
    return value


def _refined(residual: Callable[[float], Floats], start: float) -> float:
    """The value of the least squares near a start."""
    logarithm = min(LARGEST_LOGARITHM, math.log(start))
    for _ in range(STEPS):
        here = residual(math.exp(logarithm))
        slope = (residual(math.exp(logarithm + DIFFERENCE)) - here) / DIFFERENCE
        square = float((slope * slope).sum())
        step = -float((slope * here).sum()) / square if square else 0.0
        if not math.isfinite(step):
            break
        logarithm += min(LONGEST_STEP, max(-LONGEST_STEP, step), LARGEST_LOGARITHM - logarithm)
        if abs(step) < SHORTEST_STEP:
            break
    return math.exp(logarithm)
