"""What must hold of the topics before a worker may read them, and while it does.

A topic that is made anew under its old name is silent: Faust goes on from the old offset, reads nothing and logs nothing. So a worker
remembers the id that Kafka gives each topic, and stops when it sees another.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from redis.exceptions import RedisClusterException, RedisError

from streams.errors import StreamsError
from streams.pending import _translated
from streams.settings import Settings
from streams.topics import SCORED, Topic, topics

MOCK_ID = "mock"
TIMEOUT_S = 15.0
REDIS_ERRORS = (RedisError, RedisClusterException, OSError, TimeoutError)


class Facts(NamedTuple):
    """What Kafka says of a topic."""

    topic_id: str
    partitions: int


class Memory(Protocol):
    """Where facts of topics are kept between runs: text by logical name."""

    async def recall(self) -> dict[str, str]:
        """Return what was remembered."""

    async def remember(self, facts: Mapping[str, str]) -> None:
        """Remember what was not there yet; what is there stays."""


class DictMemory(dict[str, str]):
    """Facts of topics in this process alone."""

    async def recall(self) -> dict[str, str]:
        """Return what was remembered."""
        return dict(self)

    async def remember(self, facts: Mapping[str, str]) -> None:
        """Remember what was not there yet; what is there stays."""
        for name, text in facts.items():
            self.setdefault(name, text)


class RedisMemory:
    """Facts of topics in one Redis hash.

    Parameters
    ----------
    client
        ``redis.asyncio.Redis`` or ``RedisCluster``, with ``decode_responses`` off.
    prefix
        What keys begin with.

    """

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._key = f"{prefix}topics"

    async def recall(self) -> dict[str, str]:
        """Return what was remembered."""
        try:
            facts = await self._client.hgetall(self._key)
        except REDIS_ERRORS as error:
            raise _translated(error) from error
        return {name.decode(): text.decode() for name, text in facts.items()}

    async def remember(self, facts: Mapping[str, str]) -> None:
        """Remember what was not there yet; what is there stays."""
        try:
            for name, text in facts.items():
                await self._client.hsetnx(self._key, name, text)
        except REDIS_ERRORS as error:
            raise _translated(error) from error

    async def forget(self, *names: str) -> None:
        """Forget topics: whatever is found next is taken for the right one."""
        try:
            await self._client.hdel(self._key, *names)
        except REDIS_ERRORS as error:
            raise _translated(error) from error


def known(remembered: Mapping[str, str]) -> dict[str, Facts]:
    """Return the facts of topics that a memory holds.

    >>> known({"scored": '{"id": "a", "partitions": 8}'})
    {'scored': Facts(topic_id='a', partitions=8)}
    """
    return {name: Facts(fact["id"], fact["partitions"]) for name, text in remembered.items() for fact in [json.loads(text)]}


class RefusedError(StreamsError):
    """The topics are not what the state was made from. Someone must decide; the message says between what."""


def admin(settings: Settings) -> AdminClient:
    """Return an admin client. Keep it while its requests run: one that is collected fails them."""
    return AdminClient({**settings.librdkafka(), "log_level": 0})  # its errors are raised: told once


def look(client: AdminClient, settings: Settings, names: Iterable[str]) -> dict[str, Facts]:
    """Return the facts of topics by logical name; a topic that is missing is left out. Blocks.

    librdkafka's mock broker cannot describe topics: there the id is constant.
    """
    wanted = {settings.topic(name): name for name in names}
    if settings.mock:
        found = client.list_topics(timeout=TIMEOUT_S).topics
        return {name: Facts(MOCK_ID, len(found[real].partitions)) for real, name in wanted.items() if real in found}
    facts = {}
    for real, future in client.describe_topics(TopicCollection(list(wanted)), request_timeout=TIMEOUT_S).items():
        try:
            description = future.result(TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].name() == "UNKNOWN_TOPIC_OR_PART":
                continue
            raise
        facts[wanted[real]] = Facts(str(description.topic_id), len(description.partitions))
    return facts


def problems(expected: Mapping[str, Topic], found: Mapping[str, Facts], remembered: Mapping[str, str]) -> list[str]:
    """Return what is wrong with the topics, a sentence each; empty: nothing.

    >>> from streams.topics import topics
    >>> scored = {"scored": topics(Settings())["scored"]}
    >>> problems(scored, {}, {})
    ['topic scored is missing: run `gnomon provision`']
    >>> problems(scored, {"scored": Facts("b", 8)}, {"scored": '{"id": "a", "partitions": 8}'})[0][:50]
    'topic scored was made anew: its id is b, the state'
    """
    wrong = []
    for name, topic in expected.items():
        facts = found.get(name)
        if facts is None:
            wrong.append(f"topic {name} is missing: run `gnomon provision`")
            continue
        known = json.loads(remembered[name]) if name in remembered else None
        if known is None:
            continue
        if known["id"] != facts.topic_id:
            way = f"from the new one with `gnomon provision --accept {name}`" if name != SCORED else "under a new prefix"
            wrong.append(
                f"topic {name} was made anew: its id is {facts.topic_id}, the state was made from {known['id']}. "
                f"Restore the old topic, or start {way}"
            )
        elif topic.fixed and known["partitions"] != facts.partitions:
            wrong.append(
                f"topic {name} had {known['partitions']} partitions when the state was made, and has {facts.partitions}: "
                "its count is fixed for the life of the state"
            )
        elif facts.partitions < known["partitions"]:
            wrong.append(f"topic {name} had {known['partitions']} partitions, and has {facts.partitions}")
    return wrong


class Guard:
    """Checks the topics of one app.

    Parameters
    ----------
    settings
        Where Kafka is.
    names
        Logical names of the topics that the app reads or writes in order.
    memory
        Where the topics' ids are kept.
    group
        The consumer group whose offsets must lie within the topics.

    """

    def __init__(self, settings: Settings, names: Iterable[str], memory: Memory, *, group: str | None = None) -> None:
        self._settings = settings
        self._expected = {name: topic for name, topic in topics(settings).items() if name in set(names)}
        self._memory = memory
        self._group = group
        self._admin: AdminClient | None = None
        self.facts: dict[str, Facts] = {}

    async def check(self) -> dict[str, Facts]:
        """Return the topics' facts, and remember them.

        Raises
        ------
        RefusedError
            If a topic is missing, was made anew, or has another number of partitions than it may.

        """
        if self._admin is None:
            self._admin = admin(self._settings)
        found = await asyncio.to_thread(look, self._admin, self._settings, self._expected)
        wrong = problems(self._expected, found, await self._memory.recall())
        if wrong:
            raise RefusedError("; ".join(wrong))
        await self._memory.remember({name: json.dumps({"id": f.topic_id, "partitions": f.partitions}) for name, f in found.items()})
        self.facts = found
        return found

    async def check_offsets(self, positions: Mapping[tuple[str, int], int] | None = None) -> list[str]:
        """Check where reading will begin, by (logical name, partition); by default the group's committed offsets.

        Returns the partitions whose records were deleted before they were read, a sentence each.

        Raises
        ------
        RefusedError
            If a position lies beyond the end of its partition: the topic was cut, or made anew.

        """
        if self._settings.mock:  # it answers no questions about groups, and forgets everything with the process
            return []
        return await asyncio.to_thread(self._check_offsets, positions)

    def _check_offsets(self, positions: Mapping[tuple[str, int], int] | None) -> list[str]:
        client = self._admin or admin(self._settings)
        if positions is None:
            positions = self._committed(client)
        ends = _offsets(client, self._settings, positions, OffsetSpec.latest())
        beginnings = _offsets(client, self._settings, positions, OffsetSpec.earliest())
        beyond = [f"{t}[{p}] ends at {ends[t, p]}, below {at}" for (t, p), at in positions.items() if at > ends[t, p]]
        if beyond:
            raise RefusedError(
                f"{'; '.join(beyond)}: records that were read are gone. Restore the topic, or see `gnomon provision --accept`"
            )
        return [
            f"{t}[{p}] begins at {beginnings[t, p]}, but was read to {at} only: {beginnings[t, p] - at} records were deleted unread"
            for (t, p), at in positions.items()
            if at < beginnings[t, p]
        ]

    def _committed(self, client: AdminClient) -> dict[tuple[str, int], int]:
        if self._group is None:
            return {}
        names = {self._settings.topic(name): name for name in self._expected}
        request = [ConsumerGroupTopicPartitions(self._group)]
        answer = client.list_consumer_group_offsets(request, request_timeout=TIMEOUT_S)[self._group].result(TIMEOUT_S)
        return {(names[tp.topic], tp.partition): tp.offset for tp in answer.topic_partitions if tp.topic in names and tp.offset >= 0}


def _offsets(client: AdminClient, settings: Settings, partitions: Iterable[tuple[str, int]], spec: Any) -> dict[tuple[str, int], int]:
    wanted = {TopicPartition(settings.topic(t), p): spec for t, p in partitions}
    if not wanted:
        return {}
    answers = client.list_offsets(wanted, request_timeout=TIMEOUT_S)
    strip = len(settings.prefix)
    return {(tp.topic[strip:], tp.partition): future.result(TIMEOUT_S).offset for tp, future in answers.items()}
