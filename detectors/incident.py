"""One incident: which monitors, since when, how bad."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from detectors.families import CHALLENGER, CHECK, PROBE, families, family
from detectors.reading import BEFORE
from detectors.signals import Alarm, Estimate, Key, Signal

DAY_MS = 86_400_000
_NEAR_MS = 7 * DAY_MS
_NEAR_SHARE = 0.1  # of the age
LABEL_DELAY, CLAIM, COST, GAP = "label_delay", "claim", "cost", "gap"


class Listed(NamedTuple):
    """An open incident, for those who are to decide about it."""

    incident_id: str
    model_version: str  # empty: it is about all of them
    metric: str
    monitors: int  # that would learn a new baseline


@dataclass(kw_only=True)
class Member:
    """A monitor of an incident: its alarm, and what the data since say."""

    alarm: Alarm
    active: bool = True
    current: Estimate | None = None  # since the alarm
    severity: int = 0
    figure: str = ""
    per_day: float | None = None  # events a day since the alarm
    unit_cost: float | None = None  # of one more failure, with the data since the alarm
    rates: tuple[float, float] | None = None  # the group's and the rest's, with the data since the alarm


@dataclass(kw_only=True)
class Incident:
    """An open incident. ``kind`` and ``onset_ms`` are what was said first; its alarms rest on ``start_ms`` to ``end_ms``."""

    incident_id: str
    kind: str
    needs_labels: bool
    opened_ms: int
    onset_ms: int
    start_ms: int
    end_ms: int
    members: list[Member]
    severity: int = 0
    unconfirmed: bool = False
    why: str = ""
    affected: list[int] = field(default_factory=list)
    held_until_ms: int = BEFORE  # flapping: open until nothing fires for a while
    snoozed_until_ms: int = BEFORE
    kept_back: str = ""  # the weightiest event that the snooze has kept back
    acknowledged: tuple[str, int] | None = None  # by, at
    verdict: tuple[bool, str, int] | None = None  # true drift, by, at

    @property
    def lead(self) -> Member:
        """The member to speak of: still active, the whole before a group, then the strongest evidence."""
        return _foremost(self.members)

    @property
    def gravest(self) -> Member:
        """The member to speak of when the incident has become more severe: among those that made it so, as ``lead``."""
        grave = [member for member in self.members if member.severity == self.severity]
        return _foremost(grave or self.members)

    @property
    def active(self) -> bool:
        """Whether a monitor of it has not cleared."""
        return any(member.active for member in self.members)

    def member(self, key: Key) -> Member | None:
        """Return the latest member with this key."""
        return next((member for member in reversed(self.members) if member.alarm.key == key), None)

    def take_over(self, other: "Incident") -> None:
        """Go on with the monitors of another, so that this one is open for as long as one of them has not cleared."""
        own = {member.alarm.key for member in self.members}
        self.members = [member for member in other.members if member.alarm.key not in own] + self.members
        self.start_ms, self.end_ms = min(self.start_ms, other.start_ms), max(self.end_ms, other.end_ms)
        self.affected = sorted({*self.affected, *other.affected})

    def takes(self, alarm: Alarm) -> bool:
        """Say whether an alarm belongs here: the cohorts touch, or a monitor that is still active saw a change begin earlier."""
        if alarm.needs_labels != self.needs_labels or subject(alarm) != subject(self.members[0].alarm):
            return False
        if self.held_until_ms > BEFORE and self.member(alarm.key) is not None:
            return True
        slack = max(_NEAR_MS, int(alarm.age_ms * _NEAR_SHARE))
        touch = alarm.onset_ms <= self.end_ms + slack and self.start_ms <= alarm.end_ms + slack
        return touch or any(member.active and member.alarm.onset_ms <= alarm.onset_ms for member in self.members)

    def is_told_by(self, alarm: Alarm) -> bool:
        """Say whether an alarm tells what this doubtful one is: people were told of a change of label speed, and it is something else."""
        return self.unconfirmed and not alarm.unconfirmed and alarm.kind != LABEL_DELAY


def _foremost(members: list[Member]) -> Member:
    return max(members, key=lambda m: (m.active, not m.alarm.unconfirmed, m.alarm.key.segment == 0, m.alarm.log_evidence))


def subject(alarm: Alarm) -> str:
    """Return what an alarm is about, as far as one must not hide the other.

    When labels come is not what they say; and a refuted claim, or a gap wider than promised, may stand for as long as the model does,
    whatever else happens. A gap that widens is one with the change in the group.
    """
    kind = family(alarm.key.family).kind
    if kind == GAP and alarm.baseline.n == 0:  # no events behind its baseline: it was promised
        return GAP
    if kind in (CHECK, PROBE):  # each check, each kind of probe is a matter of its own
        return alarm.key.family
    if kind == CHALLENGER:  # so is each pair of versions; a version that errs less may have the worse scores
        rival = alarm.key.family.partition(":")[2]
        return f"{kind}:{rival}:{alarm.direction}"
    return kind if kind in (LABEL_DELAY, CLAIM) else ""


def loss_per_day(incident: Incident) -> float | None:
    """Return what the change costs a day, in money: the whole's by preference, or else the dearest group's.

    By the monitors of costs: the mean cost of an event less its baseline, times the events of a day since the onset that were labelled at
    the age of the rung. Where none of them has fired, by those of rates of mistakes: so many more a day, times what one costs.
    """
    costs = [member for member in incident.members if member.alarm.kind == COST]
    if costs:
        return _loss(max(costs, key=lambda m: (m.active, m.alarm.key.segment == 0, m.alarm.log_evidence)))
    priced = [member for member in incident.members if member.alarm.unit_cost is not None]
    return _loss(max(priced, key=lambda m: (m.active, m.alarm.key.segment == 0, _loss(m)))) if priced else None


def _loss(member: Member) -> float:
    alarm = member.alarm
    seen = member.current if member.current is not None and member.current.n > 0 else alarm.current
    per_day = alarm.per_day if member.per_day is None else member.per_day
    unit = alarm.unit_cost if member.unit_cost is None else member.unit_cost
    return (seen.value - alarm.baseline.value) * per_day * (1.0 if unit is None else unit)


def by_name(signals: Iterable[Signal], naming: Callable[[int], str]) -> list[Signal]:
    """Put alarms of groups that stand beside each other in the order of the groups' names.

    Groups are numbered as they arrive, which differs from run to run; what is said of them must not.
    """
    rank = {name: place for place, name in enumerate(families())}

    def place(signal: Signal) -> tuple[int, str, int, str]:
        key = signal.key
        return rank.get(key.family, len(rank)), key.family, -key.direction, naming(key.segment)

    ordered: list[Signal] = []
    for alarms, run in groupby(signals, key=lambda signal: isinstance(signal, Alarm) and signal.key.segment != 0):
        together = list(run)
        ordered += sorted(together, key=place) if alarms else together
    return ordered
