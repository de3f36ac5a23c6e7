"""Alert fatigue of a model: what its alerts do to those who receive them, of all its versions together."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np

from detectors.companions import NEVER, Companion
from detectors.control_desk import is_reset
from detectors.fatigue import Kind, Turn, discover
from detectors.fatigue.bets import WEIGHT, BetKind
from detectors.fatigue.figures import fatigue_figures
from detectors.fatigue.kinds.chatter import Chatter
from detectors.fatigue.kinds.flood import Flood
from detectors.fatigue.ledger import Ledger
from detectors.fixed import Ints
from detectors.incident import Listed
from detectors.ladder import DAY_MS, HOUR_MS
from detectors.model_version import ModelVersion
from detectors.panes import BEGINNING, END, next_end
from detectors.reading import BEFORE
from detectors.signals import Estimate
from detectors.state_version import expect_version
from schemas.control import Control, ControlType
from schemas.drift import Interval, Window
from schemas.fatigue import FatigueData, FatigueFigures, FatigueKind
from schemas.fields import Timestamp, epoch_ms, rfc3339
from schemas.findings import Event, EventType
from schemas.policy_models import ModelPolicy
from schemas.scored import Rows

STATE_VERSION = 3
_EXACT = (FatigueKind.FLOOD, FatigueKind.CHATTER)  # told at any moment before the watermark; others at its hours, that one included


@dataclass(kw_only=True)
class Open:
    """An open incident of one kind at one unit."""

    incident_id: str
    turn: dict[str, Any]  # that opened it
    silent: bool = False  # it began while people had asked for silence
    acknowledged: tuple[str, int] | None = None  # by, at
    verdict: tuple[bool, str, int] | None = None  # true, by, at


class Fatigue(Companion):
    """The incidents of a model's alert fatigue, and its figures for the report.

    A kind is on when its fields have come: rate and flood need a unit, chatter an alert key, the others dispositions. Windows are stepped
    in the order of event time, so nothing depends on batches or on how the watermark moves; alerts that come after it change the report
    alone. While the policy has it switched off, the kinds that count go on and nobody is told; what lasts when it is switched on again is
    opened by the next alert, or at the next full hour, that would open it, as if it were new.

    Parameters
    ----------
    model_id, policy
        See ``Companion``.

    Examples
    --------
    >>> fatigue = Fatigue("sepsis", ModelPolicy())
    >>> fatigue.weight(0), fatigue.to_state()
    (0.0, None)

    """

    name = "fatigue"
    moved = False

    def __init__(self, model_id: str, policy: ModelPolicy) -> None:
        super().__init__(model_id, policy)
        self.ledger = Ledger(policy)
        self.kinds: dict[str, Kind] = {name: kind(self.ledger, policy) for name, kind in discover().items()}
        self.watermark_ms = BEFORE  # as it came, and no further than the log reaches
        self.now_ms = BEFORE
        self.open: dict[tuple[str, int], Open] = {}  # by kind and unit
        self.silent_until: dict[tuple[str, int], int] = {}
        self.kept_back = 0  # events, by this object; never part of the state

    def add(self, rows: Rows, where: Ints) -> None:
        """Add the picked rows."""
        self.ledger.add(rows, where)

    def advance(self, watermark_ms: int, versions: Mapping[str, ModelVersion], found: Sequence[Event]) -> list[Event]:
        """Step every kind; at the end of a log no further than it reaches: that nothing more comes is not calm."""
        ledger = self.ledger
        self.watermark_ms = max(self.watermark_ms, watermark_ms)
        self.now_ms = max(self.now_ms, ledger.end_ms() if watermark_ms == END else watermark_ms)
        if not len(ledger.tables["made"].keys):
            return []
        ledger.settle(self.now_ms)
        settled = ledger.recent.settle(self.now_ms)
        turns: list[Turn] = []
        for kind in self.kinds.values():
            if isinstance(kind, BetKind):
                kind.learn(versions)
                turns += kind.step(settled, watermark_ms)
            else:
                turns += kind.step(settled, self.now_ms)
        ledger.recent.forget(self.now_ms - max(kind.reach_ms for kind in self.kinds.values()))
        ledger.merge(min(kind.reads_from(self.now_ms) for kind in self.kinds.values() if kind.name not in _EXACT) - DAY_MS)
        fresh = bool(len(settled.time)) and int(settled.time.max()) >= settled.since_ms
        moved = [kind.moved() for kind in self.kinds.values()]
        if turns or fresh or any(moved):
            self.moved = True
        if not self.policy.fatigue.enabled:
            turns.clear()
        turns.sort(key=lambda turn: (turn.time_ms, turn.kind in _EXACT, turn.kind, ledger.units.names[turn.unit], turn.opened))
        events: list[Event] = []
        for turn in turns:
            events += self._unsilenced(turn.time_ms)
            event = self._event(turn)
            events += [] if event is None else [event]
        return events + self._unsilenced(self.now_ms)

    def minds(self, rows: Rows) -> bool:
        """Say whether a message may bring the first alert."""
        return "alerted" in rows.columns and not len(self.ledger.tables["made"].keys)

    def next_ms(self, watermark_ms: int) -> int:
        """Return before which time nothing will be due: floods and chatter may begin at any time, the rest at full hours."""
        if not len(self.ledger.tables["made"].keys):
            return NEVER
        if not self.ledger.by_the_hour() or self.open:
            return BEGINNING
        return min(next_end(watermark_ms, HOUR_MS), next_end(watermark_ms, HOUR_MS, self.ledger.stale_ms))

    def _unsilenced(self, until_ms: int) -> list[Event]:
        """Tell of incidents that began in silence and have outlasted it."""
        names = self.ledger.units.names
        over = [
            (self.silent_until.get(key, BEFORE), key[0], names[key[1]], each)
            for key, each in self.open.items()
            if each.silent and self.silent_until.get(key, BEFORE) <= until_ms
        ]
        events = []
        for at_ms, _, _, incident in sorted(over, key=lambda each: each[:3]):
            incident.silent, self.moved = False, True
            events.append(self._told(_turn(incident.turn | {"time_ms": at_ms}), incident))
        return events

    def withheld(self) -> int:
        """Return how many events of its incidents a snooze has kept back."""
        return self.kept_back

    def take_back_time(self, watermark_ms: int) -> None:
        """Let the time pass that had passed: nothing was due meanwhile, or the state would have been saved after it."""
        if watermark_ms > self.watermark_ms and watermark_ms >= self.next_ms(self.watermark_ms):
            told = self.advance(watermark_ms, {}, [])
            assert not told  # noqa: S101  # nobody would hear of it
            return
        self.watermark_ms, self.now_ms = max(self.watermark_ms, watermark_ms), max(self.now_ms, watermark_ms)
        if len(self.ledger.tables["made"].keys):
            self.ledger.recent.settled_ms = max(self.ledger.recent.settled_ms, self.now_ms)

    def _event(self, turn: Turn) -> Event | None:
        key = turn.kind.value, turn.unit
        if turn.opened:
            if key in self.open:  # it lasts
                return None
            silent = turn.time_ms < self.silent_until.get(key, BEFORE)
            incident = self.open[key] = Open(incident_id=self._id(turn), turn=_plain(turn), silent=silent)
        else:
            opened = self.open.pop(key, None)
            if opened is None:
                return None
            incident = opened
        self.kept_back += incident.silent
        return None if incident.silent else self._told(turn, incident)

    def _id(self, turn: Turn) -> str:
        parts = "fatigue", self.model_id, turn.kind.value, self.ledger.units.names[turn.unit], str(turn.time_ms)
        return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()

    def _told(self, turn: Turn, incident: Open) -> Event:
        unit = self.ledger.units.names[turn.unit]
        whom = f"{unit} ({self.model_id})" if unit else self.model_id
        data = FatigueData(
            incident_id=incident.incident_id,
            model_id=self.model_id,
            model_version="",
            kind=turn.kind,
            unit=unit,
            value=float(turn.value),
            threshold=float(turn.threshold),
            window=Window(from_=rfc3339(turn.window[0]), to=rfc3339(turn.window[1])),
            message=turn.said.replace("{whom}", whom),
            evidence=turn.evidence,
            baseline=_interval(turn.baseline),
            current=_interval(turn.current),
        )
        return Event(
            id=f"{incident.incident_id}-{1 if turn.opened else 2}",
            type=EventType.FATIGUE_OPENED if turn.opened else EventType.FATIGUE_CLEARED,
            subject=self.model_id,
            time_ms=turn.time_ms,
            data=data,
        )

    def use(self, policy: ModelPolicy) -> list[Event]:
        """Follow another policy; close what it no longer watches, or watches by another threshold."""
        if policy == self.policy:
            return []
        self.policy = policy
        self.ledger.stale_ms = policy.fatigue.stale_ms
        events = []
        for name, kind in self.kinds.items():
            if kind.use(policy) or not policy.fatigue.enabled:
                for key in [key for key in self.open if key[0] == name]:
                    events += self._close(key, self.now_ms, "the policy no longer watches it, or by another threshold")
        return events

    def _close(self, key: tuple[str, int], at_ms: int, why: str) -> list[Event]:
        turn = _turn(self.open[key].turn)
        closed = {
            "time_ms": at_ms,
            "opened": False,
            "evidence": None,
            "said": f"Closed: {turn.kind.value.replace('_', ' ')} at {{whom}}: {why}.",
        }
        event = self._event(Turn(**vars(turn) | closed))
        return [] if event is None else [event]

    def decide(self, control: Control) -> list[Event]:
        """Apply what people decided about an incident that is open, or about all of them."""
        if control.type == ControlType.BASELINE:
            return self._learn_anew(control)
        key = next((key for key, each in self.open.items() if each.incident_id == control.incident_id), None)
        if key is None:
            return []
        incident, at_ms = self.open[key], epoch_ms(control.at)
        if control.type == ControlType.ACK:
            incident.acknowledged = control.by, at_ms
        elif control.type == ControlType.VERDICT and incident.verdict is None:
            incident.verdict = control.body.get("verdict") == "true", control.by, at_ms
        elif control.type == ControlType.SNOOZE:
            try:
                until = msgspec.convert(control.body.get("until", control.at), Timestamp)
            except msgspec.ValidationError:  # no time: there is nothing to do until then
                return []
            self.silent_until[key] = epoch_ms(until)
        return []

    def _learn_anew(self, control: Control) -> list[Event]:
        """Close what is accepted as the new normal; a reset is of all that was learnt, whether it is part of an incident or not."""
        reset = is_reset(control)
        anew = {name: kind.reset() for name, kind in self.kinds.items()} if reset else {}
        why = f"all baselines were reset by {control.by}" if reset else f"accepted as the new normal by {control.by}"
        events = []
        for key in sorted(self.open, key=lambda key: (key[0], self.ledger.units.names[key[1]])):
            meant = control.incident_id in (None, self.open[key].incident_id)
            if meant and (anew[key[0]] if reset else self.kinds[key[0]].relearn(key[1])):
                events += self._close(key, epoch_ms(control.at), why)
        return events

    def listed(self) -> list[Listed]:
        """Return its open incidents; those that count have no baseline to learn, nor have promises."""
        names = self.ledger.units.names
        return [
            Listed(each.incident_id, "", f"{kind} of {names[unit]}" if names[unit] else kind, int(self.kinds[kind].learns))
            for (kind, unit), each in sorted(self.open.items(), key=lambda item: (item[0][0], names[item[0][1]]))
        ]

    def weight(self, due_ms: int) -> float:
        """Return what the bets spend: nothing before the first disposition."""
        since = self.ledger.since_ms()
        return WEIGHT if self.policy.fatigue.enabled and since is not None and due_ms >= since else 0.0

    def report(self, version: ModelVersion) -> FatigueFigures | None:
        """Return the figures of all versions together."""
        flood, chatter = self.kinds[FatigueKind.FLOOD], self.kinds[FatigueKind.CHATTER]
        assert isinstance(flood, Flood)  # noqa: S101  found by name
        assert isinstance(chatter, Chatter)  # noqa: S101
        return fatigue_figures(self.ledger, self.policy, flood, chatter, now_ms=self.now_ms, watermark_ms=self.watermark_ms)

    def to_state(self) -> dict[str, Any] | None:
        """Return the state as plain values and bytes; None while no prediction has come."""
        if not len(self.ledger.hours.keys):
            return None
        return {
            "version": STATE_VERSION,
            "time_ms": [self.watermark_ms, self.now_ms],
            "ledger": self.ledger.to_state(),
            "kinds": {name: kind.to_state() for name, kind in self.kinds.items()},
            "open": [[*key, asdict(each)] for key, each in sorted(self.open.items())],
            "silent_until": [[*key, until] for key, until in sorted(self.silent_until.items())],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        expect_version(state, STATE_VERSION, "a state of fatigue")
        self.watermark_ms, self.now_ms = state["time_ms"]
        self.ledger.load(state["ledger"])
        for name, saved in state["kinds"].items():
            if name in self.kinds:
                self.kinds[name].load(saved)
        self.open = {(kind, unit): msgspec.convert(each, Open) for kind, unit, each in state["open"]}
        self.silent_until = {(kind, unit): until for kind, unit, until in state["silent_until"]}


def _interval(estimate: Estimate | None) -> Interval | None:
    if estimate is None:
        return None
    value, lo, hi = (None if not np.isfinite(x) else float(x) for x in estimate[:3])
    return Interval(value=value, lo=lo, hi=hi, n=round(estimate.n))


def _plain(turn: Turn) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(turn)
    return plain


def _turn(plain: dict[str, Any]) -> Turn:
    return msgspec.convert(plain, Turn, strict=False)


COMPANION = Fatigue
