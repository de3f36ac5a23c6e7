"""Alerts that nobody deals with."""

from typing import Any, ClassVar

import numpy as np

from detectors.fatigue import Kind, Turn
from detectors.fatigue.ledger import LATE, Ledger
from detectors.fatigue.recent import Settled
from detectors.fatigue.rolling import rolling
from detectors.incident_events import span
from detectors.ladder import DAY_MS, HOUR_MS
from detectors.panes import floor_to
from detectors.reading import BEFORE
from schemas.fatigue import FatigueKind
from schemas.policy_models import ModelPolicy

MOST = 5  # fewer than these on any day are acceptable


class Stale(Kind):
    """Alerts of one day that are still open after a day: five or more are too many; over when there are none left.

    On from the first disposition on. Arithmetic on sums, alerts less those dealt with in time: an hour's alerts are read when they have
    all reached the age allowed.

    References
    ----------
    ANSI/ISA-18.2-2016: stale alarms, fewer than five on any day.

    """

    name: ClassVar[FatigueKind] = FatigueKind.STALE

    def __init__(self, ledger: Ledger, policy: ModelPolicy) -> None:
        super().__init__(ledger, policy)
        self.open: set[int] = set()

    def step(self, settled: Settled, until_ms: int) -> list[Turn]:
        """Look at the alerts that have reached the age by now."""
        age, since = self.ledger.stale_ms, self.ledger.disposed_ms
        end = floor_to(until_ms - age, HOUR_MS)
        if end <= self.read_to:
            return []
        if since is None:
            self.read_to = end
            return []
        begin = max(self.read_to - DAY_MS, since, BEFORE)
        hours, units, _, counts = self.ledger.read("made", begin, end)
        done_at, done_by, cell, done = self.ledger.read("disposed", begin, end)
        early = cell < LATE
        told = rolling(
            np.concatenate([hours, done_at[early]]),
            np.concatenate([units, done_by[early]]),
            np.concatenate([counts[:, 0], -done[early, 0]]),
            wanted=np.arange(1, len(self.ledger.units)),
            since_ms=self.read_to,
            until_ms=end,
            width_ms=DAY_MS,
        )
        self.read_to = end
        turns = []
        for unit, at, on, n in told.switches(above=MOST - 0.5, below=0.5, is_open=self.open):
            (self.open.add if on else self.open.discard)(unit)
            turns.append(self._turn(unit, at, n, opened=on))
        return turns

    def _turn(self, unit: int, at_ms: int, n: int, *, opened: bool) -> Turn:
        age = span(self.ledger.stale_ms)
        if opened:
            said = (
                f"{n} alerts of one day at {{whom}} were left open for more than {age}. "
                "Find out whether anyone receives them, and who should; close what no longer matters."
            )
        else:
            said = f"No alert of the last day at {{whom}} was left open for more than {age}."
        due = at_ms + self.ledger.stale_ms
        window = at_ms - DAY_MS, at_ms
        return Turn(time_ms=due, kind=self.name, unit=unit, opened=opened, value=n, threshold=MOST, window=window, said=said)

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return super().to_state() | {"open": sorted(self.open)}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        super().load(state)
        self.open = set(state["open"])


KIND = Stale
