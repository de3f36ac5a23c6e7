"""``gnomon provision``: make the topics."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from streams.cli.output import TROUBLE, fail
from streams.cli.surroundings import read_settings, with_redis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.guard import Facts
    from streams.provision import Step
    from streams.settings import Settings

ANSWER_S = 10.0


def provision(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")] = False,
    accept: Annotated[
        list[str] | None,
        typer.Option("--accept", help="Start from this topic although it was made anew; may be given again.", metavar="NAME"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print each step as JSON, one a line.")] = False,
) -> None:
    """Make Gnomon's topics in Kafka, or bring them up to the settings; what is right already is left alone.

    A line a topic: its partitions, how long records are kept, delete or compact, and what differs from the settings.

    With --accept nothing is made: workers refuse a topic that was deleted and made anew, until someone accepts it. All workers must be
    stopped; what was counted of the old topic stays counted, and the new one is read from its beginning.

    Example: gnomon provision --dry-run

    Example: gnomon provision --accept outcomes

    Exit status: 0; 1 if Kafka or Redis cannot be asked; 2 if a topic cannot be put right without losing what it holds, or accepted.
    """
    settings = read_settings()
    if accept and dry_run:
        fail("--accept cannot be tried: leave out --dry-run; gnomon doctor tells which topics were made anew")
    if accept:
        _accept(settings, accept, as_json)
        return
    from confluent_kafka import KafkaException

    from streams.provision import Action, apply, plan

    try:
        client = _client(settings)
        steps = plan(client, settings)
        for step in steps:
            typer.echo(_json(step) if as_json else _line(step))
        refused = [step for step in steps if step.action is Action.REFUSE]
        if refused:
            fail("; ".join(f"{step.topic}: {step.detail}" for step in refused))
        if not dry_run:
            apply(client, settings, steps)
        if not as_json:
            left = dry_run and any(step.action is not Action.KEEP for step in steps)
            typer.echo("Nothing was done. Next: gnomon provision" if left else "Next: gnomon worker")
    except (KafkaException, TimeoutError) as error:
        _away(settings, error)


def _accept(settings: "Settings", names: "Sequence[str]", as_json: bool) -> None:
    import json

    from confluent_kafka import KafkaException

    from streams.accepting import NotAcceptedError, accept_anew
    from streams.topics import topics

    unknown = [name for name in names if name not in topics(settings)]
    if unknown:
        fail(f"--accept: no topic {unknown[0]!r}; there are {', '.join(topics(settings))} (without prefix)")
    try:
        client = _client(settings)

        async def run(redis: Any) -> "dict[str, Facts]":
            try:
                return await accept_anew(redis, client, settings, names)
            except NotAcceptedError as error:
                fail(str(error))

        found = with_redis(settings, run)
    except (KafkaException, TimeoutError) as error:
        _away(settings, error)
    for name, facts in found.items():
        told = {"name": name, "topic_id": facts.topic_id, "partitions": facts.partitions}
        text = f"{settings.topic(name)} is accepted as it is now: id {facts.topic_id}, {facts.partitions} partitions, read from offset 0."
        typer.echo(json.dumps(told) if as_json else text)
    if not as_json:
        typer.echo("Next: gnomon worker")


def _client(settings: "Settings") -> Any:
    from confluent_kafka.admin import AdminClient

    from streams.guard import admin

    # A quiet client asks first: one that logs would say some hundred times that it cannot connect.
    AdminClient({**settings.librdkafka(), "log_level": 0}).list_topics(timeout=ANSWER_S)
    return admin(settings)


def _line(step: "Step") -> str:
    """Return what is there, or will be, and what is to change."""
    from schemas.durations import format_duration

    now = step.there or step.wanted
    kept, count = now["retention.ms"], int(now["partitions"])
    told = f"{count} partition{'' if count == 1 else 's'}, kept {format_duration(int(kept)) if kept.isdecimal() else 'for ever'}"
    changed = f"; {step.detail}" if step.there and step.detail else ""
    return f"{step.action.value:<7} {step.topic:<28} {told}, cleanup {now['cleanup.policy']}{changed}"


def _json(step: "Step") -> str:
    import json

    return json.dumps(step._asdict())


def _away(settings: "Settings", error: Exception) -> NoReturn:
    from confluent_kafka import KafkaException

    reason = error.args[0].str() if isinstance(error, KafkaException) else "no answer"
    fail(f"Kafka at {settings.kafka}: {reason}; is GNOMON_KAFKA right, and does the broker run? Try: gnomon doctor", TROUBLE)
