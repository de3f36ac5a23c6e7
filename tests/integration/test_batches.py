"""What was fetched across a rebalance, and dropped, is read again."""

from types import SimpleNamespace

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as Committed
from support.kafka_broker import Broker

from streams.batches import ConsumerThread

N = 20

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("committed", [None, 0, 7])
async def test_a_partition_goes_back_to_what_is_committed_or_to_its_beginning(kafka: Broker, prefix: str, committed: int | None):
    topic = TopicPartition(f"{prefix}source", 0)
    kafka.create_topics({topic.topic: 1})
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for number in range(N):
        producer.produce(topic.topic, b"%d" % number)
    assert not producer.flush(20)
    if committed is not None:  # before anybody reads
        other = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": f"{prefix}group"})
        other.commit(offsets=[Committed(topic.topic, 0, committed)], asynchronous=False)
        other.close()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap, group_id=f"{prefix}group", enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        consumer.assign([topic])
        assert await _offsets(consumer, topic) == list(range(committed or 0, N))  # fetched, and dropped
        told = await ConsumerThread._seek_to_committed(SimpleNamespace(_ensure_consumer=lambda: consumer))
        assert told == {topic: committed}
        assert await _offsets(consumer, topic) == list(range(committed or 0, N))
    finally:
        await consumer.stop()


async def _offsets(consumer: AIOKafkaConsumer, topic: TopicPartition) -> list[int]:
    """Read to the end, or for as long as nothing comes in five seconds."""
    found: list[int] = []
    while not found or found[-1] < N - 1:
        records = await consumer.getmany(timeout_ms=5_000)
        if not records:
            break
        found += [record.offset for record in records[topic]]
    return found
