"""The program's commands, each found when it is asked for."""

from __future__ import annotations

from importlib import import_module

import click

from cecli import __version__

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
        return sorted(HOMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command; all are there to be suggested where the name is none of theirs."""
        for name in [cmd_name] if cmd_name in HOMES else HOMES:
            if name not in self.commands:
                self.add_command(getattr(import_module(HOMES[name]), name), name)
        return super().get_command(ctx, cmd_name)


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
    epilog="Run 'cecli COMMAND --help' for the options and examples of a command.",
)
@click.option(
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
