"""All sums of one model version: panes for the rungs, totals for the report."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.cell_sums import LAYOUTS, Deposit, is_known, is_made, known_cells, made_cells
from detectors.cells import CONFUSION, KNOWN, MADE
from detectors.crowds import Cells, Crowds
from detectors.fixed import Floats, Ints
from detectors.ladder import DAY_MS, Ladder
from detectors.pane_reader import Pane, read_panes
from detectors.panes import (
    BEGINNING,
    BIN_BITS,
    CLASS_BITS,
    MOST_DEPOSITS,
    PANE_MS,
    SEGMENT_BITS,
    WIDTHS_MS,
    SumTable,
    cell_key,
    floor_to,
    pane_index,
    pane_of,
)
from detectors.picked import Picked
from detectors.segments import Segments
from detectors.statistics.score_counts import ScoreCounts
from schemas.cost import CostMatrix
from schemas.scored import Rows

_PANES = ("made", "known", "made_bins", "known_bins", "cost_cells", "cost_twins", "error_cells")


class VersionSums:
    """Panes, totals and days of one model version. A pure fold over scored rows; every operation is on columns.

    Parameters
    ----------
    distinct_scores
        How many distinct scores the AUC counts exactly.
    cost
        The matrix that the evidence on costs goes by; realised costs need none.
    timeouts
        Whether unlabelled predictions count as negatives in the end.

    """

    def __init__(self, distinct_scores: int, cost: CostMatrix | None = None, *, timeouts: bool = False) -> None:
        self.cost, self.timeouts = cost, timeouts
        self.segments = Segments()
        self.tables = {name: SumTable(layout) for name, layout in LAYOUTS.items()}
        self._scores = ScoreCounts(cap=distinct_scores)
        self._noted: list[tuple[Ints, Floats, Ints, Ints]] = []  # events that ``scores`` is yet to count
        self.frontiers = dict.fromkeys(WIDTHS_MS[1:], BEGINNING)  # before it panes are at least this wide

    def add(self, rows: Rows, where: Ints, ladder: Ladder) -> None:
        """Add the picked rows of one scored message, all of this version."""
        kind = rows.column("kind")[where]
        crowds = self.segments.crowds(rows, where)
        if (made := is_made(kind)).any():
            mine, picked = self._picked(rows, where, crowds, made)
            pane = pane_index(self.pane_start(picked.column("predicted_at")))
            cells = Cells(mine, len(self.segments), pane, np.zeros_like(pane))
            self._merge(made_cells(picked, cells, self.cost, timeouts=self.timeouts))
        if (known := is_known(kind)).any():
            mine, picked = self._picked(rows, where, crowds, known)
            predicted_at = picked.column("predicted_at")
            pane, age = pane_index(self.pane_start(predicted_at)), ladder.age_class(picked.column("known_at") - predicted_at)
            cells = Cells(mine, len(self.segments), pane, age)
            self._merge(known_cells(picked, cells, self.cost, timeouts=self.timeouts))
            score, scored = picked.labelled_scores()
            if len(scored):
                label, sign = picked.column("label")[scored], picked.column("sign")[scored].astype(np.int64)
                self.scores.update_many(mine.segments(scored), score, label, sign)

    @staticmethod
    def _picked(rows: Rows, where: Ints, crowds: Crowds, chosen: npt.NDArray[np.bool_]) -> tuple[Crowds, Picked]:
        return (crowds, Picked(rows, where)) if chosen.all() else (crowds.among(chosen), Picked(rows, where[chosen]))

    @property
    def scores(self) -> ScoreCounts:
        """Labels per distinct score and segment."""
        if self._noted:
            self._count_scores()
        return self._scores

    def _count_scores(self) -> None:
        noted, self._noted = self._noted, []
        for _, alike in groupby(noted, key=lambda each: each[0].shape[1]):
            self._scores.update_many(*(np.concatenate(parts) for parts in zip(*alike, strict=True)))

    def note_scores(self, segments: Ints, score: Floats, label: Ints, sign: Ints) -> None:
        """Count events in ``scores`` when somebody looks; arguments as of ``ScoreCounts.update_many``."""
        self._noted.append((segments, score, label, sign))
        if len(self._noted) >= MOST_DEPOSITS:
            self._count_scores()

    def _merge(self, deposits: Iterable[Deposit]) -> None:
        for table, keys, sums in deposits:
            self.tables[table].merge(keys, sums)

    def pane_start(self, ms: Ints) -> Ints:
        """Return the start of the pane that holds each time, as panes are merged now."""
        start = floor_to(ms, PANE_MS)
        first = int(ms.min()) if len(ms) else 0
        for width, frontier in self.frontiers.items():
            if first < frontier:
                start = np.where(ms < frontier, floor_to(ms, width), start)
        return np.asarray(start)

    def starts(self, width_ms: int, since_ms: int, until_ms: int) -> Ints:
        """Return the starts of the intervals of this width that hold predictions, of those that begin in [since, until)."""
        within = self.tables["made"].span(cell_key(pane_index(since_ms), 0), cell_key(pane_index(until_ms), 0))
        panes = pane_of(self.tables["made"].keys[within])
        return np.unique(floor_to(panes * PANE_MS, width_ms))

    def read(self, spans: list[tuple[int, int]], top_class: int) -> list[Pane]:
        """Return what spans of time hold, ascending and apart; labels up to an age class."""
        return read_panes(self.tables, self.segments, spans, top_class)

    def merge(self, frontiers: dict[int, int]) -> None:
        """Merge panes: before each frontier, epoch ms, they become as wide as it says."""
        for width, frontier in frontiers.items():
            old = self.frontiers[width]
            if frontier <= old:
                continue
            self.frontiers[width] = frontier
            for name in _PANES:
                table = self.tables[name]
                bits = 0 if table.layout is MADE or table.layout is KNOWN else BIN_BITS
                within = table.span(cell_key(pane_index(old), 0) << bits, cell_key(pane_index(frontier), 0) << bits)
                if within.start == within.stop:
                    continue
                keys = table.keys[within]
                shift = SEGMENT_BITS + CLASS_BITS + bits
                pane = pane_index(floor_to((keys >> shift) * PANE_MS, width))
                table.rekey(within.start, within.stop, pane << shift | (keys & ((1 << shift) - 1)))

    def labelled_share(self, until_ms: int, top_class: int) -> float:
        """Return which share of the predictions made before a time had a label by an age class."""
        start = PANE_MS * int(pane_of(self.tables["made"].keys[0]))
        if start >= until_ms:
            return 0.0
        [pane] = self.read([(start, until_ms)], top_class)
        if not len(pane.segments) or pane.segments[0] != 0:
            return 0.0
        return labelled(pane.known[0]) / int(pane.made[0, MADE.at["n"]])

    def outcome_days(self, segment: int, due_ms: int) -> float:
        """Return on how many days, effectively, labels became known before a time: 1 / Σ share², whole days only."""
        table = self.tables["label_days"]
        rows = table.rows[table.span(BEGINNING, due_ms // DAY_MS << SEGMENT_BITS), 0]
        keys = table.keys[: len(rows)]
        n = rows[keys & ((1 << SEGMENT_BITS) - 1) == segment].astype(np.float64)
        return float(n.sum() ** 2 / np.square(n).sum()) if n.any() else 0.0

    def days(self) -> Ints:
        """Return the days with predictions, days since 1970, ascending."""
        table = self.tables["made_days"]
        return np.asarray(table.keys[table.rows[:, 0] != 0] >> SEGMENT_BITS)

    def active(self, since_ms: int, until_ms: int) -> bool:
        """Say whether predictions were made between two times, whole days only."""
        within = self.tables["made_days"].span(since_ms // DAY_MS << SEGMENT_BITS, until_ms // DAY_MS << SEGMENT_BITS)
        return bool(self.tables["made_days"].rows[within].any())

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes."""
        return {
            "segments": self.segments.to_state(),
            "tables": {name: table.to_state() for name, table in self.tables.items()},
            "scores": self.scores.to_bytes(),
            "frontiers": list(self.frontiers.values()),
            "cost": msgspec.to_builtins(self.cost),
            "timeouts": self.timeouts,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], distinct_scores: int) -> "VersionSums":
        """Return the sums that ``to_state`` wrote."""
        sums = cls(distinct_scores, msgspec.convert(state["cost"], CostMatrix | None), timeouts=state["timeouts"])
        sums.segments = Segments.from_state(state["segments"])
        sums.tables = {name: SumTable.from_state(layout, state["tables"][name]) for name, layout in LAYOUTS.items()}
        sums._scores = ScoreCounts.from_bytes(state["scores"])
        sums.frontiers = dict(zip(WIDTHS_MS[1:], state["frontiers"], strict=True))
        return sums


def labelled(known: Ints) -> int:
    """Return how many labels a row of ``cells.KNOWN`` holds, those of abstained predictions included."""
    return sum(int(known[KNOWN.at[name]]) for name in (*CONFUSION, "abstained"))
