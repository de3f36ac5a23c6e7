"""Checks of which no failure is tolerated: the first document that fails is an incident, as soon as it is known.

No evidence is weighed: a failure is a fact, not a sign of one. An incident ends when a person says so (by an acknowledgement or a verdict:
someone has it in hand, and the next failure must not hide behind it), when its failures have all been corrected, or after so many
documents without another one. Documents are told apart by when they were made: a row does not say which document it is of, and two that
were made in one millisecond count as one that is corrected.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import numpy as np

from detectors.baselines.wilson import wilson
from detectors.control_desk import decide_incidents
from detectors.families import CHECK
from detectors.fixed import Ints
from detectors.incident_events import CLEARED, IncidentEvent, Naming, day
from detectors.incidents import Incidents
from detectors.monitors import pack, unpack
from detectors.reading import BEFORE
from detectors.signals import Alarm, Estimate, Key, Moved
from schemas.control import Control, ControlType
from schemas.fields import epoch_ms
from schemas.policy_models import CheckPolicy

CRITICAL = 2
AT_ONCE = -1  # in place of a rung
KEPT = 1_000  # failures of an open incident that are told apart; of more than these, any correction counts
_FIELDS = 5  # known at, predicted at, number of the name, documents, failed documents


@dataclass
class Record:
    """Documents of one check since its last incident, and since its last failure; the failures of the open incident."""

    documents: int = 0
    failures: dict[int, int] = field(default_factory=dict)  # that stand, by when their predictions were made, epoch ms
    further: int = 0  # that stand beyond those
    clean: int = 0
    told: int = 0  # failures when something was last said; 0: nothing is open
    since_ms: int = 0
    until_ms: int = 0
    opened: str = ""  # the open incident's id

    @property
    def failed(self) -> int:
        """How many failures of the open incident stand."""
        return sum(self.failures.values()) + self.further

    def add(self, failures: dict[int, int]) -> None:
        """Note failures, by when their predictions were made."""
        for at, n in failures.items():
            if at in self.failures or len(self.failures) < KEPT:
                self.failures[at] = self.failures.get(at, 0) + n
            else:
                self.further += n

    def take_back(self, failures: dict[int, int]) -> None:
        """Take back failures that were corrected; those of an incident that is over are none of this one."""
        for at, n in failures.items():
            mine = min(n, self.failures.get(at, 0))
            if mine:
                self.failures[at] -= mine
                if not self.failures[at]:
                    del self.failures[at]
            self.further = max(self.further - (n - mine), 0)

    def share(self) -> Estimate:
        """Return the share of documents that did not fail, with its 90 % interval."""
        n, x = max(self.documents, self.failed), self.failed
        return Estimate((n - x) / n, *wilson(n, n - x), float(n)) if n > 0 else Estimate(1.0, 0.0, 1.0, 0.0)


@dataclass
class ZeroTolerance:
    """Steps documents in the order in which they became known, as far as the watermark has come.

    Rows are signed: a correction takes its document back at the time at which it became known.
    """

    model_id: str
    model_version: str
    records: dict[int, Record] = field(default_factory=dict)  # by number of the name

    def __post_init__(self) -> None:
        """Start with nothing open."""
        self.incidents = Incidents(self.model_id, self.model_version)
        self.pending: Ints = np.zeros((0, _FIELDS), dtype=np.int64)
        self.watermark_ms = BEFORE  # how far time has come
        self.trace: Callable[[str, Ints, str], None] | None = None  # sees each step and what it came to; never part of the state

    def add(self, known_at: Ints, predicted_at: Ints, name: Ints, documents: Ints, failed: Ints) -> None:
        """Add documents, signed; shape (n,) each."""
        self.pending = np.concatenate([self.pending, np.stack([known_at, predicted_at, name, documents, failed], axis=1)])

    def is_due(self, watermark_ms: int) -> bool:
        """Say whether anything was known by then."""
        return bool((self.pending[:, 0] <= watermark_ms).any())

    def advance(self, watermark_ms: int, names: list[str], rules: dict[int, CheckPolicy], naming: Naming) -> list[IncidentEvent]:
        """Step what was known by the watermark; ``rules`` are the policies by number of the name."""
        if not self.is_due(watermark_ms):
            return []
        due = self.pending[:, 0] <= watermark_ms
        rows, self.pending = self.pending[due], self.pending[~due]
        rows[:, 0] = np.maximum(rows[:, 0], self.watermark_ms)  # one that is late is told of now
        rows = rows[np.lexsort((rows[:, 1], rows[:, 2], rows[:, 0]))]
        heads = np.flatnonzero(np.concatenate(([True], (rows[1:, [0, 2]] != rows[:-1, [0, 2]]).any(axis=1))))
        events: list[IncidentEvent] = []
        for group in np.split(rows, heads[1:]):
            number = int(group[0, 2])
            if number in rules:
                record = self.records.setdefault(number, Record())
                was_open = bool(record.told)
                events += self._step(names[number], record, group, rules[number].clean, naming)
                if self.trace is not None:
                    self.trace(names[number], group, _state(was_open=was_open, is_open=bool(record.told)))
        return events

    def _step(self, name: str, record: Record, group: Ints, clean: int, naming: Naming) -> list[IncidentEvent]:
        due_ms, documents = int(group[0, 0]), int(group[:, 3].sum())
        failed, corrected = _net(group)
        record.documents += documents
        record.take_back(corrected)
        if failed:
            first, last = min(failed), max(failed) + 1
            if not record.told:
                record.since_ms, record.until_ms = first, last
            record.since_ms, record.until_ms = min(record.since_ms, first), max(record.until_ms, last)
            record.add(failed)
            record.clean = 0
            return self._failed(name, record, due_ms, naming)
        if not record.told:
            return []
        record.clean += documents
        if not record.failed:
            return self._end(record, "its failures have been corrected", due_ms, naming)
        if record.clean >= clean:
            return self._end(record, f"none has failed in {record.clean:,} documents since", due_ms, naming)
        return []

    def _failed(self, name: str, record: Record, due_ms: int, naming: Naming) -> list[IncidentEvent]:
        key = Key(f"{CHECK}:{name}", -1, 0, AT_ONCE)
        alarm = Alarm(
            key=key,
            kind=CHECK,
            direction="down",
            how="",
            needs_labels=True,
            age_ms=max(due_ms - record.since_ms, 0),
            mature=False,
            due_ms=due_ms,
            onset_ms=record.since_ms,
            end_ms=record.until_ms,
            baseline=Estimate(1.0, 1.0, 1.0, 0.0),
            current=record.share(),
            log_evidence=math.log(record.failed),
        )
        news = record.failed >= 2 * record.told  # the first, and whenever they have doubled
        moved = Moved(key=key, due_ms=due_ms, current=alarm.current, baseline=alarm.baseline, severity=CRITICAL, rose=False)
        events = self.incidents.apply([alarm, moved] if news else [alarm], due_ms, naming)
        if news:
            record.told = record.failed
            record.opened = record.opened or self.incidents.open[-1].incident_id
        return events

    def _end(self, record: Record, why: str, due_ms: int, naming: Naming) -> list[IncidentEvent]:
        incident = self.incidents.find(record.opened)
        if incident is not None:
            incident.lead.current = record.share()
        events = self.incidents.close(record.opened, why, due_ms=due_ms, naming=naming)
        record.documents = record.further = record.clean = record.told = 0
        record.failures, record.opened = {}, ""
        return events

    def decide(self, control: Control, naming: Naming) -> list[IncidentEvent]:
        """Apply what people decided: whoever acknowledges or judges an incident has it in hand, and it ends."""
        events, _ = decide_incidents(self.incidents, control, naming)
        ends = {ControlType.ACK: "acknowledged", ControlType.VERDICT: "judged"}
        if control.type in ends and control.incident_id is not None:
            why = f"{ends[control.type]} by {control.by}"
            events += self.incidents.close(control.incident_id, why, due_ms=epoch_ms(control.at), naming=naming)
        self._forget()
        return events

    def keep(self, rules: dict[int, CheckPolicy], due_ms: int, naming: Naming) -> list[IncidentEvent]:
        """Let go of checks that a new policy tolerates failures of."""
        events: list[IncidentEvent] = []
        for number in [number for number in self.records if number not in rules]:
            record = self.records.pop(number)
            events += self.incidents.close(record.opened, "the policy no longer watches it", due_ms=due_ms, naming=naming)
        return events

    def _forget(self) -> None:
        standing = {incident.incident_id for incident in self.incidents.open}
        for number, record in self.records.items():
            if record.opened and record.opened not in standing:
                self.records[number] = Record()

    def worded(self, event: IncidentEvent) -> IncidentEvent:
        """Return one of its events with a sentence of its own."""
        name, who = event.metric.removeprefix(f"{CHECK}:"), f"{self.model_id} {self.model_version}"
        failed, n = round((1 - event.current.value) * event.current.n), round(event.current.n)
        what = f"{name} of {who} failed in {failed:,} of {n:,} document{'s' if n != 1 else ''}"
        if event.event == CLEARED:
            return replace(event, message=f"Closed: {what}. {event.why[:1].upper()}{event.why[1:]}.")
        look = "Look at what has failed before it is used, and at documents of the same kind."
        return replace(event, message=f"{what}, made since {day(event.onset_ms)}; no failure of it is tolerated. {look}")

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes."""
        records = [[number, msgspec.to_builtins(record)] for number, record in sorted(self.records.items())]
        return {
            "records": records,
            "pending": pack(self.pending),
            "watermark_ms": self.watermark_ms,
            "incidents": self.incidents.to_state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        self.records = {number: Record(**record) for number, record in state["records"]}
        self.pending, self.watermark_ms = unpack(state["pending"]), state["watermark_ms"]
        self.incidents = Incidents.from_state(state["incidents"], self.model_id, self.model_version)


def _net(group: Ints) -> tuple[dict[int, int], dict[int, int]]:
    """Return how many documents failed, and how many failures were corrected, by when their predictions were made, epoch ms.

    A document that was corrected from one failure to another is neither.
    """
    made, at = np.unique(group[:, 1], return_inverse=True)
    net = np.zeros(len(made), dtype=np.int64)
    np.add.at(net, at, group[:, 4])
    failed = {int(ms): int(n) for ms, n in zip(made, net, strict=True) if n > 0}
    return failed, {int(ms): int(-n) for ms, n in zip(made, net, strict=True) if n < 0}


def _state(*, was_open: bool, is_open: bool) -> str:
    """Return what a step has left: watching, alarm, past the alarm, cleared."""
    if is_open:
        return "past the alarm" if was_open else "alarm"
    return "cleared" if was_open else "watching"
