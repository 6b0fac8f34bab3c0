"""`explain` of the library: the derivation of a sample's gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cecli.api import solve
from cecli.core.probabilities import From, logits_from
from cecli.derivation.derive import derive, own_problem
from cecli.derivation.model import MOST_CLASSES, Derivation
from cecli.errors import CecliError
from cecli.gradcheck.check import check
from cecli.machine.float_mode import in_standard_mode
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem


@in_standard_mode
def explain(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    sample: int = 0,
    digits: int = 6,
    top: int = MOST_CLASSES,
    labels: Sequence[str] | None = None,
    steps: str | None = None,
    from_: From = "logits",
    **objective: Any,
) -> Derivation:
    """The gradient of one sample derived step by step, with its numbers in every formula.

    A notebook shows the result as a page with mathematics; ``print`` shows it as text.

    Args:
        logits: real numbers of shape (C,), or a batch with the classes on ``axis``; −inf masks a
            class.
        target: class indices (integers of the batch's shape) or class probabilities (floats of
            the logits' shape).
        sample: which sample of a batch, counted from 0 in its order.
        digits: digits after the point, 1 to 17.
        top: at most so many classes are worked out, the target among them.
        labels: what the classes are called.
        steps: the steps to keep, by their numbers: ``"5-7"`` or ``"1,4-"``; default all.
        from_, **objective: ``weight``, ``ignore_index``, ``label_smoothing``, ``reduction``,
            ``temperature``, ``softcap``, ``z_loss`` and ``axis``, as in `cross_entropy`.

    Returns:
        Derivation: its ``.steps`` have a ``.title``, formulas, and what they come to in
        ``.values``.

    Raises:
        CecliError: for what `cross_entropy` refuses, and where there is no such sample or step.

    Examples:
        >>> import cecli
        >>> derivation = cecli.explain([2.0, 1.0, 0.1], 0)
        >>> derivation.steps[4].values["slope"]
        -1.5174480603940774
        >>> print(cecli.explain([2.0, 1.0, 0.1], 0, steps="5"))
        Given are the logits of 3 classes, z₀ = 2.0, z₁ = 1.0, z₂ = 0.1; the true class
        is t = 0.
        Wanted is ∂L/∂zᵢ: how fast the loss L grows with each logit.
        <BLANKLINE>
        5. How the loss changes with ŷₜ
          The derivative of log x is 1 / x.
        <BLANKLINE>
            ∂L/∂ŷₜ = −1 / ŷₜ
        <BLANKLINE>
            ∂L/∂ŷ₀ = −1 / 0.659001 = −1.517448
    """
    if not 1 <= digits <= 17:
        raise CecliError(f"digits is {digits}: it must be 1 to 17")
    if top < 1:
        raise CecliError(f"top is {top}: it must be 1 or more")
    checked = Objective(**objective)
    problem = Problem.of(logits_from(logits, from_, checked.axis), target, checked)
    own = own_problem(problem, sample).undivided()
    result = solve(own, exact=True, keep_logits=False)
    found = check(own, result.grad, is_finite=True) if np.isfinite(result.loss) else None
    names = None if labels is None else tuple(map(str, labels))
    if names is not None and len(names) != own.classes:
        raise CecliError(f"there are {len(names)} labels for {own.classes} classes")
    derivation = derive(problem, sample, own, found, labels=names, digits=digits, top=top)
    return derivation if steps is None else derivation.only(steps)
