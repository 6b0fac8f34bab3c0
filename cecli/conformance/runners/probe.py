"""What no parameter of a function tells is found by calling it: one-hot labels, and its precision.

Three samples of five classes, of which nothing is difficult: who is right about more of them in one
way than in the other is called in that way, and so is who answers in that way alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cecli.api import cross_entropy
from cecli.conformance.model import Failure, Inputs, NotSupported, Reply
from cecli.conformance.runners.functions import Function
from cecli.conformance.suite.makers import as_type, logits, targets
from cecli.problem.dtypes import Floats

# So much, of the largest number, tells another computation from one of few digits.
CLOSE = 0.05
# The first that holds all that a function keeps of its input is what it makes of it.
NARROW = ("bfloat16", "float16", "float32")
ONE_HOT = "classes are handed over as one-hot rows: by their indices it gives"


def probe(function: Function, one_hot: bool | None) -> None:
    """Set whether a function takes one-hot labels, None to find out, and what it is judged as."""
    dtype = function.dtype or "float64"
    inputs = Inputs(as_type(logits("probe", 3, 5), dtype), targets("probe", 3, 5), dtype=dtype)
    function.one_hot = bool(one_hot)
    reply = _reply(function, inputs)
    if one_hot is None and _wrong_parts(inputs, reply):
        function.one_hot = True
        other = _reply(function, inputs)
        function.one_hot = _wrong_parts(inputs, other) < _wrong_parts(inputs, reply)
        if function.one_hot:
            function.found.append(f"{ONE_HOT} {'nothing' if reply is None else 'something else'}")
            reply = other
    if function.dtype is None and reply is not None:
        function.dtype = _rounds_to(function, inputs, reply)
        if function.dtype is not None:
            function.found.append(
                f"it makes {function.dtype} of its input: judged as with --dtype {function.dtype}"
            )


def _reply(function: Function, inputs: Inputs) -> Reply | None:
    """What comes back for inputs of its own, None where nothing does."""
    try:
        copied = replace(inputs, logits=inputs.logits.copy(), target=inputs.target.copy())
        return function.run(copied)
    except (Failure, NotSupported):
        return None


def _wrong_parts(inputs: Inputs, reply: Reply | None) -> int:
    """How many of loss and gradient, those that there are, are not about right; no reply is worse.

    A loss that is spoilt by a mistake is still one of one-hot rows.
    """
    if reply is None:
        return 3
    right = cross_entropy(inputs.logits.astype(np.float64), inputs.target)
    pairs = [(reply.loss, right.loss), (reply.grad, right.grad)]
    return sum(not _agree(yours, wanted) for yours, wanted in pairs if yours is not None)


def _agree(yours: object, wanted: object) -> bool:
    try:
        found: Floats = np.asarray(yours, dtype=np.float64)
        right: Floats = np.asarray(wanted, dtype=np.float64)
        found = found.reshape(right.shape)
    except (TypeError, ValueError):
        return False
    with np.errstate(all="ignore"):
        return bool(np.abs(found - right).max() <= CLOSE * np.abs(right).max())


def _rounds_to(function: Function, inputs: Inputs, reply: Reply) -> str | None:
    """The type that keeps everything that the function looks at, if one does."""
    if _alike(reply, _reply(function, replace(inputs, logits=-inputs.logits))):
        return None  # it does not look at its input
    for dtype in NARROW:
        rounded = as_type(inputs.logits, dtype).astype(np.float64)
        if _alike(reply, _reply(function, replace(inputs, logits=rounded))):
            return dtype
    return None


def _alike(one: Reply, other: Reply | None) -> bool:
    if other is None:
        return False
    pairs = ((one.loss, other.loss), (one.grad, other.grad))
    return all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)
