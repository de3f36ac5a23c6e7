"""Values of features by time until they are read, as the prediction is made; and how wide the panes are in which they are."""

from typing import Any

import numpy as np

from detectors.cells import Layout
from detectors.fixed import Ints
from detectors.ladder import DAY_MS, LEARN_FROM
from detectors.panes import BEGINNING, PANE_MS, SumTable, floor_to, next_end, widest
from schemas.feature_codes import TEXT

COUNT = Layout(counts=("n",), sums={})
BASE_MS = 300_000  # panes are born this wide, and are never read in less
PANE_EVENTS = 32  # predictions that a pane should hold
FEATURE_BITS, CODE_BITS = 7, 17
_BITS = FEATURE_BITS + CODE_BITS
PREDICTIONS = 0  # in place of a feature's number: predictions that brought any feature


def key_of(feature: Any, code: Any) -> Any:
    """Pack (number of the feature, code) into one integer; a category's code is ``TEXT`` plus its number, below ``2 * TEXT``."""
    return feature << CODE_BITS | code


class FeaturePanes:
    """What has not been read yet: (pane, feature, code) -> how many. Integers, additive, revertible until they are read; then let go.

    Nothing is read before the first 1,000 predictions with features are in, by event time. By then it is known how dense they come: a pane
    is as wide as some 32 predictions (for the reasons of ``docs/decisions/0006``), at least five minutes and at most a day, for good.

    Parameters
    ----------
    read_to_ms
        Everything up to this watermark has been read.

    Examples
    --------
    >>> panes = FeaturePanes()
    >>> for feature, code in ((PREDICTIONS, 0), (1, 500)):
    ...     panes.add(np.arange(1000) * 60_000, np.full(1000, key_of(feature, code)), np.ones(1000, dtype=np.int64))
    >>> panes.due(59_999_999)[:2], panes.due(60_000_000)[:2]
    ([], [(1800000, 0), (3600000, 1800000)])
    >>> panes.read(0)
    (array([     0, 131572]), array([30, 30]))

    """

    def __init__(self, read_to_ms: int = BEGINNING) -> None:
        self.width_ms = 0  # 0: not known yet
        self.table = SumTable(COUNT)
        self.read_to = BEGINNING
        self.passed(read_to_ms)

    def add(self, predicted_at: Ints, keys: Ints, signs: Ints) -> None:
        """Add values, shape (n,): when they were predicted upon, ``key_of`` them, 1 or -1; a pane that has been read takes no more."""
        start = floor_to(predicted_at, BASE_MS)
        kept = start >= self.read_to
        self.table.add(start[kept] // PANE_MS << _BITS | keys[kept], signs[kept, None])

    def due(self, watermark_ms: int) -> list[tuple[int, int]]:
        """Return (due, start) of every pane that is due by a time, in due order; all ms."""
        if not len(self.table.keys) or not (self.width_ms or self._learn(watermark_ms)):
            return []
        first = int(self.table.keys[0] >> _BITS) * PANE_MS
        if first + self.width_ms > watermark_ms + BASE_MS:
            return []
        starts = np.unique(floor_to((self.table.keys >> _BITS) * PANE_MS, self.width_ms))
        return [(start + self.width_ms, start) for start in starts.tolist() if start + self.width_ms <= watermark_ms]

    def next_ms(self, watermark_ms: int) -> int:
        """Return before which time nothing will be due, whatever is added."""
        return next_end(watermark_ms, BASE_MS)  # of which every width is a multiple, and by which it is learnt

    def _learn(self, watermark_ms: int) -> bool:
        """Set the width if the first predictions are in; say whether they are."""
        keys, rows = self.table.keys, self.table.rows
        mine = keys & ((1 << _BITS) - 1) == key_of(PREDICTIONS, 0)
        starts, n = (keys[mine] >> _BITS) * PANE_MS, np.cumsum(rows[mine, 0])
        complete = int(np.searchsorted(n, LEARN_FROM))
        if complete == len(n) or starts[complete] + BASE_MS > watermark_ms:
            return False
        per_event = (int(starts[complete]) + BASE_MS - int(starts[0])) / LEARN_FROM
        self.width_ms = min(max(widest(PANE_EVENTS * per_event), BASE_MS), DAY_MS)
        return True

    def read(self, start_ms: int) -> tuple[Ints, Ints]:
        """Return what a pane holds, and let it go: ``key_of`` values, ascending, shape (k,), and how many there are of each."""
        first, last = (ms // PANE_MS << _BITS for ms in (start_ms, start_ms + self.width_ms))
        within = self.table.span(first, last)
        keys, which = np.unique(self.table.keys[within] & ((1 << _BITS) - 1), return_inverse=True)
        counts = np.zeros(len(keys), dtype=np.int64)
        np.add.at(counts, which, self.table.rows[within, 0])
        self.table.keys, self.table.rows = np.delete(self.table.keys, within), np.delete(self.table.rows, within, axis=0)
        return keys[counts > 0], counts[counts > 0]

    def passed(self, watermark_ms: int) -> None:
        """Close what the watermark has passed: what comes later for it is late."""
        self.read_to = max(self.read_to, floor_to(watermark_ms, self.width_ms or BASE_MS))

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes."""
        return {"width": self.width_ms, "read_to": self.read_to, "table": self.table.to_state()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "FeaturePanes":
        """Return the panes that ``to_state`` wrote."""
        panes = cls()
        panes.width_ms, panes.read_to = state["width"], state["read_to"]
        panes.table = SumTable.from_state(COUNT, state["table"])
        return panes


assert 2 * TEXT == 1 << CODE_BITS  # noqa: S101  # a category's number has as many bits as a number's code
