"""Made-up events of incidents, and how they get into a topic."""

from typing import Any

import msgspec
from confluent_kafka import Producer

from schemas.drift import DriftData
from schemas.fatigue import FatigueData
from schemas.findings import Event, EventType, to_binary
from schemas.retrain import BudgetBreached
from streams.forward.target import Place
from streams.settings import Settings

HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000
FIGURE = {"value": 0.2, "lo": 0.1, "hi": 0.3, "n": 100}
WINDOW = {"from": "2023-11-14T00:00:00.000Z", "to": "2023-11-15T00:00:00.000Z"}


def drift(state: str, number: int, *, incident: str = "a1", severity: str = "minor", hour: int | None = None, **changed: Any) -> Event:
    """The ``number``-th event of an incident."""
    data = {
        "incident_id": incident,
        "kind": "concept",
        "scope": "all",
        "model_id": "fraud",
        "model_version": "7",
        "segment": {},
        "metric": "fnr",
        "direction": "up",
        "age_s": 3600.0,
        "severity": severity,
        "baseline": FIGURE,
        "current": {**FIGURE, "n": 100 + number},
        "onset": None,
        "evidence": 20.0,
        "threshold": 1.0,
        "affected": [{"country": "NL"}],
        "window": WINDOW,
        "origins": {},
        "impact": None,
        "message": f"event {number} of {incident}",
    } | changed
    return _event(f"gnomon.drift.{state}", f"{incident}-{number}", number if hour is None else hour, msgspec.convert(data, DriftData))


def fatigue(state: str, number: int, *, incident: str = "f1", unit: str = "ward-3") -> Event:
    """The ``number``-th event of a flood of alerts."""
    data = {"incident_id": incident, "model_id": "sepsis", "model_version": "", "kind": "flood", "unit": unit, "value": 14.0}
    data |= {"threshold": 10.0, "window": WINDOW, "message": "Ward 3 had 14 alerts in ten minutes."}
    return _event(f"gnomon.fatigue.{state}", f"{incident}-{number}", number, msgspec.convert(data, FatigueData))


def breached() -> Event:
    """A budget that was breached."""
    data = {"incident_id": "b1", "model_id": "fraud", "false_alarms": 9, "pages": 1.0, "days": 30.0, "evidence": 21.0, "threshold": 20.0}
    return _event("gnomon.budget.breached", "b1-1", 1, msgspec.convert({**data, "window": WINDOW, "message": "9 of 10."}, BudgetBreached))


def _event(kind: str, ident: str, hour: int, data: Any) -> Event:
    return Event(id=ident, type=EventType(kind), subject=f"{data.model_id}/7", time_ms=START_MS + hour * HOUR_MS, data=data)


def place(offset: int, at_ms: int = START_MS) -> Place:
    """Where an event might lie."""
    return Place("gnomon.drift", 0, offset, at_ms, b"{}")


def publish(settings: Settings, *events: Event) -> None:
    """Put events where they belong."""
    producer = Producer({"bootstrap.servers": settings.kafka})
    for event in events:
        headers, value = to_binary(event)
        family = event.type.value.split(".")[1]
        producer.produce(settings.topic(family if family in ("fatigue", "retrain") else "drift"), value, headers=headers)
    assert producer.flush(20) == 0
