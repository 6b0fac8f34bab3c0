"""The steps from the loss back to the logits."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal

from cecli.derivation import MOST_CLASSES, Case, Step, plain_number, plain_numbers
from cecli.notation import over
from cecli.pencil import Number
from cecli.worked import ONE, PRECISION, ZERO

FEW_COLUMNS, FEW_DIGITS = 6, 4


def backward(case: Case) -> list[Step]:
    """The derivative of the loss by what the softmax is taken of, then by the logits."""
    steps: list[Step] = []
    if math.isinf(case.worked.loss):
        pass  # there is nothing to differentiate, and the formula is all there is to show
    elif case.true_class is not None:
        steps = [_loss_by_probability(case), _quotient_rule(case), _chain_rule(case)]
    else:
        steps = [_loss_by_probabilities(case), _jacobian(case), _chain_rule_summed(case)]
    if steps:
        steps.append(_sum(case))
    steps.append(_formula(case))
    if case.own.objective.z_loss:
        steps.append(_z_loss(case))
    if case.is_rescaled:
        steps.append(_back_to_logits(case))
    return steps


def _loss_by_probability(case: Case) -> Step:
    t = case.true_class or 0
    slope = -1 / case.worked.probability[t]
    line = case.pencil.equate(
        "−" + over("1", "{0}"),
        [Number("p", case.worked.probability[t])],
        Number("s", slope),
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


def _quotient_rule(case: Case) -> Step:
    t, v, worked = case.true_class or 0, case.symbol, case.worked
    own = f"∂ŷ_{t}/∂{v}_{t} = "
    lines = []
    if case.saturated:
        beside = Number("p", worked.beside[t])
        lines.append(f"1 − ŷ_{t} = {case.sum_of_others('ŷ', 'p', worked.probability, beside)}")
        factors, pattern = [Number("p", worked.probability[t]), beside], "{0} × {1}"
        compute: Callable[..., Decimal] = _multiply
    else:
        factors, pattern = [Number("p", worked.probability[t])], "{0} × (1 − {0})"
        compute = _times_complement
    for i in case.shown:
        result = Number(
            "j", worked.probability[t] * (worked.beside[t] if i == t else -worked.probability[i])
        )
        if i == t:
            lines.append(own + case.pencil.equate(pattern, factors, result, compute))
            continue
        operands = [Number("p", worked.probability[t]), Number("p", worked.probability[i])]
        equation = case.pencil.equate("−{0} × {1}", operands, result, lambda p, q: -p * q)
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
            f"i = t: ∂ŷ_t/∂{v}_t = {_quotient('t', 't')} = ŷ_t · (1 − ŷ_t)",
            f"i ≠ t: ∂ŷ_t/∂{v}_i = {_quotient('t', 'i')} = −ŷ_t · ŷ_i",
        ),
        tuple(lines),
        remark=_why_not_subtract(case) if case.saturated else (),
        values={
            "slopes": plain_numbers(
                [
                    worked.probability[t] * (worked.beside[t] if i == t else -p)
                    for i, p in enumerate(worked.probability)
                ]
            )
        },
    )


def _quotient(k: str, i: str) -> str:
    """The derivative of a_k / S by the quotient rule, and that as a product of shares."""
    share = over(f"a_{k}", "S")
    if k == i:
        return f"{over(f'a_{k} · S − a_{k} · a_{k}', 'S²')} = {share} · {over(f'S − a_{k}', 'S')}"
    return f"{over(f'0 · S − a_{k} · a_{i}', 'S²')} = −{share} · {over(f'a_{i}', 'S')}"


def _why_not_subtract(case: Case) -> tuple[str, ...]:
    t = case.true_class or 0
    return (
        (
            f"$1 − ŷ_{t}$ must not be computed by subtracting. In double precision the number "
            f"next to 1 is 1 − 1.1e-16, so that of a smaller $1 − ŷ_{t}$ nothing is left, and "
            "of a larger one only some digits. The probabilities sum to 1, so it is the sum "
            "of all the others, which loses none."
        ),
    )


def _multiply(*factors: Decimal) -> Decimal:
    product = ONE
    for factor in factors:
        product *= factor
    return product


def _times_complement(p: Decimal) -> Decimal:
    return p * (1 - p)


def _chain_rule(case: Case) -> Step:
    t, v, worked = case.true_class or 0, case.symbol, case.worked
    lines = []
    for i in case.shown:
        slope = -1 / worked.probability[t]
        inner = worked.probability[t] * (worked.beside[t] if i == t else -worked.probability[i])
        equation = case.pencil.equate(
            "{0} × {1}",
            [Number("s", slope), Number("j", inner)],
            Number("g", worked.grad_plain[i]),
            _multiply,
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


def _loss_by_probabilities(case: Case) -> Step:
    worked = case.worked
    counted = [i for i in case.shown if worked.target[i]]
    lines = [
        f"∂L/∂ŷ_{i} = "
        + case.pencil.equate(
            "−" + over("{0}", "{1}"),
            [Number("y", worked.target[i]), Number("p", worked.probability[i])],
            Number("s", -worked.target[i] / worked.probability[i]),
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


def _slope(case: Case, k: int, i: int) -> Decimal:
    """∂ŷ_k/∂v_i"""
    worked = case.worked
    return worked.probability[k] * (worked.beside[k] if k == i else -worked.probability[i])


def _jacobian(case: Case) -> Step:
    v, classes = case.symbol, range(case.own.classes)
    formula = (
        f"∂ŷ_k/∂{v}_i = ŷ_k · (δ_ki − ŷ_i)",
        f"k = i: {_quotient('k', 'k')} = ŷ_k · (1 − ŷ_k)",
        f"k ≠ i: {_quotient('k', 'i')} = −ŷ_k · ŷ_i",
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
    jacobian = [[_slope(case, k, i) for i in classes] for k in classes]
    pencil = case.pencil.shorter(FEW_DIGITS) if len(classes) > FEW_COLUMNS else case.pencil
    matrix = tuple(tuple(pencil.write("j", value) for value in row) for row in jacobian)
    where = f"Row $k$, column $i$: the rows are $ŷ_0$, $ŷ_1$, …; the columns ${v}_0$, ${v}_1$, …"
    symmetric = "Each row, and each column, sums to 0: the probabilities always sum to 1."
    return Step(
        "jacobian",
        title,
        text,
        formula,
        tuple(_worked_entries(case)),
        matrix,
        (f"{where} {symmetric}" if len(classes) > 1 else where,),
        {"jacobian": [plain_numbers(row) for row in jacobian]},
    )


def _worked_entries(case: Case) -> list[str]:
    """One entry of each kind, written out."""
    v, worked = case.symbol, case.worked
    k = max(range(case.own.classes), key=lambda i: min(worked.probability[i], worked.beside[i]))
    i = 0 if k else 1
    p = Number("p", worked.probability[k])
    lines = []
    if worked.beside[k] > 0:
        equation = case.pencil.equate(
            "{0} × (1 − {0})", [p], Number("j", _slope(case, k, k)), _times_complement
        )
        lines.append(f"∂ŷ_{k}/∂{v}_{k} = {equation}")
    if case.own.classes > 1:
        equation = case.pencil.equate(
            "−{0} × {1}",
            [p, Number("p", worked.probability[i])],
            Number("j", _slope(case, k, i)),
            lambda p, q: -p * q,
        )
        lines.append(f"∂ŷ_{k}/∂{v}_{i} = {equation}")
    return lines


def _chain_rule_summed(case: Case) -> Step:
    v, worked = case.symbol, case.worked
    few = case.own.classes <= MOST_CLASSES and not case.hidden
    lines = tuple(f"∂L/∂{v}_{i} = {_chain_sum(case, i)}" for i in case.shown) if few else ()
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


def _chain_sum(case: Case, i: int) -> str:
    """Σ_k ∂L/∂ŷ_k · ∂ŷ_k/∂v_i with its numbers, without the terms that are 0."""
    worked = case.worked
    counted = [k for k in range(case.own.classes) if worked.target[k]]
    operands = []
    for k in counted:
        operands.append(Number("s", -worked.target[k] / worked.probability[k]))
        operands.append(Number("j", _slope(case, k, i)))
    pattern = " + ".join(f"({{{2 * n}}}) × {{{2 * n + 1}}}" for n in range(len(counted)))
    pattern = pattern or "0"
    return case.pencil.equate(
        pattern,
        operands,
        Number("g", worked.grad_plain[i]),
        lambda *values: sum((a * b for a, b in zip(values[::2], values[1::2], strict=True)), ZERO),
    )


def _sum(case: Case) -> Step:
    v, worked = case.symbol, case.worked
    hard = case.true_class is not None
    total = case.pencil.add(case.terms("g", worked.grad_plain), Number("g", ZERO))
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
        remark=case.others(),
        # Rounded where the context's digits end.
        values={"sum": plain_number(round(sum(worked.grad_plain, ZERO), PRECISION - 10))},
    )


def _formula(case: Case) -> Step:
    v, worked, hard = case.symbol, case.worked, case.true_class is not None
    lines = []
    for i in case.shown:
        y, p = Number("y", worked.target[i]), Number("p", worked.probability[i])
        result = Number("g", worked.grad_plain[i])
        if hard and case.saturated and i == case.true_class:
            equation = f"−(1 − ŷ_{i}) = {case.pencil.write('g', result.value)}"
        elif hard:
            y = Number("y", y.value, str(int(y.value)))
            equation = case.pencil.equate("{0} − {1}", [p, y], result, lambda p, y: p - y)
        else:
            equation = case.pencil.equate(
                "{0} × {1} − {2}",
                [Number("y", worked.total), p, y],
                result,
                lambda t, p, y: t * p - y,
            )
        name = f"ŷ_{i} − y_{i}" if hard else f"Y · ŷ_{i} − y_{i}"
        lines.append(f"{name} = {equation}")
    infinite = math.isinf(worked.loss)
    text = "This is the same for all classes: softmax minus target."
    if not hard:
        text = "In one line: softmax, times the target's sum $Y$, minus target."
    return Step(
        "formula",
        "The gradient, by its formula" if infinite else "Check: the formula",
        (text,),
        (f"∂L/∂{v}_i = ŷ_i − y_i" if hard else f"∂L/∂{v}_i = Y · ŷ_i − y_i",),
        tuple(lines),
        values={"grad": plain_numbers(worked.grad_plain)},
    )


def _z_loss(case: Case) -> Step:
    v, worked, pencil = case.symbol, case.worked, case.pencil
    factor = case.typed("y", float(case.own.objective.z_loss))
    lse = Number("L", worked.log_sum_exp)
    extra = Number("L", worked.z_loss * worked.log_sum_exp**2)
    lines = [
        "lse = "
        + pencil.equate(
            "{0} + log {1}",
            [Number("z", worked.top), Number("S", worked.sum)],
            lse,
            lambda m, s: m + s.ln(),
        ),
        "λ · lse^2 = " + pencil.equate("{0} × {1}^2", [factor, lse], extra, lambda f, x: f * x**2),
        "L + λ · lse^2 = "
        + pencil.add([Number("L", worked.loss), extra], Number("L", worked.full_loss)),
    ]
    for i in case.shown:
        operands = [Number("g", worked.grad_plain[i]), factor, lse]
        operands.append(Number("p", worked.probability[i]))
        equation = pencil.equate(
            "{0} + 2 × {1} × {2} × {3}",
            operands,
            Number("g", worked.grad_plain[i] + worked.grad_z_loss[i]),
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


def _back_to_logits(case: Case) -> Step:
    v, worked, objective = case.symbol, case.worked, case.own.objective
    by_temperature, capped = objective.temperature != 1.0, objective.softcap is not None
    tangent = "1 − tanh²(z_i/c)"
    slope = tangent if not by_temperature else over(tangent if capped else "1", "T")
    lines = []
    for i in case.shown:
        by_v = worked.grad_plain[i] + worked.grad_z_loss[i]
        equation = case.pencil.equate(
            "{0} × {1}",
            [Number("g", by_v), Number("j", worked.slope[i])],
            Number("g", worked.grad[i]),
            _multiply,
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
