"""All sums of one model version: panes for the rungs, totals for the report."""

from typing import Any

import msgspec
import numpy as np

from detectors.cells import BIN, CONFUSION, GRID, KNOWN, MADE, PANE_GRID, Layout, grid_cell
from detectors.cost_cells import COST, PAIRS, cost_rows
from detectors.crowds import Cells, Crowds
from detectors.error_cells import ERRORS, FINE_BITS, ROWS, TOTAL, error_rows
from detectors.fixed import Ints
from detectors.ladder import DAY_MS, Ladder
from detectors.pane_reader import Pane, read_panes
from detectors.panes import (
    BEGINNING,
    BIN_BITS,
    CLASS_BITS,
    PANE_MS,
    SEGMENT_BITS,
    WIDTHS_MS,
    SumTable,
    cell_key,
    floor_to,
    pane_index,
    pane_of,
)
from detectors.segments import Segments
from detectors.statistics.score_counts import ScoreCounts
from detectors.sums import Part, bin_sums, known_sums, made_sums, whole
from schemas.cost import CostMatrix
from schemas.scored import Kind, Rows

TOTAL_BIN_BITS = 6
_DAY = Layout(counts=("n",), sums={})
_TABLES: dict[str, Layout] = {
    "made": MADE,
    "known": KNOWN,
    "made_bins": BIN,
    "known_bins": BIN,
    "total_made": MADE,
    "total_known": KNOWN,
    "total_bins": BIN,
    "made_days": _DAY,  # by day of prediction
    "label_days": _DAY,  # by day on which labels became known, and segment
    "cost_cells": COST,
    "cost_twins": COST,  # of negatives, less those of labelled ones; where labels time out
    "error_cells": ERRORS,  # of predicted numbers
    "total_errors": TOTAL,
}
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
        self.tables = {name: SumTable(layout) for name, layout in _TABLES.items()}
        self.scores = ScoreCounts(cap=distinct_scores)
        self.frontiers = dict.fromkeys(WIDTHS_MS[1:], BEGINNING)  # before it panes are at least this wide

    def add(self, rows: Rows, where: Ints, ladder: Ladder) -> None:
        """Add the picked rows of one scored message, all of this version."""
        kind = rows.column("kind")[where]
        crowds = self.segments.crowds(rows, where)
        for chosen, add in ((kind == Kind.PREDICTION, self._add_made), ((kind >= Kind.LABEL) & (kind <= Kind.COST), self._add_known)):
            if chosen.any():
                add(rows, where[chosen], crowds.among(chosen), ladder)

    def _add_made(self, rows: Rows, where: Ints, crowds: Crowds, ladder: Ladder) -> None:
        predicted_at, sign = rows.column("predicted_at")[where], rows.column("sign")[where].astype(np.int64)
        cells = Cells(crowds, len(self.segments), pane_index(self.pane_start(predicted_at)), np.zeros(len(where), dtype=np.int64))
        self._add_sides(cells, made_sums(rows, where), "made", "total_made")
        score = rows.column("score")[where]
        scored = np.flatnonzero(np.isfinite(score) & (rows.column("abstained")[where] == 0))
        if len(scored):
            cell = grid_cell(score[scored]) // (GRID // PANE_GRID)
            self.tables["made_bins"].merge(*cells.by_bin(cell, PANE_GRID, bin_sums(rows, where[scored]), BIN, scored))
        self._add_costs(rows, where, cells)
        self.tables["made_days"].add(predicted_at // DAY_MS << SEGMENT_BITS, (sign * crowds.whole())[:, np.newaxis])

    def _add_known(self, rows: Rows, where: Ints, crowds: Crowds, ladder: Ladder) -> None:
        predicted_at, known_at, sign = (rows.column(name)[where].astype(np.int64) for name in ("predicted_at", "known_at", "sign"))
        cells = Cells(crowds, len(self.segments), pane_index(self.pane_start(predicted_at)), ladder.age_class(known_at - predicted_at))
        self._add_sides(cells, known_sums(rows, where), "known", "total_known")
        labelled = rows.column("kind")[where] == Kind.LABEL
        score = rows.column("score")[where]
        scored = np.flatnonzero(labelled & np.isfinite(score) & (rows.column("abstained")[where] == 0))
        if len(scored):
            cell, bins = grid_cell(score[scored]), bin_sums(rows, where[scored])
            self.tables["known_bins"].merge(*cells.by_bin(cell // (GRID // PANE_GRID), PANE_GRID, bins, BIN, scored))
            self.tables["total_bins"].merge(*cells.by_segment(cell, TOTAL_BIN_BITS, bins, BIN, scored))
            self.scores.update_many(crowds.segments(scored), score[scored], rows.column("label")[where[scored]], sign[scored])
        self._add_costs(rows, where, cells)
        if "error" in rows.columns:
            self._add_errors(rows, where, cells)
        at = np.flatnonzero(labelled)
        self.tables["label_days"].merge(*cells.by_time(known_at[at] // DAY_MS, SEGMENT_BITS, sign[at, np.newaxis], at))

    def _add_sides(self, cells: Cells, part: Part, table: str, total: str) -> None:
        keys, summed = cells.by_cell(part, _TABLES[table])
        self.tables[table].merge(keys, summed)
        self.tables[total].add(keys >> CLASS_BITS & ((1 << SEGMENT_BITS) - 1), summed)

    def _add_costs(self, rows: Rows, where: Ints, cells: Cells) -> None:
        for table, at, pair, sums in cost_rows(rows, where, self.cost, timeouts=self.timeouts):
            self.tables[table].merge(*cells.by_bin(pair, PAIRS, whole(sums), COST, at))

    def _add_errors(self, rows: Rows, where: Ints, cells: Cells) -> None:
        for found in error_rows(rows, where):
            self.tables["error_cells"].merge(*cells.by_bin(found.row, ROWS, whole(found.parts), ERRORS, found.at))
            self.tables["total_errors"].merge(*cells.by_segment(found.cell, FINE_BITS, whole(found.totals), TOTAL, found.at))

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
        sums.tables = {name: SumTable.from_state(layout, state["tables"][name]) for name, layout in _TABLES.items()}
        sums.scores = ScoreCounts.from_bytes(state["scores"])
        sums.frontiers = dict(zip(WIDTHS_MS[1:], state["frontiers"], strict=True))
        return sums


def labelled(known: Ints) -> int:
    """Return how many labels a row of ``cells.KNOWN`` holds, those of abstained predictions included."""
    return sum(int(known[KNOWN.at[name]]) for name in (*CONFUSION, "abstained"))
