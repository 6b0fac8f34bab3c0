"""Which mistake explains a gradient or a loss that is wrong.

Tried in this order, and the first that leads to anything ends it: the catalogue and the right
numbers in other places; a constant factor and options with values of their own; a sum taken in half
precision; the catalogue times a constant factor; errors with a shape; errors in some rows only;
errors of the size of a lower precision's. What is named explains every component within the
precision that it has, and much better than the right gradient does. It is sought with a sample of
the rows, and then confirmed over all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cecli.comparison.catalogue import CATALOGUE
from cecli.comparison.description import rows_text
from cecli.comparison.evidence import (
    MARGIN,
    SHARE_OF_THE_ERROR,
    Evidence,
    Found,
    Hypothesis,
    Match,
    weights_of,
)
from cecli.comparison.fitted import FITTED, Fitted, find_value
from cecli.comparison.mistake import (
    ACCURACY,
    CONSTANT_FACTOR,
    EXTRA_MASS,
    LOW_PRECISION,
    PERMUTED_CLASSES,
    PERMUTED_ROWS,
    PERPLEXITY,
    ROUNDED,
    SOME_ROWS,
    SWAPPED_FILES,
    TRANSPOSED,
    Diagnosis,
    Mistake,
)
from cecli.comparison.mistaken import Makes, Variant
from cecli.comparison.structure import (
    INFORMED_ENOUGH,
    Facts,
    Order,
    decimals_of,
    extra_mass,
    half_sums,
    ignored,
    left_out,
    orders_of,
    rounded,
    weights,
)
from cecli.comparison.textbook import Batch, Textbook
from cecli.problem.dtypes import Floats, Integers
from cecli.problem.precision import type_precision

# Another explanation is as good where it fits nearly as well, or to well within rounding.
AS_GOOD, GOOD = 4.0, 0.25
LEAST_SHARE_OF_A_SIGN = 0.2
TOO_SMALL = "the problem is too small to tell a factor from other causes"
# So many numbers of predictions are made at once, and kept where they are all.
NUMBERS_AT_ONCE = 2**18
# One number fits many mistakes by chance: the fewer its digits, the fewer are tried.
DIGITS_FOR_COMMON, DIGITS_FOR_MOST, DIGITS_FOR_ALL = 0.01, 1e-3, 1e-5
# What a loss is multiplied by: steps that are accumulated, devices, units.
FACTORS = (*range(2, 33), 48, *(2**power for power in range(6, 15)), 100, 1000)
FILES_NAMED = 4
DIGITS_OF_ONE_ROW = 2
COPIES = (2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 64, 128, 256)

Confirm = Callable[[Sequence[Hypothesis]], Found]


@dataclass(frozen=True, eq=False)
class WrongGradient:
    """A gradient that is wrong: some of its rows, what is known of all, and how to ask these.

    confirm: goes through all rows, and keeps what explains them. right_of: right rows by their
    numbers.
    """

    sample: Evidence
    facts: Facts
    textbook: Textbook
    confirm: Confirm
    right_of: Callable[[Integers], Floats]


def diagnose_gradient(wrong: WrongGradient) -> tuple[Diagnosis, ...]:
    """The mistakes that explain a gradient that is not acceptable; none where nothing does."""
    sample = wrong.sample
    if sample.values.any() and sample.match(np.zeros_like(sample.values)).ratio <= 1.0:
        return ()  # digits so few that they may be zeros are no evidence
    for search in (
        _catalogue,
        _values,
        lambda wrong: half_sums(wrong.sample),
        _multiples,
        lambda wrong: ignored(wrong.sample),
        lambda wrong: left_out(wrong.sample, wrong.facts),
        lambda wrong: weights(wrong.sample, wrong.textbook),
        lambda wrong: extra_mass(wrong.sample),
        lambda wrong: rounded(wrong.sample),
        _factor_of_few,
    ):
        found = wrong.confirm(_likely(wrong.sample, search(wrong)))
        if found:
            return told_apart(found, wrong)
    return told_apart(_some_rows(wrong), wrong) or _low_precision(wrong.sample, wrong.facts)


def _likely(sample: Evidence, hypotheses: Iterator[Hypothesis]) -> list[Hypothesis]:
    """Those that explain the sample."""
    likely = []
    for hypothesis in hypotheses:
        predicted = hypothesis.predict(sample)
        if predicted is not None and sample.match(predicted).ratio <= sample.limit:
            likely.append(hypothesis)
    return likely


def told_apart(found: Found, wrong: WrongGradient) -> tuple[Diagnosis, ...]:
    """The explanations as good as the best, each id once, with the reason where several are left.

    Their order, that of simplicity, is kept.
    """
    kept = _as_good(found, wrong.facts.largest)
    if len(kept) > 1 and not any(diagnosis.reason for diagnosis in kept):
        reason = _coincidence(wrong.sample.batch)
        return tuple(replace(diagnosis, reason=reason) for diagnosis in kept)
    return kept


def _as_good(found: Found, largest: float, good: float = GOOD) -> tuple[Diagnosis, ...]:
    best = min((match.ratio for match, _ in found), default=0.0)
    kept: dict[str, Diagnosis] = {}
    for match, diagnosis in found:
        if match.ratio > max(AS_GOOD * best, good):
            continue
        fit = match.error / largest if largest else 0.0
        known = kept.get(diagnosis.id)
        if known is None or fit < known.fit:
            kept[diagnosis.id] = replace(diagnosis, fit=fit)
    return tuple(kept.values())


def _coincidence(batch: Batch) -> str:
    """What makes different mistakes the same on this problem."""
    facts, whole = [], batch.whole
    if whole.samples == 1:
        facts.append("there is only one sample")
    elif whole.samples == batch.classes:
        facts.append("there are as many samples as classes")
    if batch.classes == 2:
        facts.append("there are only two classes")
    if batch.index is not None:
        kept = batch.kept[:, 0]
        if (batch.scaled.argmax(axis=1) == batch.index)[kept].all():
            facts.append("every target has the largest logit")
        counts = whole.target_counts
        if whole.samples > 1 and counts is not None and np.count_nonzero(counts) == 1:
            facts.append("all targets are the same")
    because = ": " + ", and ".join(facts) if facts else " at the precision given"
    return "these give the same numbers on this problem" + because


# --- The catalogue --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Forecast:
    """What some variants predict of a batch's rows, (V, n, C)."""

    made: Floats
    variants: tuple[tuple[Mistake, Variant], ...]


def predictions_of(batch: Batch) -> Iterator[Forecast]:
    """The gradients of the catalogue; those of a small batch are made once."""
    kept = vars(batch).get("predictions")
    if kept is not None:
        yield kept
        return
    whole, at_once = True, max(1, NUMBERS_AT_ONCE // max(1, batch.logits.size))
    arrays: list[Floats] = []
    variants: list[tuple[Mistake, Variant]] = []
    for mistake in CATALOGUE:
        for variant in mistake.variants:
            made = None if variant.gradient is None else variant.gradient(batch)
            if made is None:
                continue
            if len(arrays) == at_once:
                yield Forecast(np.stack(arrays), tuple(variants))
                arrays, variants, whole = [], [], False
            arrays.append(made)
            variants.append((mistake, variant))
    if arrays:
        last = Forecast(np.stack(arrays), tuple(variants))
        if whole:
            vars(batch)["predictions"] = last
        yield last


def _catalogue(wrong: WrongGradient) -> Iterator[Hypothesis]:
    """Every mistake as it is, and the right numbers in other places."""
    yield from _formulas(wrong.sample)
    yield from _rearranged(wrong)


def _formulas(sample: Evidence) -> Iterator[Hypothesis]:
    """Every mistake that explains a few rows of the sample."""
    for predictions in predictions_of(sample.few.batch):
        ratios = sample.few.fits(predictions.made)[0].max(axis=1, initial=0.0)
        for place in np.flatnonzero(ratios <= sample.limit).tolist():
            mistake, variant = predictions.variants[place]
            yield Hypothesis(mistake.found(variant.words), _predicting(variant))


def _predicting(variant: Variant, factor: float = 1.0) -> Callable[[Evidence], Floats | None]:
    def predict(rows: Evidence) -> Floats | None:
        made = None if variant.gradient is None else variant.gradient(rows.batch)
        return made if made is None or factor == 1.0 else factor * made

    return predict


def _rearranged(wrong: WrongGradient) -> Iterator[Hypothesis]:
    """The right numbers in other places, as suggested by the order of random projections."""
    facts, whole = wrong.facts, wrong.textbook.whole
    if 1 < whole.samples == whole.classes and len(wrong.sample.right) == whole.samples:
        right = wrong.sample.right
        yield Hypothesis(TRANSPOSED.found(), lambda rows: right.T)
    if whole.samples > 1:
        for order, certain in _orders_of_rows(facts):
            swapped = _swapped(order, facts)
            found = PERMUTED_ROWS.found() if swapped is None else SWAPPED_FILES.found(swapped)
            yield Hypothesis(
                found,
                lambda rows, order=order: wrong.right_of(order[rows.numbers]),  # type: ignore[misc]
                holds=certain,
            )
    if whole.classes > 1 and facts.class_keys is not None:
        for order, _ in orders_of(facts.class_keys):
            yield Hypothesis(
                PERMUTED_CLASSES.found(),
                lambda rows, order=order: rows.right[:, order],  # type: ignore[misc]
            )


def _orders_of_rows(facts: Facts) -> Iterator[Order]:
    """Where each row may be from, if rows with keys have changed places."""
    keyed = np.flatnonzero(facts.keyed_rows)
    for among, certain in [] if facts.row_keys is None else orders_of(facts.row_keys):
        order = np.arange(len(facts.keyed_rows))
        order[keyed] = keyed[among]
        yield Order(order, certain)


def _swapped(order: Integers, facts: Facts) -> str | None:
    """Which file belongs to which, where whole files have changed places."""
    owners = {(file.start, file.stop): file.name for file in facts.owners}
    swapped = []
    for place in facts.places:
        own = order[place.start : place.stop]
        if not len(own) or (np.diff(own) != 1).any() or (own[0], own[-1] + 1) not in owners:
            return None
        if own[0] != place.start:
            swapped.append(f"{place.name} belongs to {owners[own[0], own[-1] + 1]}")
    shown = swapped[:FILES_NAMED] + ["…"] * (len(swapped) > FILES_NAMED)
    return ", ".join(shown) or None


def _multiples(wrong: WrongGradient) -> Iterator[Hypothesis]:
    """Every mistake times a factor, which a few rows tell nearly and the whole sample better."""
    sample, few = wrong.sample, wrong.sample.few
    if sample.informed() < INFORMED_ENOUGH:
        return
    for predictions in predictions_of(few.batch):
        factors = _factors(few, predictions.made)
        ratios = few.fits(factors[:, None, None] * predictions.made)[0].max(axis=1, initial=0.0)
        likely = (ratios <= AS_GOOD * sample.limit) & (factors != 0.0)
        for place in np.flatnonzero(likely).tolist():
            mistake, variant = predictions.variants[place]
            made = _predicting(variant)(sample)
            if made is None:
                continue
            factor, found = float(_factors(sample, made[None])[0]), mistake.found(variant.words)
            explanation = f"{found.explanation} Besides, it is multiplied by {factor:.6g}."
            named = replace(found, explanation=explanation, value=factor)
            yield Hypothesis(named, _predicting(variant, factor))


def _factors(sample: Evidence, predicted: Floats) -> Floats:
    """(V,) the factor that brings each of the predictions (V, n, C) closest; 0 for none."""
    weight = weights_of(sample.slack(sample.values))
    weighted = predicted * weight
    largest = np.abs(weighted).max(axis=(1, 2), keepdims=True, initial=0.0)
    weighted /= largest
    square = (weighted * weighted).sum(axis=(1, 2))
    factor = (sample.values * (weight / largest) * weighted).sum(axis=(1, 2)) / square
    return np.where(np.isfinite(factor), factor, 0.0)


# --- Values of their own --------------------------------------------------------------------------


def _values(wrong: WrongGradient) -> Iterator[Hypothesis]:
    """The right gradient times a factor, or with another value of an option."""
    sample, few = wrong.sample, wrong.sample.few
    if sample.informed() >= INFORMED_ENOUGH:
        yield from _constant_factor(sample)
        for fitted in FITTED:
            yield from _option(few, fitted)


def _factor_of_few(wrong: WrongGradient) -> Iterator[Hypothesis]:
    """The right gradient times a factor, where any two numbers are that."""
    if wrong.sample.informed() < INFORMED_ENOUGH:
        yield from _constant_factor(wrong.sample, TOO_SMALL)


def _constant_factor(sample: Evidence, reason: str | None = None) -> Iterator[Hypothesis]:
    factor = float(_factors(sample, sample.right[None])[0])
    if factor:
        named = CONSTANT_FACTOR.found(f"gradient times {factor:.6g}", value=factor, reason=reason)
        yield Hypothesis(named, lambda rows: factor * rows.right)


def _option(few: Evidence, fitted: Fitted) -> Iterator[Hypothesis]:
    for maker in fitted.makers:
        value = find_value(few, fitted, maker)
        # Of one row any other sum of the exponentials makes what a z-loss of some value does.
        if fitted.option == "z_loss" and few.batch.whole.samples == 1 and value is not None:
            value = value if value == float(f"{value:.{DIGITS_OF_ONE_ROW}g}") else None
        if value is not None:
            yield Hypothesis(
                fitted.found(few.batch, value),
                lambda rows, maker=maker, value=value: maker(rows.batch, value),  # type: ignore[misc]
            )


# --- Some rows, and low precision -----------------------------------------------------------------


def _some_rows(wrong: WrongGradient) -> Found:
    """What explains the rows that are off, where others are right."""
    off, kept = np.flatnonzero(wrong.facts.off_rows), wrong.facts.kept
    # that ignored rows are 0 makes no difference between rows
    if not 0 < len(off) < len(kept) or kept[off].sum() == kept.sum():
        return []
    inner = wrong.sample.take(np.flatnonzero(wrong.sample.off.any(axis=1)))
    likely = [_in_rows_that_are_off(found) for found in _likely(inner, _formulas(inner))]
    found = [
        (match, replace(diagnosis, reason="in these rows"))
        for match, diagnosis in wrong.confirm(likely)
    ]
    if not found:
        return []
    least = Match(0.0, min(match.error for match, _ in found))
    return [(least, SOME_ROWS.found(rows_text(off, kept))), *found]


def _in_rows_that_are_off(hypothesis: Hypothesis) -> Hypothesis:
    def predict(rows: Evidence) -> Floats | None:
        made = hypothesis.predict(rows)
        off = rows.off.any(axis=1, keepdims=True)
        return None if made is None else np.where(off, made, rows.right)

    return replace(hypothesis, predict=predict)


def _low_precision(sample: Evidence, facts: Facts) -> tuple[Diagnosis, ...]:
    """Errors to both sides, as small as rounding in a lower precision makes them."""
    if sample.unit is not None or sample.informed() < 2 * INFORMED_ENOUGH:
        return ()
    difference, off = sample.values - sample.right, sample.off
    up = float((difference[off] > 0.0).mean())
    if not LEAST_SHARE_OF_A_SIGN <= up <= 1.0 - LEAST_SHARE_OF_A_SIGN:
        return ()
    excess = float((np.abs(difference[off]) / sample.allowance.total[off]).max())
    own = type_precision(sample.type).epsilon
    for name in ("float32", "float16", "bfloat16"):
        if 1.0 < excess <= type_precision(name).epsilon / own:
            fit = float(np.abs(difference).max()) / (facts.largest or 1.0)
            found = LOW_PRECISION.found(name, fit)
            return (replace(found, remedy=found.remedy.replace("{}", name)),)
    return ()


# --- Losses ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class WrongLoss:
    """A loss that is wrong: one number, (1,), or each row's own, (N,).

    values, right: it and what it should be. rate: what it may be off by in relation to that; unit:
    and what typed digits leave open; allowed: all of it. predict: what each of some ways to make a
    loss comes to, None where there is no room for it.
    """

    values: Floats
    right: Floats
    rate: Floats
    unit: Floats
    allowed: Floats
    each: bool
    type: str
    predict: Callable[[Sequence[Makes]], Sequence[Floats | None]]

    def match(self, predicted: Floats) -> Match:
        """How closely a prediction fits."""
        error = np.where(self.values == predicted, 0.0, np.abs(self.values - predicted))
        slack = self.unit + MARGIN * self.rate * (np.abs(predicted) + np.abs(self.right))
        ratio = np.where(error == 0.0, 0.0, error / slack)
        ratio[np.isnan(ratio)] = np.inf
        return Match(float(ratio.max(initial=0.0)), float(error.max(initial=0.0)))


def diagnose_loss(wrong: WrongLoss, batch: Batch) -> tuple[Diagnosis, ...]:
    """The mistakes that explain a loss that is not acceptable; none where nothing does.

    batch: some rows of the problem.
    """
    finite = np.abs(wrong.values[np.isfinite(wrong.values)])
    if not finite.size or not finite.max():
        return ()
    digits = float(((wrong.unit + wrong.rate * np.abs(wrong.right)) / np.abs(wrong.values)).min())
    if digits > DIGITS_FOR_COMMON:
        return ()
    limit = min(1.0, SHARE_OF_THE_ERROR * wrong.match(wrong.right).ratio)
    for predictions in (_by_formula(wrong, digits), _by_value(wrong, batch, digits)):
        found = []
        for diagnosis, predicted in predictions:
            match = wrong.match(predicted)
            if match.ratio <= limit:
                found.append((match, replace(diagnosis, of="loss")))
        # of digits that were typed, all that they leave open is as good
        good = 1.0 if wrong.unit.any() else GOOD
        kept = _as_good(found, float(finite.max()), good)
        if kept:
            reason = _coincidence(batch) if len(kept) > 1 else None
            return tuple(replace(diagnosis, reason=reason) for diagnosis in kept)
    return ()


def _by_formula(wrong: WrongLoss, digits: float) -> Iterator[tuple[Diagnosis, Floats]]:
    tried: list[tuple[Diagnosis, Makes]] = []
    for mistake in CATALOGUE:
        for variant in mistake.variants:
            enough = DIGITS_FOR_ALL if variant.rare else DIGITS_FOR_MOST
            if variant.losses is not None and (variant.common or digits <= enough):
                tried.append((mistake.found(variant.words), variant.losses))
    tried.append((ACCURACY.found(), _hits))
    made = wrong.predict([losses for _, losses in tried])
    for (diagnosis, _), predicted in zip(tried, made, strict=True):
        if predicted is not None:
            yield diagnosis, predicted
    yield PERPLEXITY.found(), np.exp(wrong.right)


def _hits(batch: Batch) -> Floats | None:
    """What each row adds to the accuracy."""
    if batch.index is None or not batch.whole.counted:
        return None
    hits = (batch.scaled.argmax(axis=1) == batch.index) & batch.kept[:, 0]
    return np.asarray(hits / batch.whole.counted)


def _with_value(fitted: Fitted, value: float) -> Makes:
    return lambda batch: fitted.losses(batch, value)


# The losses with the values of options that many people choose.
USUAL = [(fitted, value, _with_value(fitted, value)) for fitted in FITTED for value in fitted.usual]


def _by_value(wrong: WrongLoss, batch: Batch, digits: float) -> Iterator[tuple[Diagnosis, Floats]]:
    """What has a value that many people choose."""
    if digits > DIGITS_FOR_MOST:
        return
    for factor in FACTORS:
        for value, text in ((float(factor), f"{factor:,}"), (1.0 / factor, f"1/{factor:,}")):
            yield CONSTANT_FACTOR.found(f"loss times {text}", value=value), value * wrong.right
    counted = batch.whole.counted if batch.weight is None else batch.whole.total_weight
    each = 1.0 if wrong.right.ndim else np.divide(counted, batch.divisor)
    for copies in COPIES:
        words = f"it is {copies} times the right one, as of {copies} shards that each add all of it"
        yield EXTRA_MASS.found(words, value=float(copies)), wrong.right + each * np.log(copies)
    decimals = decimals_of(np.atleast_1d(wrong.values), wrong.type)
    if decimals is not None and not wrong.unit.any():
        rounded = np.round(wrong.right, decimals)
        yield ROUNDED.found(decimals, value=float(decimals)), rounded
    tried = [
        (fitted.found(batch, value), make)
        for fitted, value, make in USUAL
        if digits <= DIGITS_FOR_ALL or fitted.option == "smoothing"
    ]
    for (diagnosis, _), predicted in zip(
        tried, wrong.predict([losses for _, losses in tried]), strict=True
    ):
        if predicted is not None:
            yield diagnosis, predicted
