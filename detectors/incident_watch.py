"""What is watched of one model version beside its own bank has in common: evidence, incidents, and what is told of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from detectors.control_desk import decide_incidents, is_reset
from detectors.findings import drift_data
from detectors.incident import Listed
from detectors.incidents import Incidents
from detectors.silence import close_silent
from detectors.standing import Learnt
from schemas.findings import Event, EventType, subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from detectors.bank import Bank
    from detectors.fixed import Ints
    from detectors.incident_events import IncidentEvent
    from detectors.model_version import ModelVersion
    from detectors.signals import Estimate
    from schemas.control import Control
    from schemas.policy_models import ModelPolicy


class IncidentWatch(ABC):
    """A bank of one version and the incidents that its alarms make.

    Parameters
    ----------
    model_id, name
        Which version of which model.
    policy
        Of the model.
    turned
        As of ``Learnt``.

    """

    def __init__(self, model_id: str, name: str, policy: ModelPolicy, turned: Callable[[Estimate], Estimate] | None = None) -> None:
        self.model_id, self.name, self.policy = model_id, name, policy
        self.bank = self.new_bank(policy)
        self.incidents = Incidents(model_id, name)
        self.learnt = Learnt(model_id, name, turned)
        self.origins: dict[str, Any] = {}  # by open incident: where its predictions lie
        self.said = 0
        self.stepped = False  # since it was last asked: more than the passing of time has changed the state; never part of it

    @abstractmethod
    def new_bank(self, policy: ModelPolicy) -> Bank:
        """Return the bank of a policy."""

    @abstractmethod
    def segment_name(self, number: int) -> dict[str, str]:
        """Return a segment as {dimension: value}."""

    def told(self, found: list[IncidentEvent], version: ModelVersion | None) -> list[Event]:
        """Return events as findings; their ids are the same whenever the same log is folded."""
        events = []
        for event in found:
            start_ms, end_ms = event.window
            if version is not None:
                self.origins[event.incident_id] = version.spans.between(start_ms, end_ms, event.time_ms)
            shown = self.worded(event)
            self.said += 1
            data = drift_data(shown, self.model_id, self.name, self.segment_name, self.origins.get(event.incident_id, {}))
            kind = EventType(f"gnomon.drift.{event.event}")
            if kind is EventType.DRIFT_CLEARED:
                self.origins.pop(event.incident_id, None)
            about = subject(self.model_id, self.name)
            events.append(Event(id=f"{event.incident_id}-{self.said}", type=kind, subject=about, time_ms=event.time_ms, data=data))
        return events

    def close_silent(self, until_ms: int, version: ModelVersion | None) -> list[IncidentEvent]:
        """Close what is open if the version is out of service by a time, see ``detectors.silence``."""
        if version is None or version.name != self.name:  # of versions past the cap nobody knows which is silent
            return []
        closed = close_silent(
            self.bank,
            self.incidents,
            version,
            until_ms=until_ms,
            naming=self.segment_text,
            also=self.signs_of_life(),
            oldest_ms=self.oldest_ms,
        )
        self.stepped = self.stepped or bool(closed)
        return closed

    def signs_of_life(self) -> Ints | None:
        """Return days since 1970, ascending, on which it saw anything, beside those with predictions; None: none."""
        return None

    def oldest_ms(self, at_ms: int) -> int:
        """Return the oldest age at which it judges at a time, beside those of the version."""
        return 0

    def worded(self, event: IncidentEvent) -> IncidentEvent:
        """Return an event with what else is known of it."""
        return event

    def decide(self, control: Control) -> list[Event]:
        """Apply what people decided."""
        events, keys = decide_incidents(self.incidents, control, self.segment_text)
        self.bank.relearn(keys)
        if is_reset(control):
            self.bank.reset()
        return self.told(events, None)

    def listed(self) -> list[Listed]:
        """Return its open incidents."""
        return self.incidents.listed()

    def withheld(self) -> int:
        """Return how many events a snooze has kept back; never part of the state."""
        return self.incidents.withheld

    def use(self, policy: ModelPolicy, due_ms: int) -> list[Event]:
        """Follow another policy from here on; incidents of what it drops are closed."""
        bank = self.new_bank(policy)
        self.policy, self.bank = policy, type(bank).from_state(self.bank.to_state(), policy=policy)
        return self.told(self.incidents.keep(self.bank.active(), due_ms, self.segment_text), None)

    def segment_text(self, segment: int) -> str:
        """Return a segment as text for people."""
        return ", ".join(f"{dimension} = {value}" for dimension, value in self.segment_name(segment).items()) or "all"

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes, ready for msgpack."""
        return {
            "bank": self.bank.to_state(),
            "incidents": self.incidents.to_state(),
            "origins": self.origins,
            "said": self.said,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        self.bank = type(self.bank).from_state(state["bank"], policy=self.policy)
        self.incidents = Incidents.from_state(state["incidents"], self.model_id, self.name)
        self.origins, self.said = dict(state["origins"]), state["said"]
