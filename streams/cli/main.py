"""The ``gnomon`` command."""

import os
import sys

import typer

from streams.cli.check import check
from streams.cli.demo import demo
from streams.cli.output import TROUBLE
from streams.cli.provision import provision
from streams.cli.replay import replay
from streams.cli.report import report
from streams.cli.schemas import schemas
from streams.cli.worker import worker

app = typer.Typer(
    name="gnomon",
    help="Watch what models claim against what turned out: drift of error, calibration, cost and subgroups, while labels come in late.",
    epilog="Begin with: gnomon demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, replay, check, provision, worker, report, schemas):
    app.command()(command)


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    """Print the version where it is asked for."""
    if version:
        from importlib.metadata import version as installed  # noqa: PLC0415  # rarely needed

        typer.echo(installed("gnomon"))
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    try:
        app()
    except BrokenPipeError:  # the reader has seen enough: ``gnomon replay ... | head``
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(TROUBLE) from None
