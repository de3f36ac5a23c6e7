"""``gnomon worker``: the join and the watch, each a process of its own."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

from typing import Annotated

import typer

from streams.cli.output import fail
from streams.cli.policies import read_policy
from streams.cli.surroundings import read_settings

APPS = ("join", "watch")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def worker(
    join: Annotated[bool, typer.Option("--join", help="Run the join only.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Run the watch only.")] = False,
    loglevel: Annotated[str, typer.Option("--loglevel", help="DEBUG, INFO, WARNING or ERROR.", metavar="LEVEL")] = "INFO",
) -> None:
    """Run a worker: the join and the watch, each a process; add workers to share the load.

    SIGTERM and SIGINT are passed on. When one of the two ends the other is stopped, and the exit status is that of the first: a
    supervisor (systemd, Docker, Kubernetes) starts the worker again. 70: try again; 78: something must be put right first, see the log.
    """
    settings = read_settings()
    if settings.policy is not None:  # a mistake is told here, by name, and not by an app that ends again and again
        read_policy(settings.policy)
    from streams.processes import Child, supervise, worker_command

    level = loglevel.upper()
    if level not in LEVELS:
        fail(f"--loglevel: expected one of {', '.join(LEVELS)}, got {loglevel!r}; try: gnomon worker --loglevel INFO")

    chosen = [name for name, wanted in zip(APPS, (join, watch), strict=True) if wanted] or list(APPS)
    raise typer.Exit(supervise([Child(name, worker_command(name, level)) for name in chosen]))
