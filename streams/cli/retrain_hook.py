"""``gnomon retrain-hook``: a command per request to retrain."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

from typing import Annotated

import typer

from streams.cli.output import TROUBLE, fail
from streams.cli.surroundings import read_settings
from streams.cli.worker import LEVELS


def retrain_hook(  # noqa: PLR0917  typer passes them by name
    command: Annotated[list[str], typer.Argument(help="The command and its arguments; no shell reads them.", metavar="COMMAND...")],
    name: Annotated[str, typer.Option("--name", help="Name of the consumer group, which keeps its place.", metavar="NAME")] = "default",
    timeout: Annotated[str, typer.Option("--timeout", help="End a run that takes longer.", metavar="DURATION")] = "1h",
    give_up: Annotated[
        str, typer.Option("--give-up", help="End with an error when one request has not succeeded for so long.", metavar="DURATION")
    ] = "1h",
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="At the first start, begin with the oldest request that is kept.")
    ] = False,
    no_follow: Annotated[bool, typer.Option("--no-follow", help="Stop when every request there is has been seen to.")] = False,
    loglevel: Annotated[str, typer.Option("--loglevel", help="DEBUG, INFO, WARNING or ERROR.", metavar="LEVEL")] = "INFO",
) -> None:
    """Run a command for each request to retrain, at least once, with the request on its standard input as a CloudEvent in JSON.

    Example: gnomon retrain-hook -- ./retrain.sh --queue nightly

    The command says that it has taken up the work by ending with status 0; then the request is acknowledged. Otherwise it is run again,
    with growing pauses. It may see a request twice, so it should look at data.request_id. A request that is withdrawn before its command
    begins is passed over. The command does not inherit Gnomon's own settings. Answer the request with: gnomon retrain ack|done|cancel.
    Exit status: 0 when told to stop; 1 if a command does not succeed in time or Kafka is away; 2 for a mistake in use.
    """
    import logging
    import re
    import shutil
    import signal
    import threading

    from streams.errors import StreamsError
    from streams.retrain_hook import RetrainHook

    settings = read_settings()
    level = loglevel.upper()
    if level not in LEVELS:
        fail(f"--loglevel: expected one of {', '.join(LEVELS)}, got {loglevel!r}")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name):
        fail(f"--name: expected up to 100 letters, digits, dots, dashes and underscores, got {name[:120]!r}")
    if shutil.which(command[0]) is None:
        fail(f"there is no command {command[0]!r} that can be run; is it on PATH, and executable?")
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        hook = RetrainHook(
            command,
            settings,
            group=f"retrain-hook.{name}",
            beginning=from_beginning,
            follow=not no_follow,
            timeout_s=_seconds("--timeout", timeout),
            give_up_s=_seconds("--give-up", give_up),
            stop=stop,
        )
        ran = hook.run()
    except StreamsError as error:
        fail(str(error), TROUBLE)
    typer.echo(f"gnomon: {ran} commands have succeeded", err=True)


def _seconds(option: str, text: str) -> float:
    from schemas.durations import parse_duration

    try:
        ms = parse_duration(text)
    except ValueError as error:
        fail(f"{option}: {error}")
    if ms < 100:
        fail(f"{option}: expected a duration of at least 100ms, got {text!r}")
    return ms / 1000
