"""The steps from the logits to the loss: of one true class, and of soft targets."""

from __future__ import annotations

from decimal import Decimal

import numpy as np

from cecli.derivation.model import (
    SATURATED,
    VANISHING,
    Example,
    Step,
    plain_number,
    plain_numbers,
)
from cecli.derivation.notation import over
from cecli.derivation.numbers import ONE, ZERO, Quantity
from cecli.machine.decimals import log1p, tanh


def forward(example: Example) -> list[Step]:
    """The steps before the backward pass, those of options only where they are used."""
    objective = example.own.objective
    steps = []
    if objective.softcap is not None:
        steps.append(_softcap(example, float(objective.softcap)))
    if objective.temperature != 1.0:
        steps.append(_temperature(example, float(objective.temperature)))
    steps += [_shift(example), _exponentials(example), _softmax(example)]
    if objective.label_smoothing or example.own.weight is not None:
        steps.append(_target(example))
    return [*steps, _cross_entropy(example)]


def _softcap(example: Example, softcap: float) -> Step:
    lines = [
        f"u_{i} = "
        + example.pencil.equate(
            "{0} × tanh(" + over("{1}", "{0}") + ")",
            [example.typed("y", softcap), example.logit(i)],
            Quantity("z", example.worked.capped[i]),
            lambda c, z: c * tanh(z / c),
        )
        if example.worked.capped[i].is_finite()
        else f"u_{i} = {example.pencil.write('z', example.worked.capped[i])}"
        for i in example.shown
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
        values={"softcap": softcap, "capped": plain_numbers(example.worked.capped)},
    )


def _temperature(example: Example, temperature: float) -> Step:
    capped = example.own.objective.softcap is not None
    lines = []
    for i in example.shown:
        logit = Quantity("z", example.worked.capped[i]) if capped else example.logit(i)
        lines.append(
            f"v_{i} = "
            + example.pencil.equate(
                over("{0}", "{1}"),
                [logit, example.typed("y", temperature)],
                Quantity("z", example.worked.scaled[i]),
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
        values={"temperature": temperature, "scaled": plain_numbers(example.worked.scaled)},
    )


def _shift(example: Example) -> Step:
    v, top = example.symbol, example.worked.top
    lines = []
    best = example.worked.scaled.index(top)
    for i in example.shown:
        operands = [Quantity("z", example.worked.scaled[i]), Quantity("z", top)]
        if not example.is_rescaled:
            operands = [example.logit(i), example.logit(best)]
        difference = Quantity("z", example.worked.difference[i])
        equation = example.pencil.equate("{0} − {1}", operands, difference, lambda z, m: z - m)
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
        values={"largest": plain_number(top), "shifted": plain_numbers(example.worked.difference)},
    )


def _exponentials(example: Example) -> Step:
    lines = [
        f"a_{i} = "
        + example.pencil.equate(
            "e^({0})",
            [Quantity("z", example.worked.difference[i])],
            Quantity("e", example.worked.powers[i]),
            Decimal.exp,
        )
        for i in example.shown
    ]
    total = example.pencil.add(
        example.terms("e", example.worked.powers), Quantity("S", example.worked.sum)
    )
    return Step(
        "exponentials",
        "Take the exponentials and their sum",
        (),
        ("a_i = e^(d_i)", "S = Σ_j a_j"),
        (*lines, f"S = {total}"),
        remark=example.others(),
        values={
            "exponentials": plain_numbers(example.worked.powers),
            "sum": plain_number(example.worked.sum),
        },
    )


def _softmax(example: Example) -> Step:
    v = example.symbol
    lines = [
        f"ŷ_{i} = "
        + example.pencil.equate(
            over("{0}", "{1}"),
            [Quantity("e", example.worked.powers[i]), Quantity("S", example.worked.sum)],
            Quantity("p", example.worked.probability[i]),
            lambda a, s: a / s,
        )
        for i in example.shown
    ]
    total = example.pencil.add(example.terms("p", example.worked.probability), Quantity("p", ONE))
    return Step(
        "softmax",
        "Softmax: each exponential as a share of the sum",
        ("The shares are the probabilities $ŷ_i$: none is negative, and together they are 1.",),
        (f"ŷ_i = {over(f'e^({v}_i)', f'Σ_j e^({v}_j)')} = {over('a_i', 'S')}",),
        (*lines, f"Σ_i ŷ_i = {total}"),
        remark=(*example.others(), *_nearly_one(example)),
        values={"softmax": plain_numbers(example.worked.probability)},
    )


def _nearly_one(example: Example) -> tuple[str, ...]:
    t = example.true_class
    if t is None or not example.saturated or not example.worked.beside[t]:
        return ()
    short = example.pencil.write("p", example.worked.beside[t])
    return (f"Rounded to the digits shown $ŷ_{t}$ may be 1; it is less than that, by ${short}$.",)


def _target(example: Example) -> Step:
    """Smoothing and weights, which change the target and nothing else."""
    own, mass = example.own, example.worked.target
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
        tuple(f"y_{i} = {_target_equation(example, i, smoothing)}" for i in example.shown),
        values={"target": plain_numbers(mass), "total": plain_number(example.worked.total)},
    )


def _target_equation(example: Example, i: int, smoothing: float) -> str:
    own = example.own
    q = float(own.soft[0, i]) if own.soft is not None else float(i == _index(example))
    weight = 1.0 if own.weight is None else float(own.weight[i])
    pattern = "{0}"
    if smoothing:
        pattern = "(1 − {1}) × {0} + " + over("{1}", str(own.classes))
    if own.weight is not None:
        pattern = f"{{2}} × ({pattern})" if smoothing else f"{{2}} × {pattern}"
    return example.pencil.equate(
        pattern,
        [example.typed("y", number) for number in (q, smoothing, weight)],
        Quantity("y", example.worked.target[i]),
        lambda q, e, w: w * ((1 - e) * q + e / own.classes),
    )


def _index(example: Example) -> int:
    return -1 if example.own.index is None else int(example.own.index[0])


def _cross_entropy(example: Example) -> Step:
    if example.worked.loss.is_infinite():
        return _infinite_loss(example)
    return _loss_of_one_class(example) if example.true_class is not None else _loss_of_many(example)


def _loss_of_one_class(example: Example) -> Step:
    """L = −log ŷ_t"""
    t, worked = example.true_class or 0, example.worked
    loss = Quantity("L", worked.loss)
    remark: tuple[str, ...] = ()
    formula = ["L = −Σ_i y_i log ŷ_i = −log ŷ_t"]
    if not example.saturated:
        lines = [f"L = −log ŷ_{t} = {_surprise(example, t)}"]
        remark = _vanishing(example)
    else:
        formula.append(f"−log ŷ_t = log({over('S', 'a_t')}) = log(1 + R)")
        rest = Quantity("e", worked.rest)
        lines = [
            f"R = {example.sum_of_others('a', 'e', worked.powers, rest)}",
            f"L = {example.pencil.equate('log(1 + {0})', [rest], loss, log1p)}",
        ]
        remark = (
            f"$ŷ_{t}$ is so close to 1 that $−log ŷ_{t}$ cannot be taken from it: every 9 that it "
            "begins with is a digit of the loss that is lost, and a double or a pocket calculator "
            f"that rounds it to 1 makes the loss 0. But $a_{t} = 1$, so that $S$ is 1 and the rest "
            "$R$ that the other classes add; and for a small $R$, $log(1 + R)$ is "
            f"$R − {over('R²', '2')} + …$, very nearly $R$ itself. So the loss is "
            f"${example.pencil.write('L', worked.loss)}$, and not 0."
            if worked.loss
            else "With one class alone its probability is 1, and the loss is 0."
            if example.own.classes == 1 + int(np.isneginf(example.own.rows).sum())
            else "The rest $R$ is larger than 0, but smaller than any number that can be written.",
        )
    return Step(
        "cross_entropy",
        "Cross-entropy: the loss",
        (
            (
                f"The target $y$ is 1 for the true class $t = {t}$ and 0 for all others, so "
                "that one term of the sum is left. $L$ depends on $ŷ_t$ alone. The logarithm "
                "is the natural one."
            ),
        ),
        tuple(formula),
        tuple(lines),
        remark=remark,
        values={"loss": plain_number(worked.loss)},
    )


def _loss_of_many(example: Example) -> Step:
    """L = −Σ_i y_i log ŷ_i"""
    worked = example.worked
    counted = [i for i in example.shown if worked.target[i]]
    lines = [f"−log ŷ_{i} = {_surprise(example, i)}" for i in counted]
    operands: list[Quantity] = []
    pattern: list[str] = []
    for i in counted:
        pattern.append(f"{{{len(operands)}}} × {{{len(operands) + 1}}}")
        operands += [Quantity("y", worked.target[i]), Quantity("L", worked.surprise[i])]
    hidden = sum(
        (worked.target[i] * worked.surprise[i] for i in example.hidden if worked.target[i]), ZERO
    )
    if hidden:
        pattern.append(f"{{{len(operands)}}}")
        operands.append(Quantity("L", hidden))

    def compute(*values: Decimal) -> Decimal:
        pairs = zip(values[0 : 2 * len(counted) : 2], values[1::2], strict=False)
        return sum((y * s for y, s in pairs), values[-1] if hidden else ZERO)

    loss = example.pencil.equate(
        " + ".join(pattern) or "0", operands, Quantity("L", worked.loss), compute
    )
    return Step(
        "cross_entropy",
        "Cross-entropy: the loss",
        (
            (
                "Each class counts with its share $y_i$ of the target; one with $y_i = 0$ adds "
                "nothing. The logarithm is the natural one."
            ),
        ),
        ("L = −Σ_i y_i log ŷ_i",),
        (*lines, f"L = {loss}"),
        remark=(
            *(example.others() if hidden else ()),
            *_next_to_one(example, counted),
            *_vanishing(example),
        ),
        values={"loss": plain_number(worked.loss)},
    )


def _surprise(example: Example, i: int) -> str:
    """−log ŷ_i with its numbers; next to 1 from the rest of the sum, near 0 from the exponent."""
    result = Quantity("L", example.worked.surprise[i])
    if example.worked.probability[i] < VANISHING:
        operands = [
            Quantity("S", example.worked.sum),
            Quantity("z", example.worked.difference[i]),
        ]
        return example.pencil.equate("log {0} − {1}", operands, result, lambda s, d: s.ln() - d)
    if example.worked.beside[i] < SATURATED:
        rest = Quantity("e", example.worked.rest)
        return example.pencil.equate("log(1 + {0})", [rest], result, log1p)
    p = Quantity("p", example.worked.probability[i])
    return "−" + example.pencil.equate("log {0}", [p], result, lambda p: -p.ln())


def _vanishing(example: Example) -> tuple[str, ...]:
    if not example.vanishes:
        return ()
    return (
        (
            "A probability that carries target mass is smaller than any number that can be "
            f"written. Its logarithm is not: $log ŷ_i = log({over('a_i', 'S')}) = d_i − log S$. "
            "The derivative $−1/ŷ_i$ is too large to be written, but it cancels in the chain rule."
        ),
    )


def _next_to_one(example: Example, counted: list[int]) -> tuple[str, ...]:
    best = example.worked.probability.index(max(example.worked.probability))
    if best not in counted or example.worked.beside[best] >= SATURATED:
        return ()
    return (
        (
            f"$ŷ_{best}$ is so close to 1 that its logarithm has lost its digits. It is "
            f"${over('1', 'S')}$, and $S$ is 1 and a small rest, so that the logarithm of both "
            "together, $log(1 + R)$, is very nearly that rest."
        ),
    )


def _infinite_loss(example: Example) -> Step:
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
        (f"L = {example.pencil.write('L', example.worked.loss)}",),
        remark=(
            (
                "There is nothing to differentiate here: $−1/ŷ_i$ has no value at $ŷ_i = 0$. "
                "What the gradient tends to, as that class's logit falls without end, is the "
                "formula that holds everywhere else, with $Y = Σ_i y_i$."
            ),
        ),
        values={"loss": plain_number(example.worked.loss)},
    )
