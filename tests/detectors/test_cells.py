"""Sums by cell: the same whichever way they are taken, in place, by crowd or row by row."""

from collections import defaultdict

import numpy as np
import pytest

from detectors.cell_sums import TOTAL_BIN_BITS, known_cells
from detectors.cells import BIN, CONFUSION, GRID, PANE_GRID
from detectors.cost_cells import COST, PAIRS, cost_rows, is_flat
from detectors.crowds import NONE, Cells, Crowds
from detectors.fixed import Ints
from detectors.panes import BIN_BITS, CLASS_BITS, cell_key
from detectors.picked import Picked
from detectors.sums import Part, whole
from schemas.cost import CostMatrix
from schemas.scored import Kind, Rows

# rows, crowds, segments, panes: in place; by crowd; more places than rows; few rows
CASES = {"in place": (4_000, 300, 5, 2), "by crowd": (4_000, 3, 5, 2), "wide": (2_000, 1_500, 700, 9), "few": (40, 40, 5, 2)}


def drawn(name: str) -> tuple[np.random.Generator, Crowds, Cells, Ints, Ints]:
    n, crowds, segments, panes = CASES[name]
    rng = np.random.default_rng(3)
    members = np.column_stack([np.zeros(crowds, int), rng.integers(1, segments, (crowds, 2))])
    members[rng.random(crowds) < 0.2, 0] = NONE
    members[rng.random(crowds) < 0.2, 2] = NONE
    of = Crowds(rng.integers(0, crowds, n), members)
    pane, age = rng.integers(1_000, 1_000 + panes, n), rng.integers(0, 3, n)
    return rng, of, Cells(of, segments, pane, age), pane, age


def expected(crowds: Crowds, at: Ints, rows: Ints, key_of) -> dict[int, list[int]]:
    """Add up one row after another."""
    out: dict[int, Ints] = defaultdict(lambda: np.zeros(rows.shape[1], dtype=np.int64))
    for i, row in zip(at.tolist(), rows, strict=True):
        for segment in crowds.members[crowds.of[i]].tolist():
            if segment != NONE:
                out[int(key_of(i, segment))] += row
    return {key: out[key].tolist() for key in sorted(out)}


def told(found: tuple[Ints, Ints]) -> dict[int, list[int]]:
    keys, rows = found
    assert (np.diff(keys) > 0).all()
    return dict(zip(keys.tolist(), rows.tolist(), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_each_cell_holds_the_sum_of_its_rows(name: str) -> None:
    """Rows that cancel each other out leave their cell there."""
    rng, crowds, cells, pane, age = drawn(name)
    at = np.flatnonzero(rng.random(len(pane)) < 0.9)
    rows = rng.integers(-1, 2, (len(at), BIN.width))
    part, grid = whole(rows), rng.integers(0, GRID, len(at))
    cell, time = dict(zip(at.tolist(), grid.tolist(), strict=True)), pane // 2
    assert told(cells.by_bin(grid // 3, PANE_GRID, part, BIN, at)) == expected(
        crowds, at, rows, lambda i, segment: cell_key(pane[i], segment, age[i]) << BIN_BITS | cell[i] // 3
    )
    assert told(cells.by_segment(grid, TOTAL_BIN_BITS, part, BIN, at)) == expected(
        crowds, at, rows, lambda i, segment: segment << TOTAL_BIN_BITS | cell[i]
    )
    assert told(cells.by_time(time[at], 20, part, BIN, at)) == expected(crowds, at, rows, lambda i, segment: time[i] << 20 | segment)
    of_panes, total = cells.by_grid(grid, TOTAL_BIN_BITS, part, at)
    assert told(of_panes) == told(cells.by_bin(grid // 3, PANE_GRID, part, BIN, at))
    assert told(total) == told(cells.by_segment(grid, TOTAL_BIN_BITS, part, BIN, at))
    every = np.arange(len(pane))
    rows = rng.integers(-1, 2, (len(pane), 2))
    some = Part(np.array([3, 1]), len(pane), [(0, rows[:, 0]), (np.ones(len(pane), dtype=np.int64), rows[:, 1])])
    assert told(cells.by_cell(some, BIN)) == expected(crowds, every, some.full(BIN), lambda i, segment: cell_key(pane[i], segment, age[i]))


@pytest.mark.parametrize("name", ["in place", "few"])
def test_costs_that_do_not_go_by_the_amount_are_those_of_each_row(name: str) -> None:
    """Taken from the confusion of each cell; a benefit counts as no cost, and a label with a realised cost not at all."""
    rng, _, cells, _, _ = drawn(name)
    n = CASES[name][0]
    columns = {column: rng.integers(0, 2, n).astype("u1").tobytes() for column in ("predicted", "label", "costed")}
    columns |= {"kind": bytes([Kind.LABEL]) * n, "amount": rng.integers(1, 9, n).astype("<i8").tobytes(), "score": rng.random(n).tobytes()}
    rows = Picked(Rows("m", [], n, columns), np.arange(n))
    matrix = CostMatrix(fp=(5.0, 0.0), fn=(4.9, 0.0), tp=(-1.0, 0.0))
    [(_, at, pair, sums)] = cost_rows(rows, slice(None), matrix, timeouts=False)
    [found] = [(keys, sums) for table, keys, sums in known_cells(rows, cells, matrix, timeouts=False) if table == "cost_cells"]
    assert told(found) == told(cells.by_bin(pair, PAIRS, whole(sums), COST, at))
    assert is_flat(matrix)
    assert not any(is_flat(CostMatrix(**{name: (0.0, 0.1)})) for name in CONFUSION)
    assert found[0].min() >> BIN_BITS + CLASS_BITS
