"""The options of `cecli verify`, and its arguments: a function, or behind a `--` a program."""

from __future__ import annotations

import click

from cecli.cli.arguments import SectionedCommand
from cecli.cli.options import file_names, group

DTYPES = ["float64", "float32", "float16", "bfloat16"]


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


implementation_argument = click.argument(
    "implementation", required=False, metavar="[MODULE:FUNCTION]", shell_complete=file_names
)
program_argument = click.argument(
    "program", nargs=-1, metavar="[-- PROGRAM [ARGUMENT]...]", shell_complete=file_names
)

implementation_options = group(
    "Implementation",
    (("--torch",), {"is_flag": True, "help": "MODULE:FUNCTION is a loss of PyTorch, or a module."}),
    (("--jax",), {"is_flag": True, "help": "MODULE:FUNCTION is a loss of JAX."}),
    (
        ("--device",),
        {"metavar": "DEVICE", "help": "Where PyTorch or JAX computes (default: cpu, the first)."},
    ),
    (
        ("--dtype",),
        {
            "type": click.Choice(DTYPES),
            "help": "The type of all logits (default: each case's own).",
        },
    ),
    (
        ("--features",),
        {
            "metavar": "NAMES",
            "help": "What it supports, as weight,label-smoothing, or all (default: functions are "
            "asked, of programs nothing is expected).",
        },
    ),
    (
        ("--timeout",),
        {
            "type": float,
            "metavar": "SECONDS",
            "default": 10.0,
            "help": "How long a program may take for a case (default 10).",
        },
    ),
)

case_options = group(
    "Cases",
    (
        ("-k", "globs"),
        {
            "metavar": "GLOB",
            "multiple": True,
            "help": "Only cases or families whose name matches; may be given more than once.",
        },
    ),
    (
        ("--large",),
        {"is_flag": True, "help": "Also logits that lie more than 2^31 elements apart."},
    ),
)

verdict_options = group(
    "Verdict",
    (
        ("--strict",),
        {
            "type": click.Choice(["accurate", "acceptable"]),
            "default": "acceptable",
            "help": "What a case must be to pass (default acceptable); exit 1 if one does not.",
        },
    ),
)

report_options = group(
    "Output",
    (("-v", "--verbose"), {"is_flag": True, "help": "Show each case, and why it does not pass."}),
    (("--list", "list_cases"), {"is_flag": True, "help": "List the cases, and run nothing."}),
    (
        ("--export",),
        {
            "metavar": "FILE",
            "shell_complete": file_names,
            "help": "Write the cases with exact answers as JSON Lines (- for standard output).",
        },
    ),
    (("--json", "json"), {"is_flag": True, "help": "Print one JSON document."}),
    (("--markdown",), {"is_flag": True, "help": "Print the tables as Markdown."}),
)
