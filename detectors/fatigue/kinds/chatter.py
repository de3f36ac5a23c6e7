"""The same alert again and again within a minute."""

from typing import Any, ClassVar

import numpy as np

from detectors.fatigue import Kind, Turn, alternate, texts_of
from detectors.fatigue.ledger import Ledger
from detectors.fatigue.recent import Settled
from detectors.fixed import Ints
from detectors.incident_events import span
from detectors.ladder import DAY_MS
from schemas.fatigue import FatigueKind
from schemas.policy_models import ModelPolicy

QUIET_MS = DAY_MS  # without chatter, until it is over


class Chatter(Kind):
    """An alert key chatters when it is alerted about for the third time in a minute, in one unit.

    A unit's keys are one incident, over when none has chattered for a day. Counted in due order: neither mergeable nor revertible.

    References
    ----------
    ANSI/ISA-18.2-2016: chattering alarms; none are acceptable.

    """

    name: ClassVar[FatigueKind] = FatigueKind.CHATTER

    def __init__(self, ledger: Ledger, policy: ModelPolicy) -> None:
        super().__init__(ledger, policy)
        self.count: dict[int, int] = {}  # by unit
        self.last: dict[int, int] = {}  # by unit with an open incident: when it last chattered
        self.reach_ms = 2 * policy.fatigue.chatter_window_ms

    def step(self, settled: Settled, until_ms: int) -> list[Turn]:
        """Look for keys that repeat, and for units that have come to rest."""
        wanted = self.policy.fatigue
        self.reach_ms = 2 * wanted.chatter_window_ms  # whether an alert goes on with an earlier chatter depends on those before that
        hits = self._hits(settled)
        turns = []
        for unit in sorted({*hits[:, 0].tolist(), *self.last}):
            mine = hits[hits[:, 0] == unit]
            began = int(mine[:, 3].sum())
            if began:
                self.count[unit] = self.count.get(unit, 0) + began
            known = np.unique(np.append(mine[:, 1], self.last[unit]) if unit in self.last else mine[:, 1])
            alone = np.append(np.diff(known) > QUIET_MS, True)
            rests = (known + QUIET_MS)[alone]
            changes = alternate(np.unique(mine[:, 1]), rests[rests < until_ms], unit in self.last)
            turns += [self._opened(unit, at, mine) if opened else self._over(unit, at) for at, opened in changes]
            if changes and not changes[-1][1]:
                self.last.pop(unit, None)
            else:
                self.last[unit] = int(known[-1])
        return turns

    def _hits(self, settled: Settled) -> Ints:
        """Return (unit, time, key, began) of the new alerts that chatter, in the order of (unit, time)."""
        wanted = self.policy.fatigue
        keyed = np.flatnonzero(settled.key)
        order = keyed[np.lexsort((settled.time[keyed], settled.key[keyed], settled.unit[keyed]))]
        time, key, unit = settled.time[order], settled.key[order], settled.unit[order]
        back = wanted.chatter - 1
        hit = np.zeros(len(time), dtype=bool)
        if len(time) > back:
            same = (key[back:] == key[:-back]) & (unit[back:] == unit[:-back])
            hit[back:] = same & (time[back:] - time[:-back] < wanted.chatter_window_ms)
        began = hit.copy()
        began[1:] &= ~(hit[:-1] & (key[1:] == key[:-1]) & (unit[1:] == unit[:-1]))
        new = hit & (time >= settled.since_ms)
        out = np.stack([unit, time, key, began], axis=1)[new]
        return np.asarray(out[np.lexsort((out[:, 2], out[:, 1], out[:, 0]))], dtype=np.int64)

    def _opened(self, unit: int, at_ms: int, hits: Ints) -> Turn:
        wanted = self.policy.fatigue
        keys = dict.fromkeys(hits[hits[:, 1] == at_ms, 2].tolist())
        about = texts_of(self.ledger.recent.texts.get(key, "?") for key in keys)
        said = (
            f"Chattering alert at {{whom}}: {about} alerted {wanted.chatter} times within {span(wanted.chatter_window_ms)}. "
            "Alert once and hold repeats back, or add hysteresis at the threshold."
        )
        window = at_ms - wanted.chatter_window_ms + 1, at_ms + 1
        n = wanted.chatter
        return Turn(time_ms=at_ms, kind=self.name, unit=unit, opened=True, value=n, threshold=n, window=window, said=said)

    def _over(self, unit: int, at_ms: int) -> Turn:
        said = f"No alert at {{whom}} has chattered for {span(QUIET_MS)}."
        n = self.policy.fatigue.chatter
        window = at_ms - QUIET_MS, at_ms
        return Turn(time_ms=at_ms, kind=self.name, unit=unit, opened=False, value=0.0, threshold=n, window=window, said=said)

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return super().to_state() | {"count": sorted(self.count.items()), "last": sorted(self.last.items()), "reach_ms": self.reach_ms}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        super().load(state)
        self.count, self.last, self.reach_ms = dict(state["count"]), dict(state["last"]), state["reach_ms"]


KIND = Chatter
