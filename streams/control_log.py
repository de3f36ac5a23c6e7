"""Writing one record to a topic, confirmed by Kafka: what people decide, or a dead letter now and then."""

from confluent_kafka import KafkaError, KafkaException, Producer

from streams.errors import StreamsError
from streams.guard import TIMEOUT_S
from streams.settings import Settings

CONTROL = "control"


class NotPublishedError(StreamsError):
    """Kafka did not take the record."""

    retriable = True


def publish(settings: Settings, record: bytes, *, name: str = CONTROL, timeout_s: float = TIMEOUT_S) -> int:
    """Produce a record to the first partition of a topic and wait until Kafka has confirmed it; return its offset. Blocks.

    Raises
    ------
    NotPublishedError
        If Kafka has not confirmed it in time: it may be there or not, and may be sent again.

    """
    delivered: list[tuple[KafkaError | None, int | None]] = []
    config = {
        **settings.librdkafka(),
        "acks": "all",
        "enable.idempotence": True,
        "message.timeout.ms": int(timeout_s * 1000),
        "log_level": 0,  # its error is raised: told once
    }
    producer = Producer(config)
    try:
        producer.produce(
            settings.topic(name), record, partition=0, on_delivery=lambda error, message: delivered.append((error, message.offset()))
        )
        producer.flush(timeout_s)
    except KafkaException as raised:
        raise NotPublishedError(f"Kafka did not take the record for {settings.topic(name)}: {raised.args[0]}") from raised
    error, offset = delivered[0] if delivered else ("no answer", None)
    if error is not None or offset is None:
        raise NotPublishedError(f"Kafka did not take the record for {settings.topic(name)}: {error}")
    return offset
