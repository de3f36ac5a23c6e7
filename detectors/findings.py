"""From what the fold found to what goes out: drift events."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from detectors.incident_events import MOST_EVIDENCE
from schemas.drift import Direction, DriftData, GroupRates, Impact, Interval, Kind, Monitor, Scope, Severity, Window
from schemas.fields import rfc3339
from schemas.findings import Event, EventType, subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from detectors.incident_events import IncidentEvent
    from detectors.model_version import ModelVersion
    from detectors.signals import Estimate
    from detectors.spans import Found

PUBLISHED_MONITORS = 20  # of an incident, in its events


def drift_event(version: ModelVersion, event: IncidentEvent) -> Event:
    """Return an incident's event as a finding; its id is the same whenever the same log is folded."""
    version.said += 1
    return _finding(version, event, str(version.said))


def unsaid_event(version: ModelVersion, event: IncidentEvent) -> Event:
    """Return what a snooze keeps from people, for whatever in the fold goes by it; it never goes out."""
    return _finding(version, event, "unsaid")


def _finding(version: ModelVersion, event: IncidentEvent, number: str) -> Event:
    name = version.sums.segments.name
    data = drift_data(event, version.model_id, version.name, name, version.spans.between(*event.window, event.time_ms))
    return Event(
        id=f"{event.incident_id}-{number}",
        type=EventType(f"gnomon.drift.{event.event}"),
        subject=subject(version.model_id, version.name),
        time_ms=event.time_ms,
        data=data,
    )


def drift_data(event: IncidentEvent, model_id: str, model_version: str, name: Callable[[int], dict[str, str]], origins: Found) -> DriftData:
    """Return the data of an incident's event; ``name`` gives a segment by its number."""
    start_ms, end_ms = event.window
    return DriftData(
        incident_id=event.incident_id,
        kind=Kind(event.kind),
        scope=Scope(event.scope),
        model_id=model_id,
        model_version=model_version,
        segment=name(event.segment),
        metric=event.metric,
        direction=Direction(event.direction),
        age_s=event.age_s,
        severity=Severity(event.severity),
        baseline=interval(event.baseline),
        current=interval(event.current),
        onset=rfc3339(event.onset_ms),
        evidence=event.evidence,
        threshold=event.threshold,
        affected=[name(segment) for segment in event.affected],
        window=Window(from_=rfc3339(start_ms), to=rfc3339(end_ms)),
        origins=origins,
        impact=None if event.impact is None else Impact(money_per_day=event.impact),
        rates=None if event.rates is None else GroupRates(group=event.rates[0], rest=event.rates[1]),
        message=event.message,
        unconfirmed=event.unconfirmed,
        why=event.why,
        monitors=[
            Monitor(
                metric=alarm.key.family,
                direction=Direction(alarm.direction),
                segment=name(alarm.key.segment),
                age_s=alarm.age_ms / 1000,
                kind=Kind(alarm.kind),
                onset=rfc3339(alarm.onset_ms),
                evidence=math.exp(min(alarm.log_evidence, MOST_EVIDENCE)),
            )
            for alarm in event.alarms[:PUBLISHED_MONITORS]
        ],
    )


def interval(estimate: Estimate) -> Interval:
    """Return an estimate as it goes out: what is not finite is null."""
    value, lo, hi = (None if not np.isfinite(x) else float(x) for x in estimate[:3])
    return Interval(value=value, lo=lo, hi=hi, n=round(estimate.n))
