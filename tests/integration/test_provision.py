"""Making topics on a real broker, and noticing that one is not what it was."""

import re
from collections.abc import AsyncIterator

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import NewPartitions
from redis.asyncio import Redis
from support.kafka_broker import Broker
from support.workers import committed, produce

from streams.guard import Guard, RedisMemory, RefusedError, admin, look
from streams.provision import Action, accept, apply, plan
from streams.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


def test_a_plan_changes_nothing_and_applying_twice_changes_nothing_more(kafka: Broker, prefix: str) -> None:
    settings = Settings(kafka=kafka.bootstrap, prefix=prefix, source_partitions=3, scored_partitions=2)
    client = admin(settings)
    first = plan(client, settings)
    assert {step.action for step in first} == {Action.CREATE}
    assert {step.there for step in first} == {None}
    assert look(client, settings, ["scored"]) == {}
    apply(client, settings, first)
    facts = look(client, settings, [step.name for step in first])
    assert (facts["predictions"].partitions, facts["scored"].partitions, facts["control"].partitions) == (3, 2, 1)
    assert len({f.topic_id for f in facts.values()}) == len(first)
    again = plan(client, settings)  # at once: what was made can be seen
    assert {step.action for step in again} == {Action.KEEP}
    assert all(step.there == step.wanted for step in again)
    assert {again[0].there[key] for key in ("partitions", "retention.ms", "cleanup.policy")} == {"3", "604800000", "delete"}
    apply(client, settings, first)  # an old plan: someone was quicker
    assert look(client, settings, facts) == facts


def test_sources_grow_settings_follow_and_the_scored_count_is_fixed(kafka: Broker, prefix: str) -> None:
    settings = Settings(kafka=kafka.bootstrap, prefix=prefix, source_partitions=1, scored_partitions=2)
    client = admin(settings)
    apply(client, settings, plan(client, settings))
    later = Settings(kafka=kafka.bootstrap, prefix=prefix, source_partitions=4, scored_partitions=2, scored_retention_days=1)
    steps = {step.name: step for step in plan(client, later)}
    assert steps["predictions"].action is Action.GROW
    assert (steps["scored"].action, steps["scored"].config) == (Action.ALTER, {"retention.ms": "86400000"})
    apply(client, later, steps.values())
    assert {step.action for step in plan(client, later)} == {Action.KEEP}
    assert look(client, later, ["predictions"])["predictions"].partitions == 4
    with pytest.raises(ValueError, match=r"has 2 partitions, must have 3.*set GNOMON_SCORED_PARTITIONS"):
        other = Settings(kafka=kafka.bootstrap, prefix=prefix, scored_partitions=3)
        apply(client, other, plan(client, other))


def commit(kafka: Broker, group: str, topic: str, offset: int) -> None:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()


async def test_a_topic_made_anew_is_refused_until_it_is_accepted(kafka: Broker, prefix: str, redis: Redis) -> None:
    settings = Settings(kafka=kafka.bootstrap, prefix=prefix, source_partitions=1, scored_partitions=1)
    client, group = admin(settings), f"{prefix}join"
    memory = RedisMemory(redis, prefix)
    apply(client, settings, plan(client, settings))
    topic = f"{prefix}predictions"
    produce(kafka.bootstrap, topic, 1, range(5))
    commit(kafka, group, topic, 5)
    guard = Guard(settings, ["predictions", "scored"], memory, group=group)
    old = (await guard.check())["predictions"]
    assert await guard.check_offsets() == []

    kafka.delete_topics(topic)
    with pytest.raises(RefusedError, match="predictions is missing"):
        await guard.check()
    apply(client, settings, plan(client, settings))
    with pytest.raises(RefusedError, match=f"predictions was made anew.*{re.escape(old.topic_id)}"):
        await guard.check()
    commit(kafka, group, topic, 5)  # as a worker of the old topic would, late
    with pytest.raises(RefusedError, match="ends at 0, below 5"):
        await guard.check_offsets()

    accept(client, settings, ["predictions"], [group])
    await memory.forget("predictions")
    assert (await guard.check())["predictions"] != old
    assert await guard.check_offsets() == []
    assert committed(kafka.bootstrap, group, topic, 1) == [0]


async def test_partitions_may_be_added_to_a_source_and_not_to_scored(kafka: Broker, prefix: str, redis: Redis) -> None:
    settings = Settings(kafka=kafka.bootstrap, prefix=prefix, source_partitions=1, scored_partitions=1)
    client = admin(settings)
    apply(client, settings, plan(client, settings))
    guard = Guard(settings, ["predictions", "scored"], RedisMemory(redis, prefix))
    await guard.check()
    client.create_partitions([NewPartitions(f"{prefix}predictions", 2)])[f"{prefix}predictions"].result(10)
    assert (await guard.check())["predictions"].partitions == 2
    client.create_partitions([NewPartitions(f"{prefix}scored", 2)])[f"{prefix}scored"].result(10)
    with pytest.raises(RefusedError, match=r"scored had 1 partitions .* and has 2"):
        await guard.check()


async def test_records_deleted_before_they_were_read_are_told(kafka: Broker, prefix: str, redis: Redis) -> None:
    settings = Settings(kafka=kafka.bootstrap, prefix=prefix, source_partitions=1, scored_partitions=1)
    client = admin(settings)
    apply(client, settings, plan(client, settings))
    topic = f"{prefix}outcomes"
    produce(kafka.bootstrap, topic, 1, range(9))
    client.delete_records([TopicPartition(topic, 0, 6)])[TopicPartition(topic, 0, 6)].result(10)
    guard = Guard(settings, ["outcomes"], RedisMemory(redis, prefix))
    assert await guard.check_offsets({("outcomes", 0): 2}) == [
        "outcomes[0] begins at 6, but was read to 2 only: 4 records were deleted unread"
    ]
