"""The ``gnomon`` command."""

import os
import sys
from typing import Annotated

import typer

from streams.cli.audit import audit
from streams.cli.check import check
from streams.cli.control import ack, baseline, snooze, verdict
from streams.cli.demo import demo
from streams.cli.doctor import doctor
from streams.cli.explain import explain
from streams.cli.forward import forward
from streams.cli.output import GONE
from streams.cli.policy import policy
from streams.cli.provision import provision
from streams.cli.replay import replay
from streams.cli.report import report
from streams.cli.retrain import retrain
from streams.cli.retrain_hook import retrain_hook
from streams.cli.scenario import scenario
from streams.cli.schemas import schemas
from streams.cli.tail import tail
from streams.cli.worker import worker

app = typer.Typer(
    name="gnomon",
    help="Watch what models claim against what turned out: drift of error, calibration, cost and subgroups, while labels come in late.",
    epilog="Begin with: gnomon demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    demo,
    replay,
    check,
    provision,
    worker,
    doctor,
    report,
    tail,
    forward,
    explain,
    audit,
    ack,
    snooze,
    verdict,
    retrain_hook,
    scenario,
    schemas,
):
    app.command(command.__name__.replace("_", "-"))(command)
for name, group in (("policy", policy), ("baseline", baseline), ("retrain", retrain)):
    app.add_typer(group, name=name)


def print_version(wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415  # rarely needed

        typer.echo(version("gnomon"))
        raise typer.Exit


@app.callback()
def root(
    _: Annotated[bool, typer.Option("--version", help="Print the version and exit.", callback=print_version, is_eager=True)] = False,
) -> None:
    """Take the options that stand before the command."""


def main() -> None:
    """Run the command line."""
    stdout = sys.stdout
    try:
        try:
            app()
        finally:
            stdout.flush()
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):  # which Typer and Rich turn into an exit status of 1
            raise
    except BrokenPipeError:
        pass
    os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())  # nothing is left to flush at exit
    raise SystemExit(GONE)
