"""From the settings of a command to what it prints and writes.

Tables, Markdown, LaTeX or JSON go to standard output, and a file beside them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from cecli.answer.answer import Answer, Shown, array_name_of
from cecli.errors import CecliError
from cecli.input.problem_from import read_request
from cecli.text.ascii import takes_unicode
from cecli.text.messages import plain_line
from cecli.text.numbers import format_bytes

if TYPE_CHECKING:
    from cecli.answer.answer import ArrayName, Output
    from cecli.cli.settings import Settings
    from cecli.derivation.model import Derivation
    from cecli.input.problem_from import Request
    from cecli.output.files.destination import Destination, Theme
    from cecli.output.grid import Grid
    from cecli.problem.problem import Problem


def carry_out(
    settings: Settings, find: Callable[[Settings, Request, Output | None], Answer]
) -> None:
    """Read what a command is asked, have the answer found, write it and show it.

    find: is handed where the rows of the command's array go, if they do. A check or a comparison
    that fails ends the process with status 1.
    """
    with_target = settings.command != "softmax"
    request = read_request(settings.typed, settings.overrides, with_target=with_target)
    with request.sources.naming(), array_file(settings, request) as output:
        answer = find(settings, request, output)
    if settings.destination is not None:
        _write(answer, settings, settings.destination)
        _tell_what_is_written(settings.destination)
    for note in request.notes:
        tell(f"cecli {settings.command}: {note}")
    _show(answer, settings)
    if not answer.passed:
        raise click.exceptions.Exit(1)


def shown_of(settings: Settings, problem: Problem) -> Shown:
    """What will be shown of the answer to a problem, and is to be held until then."""
    command, view, destination = settings.command, settings.view, settings.destination
    kind = None if destination is None else destination.kind
    documents = [view.arrays] if view.form == "json" else []
    if kind == "document":
        documents.append(view.arrays is not False)
    arrays: set[ArrayName] = set()
    first, first_rows = 0, False
    if documents:
        from cecli.output.json_document import arrays_of, shows_arrays

        if any(shows_arrays(command, problem, arrays) for arrays in documents):
            arrays |= arrays_of(command)
        elif not problem.batch_shape:
            arrays.add("log_sum_exp")
    has_table = view.form in ("table", "markdown") or kind == "picture"
    if has_table and command in ("softmax", "loss", "grad"):
        from cecli.output.tables import MOST_CLASS_COLUMNS

        if problem.batch_shape:
            first, first_rows = view.top, problem.classes <= MOST_CLASS_COLUMNS
        elif view.top:
            arrays |= {"softmax", "grad" if command == "grad" else "log_softmax"}
    if settings.check is not None:
        from cecli.gradcheck.check import is_held

        arrays |= {"grad"} if is_held(problem) else set()
    return Shown(frozenset(arrays), first, first_rows, settings.compute.worst or 0)


def _show(answer: Answer, settings: Settings) -> None:
    form = settings.view.form
    if form == "json":
        _show_document(answer, settings)
    elif answer.derivation is None:
        print_grids(_grids(answer, settings), markdown=form == "markdown")
    elif form in ("markdown", "latex", "html"):
        suffix = {"markdown": ".md", "latex": ".tex", "html": ".html"}[form]
        text = _text(answer.derivation, suffix)
        if form == "html" and not takes_unicode(sys.stdout):
            text = text.encode("ascii", "xmlcharrefreplace").decode()
        click.echo(text)
    else:
        from cecli.output.derivation import show_derivation

        show_derivation(answer.derivation, sys.stdout)


def _grids(answer: Answer, settings: Settings) -> list[Grid]:
    from cecli.output.tables import grids_of

    return grids_of(answer, settings.view.digits, settings.view.top)


def _text(derivation: Derivation, suffix: str) -> str:
    """A derivation in the markup of files with that suffix."""
    if suffix == ".md":
        from cecli.derivation.markup import derivation_to_markdown

        return derivation_to_markdown(derivation)
    if suffix == ".html":
        from cecli.derivation.page import page

        return page(derivation)
    from cecli.derivation.markup import derivation_to_latex

    return derivation_to_latex(derivation)


def _show_document(answer: Answer, settings: Settings) -> None:
    from cecli.output.json_document import document_of

    arrays = settings.view.arrays
    document = document_of(answer, arrays)
    if "omitted" in document and arrays is None:
        tell(
            f"cecli {answer.command}: the arrays are left out, being larger than 100,000 numbers; "
            "--arrays prints them, -o FILE.npy writes them"
        )
    print_document(document)


def tell(note: str) -> None:
    """Print a line on standard error."""
    click.echo(plain_line(note), err=True)


def print_document(document: Mapping[str, object]) -> None:
    """Print one line of JSON."""
    from cecli.output.json_document import to_json

    sys.stdout.write(to_json(document, ascii_only=not takes_unicode(sys.stdout)) + "\n")


def print_grids(grids: Sequence[Grid], *, markdown: bool) -> None:
    """Print tables, drawn or as Markdown."""
    if markdown:
        from cecli.output.markup import to_markdown

        sys.stdout.write(to_markdown(grids) + "\n")
    else:
        from cecli.output.terminal import show

        show(grids, sys.stdout)


# --- Files ----------------------------------------------------------------------------------------


@contextmanager
def array_file(settings: Settings, request: Request) -> Iterator[Output | None]:
    """The file for the command's array, where -o names one, written while it is computed.

    The workers of a cluster write theirs themselves.
    """
    destination = settings.destination
    if destination is None:
        yield None
        return
    path, suffix, dtype = destination.path, destination.suffix, destination.dtype
    inputs = request.files if "*" in path else None
    if destination.kind != "array" and inputs is not None:
        raise CecliError(f"cannot write {path}: a file for each input is an .npy file")
    if destination.kind != "array" or settings.compute.cluster is not None:
        yield None
        return
    from cecli.output.files.arrays import array_output

    name = array_name_of(settings.command)
    with array_output(path, suffix, inputs, name, dtype, request.labels) as output:
        yield output


def _write(answer: Answer, settings: Settings, destination: Destination) -> None:
    """Write the file that was asked for, unless it is that of the array, which is there already."""
    from cecli.output.json_document import document_of, to_json, write_lines, write_text

    path = destination.path
    if destination.kind == "document":
        write_text(path, to_json(document_of(answer, settings.view.arrays is not False)))
    elif destination.kind == "lines":
        from cecli.cli.jsonl import lines_of

        jobs = settings.compute.jobs
        lines = lines_of(answer.command, answer.problem, exact=answer.exact, jobs=jobs)
        write_lines(path, lines)
    elif destination.kind == "picture":
        write_text(path, _picture(answer, settings, destination.theme))
    elif destination.kind == "markup" and answer.derivation is not None:
        write_text(path, _text(answer.derivation, destination.suffix))


def _tell_what_is_written(destination: Destination) -> None:
    """Name the file and its size, where somebody looks on."""
    if sys.stderr is None or not sys.stderr.isatty():
        return
    from pathlib import Path

    path = Path(destination.path)
    if path.is_file():
        tell(f"wrote {path}, {format_bytes(path.stat().st_size)}")


def _picture(answer: Answer, settings: Settings, theme: Theme) -> str:
    title = f"cecli {answer.command}"
    if answer.derivation is not None:
        from cecli.output.derivation import picture_of_derivation

        return picture_of_derivation(answer.derivation, title, sys.stdout, theme)
    from cecli.output.terminal import picture

    return picture(_grids(answer, settings), title, sys.stdout, theme)
