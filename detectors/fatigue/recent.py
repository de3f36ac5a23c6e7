"""The latest alerts one by one: what a flood and a chattering alarm are told from."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from detectors.fixed import Ints
from detectors.reading import BEFORE

_EMPTY: Ints = np.zeros((0, 4), dtype=np.int64)


@dataclass(frozen=True)
class Settled:
    """Alerts that the watermark has passed, in the order of (unit, time); shape (n,) each. ``since_ms`` on they are new."""

    time: Ints
    unit: Ints
    key: Ints  # hash of the alert key; 0: none
    since_ms: int
    until_ms: int

    def of(self, unit: int) -> Ints:
        """Return the times of one unit's alerts."""
        first, last = np.searchsorted(self.unit, (unit, unit + 1))
        return self.time[first:last]


class Recent:
    """Alerts by exact time, from a while before the watermark on. Revertible until the watermark has passed.

    Examples
    --------
    >>> recent = Recent()
    >>> recent.add(np.array([[5, 1, 0, 1], [9, 1, 0, 1], [5, 1, 0, -1], [4, 1, 0, 1]]))
    >>> recent.settle(9).time.tolist(), recent.settle(20).time.tolist()
    ([4], [4, 9])
    >>> recent.add(np.array([[19, 1, 0, 1]])), recent.late
    (None, 1)

    """

    def __init__(self) -> None:
        self.rows = _EMPTY  # time, unit, key, count
        self.settled_ms = BEFORE
        self.late = 0
        self.texts: dict[int, str] = {}  # of the keys, for people
        self._added: list[Ints] = []

    def __len__(self) -> int:
        return len(self.rows) + sum(map(len, self._added))

    def add(self, rows: Ints, texts: dict[int, str] | None = None) -> None:
        """Add alerts as (time, unit, hash of the key, sign), shape (n, 4); those before the watermark are only counted."""
        late = rows[:, 0] < self.settled_ms
        if late.any():
            self.late += int(rows[late, 3].sum())
            rows = rows[~late]
        if len(rows):
            self._added.append(rows)
        self.texts |= texts or {}

    def settle(self, until_ms: int) -> Settled:
        """Return the alerts kept whose time is before ``until_ms``; they are settled now."""
        self._consolidate()
        until_ms = max(until_ms, self.settled_ms)
        done = self.rows[: np.searchsorted(self.rows[:, 0], until_ms)]
        done = np.repeat(done, np.maximum(done[:, 3], 0), axis=0)
        done = done[np.lexsort((done[:, 2], done[:, 0], done[:, 1]))]
        settled = Settled(done[:, 0], done[:, 1], done[:, 2], self.settled_ms, until_ms)
        self.settled_ms = until_ms
        return settled

    def forget(self, before_ms: int) -> None:
        """Let go of settled alerts that no window reaches back to any more."""
        self.rows = self.rows[np.searchsorted(self.rows[:, 0], min(before_ms, self.settled_ms)) :]
        kept = set(self.rows[:, 2].tolist())
        self.texts = {key: text for key, text in sorted(self.texts.items()) if key in kept}

    def _consolidate(self) -> None:
        if not self._added:
            return
        rows = np.concatenate([self.rows, *self._added])
        self._added = []
        rows = rows[np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))]
        starts = np.flatnonzero(np.concatenate(([True], (rows[1:, :3] != rows[:-1, :3]).any(axis=1))))
        counts = np.add.reduceat(rows[:, 3], starts)
        rows = rows[starts]
        rows[:, 3] = counts
        self.rows = rows[counts != 0]

    def to_state(self) -> list[Any]:
        """Return the state as plain values and bytes."""
        self._consolidate()
        self.forget(BEFORE)
        return [self.settled_ms, self.late, self.rows.astype("<i8").tobytes(), sorted(self.texts.items())]

    def load(self, state: list[Any]) -> None:
        """Take back what ``to_state`` gave."""
        self.settled_ms, self.late, rows, texts = state
        self.rows = np.frombuffer(rows, dtype="<i8").astype(np.int64).reshape(-1, 4)
        self.texts = dict(texts)
