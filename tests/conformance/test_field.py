"""The cases from the field: each is failed by the mistake that it was published for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cecli.conformance.model import Inputs, Reply
from cecli.conformance.run import verify
from cecli.problem.precision import round_to_type
from support.cases import CASES, named
from support.implementations import Textbook

Array = NDArray[Any]
MISTAKES: list[tuple[type[Textbook], tuple[str, ...]]] = []


def fails(*names: str) -> Any:
    def enter(implementation: type[Textbook]) -> type[Textbook]:
        MISTAKES.append((implementation, names))
        return implementation

    return enter


@fails("smoothing/shards")
class SmoothsOverAShard(Textbook):
    def smoothed(self, q: Array, classes: int) -> Array:
        return (1.0 - self.smoothing) * q + self.smoothing / (classes / 2)


@fails("smoothing/underflow")
class LogarithmOfTheProbability(Textbook):
    def losses(self, v: Array, total: Array, mass: Array) -> Array:
        surprise = -np.log(np.exp(v) / total)
        return np.asarray(np.where(mass == 0.0, 0.0, mass * surprise).sum(axis=1))


@fails("shift/shards")
class EachShardCountsTwice(Textbook):
    def total(self, e: Array) -> Array:
        return 2.0 * super().total(e)


@fails("shift/narrow-row", "softcap/padded-5")
class PaddedLanesAreZero(Textbook):
    def total(self, e: Array) -> Array:
        lanes = -len(e[0]) % 8
        return np.asarray(super().total(e) + lanes * np.exp(self.low - self.shift))

    @property
    def low(self) -> float:
        return 0.0 if self.softcap is None else -self.softcap


@fails("softcap/padded-5", "softcap/padded-1000")
class PaddedLanesAreCapped(PaddedLanesAreZero):
    def total(self, e: Array) -> Array:
        lanes = -len(e[0]) % 1024
        total = Textbook.total(self, e)
        if self.softcap is None:
            return total
        return np.asarray(total + lanes * np.exp(-self.softcap - self.shift))


@fails("softcap/overflow")
class TanhOfExponentials(Textbook):
    def capped(self, z: Array) -> Array:
        if self.softcap is None:
            return z
        up, down = np.exp(z / self.softcap), np.exp(-z / self.softcap)
        return np.where(z == -np.inf, z, self.softcap * (up - down) / (up + down))


@fails("masks/first-tile", "masks/last-tile", "masks/middle-tile")
class ATileOfNothingIsNan(Textbook):
    def total(self, e: Array) -> Array:
        total = super().total(e)
        if e.shape[1] % 1024 == 0:
            tiles = e.reshape(len(e), -1, 1024).sum(axis=2)
            total[(tiles == 0.0).any(axis=1)] = np.nan
        return total


@fails("ignored/micro-batches", "ignored/chunks")
class MeanOfTheMeansOfHalves(Textbook):
    def run(self, inputs: Inputs) -> Reply:
        half = len(inputs.logits) // 2
        if self.options_of(inputs) != "mean" or half < 2:
            return super().run(inputs)
        parts = [
            super(MeanOfTheMeansOfHalves, self).run(
                Inputs(inputs.logits[part], inputs.target[part], inputs.options)
            )
            for part in (slice(half), slice(half, None))
        ]
        grad = np.concatenate([part.grad for part in parts]) / 2.0
        return Reply(sum(part.loss for part in parts) / 2.0, grad)

    def options_of(self, inputs: Inputs) -> str:
        return str(inputs.options.get("reduction", "mean"))


@fails("reduction/none-of-many")
class LossesOfChunksAreAdded(Textbook):
    def finish(self, losses: Array, grad: Array) -> Reply:
        reply = super().finish(losses, grad)
        if np.size(reply.loss) > 1024:
            chunks = np.array_split(reply.loss, 4)
            return Reply(sum(chunk[:1024] for chunk in chunks), reply.grad)
        return reply


@fails("ignored/middle-none", "ignored/middle-mean")
class IgnoredOnlyAtTheEnd(Textbook):
    def which_are_kept(self) -> Array:
        kept = super().which_are_kept()
        self.target = np.where(kept, self.target, 0)
        return np.asarray(np.arange(len(kept)) < kept.sum())


@fails("upstream/token-weights", "upstream/zero-weights")
class TheFirstWeightForAll(Textbook):
    def finish(self, losses: Array, grad: Array) -> Reply:
        self.upstream = self.upstream[:1]
        return super().finish(losses, grad)


@fails("z-loss/smoothing", "z-loss/smoothing-ignored")
class ZLossIsSmoothedToo(Textbook):
    @property
    def z_loss(self) -> float:
        return super().z_loss * (1.0 - self.smoothing)


@fails("layout/reversed-classes", "layout/reversed-rows", "layout/transposed-square")
class ReadsMemoryAsItLies(Textbook):
    def read(self, logits: Array) -> Array:
        if 0 in logits.strides:
            return super().read(logits)
        start = logits
        for axis, step in enumerate(logits.strides):
            start = np.flip(start, axis) if step < 0 else start
        return super().read(start.ravel("K").reshape(logits.shape))


@fails("layout/one-class-for-all")
class WritesItsGradientIntoTheLogits(Textbook):
    def run(self, inputs: Inputs) -> Reply:
        reply = super().run(inputs)
        if inputs.dtype != "float64":
            return reply
        inputs.logits[...] = reply.grad
        return Reply(reply.loss, inputs.logits)


@fails("unmodified/reply", "unmodified/reply-none")
class ItsGradientIsTheLogits(WritesItsGradientIntoTheLogits):
    pass


@fails("float32/subnormal")
class FlushesInSingle(Textbook):
    def finish(self, losses: Array, grad: Array) -> Reply:
        reply = super().finish(losses, grad)
        tiny = np.finfo(np.float32).tiny
        return Reply(reply.loss, np.where(np.abs(reply.grad) < tiny, 0.0, reply.grad))


@fails("float16/sum-beyond-65504")
class SumsInHalf(Textbook):
    def total(self, e: Array) -> Array:
        total = super().total(e)
        return np.where(total > 65504.0, np.inf, total)


class RoundsTheLogSumExp(Textbook):
    def rounded(self, v: Array, total: Array) -> Array:
        return round_to_type(self.log_sum_exp(v, total), "bfloat16") - self.shift


@fails("bfloat16/log-sum-exp")
class LossByWhatIsRounded(RoundsTheLogSumExp):
    def losses(self, v: Array, total: Array, mass: Array) -> Array:
        surprise = self.rounded(v, total) - v
        return np.asarray(np.where(mass == 0.0, 0.0, mass * surprise).sum(axis=1))


@fails("bfloat16/probabilities")
class ProbabilitiesByWhatIsRounded(RoundsTheLogSumExp):
    def total(self, e: Array) -> Array:
        total = super().total(e)
        return np.asarray(np.exp(self.rounded(np.log(e), total)))


@pytest.mark.parametrize(("mistake", "names"), MISTAKES, ids=str)
def test_the_mistake_is_found(mistake: type[Textbook], names: tuple[str, ...]) -> None:
    verdicts = list(verify(mistake(), [named(name) for name in names]))
    assert [verdict.case.name for verdict in verdicts if verdict.passed()] == []


def test_every_case_from_the_field_has_a_source_and_a_mistake_that_it_finds() -> None:
    added = {case.name: case for case in CASES if case.since == 2}
    assert all(case.source is not None for case in added.values())
    found = {name for _, names in MISTAKES for name in names}
    assert added.keys() - found <= {"unmodified/reply-float32"}
