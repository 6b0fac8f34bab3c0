"""The textbook formulas with every part of them within reach, so that each can be got wrong.

    v = c·tanh(z/c) / T      y_k = w_k ((1 − ε) q_k + ε/C)      p = softmax(v)
    L = (−Σ y log p) / D + λ lse²/N      ∂L/∂z = ((Y p − y) / D + 2 λ lse p / N) · dv/dz

In plain float64, vectorised, on any rows of a problem: `core` is the arithmetic to trust, this is
the one to make mistakes in. What they make of it stands in `mistaken`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.problem.dtypes import Floats, Integers, as_doubles
from cecli.problem.problem import Block, Problem
from cecli.problem.targets import ClassIndices

# The softmax over the samples is made for problems of so many components.
MOST_ACROSS = 2**20
# All rows are kept of problems of so many.
MOST_KEPT = 2**14
# Up to here rows are short next to what NumPy takes to begin with each.
FEW_CLASSES = 16
_OF_SOFTMAX = ("scaled", "maximum", "total_exponential", "softmax", "log_sum_exp")
_OF_SLOPE = ("slope", "cap_slope")
_OF_TARGET = ("target",)
_OF_MASS = ("mass", "total")


@dataclass(frozen=True, eq=False)
class Whole:
    """What rows depend on of the whole problem they are from.

    samples, counted: how many rows there are, and how many of them are kept. averaged: whether the
    loss is their mean. total_weight, total_squared_weight: Σ weight of their targets, and of its
    square. target_counts (C,): how often each class is a target, None for soft ones. length: of the
    last axis of samples, a sequence's; sequences: how many of these count. counted_first,
    counted_last: how many of their first and last rows are kept.
    """

    samples: int
    classes: int
    counted: int
    averaged: bool
    total_weight: float
    total_squared_weight: float
    target_counts: Integers | None
    ignore_index: int | None
    length: int
    sequences: int
    counted_first: int
    counted_last: int


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows of a problem.

    logits (n, C): ignored rows too, as they stand there. index (n,) or soft (n, C): the target.
    before, after (n,): the targets of the neighbouring samples; previous, following (n,): of those
    in the same sequence, the ends of which are neighbours; position (n,): in it; own_sequence
    (n, 1): how many rows count in it, or their weight. All of these are None for soft targets, the
    last also where there is but one sequence. kept (n, 1): not ignored. sample_weight (n, 1): what
    all that a row adds is multiplied by, None for 1. divisor, z_divisor: 1 where nothing is
    averaged.
    """

    whole: Whole
    logits: Floats
    index: Integers | None
    soft: Floats | None
    before: Integers | None
    after: Integers | None
    previous: Integers | None
    following: Integers | None
    position: Integers | None
    own_sequence: Floats | None
    make_across: Callable[[], tuple[Floats, ...]]
    kept: NDArray[np.bool_]
    sample_weight: Floats | None
    weight: Floats | None
    smoothing: float
    temperature: float
    softcap: float | None
    z_loss: float
    divisor: float
    z_divisor: float

    def take(self, rows: Integers | slice) -> Batch:
        """The same of some of the rows."""

        def part(array: Any) -> Any:
            return None if array is None else array[rows]

        names = ("index", "soft", "before", "after", "previous", "following", "position")
        chosen: dict[str, Any] = {name: part(getattr(self, name)) for name in names}
        return replace(
            self,
            logits=self.logits[rows],
            own_sequence=part(self.own_sequence),
            make_across=lambda: tuple(map(part, self.across)),
            kept=self.kept[rows],
            sample_weight=part(self.sample_weight),
            **chosen,
        )

    def but(self, **changes: Any) -> Batch:
        """The same with some parts replaced; what they do not touch is not computed again."""
        other = replace(self, **changes)
        untouched: list[str] = []
        if not changes.keys() & {"logits", "softcap", "temperature"}:
            untouched += [*_OF_SOFTMAX, *_OF_SLOPE]
        if not changes.keys() & {"index", "soft"}:
            untouched += _OF_TARGET
            if not changes.keys() & {"smoothing", "weight"}:
                untouched += _OF_MASS
        vars(other).update({name: getattr(self, name) for name in untouched})
        return other

    @property
    def classes(self) -> int:
        """C"""
        return int(self.logits.shape[1])

    @cached_property
    def across(self) -> tuple[Floats, ...]:
        """Of each axis of samples the softmax over it, (n, C); none where there are too many."""
        return self.make_across()

    @cached_property
    def slope(self) -> Floats | float:
        """dv/dz, (n, C): a number where all are alike."""
        return self.cap_slope / self.temperature

    @cached_property
    def cap_slope(self) -> Floats | float:
        """1 − tanh²(z/c)"""
        return 1.0 if self.softcap is None else sech_squared(self.logits / self.softcap)

    @cached_property
    def scaled(self) -> Floats:
        """v (n, C): the logits after softcap and temperature."""
        if self.softcap is None and self.temperature == 1.0:
            return self.logits
        scaled: Floats = self.capped / self.temperature
        return scaled

    @property
    def capped(self) -> Floats:
        """c·tanh(z/c), −∞ where a class is masked."""
        if self.softcap is None:
            return self.logits
        capped = self.softcap * np.tanh(self.logits / self.softcap)
        return np.where(self.logits == -np.inf, -np.inf, capped)

    @cached_property
    def maximum(self) -> Floats:
        """m = max v (n, 1)"""
        return over_classes(np.maximum, self.scaled)

    @cached_property
    def softmax(self) -> Floats:
        """p (n, C)"""
        return softmax_of(self.scaled)

    @cached_property
    def log_sum_exp(self) -> Floats:
        """lse (n, 1)"""
        log_sum_exp: Floats = self.maximum + np.log(self.total_exponential)
        return log_sum_exp

    @cached_property
    def total_exponential(self) -> Floats:
        """Σ e^{v − m} (n, 1)"""
        return over_classes(np.add, np.exp(self.scaled - self.maximum))

    @cached_property
    def target(self) -> Floats:
        """q (n, C): the target itself as probabilities."""
        if self.soft is not None:
            return self.soft
        return self.one_hot(np.zeros(0, dtype=np.int64) if self.index is None else self.index)

    def one_hot(self, index: Integers) -> Floats:
        """1 at one class of each row, (n, C); no 1 where there is no such class."""
        return np.equal(np.arange(self.classes), index[:, None]).astype(np.float64)

    @cached_property
    def mass(self) -> Floats:
        """y (n, C)"""
        return self.mass_of(self.target)

    def mass_of(self, target: Floats) -> Floats:
        """w ((1 − ε) q + ε/C) of any target q (n, C) or (C,)."""
        mass = target
        if self.smoothing:
            mass = (1.0 - self.smoothing) * target + self.smoothing / self.classes
        if self.sample_weight is not None:
            mass = mass * self.sample_weight
        return np.asarray(mass if self.weight is None else mass * self.weight)

    @property
    def z_factor(self) -> Floats | float:
        """λ, times the samples' weights (n, 1), over its divisor"""
        factor = float(np.divide(self.z_loss, self.z_divisor))  # a mistake may divide by 0
        return factor if self.sample_weight is None else factor * self.sample_weight

    @cached_property
    def total(self) -> Floats:
        """Y = Σ y (n, 1)"""
        return over_classes(np.add, self.mass)

    def gradient(
        self,
        *,
        softmax: Floats | None = None,
        mass: Floats | float | None = None,
        by_scaled: Floats | None = None,
        slope: Floats | float | None = None,
    ) -> Floats:
        """∂L/∂z (n, C), 0 where ignored; an argument takes the place of a part of it.

        softmax: p. mass: y where it is subtracted. by_scaled: Y p − y as a whole. slope: dv/dz.
        """
        p = self.softmax if softmax is None else softmax
        if by_scaled is None:
            by_scaled = self.total * p - (self.mass if mass is None else mass)
        gradient = by_scaled / self.divisor
        if self.z_loss:
            gradient = gradient + 2.0 * self.z_factor * self.log_sum_exp * p
        return np.where(self.kept, gradient * (self.slope if slope is None else slope), 0.0)

    def losses(self, plain: Floats | None = None) -> Floats:
        """What each row adds to L, (n,); plain (n,) takes the place of −Σ y log p."""
        if plain is None:
            # in this order, or a large maximum would absorb the logarithm
            plain = self.expected(self.scaled - self.maximum - np.log(self.total_exponential))
        losses = plain / self.divisor
        if self.z_loss:
            losses = losses + (self.z_factor * self.log_sum_exp**2)[:, 0]
        return np.where(self.kept[:, 0], losses, 0.0)

    def expected(self, log_softmax: Floats) -> Floats:
        """−Σ y log p (n,) of any log p (n, C)."""
        terms = np.where(self.mass == 0.0, 0.0, self.mass * log_softmax)
        return -over_classes(np.add, terms)[:, 0]


class Textbook:
    """The formulas on any rows of a problem; what all of it is needed for is found once."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._length = problem.batch_shape[-1] if problem.batch_shape else 1

    @cached_property
    def _targets(self) -> Integers | None:
        """(N,) the class indices as they were given; mapped, where they are in one file."""
        truth = self.problem.truth
        return np.asarray(truth.rows) if isinstance(truth, ClassIndices) else None

    @cached_property
    def whole(self) -> Whole:
        """What the rows depend on of the whole problem."""
        problem = self.problem
        counted = problem.kept_count
        weight, squared, counts = float(counted), float(counted), None
        first = last = counted
        if isinstance(problem.truth, ClassIndices):
            kept, counts = problem.kept, problem.truth.counts
            first = int(np.count_nonzero(kept[:: self._length]))
            last = int(np.count_nonzero(kept[self._length - 1 :: self._length]))
        if problem.divisors.shares is not None:
            products = np.multiply(*problem.divisors.shares)
            weight, squared = float(products.sum()), float((products**2).sum())
        elif problem.weight is not None:
            weight, squared = self._weights(counts)
        sequences = len(problem.kept) // max(1, self._length)
        if self._sequence_totals is not None:
            sequences = int(np.count_nonzero(self._sequence_totals))
        return Whole(
            samples=problem.samples,
            classes=problem.classes,
            counted=counted,
            averaged=problem.objective.reduction == "mean",
            total_weight=weight,
            total_squared_weight=squared,
            target_counts=counts,
            ignore_index=problem.objective.ignore_index,
            length=self._length,
            sequences=sequences,
            counted_first=first,
            counted_last=last,
        )

    def _weights(self, counts: Integers | None) -> tuple[float, float]:
        weight = self.problem.weight
        assert weight is not None
        if counts is not None:
            return float((counts * weight).sum()), float((counts * weight**2).sum())
        assert self.problem.truth is not None
        total, size = np.zeros(self.problem.classes), rows_at_once(self.problem.classes)
        for start in range(0, self.problem.samples, size):
            total += as_doubles(self.problem.truth.rows[start : start + size]).sum(axis=0)
        return float((total * weight).sum()), float((total * weight**2).sum())

    @cached_property
    def _sequence_totals(self) -> Floats | None:
        """How much of each sequence counts, where there are several."""
        targets, weight = self._targets, self.problem.weight
        if targets is None or not 1 < self._length < len(targets):
            return None
        kept = self.problem.kept
        each = kept.astype(np.float64)
        if weight is not None:
            each[kept] = weight[targets[kept]]
        totals: Floats = each.reshape(-1, self._length).sum(axis=1)
        return totals

    @cached_property
    def _across(self) -> tuple[Floats, ...]:
        """The softmax over each axis that is not the classes'."""
        problem = self.problem
        if not 0 < problem.samples * problem.classes <= MOST_ACROSS:
            return ()
        block = problem.block(0, problem.samples, checked=False)
        scaled = self._batch(np.arange(problem.samples), *_given(block)).scaled
        shape = (*problem.batch_shape, problem.classes)
        return tuple(
            softmax_of(scaled.reshape(shape), axis).reshape(scaled.shape)
            for axis in range(len(problem.batch_shape))
        )

    @cached_property
    def everything(self) -> Batch:
        """All rows, of a problem that is small: they are kept."""
        block = self.problem.block(0, self.problem.samples, checked=False)
        return self._batch(np.arange(self.problem.samples), *_given(block))

    def _is_small(self, rows: int) -> bool:
        return rows == self.problem.samples and rows * self.problem.classes <= MOST_KEPT

    def rows(self, rows: Integers) -> Batch:
        """Any rows, by their numbers."""
        if self._is_small(len(rows)) and np.array_equal(rows, np.arange(len(rows))):
            return self.everything
        block = self.problem.only(rows).block(0, len(rows), checked=False)
        return self._batch(rows, *_given(block))

    def of_block(self, block: Block) -> Batch:
        """The rows of a block."""
        if self._is_small(len(block.kept)):
            return self.everything
        rows = np.arange(block.start, block.start + len(block.kept))
        return self._batch(rows, *_given(block))

    def _batch(self, rows: Integers, logits: Floats, soft: Floats | None) -> Batch:
        problem, objective, length = self.problem, self.problem.objective, self._length
        own = problem.sample_weight
        targets, totals = self._targets, self._sequence_totals
        around: dict[str, Any] = dict.fromkeys(
            ("index", "before", "after", "previous", "following", "position")
        )
        if targets is not None:
            before, after = rows - 1, rows + 1  # before the first is the last
            after[after == len(targets)] = 0
            places = {"index": rows, "before": before, "after": after}
            position = rows
            if length < len(targets):
                position = rows % length
                start = rows - position
                places["previous"] = start + (position - 1) % length
                places["following"] = start + (position + 1) % length
            around |= {name: targets[place].astype(np.int64) for name, place in places.items()}
            if length == len(targets):
                around |= {"previous": around["before"], "following": around["after"]}
            around["position"] = position
        return Batch(
            whole=self.whole,
            logits=logits,
            soft=soft,
            **around,
            own_sequence=None if totals is None else totals[rows // length, None],
            make_across=lambda: tuple(softmax[rows] for softmax in self._across),
            kept=problem.kept[rows, None],
            sample_weight=None if own is None else own[rows, None],
            weight=problem.weight,
            smoothing=float(objective.label_smoothing),
            temperature=float(objective.temperature),
            softcap=None if objective.softcap is None else float(objective.softcap),
            z_loss=float(objective.z_loss),
            divisor=problem.divisor or 1.0,
            z_divisor=problem.z_loss_divisor or 1.0,
        )


def _given(block: Block) -> tuple[Floats, Floats | None]:
    """The logits of a block that is not checked, ignored rows too, and its soft target."""
    with np.errstate(invalid="ignore"):
        return np.asarray(block.logits, np.float64), block.soft


def over_classes(ufunc: np.ufunc, array: NDArray[Any]) -> NDArray[Any]:
    """What NumPy's reduction over the classes gives, (…, n, C) → (…, n, 1).

    Few classes are taken column by column: loops over the rows are long, those in a row are not.
    """
    if not 0 < array.shape[-1] <= FEW_CLASSES:
        return np.asarray(ufunc.reduce(array, axis=-1, keepdims=True))
    found = array[..., :1].copy()
    for column in range(1, array.shape[-1]):
        ufunc(found, array[..., column : column + 1], out=found)
    return found


def over_rows(ufunc: np.ufunc, array: NDArray[Any]) -> NDArray[Any]:
    """The same over the rows, (n, C) → (C,)."""
    if not 0 < array.shape[1] <= FEW_CLASSES:
        return np.asarray(ufunc.reduce(array, axis=0))
    return np.array([ufunc.reduce(array[:, column]) for column in range(array.shape[1])])


def softmax_of(numbers: Floats, axis: int = 1) -> Floats:
    """The softmax over an axis."""
    if axis == numbers.ndim - 1:
        shares: Floats = np.exp(numbers - over_classes(np.maximum, numbers))
        shares /= over_classes(np.add, shares)
        return shares
    exponentials: Floats = np.exp(numbers - numbers.max(axis=axis, keepdims=True))
    exponentials /= exponentials.sum(axis=axis, keepdims=True)
    return exponentials


def sech_squared(numbers: Floats) -> Floats:
    """1 − tanh²(x), 1 where x is infinite: a masked class has no slope to lose."""
    decay = np.exp(-2.0 * np.abs(numbers))
    return np.where(np.isinf(numbers), 1.0, 4.0 * decay / (1.0 + decay) ** 2)


def rows_at_once(classes: int) -> int:
    """How many rows make arrays that stay in cache."""
    return int(max(1, 2**16 // classes))
