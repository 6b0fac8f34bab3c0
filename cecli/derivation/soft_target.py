"""The steps of soft, smoothed and weighted targets: sums over the classes, and the Jacobian."""

from __future__ import annotations

from decimal import Decimal

from cecli.derivation.model import (
    MOST_CLASSES,
    SATURATED,
    Case,
    Step,
    plain_number,
    plain_numbers,
    quotient_rule_of,
)
from cecli.derivation.notation import over
from cecli.derivation.pencil import Number, multiply, times_complement
from cecli.derivation.worked import ZERO
from cecli.machine.decimals import log1p

FEW_COLUMNS, FEW_DIGITS = 6, 4


def loss_of_many(case: Case) -> Step:
    """L = −Σ_i y_i log ŷ_i"""
    worked = case.worked
    counted = [i for i in case.shown if worked.target[i]]
    lines = [f"−log ŷ_{i} = {_surprise(case, i)}" for i in counted]
    operands: list[Number] = []
    pattern: list[str] = []
    for i in counted:
        pattern.append(f"{{{len(operands)}}} × {{{len(operands) + 1}}}")
        operands += [Number("y", worked.target[i]), Number("L", worked.surprise[i])]
    hidden = sum(
        (worked.target[i] * worked.surprise[i] for i in case.hidden if worked.target[i]), ZERO
    )
    if hidden:
        pattern.append(f"{{{len(operands)}}}")
        operands.append(Number("L", hidden))

    def compute(*values: Decimal) -> Decimal:
        pairs = zip(values[0 : 2 * len(counted) : 2], values[1::2], strict=False)
        return sum((y * s for y, s in pairs), values[-1] if hidden else ZERO)

    loss = case.pencil.equate(
        " + ".join(pattern) or "0", operands, Number("L", worked.loss), compute
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
        remark=(*(case.others() if hidden else ()), *_next_to_one(case, counted)),
        values={"loss": plain_number(worked.loss)},
    )


def _surprise(case: Case, i: int) -> str:
    """−log ŷ_i with its numbers; next to 1, from the rest of the sum."""
    result = Number("L", case.worked.surprise[i])
    if case.worked.beside[i] < SATURATED:
        rest = Number("e", case.worked.rest)
        return case.pencil.equate("log(1 + {0})", [rest], result, log1p)
    p = Number("p", case.worked.probability[i])
    return "−" + case.pencil.equate("log {0}", [p], result, lambda p: -p.ln())


def _next_to_one(case: Case, counted: list[int]) -> tuple[str, ...]:
    best = case.worked.probability.index(max(case.worked.probability))
    if best not in counted or case.worked.beside[best] >= SATURATED:
        return ()
    return (
        (
            f"$ŷ_{best}$ is so close to 1 that its logarithm has lost its digits. It is "
            f"${over('1', 'S')}$, and $S$ is 1 and a small rest, so that the logarithm of both "
            "together, $log(1 + R)$, is very nearly that rest."
        ),
    )


def loss_by_probabilities(case: Case) -> Step:
    """∂L/∂ŷ_k"""
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


def jacobian(case: Case) -> Step:
    """∂ŷ_k/∂v_i, as a matrix where the classes are few."""
    v, classes = case.symbol, range(case.own.classes)
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
        result = Number("j", _slope(case, k, k))
        if worked.beside[k] < SATURATED:
            operands = [p, Number("p", worked.beside[k])]
            equation = case.pencil.equate("{0} × {1}", operands, result, multiply)
        else:
            equation = case.pencil.equate("{0} × (1 − {0})", [p], result, times_complement)
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


def chain_rule_summed(case: Case) -> Step:
    """∂L/∂v_i = Σ_k ∂L/∂ŷ_k · ∂ŷ_k/∂v_i"""
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
