"""Which mistake of the catalogue explains a loss that is wrong: a number, or one for each row."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from cecli.comparison.batch import Batch
from cecli.comparison.catalogue import CATALOGUE
from cecli.comparison.evidence import COMPONENTS_PER_BLOCK, MARGIN, SHARE_OF_THE_ERROR, Match
from cecli.comparison.grade import Allowance, Graded
from cecli.comparison.mistaken import Mistake, changed, losses_of
from cecli.comparison.search import Diagnosis, Found, told_apart
from cecli.problem.dtypes import Floats

# One number fits many mistakes by chance: the fewer its digits, the fewer are tried.
DIGITS_FOR_COMMON, DIGITS_FOR_ALL = 0.01, 1e-3
COMMON = {
    "sign-flipped",
    "not-averaged",
    "averaged-unasked",
    "averaged-twice",
    "divided-by-classes",
    "divided-by-components",
    "wrong-divisor",
    "ignored-counted",
    "log-base",
    "smoothing-forgotten",
    "smoothing-share",
    "smoothing-twice",
}
USUAL_SMOOTHINGS = (0.1, 0.05, 0.2)

PERPLEXITY = Mistake(
    "perplexity",
    "It is the perplexity, e to the power of the loss.",
    "Take its logarithm.",
)
ACCURACY = Mistake(
    "accuracy",
    "It is the accuracy, the share of samples whose largest logit is the target's.",
    "The loss is the mean of −log p at the target.",
)


def _usual(smoothing: float) -> Mistake:
    return Mistake(
        "unasked-smoothing",
        f"A label smoothing of {smoothing:g} is applied, which was not asked for.",
        f"Take it out, or compare with --label-smoothing {smoothing:g}.",
        lambda batch: None if batch.smoothing else changed(smoothing=lambda _: smoothing)(batch),
    )


def diagnose_loss(batch: Batch, graded: Graded, allowance: Allowance) -> tuple[Diagnosis, ...]:
    """The mistakes that explain a loss that is not acceptable; none where nothing does."""
    given, exact = graded.given, graded.exact
    finite = np.abs(given[np.isfinite(given)])
    if not finite.size or not finite.max():
        return ()
    digits = float((allowance.total / np.abs(given)).min())
    if digits > DIGITS_FOR_COMMON:
        return ()
    unit = allowance.total - allowance.rate * np.abs(exact)

    def ratio(predicted: Floats) -> float:
        error = np.where(given == predicted, 0.0, np.abs(given - predicted))
        slack = unit + MARGIN * allowance.rate * (np.abs(predicted) + np.abs(exact))
        return float(np.where(error == 0.0, 0.0, error / slack).max())

    limit = min(1.0, SHARE_OF_THE_ERROR * ratio(exact))
    found: Found = []
    with np.errstate(all="ignore"):
        for mistake, predicted in _predictions(batch, exact, digits <= DIGITS_FOR_ALL):
            close = ratio(predicted)
            if close <= limit:
                fit = float(np.abs(given - predicted).max() / finite.max())
                named = Diagnosis(mistake.id, mistake.explanation, mistake.remedy, fit, "loss")
                found.append((Match(close, fit), named))
        return told_apart(found, batch) if found else ()


def _predictions(batch: Batch, exact: Floats, every: bool) -> Iterator[tuple[Mistake, Floats]]:
    for mistake in CATALOGUE:
        if every or mistake.id in COMMON:
            yield from _losses(mistake, batch, exact)
    if every:
        for smoothing in USUAL_SMOOTHINGS:
            yield from _losses(_usual(smoothing), batch, exact)
    yield PERPLEXITY, np.exp(exact)
    if batch.index is not None and batch.counted:
        right = (batch.scaled.argmax(axis=1) == batch.index)[batch.kept[:, 0]]
        yield ACCURACY, np.broadcast_to(right.mean(), exact.shape)


def _losses(mistake: Mistake, batch: Batch, exact: Floats) -> Iterator[tuple[Mistake, Floats]]:
    for maker in mistake.makers:
        predicted = _over_blocks(batch, lambda part, maker=maker: losses_of(maker, part))  # type: ignore[misc]
        if predicted is not None:
            yield mistake, predicted.reshape(exact.shape) if exact.ndim else predicted.sum()


def _over_blocks(batch: Batch, losses: Callable[[Batch], Floats | None]) -> Floats | None:
    size = max(1, COMPONENTS_PER_BLOCK // batch.classes)
    parts = []
    for start in range(0, len(batch.logits), size):
        part = losses(batch.take(slice(start, start + size)))
        if part is None:
            return None
        parts.append(part)
    return np.concatenate(parts) if parts else None
