"""The steps from the loss back to the logits.

One true class goes through its probability alone; soft, smoothed and weighted targets sum over all
of them, by the Jacobian of the softmax.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from cecli.derivation.model import (
    MOST_CLASSES,
    SATURATED,
    Example,
    Step,
    plain_number,
    plain_numbers,
    quotient_rule_of,
)
from cecli.derivation.notation import over
from cecli.derivation.numbers import PRECISION, ZERO, Quantity, multiply, times_complement
from cecli.exact.row import DecimalRow

FEW_COLUMNS, FEW_DIGITS = 6, 4


def backward(example: Example) -> list[Step]:
    """The derivative of the loss by what the softmax is taken of, then by the logits."""
    steps: list[Step] = []
    if example.vanishes:
        pass  # no number for −1/ŷ can be written, and the formula is all there is to show
    elif example.true_class is not None:
        steps = [_loss_by_probability(example), _quotient_rule(example), _chain_rule(example)]
    else:
        steps = [_loss_by_probabilities(example), _jacobian(example), _chain_rule_summed(example)]
    if steps:
        steps.append(_sum(example))
    steps.append(_formula(example))
    if example.own.objective.z_loss:
        steps.append(_z_loss(example))
    if example.is_rescaled:
        steps.append(_back_to_logits(example))
    return steps


def _loss_by_probability(example: Example) -> Step:
    """∂L/∂ŷ_t"""
    t = example.true_class or 0
    slope = -1 / example.worked.probability[t]
    line = example.pencil.equate(
        "−" + over("1", "{0}"),
        [Quantity("p", example.worked.probability[t])],
        Quantity("s", slope),
        lambda p: -1 / p,
    )
    return Step(
        "loss_by_probability",
        "How the loss changes with $ŷ_t$",
        (f"The derivative of $log x$ is ${over('1', 'x')}$.",),
        (f"∂L/∂ŷ_t = −{over('1', 'ŷ_t')}",),
        (f"∂L/∂ŷ_{t} = {line}",),
        values={"slope": plain_number(slope)},
    )


def _quotient_rule(example: Example) -> Step:
    """∂ŷ_t/∂v_i, in its two cases."""
    t, v, worked = example.true_class or 0, example.symbol, example.worked
    own = f"∂ŷ_{t}/∂{v}_{t} = "
    lines = []
    if example.saturated:
        beside = Quantity("p", worked.beside[t])
        lines.append(f"1 − ŷ_{t} = {example.sum_of_others('ŷ', 'p', worked.probability, beside)}")
        factors, pattern = [Quantity("p", worked.probability[t]), beside], "{0} × {1}"
        compute: Callable[..., Decimal] = multiply
    else:
        factors, pattern = [Quantity("p", worked.probability[t])], "{0} × (1 − {0})"
        compute = times_complement
    for i in example.shown:
        result = Quantity(
            "j", worked.probability[t] * (worked.beside[t] if i == t else -worked.probability[i])
        )
        if i == t:
            lines.append(own + example.pencil.equate(pattern, factors, result, compute))
            continue
        operands = [Quantity("p", worked.probability[t]), Quantity("p", worked.probability[i])]
        equation = example.pencil.equate("−{0} × {1}", operands, result, lambda p, q: -p * q)
        lines.append(f"∂ŷ_{t}/∂{v}_{i} = {equation}")
    return Step(
        "quotient_rule",
        "How $ŷ_t$ changes with each logit: the quotient rule",
        (
            (
                f"$ŷ_t = {over('a_t', 'S')}$ is a quotient, and the derivative of "
                f"${over('f', 'g')}$ is ${over('f′ · g − f · g′', 'g²')}$. The power $a_i$ is "
                f"its own derivative by ${v}_i$; the shift $m$ counts as a fixed number, "
                f"since $ŷ$ does not depend on it. Every ${v}_i$ moves the sum $S$, by $a_i$; "
                f"only ${v}_t$ moves the numerator too. So there are two cases."
            ),
        ),
        (
            f"i = t: ∂ŷ_t/∂{v}_t = {quotient_rule_of('t', 't')} = ŷ_t · (1 − ŷ_t)",
            f"i ≠ t: ∂ŷ_t/∂{v}_i = {quotient_rule_of('t', 'i')} = −ŷ_t · ŷ_i",
        ),
        tuple(lines),
        remark=_why_not_subtract(example) if example.saturated else (),
        values={
            "slopes": plain_numbers(
                [
                    worked.probability[t] * (worked.beside[t] if i == t else -p)
                    for i, p in enumerate(worked.probability)
                ]
            )
        },
    )


def _why_not_subtract(example: Example) -> tuple[str, ...]:
    t = example.true_class or 0
    return (
        (
            f"$1 − ŷ_{t}$ must not be computed by subtracting. In double precision the number "
            f"next to 1 is 1 − 1.1e-16, so that of a smaller $1 − ŷ_{t}$ nothing is left, and "
            "of a larger one only some digits. The probabilities sum to 1, so it is the sum "
            "of all the others, which loses none."
        ),
    )


def _chain_rule(example: Example) -> Step:
    """∂L/∂v_i = ∂L/∂ŷ_t · ∂ŷ_t/∂v_i"""
    t, v, worked = example.true_class or 0, example.symbol, example.worked
    lines = []
    for i in example.shown:
        slope = -1 / worked.probability[t]
        inner = worked.probability[t] * (worked.beside[t] if i == t else -worked.probability[i])
        equation = example.pencil.equate(
            "{0} × {1}",
            [Quantity("s", slope), Quantity("j", inner)],
            Quantity("g", worked.grad_plain[i]),
            multiply,
        )
        lines.append(f"∂L/∂{v}_{i} = {equation}")
    inverse = f"(−{over('1', 'ŷ_t')})"
    return Step(
        "chain_rule",
        "The chain rule puts the two together",
        (
            (
                f"${v}_i$ moves $ŷ_t$, and $ŷ_t$ moves $L$: the derivatives multiply. In both "
                "cases $ŷ_t$ cancels."
            ),
        ),
        (
            f"∂L/∂{v}_i = ∂L/∂ŷ_t · ∂ŷ_t/∂{v}_i",
            f"i = t: {inverse} · ŷ_t · (1 − ŷ_t) = −(1 − ŷ_t) = ŷ_t − 1",
            f"i ≠ t: {inverse} · (−ŷ_t · ŷ_i) = ŷ_i",
        ),
        tuple(lines),
        values={"grad": plain_numbers(worked.grad_plain)},
    )


def _loss_by_probabilities(example: Example) -> Step:
    """∂L/∂ŷ_k"""
    worked = example.worked
    counted = [i for i in example.shown if worked.target[i]]
    lines = [
        f"∂L/∂ŷ_{i} = "
        + example.pencil.equate(
            "−" + over("{0}", "{1}"),
            [Quantity("y", worked.target[i]), Quantity("p", worked.probability[i])],
            Quantity("s", -worked.target[i] / worked.probability[i]),
            lambda y, p: -y / p,
        )
        for i in counted
    ]
    slopes = [-y / p if y else ZERO for y, p in zip(worked.target, worked.probability, strict=True)]
    return Step(
        "loss_by_probability",
        "How the loss changes with each $ŷ_k$",
        (
            (
                f"The derivative of $log x$ is ${over('1', 'x')}$, and $ŷ_k$ stands in one "
                "term of the sum. Where $y_k$ is 0, so is the derivative."
            ),
        ),
        (f"∂L/∂ŷ_k = −{over('y_k', 'ŷ_k')}",),
        tuple(lines),
        values={"slopes": plain_numbers(slopes)},
    )


def _slope(example: Example, k: int, i: int) -> Decimal:
    """∂ŷ_k/∂v_i"""
    worked = example.worked
    return worked.probability[k] * (worked.beside[k] if k == i else -worked.probability[i])


def _jacobian(example: Example) -> Step:
    """∂ŷ_k/∂v_i, as a matrix where the classes are few."""
    v, classes = example.symbol, range(example.own.classes)
    formula = (
        f"∂ŷ_k/∂{v}_i = ŷ_k · (δ_ki − ŷ_i)",
        f"k = i: {quotient_rule_of('k', 'k')} = ŷ_k · (1 − ŷ_k)",
        f"k ≠ i: {quotient_rule_of('k', 'i')} = −ŷ_k · ŷ_i",
    )
    text = (
        (
            f"$ŷ_k = {over('a_k', 'S')}$ is a quotient, and the derivative of "
            f"${over('f', 'g')}$ is ${over('f′ · g − f · g′', 'g²')}$. The power $a_i$ is its "
            f"own derivative by ${v}_i$; the shift $m$ counts as a fixed number, since $ŷ$ "
            f"does not depend on it. Every ${v}_i$ moves the sum $S$, by $a_i$; only ${v}_k$ "
            "moves the numerator of $ŷ_k$ too. With $δ_ki$, which is 1 for $k = i$ and 0 "
            "otherwise, the two cases are one."
        ),
    )
    title = "How each $ŷ_k$ changes with each logit: the Jacobian"
    if len(classes) > MOST_CLASSES:
        remark = (
            (
                f"That is a matrix of {len(classes):,} × {len(classes):,} numbers; it is "
                f"shown for up to {MOST_CLASSES} classes. The next step does without it."
            ),
        )
        return Step("jacobian", title, text, formula, remark=remark)
    jacobian = [[_slope(example, k, i) for i in classes] for k in classes]
    pencil = example.pencil.shorter(FEW_DIGITS) if len(classes) > FEW_COLUMNS else example.pencil
    matrix = tuple(tuple(pencil.write("j", value) for value in row) for row in jacobian)
    where = f"Row $k$, column $i$: the rows are $ŷ_0$, $ŷ_1$, …; the columns ${v}_0$, ${v}_1$, …"
    symmetric = "Each row, and each column, sums to 0: the probabilities always sum to 1."
    return Step(
        "jacobian",
        title,
        text,
        formula,
        tuple(_worked_entries(example)),
        matrix,
        (f"{where} {symmetric}" if len(classes) > 1 else where,),
        {"jacobian": [plain_numbers(row) for row in jacobian]},
    )


def _worked_entries(example: Example) -> list[str]:
    """One entry of each kind, written out."""
    v, worked = example.symbol, example.worked
    k = max(range(example.own.classes), key=lambda i: min(worked.probability[i], worked.beside[i]))
    i = 0 if k else 1
    p = Quantity("p", worked.probability[k])
    lines = []
    if worked.beside[k] > 0:
        result = Quantity("j", _slope(example, k, k))
        if worked.beside[k] < SATURATED:
            operands = [p, Quantity("p", worked.beside[k])]
            equation = example.pencil.equate("{0} × {1}", operands, result, multiply)
        else:
            equation = example.pencil.equate("{0} × (1 − {0})", [p], result, times_complement)
        lines.append(f"∂ŷ_{k}/∂{v}_{k} = {equation}")
    if example.own.classes > 1:
        equation = example.pencil.equate(
            "−{0} × {1}",
            [p, Quantity("p", worked.probability[i])],
            Quantity("j", _slope(example, k, i)),
            lambda p, q: -p * q,
        )
        lines.append(f"∂ŷ_{k}/∂{v}_{i} = {equation}")
    return lines


def _chain_rule_summed(example: Example) -> Step:
    """∂L/∂v_i = Σ_k ∂L/∂ŷ_k · ∂ŷ_k/∂v_i"""
    v, worked = example.symbol, example.worked
    few = example.own.classes <= MOST_CLASSES and not example.hidden
    lines = tuple(f"∂L/∂{v}_{i} = {_chain_sum(example, i)}" for i in example.shown) if few else ()
    return Step(
        "chain_rule",
        "The chain rule adds up all the ways from a logit to the loss",
        (
            (
                f"${v}_i$ moves every $ŷ_k$, and each of them moves $L$. In each product "
                "$ŷ_k$ cancels; $δ_ki$ picks one term, and $−ŷ_i$ is common to all. $Y$ is "
                "short for $Σ_k y_k$."
            ),
        ),
        (
            f"∂L/∂{v}_i = Σ_k ∂L/∂ŷ_k · ∂ŷ_k/∂{v}_i",
            f"(−{over('y_k', 'ŷ_k')}) · ŷ_k · (δ_ki − ŷ_i) = −y_k · (δ_ki − ŷ_i)",
            f"∂L/∂{v}_i = −y_i + ŷ_i · Σ_k y_k = Y · ŷ_i − y_i",
        ),
        lines,
        values={"grad": plain_numbers(worked.grad_plain)},
    )


def _chain_sum(example: Example, i: int) -> str:
    """Σ_k ∂L/∂ŷ_k · ∂ŷ_k/∂v_i with its numbers, without the terms that are 0."""
    worked = example.worked
    counted = [k for k in range(example.own.classes) if worked.target[k]]
    operands = []
    for k in counted:
        operands.append(Quantity("s", -worked.target[k] / worked.probability[k]))
        operands.append(Quantity("j", _slope(example, k, i)))
    pattern = " + ".join(f"({{{2 * n}}}) × {{{2 * n + 1}}}" for n in range(len(counted)))
    pattern = pattern or "0"
    return example.pencil.equate(
        pattern,
        operands,
        Quantity("g", worked.grad_plain[i]),
        lambda *values: sum((a * b for a, b in zip(values[::2], values[1::2], strict=True)), ZERO),
    )


def _sum(example: Example) -> Step:
    v, worked = example.symbol, example.worked
    hard = example.true_class is not None
    total = example.pencil.add(example.terms("g", worked.grad_plain), Quantity("g", ZERO))
    formula = "Σ_i ŷ_i − 1 = 1 − 1 = 0" if hard else "Y · Σ_i ŷ_i − Σ_i y_i = Y · 1 − Y = 0"
    return Step(
        "sum",
        "Check: the components sum to zero",
        (
            (
                "They have to: to raise all logits by the same amount is another shift, "
                "which changes neither softmax nor loss."
            ),
        ),
        (f"Σ_i ∂L/∂{v}_i = {formula}",),
        (f"Σ_i ∂L/∂{v}_i = {total}",),
        remark=example.others(),
        values={"sum": plain_number(_rounded_sum(worked))},
    )


def _rounded_sum(worked: DecimalRow) -> Decimal:
    """Σ_i ∂L/∂v_i, 0 where the digits of the largest term end."""
    total, largest = sum(worked.grad_plain, ZERO), max(*worked.up, *worked.down)
    return total if abs(total) > largest.scaleb(10 - PRECISION) else ZERO


def _formula(example: Example) -> Step:
    v, worked, hard = example.symbol, example.worked, example.true_class is not None
    lines = []
    for i in example.shown:
        y, p = Quantity("y", worked.target[i]), Quantity("p", worked.probability[i])
        result = Quantity("g", worked.grad_plain[i])
        if not hard:
            lines.append(f"Y · ŷ_{i} − y_{i} = {_total_minus_target(example, i)}")
        elif example.saturated and i == example.true_class:
            short = example.pencil.write("g", result.value)
            lines.append(f"ŷ_{i} − y_{i} = −(1 − ŷ_{i}) = {short}")
        else:
            y = Quantity("y", y.value, str(int(y.value)))
            equation = example.pencil.equate("{0} − {1}", [p, y], result, lambda p, y: p - y)
            lines.append(f"ŷ_{i} − y_{i} = {equation}")
    text = "This is the same for all classes: softmax minus target."
    if not hard:
        text = "In one line: softmax, times the target's sum $Y$, minus target."
    return Step(
        "formula",
        "The gradient, by its formula" if example.vanishes else "Check: the formula",
        (text,),
        (f"∂L/∂{v}_i = ŷ_i − y_i" if hard else f"∂L/∂{v}_i = Y · ŷ_i − y_i",),
        tuple(lines),
        values={"grad": plain_numbers(worked.grad_plain)},
    )


def _total_minus_target(example: Example, i: int) -> str:
    """Yŷ_i − y_i with its numbers; next to 1, so that nothing cancels."""
    worked = example.worked
    result, p = Quantity("g", worked.grad_plain[i]), Quantity("p", worked.probability[i])
    y, total = Quantity("y", worked.target[i]), Quantity("y", worked.total)
    if worked.beside[i] >= SATURATED:
        return example.pencil.equate(
            "{0} × {1} − {2}", [total, p, y], result, lambda t, p, y: t * p - y
        )
    others, beside = Quantity("y", worked.total - worked.target[i]), Quantity("p", worked.beside[i])
    equation = example.pencil.equate(
        "{0} × {1} − {2} × {3}",
        [others, p, y, beside],
        result,
        lambda o, p, y, b: o * p - y * b,
    )
    return f"(Y − y_{i}) · ŷ_{i} − y_{i} · (1 − ŷ_{i}) = {equation}"


def _z_loss(example: Example) -> Step:
    v, worked, pencil = example.symbol, example.worked, example.pencil
    factor = example.typed("y", float(example.own.objective.z_loss))
    lse = Quantity("L", worked.log_sum_exp)
    extra = Quantity("L", worked.z_loss * worked.log_sum_exp**2)
    lines = [
        "lse = "
        + pencil.equate(
            "{0} + log {1}",
            [Quantity("z", worked.top), Quantity("S", worked.sum)],
            lse,
            lambda m, s: m + s.ln(),
        ),
        "λ · lse^2 = " + pencil.equate("{0} × {1}^2", [factor, lse], extra, lambda f, x: f * x**2),
        "L + λ · lse^2 = "
        + pencil.add([Quantity("L", worked.loss), extra], Quantity("L", worked.full_loss)),
    ]
    for i in example.shown:
        operands = [Quantity("g", worked.grad_plain[i]), factor, lse]
        operands.append(Quantity("p", worked.probability[i]))
        equation = pencil.equate(
            "{0} + 2 × {1} × {2} × {3}",
            operands,
            Quantity("g", worked.grad_plain[i] + worked.grad_z_loss[i]),
            lambda g, f, x, p: g + 2 * f * x * p,
        )
        lines.append(f"∂L/∂{v}_{i} = {equation}")
    total = [a + b for a, b in zip(worked.grad_plain, worked.grad_z_loss, strict=True)]
    return Step(
        "z_loss",
        "Add the z-loss",
        (
            (
                f"The logarithm of the sum of all $e^({v}_j)$ is $lse = m + log S$, and the "
                "z-loss adds $λ · lse^2$, which holds the logits near those whose sum is 1. "
                f"Its derivative by ${v}_i$ is $2λ · lse$ times that of $lse$, and that is "
                "$ŷ_i$."
            ),
        ),
        (f"∂(L + λ · lse^2)/∂{v}_i = ∂L/∂{v}_i + 2λ · lse · ŷ_i",),
        tuple(lines),
        remark=("From here on $L$ is the whole loss, this term included.",),
        values={"loss": plain_number(worked.full_loss), "grad": plain_numbers(total)},
    )


def _back_to_logits(example: Example) -> Step:
    v, worked, objective = example.symbol, example.worked, example.own.objective
    by_temperature, capped = objective.temperature != 1.0, objective.softcap is not None
    tangent = "1 − tanh²(z_i/c)"
    slope = tangent if not by_temperature else over(tangent if capped else "1", "T")
    lines = []
    for i in example.shown:
        by_v = worked.grad_plain[i] + worked.grad_z_loss[i]
        equation = example.pencil.equate(
            "{0} × {1}",
            [Quantity("g", by_v), Quantity("j", worked.slope[i])],
            Quantity("g", worked.grad[i]),
            multiply,
        )
        lines.append(f"∂L/∂z_{i} = {equation}")
    why = []
    if capped:
        why.append("The derivative of $tanh x$ is $1 − tanh²(x)$: it is small where the cap bites.")
    if by_temperature:
        why.append("Dividing by $T$ divides the derivative by $T$.")
    return Step(
        "logits",
        "Back to the logits",
        (f"Behind ${v}_i$ stands $z_i$, one more link of the chain. {' '.join(why)}",),
        (f"∂L/∂z_i = ∂L/∂{v}_i · ∂{v}_i/∂z_i", f"∂{v}_i/∂z_i = {slope}"),
        tuple(lines),
        values={"slopes": plain_numbers(worked.slope), "grad": plain_numbers(worked.grad)},
    )
