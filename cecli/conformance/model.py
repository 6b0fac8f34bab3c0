"""The hard cases of softmax cross-entropy, and running somebody's implementation over them.

A case makes the same inputs, bit for bit, on every machine; what an implementation replies is held
against the correctly rounded results of the exact arithmetic. What runs an implementation (a Python
function, a framework, a program) is an `Implementation`; this module knows none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cecli.comparison.mistake import Diagnosis
    from cecli.conformance.judge import Judged

# Counted up when cases are added. A case never changes what it holds: another one has another name.
SUITE = 3

Outcome = Literal[
    "exact", "accurate", "acceptable", "inaccurate", "wrong", "failed", "not supported"
]
OUTCOMES: tuple[Outcome, ...] = (
    "exact",
    "accurate",
    "acceptable",
    "inaccurate",
    "wrong",
    "failed",
    "not supported",
)
# What a function is called with beside logits and target, by PyTorch's names.
Options = Mapping[str, Any]
# The options that are arrays, rounded to the type of the logits.
ARRAY_OPTIONS = ("weight", "sample_weight")
NARROW_FEATURES = frozenset({"float32", "float16", "bfloat16"})


@dataclass(frozen=True, eq=False)
class Inputs:
    """What an implementation is handed.

    logits (N, C), of their own type and, on purpose, sometimes in Fortran's order or strided; where
    dtype is bfloat16, which NumPy lacks, a float32 array that holds bfloat16 numbers. target (N,)
    int64 class indices or (N, C) class probabilities. options: by PyTorch's names, only those that
    the case is about; no reduction means the mean. upstream: what the gradient of the loss is
    multiplied by: 0 or a power of two with a sign, or for reduction none one for each row, (N,).
    dtype: float64, float32, float16 or bfloat16. layout: what has laid the logits out in memory.
    """

    logits: NDArray[Any]
    target: NDArray[Any]
    options: Options = field(default_factory=dict)
    upstream: float | NDArray[np.float64] = 1.0
    dtype: str = "float64"
    layout: Callable[[NDArray[Any]], NDArray[Any]] | None = None


Property = Literal["result", "unmodified", "kept", "deterministic"]


@dataclass(frozen=True, eq=False)
class Case:
    """One case. name: family/slug.

    reason: what breaks here, in a line. source: address of a public issue where it did, or None.
    features: what it takes beyond logits (N, C), class indices and the mean: names of options with
    hyphens (weight, sample-weight, ignore-index, label-smoothing, temperature, softcap, z-loss),
    sum, none, soft-target, upstream, float32, float16, bfloat16, and arrays, which only who is
    handed arrays in memory has. tests: the result alone, or also that the inputs are left as they
    were, that the reply stays when they are overwritten, or that a second call replies the same.
    make: the same inputs every time, in new arrays. since: the first suite that has it.
    """

    name: str
    reason: str
    make: Callable[[], Inputs] = field(repr=False)
    features: frozenset[str] = frozenset()
    source: str | None = None
    tests: Property = "result"
    since: int = 1

    def __str__(self) -> str:
        """Its name, as pytest shows it with `ids=str`."""
        return self.name

    def check(self, function: Callable[..., Any], **settings: Any) -> Verdict:
        """Run a function over this case alone, as a test does.

        settings: those of `cecli.verify` but only and skip. Raises AssertionError where it does not
        pass, unittest.SkipTest, which pytest knows, where it is not supported.
        """
        from cecli.conformance.api import check_case

        return check_case(self, function, **settings)

    @property
    def family(self) -> str:
        """What stands before the slash of the name."""
        return self.name.partition("/")[0]

    def __reduce__(self) -> tuple[Any, ...]:
        """A verdict can be pickled; what makes inputs is code, and stays behind."""
        kept = (self.features, self.source, self.tests, self.since)
        return Case, (self.name, self.reason, _left_behind, *kept)


def _left_behind() -> Inputs:
    raise TypeError("a case that was pickled makes no inputs: take that of its name from the suite")


@dataclass(frozen=True, eq=False)
class Reply:
    """What an implementation answers.

    loss: one number, or (N,) for reduction none. grad (N, C). One of both may be None: what is not
    computed is not judged. precision: float64, float32, float16 or bfloat16, what it computed in;
    None where it does not say: that of the input.
    """

    loss: Any
    grad: Any
    precision: str | None = None


class NotSupported(Exception):  # noqa: N818 - the implementation's word, not an error of ours
    """The implementation lacks something that the case needs."""


class Failure(Exception):  # noqa: N818
    """There is no usable reply; the reason in one line. fatal: nor will there be another."""

    def __init__(self, reason: str, *, fatal: bool = False) -> None:
        super().__init__(reason)
        self.fatal = fatal


class Implementation(Protocol):
    """Somebody's cross-entropy.

    features: what it declares to have; None: found by asking. dtype: the type that all logits are
    converted to; None: each case has its own.
    """

    name: str
    features: frozenset[str] | None
    dtype: str | None

    def run(self, inputs: Inputs) -> Reply:
        """One reply. Raises NotSupported or Failure."""

    def close(self) -> None:
        """Let go of whatever was started."""


@dataclass(frozen=True, eq=False)
class Answered:
    """A reply. fault: what was changed in place or differed. seconds: how long it took.

    changed: what was changed in place in a case that is not about that; why it is wrong, if it is.
    """

    reply: Reply
    fault: str | None
    seconds: float
    changed: str | None = None


@runtime_checkable
class Remote(Protocol):
    """Somebody's cross-entropy that makes the inputs of a case elsewhere, where it is run."""

    name: str
    features: frozenset[str] | None

    @property
    def dtype(self) -> str | None:
        """As of an `Implementation`."""

    def answer_case(self, case: Case) -> Answered:
        """What `run.answer` does. Raises NotSupported or Failure."""

    def close(self) -> None:
        """Let go of whatever was started."""


@dataclass(frozen=True, eq=False)
class Verdict:
    """How a case went.

    reason: why it failed, what was changed or differed, or what is not supported. digits: how many
    are left of an inaccurate result. max_ulp_error: the larger of loss and gradient. loss, grad:
    how each was graded, None where nothing was. diagnosis: the mistakes that explain what is wrong.
    """

    case: Case
    outcome: Outcome
    reason: str | None = None
    digits: float | None = None
    max_ulp_error: float | None = None
    loss: Judged | None = None
    grad: Judged | None = None
    diagnosis: tuple[Diagnosis, ...] = ()
    seconds: float = 0.0

    def passed(self, strict: Outcome = "acceptable") -> bool:
        """Whether it is as good as strict (accurate or acceptable), or not supported at all."""
        if self.outcome == "not supported":
            return True
        return OUTCOMES.index(self.outcome) <= OUTCOMES.index(strict)
