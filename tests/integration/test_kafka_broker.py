"""The tests' own broker: what it acknowledged outlives a kill."""

import pytest
from confluent_kafka import Consumer, Producer
from support.kafka_broker import Broker

pytestmark = pytest.mark.integration


def test_data_outlives_a_kill(kafka: Broker, prefix: str) -> None:
    topic = f"{prefix}kept"
    kafka.create_topics({topic: 2})
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "acks": "all"})
    producer.produce(topic, b"value", b"key", partition=1)
    assert producer.flush(10) == 0
    kafka.kill()
    kafka.start()
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": prefix, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    message = consumer.poll(20)
    consumer.close()
    assert message is not None
    assert (message.value(), message.partition(), message.offset()) == (b"value", 1, 0)


def test_topics_are_not_made_by_accident(kafka: Broker, prefix: str) -> None:
    assert f"{prefix}unknown" in kafka.admin().list_topics(f"{prefix}unknown", timeout=10).topics
    assert f"{prefix}unknown" not in kafka.admin().list_topics(timeout=10).topics
