"""The options of the commands, each declared once, and arguments in which numbers may be negative.

Nothing here imports NumPy: the values stay text until a command computes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])

# What starts like a number is one, also when it goes wrong later: the reader then says where.
_NUMBER = re.compile(r"-(?:\.?[0-9]|(?:inf|infinity|nan)(?![\w-]))", re.IGNORECASE)

LOGITS_HELP = (
    "LOGITS are numbers (2.0 1.0 0.1), one string or nested list, a file (.npy, .npz, "
    ".safetensors, .json, .jsonl, .csv, .tsv, .txt), several ('logits-*.npy'), or what is piped "
    "in: JSON, JSON Lines, or numbers, one sample a line. Negative numbers and -inf, which masks a "
    "class, need no --."
)


class SectionOption(click.Option):
    """An option that knows under which heading of the help it stands."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help has a section for each group of options, and examples as written."""

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
        return super().parse_args(ctx, [*options, "--", *numbers])

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
            elif argument == "-" or not argument.startswith("-") or _NUMBER.match(argument):
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


def _group(section: str, *options: tuple[tuple[str, ...], dict[str, Any]]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for names, settings in reversed(options):
            command = click.option(*names, cls=SectionOption, section=section, **settings)(command)
        return command

    return decorate


def _files(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Let the shell complete names of files, where the value may be one."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def _addresses(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """A cluster is the local one, or told by an address or a file."""
    from click.shell_completion import CompletionItem

    if incomplete and "local".startswith(incomplete):
        return [CompletionItem("local")]
    return _files(context, parameter, incomplete)


logits_argument = click.argument("logits", nargs=-1, shell_complete=_files)

target_options = _group(
    "Target",
    (
        ("-t", "--target"),
        {
            "metavar": "TARGET",
            "shell_complete": _files,
            "help": "The true class: an index from 0 or a label; for a batch a comma list or a "
            "file, one for each sample; FILE.npz:NAME is one array of a file.",
        },
    ),
    (
        ("-q", "--soft-target"),
        {
            "metavar": "Q",
            "shell_complete": _files,
            "help": "Class probabilities instead: numbers as one argument (0.7,0.2,0.1) or a file.",
        },
    ),
)

input_options = _group(
    "Input",
    (
        ("--key",),
        {"metavar": "NAME", "help": "Which array of an .npz or .safetensors file the logits are."},
    ),
)

class_options = _group(
    "Classes",
    (
        ("--labels",),
        {
            "metavar": "NAMES",
            "shell_complete": _files,
            "help": "Names of the classes: a comma list or a file (.json, .txt).",
        },
    ),
    (
        ("--axis",),
        {"type": int, "metavar": "N", "help": "The dimension of the classes (default -1, last)."},
    ),
)

scaling_options = _group(
    "Objective",
    (
        ("--temperature",),
        {"type": float, "metavar": "T", "help": "Divide the logits by T (default 1)."},
    ),
    (
        ("--softcap",),
        {
            "type": float,
            "metavar": "C",
            "help": "Replace z by C*tanh(z/C), before the temperature (default: none).",
        },
    ),
)

loss_options = _group(
    "Objective",
    (
        ("--weight",),
        {
            "metavar": "WEIGHTS",
            "shell_complete": _files,
            "help": "A weight for each class: a comma list or a file.",
        },
    ),
    (
        ("--ignore-index",),
        {"type": int, "metavar": "N", "help": "Samples with this target do not count."},
    ),
    (
        ("--label-smoothing",),
        {"type": float, "metavar": "E", "help": "Spread this much of the target, 0 to 1."},
    ),
    (
        ("--reduction",),
        {
            "type": click.Choice(["mean", "sum", "none"]),
            "help": "How the losses of a batch become one (default mean).",
        },
    ),
    (
        ("--z-loss",),
        {"type": float, "metavar": "L", "help": "Add L*logsumexp^2 for each sample (default 0)."},
    ),
)

exact_option = _group(
    "Precision",
    (
        ("--exact",),
        {"is_flag": True, "help": "Round every number correctly, by decimal arithmetic."},
    ),
)

jobs_option = _group(
    "Speed",
    (
        ("--jobs",),
        {
            "type": click.IntRange(min=1),
            "metavar": "N",
            "help": "Compute in N threads (default: one for each core).",
        },
    ),
)

cluster_option = _group(
    "Speed",
    (
        ("--cluster",),
        {
            "metavar": "ADDRESS",
            "shell_complete": _addresses,
            "help": "Compute on a Dask cluster: its scheduler's address or file; local starts one "
            "here.",
        },
    ),
)

summary_options = _group(
    "Summary",
    (
        ("--worst",),
        {
            "type": click.IntRange(min=1),
            "metavar": "K",
            "help": "Show the K samples of a batch with the highest loss.",
        },
    ),
)

check_options = _group(
    "Check",
    (
        ("--check",),
        {"is_flag": True, "help": "Verify the gradient by finite differences; exit 1 if it fails."},
    ),
    (
        ("--check-method",),
        {
            "type": click.Choice(["decimal", "central", "forward"]),
            "help": "decimal proves it (default); the others show the ordinary float64 method.",
        },
    ),
    (
        ("--step",),
        {"type": float, "metavar": "H", "help": "Step of the differences (default: the usual)."},
    ),
    (
        ("--seed",),
        {
            "type": click.IntRange(min=0),
            "metavar": "N",
            "help": "Seed of the sample where not everything is checked (default 0).",
        },
    ),
)

compare_options = _group(
    "Comparison",
    (
        ("--grad",),
        {
            "metavar": "GRADIENT",
            "shell_complete": _files,
            "help": "Your gradient: numbers as one argument (0.659,0.2424,0.0986), a file (.npy, "
            ".json), or - for standard input.",
        },
    ),
    (
        ("--loss",),
        {
            "metavar": "LOSS",
            "shell_complete": _files,
            "help": "Your loss: a number or a file.",
        },
    ),
    (
        ("--rtol",),
        {
            "type": float,
            "metavar": "R",
            "help": "Relative error to allow (default: what your numbers' precision allows).",
        },
    ),
)

_JSON = (("--json", "json"), {"is_flag": True, "help": "Print one JSON document."})
_DIGITS = (
    ("--digits",),
    {
        "type": click.IntRange(1, 17),
        "metavar": "N",
        "default": 6,
        "help": "Digits after the point in tables (default 6).",
    },
)
_ARRAYS = (
    ("--arrays/--no-arrays",),
    {
        "default": None,
        "help": "Keep or leave out the arrays in JSON (default: kept up to 100,000 numbers).",
    },
)

lines_option = _group(
    "Output",
    (("--jsonl", "jsonl"), {"is_flag": True, "help": "Print a line of JSON for each sample."}),
)

output_options = _group(
    "Output",
    _JSON,
    (("--markdown",), {"is_flag": True, "help": "Print the tables as Markdown."}),
    (
        ("-o", "--output"),
        {
            "metavar": "FILE",
            "shell_complete": _files,
            "help": "Also write FILE: .npy, .npz, .csv (the array), .json (the document), "
            ".jsonl (a line for each sample), .svg (a picture).",
        },
    ),
    (
        ("--dtype",),
        {
            "type": click.Choice(["float16", "float32", "float64"]),
            "help": "Type of the array that -o writes (default: the input's).",
        },
    ),
    _DIGITS,
    (
        ("--top",),
        {
            "type": click.IntRange(min=1),
            "metavar": "K",
            "default": 20,
            "help": "Show at most K rows of a table; of classes always the target (default 20).",
        },
    ),
    _ARRAYS,
)

explanation_options = _group(
    "Output",
    _JSON,
    (("--markdown",), {"is_flag": True, "help": "Print Markdown with mathematics in $...$."}),
    (("--latex",), {"is_flag": True, "help": "Print a LaTeX document."}),
    (
        ("-o", "--output"),
        {
            "metavar": "FILE",
            "shell_complete": _files,
            "help": "Also write FILE: .md, .tex, .json, .svg (a picture), .npy (the gradient).",
        },
    ),
    _DIGITS,
    (
        ("--top",),
        {
            "type": click.IntRange(min=1),
            "metavar": "K",
            "default": 8,
            "help": "Work out at most K classes, always the target (default 8).",
        },
    ),
    _ARRAYS,
)

sample_option = _group(
    "Target",
    (
        ("--sample",),
        {
            "type": click.IntRange(min=0),
            "metavar": "N",
            "help": "Which sample of a batch to explain, counted from 0 (default 0).",
        },
    ),
)
