"""What workers call, with its time, its errors and its retries counted: around the pending table, the checkpoints and the producer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from detectors.pending import Logs, Lookups, PendingTable
from streams.errors import StoreError, StoreUnavailable
from streams.joining import Produces
from streams.metrics import Metrics
from streams.producer import DeliveryError, Message

if TYPE_CHECKING:  # who joins loads no detector
    from streams.checkpoint import Checkpoints, Step
    from streams.checkpoint_pack import Fields

T = TypeVar("T")
_OWN = (b"epoch", b"at")  # fields of a checkpoint that are none of the state's


async def redis_call(metrics: Metrics, command: str, call: Callable[[], Awaitable[T]]) -> T:
    """Await a call to Redis, and take note of how long it took and how it went.

    Raises
    ------
    StoreError
        What the call raised.

    """
    begun = time.perf_counter()
    try:
        result = await call()
    except StoreUnavailable:
        metrics.heard("redis", good=False)
        raise
    except StoreError:
        raise
    else:
        metrics.heard("redis", good=True)
        return result
    finally:
        metrics.redis_seconds.labels(command).observe(time.perf_counter() - begun)


class MeteredTable:
    """A pending table, metered."""

    def __init__(self, table: PendingTable, metrics: Metrics) -> None:
        self._table = table
        self._metrics = metrics

    async def exchange(self, lookups: Lookups) -> Logs:
        """Answer lookups in their order, see ``detectors.pending.PendingTable.exchange``."""
        return await redis_call(self._metrics, "exchange", partial(self._table.exchange, lookups))


class MeteredCheckpoints:
    """Checkpoints, metered; ``sizes`` has the bytes of each partition's, of fields that were read or written here."""

    def __init__(self, checkpoints: Checkpoints, metrics: Metrics) -> None:
        self._checkpoints = checkpoints
        self._metrics = metrics
        self._fields: dict[int, dict[bytes, int]] = {}

    def size(self, partition: int) -> int:
        """Return the bytes of a partition's checkpoint, as far as it was read or written here."""
        return sum(list(self._fields.get(partition, {}).values()))

    async def take(self, partition: int) -> int:
        """Become the partition's only writer; return the epoch to write under."""
        return await redis_call(self._metrics, "take", partial(self._checkpoints.take, partition))

    async def read(self, partition: int) -> Fields:
        """Return a checkpoint's fields; empty: there is none."""
        fields = await redis_call(self._metrics, "read", partial(self._checkpoints.read, partition))
        self._fields[partition] = {name: len(value) for name, value in fields.items() if name not in _OWN}
        return fields

    async def write(self, partition: int, epoch: int, step: Step, fields: Mapping[bytes, bytes]) -> None:
        """Write fields, all or none; raises ``FencedError`` as the checkpoints do."""
        await redis_call(self._metrics, "write", partial(self._checkpoints.write, partition, epoch, step, fields))
        sizes = self._fields.get(partition, {}) | {name: len(value) for name, value in fields.items()}
        self._fields[partition] = {name: size for name, size in sizes.items() if size}  # those that are gone have none


class MeteredProducer:
    """A producer, metered."""

    def __init__(self, producer: Produces, metrics: Metrics) -> None:
        self._producer = producer
        self._metrics = metrics
        self._prefix = metrics.settings.prefix

    async def produce(self, messages: Sequence[Message]) -> None:
        """Produce messages in order and wait until Kafka has confirmed every one; raises ``DeliveryError`` where one is not."""
        if not messages:
            return
        begun = time.perf_counter()
        try:
            self._metrics.outbox.inc(len(messages))
            await self._producer.produce(messages)
        except DeliveryError:
            self._metrics.produce_errors.inc()
            raise
        finally:
            self._metrics.outbox.dec(len(messages))
        self._metrics.produce_seconds.observe(time.perf_counter() - begun)
        self._metrics.heard("kafka", good=True)
        for message in messages:
            self._metrics.produced.labels(message.topic.removeprefix(self._prefix)).inc()
