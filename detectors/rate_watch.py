"""The rates by name of one model version: segments, panes, evidence, incidents, and what is told of them."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from detectors.bank import StepContext
from detectors.cells import Layout
from detectors.incident_events import IncidentEvent
from detectors.incident_watch import IncidentWatch
from detectors.ladder import DAY_MS
from detectors.named_rates import NamedBank, RateReading, as_told, passed, rate_reading
from detectors.panes import BEGINNING, SEGMENT_BITS, SumTable, distinct
from detectors.rate_panes import RatePanes, by_name
from detectors.segments import OTHER, Segments
from detectors.state_version import expect_version
from schemas.findings import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from detectors.fixed import Ints
    from detectors.model_version import ModelVersion
    from detectors.signals import Signal
    from schemas.policy_models import ModelPolicy

STATE_VERSION = 1
MOST_NAMES = 100
_DAY = Layout(counts=("n",), sums={})


class RateWatch(IncidentWatch):
    """A pure fold of one version: events add to panes; the watermark steps them in due order.

    Parameters
    ----------
    model_id, name
        Which version of which model.
    policy
        Of the model.
    ages_ms
        When each prediction's events are read; kept for the life of the version.
    watermark_ms
        Where the fold stands when the version's first event comes.

    """

    bank: NamedBank

    def __init__(self, model_id: str, name: str, policy: ModelPolicy, ages_ms: tuple[int, ...], watermark_ms: int) -> None:
        super().__init__(model_id, name, policy, turned=passed)
        self.segments = Segments()
        self.names: list[str] = [OTHER]
        self.panes = RatePanes(ages_ms, watermark_ms)
        self.days = SumTable(_DAY)  # by day on which events became known, and segment
        self.trace: Callable[[RateWatch, RateReading, list[Signal]], None] | None = None  # sees every step; never part of the state

    @property
    @abstractmethod
    def prefix(self) -> str:
        """Of the families' names."""

    def segment_name(self, number: int) -> dict[str, str]:
        """Return a segment as {dimension: value}."""
        return self.segments.name(number)

    def declared(self) -> Collection[str]:
        """Return the names that the policy speaks of."""
        return ()

    def number(self, name: str) -> int:
        """Return the number of a name, new or known; names past the cap share one, but those that the policy names."""
        if name in self.names:
            return self.names.index(name)
        if len(self.names) > MOST_NAMES and name not in self.declared():
            return 0
        self.names.append(name)
        return len(self.names) - 1

    def numbers(self, texts: list[str], codes: Ints) -> Ints:
        """Return the numbers of names that stand as indexes into ``texts``, shape (n,)."""
        found, which = distinct(codes)
        return np.array([self.number(texts[code]) for code in found.tolist()], dtype=np.int64)[which]

    def add_events(self, series: Ints, predicted_at: Ints, known_at: Ints, sums: Ints, *, at_once: bool = False) -> None:
        """Add events to the evidence: as of ``RatePanes.add``, with the time at which each was known."""
        self.panes.add(series, predicted_at, known_at - predicted_at, sums, at_once=at_once)
        segment = series & ((1 << SEGMENT_BITS) - 1)
        self.days.add(known_at // DAY_MS << SEGMENT_BITS | segment, sums[:, :1])

    def advance(self, watermark_ms: int, share: Callable[[int], float], version: ModelVersion | None) -> list[Event]:
        """Read every pane that is due by the watermark; return what the incidents say."""
        found: list[IncidentEvent] = []
        for due_ms, rung, start_ms in self.panes.due(watermark_ms):
            found += self.close_silent(due_ms, version)
            self.stepped = True
            context = StepContext(share=share(due_ms), outcome_days=self._outcome_days(due_ms), name=self.segments.name)
            reading = self._reading(rung, start_ms)
            signals = self.bank.step(reading, context)
            if self.trace is not None:
                self.trace(self, reading, signals)
            self.learnt.add(signals, self.segments.name, self.panes.ages_ms.__getitem__)
            if signals or self.incidents.open:
                found += self.incidents.apply([as_told(signal) for signal in signals], due_ms, self.segment_text)
        found += self.close_silent(watermark_ms, version)
        found += self.beside(watermark_ms)
        self.passed(watermark_ms)
        return self.told(sorted(found, key=lambda event: event.time_ms), version)

    def next_ms(self, watermark_ms: int) -> int:
        """Return before which time nothing will be due, whatever is added."""
        return BEGINNING if self.incidents.open else self.panes.next_ms(watermark_ms)  # silence closes what is open

    def oldest_ms(self, at_ms: int) -> int:
        """Return the oldest of its ages."""
        return self.panes.ages_ms[-1]

    def passed(self, watermark_ms: int) -> None:
        """Close what the watermark has passed: what comes later for it is late."""
        self.panes.passed(watermark_ms)

    def beside(self, watermark_ms: int) -> list[IncidentEvent]:
        """Return what else the watermark brings, that needs no evidence."""
        return []

    def _reading(self, rung: int, start_ms: int) -> RateReading:
        segments, counts = by_name(*self.panes.read(rung, start_ms))
        return rate_reading(
            rung=rung,
            age_ms=self.panes.ages_ms[rung],
            start_ms=start_ms,
            end_ms=start_ms + self.panes.widths_ms[rung],
            mature=rung == len(self.panes.ages_ms) - 1,
            segments=segments,
            counts={f"{self.prefix}:{self.names[number]}": sums for number, sums in counts.items()},
        )

    def _outcome_days(self, due_ms: int) -> Callable[[int], float]:
        """Return on how many days, effectively, events of a segment became known before a time: 1 / Σ share², whole days only."""
        until = self.days.span(-(2**62), due_ms // DAY_MS << SEGMENT_BITS)

        def days(segment: int) -> float:
            mine = self.days.keys[until] & ((1 << SEGMENT_BITS) - 1) == segment
            n = self.days.rows[until][mine, 0].astype(np.float64)
            return float(n.sum() ** 2 / np.square(n).sum()) if n.any() else 0.0

        return days

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes, ready for msgpack; versioned."""
        return {
            "version": STATE_VERSION,
            "segments": self.segments.to_state(),
            "names": list(self.names),
            "panes": self.panes.to_state(),
            "days": self.days.to_state(),
            **super().to_state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave.

        Raises
        ------
        ValueError
            If it is of another version.

        """
        expect_version(state, STATE_VERSION, "rates' state")
        self.segments, self.names = Segments.from_state(state["segments"]), list(state["names"])
        self.panes, self.days = RatePanes.from_state(state["panes"]), SumTable.from_state(_DAY, state["days"])
        super().load(state)
