"""The program's commands, each found when it is asked for."""

from __future__ import annotations

from importlib import import_module

import click

from cecli import __version__
from cecli.cli.arguments import NUMBER

# The module of each command, which bears the command's name there.
HOMES = {
    "compare": "cecli.cli.commands.compare",
    "explain": "cecli.cli.commands.explain",
    "grad": "cecli.cli.commands.compute",
    "loss": "cecli.cli.commands.compute",
    "softmax": "cecli.cli.commands.compute",
    "verify": "cecli.cli.commands.verify",
}


class Commands(click.Group):
    """A group whose commands are imported when they are looked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All their names, in the order of the help."""
        return sorted([*HOMES, "help"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command; all are there to be suggested where the name is none of theirs."""
        for name in [cmd_name] if cmd_name in HOMES else HOMES:
            if name not in self.commands:
                self.add_command(getattr(import_module(HOMES[name]), name), name)
        return super().get_command(ctx, cmd_name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As in Click, but numbers and files in the place of a command are told what it lacks."""
        if args and (NUMBER.match(args[0]) or _looks_like_logits(args[0])):
            said = " ".join(args if len(args) < 5 else [*args[:4], "…"])
            raise click.UsageError(
                f"{args[0]} is no command: say what to compute, as in cecli softmax {said}, or "
                "with a target cecli loss, grad or explain",
                ctx,
            )
        return super().parse_args(ctx, args)


def _looks_like_logits(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in "[." or text == "-" or "." in text


def _show_version(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    """The version, and which arithmetic is at work, for which NumPy is not needed."""
    if not wanted or context.resilient_parsing:
        return
    from cecli.machine.compiled import arithmetic

    click.echo(f"cecli {__version__}")
    click.echo(arithmetic())
    context.exit()


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
    epilog="""\
\b
Examples:
  cecli grad 2.0 1.0 0.1 --target 0 --check
  cecli explain 2.0 1.0 0.1 --target 0
  cecli loss logits.npy -t labels.npy --json

Run 'cecli COMMAND --help' for the options and examples of a command.
""",
)
@click.option(
    "-V",
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version and exit.",
)
@click.pass_context
def main(context: click.Context) -> None:
    """Softmax, cross-entropy loss and gradient of logits, right to the last digit.

    LOGITS are numbers (2.0 1.0 0.1), a file (.npy, .npz, .safetensors, .pt, .csv, .tsv, .parquet,
    .json, .jsonl, .txt …), or standard input.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@main.command("help", context_settings={"ignore_unknown_options": True})
@click.argument("command", required=False)
@click.pass_context
def show_help(context: click.Context, command: str | None) -> None:
    """Show this help, or that of a command."""
    top = context.find_root()
    if command is None:
        click.echo(top.get_help())
        return
    name, found, _ = main.resolve_command(top, [command])
    if found is not None:
        with click.Context(found, info_name=name, parent=top) as own:
            click.echo(found.get_help(own))
