"""The steps that one true class has: its loss, and the way back through its probability."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from cecli.derivation.model import Case, Step, plain_number, plain_numbers, quotient_rule_of
from cecli.derivation.notation import over
from cecli.derivation.pencil import Number, multiply, times_complement
from cecli.machine.decimals import log1p


def loss_of_one_class(case: Case) -> Step:
    """L = −log ŷ_t"""
    t, worked = case.true_class or 0, case.worked
    loss = Number("L", worked.loss)
    remark: tuple[str, ...] = ()
    formula = ["L = −Σ_i y_i log ŷ_i = −log ŷ_t"]
    if not case.saturated:
        lines = [
            f"L = −log ŷ_{t} = −"
            + case.pencil.equate(
                "log {0}", [Number("p", worked.probability[t])], loss, lambda p: -p.ln()
            )
        ]
    else:
        formula.append(f"−log ŷ_t = log({over('S', 'a_t')}) = log(1 + R)")
        rest = Number("e", worked.rest)
        lines = [
            f"R = {case.sum_of_others('a', 'e', worked.powers, rest)}",
            f"L = {case.pencil.equate('log(1 + {0})', [rest], loss, log1p)}",
        ]
        remark = (
            f"$ŷ_{t}$ is so close to 1 that $−log ŷ_{t}$ cannot be taken from it: every 9 that it "
            "begins with is a digit of the loss that is lost, and a double or a pocket calculator "
            f"that rounds it to 1 makes the loss 0. But $a_{t} = 1$, so that $S$ is 1 and the rest "
            "$R$ that the other classes add; and for a small $R$, $log(1 + R)$ is "
            f"$R − {over('R²', '2')} + …$, very nearly $R$ itself. So the loss is "
            f"${case.pencil.write('L', worked.loss)}$, and not 0."
            if worked.loss
            else "With one class alone its probability is 1, and the loss is 0.",
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


def loss_by_probability(case: Case) -> Step:
    """∂L/∂ŷ_t"""
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


def quotient_rule(case: Case) -> Step:
    """∂ŷ_t/∂v_i, in its two cases."""
    t, v, worked = case.true_class or 0, case.symbol, case.worked
    own = f"∂ŷ_{t}/∂{v}_{t} = "
    lines = []
    if case.saturated:
        beside = Number("p", worked.beside[t])
        lines.append(f"1 − ŷ_{t} = {case.sum_of_others('ŷ', 'p', worked.probability, beside)}")
        factors, pattern = [Number("p", worked.probability[t]), beside], "{0} × {1}"
        compute: Callable[..., Decimal] = multiply
    else:
        factors, pattern = [Number("p", worked.probability[t])], "{0} × (1 − {0})"
        compute = times_complement
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
            f"i = t: ∂ŷ_t/∂{v}_t = {quotient_rule_of('t', 't')} = ŷ_t · (1 − ŷ_t)",
            f"i ≠ t: ∂ŷ_t/∂{v}_i = {quotient_rule_of('t', 'i')} = −ŷ_t · ŷ_i",
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


def chain_rule(case: Case) -> Step:
    """∂L/∂v_i = ∂L/∂ŷ_t · ∂ŷ_t/∂v_i"""
    t, v, worked = case.true_class or 0, case.symbol, case.worked
    lines = []
    for i in case.shown:
        slope = -1 / worked.probability[t]
        inner = worked.probability[t] * (worked.beside[t] if i == t else -worked.probability[i])
        equation = case.pencil.equate(
            "{0} × {1}",
            [Number("s", slope), Number("j", inner)],
            Number("g", worked.grad_plain[i]),
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
