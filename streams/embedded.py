"""A broker inside the process, for a first look and for development: librdkafka's mock cluster.

It keeps nothing on disk and 5 MiB a partition, and drops what is older without a word: whoever uses it counts what comes out. It makes a
topic, of 4 partitions, when somebody asks for it by name.
"""

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from streams.settings import Settings
from streams.topics import topics

PARTITIONS = 4  # of every topic of the mock; fixed in librdkafka
START_TIMEOUT_S = 10.0


class MockBroker:
    """A broker that lives as long as this object.

    Examples
    --------
    >>> with MockBroker(["predictions"]) as broker:
    ...     broker.bootstrap.partition(":")[0], broker.partitions("predictions")
    ('127.0.0.1', 4)

    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        # The cluster belongs to the client that asked for it, and goes with it.
        self._owner: Any = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "", "log_level": 0})
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (brokers := self._owner.list_topics(timeout=START_TIMEOUT_S).brokers):
            if time.monotonic() > deadline:
                raise TimeoutError(f"librdkafka's mock broker did not start within {START_TIMEOUT_S:g} s")
            time.sleep(0.01)
        broker = next(iter(brokers.values()))
        self.bootstrap = f"{broker.host}:{broker.port}"
        self.create(names)

    def create(self, names: Iterable[str]) -> None:
        """Make topics, by asking for them."""
        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "allow.auto.create.topics": True})
        for name in names:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not client.list_topics(name, timeout=START_TIMEOUT_S).topics[name].partitions:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the mock broker did not make the topic {name}")
                time.sleep(0.01)

    def partitions(self, name: str) -> int:
        """Return a topic's number of partitions."""
        return len(self._owner.list_topics(name, timeout=START_TIMEOUT_S).topics[name].partitions)

    def environment(self, prefix: str = "gnomon.") -> dict[str, str]:
        """Make every topic of ours; return the environment of workers that are to use this broker and tables in memory."""
        settings = Settings(kafka=self.bootstrap, prefix=prefix)
        self.create(settings.topic(name) for name in topics(settings))
        return {
            "GNOMON_KAFKA": self.bootstrap,
            "GNOMON_PREFIX": prefix,
            "GNOMON_MOCK": "true",
            "GNOMON_REDIS": "memory://",
            "GNOMON_SOURCE_PARTITIONS": str(PARTITIONS),
            "GNOMON_SCORED_PARTITIONS": str(PARTITIONS),
        }

    def close(self) -> None:
        """Stop the broker; all that it held is gone."""
        self._owner = None

    def __enter__(self) -> "MockBroker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
