"""cecli verify: lists or exports the cases, or runs an implementation and reports."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from cecli.cli.arguments import VerifyCommand
from cecli.cli.options import (
    case_options,
    implementation_argument,
    implementation_options,
    program_argument,
    report_options,
    verdict_options,
)

if TYPE_CHECKING:
    from cecli.cli.verification import Verification
    from cecli.conformance.baseline import Baseline
    from cecli.conformance.model import Case, Implementation, Remote
    from cecli.conformance.report import Report


@click.command(
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
def verify(**options: Any) -> None:
    """Run the hard cases over somebody's cross-entropy, and grade it.

    A function of Python takes logits (N, C) and target (N,), and returns loss and gradient; one of
    PyTorch or JAX is differentiated. A program reads a case and answers it, a line of JSON each.
    The exit status is 1 where a case does not pass.
    """
    from cecli.cli.verification import Verification
    from cecli.conformance.api import chosen

    asked = Verification(**options)
    cases = chosen(asked.only, asked.without, large=asked.large)
    if asked.export is not None:
        _export(cases, asked.export)
    elif asked.list_cases:
        _list(cases, asked)
    else:
        report = _report(cases, asked)
        if asked.update_baseline:
            report = _with_new_baseline(report, str(asked.baseline))
        if asked.junit is not None:
            from cecli.output.json_document import write_text
            from cecli.output.verify_ci import junit

            write_text(asked.junit, junit(report, asked.subject))
        _show(report, asked)
        _end_of_output()
        _annotate(report, asked)
        if not report.passed:
            raise click.exceptions.Exit(1)


def _report(cases: Sequence[Case], asked: Verification) -> Report:
    from cecli.cli.progress import Progress
    from cecli.conformance.api import notes_on
    from cecli.conformance.report import Report
    from cecli.conformance.run import verify as verdicts_on
    from cecli.conformance.runners.load import path_kept
    from cecli.machine.signals import signals_raised

    verdicts = []
    baseline = _baseline(asked)
    with signals_raised(), path_kept(), _printing_to_stderr():
        implementation = _implementation(asked)
        try:
            with Progress("verifying") as progress:
                for verdict in verdicts_on(implementation, cases):
                    verdicts.append(verdict)
                    progress(len(verdicts) / len(cases))
        finally:
            implementation.close()
    notes = notes_on(implementation, verdicts)
    return Report(implementation.name, asked.strict, tuple(verdicts), baseline, notes)


def _baseline(asked: Verification) -> Baseline | None:
    """What may fail; nothing yet where the file is still to be written."""
    from pathlib import Path

    from cecli.conformance.baseline import Baseline

    if asked.baseline is None:
        return None
    if asked.update_baseline and not Path(asked.baseline).exists():
        return Baseline()
    return Baseline.read(asked.baseline)


def _with_new_baseline(report: Report, path: str) -> Report:
    """The report with a baseline that allows what has failed, once that is written."""
    from cecli.cli.present import tell
    from cecli.conformance.baseline import Baseline
    from cecli.output.json_document import write_text

    before = report.baseline or Baseline()
    after = before.updated(report.verdicts, report.strict)
    write_text(path, after.text())
    added = len(after.reasons.keys() - before.reasons.keys())
    gone = len(before.reasons.keys() - after.reasons.keys())
    tell(f"cecli verify: {path} lists {len(after.reasons)} cases: {added} are new, {gone} are gone")
    return replace(report, baseline=after)


def _annotate(report: Report, asked: Verification) -> None:
    """In a workflow of GitHub, what failed is shown beside the change."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        from cecli.cli.present import tell
        from cecli.output.verify_ci import github_annotations

        for line in github_annotations(report, asked.subject):
            tell(line)


def _implementation(asked: Verification) -> Implementation | Remote:
    from cecli.conformance.api import features_of, function_of

    names = asked.features
    features = features_of(None if names is None else [name.strip() for name in names.split(",")])
    subject = asked.subject
    if subject.kind == "program":
        from cecli.conformance.runners.program import Program

        return Program(asked.program, features or frozenset(), subject.dtype, asked.seconds)
    from cecli.conformance.runners.load import load

    name = str(subject.function)
    if asked.isolated:
        from cecli.conformance.runners.isolated import Isolated, Spec

        declared = None if features is None else tuple(features)
        how = (declared, subject.dtype, subject.device, asked.one_hot)
        return Isolated(Spec(subject.kind, name, *how), asked.seconds)
    function = load(name)
    return function_of(
        subject.kind, function, name, features, subject.dtype, subject.device, asked.one_hot
    )


@contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """Whatever is printed meanwhile, by Python or by C, goes to standard error."""
    from pathlib import Path

    sys.stdout.flush()
    with ExitStack() as stack:
        aside = sys.stderr or stack.enter_context(Path(os.devnull).open("w"))
        kept = os.dup(1)
        stack.callback(os.close, kept)
        stack.callback(os.dup2, kept, 1)
        stack.callback(_flush_what_c_printed)
        os.dup2(2 if aside is sys.stderr else aside.fileno(), 1)
        stack.enter_context(redirect_stdout(aside))
        yield


def _end_of_output() -> None:
    """What a module of somebody's prints when the process ends goes to standard error."""
    sys.stdout.flush()
    with suppress(OSError, ValueError):  # standard output is no file, as in a test
        number = sys.stdout.fileno()
        aside = os.dup(2) if sys.stderr is not None else os.open(os.devnull, os.O_WRONLY)
        os.dup2(aside, number)
        os.close(aside)


def _flush_what_c_printed() -> None:
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).fflush(None)


def _show(report: Report, asked: Verification) -> None:
    from cecli.cli.present import print_document, print_grids

    if asked.form == "json":
        from cecli.output.json_document import document_of_report

        print_document(document_of_report(report, asked.subject))
        return
    from cecli.output.verify_tables import report_grids

    grids = report_grids(report, asked.subject, verbose=asked.verbose)
    print_grids(grids, markdown=asked.form == "markdown")


def _list(cases: Sequence[Case], asked: Verification) -> None:
    from cecli.cli.present import print_document, print_grids

    if asked.form == "json":
        from cecli.output.json_document import document_of_cases

        print_document(document_of_cases(cases))
    elif asked.form == "markdown":
        from cecli.output.verify_tables import list_grid

        print_grids([list_grid(cases)], markdown=True)
    else:
        width = max(len(case.name) for case in cases)
        for case in cases:
            click.echo(f"{case.name:<{width}}  {case.reason}")


def _export(cases: Sequence[Case], path: str) -> None:
    from cecli.conformance.export import exported
    from cecli.output.json_document import to_json, write_lines
    from cecli.text.strict_json import plain_value

    lines = (to_json(plain_value(line)) + "\n" for line in exported(cases))
    if path == "-":
        sys.stdout.writelines(lines)
    else:
        write_lines(path, lines)
