"""What comes out of the workers of a demo, counted."""

from dataclasses import dataclass, field
from typing import Any

from detectors.watch import Watch
from detectors.watch_report import report
from schemas.figures import StatisticsData
from schemas.findings import Event, from_binary
from schemas.scored import Forwarded, Rows, decode
from streams.scenario_small import MODEL


@dataclass
class Seen:
    """What has come out so far."""

    model: str = MODEL
    counted: Watch = field(default_factory=Watch)  # rows and policy, no ticks: no evidence is weighed
    begun: bool = False  # the policy has come through
    events: list[Event] = field(default_factory=list)
    statistics: dict[str, StatisticsData] = field(default_factory=dict)  # by group, "" for all; the latest
    dead_letters: int = 0

    def take(self, topic: str, headers: Any, value: bytes) -> Event | None:
        """Take in one message; return an event that it is."""
        if topic == "scored":
            record = decode(value)
            self.begun |= isinstance(record, Forwarded)
            if isinstance(record, Rows | Forwarded):
                self.counted.apply(record)
        elif topic == "dead-letters":
            self.dead_letters += 1
        else:
            event = from_binary(headers, value)
            if isinstance(event.data, StatisticsData):
                if event.data.model_id == self.model:
                    self.statistics[",".join(event.data.segment.values())] = event.data
            else:
                self.events.append(event)
                return event
        return None

    def total(self) -> int:
        """Return how many input records have been counted."""
        join = report([self.counted]).join
        return join.predictions + join.outcomes + join.duplicate + join.conflict + join.dead_letter
