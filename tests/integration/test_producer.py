"""The producer on a real broker: what is confirmed is there once and in order, over an outage too."""

import asyncio

import pytest
from support.kafka_broker import Broker
from support.workers import read_topic

from streams.producer import DeliveryError, Message, ScoredProducer
from streams.settings import Settings

pytestmark = pytest.mark.integration


async def test_a_broker_that_dies_and_returns_has_everything_once_and_in_order(kafka: Broker, prefix: str) -> None:
    topic = f"{prefix}t"
    kafka.create_topics({topic: 2})
    producer = ScoredProducer(Settings(kafka=kafka.bootstrap), **{"log_level": 0})
    confirmed = asyncio.Event()

    async def batches() -> None:
        for batch in range(60):
            await producer.produce([Message(topic, i % 2, None, b"%d" % (50 * batch + i)) for i in range(50)])
            if batch == 10:
                confirmed.set()
            await asyncio.sleep(0.01)

    producing = asyncio.create_task(batches())
    await confirmed.wait()
    await asyncio.to_thread(kafka.kill)
    await asyncio.sleep(2)
    assert not producing.done()  # waits: an outage is weather
    await asyncio.to_thread(kafka.start)
    await asyncio.wait_for(producing, 60)
    assert producer.close() == 0
    found = read_topic(kafka.bootstrap, topic)
    for partition in range(2):
        values = [int(value or b"") for p, _, value in found if p == partition]
        assert values == list(range(partition, 3000, 2))


async def test_a_message_that_is_not_delivered_stops_all_that_follow(kafka: Broker, prefix: str) -> None:
    topic, reasons = f"{prefix}t", list[str]()
    kafka.create_topics({topic: 1}, {"max.message.bytes": "1000"})
    producer = ScoredProducer(Settings(kafka=kafka.bootstrap), reasons.append, **{"compression.type": "none"})
    await producer.produce([Message(topic, 0, b"k", b"small", [("h", b"1")])])
    with pytest.raises(DeliveryError, match="Message size too large"):
        await producer.produce([Message(topic, 0, None, bytes(5000))])
    with pytest.raises(DeliveryError):
        await producer.produce([Message(topic, 0, None, b"after")])
    assert len(reasons) >= 1
    assert [value for _, _, value in read_topic(kafka.bootstrap, topic)] == [b"small"]
    producer.close()


async def test_a_message_that_times_out_stops_all_that_follow(kafka: Broker, prefix: str) -> None:
    """librdkafka does not call that fatal, and would go on: the order would be lost."""
    topic, missing = f"{prefix}t", f"{prefix}none"
    kafka.create_topics({topic: 1})
    producer = ScoredProducer(Settings(kafka=kafka.bootstrap), **{"message.timeout.ms": 2000, "log_level": 0})
    await producer.produce([Message(topic, 0, None, b"before")])
    with pytest.raises(DeliveryError):
        await asyncio.wait_for(producer.produce([Message(missing, None, None, b"lost")]), 20)
    with pytest.raises(DeliveryError):
        await producer.produce([Message(topic, 0, None, b"after")])
    producer.close(1)
    assert [value for _, _, value in read_topic(kafka.bootstrap, topic)] == [b"before"]
