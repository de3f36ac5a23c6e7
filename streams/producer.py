"""The producer of scored rows, dead letters and findings: every message once and in order, or the worker stops.

confluent-kafka's idempotent producer, driven by one thread that polls; a batch costs one future, resolved by its last delivery report.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from confluent_kafka import KafkaError, KafkaException, Producer

from streams.errors import StreamsError
from streams.settings import Settings

log = logging.getLogger(__name__)

POLL_S = 0.1
QUEUE_FULL_S = 0.02
MAX_MESSAGE_BYTES = 32 << 20  # the rows of one model from one step
Headers = list[tuple[str, bytes]]


class Message(NamedTuple):
    """A message to produce; ``partition`` None: by the key."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers | None = None


class DeliveryError(StreamsError):
    """A message was not delivered, or may not have been; what follows it must not be either. Not retriable."""


def scored_partition(model_id: str, count: int) -> int:
    """Return the scored partition of a model: CRC-32 of its UTF-8, modulo the count.

    Written out, so that no client's default partitioner can move a model: it is fixed for the life of the state.

    >>> scored_partition("fraud", 8), scored_partition("", 8)
    (2, 0)
    """
    return crc32(model_id.encode()) % count


class _Pending:
    """The messages of one batch that are still to be reported."""

    __slots__ = ("fail", "future", "left", "loop")

    def __init__(self, count: int, fail: Callable[[str], Exception]) -> None:
        self.left = count
        self.fail = fail
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()

    def report(self, error: KafkaError | None, message: Any) -> None:
        # In the polling thread.
        self.left -= 1
        if error is not None:  # what follows must not be delivered either: order would be lost
            self.fail(f"Kafka did not take a message for {message.topic()}: {error}")
        elif self.left == 0:
            self.resolve(None)

    def resolve(self, error: Exception | None) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(_settle, self.future, error)


def _settle(future: "asyncio.Future[None]", error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


class ScoredProducer:
    """Produces batches of messages, each batch confirmed as a whole.

    Parameters
    ----------
    settings
        Where Kafka is, and how it is spoken to.
    on_fatal
        Called from the polling thread when nothing more can be delivered in order; in a worker it ends the process.
    on_weather
        Called from the polling thread with errors that librdkafka rides out.

    """

    def __init__(
        self,
        settings: Settings,
        on_fatal: Callable[[str], object] | None = None,
        on_weather: Callable[[KafkaError], object] | None = None,
        **overrides: str | float,
    ) -> None:
        config: dict[str, Any] = {
            **settings.librdkafka(),
            "client.id": settings.topic("producer"),
            "enable.idempotence": True,
            # With idempotence alone a message that fails leaves a gap that later ones fill: order would be lost silently.
            "enable.gapless.guarantee": True,
            "acks": "all",
            "compression.type": "lz4",
            "linger.ms": 5,
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "queue.buffering.max.kbytes": 256 << 10,
            # Outages shorter than this are waited for. A message that times out is not covered by the guarantees above.
            "message.timeout.ms": 300_000,
            "reconnect.backoff.max.ms": 1000,
            "error_cb": self._on_error,
            "log_level": 3,
            **overrides,
        }
        self._producer = Producer(config)
        self._on_fatal = on_fatal
        self._on_weather = on_weather
        self._failed: DeliveryError | None = None
        self._pending: set[_Pending] = set()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="producer", daemon=True)
        self._thread.start()

    async def produce(self, messages: Sequence[Message]) -> None:
        """Produce messages in order and wait until Kafka has confirmed every one.

        Raises
        ------
        DeliveryError
            If one was not delivered, or the producer has failed before.

        """
        if not messages:
            return
        pending = _Pending(len(messages), self._fail)
        self._pending.add(pending)
        try:
            for message in messages:
                await self._enqueue(message, pending)
            await asyncio.shield(pending.future)
        finally:
            self._pending.discard(pending)

    async def _enqueue(self, message: Message, pending: _Pending) -> None:
        options: dict[str, Any] = {} if message.partition is None else {"partition": message.partition}
        if message.headers:
            options["headers"] = message.headers
        while True:
            if self._failed is not None:
                raise self._failed
            try:
                self._producer.produce(message.topic, message.value, message.key, on_delivery=pending.report, **options)
            except BufferError:  # the local queue is full: the poll thread empties it
                await asyncio.sleep(QUEUE_FULL_S)
            except KafkaException as error:
                raise self._fail(f"Kafka refuses a message for {message.topic}: {error.args[0]}") from error
            else:
                return

    def close(self, timeout_s: float = 10.0) -> int:
        """Wait for what is under way, then stop; returns the number of messages that were not delivered."""
        self._closing.set()
        self._thread.join(timeout_s)
        left: int = self._producer.flush(timeout_s)
        return left

    def _poll(self) -> None:
        while not self._closing.is_set():
            try:
                self._producer.poll(POLL_S)
            except Exception as error:  # a fatal error is raised here, and only here
                self._fail(f"the producer has failed: {error}")
                return

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fail(f"the producer has failed: {error}")
        else:
            log.warning("Kafka producer: %s", error)  # a broker is away: librdkafka tries on
            if self._on_weather is not None:
                self._on_weather(error)

    def _fail(self, reason: str) -> DeliveryError:
        failure = self._failed = self._failed or DeliveryError(reason)
        try:
            if self._on_fatal is not None:
                self._on_fatal(reason)  # first: whoever waits must not go on before the one who ends the process has been told
        finally:
            for pending in list(self._pending):
                pending.resolve(failure)
        return failure
