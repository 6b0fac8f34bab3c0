"""What `cecli verify` does: list or export the cases, or run an implementation and report."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cecli.cli.present import Progress
from cecli.conformance.api import FunctionKind, chosen, features_of, function_of
from cecli.conformance.model import Case, Implementation
from cecli.conformance.report import Report
from cecli.conformance.run import verify as verdicts_on
from cecli.errors import CecliError

if TYPE_CHECKING:
    from cecli.output.grid import Grid

NOTHING = "nothing to verify: give MODULE:FUNCTION, or -- and a program with its arguments"


def carry_out(options: Mapping[str, Any]) -> bool:
    """Do what the options say; whether all passed."""
    _check(options)
    cases = chosen(options["globs"], large=options["large"])
    if options["export"] is not None:
        _export(cases, options["export"])
        return True
    if options["list_cases"]:
        _list(cases, options)
        return True
    report = _report(cases, options)
    _show(report, options)
    return report.passed


def _check(options: Mapping[str, Any]) -> None:
    """Refuse what contradicts itself."""
    given = {
        "MODULE:FUNCTION": options["implementation"],
        "a program": options["program"],
        "--list": options["list_cases"],
        "--export": options["export"],
    }
    wanted = [name for name, value in given.items() if value]
    if not wanted:
        raise CecliError(NOTHING)
    pairs = [("torch", "jax"), ("json", "markdown"), ("json", "export"), ("markdown", "export")]
    exclusive = [[f"--{name}" for name in pair if options[name]] for pair in pairs]
    for names in (wanted, *exclusive):
        if len(names) > 1:
            raise CecliError(f"{names[0]} and {names[1]} exclude each other")
    if not options["timeout"] > 0.0:
        raise CecliError(f"--timeout is {options['timeout']:g}: it must be greater than 0")
    if options["program"]:
        for name in ("torch", "jax", "device"):
            if options[name]:
                raise CecliError(f"--{name} is for a function, which stands before --, not behind")


def _report(cases: Sequence[Case], options: Mapping[str, Any]) -> Report:
    from cecli.conformance.runners.load import path_kept

    verdicts = []
    with path_kept(), _printing_to_stderr():
        implementation = _implementation(options)
        try:
            with Progress("verifying") as progress:
                for verdict in verdicts_on(implementation, cases):
                    verdicts.append(verdict)
                    progress(len(verdicts) / len(cases))
        finally:
            implementation.close()
    return Report(implementation.name, options["strict"], tuple(verdicts))


def _implementation(options: Mapping[str, Any]) -> Implementation:
    names = options["features"]
    features = features_of(None if names is None else [name.strip() for name in names.split(",")])
    if options["program"]:
        from cecli.conformance.runners.program import Program

        timeout = options["timeout"]
        return Program(options["program"], features or frozenset(), options["dtype"], timeout)
    from cecli.conformance.runners.load import load

    name = options["implementation"]
    kind: FunctionKind = "torch" if options["torch"] else "jax" if options["jax"] else "python"
    return function_of(kind, load(name), name, features, options["dtype"], options["device"])


@contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """Whatever is printed meanwhile, by Python or by C, goes to standard error."""
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


def _flush_what_c_printed() -> None:
    with suppress(ImportError, OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).fflush(None)


def _show(report: Report, options: Mapping[str, Any]) -> None:
    if options["json"]:
        from cecli.output.json_document import document_of_report

        _print_json(document_of_report(report, options))
        return
    from cecli.output.verify_tables import report_grids

    _print_grids(report_grids(report, options), options)


def _list(cases: Sequence[Case], options: Mapping[str, Any]) -> None:
    if options["json"]:
        from cecli.output.json_document import document_of_cases

        _print_json(document_of_cases(cases))
    elif options["markdown"]:
        from cecli.output.verify_tables import list_grid

        _print_grids([list_grid(cases)], options)
    else:
        width = max(len(case.name) for case in cases)
        for case in cases:
            click.echo(f"{case.name:<{width}}  {case.reason}")


def _print_json(document: Mapping[str, Any]) -> None:
    from cecli.output.json_document import to_json

    unicode = sys.stdout.encoding.lower().replace("-", "") == "utf8"
    sys.stdout.write(to_json(document, ascii_only=not unicode) + "\n")


def _print_grids(grids: Sequence[Grid], options: Mapping[str, Any]) -> None:
    if options["markdown"]:
        from cecli.output.markup import to_markdown

        sys.stdout.write(to_markdown(grids) + "\n")
    else:
        from cecli.output.terminal import show

        show(grids, sys.stdout)


def _export(cases: Sequence[Case], path: str) -> None:
    from cecli.conformance.export import exported
    from cecli.output.json_document import to_json, write_lines
    from cecli.text.strict_json import plain_value

    lines = (to_json(plain_value(line)) + "\n" for line in exported(cases))
    if path == "-":
        sys.stdout.writelines(lines)
    else:
        write_lines(path, lines)
