"""``gnomon worker``: the join and the watch, each a process of its own."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

from typing import Annotated

import typer

from streams.cli.surroundings import read_settings

APPS = ("join", "watch")


def worker(
    join: Annotated[bool, typer.Option("--join", help="Run the join only.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Run the watch only.")] = False,
    loglevel: Annotated[str, typer.Option("--loglevel", help="DEBUG, INFO, WARNING or ERROR.", metavar="LEVEL")] = "INFO",
) -> None:
    """Run a worker: the join and the watch, each a process; add workers to share the load.

    SIGTERM and SIGINT are passed on. When one of the two ends the other is stopped, and the exit status is that of the first: a
    supervisor (systemd, Docker, Kubernetes) starts the worker again. 70: try again; 78: something must be put right first, see the log.
    """
    read_settings()
    from streams.processes import Child, supervise

    chosen = [name for name, wanted in zip(APPS, (join, watch), strict=True) if wanted] or list(APPS)
    raise typer.Exit(supervise([Child(name, faust_command(name, loglevel)) for name in chosen]))


def faust_command(name: str, loglevel: str) -> list[str]:
    """Return the command that runs one of the Faust apps."""
    import sys

    return [sys.executable, "-m", "faust", "--quiet", "--app", f"streams.{name}", "worker", "--loglevel", loglevel, "--without-web"]
