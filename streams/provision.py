"""Making the topics: what would be done, and doing it. As often as one likes: what is right already is left alone."""

import time
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import NamedTuple

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from streams.guard import TIMEOUT_S, Facts, look
from streams.settings import Settings
from streams.topics import SCORED, Topic, topics

FIXED = {SCORED: "set GNOMON_SCORED_PARTITIONS to what is there"}
FRESH = "begin under another GNOMON_PREFIX, or delete the topic and make it anew: gnomon provision, gnomon provision --accept control"


class Action(StrEnum):
    """What is to be done with a topic."""

    CREATE = "create"
    GROW = "grow"  # more partitions
    ALTER = "alter"  # other settings
    KEEP = "keep"
    REFUSE = "refuse"  # cannot be put right without losing what it holds


class Step(NamedTuple):
    """One step of a plan; ``detail`` says for people what differs, ``config`` is what is to be set."""

    name: str  # logical
    topic: str  # in Kafka
    action: Action
    detail: str
    config: dict[str, str]
    wanted: dict[str, str]  # partitions and settings, as the settings say
    there: dict[str, str] | None  # the same, as they are in Kafka; None: there is no such topic


def plan(client: AdminClient, settings: Settings) -> list[Step]:
    """Return what would have to be done to the topics. Nothing is changed.

    Raises
    ------
    confluent_kafka.KafkaException
        If Kafka cannot be asked.

    """
    wanted = topics(settings)
    found = look(client, settings, wanted)
    configs = _configs(client, [settings.topic(name) for name in found])
    return [_step(topic, settings.topic(name), found.get(name), configs.get(settings.topic(name), {})) for name, topic in wanted.items()]


def apply(client: AdminClient, settings: Settings, steps: Iterable[Step]) -> None:
    """Take the steps of a plan, and wait until what they made can be seen: brokers learn of it a moment after the controller has done it.

    Raises
    ------
    ValueError
        If a step says ``refuse``: nothing is done then.
    TimeoutError
        If a broker does not show in time what was made.
    confluent_kafka.KafkaException
        If Kafka does not do what it is asked to.

    """
    steps = list(steps)
    refused = [f"{step.topic}: {step.detail}" for step in steps if step.action is Action.REFUSE]
    if refused:
        raise ValueError("; ".join(refused))
    wanted = topics(settings)
    for step in steps:
        topic = wanted[step.name]
        if step.action is Action.CREATE:
            _create(client, step.topic, topic)
        if step.action is Action.GROW:
            client.create_partitions([NewPartitions(step.topic, topic.partitions)], operation_timeout=TIMEOUT_S)[step.topic].result(
                TIMEOUT_S
            )
        if step.action in {Action.ALTER, Action.GROW} and step.config:
            _alter(client, step.topic, step.config)
    _until_seen(client, settings, [wanted[step.name] for step in steps if step.action in {Action.CREATE, Action.GROW}])


def accept(client: AdminClient, settings: Settings, names: Iterable[str], groups: Iterable[str]) -> None:
    """Start from the topics as they are now: put the offsets of the groups back to 0, since those of the old topics say nothing.

    The groups' workers must be stopped; forget the topics with ``RedisMemory.forget`` too. What the old topics held stays counted.

    Raises
    ------
    confluent_kafka.KafkaException
        If a group still has workers, or Kafka cannot be asked.

    """
    found = look(client, settings, names)
    for group in groups:
        listed = client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=TIMEOUT_S)[group]
        known = {tp.topic for tp in listed.result(TIMEOUT_S).topic_partitions}
        partitions = [
            TopicPartition(settings.topic(name), partition, 0)
            for name, facts in found.items()
            for partition in range(facts.partitions)
            if settings.topic(name) in known
        ]
        if partitions:
            request = ConsumerGroupTopicPartitions(group, partitions)
            client.alter_consumer_group_offsets([request], request_timeout=TIMEOUT_S)[group].result(TIMEOUT_S)


def _step(topic: Topic, real: str, facts: Facts | None, config: Mapping[str, str]) -> Step:
    wanted = topic.config()
    say = {"partitions": str(topic.partitions)} | wanted
    if facts is None:
        return Step(topic.name, real, Action.CREATE, "is missing", wanted, say, None)
    there = {"partitions": str(facts.partitions)} | {key: config.get(key, "") for key in wanted}
    differing = {key: value for key, value in wanted.items() if config.get(key) != value}
    detail = ", ".join(f"{key} {config.get(key)} -> {value}" for key, value in differing.items())
    if facts.partitions < topic.partitions and not topic.fixed:
        grown = f"{facts.partitions} -> {topic.partitions} partitions"
        return Step(topic.name, real, Action.GROW, f"{grown}, {detail}" if detail else grown, differing, say, there)
    if topic.fixed and facts.partitions != topic.partitions:
        text = f"has {facts.partitions} partitions, must have {topic.partitions}, and its count is fixed: {FIXED.get(topic.name, FRESH)}"
        return Step(topic.name, real, Action.REFUSE, text, {}, say, there)
    return Step(topic.name, real, Action.ALTER if differing else Action.KEEP, detail, differing, say, there)


def _configs(client: AdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    answers = client.describe_configs(resources, request_timeout=TIMEOUT_S)
    return {resource.name: {entry.name: entry.value for entry in future.result(TIMEOUT_S).values()} for resource, future in answers.items()}


def _create(client: AdminClient, name: str, topic: Topic) -> None:
    new = NewTopic(name, num_partitions=topic.partitions, replication_factor=topic.replication, config=topic.config())
    try:
        client.create_topics([new], operation_timeout=TIMEOUT_S)[name].result(TIMEOUT_S)
    except KafkaException as error:
        if error.args[0].name() != "TOPIC_ALREADY_EXISTS":  # someone else was quicker
            raise


def _until_seen(client: AdminClient, settings: Settings, made: list[Topic]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while made:
        found = look(client, settings, [topic.name for topic in made])
        made = [topic for topic in made if topic.name not in found or found[topic.name].partitions < topic.partitions]
        if made and time.monotonic() > end:
            raise TimeoutError(f"not to be seen within {TIMEOUT_S:g} s: {', '.join(settings.topic(topic.name) for topic in made)}")
        if made:
            time.sleep(0.05)


def _alter(client: AdminClient, name: str, config: Mapping[str, str]) -> None:
    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in config.items()]
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
    client.incremental_alter_configs([resource], request_timeout=TIMEOUT_S)[resource].result(TIMEOUT_S)
