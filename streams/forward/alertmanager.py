"""Prometheus's Alertmanager: an alert per incident, kept active while the incident is open, resolved when it has cleared."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import orjson

from schemas.drift import DriftData, Interval
from schemas.fatigue import FatigueData
from schemas.fields import rfc3339
from schemas.findings import Event, EventType
from schemas.retrain import BudgetBreached
from streams.forward.target import Options, Place, Request, Target
from streams.settings import DAY_MS

NAMES: dict[type, str] = {DriftData: "GnomonDrift", FatigueData: "GnomonFatigue", BudgetBreached: "GnomonBudgetBreached"}
OWN = ("alertname", "incident_id", "model_id", "model_version", "unit")
LIVES = 15  # re-sends that may be missed: a forwarder may be away for so long before Alertmanager takes its alerts for resolved
NOTICE_MS = DAY_MS  # how long an alert stays that nothing clears
LONGEST = 2_000  # characters of an annotation
MOST_SEGMENTS = 20
MOST_CLEARED = 100_000  # incidents remembered as over
JSON = {"Content-Type": "application/json"}

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_CLEARED = (EventType.DRIFT_CLEARED, EventType.FATIGUE_CLEARED)


@dataclass
class _Alert:
    """An incident, as Alertmanager is told of it."""

    event: Event  # the newest
    place: Place
    starts_ms: int
    over: bool = False
    ends_ms: int | None = None  # of one that ends by itself
    due_ms: int | None = 0  # when to send it (again); None: not before there is news


class Alertmanager(Target):
    """Alerts for Alertmanager's API v2.

    Alertmanager knows an alert by its labels, so these hold only what never changes of an incident; its severity and figures are
    annotations. It forgets what it is not reminded of, so active alerts are sent again. Which these are follows from the topic alone,
    read from its beginning: a forwarder that was killed at any moment knows it again.

    Raises
    ------
    ValueError
        If a fixed label's name is not one, or one of ours.

    References
    ----------
    Alertmanager's clients: https://prometheus.io/docs/alerting/latest/clients/.

    """

    name = "alertmanager"
    doc = "Prometheus's Alertmanager, by its base URL: one alert per incident, resolved when it clears."
    topics = ("drift", "fatigue")
    remembers = True
    probe = "/api/v2/status"

    def __init__(self, options: Options) -> None:
        for name in options.labels:
            if not _NAME.fullmatch(name) or name.startswith("__"):
                raise ValueError(f"expected the name of a label (letters, digits and _, no digit first, no __), got {name!r}")
            if name in OWN:
                raise ValueError(f"the label {name!r} is Gnomon's own; choose another name")
        self._labels = {name: _text(value, 256) for name, value in options.labels.items()}
        self._resend_ms = options.resend_ms
        self._alerts: dict[str, _Alert] = {}
        self._over: dict[str, None] = {}  # in order of their end

    def take(self, event: Event, place: Place, *, fresh: bool) -> None:
        """Fold an event into its alert; of an incident that is over, or older than what is known, it is a repeat."""
        if type(event.data) not in NAMES:
            return
        ident: str = event.data.incident_id  # type: ignore[union-attr]  # all of NAMES have one
        known, over = self._alerts.get(ident), event.type in _CLEARED
        # A person's decision is timed by a clock, which event time may be ahead of: whatever its time, nothing comes after an end.
        if ident in self._over or (known is not None and not over and event.time_ms < known.event.time_ms):
            return
        if over:
            self._over[ident] = None
            if len(self._over) > MOST_CLEARED:
                del self._over[next(iter(self._over))]
        if over and not fresh:
            self._alerts.pop(ident, None)
            return
        alert = known or _Alert(event, place, event.time_ms)
        if event.type is EventType.BUDGET_BREACHED:
            alert.ends_ms = place.at_ms + NOTICE_MS
        alert.event, alert.place, alert.over, alert.due_ms = event, place, over, 0
        self._alerts[ident] = alert

    def requests(self, now_ms: int) -> list[Request]:
        """Return a request per alert that has news, or that Alertmanager must be reminded of."""
        for ident in [ident for ident, alert in self._alerts.items() if alert.ends_ms is not None and alert.ends_ms <= now_ms]:
            del self._alerts[ident]
        due = [(ident, alert) for ident, alert in self._alerts.items() if alert.due_ms is not None and alert.due_ms <= now_ms]
        return [self._request(ident, alert) for ident, alert in due]

    def told(self, request: Request, now_ms: int) -> None:
        """Forget an alert that is over, remind of another later."""
        alert = self._alerts[request.key]
        if alert.over:
            del self._alerts[request.key]
        else:
            alert.due_ms = now_ms + self._resend_ms

    def refused(self, request: Request) -> None:
        """Say no more of an alert before there is news of it."""
        if self._alerts[request.key].over:
            del self._alerts[request.key]
        else:
            self._alerts[request.key].due_ms = None

    def active(self) -> int:
        """Return how many alerts are kept active."""
        return sum(not alert.over for alert in self._alerts.values())

    def _request(self, ident: str, alert: _Alert) -> Request:
        state = "resolved" if alert.over else "active"
        about = f"{alert.event.type.value} {alert.event.subject} [{ident}], {state}"
        return Request(ident, about, "/api/v2/alerts", partial(self._body, alert), lambda _: JSON, alert.place)

    def _body(self, alert: _Alert, now_ms: int) -> bytes:
        starts_ms = min(alert.starts_ms, now_ms)
        ends_ms = max(starts_ms, min(alert.event.time_ms, now_ms)) if alert.over else now_ms + LIVES * self._resend_ms
        if alert.ends_ms is not None:
            ends_ms = min(ends_ms, alert.ends_ms)
        body = {
            "labels": self._labels | labels(alert.event),
            "annotations": annotations(alert.event),
            "startsAt": rfc3339(starts_ms),
            "endsAt": rfc3339(ends_ms),
        }
        return orjson.dumps([body])


def labels(event: Event) -> dict[str, str]:
    """Return the labels of an incident's alert: the same for all its events.

    >>> data = BudgetBreached(incident_id="b1", model_id="fraud", false_alarms=9, pages=1, days=30, evidence=21, threshold=20,
    ...     window={}, message="Too many.")
    >>> labels(Event(id="e", type=EventType.BUDGET_BREACHED, subject="fraud/", time_ms=0, data=data))
    {'alertname': 'GnomonBudgetBreached', 'incident_id': 'b1', 'model_id': 'fraud'}
    """
    fields = ((name, _text(str(getattr(event.data, name, "")), 256)) for name in OWN[1:])
    return {"alertname": NAMES[type(event.data)], **{name: value for name, value in fields if value}}


def annotations(event: Event) -> dict[str, str]:
    """Return what people are to read; it changes from event to event."""
    data = event.data
    what: dict[str, str] = {"event_id": event.id, "event_type": event.type.value, "event_time": event.time}
    if isinstance(data, DriftData):
        whom = _segment(data.segment)
        what |= {
            "summary": f"{data.severity.value} {data.kind.value} drift: {data.metric} of {event.subject}{f' for {whom}' if whom else ''}",
            "severity": data.severity.value,
            "kind": data.kind.value,
            "scope": data.scope.value,
            "metric": data.metric,
            "direction": data.direction.value,
            "segment": whom,
            "affected": "; ".join(map(_segment, data.affected[:MOST_SEGMENTS])),
            "baseline": _interval(data.baseline),
            "current": _interval(data.current),
            "onset": data.onset or "",
            "money_per_day": "" if data.impact is None else f"{data.impact.money_per_day:.2f}",
            "unconfirmed": "true" if data.unconfirmed else "",
            "why": data.why,
        }
    elif isinstance(data, FatigueData):
        unit = f" of {data.unit}" if data.unit else ""
        what |= {
            "summary": f"alert fatigue: {data.kind.value}{unit}, {event.subject}",
            "kind": data.kind.value,
            "value": f"{data.value:g}",
            "threshold": f"{data.threshold:g}",
        }
    elif isinstance(data, BudgetBreached):
        what["summary"] = f"more false alarms of {data.model_id} than its budget allows"
    what["description"] = str(getattr(data, "message", ""))
    return {name: text for name, value in what.items() if (text := _text(value, LONGEST))}


def _segment(segment: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in segment.items())


def _interval(figure: Interval) -> str:
    if figure.value is None:
        return ""
    return f"{figure.value:.6g}" if figure.lo is None or figure.hi is None else f"{figure.value:.6g} ({figure.lo:.6g} to {figure.hi:.6g})"


def _text(value: str, longest: int) -> str:
    """Return text fit for a label or a terminal: bounded, without control characters."""
    return "".join(c if c.isprintable() else "?" for c in value[:longest])
