"""What rows add to the tables of ``VersionSums``: of one version, or of many at once, whose segments stand one version after another."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from detectors.cells import BIN, GRID, KNOWN, MADE, PANE_GRID, Layout, grid_cell
from detectors.cost_cells import COST, PAIRS, cost_rows, flat_costs, is_flat
from detectors.crowds import NONE, Cells
from detectors.error_cells import ERRORS, FINE_BITS, ROWS, TOTAL, error_rows
from detectors.fixed import Ints
from detectors.ladder import DAY_MS
from detectors.panes import BIN_BITS, CLASS_BITS, SEGMENT_BITS, sums_by
from detectors.picked import Picked
from detectors.sums import Part, bin_sums, known_sums, made_sums, whole
from schemas.cost import CostMatrix
from schemas.scored import Kind

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


def made_cells(rows: Picked, cells: Cells, cost: CostMatrix | None, *, timeouts: bool) -> Iterator[Deposit]:
    """Yield what predictions add; ``cells`` says where each of them counts."""
    keys, sums = cells.by_cell(made_sums(rows), MADE)
    yield "made", keys, sums
    yield "total_made", *_total(keys, sums)
    score = rows.column("score")
    scored = np.flatnonzero(np.isfinite(score) & (rows.column("abstained") == 0))
    if len(scored):
        cell = grid_cell(score[scored]) // (GRID // PANE_GRID)
        yield "made_bins", *cells.by_bin(cell, PANE_GRID, _bins(rows, scored), BIN, scored)
    yield from _costs(rows, cells, cost, timeouts=timeouts)
    aggregate = cells.crowds.aggregate()
    day = (rows.column("predicted_at") // DAY_MS << SEGMENT_BITS) + np.maximum(aggregate, 0)
    yield "made_days", *sums_by(day, None, (rows.column("sign") * (aggregate != NONE).astype(np.int64))[:, np.newaxis])


def known_cells(rows: Picked, cells: Cells, cost: CostMatrix | None, *, timeouts: bool) -> Iterator[Deposit]:
    """Yield what became known adds, likewise; scores are counted apart."""
    keys, sums = cells.by_cell(known_sums(rows), KNOWN)
    if cost is not None and is_flat(cost) and "sign" not in rows.names and not timeouts:
        yield "cost_cells", *flat_costs(cost, keys, sums)
        cost = None
    yield "known", keys, sums
    yield "total_known", *_total(keys, sums)
    score, scored = rows.labelled_scores()
    if len(scored):
        cell, bins = grid_cell(score), _bins(rows, scored)
        of_panes, total = cells.by_grid(cell, TOTAL_BIN_BITS, bins, scored)
        yield "known_bins", *of_panes
        yield "total_bins", *total
    yield from _costs(rows, cells, cost, timeouts=timeouts)
    if "error" in rows.names:
        for found in error_rows(rows, slice(None)):
            yield "error_cells", *cells.by_bin(found.row, ROWS, whole(found.parts), ERRORS, found.at)
            yield "total_errors", *cells.by_segment(found.cell, FINE_BITS, whole(found.totals), TOTAL, found.at)
    at = np.flatnonzero(rows.column("kind") == Kind.LABEL)
    counts = Part(np.array([0]), len(at), [(0, rows.column("sign")[at].astype(np.int64))])
    yield "label_days", *cells.by_time(rows.column("known_at")[at] // DAY_MS, SEGMENT_BITS, counts, _DAY, at)


def _bins(rows: Picked, scored: Ints) -> Part:
    return bin_sums(rows, scored if len(scored) < rows.n else slice(None))


def _total(keys: Ints, sums: Ints) -> tuple[Ints, Ints]:
    """Return the sums of cells by segment alone."""
    return sums_by(keys >> CLASS_BITS & ((1 << SEGMENT_BITS) - 1), None, sums)


def _costs(rows: Picked, cells: Cells, cost: CostMatrix | None, *, timeouts: bool) -> Iterator[Deposit]:
    for table, at, pair, sums in cost_rows(rows, slice(None), cost, timeouts=timeouts):
        yield table, *cells.by_bin(pair, PAIRS, whole(sums), COST, at)
