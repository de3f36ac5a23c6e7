"""How many labels there are of the predictions made since a time, and when that many were known."""

from typing import Any

import numpy as np

from detectors.cells import Layout
from detectors.fixed import Ints
from detectors.panes import SumTable, grouped
from schemas.scored import Kind, Rows

HOUR_MS = 3_600_000
# a label that comes within so many hours counts from the last of them; one that takes longer than the longest is not counted
DELAYS_H = np.array(
    [1, 2, 4, 8, 16, 24, 48, 72, 96, 120, 168, 240, 336, 504, 720, 1080, 1440, 2160, 2880, 4320, 6480, 8784, 17_568, 87_840]
)
KEPT_MS = 400 * 24 * HOUR_MS  # predictions older than this are forgotten
_BITS = 5
_COUNT = Layout(counts=("n",), sums={})


class LabelHours:
    """Labels by hour of prediction and class of delay; additive, mergeable, revertible.

    What it says of a time does not depend on what came later: a label counts from the end of its delay class, counted from the end of
    its prediction's hour, which is never before it was known.

    Examples
    --------
    >>> labels = LabelHours()
    >>> labels.add(np.array([0, 10, 7_200_000]), np.array([60_000, 90_000, 7_300_000]), np.array([1, 1, 1]))
    >>> labels.reached_ms(0, 2) / HOUR_MS, labels.reached_ms(0, 4), labels.count(0, 2 * HOUR_MS)
    (2.0, None, 2)

    """

    def __init__(self) -> None:
        self.table = SumTable(_COUNT)

    def add(self, predicted_at: Ints, known_at: Ints, sign: Ints) -> None:
        """Add labels, shape (n,), epoch ms; ``sign`` is -1 for one that is taken back."""
        delay = np.searchsorted(DELAYS_H * HOUR_MS, known_at - predicted_at)
        kept = delay < len(DELAYS_H)
        keys = (predicted_at // HOUR_MS) << _BITS | delay
        self.table.add(keys[kept], sign[kept, np.newaxis].astype(np.int64))

    def add_rows(self, rows: Rows, where: Ints) -> None:
        """Add the labels among the picked rows, those of abstained predictions and of probes left out."""
        kept = rows.column("kind")[where] == Kind.LABEL
        for name in {"abstained", "probe"} & rows.columns.keys():
            kept &= rows.column(name)[where] == 0
        if not kept.all():
            where = where[kept]
        if len(where):
            self.add(rows.column("predicted_at")[where], rows.column("known_at")[where], rows.column("sign")[where])

    def count(self, since_ms: int, at_ms: int) -> int:
        """Return how many labels of predictions made since the hour of a time had been known by another."""
        known, n = self._since(since_ms)
        return int(n[known <= at_ms].sum())

    def reached_ms(self, since_ms: int, n: int) -> int | None:
        """Return when ``n`` labels of predictions made since the hour of a time had been known, epoch ms; None: there are not so many."""
        known, counts = self._since(since_ms)
        times, total = grouped(known, counts[:, np.newaxis])
        reached = np.flatnonzero(np.cumsum(total[:, 0]) >= n)
        return int(times[reached[0]]) if len(reached) else None

    def _since(self, since_ms: int) -> tuple[Ints, Ints]:
        within = self.table.span(since_ms // HOUR_MS << _BITS, 2**62)
        keys = self.table.keys[within]
        known = ((keys >> _BITS) + 1 + DELAYS_H[keys & ((1 << _BITS) - 1)]) * HOUR_MS
        return known, self.table.rows[within, 0]

    def forget(self, watermark_ms: int) -> None:
        """Forget predictions that no request will rest on."""
        until = (watermark_ms - KEPT_MS) // HOUR_MS << _BITS
        if not len(self.table.keys) or self.table.keys[0] >= until:
            return
        start = self.table.span(-(2**62), until).stop
        self.table.keys, self.table.rows = self.table.keys[start:], self.table.rows[start:]

    def to_state(self) -> list[bytes]:
        """Return the table as bytes."""
        return self.table.to_state()

    @classmethod
    def from_state(cls, state: Any) -> "LabelHours":
        """Return what ``to_state`` wrote."""
        labels = cls()
        labels.table = SumTable.from_state(_COUNT, state)
        return labels
