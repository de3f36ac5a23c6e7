"""``gnomon forward``: incidents to the systems that people are alerted by."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.output import TROUBLE, fail
from streams.cli.surroundings import read_settings
from streams.cli.worker import LEVELS

if TYPE_CHECKING:
    from streams.forward.forwarder import Job
    from streams.forward.target import Options, Target
    from streams.settings import Settings

MIN_MS, MAX_MS = 100, 86_400_000


def forward(  # noqa: PLR0917  typer passes them by name
    target: Annotated[str, typer.Argument(help="alertmanager or webhook.", metavar="TARGET")],
    url: Annotated[
        str | None, typer.Argument(help="Where to: of Alertmanager the base URL. Default: GNOMON_FORWARD_URL.", metavar="[URL]")
    ] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option("--topic", help="drift, fatigue; webhook: also retrain, statistics. May be repeated; default: drift and fatigue."),
    ] = None,
    min_severity: Annotated[
        str,
        typer.Option(
            "--min-severity", help="Leave out what is below minor, major or critical; what has no severity is minor.", metavar="LEVEL"
        ),
    ] = "minor",
    label: Annotated[
        list[str] | None,
        typer.Option("--label", help="alertmanager: a fixed label for every alert; may be repeated.", metavar="NAME=VALUE"),
    ] = None,
    resend: Annotated[str, typer.Option("--resend", help="alertmanager: remind it of open incidents so often.", metavar="DURATION")] = "1m",
    timeout: Annotated[str, typer.Option("--timeout", help="Wait so long for one answer.", metavar="DURATION")] = "10s",
    give_up: Annotated[
        str, typer.Option("--give-up", help="End with an error when the target takes nothing for so long.", metavar="DURATION")
    ] = "10m",
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="Name of the consumer group, which keeps its place; default: made from target and URL.", metavar="NAME"
        ),
    ] = None,
    from_beginning: Annotated[
        bool, typer.Option("--from-beginning", help="At the first start, begin with the oldest event that is kept.")
    ] = False,
    no_follow: Annotated[bool, typer.Option("--no-follow", help="Stop when everything there is has been sent.")] = False,
    loglevel: Annotated[str, typer.Option("--loglevel", help="DEBUG, INFO, WARNING or ERROR.", metavar="LEVEL")] = "INFO",
) -> None:
    """Send incidents to Alertmanager or a webhook, at least once each; run it as a service, under a supervisor that starts it again.

    Example: gnomon forward alertmanager http://localhost:9093

    Example: gnomon forward webhook https://alerts.example/hooks/gnomon --topic drift --topic retrain

    An event is acknowledged after the target took it. Failures are tried again with growing pauses; an event that the target refuses for
    good (400, 409, 413, 415, 422) becomes a dead letter. Credentials come from the environment or files, see docs/settings.md. SIGTERM and
    Ctrl-C end it, with exit status 0. Exit status: 1 if the target or Kafka are away for too long; 2 for a mistake in use.
    """
    settings = read_settings()
    level = loglevel.upper()
    if level not in LEVELS:
        fail(f"--loglevel: expected one of {', '.join(LEVELS)}, got {loglevel!r}")
    from schemas.drift import Severity
    from streams.forward.forwarder import Job
    from streams.forward.post import Patience
    from streams.forward.target import Options

    if min_severity not in list(Severity):
        fail(f"--min-severity: expected one of {', '.join(Severity)}, got {min_severity!r}")
    kind = _target(target)
    if name is not None and not re.fullmatch(r"[A-Za-z0-9._-]{1,100}", name):
        fail(f"--name: expected up to 100 letters, digits, dots, dashes and underscores, got {name[:120]!r}")
    options = Options(resend_ms=_ms("--resend", resend), labels=_labels(label or ()), signing_key=settings.forward_signing_key)
    if url and settings.forward_url:
        fail("the URL is given twice: as an argument and as GNOMON_FORWARD_URL; keep one")
    job = Job(
        url=url or settings.forward_url,
        make=lambda: kind(options),
        topics=_topics(kind, topic),
        name=name or "",
        severity=Severity(min_severity),
        beginning=from_beginning,
        follow=not no_follow,
        patience=Patience(timeout_s=_ms("--timeout", timeout) / 1000, give_up_s=_ms("--give-up", give_up) / 1000),
    )
    _run(job, kind, options, settings, level)


def _run(job: "Job", kind: "type[Target]", options: "Options", settings: "Settings", level: str) -> None:
    import asyncio
    import logging

    from streams.errors import StreamsError
    from streams.forward.post import ForwardError, authorization, check_url
    from streams.forward.service import serve

    try:
        check_url(job.url, settings)
        authorization(settings)
        kind(options)
    except (ValueError, ForwardError) as error:
        fail(str(error))
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    try:
        counts = asyncio.run(serve(job, settings))
    except StreamsError as error:
        fail(str(error), TROUBLE)
    typer.echo(f"gnomon: {counts['sent']} sent, {counts['refused'] + counts['unreadable']} put into dead letters", err=True)


def _target(name: str) -> "type[Target]":
    import difflib

    from streams.forward import targets

    found = targets()
    if name not in found:
        near = difflib.get_close_matches(name, found, n=1)
        hint = f"did you mean: gnomon forward {near[0]}?" if near else f"there are {', '.join(sorted(found))}"
        fail(f"no alert target {name!r}; {hint}")
    return found[name]


def _topics(kind: "type[Target]", given: Sequence[str] | None) -> tuple[str, ...]:
    for topic in given or ():
        if topic not in kind.topics:
            fail(f"--topic: {kind.name} takes {', '.join(kind.topics)}; got {topic!r}")
    return tuple(dict.fromkeys(given or kind.default_topics))


def _labels(given: Sequence[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    for (name, equals, value), one in zip(pairs, given, strict=True):
        if not (name and equals and value):
            fail(f"--label: expected NAME=VALUE, got {one!r}")
    return {name: value for name, _, value in pairs}


def _ms(option: str, text: str) -> int:
    from schemas.durations import parse_duration

    try:
        ms = parse_duration(text)
    except ValueError as error:
        fail(f"{option}: {error}")
    if not MIN_MS <= ms <= MAX_MS:
        fail(f"{option}: expected a duration from 100ms to 1d, got {text!r}")
    return ms
