"""The client of inference services: ``log_prediction`` and ``log_outcome``, which never wait.

::

    from streams.client import Gnomon

    with Gnomon("broker:9092") as gnomon:
        gnomon.log_prediction(request_id="a2", model_id="fraud", model_version="7", score=0.93, subgroups={"country": "NL"}, amount=250.0)
        gnomon.log_outcome(request_id="a2", true_label=1)

A record is checked at the call, and put into librdkafka's buffer; what Kafka does not take fast enough is dropped and counted, so that a
broker that is away costs a service some of its records and none of its requests. Importing it is light: no Faust, no NumPy.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import msgspec

from schemas.codec import encode
from schemas.outcome import Outcome
from schemas.prediction import Prediction
from streams.delivery import Config, Delivery
from streams.settings import Settings

Scalar = bool | int | float | str


class Client:
    """What ``Gnomon`` and ``AsyncGnomon`` share: records are checked, buffered, delivered in the background, and counted.

    Calls may come from any thread, and after a fork: a child has a buffer and counts of its own.

    Parameters
    ----------
    kafka
        Bootstrap servers; default: the setting ``GNOMON_KAFKA``.
    prefix
        What topic names begin with; default: the setting ``GNOMON_PREFIX``.
    settings
        How Kafka is spoken to (TLS, SASL); default: from the environment.
    max_buffered
        Records that wait for Kafka at most; beyond, they are dropped.
    max_buffered_bytes
        The same in bytes, in steps of 1 KiB.
    delivery_timeout_s
        How long a record waits for Kafka, in seconds, before it counts as failed.
    config
        Further settings of librdkafka's producer.

    Raises
    ------
    ValueError
        If a setting cannot be used.

    """

    def __init__(
        self,
        kafka: str | None = None,
        *,
        prefix: str | None = None,
        settings: Settings | None = None,
        max_buffered: int = 100_000,
        max_buffered_bytes: int = 64 << 20,
        delivery_timeout_s: float = 300.0,
        config: Config | None = None,
    ) -> None:
        settings = Settings.from_env() if settings is None else settings
        settings = replace(settings, kafka=settings.kafka if kafka is None else kafka, prefix=settings.prefix if prefix is None else prefix)
        self._topics = {Prediction: settings.topic("predictions"), Outcome: settings.topic("outcomes")}
        self._max_bytes = settings.max_message_bytes
        limits = {"message.max.bytes": settings.max_message_bytes + (64 << 10), "message.timeout.ms": int(delivery_timeout_s * 1000)}
        given = {**settings.librdkafka(), **limits, **(config or {})}
        self._delivery = Delivery(given, max_records=max_buffered, max_bytes=max_buffered_bytes)

    def log_prediction(
        self,
        *,
        request_id: str,
        model_id: str,
        model_version: str,
        timestamp: int | datetime | None = None,
        row: int = 0,
        score: float | None = None,
        scores: Mapping[str, float] | None = None,
        predicted_label: Scalar | None = None,
        subgroups: Mapping[str, Scalar | None] | None = None,
        amount: float | None = None,
        alerted: bool | None = None,
        unit: str | None = None,
        alert_key: str | None = None,
        compute_cost: float | None = None,
        abstained: bool = False,
        abstain_reason: str | None = None,
        features: Mapping[str, float | str | None] | None = None,
        probe: bool | str | None = None,
        predicted_value: float | None = None,
        interval: Mapping[str, float] | None = None,
    ) -> bool:
        """Log what a model claimed; see ``schemas.prediction.Prediction`` for the fields. Never waits.

        ``timestamp``, when it was made, is epoch milliseconds or a datetime with a zone; default: now. NumPy's scalars pass for numbers.

        Returns
        -------
        bool
            Whether it is on its way; False: dropped, and counted, since the buffer is full or the client closed.

        Raises
        ------
        ValueError
            If it is no valid prediction; nothing is sent.

        """
        return self._send(Prediction, locals())

    def log_outcome(
        self,
        *,
        request_id: str,
        timestamp: int | datetime | None = None,
        row: int = 0,
        model_id: str | None = None,
        true_label: Scalar | None = None,
        true_value: float | None = None,
        version: int | None = None,
        action_taken: str | None = None,
        review_seconds: float | None = None,
        cost: float | None = None,
        value: float | None = None,
        checks: Mapping[str, tuple[int, int]] | None = None,
    ) -> bool:
        """Log what turned out, or a part of it; see ``schemas.outcome.Outcome`` for the fields. Never waits.

        ``timestamp``, when it became known, is epoch milliseconds or a datetime with a zone; default: now.

        Returns
        -------
        bool
            Whether it is on its way; False: dropped, and counted.

        Raises
        ------
        ValueError
            If it is no valid outcome; nothing is sent.

        """
        return self._send(Outcome, locals())

    @property
    def dropped(self) -> int:
        """Records that were never sent: the buffer was full, or the client closed."""
        return self._delivery.dropped

    @property
    def delivered(self) -> int:
        """Records that Kafka has confirmed."""
        return self._delivery.delivered

    @property
    def failed(self) -> int:
        """Records that were sent and not confirmed, and that nobody tries to send any more."""
        return self._delivery.failed

    @property
    def buffered(self) -> int:
        """Records on their way."""
        return self._delivery.buffered

    def _send(self, kind: type[Prediction] | type[Outcome], fields: dict[str, Any]) -> bool:
        del fields["self"]
        if fields["timestamp"] is None:
            fields["timestamp"] = time.time_ns() // 1_000_000
        data = _encoded(kind, fields)
        if len(data) > self._max_bytes:
            raise ValueError(f"no valid {kind.__name__.lower()}: Expected at most {self._max_bytes} bytes, got {len(data)}")
        return self._delivery.send(self._topics[kind], data, fields["request_id"].encode())


class Gnomon(Client):
    """Logs predictions and outcomes from a service; see ``Client`` for the parameters.

    Examples
    --------
    >>> from streams.embedded import MockBroker
    >>> with MockBroker(["gnomon.predictions", "gnomon.outcomes"]) as broker, Gnomon(broker.bootstrap) as gnomon:
    ...     _ = gnomon.log_prediction(request_id="a2", model_id="fraud", model_version="7", score=0.93)
    ...     _ = gnomon.log_outcome(request_id="a2", true_label=1)
    ...     gnomon.flush(), gnomon.delivered, gnomon.dropped
    (0, 2, 0)
    >>> gnomon.log_prediction(request_id="a3", model_id="fraud", model_version="7", score=93.0)
    Traceback (most recent call last):
    ValueError: no valid prediction: Expected `float` <= 1.0 - at `$.score`

    """

    def flush(self, timeout_s: float = 10.0) -> int:
        """Wait until what is buffered is delivered; return how many records are not yet."""
        return self._delivery.flush(timeout_s)

    def close(self, timeout_s: float = 10.0) -> int:
        """Deliver what is buffered, then stop; return how many records were not delivered in time, and count as failed."""
        return self._delivery.close(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class AsyncGnomon(Client):
    """The same for asyncio; see ``Client`` for the parameters.

    ``log_prediction`` and ``log_outcome`` are plain functions here too: they never wait, so there is nothing to await, and no record is
    lost to a forgotten ``await``. What may wait is a coroutine.

    Examples
    --------
    >>> async def serve(bootstrap):
    ...     async with AsyncGnomon(bootstrap) as gnomon:
    ...         gnomon.log_prediction(request_id="a2", model_id="fraud", model_version="7", score=0.93)
    ...     return gnomon.delivered
    >>> from streams.embedded import MockBroker
    >>> with MockBroker(["gnomon.predictions"]) as broker:
    ...     asyncio.run(serve(broker.bootstrap))
    1

    """

    async def flush(self, timeout_s: float = 10.0) -> int:
        """Wait until what is buffered is delivered; return how many records are not yet."""
        return await asyncio.to_thread(self._delivery.flush, timeout_s)

    async def close(self, timeout_s: float = 10.0) -> int:
        """Deliver what is buffered, then stop; return how many records were not delivered in time, and count as failed."""
        return await asyncio.to_thread(self._delivery.close, timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


def _encoded(kind: type[Prediction] | type[Outcome], fields: dict[str, Any]) -> bytes:
    try:
        try:
            return encode(kind(**fields))
        except TypeError:  # a type that JSON has not: NumPy's scalars, most likely
            return encode(kind(**{name: _plain(value) for name, value in fields.items()}))
    except (ValueError, TypeError, AttributeError, OverflowError, msgspec.MsgspecError) as error:
        raise ValueError(f"no valid {kind.__name__.lower()}: {error}") from None


def _plain(value: Any) -> Any:
    """Return a value with scalars of NumPy and its kin as Python's own."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    item = getattr(value, "item", None)
    return item() if callable(item) else value
