"""How an alarm came about: the fold again, with an eye on one monitor."""

from typing import NamedTuple

import numpy as np

from detectors.kernel import mix
from detectors.model_version import ModelVersion
from detectors.monitors import LEARNING
from detectors.panel import Panel
from detectors.reading import Reading
from detectors.signals import Alarm, Cleared, Key, Signal
from detectors.watch import Watch
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

    It is given the records of the event's scored partition from the beginning. Those of other models change nothing for this one and are
    left out; a source topic that someone has accepted anew is taken on.

    Parameters
    ----------
    data
        Of the event.

    """

    def __init__(self, data: DriftData | FatigueData) -> None:
        super().__init__(statistics_every_ms=None)
        self._model_id = data.model_id
        self._data = data if isinstance(data, DriftData) else None
        self._trails: dict[int, list[PaneEvidence]] = {}  # by direction watched
        self._alarmed: set[int] = set()

    def apply(self, record: Scored) -> list[Event]:
        """Fold one record; return what it lets the watch find."""
        if isinstance(record, Rows) and record.model_id != self._model_id:
            return []
        return super().apply(record)

    def trail(self) -> list[PaneEvidence]:
        """Return what each pane did to the monitor, oldest first."""
        if self._data is None:
            return []
        wanted = {"up": 1, "down": -1}.get(self._data.direction)
        for direction in (wanted, *sorted(self._alarmed), *sorted(self._trails)):
            if direction is not None and direction in self._trails:
                return self._trails[direction]
        return []

    def _known(self, origin: Origin) -> None:
        if self.topic_ids.get(origin.topic, origin.topic_id) != origin.topic_id:
            self.forget_source(origin.topic)
        super()._known(origin)

    def _version(self, model_id: str, name: str) -> ModelVersion:
        version = super()._version(model_id, name)
        version.trace = None if self._data is None else self._step
        return version

    def _step(self, version: ModelVersion, reading: Reading, signals: list[Signal]) -> None:
        if self._data is None or version.name != self._data.model_version or reading.age_ms != round(self._data.age_s * 1000):
            return
        numbers = [number for number in reading.segments.tolist() if version.sums.segments.name(number) == self._data.segment]
        if not numbers:
            return
        place = reading.segments.tolist().index(numbers[0])
        for panel in version.bank.panels.get(reading.rung, []):
            for track in panel.tracks:
                if track.family.name == self._data.metric:
                    self._note(
                        version, panel, Key(track.family.name, track.direction, numbers[0], reading.rung), reading, signals, place=place
                    )

    def _note(self, version: ModelVersion, panel: Panel, key: Key, reading: Reading, signals: list[Signal], *, place: int) -> None:
        row = version.bank.row(panel, key)
        if row < 0:
            return
        family = panel.families.index(key.family)
        obs = panel.observe(reading, version.sums.segments.name)[family, place]
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
