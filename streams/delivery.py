"""Delivery of records to Kafka that never waits: a bounded buffer, a thread that serves it, and a count of everything.

librdkafka does the buffering and sending. What is added is what a guest in somebody else's process owes it: full means drop and count,
an exit flushes for a bounded time, a fork (a preloading web server's) gets a producer that works, and so does one that failed for good.
"""

import atexit
import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

log = logging.getLogger(__name__)

POLL_S = 0.2
EXIT_S = 5.0  # how long the interpreter's exit waits for what is buffered
PURGE_S = 2.0
SAY_AGAIN_S = 60.0  # between two log lines about records lost

Config = Mapping[str, str | int | float | bool]


class Delivery:
    """Sends records in the background. Each one given to ``send`` is in one count: dropped, delivered, failed or buffered.

    Parameters
    ----------
    config
        librdkafka's settings of a producer.
    max_records, max_bytes
        What may wait for Kafka; bytes in steps of 1 KiB.

    Raises
    ------
    ValueError
        If a setting cannot be used.

    Examples
    --------
    >>> delivery = Delivery({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, max_records=1)  # nobody there
    >>> delivery.send("predictions", b"{}", b"a2"), delivery.send("predictions", b"{}", b"a3")
    (True, False)
    >>> delivery.close(0.1), delivery.failed, delivery.dropped
    (1, 1, 1)

    """

    def __init__(self, config: Config, *, max_records: int = 100_000, max_bytes: int = 64 << 20) -> None:
        if max_records < 1 or max_bytes < 1024:
            raise ValueError(f"expected room for 1 record and 1024 bytes or more, got {max_records} and {max_bytes}")
        self._config = {
            "client.id": "gnomon-client",
            "enable.idempotence": True,  # a resend is no second record
            "acks": "all",
            "compression.type": "lz4",
            "linger.ms": 20,
            "partitioner": "murmur2_random",  # as Java's clients do: a request's records meet in one partition, whoever sends them
            "reconnect.backoff.max.ms": 1_000,
            "log_level": 3,
            **config,
            "queue.buffering.max.messages": max_records,
            "queue.buffering.max.kbytes": max_bytes >> 10,
        }
        self._begin()
        me = weakref.ref(self)  # neither hook keeps it alive
        atexit.register(_at_exit, me)
        os.register_at_fork(after_in_child=lambda: _after_fork(me))

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self.delivered = self.failed = self.dropped = self._accepted = 0
        self._said_at = float("-inf")
        self._fatal = False
        self._closing = threading.Event()
        self._producer = self._new_producer()
        self._thread = threading.Thread(target=_poll, args=(weakref.ref(self), self._closing), name="gnomon-client", daemon=True)
        self._thread.start()

    def _new_producer(self) -> Any:
        me = weakref.ref(self)  # or producer and delivery would keep each other alive

        def on_delivery(error: KafkaError | None, _: Any) -> None:
            if (delivery := me()) is not None:
                delivery._report(error)

        def on_error(error: KafkaError) -> None:
            if (delivery := me()) is not None:
                delivery._on_error(error)

        try:
            return Producer({**self._config, "on_delivery": on_delivery, "error_cb": on_error, "logger": log})
        except KafkaException as error:
            raise ValueError(f"librdkafka refuses the settings: {error.args[0].str()}") from error

    @property
    def buffered(self) -> int:
        """Records on their way."""
        return self._accepted - self.delivered - self.failed  # the producer's own length counts its events too, such as "brokers are down"

    def send(self, topic: str, value: bytes, key: bytes) -> bool:
        """Send a record, without waiting; return False where it is dropped."""
        if self._closing.is_set():
            self._lost("dropped", "the client is closed")
            return False
        try:
            self._producer.produce(topic, value, key)
        except BufferError:
            self._lost("dropped", "the buffer is full: Kafka is away, or slower than this service")
        except KafkaException as error:  # an unknown topic, or a producer that has failed: serving goes on
            self._lost("dropped", error.args[0].str())
        else:
            with self._lock:
                self._accepted += 1
            return True
        return False

    def flush(self, timeout_s: float) -> int:
        """Wait until what is buffered is delivered; return how many records are not yet."""
        left: int = self._producer.flush(timeout_s)
        return left

    def close(self, timeout_s: float) -> int:
        """Deliver what is buffered, then stop; return how many records were not delivered in time, and count as failed."""
        with self._lock:
            if self._closing.is_set():
                return 0
            self._closing.set()
        self._thread.join(5 * POLL_S)
        left = self.flush(timeout_s)
        if left:
            self._producer.purge()
            self._producer.flush(PURGE_S)
        lost = self.dropped + self.failed
        if lost:
            text = "%d of %d records were lost (%d dropped, %d failed). Is Kafka there, and are its topics? See: gnomon doctor"
            log.warning(text, lost, self._accepted + self.dropped, self.dropped, self.failed)
        return left

    def _report(self, error: KafkaError | None) -> None:
        # In the polling thread, or in that of ``flush``.
        if error is None:
            with self._lock:
                self.delivered += 1
        else:
            self._lost("failed", error.str())

    def _lost(self, how: str, reason: str) -> None:
        with self._lock:
            if how == "failed":
                self.failed += 1
            else:
                self.dropped += 1
            say = time.monotonic() - self._said_at > SAY_AGAIN_S
            if say:
                self._said_at = time.monotonic()
        if say:
            log.warning("records lost so far: %d dropped, %d failed; the last one %s: %s", self.dropped, self.failed, how, reason)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():  # an idempotent producer that can't go on; the polling thread replaces it
            self._fatal = True
        log.debug("Kafka: %s", error)

    def _renew(self) -> None:
        """Replace a producer that has failed for good; what it held counts as failed."""
        old, self._fatal = self._producer, False
        log.warning("the producer has failed, and is replaced; %d records are lost", len(old))
        self._producer = self._new_producer()
        old.purge()
        old.flush(PURGE_S)


def _poll(me: "weakref.ref[Delivery]", closing: threading.Event) -> None:
    """Serve delivery reports until the delivery is closed, or gone."""
    while not closing.is_set() and (delivery := me()) is not None:
        producer = delivery._producer
        del delivery  # while waiting, it may go
        with contextlib.suppress(KafkaException):  # a fatal error is raised here too; ``on_error`` has seen it
            producer.poll(POLL_S)
        del producer
        if (delivery := me()) is not None and delivery._fatal:
            delivery._renew()
        del delivery


def _at_exit(me: "weakref.ref[Delivery]") -> None:
    if (delivery := me()) is not None:
        delivery.close(EXIT_S)


_ORPHANS: list[Any] = []  # producers that lost their threads to a fork: to free one would wait for them for ever


def _after_fork(me: "weakref.ref[Delivery]") -> None:
    if (delivery := me()) is not None:
        _ORPHANS.append(delivery._producer)
        if not delivery._closing.is_set():
            delivery._begin()
