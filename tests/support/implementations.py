"""A cross-entropy written plainly in NumPy, piece by piece, so that each piece can be got wrong.

`Textbook` has every option and no mistake; a class in `DEFECTS` overrides one piece of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.conformance.model import Inputs, NotSupported, Reply

Array = NDArray[Any]


class Textbook:
    """Softmax cross-entropy as the textbooks have it, in float64."""

    name = "textbook"
    features: frozenset[str] | None = None
    dtype: str | None = None

    target: Array
    options: Mapping[str, Any]
    upstream: Array
    kept: Array

    def run(self, inputs: Inputs) -> Reply:
        self.target, self.options = inputs.target, inputs.options
        self.upstream = np.reshape(inputs.upstream, (-1, 1))
        self.kept = self.which_are_kept()
        with np.errstate(all="ignore"):
            z = self.read(inputs.logits)
            return self.reply(z)

    def close(self) -> None:
        pass

    def reply(self, z: Array) -> Reply:
        v = self.scaled(z)
        e = self.exponentials(v)
        total = self.total(e)
        mass = self.mass(z.shape[1])
        each = self.sample_weight
        losses = self.losses(v, total, mass) * each / self.divisor()
        grad = self.by_scaled(e / total, mass) * each[:, None] / self.divisor()
        if self.z_loss:
            lse = self.log_sum_exp(v, total)
            losses = losses + self.z_loss * lse[:, 0] ** 2 / self.z_divisor()
            grad = grad + self.z_factor * self.z_loss * lse * (e / total) / self.z_divisor()
        return self.finish(losses, grad * self.slope(z))

    def finish(self, losses: Array, grad: Array) -> Reply:
        losses = np.where(self.kept, losses, 0.0)
        loss = losses if self.reduction == "none" else losses.sum()
        return Reply(loss, np.where(self.kept[:, None], grad, 0.0) * self.upstream)

    z_factor = 2.0

    @property
    def reduction(self) -> str:
        return str(self.options.get("reduction", "mean"))

    @property
    def smoothing(self) -> float:
        return float(self.options.get("label_smoothing", 0.0))

    @property
    def temperature(self) -> float:
        return float(self.options.get("temperature", 1.0))

    @property
    def softcap(self) -> float | None:
        return self.options.get("softcap")

    @property
    def z_loss(self) -> float:
        return float(self.options.get("z_loss", 0.0))

    @property
    def weight(self) -> Array | None:
        weight = self.options.get("weight")
        return None if weight is None else np.asarray(weight, np.float64)

    @property
    def sample_weight(self) -> Array:
        weight = self.options.get("sample_weight")
        return np.ones(len(self.target)) if weight is None else np.asarray(weight, np.float64)

    @property
    def soft(self) -> bool:
        return self.target.ndim == 2

    def which_are_kept(self) -> Array:
        counts = self.sample_weight != 0.0
        if self.soft:
            return np.asarray(counts)
        return np.asarray(counts & (self.target != self.options.get("ignore_index")))

    def read(self, logits: Array) -> Array:
        """Float64 logits; zeros where a row is ignored."""
        z = logits.astype(np.float64)
        z[~self.kept] = 0.0
        return z

    def capped(self, z: Array) -> Array:
        if self.softcap is None:
            return z
        return np.where(z == -np.inf, z, self.softcap * np.tanh(z / self.softcap))

    def maximum(self, u: Array) -> Array:
        return np.asarray(u.max(axis=1, keepdims=True))

    def scaled(self, z: Array) -> Array:
        """(u − max u) / T"""
        u = self.capped(z)
        self.shift = self.maximum(u)
        return (u - self.shift) / self.temperature

    def exponentials(self, v: Array) -> Array:
        return np.exp(v)

    def total(self, e: Array) -> Array:
        return np.asarray(e.sum(axis=1, keepdims=True))

    def log_sum_exp(self, v: Array, total: Array) -> Array:
        return np.asarray(self.shift / self.temperature + np.log(total))

    def probabilities_wanted(self, classes: int) -> Array:
        if self.soft:
            return self.target.astype(np.float64)
        return (
            np.eye(classes)[np.where(self.kept, self.target, 0)]
            if classes < 3000
            else (np.arange(classes) == self.target[:, None]).astype(float)
        )

    def mass(self, classes: int) -> Array:
        q = self.smoothed(self.probabilities_wanted(classes), classes)
        return q if self.weight is None else q * self.weight

    def smoothed(self, q: Array, classes: int) -> Array:
        return (1.0 - self.smoothing) * q + self.smoothing / classes

    def divisor(self) -> float:
        if self.reduction != "mean":
            return 1.0
        each = self.sample_weight[self.kept]
        if self.weight is None or self.soft:
            return float(each.sum())
        return float((each * self.weight[self.target[self.kept]]).sum())

    def z_divisor(self) -> float:
        return float(self.kept.sum()) if self.reduction == "mean" else 1.0

    def losses(self, v: Array, total: Array, mass: Array) -> Array:
        surprise = np.log(total) - v
        return np.asarray(np.where(mass == 0.0, 0.0, mass * surprise).sum(axis=1))

    def by_scaled(self, p: Array, mass: Array) -> Array:
        return np.asarray(mass.sum(axis=1, keepdims=True) * p - mass)

    def slope(self, z: Array) -> Array | float:
        if self.softcap is None:
            return 1.0 / self.temperature
        decay = np.exp(-2.0 * np.abs(z / self.softcap))
        return np.where(np.isinf(z), 1.0, 4.0 * decay / (1.0 + decay) ** 2) / self.temperature


@dataclass(frozen=True)
class Defect:
    """A mistake, the family that must reveal it, and what compare calls it, where it knows it.

    elsewhere: a family that has nothing to do with it. strict: what finds it.
    """

    implementation: type[Textbook]
    family: str
    diagnosis: str | None = None
    elsewhere: str | None = "ordinary"
    strict: str = "acceptable"


DEFECTS: list[Defect] = []


def reveals(family: str, diagnosis: str | None = None, **more: Any) -> Any:
    """Enter a class into the list of defects."""

    def enter(implementation: type[Textbook]) -> type[Textbook]:
        implementation.name = implementation.__name__
        DEFECTS.append(Defect(implementation, family, diagnosis, **more))
        return implementation

    return enter


@reveals("ordinary", "sign-flipped", elsewhere=None)
class SignFlipped(Textbook):
    def by_scaled(self, p: Array, mass: Array) -> Array:
        return mass - p


@reveals("ordinary", elsewhere=None)
class ComputesInSingle(Textbook):
    def exponentials(self, v: Array) -> Array:
        return np.exp(v.astype(np.float32)).astype(np.float64)


@reveals("ordinary", elsewhere=None)
class LastClassTakesTheOneBefore(Textbook):
    def probabilities_wanted(self, classes: int) -> Array:
        clipped = np.minimum(self.target, max(classes - 2, 0))
        return np.asarray(np.arange(classes) == clipped[:, None]).astype(float)


@reveals("ordinary", elsewhere=None)
class GradientIsTransposed(Textbook):
    def finish(self, losses: Array, grad: Array) -> Reply:
        reply = super().finish(losses, grad)
        return Reply(reply.loss, reply.grad.T.copy())


@reveals("single")
class OneClassIsLogistic(Textbook):
    def total(self, e: Array) -> Array:
        return super().total(e) + (1.0 if e.shape[1] == 1 else 0.0)


@reveals("shift", "overflow")
class UnstableExponential(Textbook):
    def maximum(self, u: Array) -> Array:
        return np.zeros((len(u), 1))


@reveals("shift")
class MaximumStartsAtZero(Textbook):
    def maximum(self, u: Array) -> Array:
        return np.maximum(super().maximum(u), 0.0)


@reveals("shift")
class MaximumOfTheBatch(Textbook):
    def maximum(self, u: Array) -> Array:
        return np.full((len(u), 1), u.max())


@reveals("shift")
class MaximumAddedBack(Textbook):
    def losses(self, v: Array, total: Array, mass: Array) -> Array:
        z = v * self.temperature + self.shift
        surprise = self.log_sum_exp(v, total) - z / self.temperature
        return np.asarray(np.where(mass == 0.0, 0.0, mass * surprise).sum(axis=1))


@reveals("saturation", strict="accurate", elsewhere=None)
class CancelsProbabilityAndOne(Textbook):
    pass


@reveals("saturation")
class LosersBelowEpsilonAreNothing(Textbook):
    def exponentials(self, v: Array) -> Array:
        return np.where(v < -36.0, 0.0, np.exp(v))


@reveals("far-losers")
class ClippedLogarithm(Textbook):
    def losses(self, v: Array, total: Array, mass: Array) -> Array:
        p = np.exp(v) / total
        return np.asarray(-(mass * np.log(np.maximum(p, 1e-12))).sum(axis=1))


@reveals("ties")
class MaximumLeftOutEachTime(Textbook):
    def total(self, e: Array) -> Array:
        return np.asarray(1.0 + np.where(e == 1.0, 0.0, e).sum(axis=1, keepdims=True))


@reveals("magnitude", elsewhere=None)
class OverflowsInSingle(Textbook):
    def read(self, logits: Array) -> Array:
        return super().read(logits).astype(np.float32)


@reveals("masks")
class MaskGivesNan(Textbook):
    def losses(self, v: Array, total: Array, mass: Array) -> Array:
        return np.asarray((mass * (np.log(total) - v)).sum(axis=1))


@reveals("masks")
class MaskIsMinusThousand(Textbook):
    def read(self, logits: Array) -> Array:
        return np.maximum(super().read(logits), -1000.0)


@reveals("masks")
class MaskedBlockGivesNan(Textbook):
    """An online softmax over blocks of 1024, each with its own maximum."""

    def total(self, e: Array) -> Array:
        total = np.zeros((len(e), 1))
        for start in range(0, e.shape[1], 1024):
            block = np.log(e[:, start : start + 1024])
            largest = block.max(axis=1, keepdims=True)
            total += np.exp(largest) * np.exp(block - largest).sum(axis=1, keepdims=True)
        return total


@reveals("subnormal")
class FlushesToZero(Textbook):
    def finish(self, losses: Array, grad: Array) -> Reply:
        reply = super().finish(losses, grad)
        tiny = np.finfo(np.float64).tiny
        loss = np.asarray(reply.loss)
        return Reply(
            np.where(np.abs(loss) < tiny, 0.0, loss),
            np.where(np.abs(reply.grad) < tiny, 0.0, reply.grad),
        )


@reveals("classes")
class TailBlockLeftOut(Textbook):
    def total(self, e: Array) -> Array:
        classes = e.shape[1]
        return super().total(e if classes < 32 else e[:, : classes // 32 * 32])


@reveals("classes")
class PaddedWithZeros(Textbook):
    def total(self, e: Array) -> Array:
        padding = -e.shape[1] % 16 if e.shape[1] > 16 else 0
        return np.asarray(super().total(e) + padding * np.exp(-self.shift))


@reveals("classes")
class IndexOfSixteenBits(Textbook):
    def probabilities_wanted(self, classes: int) -> Array:
        index = self.target if self.soft else self.target.astype(np.uint16)
        return np.asarray(np.arange(classes) == index[:, None]).astype(float)


@reveals("rows")
class TailRowsLeftOut(Textbook):
    def finish(self, losses: Array, grad: Array) -> Reply:
        if len(losses) > 32:
            full = len(losses) // 32 * 32
            losses[full:], grad[full:] = 0.0, 0.0
        return super().finish(losses, grad)


@reveals("rows")
class GridOfSixteenBits(Textbook):
    def finish(self, losses: Array, grad: Array) -> Reply:
        losses[65535:], grad[65535:] = 0.0, 0.0
        return super().finish(losses, grad)


@reveals("reduction", "divided-by-components", elsewhere="single")
class DividesByComponents(Textbook):
    def reply(self, z: Array) -> Reply:
        reply = super().reply(z)
        by = z.shape[1] if self.reduction == "mean" and z.size > 9 else 1
        return Reply(reply.loss / by, reply.grad / by)


@reveals("reduction", "averaged-unasked")
class AlwaysTheMean(Textbook):
    def divisor(self) -> float:
        return float(self.kept.sum())


@reveals("reduction")
class NoneIsSummed(Textbook):
    def finish(self, losses: Array, grad: Array) -> Reply:
        reply = super().finish(losses, grad)
        return Reply(np.sum(reply.loss), reply.grad)


@reveals("ignored", "ignored-counted")
class IgnoredRowsCount(Textbook):
    def divisor(self) -> float:
        return float(len(self.kept)) if self.reduction == "mean" else 1.0


@reveals("ignored", "ignored-not-zeroed")
class NanLeaksFromIgnoredRows(Textbook):
    def read(self, logits: Array) -> Array:
        return logits.astype(np.float64)

    def finish(self, losses: Array, grad: Array) -> Reply:
        losses = np.where(self.kept, losses, 0.0)
        loss = losses if self.reduction == "none" else losses.sum()
        return Reply(loss, grad * self.kept[:, None] * self.upstream)


@reveals("ignored")
class OnlyNegativeTargetsAreIgnored(Textbook):
    def which_are_kept(self) -> Array:
        return super().which_are_kept() if self.soft else np.asarray(self.target >= 0)

    def probabilities_wanted(self, classes: int) -> Array:
        if self.soft:
            return super().probabilities_wanted(classes)
        return np.asarray(np.arange(classes) == self.target[:, None]).astype(float)


@reveals("weight", "wrong-divisor")
class WeightsDividedByRows(Textbook):
    def divisor(self) -> float:
        return float(self.kept.sum()) if self.reduction == "mean" else 1.0


@reveals("sample-weight", "wrong-divisor")
class SampleWeightsDividedByRows(Textbook):
    def divisor(self) -> float:
        return float(self.kept.sum()) if self.reduction == "mean" else 1.0


@reveals("sample-weight")
class RowsOfWeightZeroAreMultiplied(Textbook):
    def which_are_kept(self) -> Array:
        if self.soft:
            return np.ones(len(self.target), bool)
        return np.asarray(self.target != self.options.get("ignore_index"))


@reveals("weight", "weights-normalised")
class WeightsNormalised(Textbook):
    @property
    def weight(self) -> Array | None:
        weight = super().weight
        return None if weight is None else weight / weight.sum()


@reveals("smoothing", "smoothing-share")
class SmoothsTheOthersOnly(Textbook):
    def smoothed(self, q: Array, classes: int) -> Array:
        return np.where(q == 1.0, 1.0 - self.smoothing, self.smoothing / max(classes - 1, 1))


@reveals("smoothing")
class SmoothingIsNotWeighted(Textbook):
    def mass(self, classes: int) -> Array:
        q = (1.0 - self.smoothing) * self.probabilities_wanted(classes)
        return (q if self.weight is None else q * self.weight) + self.smoothing / classes


@reveals("soft-target")
class TargetTakenToSumToOne(Textbook):
    def by_scaled(self, p: Array, mass: Array) -> Array:
        return p - mass if self.soft else super().by_scaled(p, mass)


@reveals("soft-target")
class SoftMeanDividesByWeights(Textbook):
    def divisor(self) -> float:
        if self.soft and self.weight is not None:
            return float((self.target * self.weight).sum())
        return super().divisor()


@reveals("temperature", "temperature-chain")
class ForgetsTheChainRuleOfT(Textbook):
    def slope(self, z: Array) -> Array | float:
        return super().slope(z) * self.temperature


@reveals("temperature")
class DividesLogitsAndNotDifferences(Textbook):
    def scaled(self, z: Array) -> Array:
        v = self.capped(z) / self.temperature
        largest = v.max(axis=1, keepdims=True)
        self.shift = largest * self.temperature
        return np.asarray(v - largest)


@reveals("softcap", "softcap-derivative")
class ForgetsTheDerivativeOfTheCap(Textbook):
    def slope(self, z: Array) -> Array | float:
        return 1.0 / self.temperature


@reveals("softcap")
class CapsTheMaskToo(Textbook):
    def capped(self, z: Array) -> Array:
        return z if self.softcap is None else self.softcap * np.tanh(z / self.softcap)


@reveals("z-loss", "z-loss-factor")
class ForgetsTheTwoOfTheZLoss(Textbook):
    z_factor = 1.0


@reveals("z-loss")
class ZLossDividedByWeights(Textbook):
    def z_divisor(self) -> float:
        return self.divisor()


@reveals("layout")
class ReadsMemoryAsItLies(Textbook):
    def read(self, logits: Array) -> Array:
        return super().read(logits.ravel(order="K").reshape(logits.shape))


@reveals("upstream")
class IgnoresUpstream(Textbook):
    def run(self, inputs: Inputs) -> Reply:
        return super().run(Inputs(inputs.logits, inputs.target, inputs.options))


@reveals("upstream")
class FirstRowsUpstreamForAll(Textbook):
    """A backward that is right for every upstream gradient but an uneven one."""

    def finish(self, losses: Array, grad: Array) -> Reply:
        self.upstream = self.upstream[:1]
        return super().finish(losses, grad)


@reveals("unmodified")
class WritesIntoItsInput(Textbook):
    def run(self, inputs: Inputs) -> Reply:
        reply = super().run(inputs)
        inputs.logits[...] = reply.grad
        return reply


@reveals("unmodified")
class ClearsIgnoredRowsInPlace(Textbook):
    def run(self, inputs: Inputs) -> Reply:
        reply = super().run(inputs)
        inputs.logits[~self.kept] = 0.0
        return reply


@reveals("deterministic")
class SumsInRandomOrder(Textbook):
    random = np.random.default_rng(0)

    def total(self, e: Array) -> Array:
        order = self.random.permutation(e.shape[1])
        return np.cumsum(e[:, order], axis=1)[:, -1:]


@reveals("deterministic")
class GradientAccumulates(Textbook):
    """It adds to the gradient of the last call, where that had the same shape."""

    before: Array | None = None

    def finish(self, losses: Array, grad: Array) -> Reply:
        reply = super().finish(losses, grad)
        same = self.before is not None and self.before.shape == reply.grad.shape
        total = reply.grad + self.before if same else reply.grad
        self.before = reply.grad
        return Reply(reply.loss, total)


def _narrow(name: str) -> type[Textbook]:
    class SumsInTheTypeOfTheInput(Textbook):
        def run(self, inputs: Inputs) -> Reply:
            if inputs.dtype != name:
                return super().run(inputs)
            self.short = inputs.dtype
            reply = super().run(inputs)
            del self.short
            return reply

        def total(self, e: Array) -> Array:
            if not hasattr(self, "short"):
                return super().total(e)
            from cecli.problem.precision import round_to_type

            total = np.zeros((len(e), 1))
            for column in range(e.shape[1]):
                total = round_to_type(total + e[:, column : column + 1], self.short)
            return total

    SumsInTheTypeOfTheInput.__name__ = f"SumsIn{name.capitalize()}"
    return SumsInTheTypeOfTheInput


for _name in ("float16", "bfloat16"):
    reveals(_name)(_narrow(_name))


@reveals("float32")
class Float32IsHalf(Textbook):
    def run(self, inputs: Inputs) -> Reply:
        if inputs.dtype != "float32":
            return super().run(inputs)
        half = inputs.logits.astype(np.float16)
        return super().run(Inputs(half, inputs.target, inputs.options, inputs.upstream))


class Minimal(Textbook):
    """No options at all."""

    def run(self, inputs: Inputs) -> Reply:
        if inputs.options or inputs.target.ndim > 1 or inputs.dtype != "float64":
            raise NotSupported("options")
        return super().run(inputs)
