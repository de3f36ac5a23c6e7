"""Panes of rates by name that still wait to be read, one table for each age at which they are."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.cells import Layout
from detectors.fixed import Ints
from detectors.ladder import PANE_SHARE
from detectors.panes import BEGINNING, PANE_MS, SEGMENT_BITS, SumTable, floor_to, next_end, pane_index, widest

NAME_BITS = 7
SERIES_BITS = NAME_BITS + SEGMENT_BITS
RATE = Layout(counts=("n", "failed"), sums={})
FIRST_WIDTH_MS = 300_000  # of what is read at age 0


class RatePanes:
    """What each age has not read yet. Integer sums: additive, mergeable, revertible until they are read; then they are let go.

    Parameters
    ----------
    ages_ms
        Ascending; 0: as predictions are made.
    read_to_ms
        Everything up to this watermark has been read.

    Examples
    --------
    >>> panes = RatePanes((3_600_000,))
    >>> panes.add(np.array([7]), np.array([0]), np.array([60_000]), np.array([[1, 0]]))
    >>> panes.due(3_900_000 - 1), panes.due(3_900_000)
    ([], [(3900000, 0, 0)])
    >>> panes.read(0, 0)
    (array([7]), array([[1, 0]]))

    """

    def __init__(self, ages_ms: tuple[int, ...], read_to_ms: int = BEGINNING) -> None:
        self.ages_ms = ages_ms
        self.widths_ms = [widest(PANE_SHARE * age) if age else FIRST_WIDTH_MS for age in ages_ms]
        self.tables = [SumTable(RATE) for _ in ages_ms]
        self.read_to = [BEGINNING for _ in ages_ms]
        self.passed(read_to_ms)

    def add(self, series: Ints, predicted_at: Ints, delay: Ints, sums: Ints, *, at_once: bool = False) -> None:
        """Add events to every age by which they were known; a pane that has been read takes no more.

        Parameters
        ----------
        series
            Name and segment in one number, see ``series_of``; shape (n,).
        predicted_at, delay
            When the prediction was made, and how much later the event was known, ms; shape (n,).
        sums
            In the layout ``RATE``, shape (n, 2).
        at_once
            They say all there is to say when they are made: only the youngest age reads them.

        """
        for rung, age in enumerate(self.ages_ms[:1] if at_once else self.ages_ms):
            start = floor_to(predicted_at, self.widths_ms[rung])
            kept = (delay <= age) & (start >= self.read_to[rung])
            if kept.any():
                self.tables[rung].add(pane_index(start[kept]) << SERIES_BITS | series[kept], sums[kept])

    def due(self, watermark_ms: int) -> list[tuple[int, int, int]]:
        """Return (due, rung, start) of every pane that is due by a time, in due order; all ms."""
        steps: list[tuple[int, int, int]] = []
        for rung, (age, width, table) in enumerate(zip(self.ages_ms, self.widths_ms, self.tables, strict=True)):
            if len(table.keys):
                starts = np.unique(table.keys >> SERIES_BITS) * PANE_MS
                steps += [(start + width + age, rung, start) for start in starts.tolist() if start + width + age <= watermark_ms]
        return sorted(steps)

    def next_ms(self, watermark_ms: int) -> int:
        """Return before which time nothing will be due, whatever is added."""
        return min(next_end(watermark_ms, width, age) for age, width in zip(self.ages_ms, self.widths_ms, strict=True))

    def read(self, rung: int, start_ms: int) -> tuple[Ints, Ints]:
        """Return what a pane holds, and let it go: series, ascending, shape (k,), and sums, shape (k, 2)."""
        table, first = self.tables[rung], pane_index(start_ms) << SERIES_BITS
        within = table.span(first, first + (1 << SERIES_BITS))
        keys, rows = table.keys[within] - first, table.rows[within]
        kept: npt.NDArray[np.bool_] = np.ones(len(table.keys), dtype=bool)
        kept[within] = False
        table.keys, table.rows = table.keys[kept], table.rows[kept]
        return keys, rows

    def passed(self, watermark_ms: int) -> None:
        """Close what the watermark has passed: what comes later for it is late."""
        for rung, (age, width) in enumerate(zip(self.ages_ms, self.widths_ms, strict=True)):
            self.read_to[rung] = max(self.read_to[rung], floor_to(watermark_ms - age, width))

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes."""
        return {"ages": list(self.ages_ms), "read_to": list(self.read_to), "tables": [table.to_state() for table in self.tables]}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "RatePanes":
        """Return the panes that ``to_state`` wrote."""
        panes = cls(tuple(state["ages"]))
        panes.read_to = list(state["read_to"])
        panes.tables = [SumTable.from_state(RATE, table) for table in state["tables"]]
        return panes


def series_of(name: Any, segment: Any) -> Any:
    """Pack (name, segment) into one integer."""
    return name << SEGMENT_BITS | segment


def by_name(series: Ints, sums: Ints) -> tuple[Ints, dict[int, Ints]]:
    """Return the segments of a pane, ascending, and the sums of each name, shape (segments, 2).

    >>> segments, counts = by_name(series_of(np.array([1, 1, 2]), np.array([0, 5, 0])), np.array([[9, 1], [4, 0], [7, 7]]))
    >>> segments, counts[1].tolist(), counts[2].tolist()
    (array([0, 5]), [[9, 1], [4, 0]], [[7, 7], [0, 0]])
    """
    segment, name = series & ((1 << SEGMENT_BITS) - 1), series >> SEGMENT_BITS
    segments, place = np.unique(segment, return_inverse=True)
    out = {}
    for number in np.unique(name).tolist():
        out[number] = np.zeros((len(segments), sums.shape[1]), dtype=np.int64)
        out[number][place[name == number]] = sums[name == number]
    return segments, out
