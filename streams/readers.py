"""Reading topics from the outside, for people: no consumer group, no commits, nothing that a worker would notice."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, TopicPartition

from streams.errors import StreamsError
from streams.guard import TIMEOUT_S
from streams.settings import Settings

POLL_S = 0.5


class ReadError(StreamsError):
    """A topic that cannot be read."""


class Record(NamedTuple):
    """A record of a topic."""

    partition: int
    offset: int
    at_ms: int  # of the record, epoch ms
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class Reader:
    """Reads a topic, or one partition of it, from its beginning or from its end on.

    Parameters
    ----------
    settings
        Where Kafka is.
    name
        The logical name.
    partition
        None: all.

    Raises
    ------
    ReadError
        If the topic is not there, or Kafka is away.

    """

    def __init__(self, settings: Settings, name: str, partition: int | None = None) -> None:
        self._topic = settings.topic(name)
        self._consumer = Consumer(
            {
                **settings.librdkafka(),
                "group.id": settings.topic("reader"),  # needed by the client; nothing is committed, no group is joined
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "log_level": 0,  # its errors are raised: told once
            }
        )
        try:
            found = self._consumer.list_topics(self._topic, timeout=TIMEOUT_S).topics[self._topic]
        except KafkaException as error:
            self._consumer.close()
            raise ReadError(
                f"Kafka at {settings.kafka}: {error.args[0]}; is GNOMON_KAFKA right, and does the broker run? Try: gnomon doctor"
            ) from error
        if found.error is not None:
            self._consumer.close()
            raise ReadError(f"there is no topic {self._topic}: {found.error}; make the topics: gnomon provision")
        self.partitions = sorted(found.partitions) if partition is None else [partition]

    def __enter__(self) -> "Reader":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._consumer.close()

    def bounds(self, partition: int) -> tuple[int, int]:
        """Return the first offset that is there and the one after the last."""
        low, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=TIMEOUT_S)
        return low, high

    def read(self, *, beginning: bool, follow: bool, last: int = 0) -> Iterator[Record]:
        """Yield records; with ``follow`` for ever, else to the end as it is reached. ``last``: begin so many before each end."""
        self._consumer.assign(
            [TopicPartition(self._topic, partition, self._start(partition, beginning, last)) for partition in self.partitions]
        )
        ended: set[int] = set()
        silent_until = time.monotonic() + TIMEOUT_S
        while follow or len(ended) < len(self.partitions):
            for message in self._consumer.consume(500, POLL_S):
                silent_until = time.monotonic() + TIMEOUT_S
                error = message.error()
                if error is None:
                    yield _record(message)
                elif error.name() == "_PARTITION_EOF":
                    ended.add(message.partition())
                elif not error.retriable() and error.name() != "_ALL_BROKERS_DOWN":
                    raise ReadError(f"{self._topic}: {error}; try: gnomon doctor")
            if not follow and time.monotonic() > silent_until:
                raise ReadError(f"{self._topic}: no answer within {TIMEOUT_S:g} s; try: gnomon doctor")

    def _start(self, partition: int, beginning: bool, last: int) -> int:
        if beginning:
            return int(OFFSET_BEGINNING)
        if not last:
            return int(OFFSET_END)
        low, high = self.bounds(partition)
        return max(low, high - last)


def _record(message: Any) -> Record:
    return Record(message.partition(), message.offset(), message.timestamp()[1], message.value(), message.headers() or [])
