"""Which mistake of the catalogue explains a gradient or a loss that is wrong.

Tried in this order, and the first that leads to anything ends it: the catalogue; a constant factor
and options with values of their own; a sum taken in half precision; the catalogue times a constant
factor; errors in some rows only; errors of the size of a lower precision's. What is named explains
every component within the precision that was given, and much better than the right gradient does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from cecli.comparison.catalogue import CATALOGUE, PERMUTED_CLASSES, TRANSPOSED, Mistake, rearranged
from cecli.comparison.description import rows_text
from cecli.comparison.evidence import (
    COMPONENTS_PER_BLOCK,
    MARGIN,
    SHARE_OF_THE_ERROR,
    Evidence,
    Match,
    Predict,
)
from cecli.comparison.fitted import FITTED, Fitted, find_value
from cecli.comparison.grade import Allowance, Graded
from cecli.comparison.textbook import Batch, changed, gradient_of, losses_of, summed_in_half
from cecli.problem.dtypes import Floats
from cecli.problem.precision import type_precision

# An explanation with a free value needs this many components that tell something.
INFORMED_ENOUGH = 2
# Another explanation is as good where it fits nearly as well, or to well within rounding.
AS_GOOD, GOOD = 4.0, 0.25
# Their binary digits; a number of the coarser one is as a rule one of the other too.
HALF_TYPES = {"bfloat16": 8, "float16": 11}
LEAST_SHARE_OF_A_SIGN = 0.2
TOO_SMALL = "the problem is too small to tell a factor from other causes"
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


@dataclass(frozen=True)
class Diagnosis:
    """A mistake that explains what was given.

    fit: the largest difference left, in relation to the largest component; 0 is perfect. of: what
    it was found in. value: of an option or factor that was found. reason: why it is not the only
    one, or where it applies.
    """

    id: str
    explanation: str
    remedy: str
    fit: float
    of: Literal["grad", "loss"] = "grad"
    value: float | None = None
    reason: str | None = None

    def __str__(self) -> str:
        """What it is and how to mend it, in a line."""
        return f"{self.id}: {self.explanation} {self.remedy}"


Found = list[tuple[Match, Diagnosis]]


def diagnose_gradient(evidence: Evidence) -> tuple[Diagnosis, ...]:
    """The mistakes that explain a gradient that is not acceptable; none where nothing does."""
    with np.errstate(all="ignore"):
        for search in (_catalogue, _values, _half_sums, _multiples, _some_rows, _low_precision):
            found = search(evidence)
            if found:
                return told_apart(found, evidence.batch)
    return ()


def told_apart(found: Found, batch: Batch) -> tuple[Diagnosis, ...]:
    """The explanations as good as the best, each id once, with the reason where several are left.

    Their order, that of simplicity, is kept.
    """
    best = min(match.ratio for match, _ in found)
    good = [d for match, d in found if match.ratio <= max(AS_GOOD * best, GOOD)]
    kept: dict[str, Diagnosis] = {}
    for diagnosis in good:
        known = kept.get(diagnosis.id)
        if known is None or diagnosis.fit < known.fit:
            kept[diagnosis.id] = diagnosis
    if len(kept) > 1 and not any(diagnosis.reason for diagnosis in kept.values()):
        reason = _coincidence(batch)
        return tuple(replace(diagnosis, reason=reason) for diagnosis in kept.values())
    return tuple(kept.values())


def _coincidence(batch: Batch) -> str:
    """What makes different mistakes the same on this problem."""
    facts = []
    if batch.samples == 1:
        facts.append("there is only one sample")
    elif batch.samples == batch.classes:
        facts.append("there are as many samples as classes")
    if batch.classes == 2:
        facts.append("there are only two classes")
    if batch.index is not None:
        kept = batch.kept[:, 0]
        if (batch.scaled.argmax(axis=1) == batch.index)[kept].all():
            facts.append("every target has the largest logit")
        if batch.samples > 1 and len(np.unique(batch.index[kept])) == 1:
            facts.append("all targets are the same")
    because = ": " + ", and ".join(facts) if facts else " at the precision given"
    return "these give the same numbers on this problem" + because


def _catalogue(evidence: Evidence) -> Found:
    """Every mistake as it is, permutations among them."""
    found = []
    for mistake in CATALOGUE:
        for maker in mistake.makers:
            match = evidence.match(lambda batch, rows, maker=maker: gradient_of(maker, batch))  # type: ignore[misc]
            if match is not None:
                found.append((match, _named(mistake, match)))
    for mistake, predicted in rearranged(evidence.exact, evidence.candidate.values):
        match = evidence.match(_constant(predicted))
        if match is not None:
            found.append((match, _named(mistake, match)))
    return found


def _named(mistake: Mistake, match: Match) -> Diagnosis:
    return Diagnosis(mistake.id, mistake.explanation, mistake.remedy, match.fit)


def _constant(predicted: Floats) -> Predict:
    return lambda batch, rows: predicted[rows]


def _values(evidence: Evidence) -> Found:
    """The right gradient times a factor, or with another value of an option."""
    found: Found = []
    factor, match = _multiple(evidence, _constant(evidence.exact))
    if match is not None:
        found.append(
            (
                match,
                Diagnosis(
                    "constant-factor",
                    f"It is the right gradient times {factor:.6g}.",
                    "Look for a factor that is applied once too often, or not at all.",
                    match.fit,
                    value=factor,
                    reason=None if evidence.informed >= INFORMED_ENOUGH else TOO_SMALL,
                ),
            )
        )
    if evidence.informed >= INFORMED_ENOUGH:
        for fitted in FITTED:
            found += _option(evidence, fitted)
    return found


def _option(evidence: Evidence, fitted: Fitted) -> Found:
    found: Found = []
    for maker in fitted.makers:
        value = find_value(evidence, fitted, maker)
        if value is None:
            continue
        match = evidence.match(lambda batch, rows: maker(batch, value))  # noqa: B023
        if match is not None:
            batch = evidence.batch
            found.append(
                (
                    match,
                    Diagnosis(
                        fitted.id_for(batch),
                        fitted.explanation_for(batch, value),
                        fitted.remedy_for(batch, value),
                        match.fit,
                        value=value,
                    ),
                )
            )
    return found


def _half_sums(evidence: Evidence) -> Found:
    if evidence.candidate.type not in ("float32", "float64") or evidence.candidate.unit is not None:
        return []
    for name, digits in HALF_TYPES.items():
        match = evidence.match(
            lambda batch, rows: summed_in_half(batch, evidence.candidate.values[rows], digits)  # noqa: B023
        )
        if match is not None and evidence.informed >= INFORMED_ENOUGH:
            explanation = f"The sum of the exponentials is accumulated in {name}."
            remedy = "Accumulate sums in float32 or wider, whatever the inputs are."
            return [(match, Diagnosis("half-accumulation", explanation, remedy, match.fit))]
    return []


def _multiples(evidence: Evidence) -> Found:
    """Every mistake times a factor."""
    found: Found = []
    if evidence.informed < INFORMED_ENOUGH:
        return found
    for mistake in CATALOGUE:
        for maker in mistake.makers:
            factor, match = _multiple(
                evidence,
                lambda batch, rows, maker=maker: gradient_of(maker, batch),  # type: ignore[misc]
            )
            if match is not None:
                explanation = f"{mistake.explanation} Besides, it is multiplied by {factor:.6g}."
                named = Diagnosis(mistake.id, explanation, mistake.remedy, match.fit, value=factor)
                found.append((match, named))
    return found


def _multiple(evidence: Evidence, predict: Predict) -> tuple[float, Match | None]:
    """The factor that brings a prediction closest, and how well it then fits."""
    rows = evidence.first
    predicted = predict(evidence.first_batch, rows)
    candidate = evidence.candidate.values[rows]
    if predicted is None or not np.isfinite(predicted).all() or not np.isfinite(candidate).all():
        return 1.0, None
    weight = 1.0 / np.maximum(evidence.slack(candidate, rows), np.finfo(np.float64).tiny)
    weighted = predicted * weight / weight.max(initial=1.0)
    square = float((weighted * weighted).sum())
    factor = float((candidate * weight / weight.max(initial=1.0) * weighted).sum())
    if not square or not factor:
        return 1.0, None
    factor /= square

    def scaled(batch: Batch, rows: object) -> Floats | None:
        made = predict(batch, rows)  # type: ignore[arg-type]
        return None if made is None else factor * made

    return factor, evidence.match(scaled)


def _some_rows(evidence: Evidence) -> Found:
    """Errors in some rows only, and what was done to those."""
    off, samples = evidence.off_rows, len(evidence.exact)
    kept = evidence.batch.kept[:, 0]
    # that ignored rows are 0 makes no difference between rows
    if not 0 < len(off) < samples or kept[off].sum() == kept.sum():
        return []
    explanation = f"Only some rows are wrong: {rows_text(off, kept)}."
    remedy = "Look for what is different there: a mask, a bound of a loop, a block's tail."
    right = np.delete(np.arange(samples), off)
    whole = Diagnosis(
        "some-rows", explanation, remedy, evidence.compare(evidence.exact[right], right).fit
    )
    inner = evidence.take(off)
    return [(Match(0.0, 0.0), whole)] + [
        (Match(0.0, match.fit), replace(diagnosis, reason="in these rows"))
        for match, diagnosis in _catalogue(inner)
        if diagnosis.id not in (PERMUTED_CLASSES.id, TRANSPOSED.id)
    ]


def _low_precision(evidence: Evidence) -> Found:
    """Errors to both sides, as small as rounding in a lower precision makes them."""
    if evidence.candidate.unit is not None or evidence.informed < 2 * INFORMED_ENOUGH:
        return []
    difference = evidence.candidate.values - evidence.exact
    off = np.abs(difference) > evidence.allowance.total
    up = float((difference[off] > 0.0).mean())
    if not LEAST_SHARE_OF_A_SIGN <= up <= 1.0 - LEAST_SHARE_OF_A_SIGN:
        return []
    excess = float((np.abs(difference[off]) / evidence.allowance.total[off]).max())
    own = type_precision(evidence.candidate.type).epsilon
    for name in ("float32", "float16", "bfloat16"):
        if 1.0 < excess <= type_precision(name).epsilon / own:
            explanation = f"The errors are those of arithmetic in {name}: small, to both sides."
            remedy = f"See what is computed or stored in {name} before it is widened again."
            fit = float(np.abs(difference).max()) / (evidence.largest or 1.0)
            named = Diagnosis("low-precision", explanation, remedy, fit)
            return [(Match(0.0, fit), named)]
    return []


def _usual(smoothing: float) -> Mistake:
    return Mistake(
        "unasked-smoothing",
        f"A label smoothing of {smoothing:g} is applied, which was not asked for.",
        f"Take it out, or compare with --label-smoothing {smoothing:g}.",
        lambda batch: None if batch.smoothing else changed(smoothing=lambda _: smoothing)(batch),
    )


def diagnose_loss(batch: Batch, graded: Graded, allowance: Allowance) -> tuple[Diagnosis, ...]:
    """The mistakes that explain a loss that is not acceptable; none where nothing does."""
    candidate, exact = graded.candidate, graded.exact
    finite = np.abs(candidate[np.isfinite(candidate)])
    if not finite.size or not finite.max():
        return ()
    digits = float((allowance.total / np.abs(candidate)).min())
    if digits > DIGITS_FOR_COMMON:
        return ()
    unit = allowance.total - allowance.rate * np.abs(exact)

    def ratio(predicted: Floats) -> float:
        error = np.where(candidate == predicted, 0.0, np.abs(candidate - predicted))
        slack = unit + MARGIN * allowance.rate * (np.abs(predicted) + np.abs(exact))
        return float(np.where(error == 0.0, 0.0, error / slack).max())

    limit = min(1.0, SHARE_OF_THE_ERROR * ratio(exact))
    found: Found = []
    with np.errstate(all="ignore"):
        for mistake, predicted in _predictions(batch, exact, digits <= DIGITS_FOR_ALL):
            close = ratio(predicted)
            if close <= limit:
                fit = float(np.abs(candidate - predicted).max() / finite.max())
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
