"""The steps from the loss back to the logits."""

from __future__ import annotations

from cecli.derivation.model import SATURATED, Case, Step, plain_number, plain_numbers
from cecli.derivation.notation import over
from cecli.derivation.one_class import chain_rule, loss_by_probability, quotient_rule
from cecli.derivation.pencil import Number, multiply
from cecli.derivation.soft_target import chain_rule_summed, jacobian, loss_by_probabilities
from cecli.derivation.worked import PRECISION, ZERO

FEW_COLUMNS, FEW_DIGITS = 6, 4


def backward(case: Case) -> list[Step]:
    """The derivative of the loss by what the softmax is taken of, then by the logits."""
    steps: list[Step] = []
    if case.worked.loss.is_infinite():
        pass  # there is nothing to differentiate, and the formula is all there is to show
    elif case.true_class is not None:
        steps = [loss_by_probability(case), quotient_rule(case), chain_rule(case)]
    else:
        steps = [loss_by_probabilities(case), jacobian(case), chain_rule_summed(case)]
    if steps:
        steps.append(_sum(case))
    steps.append(_formula(case))
    if case.own.objective.z_loss:
        steps.append(_z_loss(case))
    if case.is_rescaled:
        steps.append(_back_to_logits(case))
    return steps


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
        if not hard:
            lines.append(f"Y · ŷ_{i} − y_{i} = {_total_minus_target(case, i)}")
        elif case.saturated and i == case.true_class:
            short = case.pencil.write("g", result.value)
            lines.append(f"ŷ_{i} − y_{i} = −(1 − ŷ_{i}) = {short}")
        else:
            y = Number("y", y.value, str(int(y.value)))
            equation = case.pencil.equate("{0} − {1}", [p, y], result, lambda p, y: p - y)
            lines.append(f"ŷ_{i} − y_{i} = {equation}")
    infinite = worked.loss.is_infinite()
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


def _total_minus_target(case: Case, i: int) -> str:
    """Yŷ_i − y_i with its numbers; next to 1, so that nothing cancels."""
    worked = case.worked
    result, p = Number("g", worked.grad_plain[i]), Number("p", worked.probability[i])
    y, total = Number("y", worked.target[i]), Number("y", worked.total)
    if worked.beside[i] >= SATURATED:
        return case.pencil.equate(
            "{0} × {1} − {2}", [total, p, y], result, lambda t, p, y: t * p - y
        )
    others, beside = Number("y", worked.total - worked.target[i]), Number("p", worked.beside[i])
    equation = case.pencil.equate(
        "{0} × {1} − {2} × {3}",
        [others, p, y, beside],
        result,
        lambda o, p, y, b: o * p - y * b,
    )
    return f"(Y − y_{i}) · ŷ_{i} − y_{i} · (1 − ŷ_{i}) = {equation}"


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
