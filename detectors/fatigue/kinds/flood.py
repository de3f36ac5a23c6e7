"""More alerts at once than anyone can attend to."""

from typing import Any, ClassVar

import numpy as np

from detectors.fatigue import Kind, Turn, alternate
from detectors.fatigue.ledger import Ledger
from detectors.fatigue.recent import Settled
from detectors.fixed import Ints
from detectors.incident_events import span
from schemas.fatigue import FatigueKind
from schemas.fields import rfc3339
from schemas.policy_models import ModelPolicy


class Flood(Kind):
    """A flood starts with the alert that makes more than ten in ten minutes, and ends when fewer than five are left in them.

    Exact in time: the window slides with the alerts. Units without a name have no floods. Counted in due order: neither mergeable nor
    revertible; an alert that comes after the watermark starts no flood. It ends where a policy changes what a flood is, too.

    References
    ----------
    ANSI/ISA-18.2-2016, alarm floods.

    """

    name: ClassVar[FatigueKind] = FatigueKind.FLOOD

    def __init__(self, ledger: Ledger, policy: ModelPolicy) -> None:
        super().__init__(ledger, policy)
        self.open: dict[int, list[int]] = {}  # by unit: since when, how many alerts so far, how many in the first window
        self.count: dict[int, int] = {}
        self.lasted_ms: dict[int, int] = {}  # of those that are over
        self.reach_ms = policy.fatigue.flood_window_ms

    def step(self, settled: Settled, until_ms: int) -> list[Turn]:
        """Look at every unit with enough alerts, and at those in a flood."""
        wanted = self.policy.fatigue
        self.reach_ms = wanted.flood_window_ms
        busy = np.flatnonzero(np.bincount(settled.unit, minlength=1) > wanted.flood_start)
        turns = []
        for unit in sorted({*busy.tolist(), *self.open}):
            if self.ledger.units.names[unit]:
                turns += self._unit(unit, settled.of(unit), settled.since_ms, until_ms)
        return turns

    def _unit(self, unit: int, time: Ints, since_ms: int, until_ms: int) -> list[Turn]:
        wanted = self.policy.fatigue
        width = wanted.flood_window_ms
        position = np.arange(1, len(time) + 1)
        within = position - np.searchsorted(time, time - width, side="right")  # in (t - width, t]
        left = np.searchsorted(time, time + width, side="right") - position  # in (t, t + width], once t has dropped out
        gone = time + width
        rises = np.unique(time[(within > wanted.flood_start) & (time >= since_ms)])
        falls = np.unique(gone[(left < wanted.flood_end) & (gone >= since_ms) & (gone < until_ms)])
        turns, counted = [], since_ms
        for at, opened in alternate(rises, falls, unit in self.open):
            if opened:
                first = int(np.searchsorted(time, at, side="right") - np.searchsorted(time, at - width, side="right"))
                if unit not in self.open:
                    self.open[unit], counted = [at, first, first], at + 1
                turns.append(self._opened(unit, at, first))
            else:
                begin, n = self._end(unit, at)
                n += int(np.searchsorted(time, at, side="right") - np.searchsorted(time, counted))
                few = int(np.searchsorted(time, at, side="right") - np.searchsorted(time, at - width, side="right"))
                turns.append(self._over(unit, begin, at, n, few))
        if unit in self.open:
            self.open[unit][1] += int(np.searchsorted(time, until_ms) - np.searchsorted(time, counted))
        return turns

    def _end(self, unit: int, at_ms: int) -> tuple[int, int]:
        """Count a flood that ends; return since when it lasted, and how many alerts were counted."""
        begin, n, _ = self.open.pop(unit)
        self.count[unit] = self.count.get(unit, 0) + 1
        self.lasted_ms[unit] = self.lasted_ms.get(unit, 0) + at_ms - begin
        return begin, n

    def use(self, policy: ModelPolicy) -> bool:
        """Follow another policy; what was a flood by another window, or other thresholds, ends here."""
        old, new = self.policy.fatigue, policy.fatigue
        self.policy = policy
        if (old.flood_start, old.flood_end, old.flood_window_ms) == (new.flood_start, new.flood_end, new.flood_window_ms):
            return False
        for unit in list(self.open):
            self._end(unit, self.ledger.recent.settled_ms)
        return True

    def _opened(self, unit: int, at_ms: int, n: int) -> Turn:
        wanted = self.policy.fatigue
        said = (
            f"Flood of alerts at {{whom}}: {n} in the {span(wanted.flood_window_ms)} to {rfc3339(at_ms)[11:19]}, where more than "
            f"{wanted.flood_start} cannot be attended to. Find what sets them off together; group them or hold them back until it is over."
        )
        window = at_ms - wanted.flood_window_ms + 1, at_ms + 1
        return Turn(time_ms=at_ms, kind=self.name, unit=unit, opened=True, value=n, threshold=wanted.flood_start, window=window, said=said)

    def _over(self, unit: int, begin_ms: int, at_ms: int, n: int, few: int) -> Turn:
        wanted = self.policy.fatigue
        said = f"The flood of alerts at {{whom}} is over: {n} alerts; it lasted {span(at_ms - begin_ms)}."
        window = begin_ms, at_ms
        return Turn(time_ms=at_ms, kind=self.name, unit=unit, opened=False, value=few, threshold=wanted.flood_end, window=window, said=said)

    def flooded_ms(self, unit: int, now_ms: int) -> int:
        """Return how long a unit has been flooded, one that still lasts included."""
        running = max(now_ms - self.open[unit][0], 0) if unit in self.open else 0
        return self.lasted_ms.get(unit, 0) + running

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values."""
        tables = {name: sorted(getattr(self, name).items()) for name in ("open", "count", "lasted_ms")}
        return super().to_state() | tables | {"reach_ms": self.reach_ms}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        super().load(state)
        self.open, self.count, self.lasted_ms = (dict(state[name]) for name in ("open", "count", "lasted_ms"))
        self.open = {unit: list(each) for unit, each in self.open.items()}
        self.reach_ms = state["reach_ms"]


KIND = Flood
