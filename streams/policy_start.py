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

import msgspec
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from schemas.control import Control
from schemas.fields import epoch_ms
from schemas.policy import encode_policy, parse_policy
from schemas.scored import Forwarded, Origin, encode
from streams.control_log import CONTROL, publish
from streams.guard import REDIS_ERRORS, TIMEOUT_S, Facts, admin
from streams.joining import Produces
from streams.pending import _translated
from streams.policy_follow import RedisPolicies, in_force
from streams.producer import Message
from streams.settings import Settings
from streams.topics import SCORED

log = logging.getLogger(__name__)

LOCK_MS = 60_000
ASK_S = 0.2


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
        await _publish(settings, facts, producer, group, record, client=client)
        return True
    key = f"{settings.prefix}policy"
    try:
        while await client.get(key) != digest:
            if await client.set(f"{key}:lock", b"1", nx=True, px=LOCK_MS):
                try:
                    await _publish(settings, facts, producer, group, record, client=client)
                    await client.set(key, digest)
                finally:
                    await client.delete(f"{key}:lock")
                log.info("policy %s is in force", settings.policy)
                return True
            await asyncio.sleep(ASK_S)  # another worker is at it
    except REDIS_ERRORS as error:
        raise _translated(error) from error
    return False


async def _publish(settings: Settings, facts: Mapping[str, Facts], producer: Produces, group: str, record: bytes, *, client: Any) -> None:
    offset = await asyncio.to_thread(publish, settings, record)
    forwarded = Forwarded(Origin(CONTROL, facts[CONTROL].topic_id, 0), offset, 0, record)
    if client is not None:
        control = msgspec.json.decode(record, type=Control)
        await RedisPolicies(client, settings.prefix).note(in_force(forwarded, control.body["toml"], by=control.by, at=epoch_ms(control.at)))
    if await asyncio.to_thread(_read_to, settings, group) != offset:
        log.warning("control records wait to be read: the policy comes after them, and after predictions that are read meanwhile")
        return
    value = encode(forwarded)
    await producer.produce([Message(settings.topic(SCORED), partition, None, value) for partition in range(facts[SCORED].partitions)])


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
