"""The steps after the derivation: that it is right, what it means, and what a batch makes of it."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

from cecli.derivation.model import Example, Step, plain_number, plain_numbers
from cecli.derivation.notation import over
from cecli.derivation.numbers import ZERO, Quantity
from cecli.exact.row import decimal_row
from cecli.machine.decimals import as_decimal, wide_context
from cecli.machine.rational import exact_divisors
from cecli.text.numbers import format_divisor

FIRST_STEP = Decimal("0.1")
SMALLEST_STEP = Decimal("1e-30")
SPARE_DIGITS = 40
MOST_DIGITS = 500
CONVINCING = Decimal("1e-6")


def closing(example: Example) -> list[Step]:
    """The finite differences, a step of gradient descent, the mean of the batch."""
    steps = []
    if example.check is not None:
        steps.append(_finite_differences(example))
        steps.append(_meaning(example))
    if example.problem.batch_shape or exact_divisors(example.problem)[0] != 1:
        steps.append(_batch(example))
    return steps


def _finite_differences(example: Example) -> Step:
    check = example.check
    assert check is not None
    numeric = dict(zip(check.indices[:, 0].tolist(), check.numeric.tolist(), strict=True))
    lines = [
        f"∂L/∂z_{i} ≈ {example.pencil.write('g', Decimal(numeric[i]))}"
        for i in example.shown
        if i in numeric
    ]
    verdict = "They agree" if check.passed else "THEY DO NOT AGREE"
    return Step(
        "finite_differences",
        "Check: finite differences",
        (
            (
                "The derivative is what a small change of one logit changes in the loss. So "
                f"change each by $h$, with $h$ = {check.step:g}, and evaluate the loss by its "
                "definition, in decimal arithmetic with so many digits that this $h$ is not "
                "too small. No formula of the gradient takes part."
            ),
        ),
        (f"∂L/∂z_i ≈ {over('L(z_i + h) − L(z_i − h)', '2h')}",),
        tuple(lines),
        remark=(
            (
                f"{verdict} with the gradient that cecli answers, which is rounded to "
                f"{example.own.dtype.name}: {check.checked:,} of {check.total:,} components are "
                f"checked, and the largest difference is {check.max_abs_error:.1e}."
            ),
        ),
        values={
            "passed": check.passed,
            "numeric": [numeric.get(i) for i in range(example.own.classes)],
        },
    )


def _meaning(example: Example) -> Step:
    worked, pencil = example.worked, example.pencil
    square = sum((g * g for g in worked.grad), ZERO)
    if not square:
        return Step(
            "meaning",
            "What it means",
            ("The gradient is 0 in every component: no small step makes the loss any smaller.",),
            values={"step": 0.0, "fall": 0.0},
        )
    step, fall = _descend(example, square)
    rate = example.typed("y", float(step))
    moved = [z - step * g for z, g in zip(worked.logits, worked.grad, strict=True)]
    lines = [
        f"z_{i}′ = "
        + pencil.equate(
            "{0} − {1} × {2}",
            [example.logit(i), rate, Quantity("g", worked.grad[i])],
            Quantity("z", moved[i]),
            lambda z, r, g: z - r * g,
        )
        for i in example.shown
    ]
    values = {"step": plain_number(step), "logits": plain_numbers(moved)}
    remark = ["The step is too small for so many digits to show the fall."]
    if fall is not None:
        after = worked.full_loss - fall
        lines += _fall_lines(example, step, square, fall)
        values |= {"loss": plain_number(after), "fall": plain_number(fall)}
        remark = [
            (
                "The loss falls, and by about what the gradient promised: $η$ times the sum of the "
                "squares of its components. The smaller the step, the closer the two."
            )
        ]
    return Step(
        "meaning",
        "What it means: one small step downhill",
        _why_downhill(example),
        ("z_i′ = z_i − η · ∂L/∂z_i", f"η = {rate.typed}"),
        tuple(lines),
        remark=tuple(remark),
        values=values,
    )


def _why_downhill(example: Example) -> tuple[str, ...]:
    downhill = (
        "The gradient points to where the loss grows fastest, so gradient descent goes the other "
        "way, by a small step $η$."
    )
    if example.true_class is None or example.is_rescaled or example.own.objective.z_loss:
        return (
            f"{downhill} A logit is raised where its class has less probability than the target "
            "wants, lowered where it has more, and left alone where they agree."
            if not example.own.objective.z_loss
            else f"{downhill} A logit with a negative derivative is raised, one with a positive "
            "derivative is lowered.",
        )
    t = example.true_class
    return (
        (
            f"{downhill} It raises the logit of the true class, $z_{t}$, by $η · (1 − "
            f"ŷ_{t})$: the more the further its probability is from 1. It lowers every other "
            "by $η$ times that class's own probability: the wrong class that is believed in "
            "most is pushed down most."
        ),
    )


def _descend(example: Example, square: Decimal) -> tuple[Decimal, Decimal | None]:
    """A step after which the loss is smaller, and by how much; None where that takes long."""
    step = FIRST_STEP
    while step > SMALLEST_STEP:
        loss = example.worked.full_loss
        digits = SPARE_DIGITS + max(0, loss.adjusted() - (step * square).adjusted())
        if digits > MOST_DIGITS:
            return step, None
        with localcontext(wide_context(digits)):
            own = example.own.block(0, 1)
            here = decimal_row(own)
            there = [z - step * g for z, g in zip(here.logits, here.grad, strict=True)]
            fall = here.full_loss - decimal_row(own, there).full_loss
        if fall > step * square / 2:
            return step, fall
        step /= 10
    return step, None


def _fall_lines(example: Example, step: Decimal, square: Decimal, fall: Decimal) -> list[str]:
    before, pencil = example.worked.full_loss, example.pencil
    after = Quantity("L", before - fall)
    lines = [f"L(z′) = {pencil.write('L', after.value)}"]
    falls = Quantity("L", fall)
    if fall > CONVINCING * before:
        operands = [Quantity("L", before), after]
        equation = pencil.equate("{0} − {1}", operands, falls, lambda a, b: a - b)
        lines = [f"L(z) − L(z′) = {equation}"]
    else:
        lines.append(f"L(z) − L(z′) = {pencil.write('L', fall)}")
    squares = [g.copy_abs() for g in example.worked.grad]
    terms = [Quantity("g", squares[i]) for i in example.shown if squares[i]]
    rest = sum((squares[i] ** 2 for i in example.hidden), ZERO)
    pattern = " + ".join(f"{{{place}}}^2" for place in range(1, len(terms) + 1))
    if rest:
        pattern += f" + {{{len(terms) + 1}}}"
        terms.append(Quantity("g", rest))

    def promise(rate: Decimal, *sides: Decimal) -> Decimal:
        powers = [side * side for side in sides]
        return rate * sum([*powers[:-1], sides[-1]] if rest else powers, ZERO)

    operands = [example.typed("y", float(step)), *terms]
    promised = Quantity("L", step * square)
    equation = pencil.equate(f"{{0}} × ({pattern})", operands, promised, promise)
    return [*lines, f"η · Σ_i (∂L/∂z_i)^2 = {equation}"]


def _batch(example: Example) -> Step:
    """Where the sample's gradient is divided, and why: the reduction."""
    reduction, worked = example.problem.objective.reduction, example.worked
    divisor, z_divisor = map(as_decimal, exact_divisors(example.problem))
    z_part = [z * slope for z, slope in zip(worked.grad_z_loss, worked.slope, strict=True)]
    plain = [g - z for g, z in zip(worked.grad, z_part, strict=True)]
    grad = [g / divisor + z / z_divisor for g, z in zip(plain, z_part, strict=True)]
    values: dict[str, Any] = {"reduction": reduction, "grad": plain_numbers(grad)}
    why = "Only this sample's $L$ depends on its logits; the other samples are constants here."
    if reduction != "mean":
        what = "The batch's loss $M$ is the sum of its samples'."
        if reduction == "none":
            what = "The losses of the batch stay apart, and its gradient is that of their sum $M$."
        lines = ("M = Σ_n L_n", "∂M/∂z_i = ∂L/∂z_i")
        return Step(
            "batch", "The batch", (f"{what} {why} Nothing is divided.",), lines, values=values
        )
    by, z_by = _divisor(divisor), _divisor(z_divisor)
    equations = []
    for i in example.shown:
        operands, pattern = [Quantity("g", worked.grad[i]), by], over("{0}", "{1}")
        if divisor != z_divisor and example.own.objective.z_loss:
            operands = [Quantity("g", plain[i]), by, Quantity("g", z_part[i]), z_by]
            pattern += " + " + over("{2}", "{3}")
        result = Quantity("g", grad[i])
        equations.append(f"∂M/∂z_{i} = {example.pencil.equate(pattern, operands, result, _shares)}")
    title, text, formula = _mean(
        example, example.pencil.as_typed(by), example.pencil.as_typed(z_by)
    )
    values["divisor"] = plain_number(divisor)
    return Step("batch", title, text, formula, tuple(equations), values=values)


def _shares(*operands: Decimal) -> Decimal:
    """Numbers and their divisors, in turn: the sum of the quotients."""
    return sum((g / by for g, by in zip(operands[::2], operands[1::2], strict=True)), ZERO)


def _divisor(divisor: Decimal) -> Quantity:
    return Quantity("y", divisor, format_divisor(float(divisor), 17).replace(",", ""))


def _mean(example: Example, by: str, z_by: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Title, text and formulas of a mean."""
    problem, with_z_loss = example.problem, bool(example.own.objective.z_loss)
    weighted = problem.weight is not None and problem.indexed
    loss = "(L_n − λ · lse^2)" if with_z_loss else "L_n"
    apart = f"The z-loss has no weights: it is divided by the number of samples, ${z_by}$."
    if not problem.batch_shape:
        text = (
            "The mean of one sample divides its cross-entropy by its own weight, and so takes the "
            "weight out again."
        )
        z_term = " + λ · lse^2" if with_z_loss else ""
        formula = (f"M = {over(loss.replace('_n', ''), 'w_t')}{z_term}", f"w_t = {by}")
        return "The mean divides by the weight", (text, apart)[: 1 + with_z_loss], formula
    ignored = problem.samples - problem.kept_count
    out_of = f" that are not ignored ({ignored:,} are)" if ignored else ""
    text = (
        f"The batch's loss $M$ is the mean over its samples{out_of}. Only this sample's $L$ "
        "depends on its logits: in the derivative by them all other terms are constants, "
        "which drop out, and the divisor of the mean stays."
    )
    if not weighted:
        formula = (f"M = {over('1', 'N')} · Σ_n L_n", f"N = {by}")
        return "The batch: where the $1/N$ comes from", (text,), formula
    why = "With class weights it is the sum $W$ of the weights of the true classes, not $N$."
    z_term = f" + {over('1', 'N')} · Σ_n λ · lse^2" if with_z_loss else ""
    formula = (f"M = {over('1', 'W')} · Σ_n {loss}{z_term}", f"W = {by}")
    return "The batch: what the mean divides by", (text, why, apart)[: 2 + with_z_loss], formula
