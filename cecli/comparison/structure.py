"""Errors with a shape: rows or classes that were left out, factors of rows, sums that differ.

What has no formula of its own is read off the gradient that is judged: a factor of each row, how
much each row's sum has too much. What is read off explains a gradient only where the row says more
than that, and the numbers of all rows then tell what it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.comparison.catalogue import mistake_called
from cecli.comparison.description import classes_text, rows_text
from cecli.comparison.evidence import Evidence, Hypothesis
from cecli.comparison.mistake import (
    CLASSES_LEFT_OUT,
    EXTRA_MASS,
    HALF_ACCUMULATION,
    ROUNDED,
    ROWS_LEFT_OUT,
    SAMPLE_WEIGHTS,
    Diagnosis,
)
from cecli.comparison.textbook import Batch, Textbook
from cecli.problem.dtypes import Floats, Integers
from cecli.problem.precision import round_to_type, type_precision

# What is read off each row needs this many components more that say something.
INFORMED_ENOUGH = 2
# Their binary digits; a number of the coarser one is as a rule one of the other too.
HALF_TYPES = {"bfloat16": 8, "float16": 11}
MOST_DECIMALS = 12
MOST_MEANS = 2**16
# So often the order of two keys is held against each other.
MOST_TURNS = 6


class File(NamedTuple):
    """A file among several: how an explanation calls it, its first row and the one behind it."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of all rows of a gradient.

    off, off_at_target: how many components are not acceptable, and how many of those at the class
    of the target. off_rows (N,), off_classes (C,): where some are. kept (N,): not ignored.
    broken_rows (N,): with something that is not finite. zero_classes, untouched_classes (C,): 0, or
    the logits, in every row that is kept. largest: the largest finite component. row_keys,
    class_keys: what tells keyed_rows (N,), those near to some that are off, and the classes, apart
    in whatever order they are; None where they are too many. places, owners: the files of
    the gradient and those of the logits, where there are several.
    """

    off: int
    off_at_target: int
    off_rows: NDArray[np.bool_]
    keyed_rows: NDArray[np.bool_]
    off_classes: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    broken_rows: NDArray[np.bool_]
    zero_classes: NDArray[np.bool_]
    untouched_classes: NDArray[np.bool_]
    largest: float
    row_keys: Keys | None = None
    class_keys: Keys | None = None
    places: tuple[File, ...] = ()
    owners: tuple[File, ...] = ()


def ignored(sample: Evidence) -> Iterator[Hypothesis]:
    """Whatever stands in the rows to ignore, the others are right."""
    if sample.batch.whole.counted < sample.batch.whole.samples:
        yield Hypothesis(
            mistake_called("ignored-not-zeroed").found(),
            lambda rows: np.where(rows.batch.kept, rows.right, rows.values),
        )


# --- Left out -------------------------------------------------------------------------------------


def left_out(sample: Evidence, facts: Facts) -> Iterator[Hypothesis]:
    """Classes, then rows, that are 0 or still the logits."""
    stand_ins: dict[str, tuple[NDArray[np.bool_], Callable[[Evidence], Floats]]] = {
        "zero": (facts.zero_classes, lambda rows: np.zeros_like(rows.right)),
        "still the logits": (
            facts.untouched_classes,
            lambda rows: round_to_type(rows.batch.logits, rows.type),
        ),
    }
    for what, (classes, stand_in) in stand_ins.items():
        if (classes & facts.off_classes).any() and not classes.all():
            yield from _classes_left_out(what, classes, facts, stand_in)
    for what, (_, stand_in) in stand_ins.items():
        if not facts.off_rows[facts.kept].all():
            yield _rows_left_out(what, facts, stand_in)


def _classes_left_out(
    what: str,
    classes: NDArray[np.bool_],
    facts: Facts,
    stand_in: Callable[[Evidence], Floats],
) -> Iterator[Hypothesis]:
    where = classes_text(classes, facts.off_classes, what)

    def without(rows: Evidence) -> Floats:
        return np.where(classes, stand_in(rows), rows.right)

    def not_even_summed(rows: Evidence) -> Floats:
        logits = np.where(classes, -np.inf, rows.batch.logits)
        return np.where(classes, stand_in(rows), rows.batch.but(logits=logits).gradient())

    yield Hypothesis(CLASSES_LEFT_OUT.found(f"{where}; the others are right."), without)
    yield Hypothesis(
        CLASSES_LEFT_OUT.found(f"{where}; the softmax's sum leaves them out too."),
        not_even_summed,
    )


def _rows_left_out(what: str, facts: Facts, stand_in: Callable[[Evidence], Floats]) -> Hypothesis:
    def predict(rows: Evidence) -> Floats:
        instead = stand_in(rows)
        untouched = (rows.values == instead).all(axis=1, keepdims=True)
        return np.where(untouched, instead, rows.right)

    where = rows_text(np.flatnonzero(facts.off_rows), facts.kept)
    explanation = f"Rows are {what}: {where}."
    return Hypothesis(ROWS_LEFT_OUT.found(explanation), predict)


# --- A factor of each row -------------------------------------------------------------------------


class Factors(NamedTuple):
    """Of rows that count, (n,): their factors, what these may be off by, and weights in the mean.

    targets (n,): of class indices, else −1.
    """

    factors: Floats
    tolerance: Floats
    weights: Floats
    targets: Integers


def weights(sample: Evidence, textbook: Textbook) -> Iterator[Hypothesis]:
    """Each row times a factor of its own."""
    if sample.informed(1) < INFORMED_ENOUGH:
        return

    def watch(rows: Evidence) -> Factors:
        batch, (factors, tolerance) = rows.batch, rows.row_factors
        clear = batch.kept[:, 0] & (tolerance[:, 0] < 1.0)
        weights = np.ones_like(batch.total)
        if batch.index is not None and batch.weight is not None:
            weights = batch.weight[batch.index.clip(0, batch.classes - 1), None]
        targets = np.full(len(clear), -1) if batch.index is None else batch.index
        return Factors(factors[clear, 0], tolerance[clear, 0], weights[clear, 0], targets[clear])

    def name(seen: list[object]) -> Diagnosis | None:
        parts = [part for part in seen if isinstance(part, Factors)]
        all_ = Factors(*map(np.concatenate, zip(*parts, strict=True)))
        if not len(all_.factors) or all_.factors.min() < 0.0:
            return None
        if textbook.whole.averaged and (means := _means_of(all_)) is not None:
            return mistake_called("mean-of-means").found(means)
        words = f"{float(all_.factors.min()):.4g} to {float(all_.factors.max()):.4g}"
        if _of_classes(all_):
            words += ", the same for all samples of a class, as class weights are"
        return SAMPLE_WEIGHTS.found(words)

    yield Hypothesis(
        SAMPLE_WEIGHTS.found(), lambda rows: rows.row_factors[0] * rows.right, watch, name
    )


def _means_of(rows: Factors) -> str | None:
    """Whether runs of rows have the factors that the mean of their own means gives them.

    The factor of a part that weighs W_k, of K parts that weigh W together, is W/(K W_k).
    """
    factors, weights = rows.factors, rows.weights
    apart = np.abs(np.diff(factors)) > 4.0 * (rows.tolerance[1:] + rows.tolerance[:-1])
    starts = np.append(0, np.flatnonzero(apart) + 1)
    if not 1 < len(starts) <= min(MOST_MEANS, len(factors)):
        return None
    # A run may be several parts of one size: its share is theirs together.
    shares = np.add.reduceat(weights * factors, starts) / weights.sum()
    tolerance = np.add.reduceat(weights * rows.tolerance, starts) / weights.sum()
    counts = np.diff(np.append(starts, len(factors)))
    for parts in range(len(starts), min(len(factors), 4 * len(starts)) + 1):
        numbers = np.rint(shares * parts)
        close = np.abs(shares * parts - numbers) <= 4.0 * parts * tolerance
        if numbers.sum() == parts and (numbers > 0).all() and close.all():
            sizes = counts / numbers
            if (weights != 1.0).any() or (sizes == np.rint(sizes)).all():
                return f"{parts:,} parts, {sizes.min():.6g} to {sizes.max():.6g} samples each,"
    return None


def _of_classes(rows: Factors) -> bool:
    """Whether the factor is the same wherever the target is, and some class has two samples."""
    order = np.argsort(rows.targets, kind="stable")
    factors, targets = rows.factors[order], rows.targets[order]
    same = (targets[1:] == targets[:-1]) & (targets[1:] >= 0)
    near = np.abs(np.diff(factors)) <= 4.0 * (
        rows.tolerance[order][1:] + rows.tolerance[order][:-1]
    )
    return bool(same.any() and near[same].all())


# --- Another sum in each row ----------------------------------------------------------------------


class Sums(NamedTuple):
    """Of rows that count, (n,): r, what it may be off by, the right log-sum-exp, and m."""

    ratio: Floats
    tolerance: Floats
    log_sum_exp: Floats
    maximum: Floats


def extra_mass(sample: Evidence) -> Iterator[Hypothesis]:
    """Each row's softmax times a factor of its own: its sum is another one."""
    if sample.batch.z_loss or sample.informed(1) < INFORMED_ENOUGH:
        return

    def predict(rows: Evidence) -> Floats:
        return rows.batch.gradient(softmax=rows.sum_factors[0] * rows.batch.softmax)

    def watch(rows: Evidence) -> Sums:
        parts = (*rows.sum_factors, rows.batch.log_sum_exp, rows.batch.maximum)
        return Sums(*(part[rows.batch.kept[:, 0], 0] for part in parts))

    def name(seen: list[object]) -> Diagnosis | None:
        parts = [part for part in seen if isinstance(part, Sums)]
        sums = Sums(*map(np.concatenate, zip(*parts, strict=True)))
        if not sums.ratio.min(initial=1.0) > 0.0:
            return None
        return EXTRA_MASS.found(_what_is_too_much(sums, sample.batch))

    yield Hypothesis(EXTRA_MASS.found(), predict, watch, name)


def _what_is_too_much(sums: Sums, batch: Batch) -> str:
    """In words: S (1/r − 1) is the same in all rows, or r is, or the logarithm is rounded."""
    times = 1.0 / sums.ratio
    tolerance = sums.tolerance * times**2
    if _constant(times, tolerance):
        return f"{_middle(times):.6g} times the right one in every row"
    logarithms = {
        "as of {} classes with the logit 0": sums.log_sum_exp,
        "as of {} times the largest term, of padding with 0 behind m": (
            sums.log_sum_exp - sums.maximum
        ),
    }
    if batch.softcap is not None:
        raised = f"as of {{}} masked classes that the softcap has raised to −{batch.softcap:g}"
        logarithms[raised] = sums.log_sum_exp + batch.softcap / batch.temperature
    for words, logarithm in logarithms.items():
        unit = np.exp(logarithm)
        extra = (times - 1.0) * unit
        if _constant(extra, tolerance * unit):
            change = "too large" if _middle(extra) > 0.0 else "too small"
            return f"it is {change} in every row, {words.format(f'{abs(_middle(extra)):.6g}')}"
    rounded = sums.log_sum_exp + np.log(times)
    for name in HALF_TYPES:
        off = np.abs(round_to_type(rounded, name) - rounded)
        coarse = 2.0**-4 * type_precision(name).epsilon * np.abs(rounded)
        if (off <= 4.0 * tolerance).all() and (4.0 * tolerance <= coarse).all():
            return f"its logarithm is rounded to {name}"
    return f"{float(times.min()):.6g} to {float(times.max()):.6g} times the right one"


def _middle(numbers: Floats) -> float:
    return float(np.median(numbers))


def _constant(numbers: Floats, tolerance: Floats) -> bool:
    off = np.abs(numbers - _middle(numbers))
    return bool((off <= 4.0 * np.maximum(tolerance, np.median(tolerance))).all())


def half_sums(sample: Evidence) -> Iterator[Hypothesis]:
    """The sum of the exponentials rounded to a half type, read off the rows."""
    if sample.type not in ("float32", "float64") or sample.unit is not None:
        return
    if sample.batch.index is None or sample.batch.z_loss:
        return
    if sample.informed() < INFORMED_ENOUGH:
        return
    for name, digits in HALF_TYPES.items():

        def predict(rows: Evidence, digits: int = digits) -> Floats:
            batch = rows.batch
            total = batch.total_exponential
            mantissa, exponent = np.frexp(total / rows.sum_factors[0])
            half = np.ldexp(np.rint(np.ldexp(mantissa, digits)), exponent - digits)
            return batch.gradient(softmax=batch.softmax * total / half)

        yield Hypothesis(HALF_ACCUMULATION.found(name), predict)


# --- Rounded --------------------------------------------------------------------------------------


def decimals_of(numbers: Floats, type_: str, least: int = 0) -> int | None:
    """To how many decimals, at least so many, all are rounded; None where they are to none."""
    finite = numbers[np.isfinite(numbers)]
    largest = float(np.abs(finite).max(initial=0.0))
    epsilon = type_precision(type_).epsilon
    for decimals in range(least, MOST_DECIMALS + 1):
        unit = 10.0**-decimals
        if unit < 64.0 * epsilon * largest:
            break
        whole = np.rint(finite / unit)
        if (np.abs(finite / unit - whole) <= 2.0 * epsilon * np.abs(whole)).all():
            return decimals
    return None


def rounded(sample: Evidence) -> Iterator[Hypothesis]:
    """Right numbers to so many decimals."""
    decimals = None if sample.unit is not None else decimals_of(sample.values, sample.type)
    if decimals is None:
        return

    def predict(rows: Evidence, unit: float = 10.0**-decimals) -> Floats:
        whole = np.rint(rows.values / unit)
        is_whole = np.abs(rows.values / unit - whole) <= 1e-3
        near = np.abs(rows.values - rows.right) <= unit * (0.5 + 1e-6)
        return np.where(is_whole & near, rows.values, rows.right)

    yield Hypothesis(ROUNDED.found(decimals, value=float(decimals)), predict)


# --- In other places ------------------------------------------------------------------------------


class Keys(NamedTuple):
    """Random projections of the rows or classes of a candidate, and of the right ones, (2, n) each.

    The first is of their sizes, the second of the fourth roots of these, to which the small ones
    matter too. near: how far those of the same numbers may lie apart, in relation to them.
    """

    candidate: Floats
    right: Floats
    near: float


class Order(NamedTuple):
    """Where each of the rows or classes is from; certain: whether both keys of all of them fit."""

    places: Integers
    certain: bool


def orders_of(keys: Keys) -> list[Order]:
    """Where they may be from, by the order of their keys; nowhere where some are not finite.

    Rounding changes the order of those that are next to each other by one key: where the other key
    does not fit, it tells the order among them. Of numbers with few digits the first alone may.
    """
    candidate, right, near = keys
    if not np.isfinite(candidate).all():
        return []
    order, among = np.arange(right.shape[1]), np.arange(right.shape[1])
    found = []
    for turn in range(MOST_TURNS):
        own, other = turn % 2, 1 - turn % 2
        places, from_ = among[np.argsort(candidate[own][among], kind="stable")], order[among]
        order[places] = from_[np.argsort(right[own][from_], kind="stable")]
        apart = np.abs(candidate - right[:, order]) > near * np.abs(candidate)
        if not turn:
            found.append(Order(order.copy(), not apart.any()))
        among = np.flatnonzero(apart[other])
        if not len(among):
            break
    if not np.array_equal(found[0].places, order):
        found.append(Order(order, not apart.any()))
    return found
