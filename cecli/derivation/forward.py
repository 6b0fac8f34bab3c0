"""The steps from the logits to the loss."""

from __future__ import annotations

from decimal import Decimal

from cecli.derivation.model import Case, Step, plain_number, plain_numbers
from cecli.derivation.notation import over
from cecli.derivation.one_class import loss_of_one_class
from cecli.derivation.pencil import Number
from cecli.derivation.soft_target import loss_of_many
from cecli.derivation.worked import ONE
from cecli.machine.decimals import tanh


def forward(case: Case) -> list[Step]:
    """The steps before the backward pass, those of options only where they are used."""
    objective = case.own.objective
    steps = []
    if objective.softcap is not None:
        steps.append(_softcap(case, float(objective.softcap)))
    if objective.temperature != 1.0:
        steps.append(_temperature(case, float(objective.temperature)))
    steps += [_shift(case), _exponentials(case), _softmax(case)]
    if objective.label_smoothing or case.own.weight is not None:
        steps.append(_target(case))
    return [*steps, _cross_entropy(case)]


def _softcap(case: Case, softcap: float) -> Step:
    lines = [
        f"u_{i} = "
        + case.pencil.equate(
            "{0} × tanh(" + over("{1}", "{0}") + ")",
            [case.typed("y", softcap), case.logit(i)],
            Number("z", case.worked.capped[i]),
            lambda c, z: c * tanh(z / c),
        )
        if case.worked.capped[i].is_finite()
        else f"u_{i} = {case.pencil.write('z', case.worked.capped[i])}"
        for i in case.shown
    ]
    return Step(
        "softcap",
        "Cap the logits",
        (
            (
                "The softcap $c$ bends every logit smoothly into the range from $−c$ to $c$: "
                "a small one hardly changes, a large one stays below $c$."
            ),
        ),
        (f"u_i = c · tanh({over('z_i', 'c')})",),
        tuple(lines),
        values={"softcap": softcap, "capped": plain_numbers(case.worked.capped)},
    )


def _temperature(case: Case, temperature: float) -> Step:
    capped = case.own.objective.softcap is not None
    lines = []
    for i in case.shown:
        logit = Number("z", case.worked.capped[i]) if capped else case.logit(i)
        lines.append(
            f"v_{i} = "
            + case.pencil.equate(
                over("{0}", "{1}"),
                [logit, case.typed("y", temperature)],
                Number("z", case.worked.scaled[i]),
                lambda u, t: u / t,
            )
        )
    return Step(
        "temperature",
        "Divide by the temperature",
        (
            (
                "A temperature $T$ above 1 brings the logits closer together and the softmax "
                "closer to uniform; one below 1 does the opposite."
            ),
        ),
        (f"v_i = {over('u_i' if capped else 'z_i', 'T')}",),
        tuple(lines),
        values={"temperature": temperature, "scaled": plain_numbers(case.worked.scaled)},
    )


def _shift(case: Case) -> Step:
    v, top = case.symbol, case.worked.top
    lines = []
    best = case.worked.scaled.index(top)
    for i in case.shown:
        operands = [Number("z", case.worked.scaled[i]), Number("z", top)]
        if not case.is_rescaled:
            operands = [case.logit(i), case.logit(best)]
        difference = Number("z", case.worked.difference[i])
        equation = case.pencil.equate("{0} − {1}", operands, difference, lambda z, m: z - m)
        lines.append(f"d_{i} = {equation}")
    return Step(
        "shift",
        "Subtract the largest logit",
        (
            (
                f"Let $m$ be the largest ${v}_i$, here ${v}_{best}$. Without it, no power of e is "
                "larger than 1, and none can overflow."
            ),
            (
                "The softmax does not change. Subtracting $m$ divides every power by the "
                f"same number, $e^({v}_i − m) = e^({v}_i) / e^(m)$, and in a share of the sum "
                "that number cancels: it divides the part and the whole."
            ),
        ),
        (f"d_i = {v}_i − m",),
        tuple(lines),
        values={"largest": plain_number(top), "shifted": plain_numbers(case.worked.difference)},
    )


def _exponentials(case: Case) -> Step:
    lines = [
        f"a_{i} = "
        + case.pencil.equate(
            "e^({0})",
            [Number("z", case.worked.difference[i])],
            Number("e", case.worked.powers[i]),
            Decimal.exp,
        )
        for i in case.shown
    ]
    total = case.pencil.add(case.terms("e", case.worked.powers), Number("S", case.worked.sum))
    return Step(
        "exponentials",
        "Take the exponentials and their sum",
        (),
        ("a_i = e^(d_i)", "S = Σ_j a_j"),
        (*lines, f"S = {total}"),
        remark=case.others(),
        values={
            "exponentials": plain_numbers(case.worked.powers),
            "sum": plain_number(case.worked.sum),
        },
    )


def _softmax(case: Case) -> Step:
    v = case.symbol
    lines = [
        f"ŷ_{i} = "
        + case.pencil.equate(
            over("{0}", "{1}"),
            [Number("e", case.worked.powers[i]), Number("S", case.worked.sum)],
            Number("p", case.worked.probability[i]),
            lambda a, s: a / s,
        )
        for i in case.shown
    ]
    total = case.pencil.add(case.terms("p", case.worked.probability), Number("p", ONE))
    return Step(
        "softmax",
        "Softmax: each exponential as a share of the sum",
        ("The shares are the probabilities $ŷ_i$: none is negative, and together they are 1.",),
        (f"ŷ_i = {over(f'e^({v}_i)', f'Σ_j e^({v}_j)')} = {over('a_i', 'S')}",),
        (*lines, f"Σ_i ŷ_i = {total}"),
        remark=(*case.others(), *_nearly_one(case)),
        values={"softmax": plain_numbers(case.worked.probability)},
    )


def _nearly_one(case: Case) -> tuple[str, ...]:
    t = case.true_class
    if t is None or not case.saturated or not case.worked.beside[t]:
        return ()
    short = case.pencil.write("p", case.worked.beside[t])
    return (f"Rounded to the digits shown $ŷ_{t}$ may be 1; it is less than that, by ${short}$.",)


def _target(case: Case) -> Step:
    """Smoothing and weights, which change the target and nothing else."""
    own, mass = case.own, case.worked.target
    smoothing = float(own.objective.label_smoothing)
    text, formula, how = [], "q_i", []
    if own.index is not None:
        text.append(
            "The target $q_i$ is 1 for the true class and 0 for the others. What the loss counts "
            "with, $y_i$, is made of it."
        )
    if smoothing:
        formula, how = f"(1 − ε) · q_i + {over('ε', 'C')}", ["smoothed"]
        text.append(
            f"Label smoothing takes the share $ε = {smoothing:g}$ of the target away and spreads "
            f"it evenly over all $C = {own.classes}$ classes, the true one included."
        )
    if own.weight is not None:
        formula = f"w_i · ({formula})" if smoothing else f"w_i · {formula}"
        how.append("weighted")
        text.append("A class with the weight $w_i$ counts $w_i$ times.")
    return Step(
        "target",
        f"The target, {' and '.join(how)}",
        tuple(text),
        (f"y_i = {formula}",),
        tuple(f"y_{i} = {_target_equation(case, i, smoothing)}" for i in case.shown),
        values={"target": plain_numbers(mass), "total": plain_number(case.worked.total)},
    )


def _target_equation(case: Case, i: int, smoothing: float) -> str:
    own = case.own
    q = float(own.soft[0, i]) if own.soft is not None else float(i == _index(case))
    weight = 1.0 if own.weight is None else float(own.weight[i])
    pattern = "{0}"
    if smoothing:
        pattern = "(1 − {1}) × {0} + " + over("{1}", str(own.classes))
    if own.weight is not None:
        pattern = f"{{2}} × ({pattern})" if smoothing else f"{{2}} × {pattern}"
    return case.pencil.equate(
        pattern,
        [case.typed("y", number) for number in (q, smoothing, weight)],
        Number("y", case.worked.target[i]),
        lambda q, e, w: w * ((1 - e) * q + e / own.classes),
    )


def _index(case: Case) -> int:
    return -1 if case.own.index is None else int(case.own.index[0])


def _cross_entropy(case: Case) -> Step:
    if case.worked.loss.is_infinite():
        return _infinite_loss(case)
    return loss_of_one_class(case) if case.true_class is not None else loss_of_many(case)


def _infinite_loss(case: Case) -> Step:
    return Step(
        "cross_entropy",
        "Cross-entropy: the loss is infinite",
        (
            (
                "A class that carries a part of the target has the probability 0, and $−log 0$ is "
                "infinite: whatever is finite elsewhere, the loss is not."
            ),
        ),
        ("L = −Σ_i y_i log ŷ_i",),
        (f"L = {case.pencil.write('L', case.worked.loss)}",),
        remark=(
            (
                "There is nothing to differentiate here: $−1/ŷ_i$ has no value at $ŷ_i = 0$. "
                "What the gradient tends to, as that class's logit falls without end, is the "
                "formula that holds everywhere else, with $Y = Σ_i y_i$."
            ),
        ),
        values={"loss": plain_number(case.worked.loss)},
    )
