"""The commands: each reads a problem, has it computed, and shows the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cecli import __version__
from cecli.cli.arguments import NumbersCommand
from cecli.cli.options import (
    check_options,
    class_options,
    cluster_option,
    compare_options,
    exact_option,
    explanation_options,
    input_options,
    jobs_option,
    lines_option,
    logits_argument,
    loss_options,
    output_options,
    sample_option,
    scaling_options,
    summary_options,
    target_options,
)
from cecli.cli.verify_options import (
    VerifyCommand,
    case_options,
    implementation_argument,
    implementation_options,
    program_argument,
    report_options,
    verdict_options,
)
from cecli.errors import CecliError

if TYPE_CHECKING:
    from cecli.answer.answer import Answer, Command, Output
    from cecli.input.problem_from import Request

HELP = {"help_option_names": ["-h", "--help"]}


@click.group(
    context_settings=HELP,
    invoke_without_command=True,
    epilog="Run 'cecli COMMAND --help' for the options and examples of a command.",
)
@click.version_option(__version__, prog_name="cecli", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Softmax, cross-entropy loss and gradient of logits, right to the last digit.

    LOGITS are numbers (2.0 1.0 0.1), a file (.npy, .npz, .safetensors, .json, .jsonl, .csv, .tsv,
    .txt), or standard input.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@main.command(
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
    _run("softmax", options)


@main.command(
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
@scaling_options
@summary_options
@exact_option
@jobs_option
@cluster_option
@output_options
@lines_option
def loss(**options: Any) -> None:
    """Cross-entropy loss: -log of the target's probability."""
    _run("loss", options)


@main.command(
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
    _run("grad", options)


@main.command(
    cls=NumbersCommand,
    epilog="""\
Examples:
  cecli explain 2.0 1.0 0.1 --target 0
  cecli explain 2.0 1.0 0.1 -q 0.7,0.2,0.1 --label-smoothing 0.1
  cecli explain logits.npy -t labels.npy --sample 1
  cecli explain 2.0 1.0 0.1 -t 0 -o derivation.tex
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
    _run("explain", options)


@main.command(
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
@scaling_options
@exact_option
@output_options
def compare(**options: Any) -> None:
    """Is your gradient right, and if not, which mistake is in it?

    The exit status is 1 where a number is not acceptable.
    """
    _run("compare", options)


@main.command(
    cls=VerifyCommand,
    epilog="""\
Examples:
  cecli verify mine:cross_entropy
  cecli verify --torch torch.nn.functional:cross_entropy
  cecli verify --jax optax.losses:softmax_cross_entropy_with_integer_labels
  cecli verify --features weight,label-smoothing -- ./program --fast
""",
)
@implementation_argument
@program_argument
@implementation_options
@case_options
@verdict_options
@report_options
@click.pass_context
def verify(context: click.Context, /, **options: Any) -> None:
    """Run the hard cases over somebody's cross-entropy, and grade it.

    A function of Python takes logits (N, C) and target (N,), and returns loss and gradient; one of
    PyTorch or JAX is differentiated. A program reads a case and answers it, a line of JSON each.
    The exit status is 1 where a case does not pass.
    """
    try:
        from cecli.cli.commands.verify import carry_out

        passed = carry_out(options)
    except CecliError as error:
        raise click.UsageError(str(error), context) from None
    if not passed:
        raise click.exceptions.Exit(1)


def _run(command: Command, options: dict[str, Any]) -> None:
    context = click.get_current_context()
    forms = ("json", "jsonl", "markdown", "latex")
    chosen = [f"--{form}" for form in forms if options.get(form)]
    if len(chosen) > 1:
        raise click.UsageError(f"{' and '.join(chosen)} exclude each other", context)
    try:
        if options.get("jsonl"):
            from cecli.cli.jsonl import print_lines

            print_lines(command, options)
            return
        from cecli.cli.present import array_file, check_output, present
        from cecli.input.problem_from import read_request

        check_output(options)
        request = read_request(options, with_target=command != "softmax")
        with request.sources.naming():
            if options.get("cluster") is not None:
                answer = _answered_by_cluster(command, request, options)
            else:
                with array_file(command, request, options) as output:
                    answer = _answered(command, request, options, output)
        present(answer, options, title=context.command_path)
    except CecliError as error:
        raise click.UsageError(str(error), context) from None
    if not answer.passed:
        raise click.exceptions.Exit(1)


def _answered(
    command: Command, request: Request, options: dict[str, Any], output: Output | None
) -> Answer:
    from cecli.answer.answer import find_answer, find_comparison
    from cecli.cli.present import Progress

    exact = options.get("exact", False)
    if command == "explain":
        return _explained(request, options, output)
    if command == "compare":
        return find_comparison(request, rtol=options["rtol"], exact=exact, output=output)
    problem = request.problem
    with Progress("reading", problem.nbytes) as progress:
        answer = find_answer(
            command,
            problem,
            request.labels,
            exact=exact,
            worst=options.get("worst") or 0,
            jobs=options["jobs"],
            output=output,
            report=progress,
        )
    return _checked(answer, options) if command == "grad" else answer


def _answered_by_cluster(command: Command, request: Request, options: dict[str, Any]) -> Answer:
    from cecli.cli.present import Progress
    from cecli.cluster.client import find_answer_on_cluster
    from cecli.output.files.atomic import AtomicFiles

    with AtomicFiles() as files:
        with Progress("reading", request.problem.nbytes) as progress:
            answer = find_answer_on_cluster(
                command,
                request,
                options,
                files,
                progress,
                lambda text: click.echo(f"cecli {command}: {text}", err=True),
            )
        return _checked(answer, options) if command == "grad" else answer


def _checked(answer: Answer, options: dict[str, Any]) -> Answer:
    """The answer with the check that was asked for, by --check or by an option of it."""
    method, step, seed = (options[name] for name in ("check_method", "step", "seed"))
    if not options["check"] and method is None and step is None and seed is None:
        return answer
    from dataclasses import replace

    from cecli.answer.checking import check_answer
    from cecli.cli.present import Progress

    with Progress("checking") as progress:
        found = check_answer(answer, method or "decimal", step, seed or 0, progress)
    return replace(answer, check=found)


def _explained(request: Request, options: dict[str, Any], output: Output | None) -> Answer:
    """The answer for one sample alone, with its derivation; every number is exact."""
    import math
    from dataclasses import replace

    from cecli.answer.answer import find_answer
    from cecli.api import solve
    from cecli.cli.present import Progress
    from cecli.derivation.derive import derive, own_problem, undivided
    from cecli.gradcheck.check import check

    problem, labels, sample = request.problem, request.labels, options["sample"]
    own = own_problem(problem, sample)
    answer = find_answer("explain", own, labels, exact=True, output=output)
    plain = undivided(own)
    result = solve(plain, exact=True)
    found = None
    if math.isfinite(float(result.loss)):
        with Progress("checking") as progress:
            found = check(plain, result.grad, progress=progress)
    shown = {"digits": options["digits"], "top": options["top"]}
    derivation = derive(problem, sample, found, labels=labels, **shown)
    return replace(answer, check=found, derivation=derivation)
