"""How an alarm came about: the fold again, with an eye on one monitor."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from detectors.bank import Bank
from detectors.companions.checks import VersionChecks
from detectors.families import CHECK
from detectors.fixed import Ints
from detectors.kernel import mix
from detectors.model_companions import ModelCompanions
from detectors.model_version import ModelVersion
from detectors.monitors import LEARNING
from detectors.panel import Panel
from detectors.rate_companion import RateCompanion
from detectors.rate_watch import RateWatch
from detectors.reading import Reading
from detectors.segments import Segments
from detectors.signals import Alarm, Cleared, Key, Signal
from detectors.sources import Sources
from detectors.watch import Watch
from detectors.zero_tolerance import AT_ONCE
from schemas.drift import DriftData
from schemas.fatigue import FatigueData
from schemas.findings import Event
from schemas.scored import Origin, Rows, Scored


class PaneEvidence(NamedTuple):
    """What one pane did to a monitor. ``log_evidence`` is natural, 0 pages; None: nothing is reckoned while it learns or after an alarm."""

    start_ms: int
    end_ms: int
    due_ms: int
    n: float  # events
    x: float  # in the sense of the leading alternative: failures, or a sum
    expected: float  # x under the baseline
    log_evidence: float | None
    state: str  # learning, watching, alarm, past the alarm, cleared


class TracedWatch(Watch):
    """A watch that notes what each pane did to the monitor that a drift event speaks of; of a fatigue event, that it is found again.

    Of a check or a kind of probe the evidence is on failures. Where no failure of a check is tolerated there is no evidence: each step is
    the documents that became known at one time.

    It is given the records of the event's scored partition from the beginning. Those of other models change nothing for this one and are
    left out; a source topic that someone has accepted anew is taken on.

    Parameters
    ----------
    data
        Of the event.

    """

    def __init__(self, data: DriftData | FatigueData) -> None:
        super().__init__(statistics_every_ms=None)
        self.sources = _AnySources()
        self._model_id = data.model_id
        self._data = data if isinstance(data, DriftData) else None
        self._trails: dict[int, list[PaneEvidence]] = {}  # by direction watched
        self._alarmed: set[int] = set()

    def apply(self, record: Scored) -> list[Event]:
        """Fold one record; return what it lets the watch find."""
        if isinstance(record, Rows) and record.model_id != self._model_id:
            return []
        found = super().apply(record)
        if isinstance(record, Rows) and self._data is not None and self._model_id in self.models:
            for version in self.models[self._model_id].values():
                version.trace = self._step
            self._watch_rates(self.companions[self._model_id], self._data)
        return found

    def _watch_rates(self, companions: ModelCompanions, data: DriftData) -> None:
        for member in companions.members.values():
            mine = member.versions.get(data.model_version) if isinstance(member, RateCompanion) else None
            if isinstance(mine, RateWatch) and data.metric.startswith(f"{mine.prefix}:"):
                mine.trace = self._rates_step
                if isinstance(mine, VersionChecks):
                    mine.zero.trace = self._documents

    def _documents(self, name: str, group: Ints, state: str) -> None:
        if self._data is None or self._data.metric != f"{CHECK}:{name}":
            return
        made, (n, failed) = group[:, 1], group[:, 3:].sum(axis=0).tolist()
        pane = PaneEvidence(int(made.min()), int(made.max()) + 1, int(group[0, 0]), n, failed, 0.0, None, state)
        self._trails.setdefault(AT_ONCE, []).append(pane)

    def trail(self) -> list[PaneEvidence]:
        """Return what each pane did to the monitor, oldest first."""
        if self._data is None:
            return []
        wanted = {"up": 1, "down": -1}.get(self._data.direction)
        for direction in (wanted, *sorted(self._alarmed), *sorted(self._trails)):
            if direction is not None and direction in self._trails:
                return self._trails[direction]
        return []

    def _step(self, version: ModelVersion, reading: Reading, signals: list[Signal]) -> None:
        if self._data is not None and version.name == self._data.model_version:
            self._look(version.bank, version.sums.segments, self._data, reading, signals)

    def _rates_step(self, watch: RateWatch, reading: Reading, signals: list[Signal]) -> None:
        if self._data is not None:
            self._look(watch.bank, watch.segments, self._data, reading, signals)

    def _look(self, bank: Bank, segments: Segments, data: DriftData, reading: Reading, signals: list[Signal]) -> None:
        if reading.age_ms != round(data.age_s * 1000):
            return
        numbers = [number for number in reading.segments.tolist() if segments.name(number) == data.segment]
        if not numbers:
            return
        place = reading.segments.tolist().index(numbers[0])
        for panel in bank.panels.get(reading.rung, []):
            for track in panel.tracks:
                if track.family.name == data.metric:
                    key = Key(track.family.name, track.direction, numbers[0], reading.rung)
                    self._note(bank, panel, key, reading, signals, place=place, naming=segments.name)

    def _note(
        self,
        bank: Bank,
        panel: Panel,
        key: Key,
        reading: Reading,
        signals: list[Signal],
        *,
        place: int,
        naming: Callable[[int], Mapping[str, str]],
    ) -> None:
        row = bank.row(panel, key)
        if row < 0:
            return
        family = panel.families.index(key.family)
        obs = panel.observe(reading, naming)[family, place]
        n = float(panel.bet.size(obs))
        if not n:
            return
        mine = [signal for signal in signals if signal.key == key]
        alarm = next((signal for signal in mine if isinstance(signal, Alarm)), None)
        x = expected = 0.0
        evidence: float | None = None
        if panel.monitors.state[row] == LEARNING:
            state = "learning"
        else:
            tally = panel.bet.tally(obs[None], panel.tables_at(np.array([row]), reading))[0]
            stake = int(panel.monitors.log_r[row].argmax()) if len(tally) > 1 else 0
            n, x, expected = tally[stake, :3].tolist()
            if alarm is not None:
                state, evidence = "alarm", alarm.log_evidence
                self._alarmed.add(key.direction)
            elif row in panel.active:
                state = "past the alarm"
            else:
                state = "cleared" if any(isinstance(signal, Cleared) for signal in mine) else "watching"
                level = float(mix(panel.monitors.log_r[row][None])[0])
                evidence = level if level > -float("inf") else None
        pane = PaneEvidence(reading.start_ms, reading.end_ms, reading.due_ms, n, x, expected, evidence, state)
        self._trails.setdefault(key.direction, []).append(pane)


class _AnySources(Sources):
    """Of a log that goes on after a source topic was created anew."""

    def known(self, origin: Origin) -> None:
        if self.topic_ids.get(origin.topic, origin.topic_id) != origin.topic_id:
            self.forget(origin.topic)
        super().known(origin)
