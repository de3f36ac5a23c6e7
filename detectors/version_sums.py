"""All sums of one model version: panes for the rungs, totals for the report."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from detectors.cells import BIN, CONFUSION, GRID, KNOWN, MADE, PANE_GRID, Layout, grid_cell
from detectors.cost_cells import COST, cost_rows
from detectors.error_cells import ERRORS, FINE_BITS, TOTAL, error_rows
from detectors.fixed import Ints
from detectors.ladder import DAY_MS, Ladder
from detectors.pane_reader import Pane, read_panes
from detectors.panes import (
    BEGINNING,
    BIN_BITS,
    CLASS_BITS,
    MAX_CLASS,
    PANE_MS,
    SEGMENT_BITS,
    WIDTHS_MS,
    SumTable,
    cell_key,
    floor_to,
    pane_index,
    pane_of,
    sums_by,
)
from detectors.segments import Segments
from detectors.statistics.score_counts import ScoreCounts
from detectors.sums import bin_sums, known_sums, made_sums
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
        position, segment = self.segments.memberships(rows, where)
        for chosen, add in ((kind == Kind.PREDICTION, self._add_made), ((kind >= Kind.LABEL) & (kind <= Kind.COST), self._add_known)):
            if not chosen.any():
                continue
            place = np.cumsum(chosen) - 1  # among the chosen
            mine = chosen[position]
            add(rows, where[chosen], _Cells(place[position[mine]], segment[mine], len(self.segments)), ladder)

    def _add_made(self, rows: Rows, where: Ints, cells: "_Cells", ladder: Ladder) -> None:
        predicted_at, sign = rows.column("predicted_at")[where], rows.column("sign")[where].astype(np.int64)
        cells.divide(pane_index(self.pane_start(predicted_at)), np.zeros(len(where), dtype=np.int64))
        self._add_sides(cells, made_sums(rows, where), "made", "total_made")
        score = rows.column("score")[where]
        scored = np.isfinite(score) & (rows.column("abstained")[where] == 0)
        if scored.any():
            cell = grid_cell(np.where(scored, score, 0.0))
            self.tables["made_bins"].merge(*cells.binned(cell // (GRID // PANE_GRID), scored, bin_sums(rows, where)))
        self._add_costs(rows, where, cells)
        self.tables["made_days"].add(predicted_at // DAY_MS << SEGMENT_BITS, (sign * cells.whole(len(where)))[:, np.newaxis])

    def _add_known(self, rows: Rows, where: Ints, cells: "_Cells", ladder: Ladder) -> None:
        predicted_at, known_at, sign = (rows.column(name)[where].astype(np.int64) for name in ("predicted_at", "known_at", "sign"))
        cells.divide(pane_index(self.pane_start(predicted_at)), ladder.age_class(known_at - predicted_at))
        self._add_sides(cells, known_sums(rows, where), "known", "total_known")
        labelled = rows.column("kind")[where] == Kind.LABEL
        score = rows.column("score")[where]
        scored = labelled & np.isfinite(score) & (rows.column("abstained")[where] == 0)
        if scored.any():
            cell, bins = grid_cell(np.where(scored, score, 0.0)), bin_sums(rows, where)
            self.tables["known_bins"].merge(*cells.binned(cell // (GRID // PANE_GRID), scored, bins))
            mine = scored[cells.at]
            at, segment = cells.at[mine], cells.segment[mine]
            self.tables["total_bins"].merge(*sums_by(segment << TOTAL_BIN_BITS | cell[at], at, bins))
            self.scores.update_many(cells.matrix(scored), score[scored], rows.column("label")[where][scored], sign[scored])
        self._add_costs(rows, where, cells)
        if "error" in rows.columns:
            self._add_errors(rows, where, cells)
        mine = labelled[cells.at]
        days, day = np.unique(known_at // DAY_MS, return_inverse=True)
        code, sums = sums_by(day[cells.at[mine]] * cells.segments + cells.segment[mine], cells.at[mine], sign[:, np.newaxis])
        self.tables["label_days"].merge(days[code // cells.segments] << SEGMENT_BITS | code % cells.segments, sums)

    def _add_sides(self, cells: "_Cells", sums: Ints, table: str, total: str) -> None:
        keys, summed = cells.summed(sums)
        self.tables[table].merge(keys, summed)
        self.tables[total].add(keys >> CLASS_BITS & ((1 << SEGMENT_BITS) - 1), summed)

    def _add_costs(self, rows: Rows, where: Ints, cells: "_Cells") -> None:
        for table, at, pair, sums in cost_rows(rows, where, self.cost, timeouts=self.timeouts):
            chosen, picked = cells.of(at, len(where))
            self.tables[table].add(cells.keys()[chosen] << BIN_BITS | pair[picked], sums[picked])

    def _add_errors(self, rows: Rows, where: Ints, cells: "_Cells") -> None:
        for found in error_rows(rows, where):
            chosen, picked = cells.of(found.at, len(where))
            self.tables["error_cells"].add(cells.keys()[chosen] << BIN_BITS | found.row[picked], found.parts[picked])
            self.tables["total_errors"].add(cells.segment[chosen] << FINE_BITS | found.cell[picked], found.totals[picked])

    def pane_start(self, ms: Ints) -> Ints:
        """Return the start of the pane that holds each time, as panes are merged now."""
        start = floor_to(ms, PANE_MS)
        for width, frontier in self.frontiers.items():
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


class _Cells:
    """Which rows of a message count in which cells (pane, segment, age class): m memberships of n rows.

    A cell is numbered densely, so that sums are taken without sorting; ``divide`` says how.
    """

    def __init__(self, at: Ints, segment: Ints, segments: int) -> None:
        self.at, self.segment = at, segment  # shape (m,): position of a row, one of its segments
        self.segments = segments  # how many there are
        self._spans: Ints = np.zeros(0, dtype=np.int64)
        self._code: Ints = np.zeros(0, dtype=np.int64)

    def divide(self, pane: Ints, age_class: Ints) -> None:
        """Divide by each row's pane and age class, shape (n,)."""
        self._spans, which = np.unique(pane << CLASS_BITS | age_class, return_inverse=True)
        self._code = which[self.at] * self.segments + self.segment

    def keys(self) -> Ints:
        """Return the cell of each membership, shape (m,)."""
        return self._keys(self._code)

    def of(self, rows: Ints, n: int) -> tuple[npt.NDArray[np.bool_], Ints]:
        """Return which memberships are of some of n rows, and for each of those which of these rows it is of."""
        place = np.full(n, -1, dtype=np.int64)
        place[rows] = np.arange(len(rows))
        mine = place[self.at]
        return mine >= 0, mine[mine >= 0]

    def summed(self, rows: Ints) -> tuple[Ints, Ints]:
        """Return the cells, ascending, and the sums of their rows, given as shape (n, width)."""
        codes, sums = sums_by(self._code, self.at, rows)
        return _sorted(self._keys(codes), sums)

    def binned(self, cell: Ints, scored: npt.NDArray[np.bool_], rows: Ints) -> tuple[Ints, Ints]:
        """Return the same per calibration cell, of the rows that are scored; ``cell`` has shape (n,)."""
        mine = scored[self.at]
        at = self.at[mine]
        codes, sums = sums_by(self._code[mine] * PANE_GRID + cell[at], at, rows)
        return _sorted(self._keys(codes // PANE_GRID) << BIN_BITS | codes % PANE_GRID, sums)

    def matrix(self, chosen: npt.NDArray[np.bool_]) -> Ints:
        """Return the segments of the chosen rows, shape (rows, most); -1: none."""
        mine = chosen[self.at]
        at, segment = self.at[mine], self.segment[mine]
        order = np.argsort(at, kind="stable")
        at, segment = at[order], segment[order]
        first = np.flatnonzero(np.concatenate(([True], at[1:] != at[:-1])))
        count = np.diff(np.append(first, len(at)))
        out = np.full((len(first), int(count.max())), -1, dtype=np.int64)
        out[np.repeat(np.arange(len(first)), count), np.arange(len(at)) - np.repeat(first, count)] = segment
        return out

    def whole(self, n: int) -> Ints:
        """Return 1 for each row that counts in the aggregate, shape (n,)."""
        out = np.zeros(n, dtype=np.int64)
        out[self.at[self.segment == 0]] = 1
        return out

    def _keys(self, codes: Ints) -> Ints:
        span = self._spans[codes // self.segments]
        keys: Ints = cell_key(span >> CLASS_BITS, codes % self.segments, span & MAX_CLASS)
        return keys


def _sorted(keys: Ints, sums: Ints) -> tuple[Ints, Ints]:
    order = np.argsort(keys)
    return keys[order], sums[order]


def labelled(known: Ints) -> int:
    """Return how many labels a row of ``cells.KNOWN`` holds, those of abstained predictions included."""
    return sum(int(known[KNOWN.at[name]]) for name in (*CONFUSION, "abstained"))
