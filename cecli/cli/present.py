"""Showing an answer: tables, Markdown or JSON on standard output, and a file beside them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from cecli.answer.answer import Answer, Command
from cecli.errors import CecliError

if TYPE_CHECKING:
    from cecli.answer.answer import Output
    from cecli.derivation.model import Derivation
    from cecli.input.problem_from import Request

SECONDS_BEFORE_A_BAR = 1.0
STEPS = 1000
ARRAY_SUFFIXES = ("", ".npy", ".npz", ".csv")
OTHER_SUFFIXES = (".json", ".jsonl", ".svg", ".md", ".tex")


def present(answer: Answer, options: Mapping[str, Any], title: str) -> None:
    """Write the file that was asked for, then show the answer."""
    if options["output"] is not None:
        _write(answer, options, title)
    if options["json"]:
        _print_json(answer, options)
        return
    if answer.derivation is not None:
        _show_derivation(answer.derivation, options)
        return
    from cecli.output.tables import grids_of

    grids = grids_of(answer, options["digits"], options["top"])
    if options["markdown"]:
        from cecli.output.markup import to_markdown

        sys.stdout.write(to_markdown(grids) + "\n")
    else:
        from cecli.output.terminal import show

        show(grids, sys.stdout)


def _show_derivation(derivation: Derivation, options: Mapping[str, Any]) -> None:
    for form, suffix in (("markdown", ".md"), ("latex", ".tex")):
        if options[form]:
            click.echo(_text(derivation, suffix))
            return
    from cecli.output.derivation import show_derivation

    show_derivation(derivation, sys.stdout)


def _text(derivation: Derivation, suffix: str) -> str:
    """A derivation in the markup of files with that suffix."""
    if suffix == ".md":
        from cecli.output.markup import derivation_to_markdown

        return derivation_to_markdown(derivation)
    from cecli.output.markup import to_latex

    return to_latex(derivation)


def _print_json(answer: Answer, options: Mapping[str, Any]) -> None:
    from cecli.output.json_document import document_of, to_json

    document = document_of(answer, options["arrays"])
    if "omitted" in document and options["arrays"] is None:
        click.echo(
            f"cecli {answer.command}: the arrays are left out, being larger than 100,000 numbers; "
            "--arrays prints them, -o FILE.npy writes them",
            err=True,
        )
    unicode = sys.stdout.encoding.lower().replace("-", "") == "utf8"
    sys.stdout.write(to_json(document, ascii_only=not unicode) + "\n")


def check_output(options: Mapping[str, Any]) -> None:
    """Refuse a file that could not be written whatever it held, before anything is computed."""
    path = options["output"]
    suffix = None if path is None else _suffix_of(path)
    refused: tuple[str, ...] = () if "latex" in options else (".md", ".tex")
    refused += () if "jsonl" in options else (".jsonl",)
    others = [other for other in OTHER_SUFFIXES if other not in refused]
    if suffix is not None and suffix not in (*ARRAY_SUFFIXES, *others):
        known = f"{', '.join((*ARRAY_SUFFIXES[1:], *others[:-1]))} or {others[-1]}"
        raise CecliError(f"cannot write {path}: the suffix must be {known}")
    if options.get("dtype") is not None and suffix not in ARRAY_SUFFIXES:
        raise CecliError("--dtype is the type of an array that -o writes: .npy, .npz or .csv")


def _suffix_of(path: str) -> str:
    from pathlib import Path

    return Path(path).suffix.lower()


def _write(answer: Answer, options: Mapping[str, Any], title: str) -> None:
    from cecli.output.json_document import document_of, to_json, write_text

    path = options["output"]
    suffix = _suffix_of(path)
    if suffix == ".json":
        arrays = True if options["arrays"] is None else options["arrays"]
        write_text(path, to_json(document_of(answer, arrays)))
    elif suffix == ".jsonl":
        from cecli.cli.json_lines import lines_of
        from cecli.output.json_document import write_lines

        jobs = options.get("jobs")
        lines = lines_of(answer.command, answer.problem, exact=answer.exact, jobs=jobs)
        write_lines(path, lines)
    elif suffix == ".svg":
        write_text(path, _picture(answer, options, title))
    elif suffix not in ARRAY_SUFFIXES and answer.derivation is not None:
        write_text(path, _text(answer.derivation, suffix))


def _picture(answer: Answer, options: Mapping[str, Any], title: str) -> str:
    if answer.derivation is not None:
        from cecli.output.derivation import picture_of_derivation

        return picture_of_derivation(answer.derivation, title, sys.stdout)
    from cecli.output.tables import grids_of
    from cecli.output.terminal import picture

    return picture(grids_of(answer, options["digits"], options["top"]), title, sys.stdout)


@contextmanager
def array_file(
    command: Command, request: Request, options: Mapping[str, Any]
) -> Iterator[Output | None]:
    """The file for the command's array, where -o names one, written while it is computed."""
    path = options["output"]
    suffix = None if path is None else _suffix_of(path)
    inputs = request.files if path is not None and "*" in path else None
    if suffix not in ARRAY_SUFFIXES:
        if inputs is not None:
            raise CecliError(f"cannot write {path}: a file for each input is an .npy file")
        yield None
        return
    from cecli.answer.answer import array_name_of
    from cecli.output.files.arrays import array_output

    name, dtype = array_name_of(command), options.get("dtype")
    with array_output(path, suffix, inputs, name, dtype, request.labels) as output:
        yield output


class Progress:
    """A bar on standard error, where that is a terminal and the work is long.

    nbytes: how much there is to do, for the rate beside the time left.
    """

    def __init__(self, label: str, nbytes: int | None = None) -> None:
        self._label, self._nbytes, self._start = label, nbytes, time.monotonic()
        self._bar: Any = None
        self._shown = 0
        self._wanted = sys.stderr is not None and sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __call__(self, fraction: float) -> None:
        """Show how much is done, from 0 to 1."""
        if not self._wanted:
            return
        if self._bar is None and time.monotonic() - self._start > SECONDS_BEFORE_A_BAR:
            self._bar = click.progressbar(
                length=STEPS,
                label=self._label,
                width=0,
                file=sys.stderr,
                item_show_func=self._rate,
            )
            self._bar.__enter__()
        if self._bar is not None and int(fraction * STEPS) > self._shown:
            self._advance(int(fraction * STEPS))

    def _advance(self, done: int) -> None:
        self._bar.update(done - self._shown, current_item=done)
        self._shown = done

    def _rate(self, done: int | None) -> str | None:
        if self._nbytes is None or done is None:
            return None
        seconds = time.monotonic() - self._start
        return f"{self._nbytes * done / STEPS / seconds / 1e6:,.0f} MB/s"

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if self._bar is not None:
            if kind is None:
                self._advance(STEPS)
            self._bar.__exit__(None, None, None)
