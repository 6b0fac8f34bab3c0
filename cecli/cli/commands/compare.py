"""cecli compare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cecli.cli.arguments import NumbersCommand
from cecli.cli.options import (
    averaging_options,
    class_options,
    compare_options,
    exact_option,
    input_options,
    logits_argument,
    loss_options,
    output_options,
    scaling_options,
    target_options,
)
from cecli.errors import CecliError

if TYPE_CHECKING:
    from cecli.answer.answer import Answer, Output
    from cecli.cli.settings import Settings
    from cecli.input.problem_from import Request


@click.command(
    cls=NumbersCommand,
    epilog="""\
Examples:
  cecli compare 2.0 1.0 0.1 -t 0 --grad -0.341,0.2424,0.0986
  cecli compare logits.npy -t labels.npy --grad mine.npy
  cecli grad 2 1 0.1 -t 0 --json | cecli compare 2 1 0.1 -t 0 --grad -
""",
)
@logits_argument
@input_options
@target_options
@compare_options
@class_options
@loss_options
@averaging_options
@scaling_options
@exact_option
@output_options
def compare(**options: Any) -> None:
    """Is your gradient right, and if not, which mistake is in it?

    The exit status is 1 where a number is not acceptable.
    """
    from cecli.cli.present import carry_out
    from cecli.cli.settings import settings_of

    settings = settings_of("compare", options)
    logits = settings.typed.logits
    if settings.typed.grad is None and settings.typed.loss is None:
        last = len(logits) > 1 and "." in logits[-1] and logits[-1][-1].isalpha()
        hint = f"; if it is the last file, --grad {logits[-1]}" if last else ""
        raise CecliError(f"nothing to compare: give a gradient (--grad) or a loss (--loss){hint}")
    carry_out(settings, _compared)


def _compared(settings: Settings, request: Request, output: Output | None) -> Answer:
    from cecli.answer.answer import find_comparison
    from cecli.cli.present import shown_of
    from cecli.cli.progress import Progress

    with Progress("comparing", request.problem.nbytes) as progress:
        return find_comparison(
            request,
            rtol=settings.rtol,
            keep=settings.view.top,
            exact=settings.compute.exact,
            shown=shown_of(settings, request.problem),
            output=output,
            progress=progress,
        )
