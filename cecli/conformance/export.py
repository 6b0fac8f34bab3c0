"""The cases with their exact answers as plain data, for test suites that cannot run cecli.

An array is written as its shape and its numbers row by row, in decimal and in hexadecimal; the
decimal text reads back to the same double as the hexadecimal one. Where a large array has few
different numbers, these stand there once, and `index` says which of them each component is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike

from cecli.comparison.grade import gradient_allowance, loss_allowance, loss_sizes
from cecli.comparison.survey import Reference
from cecli.conformance.judge import problem_of
from cecli.conformance.model import ARRAY_OPTIONS, SUITE, Case, Inputs
from cecli.input.candidate import Candidate
from cecli.text.strict_json import JSONObject

SCHEMA = 1
MOST_IN_FULL = 256


def exported(cases: Sequence[Case]) -> Iterator[JSONObject]:
    """Each case as one document: inputs, exact results, and what these may be off by.

    loss and grad are the correctly rounded doubles; grad is multiplied by the upstream gradient.
    allowed: the largest error that is acceptable in the type of the input, of each of both.
    """
    for case in cases:
        inputs = case.make()
        yield {
            "schema": SCHEMA,
            "suite": SUITE,
            "name": case.name,
            "family": case.family,
            "reason": case.reason,
            "source": case.source,
            "features": sorted(case.features),
            "tests": case.tests,
            "dtype": inputs.dtype,
            "options": {
                key: as_data(value) if key in ARRAY_OPTIONS else value
                for key, value in inputs.options.items()
            },
            "upstream": as_data(inputs.upstream),
            "logits": as_data(inputs.logits),
            "target": as_data(inputs.target) if _is_soft(inputs) else inputs.target.tolist(),
            **_expected(inputs),
        }


def _is_soft(inputs: Inputs) -> bool:
    return inputs.target.dtype.kind == "f"


def _expected(inputs: Inputs) -> JSONObject:
    problem = problem_of(inputs)
    reference = Reference(problem)
    result, batch = reference.result, reference.textbook.everything
    loss, grad = np.asarray(result.loss), result.grad
    upstream = np.reshape(inputs.upstream, (-1, 1))
    sizes = loss_sizes(batch)
    sizes = sizes if loss.ndim else np.asarray(sizes.sum())
    judged = Candidate(loss, inputs.dtype)
    may_be_off = {
        "loss": loss_allowance(sizes, problem.classes, problem.samples, loss, judged, None).total,
        "grad": gradient_allowance(batch, grad, Candidate(grad, inputs.dtype), None).total
        * np.abs(upstream),
    }
    return {
        "loss": as_data(loss),
        "grad": as_data(grad * upstream + 0.0),
        "allowed": {name: as_data(allowed) for name, allowed in may_be_off.items()},
    }


def as_data(array: ArrayLike) -> JSONObject:
    """A number or an array as shape, decimal and hex, and index where that is shorter."""
    numbers = np.asarray(array, dtype=np.float64)
    flat = numbers.reshape(-1)
    data: JSONObject = {"shape": list(numbers.shape)}
    if flat.size > MOST_IN_FULL:
        # by their bits, since NaN equals nothing and −0 equals 0
        bits, index = np.unique(flat.view(np.int64), return_inverse=True)
        if bits.size <= flat.size // 2:
            flat = bits.view(np.float64)
            data["index"] = index.reshape(-1).tolist()
    data["decimal"] = flat.tolist()
    data["hex"] = [number.hex() for number in flat.tolist()]
    return data
