"""Events from Kafka in a consumer group, and how far the target has taken them. Offsets move only when ``acknowledge`` is called."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from streams.forward.post import ForwardError
from streams.forward.target import Place
from streams.guard import TIMEOUT_S
from streams.settings import DAY_MS, Settings

log = logging.getLogger(__name__)

POLL_S = 0.5
MOST = 100  # messages of one poll
FATAL = ("TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED", "_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "_FATAL")
MISSING = ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION")

Key = tuple[str, int]  # topic in Kafka, partition


class Arrived(NamedTuple):
    """A record of a topic; ``fresh``: not acknowledged yet."""

    place: Place
    headers: list[tuple[str, bytes | None]]
    fresh: bool


@dataclass
class _Partition:
    acknowledged: int  # offset before which everything is
    saved: int | None  # as Kafka knows it; None: it does not
    next: int  # offset to read
    ended: bool = False  # whether its end has been seen


class Feed:
    """The partitions that this process reads.

    Parameters
    ----------
    settings
        Where Kafka is.
    topics
        Logical names.
    group
        The consumer group, without prefix.
    remembers
        Whether to read from the beginning at each start, not only from what is not acknowledged.
    beginning
        Where a group that is new begins: with the oldest record that is kept, or with what comes from now on.
    moved
        Called when partitions have come or gone: what was made of records before is void.

    Raises
    ------
    ForwardError
        If Kafka is away, or a topic is not there.

    """

    def __init__(
        self, settings: Settings, topics: Sequence[str], group: str, *, remembers: bool, beginning: bool, moved: Callable[[], object]
    ) -> None:
        self.group = settings.topic(group)
        self._remembers, self._beginning, self._moved = remembers, beginning, moved
        self._partitions: dict[Key, _Partition] = {}
        self._generation = 0
        self._consumer = Consumer(
            {
                **settings.librdkafka(),
                "group.id": self.group,
                "client.id": self.group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "session.timeout.ms": settings.session_timeout_ms,
                # A step that waits for the target polls nothing; how long it may wait is bounded by ``Patience`` instead.
                "max.poll.interval.ms": DAY_MS,
                "log_level": 3,
            }
        )
        names = [settings.topic(name) for name in topics]
        try:
            self._check(settings, names)
            self._consumer.subscribe(names, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)
        except BaseException:
            self._consumer.close()
            raise

    def _check(self, settings: Settings, names: list[str]) -> None:
        try:
            found = self._consumer.list_topics(timeout=TIMEOUT_S).topics
        except KafkaException as error:
            raise ForwardError(f"Kafka at {settings.kafka}: {error.args[0]}; is GNOMON_KAFKA right, and does the broker run?") from error
        for name in names:
            if name not in found:
                raise ForwardError(f"there is no topic {name}; is GNOMON_PREFIX right? Make the topics: gnomon provision")

    @property
    def assigned(self) -> int:
        """How many partitions this process reads; none: another of the group does."""
        return len(self._partitions)

    @property
    def ended(self) -> bool:
        """Whether every partition has been read to an end."""
        return bool(self._partitions) and all(each.ended for each in self._partitions.values())

    def lag(self) -> dict[Key, int]:
        """Return how many offsets are not acknowledged, as far as the client knows the ends."""
        lags = {}
        for (topic, partition), each in list(self._partitions.items()):
            _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
            lags[topic, partition] = max(0, high - each.acknowledged)
        return lags

    def poll(self) -> list[Arrived]:
        """Return what has come, waiting a little for it. Blocks.

        Raises
        ------
        ForwardError
            If Kafka refuses for good.

        """
        arrived: list[Arrived] = []
        for message in self._messages():
            error = message.error()
            if error is not None:
                self._error(error, message)
                continue
            key = message.topic(), message.partition()
            held = self._partitions.get(key)
            if held is None:
                continue  # of a partition that has gone meanwhile
            place = Place(*key, message.offset(), message.timestamp()[1], message.value() or b"")
            held.next = message.offset() + 1
            arrived.append(Arrived(place, message.headers() or [], message.offset() >= held.acknowledged))
        return arrived

    def _messages(self) -> list[Any]:
        messages: list[Any] = []
        try:
            message, generation = self._consumer.poll(POLL_S), self._generation
            while message is not None:
                messages.append(message)
                if len(messages) == MOST:
                    break
                message = self._consumer.poll(0)
                if generation != self._generation:  # what came before is read again, or by another
                    messages, generation = [], self._generation
        except KafkaException as error:
            raise ForwardError(f"Kafka: {error.args[0]}") from error
        return messages

    def _error(self, error: KafkaError, message: Any) -> None:
        name = error.name()
        if name == "_PARTITION_EOF":
            held = self._partitions.get((message.topic(), message.partition()))
            if held is not None:
                held.ended, held.next = True, max(held.next, message.offset())
        elif name in MISSING:
            raise ForwardError(f"{message.topic()}: {error}; make the topics: gnomon provision")
        elif name in FATAL:
            raise ForwardError(f"Kafka: {error}")
        else:
            log.warning("Kafka: %s", error)  # librdkafka rides it out

    def acknowledge(self, to: Place | None = None, *, must: bool = False) -> None:
        """Let the group's offsets follow what has been read: in the partition of a record as far as that record, by default all. Blocks.

        An error that may pass leaves them where they are until the next call, unless they ``must`` move now.

        Raises
        ------
        ForwardError
            If Kafka refuses for good.

        """
        offsets = []
        for key, each in self._partitions.items():
            if to is not None and key != (to.topic, to.partition):
                continue
            each.acknowledged = max(each.acknowledged, each.next if to is None else to.offset + 1)
            if each.saved is None or each.saved < each.acknowledged:
                offsets.append(TopicPartition(*key, each.acknowledged))
        if offsets:
            self._commit(offsets, must=must)

    def _commit(self, offsets: list[TopicPartition], *, must: bool) -> None:
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            if must or error.args[0].name() in FATAL:
                raise ForwardError(f"Kafka did not take the offsets of {self.group}: {error.args[0]}; events will be sent again") from error
            log.warning("Kafka did not take the offsets of %s: %s; trying again", self.group, error.args[0])
            return
        for tp in offsets:
            self._partitions[tp.topic, tp.partition].saved = tp.offset

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._clear()
        known = self._known(partitions)
        for tp in consumer.committed(partitions, timeout=TIMEOUT_S) if partitions else []:
            low, high = consumer.get_watermark_offsets(tp, timeout=TIMEOUT_S)
            held = self._partitions[tp.topic, tp.partition] = self._begin(tp, low, high, new=tp.topic not in known)
            log.info("reading %s[%d] from offset %d; acknowledged before %d", tp.topic, tp.partition, held.next, held.acknowledged)
        if not partitions:
            log.info("no partition is left for this process: another of the group %s does the work; standing by", self.group)
            return
        consumer.assign([TopicPartition(*key, each.next) for key, each in self._partitions.items()])
        # A group that is new begins here from now on, or what comes while this process is down would be passed over.
        new = [TopicPartition(*key, each.acknowledged) for key, each in self._partitions.items() if each.saved is None]
        if new:
            self._commit(new, must=True)

    def _known(self, partitions: list[TopicPartition]) -> set[str]:
        """Return the topics that the group has a place in: of these, a partition without one was added since."""
        topics = {tp.topic for tp in partitions}
        every = [
            TopicPartition(topic, p)
            for topic in topics
            for p in self._consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions
        ]
        return {tp.topic for tp in self._consumer.committed(every, timeout=TIMEOUT_S) if tp.offset >= 0} if every else set()

    def _begin(self, tp: TopicPartition, low: int, high: int, *, new: bool) -> _Partition:
        saved: int | None = tp.offset if tp.offset >= 0 else None
        if saved is None:
            acknowledged = high if new and not self._beginning else low
        elif saved > high:
            log.warning("%s[%d] ends at %d, before what was acknowledged, %d: it was made anew", tp.topic, tp.partition, high, saved)
            acknowledged, saved = low, None
        else:
            acknowledged = max(low, saved)
            if saved < low:
                log.error(
                    "%s[%d]: what lay from offset %d to %d is kept no longer, and was not sent", tp.topic, tp.partition, saved, low - 1
                )
        return _Partition(acknowledged, saved, low if self._remembers else acknowledged)

    def _revoked(self, _: Consumer, partitions: list[TopicPartition]) -> None:
        self._clear()
        log.info("%d partitions go to another process", len(partitions))

    def _clear(self) -> None:
        self._partitions = {}
        self._generation += 1
        self._moved()
