"""Running somebody's implementation over cases: one verdict each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.conformance.judge import judge, unlike
from cecli.conformance.model import (
    ARRAY_OPTIONS,
    NARROW_FEATURES,
    Answered,
    Case,
    Failure,
    Implementation,
    Inputs,
    NotSupported,
    Remote,
    Verdict,
)
from cecli.machine.float_mode import in_standard_mode
from cecli.problem.precision import round_to_type


def verify(implementation: Implementation | Remote, cases: Sequence[Case]) -> Iterator[Verdict]:
    """One verdict for each case, as it is reached.

    After a fatal failure the other cases fail with its reason, and are not run. The implementation
    is not closed.
    """
    fatal: str | None = None
    for case in cases:
        if fatal is not None:
            yield Verdict(case, "failed", fatal)
            continue
        try:
            yield _verdict(implementation, case)
        except NotSupported as missing:
            yield Verdict(case, "not supported", str(missing))
        except Failure as failure:
            fatal = str(failure) if failure.fatal else None
            yield Verdict(case, "failed", str(failure))


def _verdict(implementation: Implementation | Remote, case: Case) -> Verdict:
    missing = case.features - (
        case.features if implementation.features is None else implementation.features
    )
    if implementation.dtype is not None:
        missing = missing - NARROW_FEATURES | case.features & NARROW_FEATURES - {
            implementation.dtype
        }
    if missing:
        raise NotSupported(", ".join(sorted(missing)))
    inputs = inputs_of(case, implementation.dtype)
    if isinstance(implementation, Remote):
        answered = implementation.answer_case(case)
    else:
        answered = answer(implementation, case)
    verdict = in_standard_mode(judge)(case, inputs, answered.reply)
    if answered.fault is not None and verdict.outcome != "failed":
        verdict = replace(verdict, outcome="wrong", reason=answered.fault, digits=None)
    if answered.changed is not None and verdict.outcome in ("inaccurate", "wrong"):
        verdict = replace(verdict, reason=answered.changed, digits=None, diagnosis=())
    return replace(verdict, seconds=answered.seconds)


def answer(implementation: Implementation, case: Case) -> Answered:
    """Run a case, whatever it needs. Raises NotSupported or Failure."""
    inputs, untouched = (inputs_of(case, implementation.dtype) for _ in range(2))
    start = perf_counter()
    reply = implementation.run(inputs)
    seconds = perf_counter() - start
    fault = _changed(inputs, untouched) if case.tests == "unmodified" else None
    # Where rows are the same memory, the next one is read from what was written for this.
    changed = _changed(inputs, untouched) if _is_shared(inputs.logits) else None
    if case.tests in ("kept", "deterministic"):
        first = replace(
            reply,
            loss=None if reply.loss is None else np.copy(reply.loss),
            grad=None if reply.grad is None else np.copy(reply.grad),
        )
    if case.tests == "kept":
        inputs.logits[...] = np.nan
        if unlike(first, reply) is not None:
            fault = "its reply changes when the logits are overwritten"
        reply = first
    if case.tests == "deterministic":
        other = inputs_of(case, implementation.dtype)
        implementation.run(replace(other, logits=-other.logits))
        fault = unlike(first, implementation.run(inputs_of(case, implementation.dtype)))
    return Answered(reply, fault, seconds, changed)


# The implementation runs in whatever mode it has set; what it is judged by does not.
@in_standard_mode
def inputs_of(case: Case, dtype: str | None) -> Inputs:
    """New inputs, in a type of their own or in that one."""
    return as_dtype(case.make(), dtype) if dtype is not None else case.make()


def _is_shared(array: NDArray[Any]) -> bool:
    """Whether several of its numbers are the same memory."""
    return any(
        step == 0 and count > 1 for step, count in zip(array.strides, array.shape, strict=True)
    )


def _changed(inputs: Inputs, untouched: Inputs) -> str | None:
    """What of the inputs is no longer as it was."""
    pairs = {"logits": (inputs.logits, untouched.logits)}
    pairs["target"] = (inputs.target, untouched.target)
    for name in ARRAY_OPTIONS:
        if name in untouched.options:
            pairs[name] = (inputs.options[name], untouched.options[name])
    for name, (now, before) in pairs.items():
        if now.tobytes() != before.tobytes():
            return f"the {name} {'were' if name == 'logits' else 'was'} changed in place"
    return None


def as_dtype(inputs: Inputs, dtype: str) -> Inputs:
    """The inputs with their logits, class probabilities and weights rounded to another type.

    Raises NotSupported where a number is beyond that type.
    """
    options = dict(inputs.options)
    for name in ARRAY_OPTIONS:
        if name in options:
            options[name] = _rounded(np.asarray(options[name]), dtype)
    soft = inputs.target.dtype.kind == "f"
    logits = _rounded(inputs.logits, dtype)
    return replace(
        inputs,
        logits=inputs.layout(logits) if inputs.layout else logits,
        target=_rounded(inputs.target, dtype) if soft else inputs.target,
        options=options,
        dtype=dtype,
    )


def _rounded(numbers: NDArray[Any], dtype: str) -> NDArray[Any]:
    held_in = "float32" if dtype == "bfloat16" else dtype
    with np.errstate(all="ignore"):
        rounded = round_to_type(numbers.astype(np.float64, order="C"), dtype).astype(held_in)
    if (np.isinf(rounded) & ~np.isinf(numbers)).any():
        raise NotSupported(f"numbers beyond {dtype}")
    return rounded
