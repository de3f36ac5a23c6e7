"""What rows add to the tables of ``VersionSums``: of one version, or of many at once, whose segments stand one version after another."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from detectors.cells import BIN, GRID, KNOWN, MADE, PANE_GRID, Layout, grid_cell
from detectors.cost_cells import COST, PAIRS, cost_rows
from detectors.crowds import NONE, Cells
from detectors.error_cells import ERRORS, FINE_BITS, ROWS, TOTAL, error_rows
from detectors.fixed import Floats, Ints
from detectors.ladder import DAY_MS
from detectors.panes import BIN_BITS, CLASS_BITS, SEGMENT_BITS, sums_by
from detectors.sums import Part, bin_sums, known_sums, made_sums, whole
from schemas.cost import CostMatrix
from schemas.scored import Kind, Rows

TOTAL_BIN_BITS = 6
_DAY = Layout(counts=("n",), sums={})
LAYOUTS: dict[str, Layout] = {
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
_BINS = CLASS_BITS + BIN_BITS
BELOW: dict[str, int] = {  # bits of a key below the segment
    "made": CLASS_BITS,
    "known": CLASS_BITS,
    "made_bins": _BINS,
    "known_bins": _BINS,
    "total_made": 0,
    "total_known": 0,
    "total_bins": TOTAL_BIN_BITS,
    "made_days": 0,
    "label_days": 0,
    "cost_cells": _BINS,
    "cost_twins": _BINS,
    "error_cells": _BINS,
    "total_errors": FINE_BITS,
}

Deposit = tuple[str, Ints, Ints]  # of which table, keys in rising order, and the sums of each; low limbs need not be carried


def is_made(kind: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Say which rows are predictions, by their kinds."""
    return np.asarray(kind == Kind.PREDICTION)


def is_known(kind: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Say which rows tell what became known of a prediction, by their kinds."""
    return np.asarray((kind >= Kind.LABEL) & (kind <= Kind.COST))


def made_cells(rows: Rows, where: Ints, cells: Cells, cost: CostMatrix | None, *, timeouts: bool) -> Iterator[Deposit]:
    """Yield what predictions add; ``cells`` says where each of the picked rows counts."""
    yield from _sides(cells, made_sums(rows, where), "made", "total_made")
    score = rows.column("score")[where]
    scored = np.flatnonzero(np.isfinite(score) & (rows.column("abstained")[where] == 0))
    if len(scored):
        cell = grid_cell(score[scored]) // (GRID // PANE_GRID)
        yield "made_bins", *cells.by_bin(cell, PANE_GRID, bin_sums(rows, where[scored]), BIN, scored)
    yield from _costs(rows, where, cells, cost, timeouts=timeouts)
    aggregate = cells.crowds.aggregate()
    day = (rows.column("predicted_at")[where] // DAY_MS << SEGMENT_BITS) + np.maximum(aggregate, 0)
    yield "made_days", *sums_by(day, None, (rows.column("sign")[where] * (aggregate != NONE).astype(np.int64))[:, np.newaxis])


def known_cells(rows: Rows, where: Ints, cells: Cells, cost: CostMatrix | None, *, timeouts: bool) -> Iterator[Deposit]:
    """Yield what became known adds, likewise; scores are counted apart."""
    yield from _sides(cells, known_sums(rows, where), "known", "total_known")
    score, scored = labelled_scores(rows, where)
    if len(scored):
        cell, bins = grid_cell(score), bin_sums(rows, where[scored])
        yield "known_bins", *cells.by_bin(cell // (GRID // PANE_GRID), PANE_GRID, bins, BIN, scored)
        yield "total_bins", *cells.by_segment(cell, TOTAL_BIN_BITS, bins, BIN, scored)
    yield from _costs(rows, where, cells, cost, timeouts=timeouts)
    if "error" in rows.columns:
        for found in error_rows(rows, where):
            yield "error_cells", *cells.by_bin(found.row, ROWS, whole(found.parts), ERRORS, found.at)
            yield "total_errors", *cells.by_segment(found.cell, FINE_BITS, whole(found.totals), TOTAL, found.at)
    at = np.flatnonzero(rows.column("kind")[where] == Kind.LABEL)
    sign = rows.column("sign")[where[at]].astype(np.int64)
    yield "label_days", *cells.by_time(rows.column("known_at")[where[at]] // DAY_MS, SEGMENT_BITS, sign[:, np.newaxis], at)


def labelled_scores(rows: Rows, where: Ints) -> tuple[Floats, Ints]:
    """Return the scores of labelled predictions that were not abstained, and where each stands among the picked rows."""
    score = rows.column("score")[where]
    scored = np.flatnonzero((rows.column("kind")[where] == Kind.LABEL) & np.isfinite(score) & (rows.column("abstained")[where] == 0))
    return score[scored], scored


def _sides(cells: Cells, part: Part, table: str, total: str) -> Iterator[Deposit]:
    keys, summed = cells.by_cell(part, LAYOUTS[table])
    yield table, keys, summed
    yield total, *sums_by(keys >> CLASS_BITS & ((1 << SEGMENT_BITS) - 1), None, summed)


def _costs(rows: Rows, where: Ints, cells: Cells, cost: CostMatrix | None, *, timeouts: bool) -> Iterator[Deposit]:
    for table, at, pair, sums in cost_rows(rows, where, cost, timeouts=timeouts):
        yield table, *cells.by_bin(pair, PAIRS, whole(sums), COST, at)
