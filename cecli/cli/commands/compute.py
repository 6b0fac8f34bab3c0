"""cecli softmax, loss and grad."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cecli.cli.arguments import NumbersCommand
from cecli.cli.options import (
    averaging_options,
    check_options,
    class_options,
    cluster_option,
    exact_option,
    input_options,
    jobs_option,
    lines_option,
    logits_argument,
    loss_options,
    output_options,
    scaling_options,
    summary_options,
    target_options,
)

if TYPE_CHECKING:
    from cecli.answer.answer import Answer, Command, Output
    from cecli.cli.settings import Settings
    from cecli.input.problem_from import Request


@click.command(
    cls=NumbersCommand,
    epilog="""\
Examples:
  cecli softmax 2.0 1.0 0.1
  cecli softmax 2.0 1.0 0.1 --temperature 2 --json
  echo '[[2.0, 1.0, 0.1], [0.5, -1, 3]]' | cecli softmax
""",
)
@logits_argument
@input_options
@class_options
@scaling_options
@exact_option
@jobs_option
@output_options
@lines_option
def softmax(**options: Any) -> None:
    """Probabilities: e^z_i over the sum of all e^z_j."""
    _compute("softmax", options)


@click.command(
    cls=NumbersCommand,
    epilog="""\
Examples:
  cecli loss 2.0 1.0 0.1 --target 0
  cecli loss 2.0 1.0 0.1 --labels cat,dog,bird -t cat
  cecli loss logits.npy -t labels.npy --json
""",
)
@logits_argument
@input_options
@target_options
@class_options
@loss_options
@averaging_options
@scaling_options
@summary_options
@exact_option
@jobs_option
@cluster_option
@output_options
@lines_option
def loss(**options: Any) -> None:
    """Cross-entropy loss: -log of the target's probability."""
    _compute("loss", options)


@click.command(
    cls=NumbersCommand,
    epilog="""\
Examples:
  cecli grad 2.0 1.0 0.1 --target 0 --check
  cecli grad -1.5 -inf 0.3 -t 2 --json
  cecli softmax 2 1 0.1 --json | cecli grad -t 0 --json
  cecli grad logits.npy -t labels.npy -o grad.npy
""",
)
@logits_argument
@input_options
@target_options
@class_options
@loss_options
@averaging_options
@scaling_options
@check_options
@summary_options
@exact_option
@jobs_option
@cluster_option
@output_options
@lines_option
def grad(**options: Any) -> None:
    """Gradient of the loss by the logits: softmax minus target."""
    _compute("grad", options)


def _compute(command: Command, options: dict[str, Any]) -> None:
    from cecli.cli.settings import settings_of

    settings = settings_of(command, options)
    if settings.view.form == "jsonl":
        from cecli.cli.jsonl import print_lines

        print_lines(settings)
        return
    from cecli.cli.present import carry_out

    carry_out(settings, _on_a_cluster if settings.compute.cluster is not None else _here)


def _here(settings: Settings, request: Request, output: Output | None) -> Answer:
    from cecli.answer.answer import find_answer
    from cecli.cli.present import shown_of
    from cecli.cli.progress import Progress

    compute = settings.compute
    with Progress("reading", request.problem.nbytes) as progress:
        answer = find_answer(
            settings.command,
            request.problem,
            request.labels,
            exact=compute.exact,
            shown=shown_of(settings, request.problem),
            jobs=compute.jobs,
            output=output,
            progress=progress,
        )
    return _checked(answer, settings)


def _on_a_cluster(settings: Settings, request: Request, output: Output | None) -> Answer:
    """The same by the workers of a cluster, who write the files themselves."""
    from cecli.cli.present import shown_of
    from cecli.cli.progress import Progress
    from cecli.cluster.client import find_answer_on_cluster
    from cecli.output.files.atomic import AtomicFiles

    command, compute = settings.command, settings.compute
    with AtomicFiles() as files:
        with Progress("reading", request.problem.nbytes) as progress:
            answer = find_answer_on_cluster(
                command,
                request,
                str(compute.cluster),
                settings.destination,
                files,
                progress,
                shown=shown_of(settings, request.problem),
                exact=compute.exact,
                jobs=compute.jobs,
            )
        return _checked(answer, settings)


def _checked(answer: Answer, settings: Settings) -> Answer:
    """The answer with the check that was asked for."""
    wanted = settings.check
    if wanted is None:
        return answer
    from dataclasses import replace

    from cecli.cli.progress import Progress
    from cecli.gradcheck.check import check_own

    with Progress("checking") as progress:
        found = check_own(
            answer.problem,
            answer.arrays.get("grad"),
            None if answer.tally is None else answer.tally.infinite,
            wanted.method,
            wanted.step,
            wanted.seed,
            progress,
            exact=answer.exact,
        )
    return replace(answer, check=found)
