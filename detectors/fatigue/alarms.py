"""Our own alarms, measured as we measure a model's: the load of all models of a watch on one operator."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from detectors.ladder import DAY_MS, HOUR_MS
from schemas.control import Control, ControlType
from schemas.drift import DriftData
from schemas.fatigue import AlarmFigures, FatigueData
from schemas.fields import epoch_ms
from schemas.findings import Event, EventType

WINDOW_MS = 600_000
MOST = 10  # in a window
CHATTER, CHATTER_MS = 3, 60_000
STALE_MS = DAY_MS
BUSIEST = 10  # models
KEPT = 10_000  # incidents of which a verdict is still heard
YEAR_MS = 365.25 * DAY_MS
_OPENED = (EventType.DRIFT_OPENED, EventType.FATIGUE_OPENED)
_CLEARED = (EventType.DRIFT_CLEARED, EventType.FATIGUE_CLEARED)


class OwnAlarms:
    """Incidents opened, by window of ten minutes, kind and model; how long they wait for an answer, and what people say of them.

    Everything but ``chatter`` adds up over the watches of a deployment.

    References
    ----------
    ANSI/ISA-18.2-2016: six alarms an hour are likely to be acceptable, under 1 % of ten-minute windows hold more than ten, no alarm
    chatters, fewer than five are stale on any day.

    Examples
    --------
    >>> alarms_of([OwnAlarms()], first_day=0, last_day=1).per_hour
    0.0

    """

    def __init__(self) -> None:
        self.windows: Counter[int] = Counter()  # incidents opened, by window
        self.kinds: Counter[str] = Counter()  # drift, fatigue
        self.open: dict[str, int] = {}  # incident -> when it was opened, while nobody has acknowledged it
        self.stale: Counter[int] = Counter()  # by day: incidents that were stale on it, of those that are over or acknowledged
        self.chatter = 0
        self.models: Counter[str] = Counter()
        self.verdicts: dict[str, bool | None] = {}  # of the latest incidents; None: nobody has judged it
        self.judged: Counter[bool] = Counter()
        self.answers = self.waited_ms = 0
        self._latest: dict[tuple[str, ...], list[int]] = {}

    def add(self, events: Iterable[Event]) -> None:
        """Note the incidents that events open and clear."""
        for event in events:
            data = event.data
            if not isinstance(data, DriftData | FatigueData):
                continue
            if event.type in _OPENED:
                self.windows[event.time_ms // WINDOW_MS] += 1
                self.kinds["drift" if isinstance(data, DriftData) else "fatigue"] += 1
                self.models[data.model_id] += 1
                self.open[data.incident_id] = event.time_ms
                self.verdicts[data.incident_id] = None
                for oldest in list(self.verdicts)[:-KEPT]:
                    del self.verdicts[oldest]
                self._repeats(data, event.time_ms)
            elif event.type in _CLEARED:
                self._done(data.incident_id, event.time_ms)

    def heed(self, control: Control) -> None:
        """Note that someone has seen an incident, and what was said of it: the latest verdict counts."""
        if control.type not in (ControlType.ACK, ControlType.VERDICT, ControlType.SNOOZE) or control.incident_id is None:
            return
        at_ms = epoch_ms(control.at)
        if control.incident_id in self.open:
            self.answers, self.waited_ms = self.answers + 1, self.waited_ms + max(at_ms - self.open[control.incident_id], 0)
        self._done(control.incident_id, at_ms)
        if control.type == ControlType.VERDICT and control.incident_id in self.verdicts:
            before, real = self.verdicts[control.incident_id], control.body["verdict"] == "true"
            if before is not None:
                self.judged[before] -= 1
            self.judged[real] += 1
            self.verdicts[control.incident_id] = real

    def _done(self, incident_id: str, at_ms: int) -> None:
        opened = self.open.pop(incident_id, None)
        if opened is not None:
            self.stale.update(_stale_days(opened, at_ms))

    def _repeats(self, data: DriftData | FatigueData, at_ms: int) -> None:
        about = sorted(data.segment.items()) if isinstance(data, DriftData) else [data.unit]
        key = data.model_id, data.model_version, data.kind.value, str(about)
        times = [*self._latest.get(key, []), at_ms][-CHATTER:]
        self.chatter += len(times) == CHATTER and times[-1] - times[0] < CHATTER_MS
        self._latest = {each: kept for each, kept in self._latest.items() if at_ms - kept[-1] < CHATTER_MS} | {key: times}

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {
            "windows": sorted(self.windows.items()),
            "kinds": dict(self.kinds),
            "open": sorted(self.open.items()),
            "stale": sorted(self.stale.items()),
            "chatter": self.chatter,
            "models": dict(self.models),
            "verdicts": list(self.verdicts.items()),
            "judged": [self.judged[False], self.judged[True]],
            "answers": [self.answers, self.waited_ms],
            "latest": sorted([list(key), times] for key, times in self._latest.items()),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "OwnAlarms":
        """Return what ``to_state`` wrote."""
        alarms = cls()
        alarms.windows, alarms.kinds, alarms.stale = Counter(dict(state["windows"])), Counter(state["kinds"]), Counter(dict(state["stale"]))
        alarms.open, alarms.chatter = dict(state["open"]), state["chatter"]
        alarms.models, alarms.verdicts = Counter(state["models"]), dict(state["verdicts"])
        alarms.judged = Counter(dict(zip((False, True), state["judged"], strict=True)))
        alarms.answers, alarms.waited_ms = state["answers"]
        alarms._latest = {tuple(key): list(times) for key, times in state["latest"]}
        return alarms


def alarms_of(watches: Sequence[OwnAlarms], *, first_day: int, last_day: int) -> AlarmFigures:
    """Return the load of several watches' alarms on one operator, over the days (since 1970, the last one left out) with predictions."""
    windows, stale, kinds, models, judged = Counter[int](), Counter[int](), Counter[str](), Counter[str](), Counter[bool]()
    for watch in watches:
        windows.update(watch.windows)
        stale.update(watch.stale)
        kinds.update(watch.kinds)
        models.update(watch.models)
        judged.update(watch.judged)
        for opened in watch.open.values():
            stale.update(_stale_days(opened, last_day * DAY_MS))
    time_ms = max(last_day - first_day, 0) * DAY_MS
    crowded = sum(n > MOST for n in windows.values())
    answers = sum(watch.answers for watch in watches)
    return AlarmFigures(
        incidents=kinds.total(),
        drift=kinds["drift"],
        fatigue=kinds["fatigue"],
        per_hour=kinds.total() / (time_ms / HOUR_MS) if time_ms else None,
        crowded_share=crowded / (time_ms / WINDOW_MS) if time_ms else None,
        chatter=sum(watch.chatter for watch in watches),
        stale=max(stale.values(), default=0),
        judged=judged.total(),
        ppv=judged[True] / judged.total() if judged.total() else None,
        nne=judged.total() / judged[True] if judged[True] else None,
        false_per_year=judged[False] / (time_ms / YEAR_MS) if time_ms and judged.total() else None,
        mean_response_s=sum(watch.waited_ms for watch in watches) / answers / 1000 if answers else None,
        top_10_share=sum(n for _, n in models.most_common(BUSIEST)) / kinds.total() if kinds.total() else None,
    )


def _stale_days(opened_ms: int, end_ms: int) -> range:
    """Return the days on which an incident was stale: for more than a day, and at most until ``end_ms``."""
    begin = opened_ms + STALE_MS
    return range(begin // DAY_MS, -(-end_ms // DAY_MS)) if end_ms > begin else range(0)
