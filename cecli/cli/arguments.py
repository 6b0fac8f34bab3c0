"""Commands of Click as cecli has them: options under headings, and arguments that are numbers.

Nothing here imports NumPy: the values stay text until a command computes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import click

from cecli.errors import CecliError
from cecli.text.messages import quote

# Options that take several files as one word: a comma list or a pattern.
TAKE_PATTERNS = ("-t", "--target", "-q", "--soft-target", "--grad", "--loss")
# What starts like a number is one, also when it goes wrong later: the reader then says where.
NUMBER = re.compile(r"-(?:\.?[0-9]|(?:inf|infinity|nan)(?![\w-]))", re.IGNORECASE)

LOGITS_HELP = (
    "LOGITS are numbers (2.0 1.0 0.1), one string or nested list, a file (.npy, .npz, "
    ".safetensors, .pt, .csv, .tsv, .parquet, .json, .jsonl, .txt …), one array of such a file "
    "(data.npz:NAME), several files ('logits-*.npy'), or what is piped in: JSON, JSON Lines, a "
    "table, or numbers, one sample a line. Negative numbers and -inf, which masks a class, need "
    "no --."
)

_AS_TYPED = "cecli.arguments as typed"


class SectionOption(click.Option):
    """An option that knows under which heading of the help it stands."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help has a section for each group of options, and examples as written.

    What is wrong with what it is given is told like wrong usage.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """As in Click, with errors of cecli's own as Click's."""
        try:
            return super().invoke(ctx)
        except CecliError as error:
            raise click.UsageError(str(error), ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One section for each group of options."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                section = getattr(parameter, "section", "Other")
                sections.setdefault(section, []).append(record)
        for name, records in sections.items():
            with formatter.section(name):
                formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The epilogue as it is written: examples keep their lines."""
        if self.epilog:
            formatter.write_paragraph()
            formatter.write(self.epilog)


class NumbersCommand(SectionedCommand):
    """A command whose arguments are numbers, negative ones too, anywhere and without `--`.

    A mistyped option is still an error: only what reads as a number is taken for one.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As in Click, with the options first and the numbers behind a `--`."""
        options, numbers = self._separate(ctx, args)
        ctx.meta[_AS_TYPED] = tuple(args), tuple(numbers)
        return super().parse_args(ctx, [*options, "--", *numbers])

    def invoke(self, ctx: click.Context) -> Any:
        """The same; an error may be that of a pattern which the shell made several names of."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            expanded = _expanded_pattern(*ctx.meta[_AS_TYPED])
            if expanded is None:
                raise
            raise click.UsageError(f"{expanded}; as it stands, {error.message}", ctx) from None

    def _separate(self, ctx: click.Context, args: Sequence[str]) -> tuple[list[str], list[str]]:
        parameters = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        known = {name for p in parameters for name in [*p.opts, *p.secondary_opts]}
        with_value = {name for p in parameters if not p.is_flag for name in p.opts}
        options: list[str] = []
        numbers: list[str] = []
        rest = iter(args)
        for argument in rest:
            if argument == "--":
                numbers += rest
            elif argument == "-" or not argument.startswith("-") or NUMBER.match(argument):
                numbers.append(argument)
            else:
                if argument[1] != "-" and argument[:2] not in known:
                    # Click would speak of the first letter alone.
                    raise click.NoSuchOption(argument, possibilities=known, ctx=ctx)
                options.append(argument)
                if argument in with_value:
                    value = next(rest, None)
                    if value is None and not ctx.resilient_parsing:
                        raise click.BadOptionUsage(
                            argument, f"Option '{argument}' requires an argument.", ctx
                        )
                    options += [] if value is None else [value]
        return options, numbers

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What the command does, and what all of them take for LOGITS."""
        super().format_help_text(ctx, formatter)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(LOGITS_HELP)


def _expanded_pattern(args: Sequence[str], positional: Sequence[str]) -> str | None:
    """What to say where the names behind an option look like those of a pattern without quotes."""
    for place, option in enumerate(args[:-1]):
        if option not in TAKE_PATTERNS:
            continue
        names = [args[place + 1]]
        for word in args[place + 2 :]:
            if not _is_next_name(names[-1], word):
                break
            names.append(word)
        # Where nothing else would be the logits, only numbered files are surely of one pattern.
        others = set(positional) - set(names)
        if len(names) > 1 and (others or len({re.sub("[0-9]+", "0", name) for name in names}) == 1):
            begin = os.path.commonprefix(names)  # noqa: RUF071 - by characters
            ends = [name[len(begin) :][::-1] for name in names]
            pattern = f"{begin}*{os.path.commonprefix(ends)[::-1]}"  # noqa: RUF071
            return (
                f"{quote(names[1])} stands behind {option} {names[0]}: a pattern is quoted, "
                f"{option} {quote(pattern)}, or the shell makes several arguments of it"
            )
    return None


def _is_next_name(name: str, word: str) -> bool:
    """Whether a shell may have listed a word behind a name for the same pattern."""
    (folder, own), (other_folder, other) = os.path.split(name), os.path.split(word)
    (stem, _, suffix), (other_stem, _, other_suffix) = own.rpartition("."), other.rpartition(".")
    if (folder, suffix) != (other_folder, other_suffix) or not suffix[:1].isalpha():
        return False
    return own[:1] == other[:1] or (stem.isdecimal() and other_stem.isdecimal())


class VerifyCommand(SectionedCommand):
    """A command that takes the rest of its line, behind a `--`, as a program with arguments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As in Click, but the `--` is remembered: what a program is called tells nothing."""
        before, program = list(args), None
        if "--" in before:
            place = before.index("--")
            before, program = before[:place], before[place + 1 :]
        rest = super().parse_args(ctx, before)
        if program is not None:
            ctx.params["program"] = tuple(program)
        elif ctx.params.get("program") and not ctx.resilient_parsing:
            raise click.UsageError(
                "one function at a time; a program and its arguments stand behind --", ctx
            )
        return rest
