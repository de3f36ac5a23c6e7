"""What goes out: findings as CloudEvents 1.0, as one line of JSON or in Kafka's binary mode.

The same event gives the same bytes: fields stand in the order of their struct, times have three decimals.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from schemas.codec import encode
from schemas.drift import DriftData
from schemas.fatigue import FatigueData
from schemas.fields import epoch_ms, rfc3339
from schemas.figures import StatisticsData
from schemas.retrain import BudgetBreached, RetrainCancelled, RetrainRequested

JSON = "application/json"
SOURCE = "/gnomon"
STRUCTURED = "application/cloudevents+json"

Data = DriftData | FatigueData | RetrainRequested | RetrainCancelled | BudgetBreached | StatisticsData
Headers = list[tuple[str, bytes]]


class EventType(StrEnum):
    """The types of events."""

    DRIFT_OPENED = "gnomon.drift.opened"
    DRIFT_ESCALATED = "gnomon.drift.escalated"
    DRIFT_UPDATED = "gnomon.drift.updated"
    DRIFT_CLEARED = "gnomon.drift.cleared"
    FATIGUE_OPENED = "gnomon.fatigue.opened"
    FATIGUE_CLEARED = "gnomon.fatigue.cleared"
    RETRAIN_REQUESTED = "gnomon.retrain.requested"
    RETRAIN_CANCELLED = "gnomon.retrain.cancelled"
    BUDGET_BREACHED = "gnomon.budget.breached"
    STATISTICS = "gnomon.statistics"


DATA: dict[EventType, type[Data]] = {
    EventType.DRIFT_OPENED: DriftData,
    EventType.DRIFT_ESCALATED: DriftData,
    EventType.DRIFT_UPDATED: DriftData,
    EventType.DRIFT_CLEARED: DriftData,
    EventType.FATIGUE_OPENED: FatigueData,
    EventType.FATIGUE_CLEARED: FatigueData,
    EventType.RETRAIN_REQUESTED: RetrainRequested,
    EventType.RETRAIN_CANCELLED: RetrainCancelled,
    EventType.BUDGET_BREACHED: BudgetBreached,
    EventType.STATISTICS: StatisticsData,
}


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A finding: CloudEvents attributes, and data of the kind that its type says.

    >>> from schemas.retrain import RetrainCancelled
    >>> data = RetrainCancelled(request_id="r-1", model_id="fraud", model_version="7", reason="the incident has cleared")
    >>> event = Event(id="e-1", type=EventType.RETRAIN_CANCELLED, subject="fraud/7", time_ms=0, data=data)
    >>> from_json(to_json(event)) == from_binary(*to_binary(event)) == event
    True
    """

    id: str  # deterministic: a repeated finding has the same id
    type: EventType
    subject: str  # model_id/model_version
    time_ms: int  # the watermark, epoch ms
    data: Data
    source: str = SOURCE

    @property
    def time(self) -> str:
        """The watermark, RFC 3339."""
        return rfc3339(self.time_ms)


def subject(model_id: str, model_version: str) -> str:
    """Return the subject of events about a model version.

    >>> subject("fraud", "7")
    'fraud/7'
    """
    return f"{model_id}/{model_version}"


def to_json(event: Event) -> bytes:
    """Return an event in CloudEvents' JSON format, one line without its end.

    Raises
    ------
    msgspec.ValidationError
        If the data is not what the type says, or outside its limits, or holds NaN.

    """
    return _ENCODER.encode(_envelope(event))


def to_binary(event: Event) -> tuple[Headers, bytes]:
    """Return an event in the binary mode of CloudEvents' Kafka binding: headers, value.

    Raises
    ------
    msgspec.ValidationError
        As ``to_json`` does.

    """
    envelope = _envelope(event)
    names = ("specversion", "id", "source", "type", "subject", "time")
    headers = [(f"ce_{name}", str(getattr(envelope, name)).encode()) for name in names]
    return [*headers, ("content-type", JSON.encode())], bytes(envelope.data)


def from_json(data: bytes) -> Event:
    """Read an event from CloudEvents' JSON format.

    Raises
    ------
    msgspec.DecodeError
        If it is not JSON, or (``ValidationError``) not an event of ours.

    """
    return _event(_ENVELOPE.decode(data))


def from_binary(headers: Iterable[tuple[str, bytes | None]], value: bytes) -> Event:
    """Read an event from a Kafka message in binary mode; other headers are ignored.

    Raises
    ------
    msgspec.DecodeError
        If it is not JSON, or (``ValidationError``) not an event of ours.

    """
    attributes: dict[str, Any] = {name[3:]: (raw or b"").decode(errors="replace") for name, raw in headers if name.startswith("ce_")}
    return _event(msgspec.convert(attributes | {"data": msgspec.Raw(value)}, _Envelope))


_Attribute = Annotated[str, Meta(min_length=1, max_length=1024)]


class _Envelope(msgspec.Struct, frozen=True, kw_only=True):
    specversion: Literal["1.0"]
    id: _Attribute
    source: _Attribute
    type: EventType
    subject: _Attribute
    time: Annotated[str, Meta(min_length=20, max_length=40)]
    datacontenttype: Literal["application/json"] = "application/json"
    data: msgspec.Raw


_ENCODER = msgspec.json.Encoder()
_ENVELOPE = msgspec.json.Decoder(_Envelope)


def _envelope(event: Event) -> _Envelope:
    expected = DATA[event.type]
    if type(event.data) is not expected:
        raise msgspec.ValidationError(f"Expected `{expected.__name__}`, got `{type(event.data).__name__}` - at `$.data`")
    for name in ("id", "source", "subject"):
        if not 1 <= len(getattr(event, name)) <= 1024:
            raise msgspec.ValidationError(f"Expected `str` of length 1 to 1024 - at `$.{name}`")
    return _Envelope(
        specversion="1.0",
        id=event.id,
        source=event.source,
        type=event.type,
        subject=event.subject,
        time=event.time,
        data=msgspec.Raw(encode(event.data)),
    )


def _event(envelope: _Envelope) -> Event:
    time = msgspec.convert(envelope.time, Annotated[datetime, Meta(tz=True)])
    return Event(
        id=envelope.id,
        type=envelope.type,
        subject=envelope.subject,
        time_ms=epoch_ms(time),
        data=msgspec.json.decode(envelope.data, type=DATA[envelope.type]),
        source=envelope.source,
    )
