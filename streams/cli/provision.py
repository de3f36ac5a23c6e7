"""``gnomon provision``: make the topics."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

from typing import Annotated

import typer

from streams.cli.output import TROUBLE, fail
from streams.cli.surroundings import read_settings

ANSWER_S = 10.0


def provision(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")] = False,
) -> None:
    """Make Gnomon's topics in Kafka, or bring them up to the settings; what is right already is left alone.

    Exit status: 0; 1 if Kafka cannot be asked; 2 if a topic cannot be put right without losing what it holds.
    """
    settings = read_settings()
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    from streams.guard import admin
    from streams.provision import Action, apply, plan

    try:
        # A quiet client asks first: one that logs would say some hundred times that it cannot connect.
        AdminClient({**settings.librdkafka(), "log_level": 0}).list_topics(timeout=ANSWER_S)
        client = admin(settings)
        steps = plan(client, settings)
        for step in steps:
            typer.echo(f"{step.action.value:<7} {step.topic:<28} {step.detail}".rstrip())
        refused = [step for step in steps if step.action is Action.REFUSE]
        if refused:
            fail("; ".join(f"{step.topic}: {step.detail}" for step in refused))
        if not dry_run:
            apply(client, settings, steps)
    except (KafkaException, TimeoutError) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) else "no answer"
        fail(f"Kafka at {settings.kafka}: {reason}; is GNOMON_KAFKA right, and does the broker run?", TROUBLE)
