"""Calls to Redis and Kafka as metrics tell them: timed, retried, refused."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError
from support.metric_samples import by, value

from detectors.pending import DictTable, Lookups
from streams.checkpoint import DictCheckpoints, FencedError, Step
from streams.errors import StoreError, StoreUnavailable
from streams.metered import MeteredCheckpoints, MeteredProducer, MeteredTable, redis_call
from streams.metrics import Metrics
from streams.producer import DeliveryError, Message
from streams.settings import Settings


@pytest.mark.parametrize(("error", "retried"), [(StoreUnavailable("away"), 1), (StoreError("refused"), 0)])
async def test_calls_to_redis_are_timed_and_retries_counted(error: Exception, retried: int) -> None:
    class Table(DictTable):
        failed = False

        async def exchange(self, lookups: Any) -> Any:
            if not self.failed:
                self.failed = True
                raise error
            return await super().exchange(lookups)

    metrics = Metrics("join", Settings())
    table = MeteredTable(Table(), metrics)
    with pytest.raises(type(error)):
        await table.exchange(Lookups())
    assert by(metrics, "retries_total", "dep")["redis"] == retried
    assert metrics.away == ({"redis"} if retried else set())
    assert list(await table.exchange(Lookups())) == []
    assert value(metrics, "dep_up", dep="redis") == 1
    assert metrics.away == set()
    assert value(metrics, "redis_command_seconds_count", command="exchange") == 2


async def test_the_time_of_all_being_well_begins_when_the_last_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10.0
    monkeypatch.setattr("streams.metrics.time.monotonic", lambda: now)
    metrics = Metrics("join", Settings())

    async def fail() -> None:
        raise StoreUnavailable("away")

    async def succeed() -> None:
        return None

    async def call(call: Callable[[], Awaitable[None]]) -> None:
        await redis_call(metrics, "check", call)

    with pytest.raises(StoreUnavailable):
        await call(fail)
    now = 20.0
    await call(succeed)
    now = 30.0
    await call(succeed)
    assert metrics.all_well_since_s == 20.0


async def test_checkpoints_know_the_size_of_what_was_read_and_written() -> None:
    checkpoints, metrics = DictCheckpoints(), Metrics("watch", Settings())
    metered = MeteredCheckpoints(checkpoints, metrics)
    epoch = await metered.take(3)
    await metered.write(3, epoch, Step(None, 1), {b"head": b"12345", b"v:a": b"123"})
    await metered.write(3, epoch, Step(None, 1), {b"head": b"1234567"})
    assert metered.size(3) == 10 == sum(len(value) for name, value in checkpoints.hashes[3].items() if name != b"at")
    again = MeteredCheckpoints(checkpoints, metrics)
    assert again.size(3) == 0
    await again.take(3)
    await again.read(3)
    assert again.size(3) == 10
    with pytest.raises(FencedError):
        await metered.write(3, epoch, Step(None, 1), {b"head": b""})
    assert metered.size(3) == 10


async def test_what_kafka_confirms_is_counted_by_topic_and_what_it_refuses_as_an_error() -> None:
    class Producer:
        error: Exception | None = None

        async def produce(self, messages: Any) -> None:
            if self.error:
                raise self.error

    producer, metrics = Producer(), Metrics("join", Settings(prefix="eu."))
    metered = MeteredProducer(producer, metrics)
    await metered.produce([])
    await metered.produce(
        [Message("eu.scored", 0, None, b""), Message("eu.scored", 1, None, b""), Message("eu.dead-letters", 0, None, b"")]
    )
    assert by(metrics, "produced_total", "topic") == {"scored": 2, "dead-letters": 1}
    assert value(metrics, "produce_seconds_count") == 1
    producer.error = DeliveryError("no")
    with pytest.raises(DeliveryError):
        await metered.produce([Message("eu.scored", 0, None, b"")])
    assert value(metrics, "produce_errors_total") == 1
    metrics.kafka_weather(KafkaError(KafkaError._TRANSPORT))  # one of several connections, perhaps an idle one
    assert metrics.away == set()
    metrics.kafka_weather(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert metrics.away == {"kafka"}
    assert value(metrics, "produce_errors_total") == 3
    producer.error = None
    await metered.produce([Message("eu.scored", 0, None, b"")])
    assert metrics.away == set()
