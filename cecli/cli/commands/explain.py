"""cecli explain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cecli.cli.arguments import NumbersCommand
from cecli.cli.options import (
    class_options,
    explanation_options,
    input_options,
    logits_argument,
    loss_options,
    sample_option,
    scaling_options,
    target_options,
)

if TYPE_CHECKING:
    from cecli.answer.answer import Answer, Output
    from cecli.cli.settings import Settings
    from cecli.input.problem_from import Request


@click.command(
    cls=NumbersCommand,
    epilog="""\
Examples:
  cecli explain 2.0 1.0 0.1 --target 0
  cecli explain 2.0 1.0 0.1 -q 0.7,0.2,0.1 --label-smoothing 0.1
  cecli explain logits.npy -t labels.npy --sample 1
  cecli explain 2.0 1.0 0.1 -t 0 --steps 5-7 -o derivation.html
""",
)
@logits_argument
@input_options
@target_options
@sample_option
@class_options
@loss_options
@scaling_options
@explanation_options
def explain(**options: Any) -> None:
    """The derivation of the gradient, step by step, in your numbers."""
    from cecli.cli.present import carry_out
    from cecli.cli.settings import settings_of

    carry_out(settings_of("explain", options), _explained)


def _explained(settings: Settings, request: Request, output: Output | None) -> Answer:
    """The answer for one sample alone, with its derivation; every number is exact."""
    from dataclasses import replace

    from cecli.answer.answer import find_answer
    from cecli.api import solve
    from cecli.cli.present import shown_of
    from cecli.cli.progress import Progress
    from cecli.derivation.derive import derive, own_problem
    from cecli.gradcheck.check import check

    problem, labels, view = request.problem, request.labels, settings.view
    own = own_problem(problem, settings.sample)
    shown = shown_of(settings, own)
    shown = shown._replace(arrays=shown.arrays | {"grad"})
    answer = find_answer("explain", own, labels, exact=True, shown=shown, output=output)
    plain, found = own.undivided(), None
    if answer.tally is not None and answer.tally.infinite is None:
        grad = answer.arrays["grad"]
        if (own.divisor or 1.0, own.z_loss_divisor or 1.0) != (1.0, 1.0):
            grad = solve(plain, exact=True, keep_logits=False).grad
        with Progress("checking") as progress:
            found = check(plain, grad, progress=progress, is_finite=True)
    derivation = derive(
        problem, settings.sample, plain, found, labels=labels, digits=view.digits, top=view.top
    )
    if settings.steps is not None:
        derivation = derivation.only(settings.steps)
    return replace(answer, check=found, derivation=derivation)
