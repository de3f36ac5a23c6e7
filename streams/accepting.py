"""Starting from a topic that was made anew: what the state remembers of the old one is forgotten, with all workers stopped."""

from collections.abc import Sequence
from typing import Any

from confluent_kafka.admin import AdminClient, OffsetSpec

from streams.checkpoint import RedisCheckpoints, Step
from streams.checkpoint_pack import unpack
from streams.coordinators import members
from streams.errors import StreamsError
from streams.guard import Facts, RedisMemory, _offsets, look
from streams.provision import accept
from streams.settings import Settings
from streams.topics import SCORED, SOURCES

GROUPS = ("join", "watch")


class NotAcceptedError(StreamsError):
    """The topic cannot be started from as things are; nothing was changed. The message says what to do first."""


async def accept_anew(client: Any, kafka: AdminClient, settings: Settings, names: Sequence[str]) -> dict[str, Facts]:
    """Start from topics as they are now; return their facts.

    The join reads them from offset 0; the watch forgets their ids and how far their event time had come. What was counted of the old
    topics stays counted, and what waits in the pending table stays there.

    Parameters
    ----------
    client
        ``redis.asyncio.Redis`` or ``RedisCluster``, with ``decode_responses`` off.
    kafka
        An admin client.
    settings
        Names.
    names
        Logical names of topics, not of the scored one.

    Raises
    ------
    NotAcceptedError
        If workers run, a topic is not there, or the watch has not read all that the join wrote.
    StoreError, confluent_kafka.KafkaException
        If Redis or Kafka are away, or refuse. It may be called again.

    """
    if SCORED in names:
        raise NotAcceptedError(
            "the watch's state was folded from the old scored topic and cannot go on with another; restore it, or start under a new "
            "GNOMON_PREFIX: gnomon provision makes its topics"
        )
    for group in GROUPS:
        running = members(kafka, settings.topic(group))
        if running:
            raise NotAcceptedError(f"{running} {group} workers still run, or have not yet been given up; stop them and try again")
    found = look(kafka, settings, [*names, SCORED])
    missing = [name for name in (*names, SCORED) if name not in found]
    if missing:
        raise NotAcceptedError(f"there is no topic {', '.join(missing)}; make it first: gnomon provision")
    sources = [name for name in names if name in SOURCES]
    checkpoints = RedisCheckpoints(client, settings.prefix, wait_replicas=settings.redis_wait_replicas)
    if sources:
        await _forget(checkpoints, kafka, settings, found[SCORED].partitions, sources)
    accept(kafka, settings, names, [settings.topic(group) for group in GROUPS])
    await RedisMemory(client, settings.prefix).forget(*names)
    return {name: found[name] for name in names}


async def _forget(checkpoints: RedisCheckpoints, kafka: AdminClient, settings: Settings, count: int, sources: Sequence[str]) -> None:
    ends = _offsets(kafka, settings, [(SCORED, partition) for partition in range(count)], OffsetSpec.latest())
    held = []
    for partition in range(count):
        epoch = await checkpoints.take(partition)
        saved = unpack(await checkpoints.read(partition))
        position = saved.position.next if saved else 0
        if position < ends[SCORED, partition]:
            raise NotAcceptedError(
                f"the watch has folded scored[{partition}] to {position} of {ends[SCORED, partition]}; records of the old topic lie in the "
                "rest. Let it read to the end first: gnomon worker --watch, then stop it and try again"
            )
        if saved is not None:
            held.append((partition, epoch, saved))
    for partition, epoch, saved in held:
        for name in sources:
            saved.watch.sources.forget(name)
        step = Step(saved.position.next, saved.position.next)
        await checkpoints.write(partition, epoch, step, saved.packer.pack(saved.watch, saved.position))
