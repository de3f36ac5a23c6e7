"""Putting the policy file into force: a control record, published when a worker starts with a policy that is not in force yet.

The watch takes policies from its log alone. Its order matters: a model's ages are those of the policy in force when its first row comes. So
one worker publishes the record, and forwards it to every scored partition before any worker reads a source; the control topic brings it
there once more, below its mark. All workers of a deployment must have the same file.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, Producer, TopicPartition

from schemas.policy import encode_policy, parse_policy
from schemas.scored import Forwarded, Origin, encode
from streams.errors import StreamsError
from streams.guard import REDIS_ERRORS, TIMEOUT_S, Facts, admin
from streams.joining import Produces
from streams.pending import _translated
from streams.producer import Message
from streams.settings import Settings
from streams.topics import SCORED

log = logging.getLogger(__name__)

CONTROL = "control"
LOCK_MS = 60_000
ASK_S = 0.2


class NotPublishedError(StreamsError):
    """Kafka did not take the control record."""

    retriable = True


async def put_in_force(client: Any, settings: Settings, facts: Mapping[str, Facts], producer: Produces, *, group: str) -> bool:
    """Publish the policy of the settings unless it is in force; return whether this worker did.

    Parameters
    ----------
    client
        ``redis.asyncio.Redis`` or ``RedisCluster``, with ``decode_responses`` off. It remembers which policy is in force. None: nothing
        is remembered, and this worker is the only one.
    settings
        With the path of the policy file; without one nothing is done, and the policy in force stays.
    facts
        Of the topics, the control topic and the scored one among them.
    producer
        Writes to the scored topic.
    group
        The join's consumer group.

    Raises
    ------
    schemas.policy.PolicyError, OSError
        If the file is no policy, or cannot be read.
    StoreUnavailable, NotPublishedError
        If Redis or Kafka are away: try again.

    """
    if settings.policy is None:
        return False
    text = settings.policy.read_text()
    record = encode_policy(parse_policy(text), by="policy file", at=int(time.time() * 1000))
    digest = blake2b(text.encode(), digest_size=16).hexdigest().encode()
    if client is None:
        await _publish(settings, facts, producer, group, record)
        return True
    key = f"{settings.prefix}policy"
    try:
        while await client.get(key) != digest:
            if await client.set(f"{key}:lock", b"1", nx=True, px=LOCK_MS):
                try:
                    await _publish(settings, facts, producer, group, record)
                    await client.set(key, digest)
                finally:
                    await client.delete(f"{key}:lock")
                log.info("policy %s is in force", settings.policy)
                return True
            await asyncio.sleep(ASK_S)  # another worker is at it
    except REDIS_ERRORS as error:
        raise _translated(error) from error
    return False


async def _publish(settings: Settings, facts: Mapping[str, Facts], producer: Produces, group: str, record: bytes) -> None:
    offset = await asyncio.to_thread(_send, settings, record)
    if await asyncio.to_thread(_read_to, settings, group) != offset:
        log.warning("control records wait to be read: the policy comes after them, and after predictions that are read meanwhile")
        return
    value = encode(Forwarded(Origin(CONTROL, facts[CONTROL].topic_id, 0), offset, 0, record))
    await producer.produce([Message(settings.topic(SCORED), partition, None, value) for partition in range(facts[SCORED].partitions)])


def _send(settings: Settings, record: bytes) -> int:
    """Produce to the control topic; return the record's offset. Blocks."""
    delivered: list[tuple[KafkaError | None, int | None]] = []
    producer = Producer({**settings.librdkafka(), "acks": "all", "enable.idempotence": True, "log_level": 3})
    producer.produce(
        settings.topic(CONTROL), record, partition=0, on_delivery=lambda error, message: delivered.append((error, message.offset()))
    )
    producer.flush(TIMEOUT_S)
    error, offset = delivered[0] if delivered else ("no answer", None)
    if error is not None or offset is None:
        raise NotPublishedError(f"Kafka did not take the policy for {settings.topic(CONTROL)}: {error}")
    return offset


def _read_to(settings: Settings, group: str) -> int:
    """Return up to which offset control records have been forwarded. Blocks."""
    if settings.mock:  # one process, which has just begun
        return 0
    client = admin(settings)
    wanted = [TopicPartition(settings.topic(CONTROL), 0)]
    request = [ConsumerGroupTopicPartitions(group, wanted)]
    answer = client.list_consumer_group_offsets(request, request_timeout=TIMEOUT_S)[group].result(TIMEOUT_S)
    offset: int = answer.topic_partitions[0].offset
    return max(0, offset)
