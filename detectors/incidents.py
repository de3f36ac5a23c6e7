"""Incidents: monitors that fire together are one thing to look at."""

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import msgspec

from detectors.incident import DAY_MS, Incident, Listed, Member, by_name
from detectors.incident_events import CLEARED, ESCALATED, OPENED, UPDATED, IncidentEvent, Naming
from detectors.incident_told import told_of
from detectors.reading import BEFORE
from detectors.signals import Alarm, Cleared, Key, Moved, Signal
from detectors.state_version import expect_version

STATE_VERSION = 3
_FLAP_MS = 7 * DAY_MS
_LN10 = math.log(10.0)


class Incidents:
    """The open incidents of one model version.

    Joining can only lower the number of pages, so the budget holds for incidents as well. Monitors that need labels and those that do not
    form separate ones: the second come first and mean less.

    Examples
    --------
    >>> from detectors.signals import Alarm, Estimate, Key
    >>> def alarm(family, onset, due): return Alarm(key=Key(family, 1, 0, 1), kind="concept", direction="up", how="", needs_labels=True,
    ...     age_ms=DAY_MS, mature=True, due_ms=due, onset_ms=onset, end_ms=due - DAY_MS, baseline=Estimate(0.05, 0.04, 0.06, 1e3),
    ...     current=Estimate(0.1, 0.08, 0.12, 300), log_evidence=0.5)
    >>> incidents = Incidents("car-loan", "1")
    >>> [event.event for event in incidents.apply([alarm("error", 40 * DAY_MS, 50 * DAY_MS)], 50 * DAY_MS)]
    ['opened']
    >>> [event.event for event in incidents.apply([alarm("fnr", 41 * DAY_MS, 51 * DAY_MS)], 51 * DAY_MS)]
    ['updated']
    >>> len(incidents.open)
    1

    """

    def __init__(self, model_id: str, model_version: str) -> None:
        self.model_id, self.model_version = model_id, model_version
        self.open: list[Incident] = []
        self.clears: list[tuple[int, str]] = []  # due ms and family of the incidents that cleared lately
        self.withheld = 0  # events that a snooze kept back, by this object; never part of the state
        self.unsaid: list[IncidentEvent] = []  # those of the latest step; never part of the state
        self._latest: tuple[int, list[str]] = (BEFORE, [])  # when the latest incidents opened, and their ids

    def apply(self, signals: Iterable[Signal], due_ms: int, naming: Naming = "group {}".format) -> list[IncidentEvent]:
        """Fold the signals of one step; return the events they cause, in the order of the incidents.

        ``naming`` writes a segment's index as text for people.
        """
        news: dict[str, tuple[Incident, str]] = {}
        events: list[IncidentEvent] = []
        self.unsaid = []
        for signal in by_name(signals, naming):
            if isinstance(signal, Alarm):
                doubtful = self._alarm(signal, news, naming)
                if doubtful is not None:
                    news.pop(doubtful.incident_id, None)
                    told = f"the last rung has told it apart: see incident {self.open[-1].incident_id}"
                    events.append(self._event(doubtful, CLEARED, due_ms, naming, told))
            elif isinstance(signal, Moved):
                self._moved(signal, news)
            elif isinstance(signal, Cleared):
                self._cleared(signal, news)
        for incident in list(self.open):
            _, event = news.get(incident.incident_id, (incident, ""))
            awake = due_ms >= incident.snoozed_until_ms
            if awake and incident.kept_back:
                event, incident.kept_back = _weightiest(event, incident.kept_back), ""
            if not incident.active and due_ms >= incident.held_until_ms:
                event = self._close(incident, due_ms)
            if not event:
                continue
            if awake or event in (OPENED, CLEARED) or (event == ESCALATED and incident.severity == 2):
                events.append(self._event(incident, event, due_ms, naming))
                incident.kept_back = ""
            else:
                incident.kept_back = _weightiest(event, incident.kept_back)
                self.withheld += 1
                self.unsaid.append(self._event(incident, event, due_ms, naming))
        return events

    def _alarm(self, alarm: Alarm, news: dict[str, tuple[Incident, str]], naming: Naming) -> Incident | None:
        """Let an alarm join an incident, or open one; return the incident that it takes the place of."""
        incident = next((each for each in self.open if each.takes(alarm)), None)
        doubtful = incident if incident is not None and incident.is_told_by(alarm) else None
        if incident is None or doubtful is not None:
            opened = Incident(
                incident_id=self._id(alarm, naming),
                kind=alarm.kind,
                needs_labels=alarm.needs_labels,
                opened_ms=alarm.due_ms,
                onset_ms=alarm.onset_ms,
                start_ms=alarm.onset_ms,
                end_ms=alarm.end_ms,
                members=[Member(alarm=alarm)],
                unconfirmed=alarm.unconfirmed,
                why=alarm.why,
                affected=list(alarm.affected),
            )
            if doubtful is not None:
                self.open.remove(doubtful)
                opened.take_over(doubtful)
            self.open.append(opened)
            news[opened.incident_id] = opened, OPENED
            return doubtful
        again = incident.member(alarm.key)
        named = set(incident.affected)
        if again is not None:
            incident.members.remove(again)
        incident.members.append(Member(alarm=alarm))
        # One more group of twenty is no news: say so when the monitors have doubled, or when a metric of the whole joins.
        count = len(incident.members)
        fresh = again is None and (count & (count - 1) == 0 or alarm.key.segment == 0)
        incident.start_ms, incident.end_ms = min(incident.start_ms, alarm.onset_ms), max(incident.end_ms, alarm.end_ms)
        incident.affected = sorted(named | set(alarm.affected))
        if incident.held_until_ms > BEFORE:
            incident.held_until_ms = alarm.due_ms + _FLAP_MS
        if fresh:
            self._news(news, incident, UPDATED)
        return None

    def _moved(self, moved: Moved, news: dict[str, tuple[Incident, str]]) -> None:
        incident, member = self.standing(moved.key)
        if incident is None or member is None:
            return
        member.current, member.severity, member.figure = moved.current, max(member.severity, moved.severity), moved.figure
        member.per_day, member.unit_cost, member.rates = moved.per_day, moved.unit_cost, moved.rates
        if member.severity > incident.severity:
            incident.severity = member.severity
            self._news(news, incident, ESCALATED)
        elif member is incident.lead:
            self._news(news, incident, UPDATED)

    def _cleared(self, cleared: Cleared, news: dict[str, tuple[Incident, str]]) -> None:
        incident, member = self.standing(cleared.key)
        if incident is None or member is None:
            return
        was_lead = member is incident.lead
        member.active, member.current, member.rates = False, cleared.current, cleared.rates
        if incident.active:
            if was_lead:
                self._news(news, incident, UPDATED)
            return
        # After two alarm-and-clear cycles within a week the third would only be noise: keep one open until it has been quiet for as long.
        family = member.alarm.key.family
        self.clears = [item for item in self.clears if cleared.due_ms - item[0] <= _FLAP_MS]
        if incident.held_until_ms > BEFORE:
            incident.held_until_ms = cleared.due_ms + _FLAP_MS
        elif any(item[1] == family for item in self.clears):
            incident.held_until_ms = cleared.due_ms + _FLAP_MS
            incident.why = "it comes and goes: kept open until it has been quiet for 7 days"
            self._news(news, incident, UPDATED)

    def _close(self, incident: Incident, due_ms: int) -> str:
        self.open.remove(incident)
        self.clears += [(due_ms, family) for family in sorted({member.alarm.key.family for member in incident.members})]
        return CLEARED

    @staticmethod
    def _news(news: dict[str, tuple[Incident, str]], incident: Incident, event: str) -> None:
        """Keep the weightiest event of a step: opened, escalated, updated."""
        _, old = news.get(incident.incident_id, (incident, ""))
        news[incident.incident_id] = incident, _weightiest(old, event)

    def standing(self, key: Key) -> tuple[Incident | None, Member | None]:
        """Return the incident in which a monitor stands past its alarm, and the member that it is."""
        for incident in self.open:
            member = incident.member(key)
            if member is not None and member.active:
                return incident, member
        return None, None

    def _id(self, alarm: Alarm, naming: Naming) -> str:
        key = alarm.key
        group = naming(key.segment) if key.segment else 0
        found = _digest(self.model_id, self.model_version, alarm.kind, alarm.due_ms, key.family, key.direction, group, key.rung)
        at_ms, taken = self._latest
        taken = taken if at_ms == alarm.due_ms else []
        while found in taken:  # what a person closed may come again before time has moved
            found = _digest(found, "again")
        self._latest = alarm.due_ms, [*taken, found]
        return found

    def _event(self, incident: Incident, event: str, due_ms: int, naming: Naming, closed: str = "") -> IncidentEvent:
        return told_of(incident, event, f"{self.model_id} {self.model_version}", due_ms, naming, closed=closed)

    def acknowledge(self, incident_id: str, *, by: str, at_ms: int) -> bool:
        """Note who has seen it; return whether there is such an open incident."""
        incident = self.find(incident_id)
        if incident is not None:
            incident.acknowledged = by, at_ms
        return incident is not None

    def snooze(self, incident_id: str, *, until_ms: int) -> bool:
        """Say nothing until then, unless it becomes critical or clears; what was kept back is told of once, at the first step after it.

        Returns whether there is such an open incident.
        """
        incident = self.find(incident_id)
        if incident is not None:
            incident.snoozed_until_ms = until_ms
        return incident is not None

    def judge(self, incident_id: str, *, true: bool, by: str, at_ms: int) -> bool:
        """Note whether it was real; return whether there is such an open incident that was not judged before."""
        incident = self.find(incident_id)
        first = incident is not None and incident.verdict is None
        if incident is not None:
            incident.verdict = true, by, at_ms
        return first

    def close(self, incident_id: str, why: str, *, due_ms: int, naming: Naming = "group {}".format) -> list[IncidentEvent]:
        """Close an incident by decision, whatever its evidence says; return its last event."""
        incident = self.find(incident_id)
        if incident is None:
            return []
        self.open.remove(incident)
        return [self._event(incident, CLEARED, due_ms, naming, why)]

    def keep(
        self, active: set[Key], due_ms: int, naming: Naming = "group {}".format, why: str = "the policy no longer watches it"
    ) -> list[IncidentEvent]:
        """Let go of monitors that are watched no longer, or from another baseline; an incident that has none left is closed."""
        events = []
        for incident in list(self.open):
            lost = [member for member in incident.members if member.active and member.alarm.key not in active]
            for member in lost:
                member.active = False
            if lost and not incident.active:
                self.open.remove(incident)
                events.append(self._event(incident, CLEARED, due_ms, naming, why))
        return events

    def listed(self) -> list[Listed]:
        """Return what is open."""
        return [
            Listed(each.incident_id, self.model_version, each.lead.alarm.key.family, len({member.alarm.key for member in each.members}))
            for each in self.open
        ]

    def find(self, incident_id: str) -> Incident | None:
        """Return an open incident."""
        return next((incident for incident in self.open if incident.incident_id == incident_id), None)

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values, ready for msgpack; versioned."""
        at_ms, ids = self._latest
        clears = [list(item) for item in self.clears]
        return {"version": STATE_VERSION, "open": msgspec.to_builtins(self.open), "clears": clears, "latest": [at_ms, ids]}

    @classmethod
    def from_state(cls, state: dict[str, Any], model_id: str, model_version: str) -> "Incidents":
        """Take back what ``to_state`` gave.

        Raises
        ------
        ValueError
            If the state is of another version.

        """
        expect_version(state, STATE_VERSION, "incidents' state")
        incidents = cls(model_id, model_version)
        incidents.open = msgspec.convert(state["open"], list[Incident])
        incidents.clears = [(int(due), str(family)) for due, family in state["clears"]]
        at_ms, ids = state["latest"]
        incidents._latest = int(at_ms), [str(each) for each in ids]
        return incidents


def _weightiest(one: str, other: str) -> str:
    """Return the weightier of two events: none, updated, escalated, opened."""
    return max(one, other, key=("", UPDATED, ESCALATED, OPENED).index)


def _digest(*parts: object) -> str:
    return hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).hexdigest()
