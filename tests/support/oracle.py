"""The objective once more, from its definition, at high precision: what the tests measure against.

Nothing here is shared with the package. Exponentials and logarithms come from mpmath, everything
else is exact: values are Fractions, an mpf being one too, and a float only where a value is
infinite or, in a sample that is ignored, NaN. Where all unmasked logits of a sample are equal its
probabilities are rational and therefore exact, so that ties and zeros come out as what they are.
"""

from __future__ import annotations

import itertools
import json
import math
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, cached_property
from typing import Any

import numpy as np
import pytest
from mpmath import mp
from numpy.typing import ArrayLike, DTypeLike, NDArray

from support.paths import CASES

Exact = Fraction | float
Objects = NDArray[np.object_]

# e^x below 10^-2500 stands for "smaller than whatever a rounding could notice, but not zero".
SMALLEST_EXPONENT = Fraction(-5757)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The options of a loss, named as the package names them."""

    weight: Sequence[float] | NDArray[Any] | None = None
    ignore_index: int | None = None
    label_smoothing: float = 0.0
    reduction: str = "mean"
    temperature: float = 1.0
    softcap: float | None = None
    z_loss: float = 0.0
    sample_weight: Sequence[float] | NDArray[Any] | None = None
    axis: int = -1

    def __post_init__(self) -> None:
        if self.sample_weight is not None and self.z_loss:
            raise NotImplementedError("a z-loss with weights of samples")


class Row:
    """One sample: its unreduced loss and, class by class, softmax, log-softmax and gradient."""

    def __init__(
        self, logits: Sequence[float], mass: Sequence[Fraction], objective: Objective
    ) -> None:
        self.mass = mass
        self.objective = objective
        self.total_mass = sum(filter(None, mass), Fraction(0))
        counts = Counter(z for z in logits if z > -math.inf)
        temperature = Fraction(objective.temperature)
        self.digits = _digits(counts, objective)
        with mp.workdps(self.digits):
            capped, self._slope = self._capped(counts)
            largest = max(capped.values())
            below = {z: (u - largest) / temperature for z, u in capped.items()}
            powers = {z: _power(d) for z, d in below.items()}
            total = mp.fsum(counts[z] * power for z, power in powers.items())
            log_total = _fraction(mp.log(total))
            if len(counts) == 1:
                softmax = dict.fromkeys(counts, Fraction(1, counts.total()))
            else:
                softmax = {z: _fraction(power / total) for z, power in powers.items()}
        self._logits = logits
        self._softmax = softmax
        self._log_softmax = {z: d - log_total for z, d in below.items()}
        self.log_sum = largest / temperature + log_total

    def _capped(
        self, logits: Iterable[float]
    ) -> tuple[dict[float, Fraction], dict[float, Fraction]]:
        """Of each logit its value under the cap, and how fast that grows with it."""
        if self.objective.softcap is None:
            return {z: Fraction(z) for z in logits}, dict.fromkeys(logits, Fraction(1))
        cap = Fraction(self.objective.softcap)
        tangents = {z: _fraction(mp.tanh(_mpf(Fraction(z) / cap))) for z in logits}
        return {z: cap * t for z, t in tangents.items()}, {z: 1 - t**2 for z, t in tangents.items()}

    def softmax(self, i: int) -> Fraction:
        return self._softmax.get(self._logits[i], Fraction(0))

    def log_softmax(self, i: int) -> Exact:
        return self._log_softmax.get(self._logits[i], -math.inf)

    @cached_property
    def alike(self) -> list[int]:
        """By class a number, the same for the same logit and mass, and so for the same results."""
        numbers: dict[tuple[float, Fraction], int] = {}
        return [
            numbers.setdefault(both, len(numbers))
            for both in zip(self._logits, self.mass, strict=True)
        ]

    @cached_property
    def different(self) -> list[int]:
        """By number of `alike` the first such class."""
        first: dict[int, int] = {}
        for i, number in enumerate(self.alike):
            first.setdefault(number, i)
        return list(first.values())

    @cached_property
    def loss(self) -> Exact:
        """Without the z-loss."""
        loss = Fraction(0)
        for i, mass in enumerate(self.mass):
            if mass:
                log_probability = self.log_softmax(i)
                if isinstance(log_probability, float):
                    return math.inf
                loss -= mass * log_probability
        return loss

    @cached_property
    def z_loss(self) -> Fraction:
        return Fraction(self.objective.z_loss) * self.log_sum**2

    def slope(self, i: int) -> Fraction:
        """How much the capped, tempered logit moves with the logit."""
        slope = self._slope.get(self._logits[i], Fraction(1))
        return slope / Fraction(self.objective.temperature)

    def terms(self, i: int, divisor: Fraction, z_loss_divisor: Fraction) -> list[Fraction]:
        """The terms whose sum is the component of the gradient."""
        p = self.softmax(i)
        return [
            self.slope(i) * self.total_mass * p / divisor,
            -self.slope(i) * self.mass[i] / divisor,
            self.slope(i) * 2 * Fraction(self.objective.z_loss) * self.log_sum * p / z_loss_divisor,
        ]

    def gradient(
        self, i: int, divisor: Fraction = Fraction(1), z_loss_divisor: Fraction = Fraction(1)
    ) -> Fraction:
        return sum(self.terms(i, divisor, z_loss_divisor), Fraction(0))


@dataclass(frozen=True)
class Result:
    """The exact result: arrays of the logits' shape (losses: the batch's) that hold `Exact`s."""

    softmax: Objects
    log_softmax: Objects
    losses: Objects
    loss: Exact
    grad: Objects
    largest_term: Objects
    divisor: Fraction | None
    z_loss_divisor: Fraction | None


def evaluate(logits: ArrayLike, target: ArrayLike, **options: Any) -> Result:
    """What the package should answer: an integer target is an index, a floating-point one soft.

    With reduction none, loss and gradient are those of the sum.
    """
    asked = pickle.dumps((np.asarray(logits), np.asarray(target), options))
    if asked not in known:
        known[asked] = _evaluate(np.asarray(logits), np.asarray(target), Objective(**options))
    return known[asked]


known: dict[bytes, Result] = {}  # of the golden cases several tests ask the same


def _evaluate(values: NDArray[Any], target: NDArray[Any], objective: Objective) -> Result:
    moved = np.moveaxis(values, objective.axis, -1)
    batch = moved.shape[:-1]
    flat = moved.reshape(-1, moved.shape[-1]).astype(np.float64)
    masses = _masses(target, flat.shape, objective)
    row_of = cache(lambda z, mass: Row(z, mass, objective))  # a batch may repeat its rows
    rows = [
        None if mass is None else row_of(tuple(z.tolist()), tuple(mass))
        for z, mass in zip(flat, masses, strict=True)
    ]
    divisor, z_loss_divisor = _divisors(target, masses, objective)
    by, z_by = divisor or Fraction(1), z_loss_divisor or Fraction(1)

    def array(component: Callable[[Row, int], Exact], ignored: Exact) -> Objects:
        out = np.full(flat.shape, ignored, dtype=object)
        components = cache(lambda row: [component(row, i) for i in row.different])
        for n, row in enumerate(rows):
            if row is not None:
                out[n] = np.array(components(row), dtype=object)[row.alike]
        return np.moveaxis(out.reshape(moved.shape), -1, objective.axis)

    losses = np.empty(len(rows), dtype=object)
    for n, row in enumerate(rows):
        losses[n] = Fraction(0) if row is None else _sum([row.loss, row.z_loss])
    kept = [row for row in rows if row is not None]
    loss = _sum([row.loss for row in kept])
    return Result(
        softmax=array(Row.softmax, math.nan),
        log_softmax=array(Row.log_softmax, math.nan),
        losses=losses.reshape(batch),
        loss=_sum([loss / by, _sum([row.z_loss for row in kept]) / z_by]),
        grad=array(lambda row, i: row.gradient(i, by, z_by), Fraction(0)),
        largest_term=array(
            lambda row, i: max(abs(term) for term in row.terms(i, by, z_by)), Fraction(0)
        ),
        divisor=divisor,
        z_loss_divisor=z_loss_divisor,
    )


def _sum(terms: Sequence[Exact]) -> Exact:
    """A sum in which infinity, a float, does not turn huge fractions into floats."""
    if math.inf in terms:
        return math.inf
    return sum((Fraction(term) for term in terms), Fraction(0))


def target_mass(target: int | Sequence[float], classes: int, **options: Any) -> list[Fraction]:
    """The mass that one sample's target puts on each class, smoothed and weighted."""
    objective = Objective(**options)
    if isinstance(target, int):
        mass = [Fraction(0)] * classes
        mass[target] = Fraction(1)
    else:
        mass = [Fraction(q) for q in target]
    smoothing = Fraction(objective.label_smoothing)
    if smoothing:
        mass = [(1 - smoothing) * y + smoothing / classes for y in mass]
    if objective.weight is None:
        return mass
    return [Fraction(float(w)) * y for w, y in zip(objective.weight, mass, strict=True)]


def definition(logits: Sequence[Any], mass: Sequence[Fraction], objective: Objective) -> Any:
    """One sample's loss, −Σ y log softmax + z_loss·log(Σ e^u)², as a plain function of mpf logits.

    At the working precision and for finite logits: what `Row` is itself checked against.
    """
    capped = logits
    if objective.softcap is not None:
        capped = [objective.softcap * mp.tanh(z / objective.softcap) for z in logits]
    tempered = [u / mp.mpf(objective.temperature) for u in capped]
    log_sum = mp.log(mp.fsum(mp.exp(u) for u in tempered))
    loss = mp.fsum(_mpf(y) * (log_sum - u) for y, u in zip(mass, tempered, strict=True))
    return loss + mp.mpf(objective.z_loss) * log_sum**2


def _masses(
    target: NDArray[Any], shape: tuple[int, ...], objective: Objective
) -> list[list[Fraction] | None]:
    options = {"weight": objective.weight, "label_smoothing": objective.label_smoothing}
    samples, classes = shape
    targets = target.reshape(-1).tolist()
    if target.dtype.kind == "f":
        targets = np.moveaxis(target, objective.axis, -1).reshape(shape).tolist()
    return [
        [weight * y for y in target_mass(t, classes, **options)]
        if weight and t != objective.ignore_index
        else None
        for weight, t in zip(_sample_weights(samples, objective), targets, strict=True)
    ]


def _sample_weights(samples: int, objective: Objective) -> list[Fraction]:
    weights = objective.sample_weight
    return [Fraction(float(w)) for w in (np.ones(samples) if weights is None else weights)]


def _divisors(
    target: NDArray[Any], masses: Sequence[object], objective: Objective
) -> tuple[Fraction | None, Fraction | None]:
    if objective.reduction != "mean":
        same = Fraction(1) if objective.reduction == "sum" else None
        return same, same
    count = Fraction(sum(mass is not None for mass in masses))
    own = _sample_weights(len(masses), objective)
    kept = [(w, n) for n, (w, mass) in enumerate(zip(own, masses, strict=True)) if mass is not None]
    if objective.weight is None or target.dtype.kind == "f":
        return sum((w for w, _ in kept), Fraction(0)), count
    by_class, targets = objective.weight, target.reshape(-1).tolist()
    total = sum((w * Fraction(float(by_class[targets[n]])) for w, n in kept), Fraction(0))
    return total, count


def _digits(logits: Iterable[float], objective: Objective) -> int:
    """Enough that what cancels, 1 − p, 1 − tanh² or p − 1/C, does not take the last 80 digits."""
    ordered = [Fraction(z) for z in sorted(logits)]
    spread = min((ordered[-1] - ordered[0]) / Fraction(objective.temperature), -SMALLEST_EXPONENT)
    saturation = Fraction(0)
    if objective.softcap is not None:
        saturation = max(map(abs, ordered)) / Fraction(objective.softcap)
    digits = 80 + math.ceil(2 * (spread + 2 * saturation) / Fraction(math.log(10)))
    gaps = [(b - a) / Fraction(objective.temperature) for a, b in itertools.pairwise(ordered)]
    digits += 2 * max((len(str(1 / gap).split("/")[0]) for gap in gaps if gap < 1), default=0)
    if digits > 50_000:
        raise ValueError(f"the oracle would need {digits} digits for logits so far above the cap")
    return digits


def _power(exponent: Fraction) -> Any:
    return mp.exp(_mpf(max(exponent, SMALLEST_EXPONENT)))


def _mpf(value: Fraction) -> Any:
    return mp.mpf(value.numerator) / value.denominator


def _fraction(value: Any) -> Fraction:
    """An mpf as the fraction it is."""
    mantissa, exponent = value.man_exp
    if value < 0:
        mantissa = -abs(mantissa)
    if exponent >= 0:
        return Fraction(int(mantissa) << exponent)
    return Fraction(int(mantissa), 1 << -exponent)


# Rounding and distances.


def _ulp_exponent(value: Fraction, dtype: DTypeLike) -> int:
    """The e for which 2^e is the distance of neighbouring numbers of dtype around value."""
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if size < _power_of_two(exponent):
        exponent -= 1
    limits = np.finfo(np.dtype(dtype))
    return max(exponent, int(limits.minexp)) - int(limits.nmant)


def _power_of_two(exponent: int) -> Fraction:
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


def round_to(value: Exact, dtype: DTypeLike = np.float64) -> float:
    """The number of dtype nearest to value, ties to even, once and straight from the exact value.

    What rounds to zero is +0, from either side, as the golden cases have it.
    """
    if isinstance(value, float) or value == 0:
        return float(value)
    exponent = _ulp_exponent(value, dtype)
    nearest = round(value / _power_of_two(exponent)) * _power_of_two(exponent)
    if abs(nearest) > Fraction(float(np.finfo(np.dtype(dtype)).max)):
        return math.inf if nearest > 0 else -math.inf
    return float(nearest)


def rounded(values: Objects, dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """`round_to` for an array, whose equal values are mostly the same object."""
    flat = values.reshape(-1).tolist()
    by_object = {id(value): value for value in flat}
    found = {key: round_to(value, dtype) for key, value in by_object.items()}
    return np.array([found[id(value)] for value in flat], dtype=dtype).reshape(values.shape)


def ulp(value: Exact, dtype: DTypeLike = np.float64) -> Fraction:
    """One unit in the last place of value: never less than the smallest subnormal number."""
    if isinstance(value, float) or value == 0:
        value = Fraction(float(np.finfo(np.dtype(dtype)).smallest_subnormal))
    return _power_of_two(_ulp_exponent(value, dtype))


def ulps(
    actual: float, exact: Exact, dtype: DTypeLike = np.float64, scale: Exact | None = None
) -> float:
    """The error of actual in units in the last place of exact, or of scale where it is larger."""
    actual = float(actual)
    if not math.isfinite(actual) or isinstance(exact, float):
        expected = round_to(exact, dtype)
        same = actual == expected or (math.isnan(actual) and math.isnan(expected))
        return 0.0 if same else math.inf
    size = abs(exact) if scale is None else max(abs(exact), abs(Fraction(scale)))
    return float(abs(Fraction(actual) - exact) / ulp(size, dtype))


def worst_ulps(
    actual: ArrayLike, exact: Objects, dtype: DTypeLike = np.float64, scale: Objects | None = None
) -> float:
    """The largest of the errors of an array, in units in the last place."""
    actual = np.asarray(actual)
    assert actual.shape == exact.shape
    scales = [None] * exact.size if scale is None else list(scale.reshape(-1))
    triples = zip(actual.reshape(-1).tolist(), exact.reshape(-1), scales, strict=True)
    # equal logits share their results, and a large array holds few of them
    different = {(a, id(e), id(s)): (a, e, s) for a, e, s in triples}
    return max((ulps(a, e, dtype, s) for a, e, s in different.values()), default=0.0)


# The golden cases.


@dataclass(frozen=True)
class Golden:
    """One case of cases/golden.json, whose results are correctly rounded doubles."""

    name: str
    logits: NDArray[np.float64]
    target: int | NDArray[np.float64]
    loss: float
    softmax: NDArray[np.float64]
    log_softmax: NDArray[np.float64]
    grad: NDArray[np.float64]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def cancels(self) -> bool:
        """Whether components can be small beside both their terms, p near q."""
        return not isinstance(self.target, int) or "label_smoothing" in self.options


def golden_cases() -> list[Golden]:
    path = CASES / "golden.json"
    return [_golden(case) for case in json.loads(path.read_text())["cases"]]


def golden_kinds() -> list[Any]:
    """Parameters of a test: the cases of one kind, as "offset 1e8..1e300", after the other."""
    kinds: dict[str, list[Golden]] = {}
    for case in golden_cases():
        kinds.setdefault(case.name.partition(" ")[2], []).append(case)
    return [pytest.param(cases, id=kind) for kind, cases in kinds.items()]


def some_of(cases: Sequence[Golden], each: int) -> list[Any]:
    """Parameters of a test, of which every each-th is quick and the others are slow."""
    return [
        pytest.param(case, id=case.name, marks=[] if number % each == 0 else pytest.mark.slow)
        for number, case in enumerate(cases)
    ]


def _golden(case: dict[str, Any]) -> Golden:
    def numbers(texts: list[str]) -> NDArray[np.float64]:
        return np.array([float.fromhex(text) for text in texts])

    options: dict[str, Any] = {"reduction": "sum"}
    if "w" in case:
        options["weight"] = numbers(case["w"])
    if "smooth" in case:
        options["label_smoothing"] = float.fromhex(case["smooth"])
    expect = case["expect"]
    return Golden(
        name=f"{case['id']} {case['family']}",
        logits=numbers(case["z"]),
        target=numbers(case["q"]) if "q" in case else case["t"],
        loss=float.fromhex(expect["L"]),
        softmax=numbers(expect["p"]),
        log_softmax=numbers(expect["logp"]),
        grad=numbers(expect["g"]),
        options=options,
    )


# The hard cases: logits, target, loss, gradient (ending in ... where its last number goes on).

MAX = float(np.finfo(np.float64).max)
INFINITY = math.inf
_HARD: list[tuple[list[float], int | list[float], float, list[Any]]] = [
    ([100, 0], 0, 3.7200759760208361e-44, [-3.7200759760208361e-44, 3.7200759760208361e-44]),
    ([40, 0, 0], 0, 8.4967085105831777e-18, [-8.4967085105831777e-18, 4.2483542552915889e-18, ...]),
    ([745, 0], 0, 4.9406564584124654e-324, [-4.9406564584124654e-324, 4.9406564584124654e-324]),
    ([750.0] + [0.0] * 999, 0, 1.9762625833649862e-323, [-1.9762625833649862e-323, 0.0, ...]),
    (
        [0.1, -700.3],
        0,
        6.6091388347098632e-305,
        [-6.6091388347098632e-305, 6.6091388347098632e-305],
    ),
    (
        [0.1, -36.6, -1e-3],
        2,
        0.74492176394698839,
        [0.52522855726929729, 6.0497976000853448e-17, -0.5252285572692974],
    ),
    ([1e15, 1e15 - 1], 0, 0.31326168751822281, [-0.2689414213699951, 0.2689414213699951]),
    ([1e300, 1e300, 0], 0, 0.69314718055994529, [-0.5, 0.5, 0.0]),
    ([MAX, -MAX], 1, INFINITY, [1.0, -1.0]),
    (
        [-INFINITY, 0, -20],
        1,
        2.0611536203143808e-09,
        [0.0, -2.0611536181902037e-09, 2.0611536181902037e-09],
    ),
    ([-INFINITY, 0, -20], 0, INFINITY, [-1.0, 0.99999999793884642, 2.0611536181902037e-09]),
    (
        [30.0] + [0.0] * 50256,
        0,
        4.7027669881623094e-09,
        [-4.7027669771043009e-09, 9.3576229248334544e-14, ...],
    ),
    (
        [0, 1, 2],
        [0.09003057317038046, 0.24472847105479764, 0.6652409557748219],
        0.8323955818399389,
        [-4.3686577064439572e-18, 1.0846793435836087e-17, -6.4781357293921298e-18],
    ),
    (
        [2, -INFINITY, 0],
        [0.5, 0, 0.5],
        1.1269280110429725,
        [0.38079707797788243, 0.0, -0.38079707797788243],
    ),
    ([-5.5], 0, 0.0, [0.0]),
]


@dataclass(frozen=True)
class Hard:
    """One case whose result a plain implementation gets wrong."""

    name: str
    logits: NDArray[np.float64]
    target: int | NDArray[np.float64]
    loss: float
    grad: NDArray[np.float64]


def hard_cases() -> list[Hard]:
    cases = []
    for number, (logits, target, loss, grad) in enumerate(_HARD):
        numbers = [value for value in grad if value is not ...]
        numbers += [numbers[-1]] * (len(logits) - len(numbers))
        cases.append(
            Hard(
                name=f"{number}: {', '.join(map(str, logits[:3]))}",
                logits=np.array(logits, dtype=np.float64),
                target=target if isinstance(target, int) else np.array(target),
                loss=loss,
                grad=np.array(numbers),
            )
        )
    return cases
