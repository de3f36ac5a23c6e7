"""Errors of predicted numbers in log-spaced cells: what the evidence on them and their figures are made of.

An absolute error falls into one of 512 cells on a fixed grid: nothing below 1.07e-6, then 32 a decade up to 10 billion, the last one open.
So quantiles are known to 3.6 % on either side, of any distribution, from counts that add up (the idea of DDSketch; Masson, Rim & Lee, VLDB
2019). Evidence sees four neighbouring cells as one, 8 a decade.

Numbers come in any unit, and no fixed point holds all of them: beside its count a cell keeps the sums of errors, of absolute and of
squared ones in units of its own lower end; panes keep counts by cell, sums by row of sixteen cells, in units of the row's. These are sums
of integers: additive, mergeable, revertible. So are mean absolute error, root mean square error and bias, which are made from them;
quantiles are made from the counts alone.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from detectors.cells import Layout
from detectors.fixed import SCORE_UNIT, Floats, Ints, carry, to_fixed
from detectors.sums import Columns
from schemas.scored import Kind

QUARTERS = 4  # cells that the evidence sees as one
A_ROW = 16  # cells in a row
SUMS = {"error": 1, "absolute": 1, "squared": 2}  # the power of the lower end that each is in units of
# of panes: sixteen cells to a row, since a key has room for 32 rows
ERRORS = Layout(counts=tuple(f"cell_{i}" for i in range(A_ROW)), sums=dict.fromkeys(SUMS, SCORE_UNIT))
ROWS = 32
FINE = A_ROW * ROWS
CELLS = FINE // QUARTERS  # of the evidence
FINE_BITS = 9
TOTAL = Layout(counts=("n",), sums=dict.fromkeys(SUMS, SCORE_UNIT))
# nine digits: the same on every machine, whatever its power function
LOWER_ENDS: Floats = np.array([float(f"{10.0 ** (i / 32 - 6):.9g}") for i in range(FINE)])
EDGES: Floats = LOWER_ENDS[::QUARTERS]  # of the evidence's cells
ROW_ENDS: Floats = LOWER_ENDS[::A_ROW]


def error_cell(error: npt.ArrayLike) -> Ints:
    """Return the cell, one of 512, of each error; any shape.

    >>> cell = error_cell([0.0, -1.0, 1.05, 9e11])
    >>> cell.tolist(), float(LOWER_ENDS[cell[1]])
    ([0, 192, 192, 511], 1.0)
    """
    return np.asarray(np.maximum(np.searchsorted(LOWER_ENDS, np.abs(error), side="right") - 1, 0), dtype=np.int64)


class Errors(NamedTuple):
    """What labels of numbers add: to the totals by cell, to a pane by row."""

    at: Ints  # positions of scored rows, shape (n,)
    cell: Ints  # one of 512, shape (n,)
    totals: Ints  # layout TOTAL, in units of the cell's lower end
    row: Ints  # one of 32, shape (n,)
    parts: Ints  # layout ERRORS, in units of the row's lower end


def error_rows(rows: Columns, where: npt.NDArray[Any] | slice) -> Iterator[Errors]:
    r"""Yield what labels of numbers add, with positions among ``where``; nothing for none. Abstained predictions add nothing.

    >>> from schemas.scored import Rows
    >>> rows = Rows("m", [], 1, {"kind": b"\x02", "error": np.array([-1.5]).tobytes()})
    >>> [found] = error_rows(rows, slice(None))
    >>> found.at, found.cell, TOTAL.total(found.totals, "error") * LOWER_ENDS[found.cell]
    (array([0]), array([197]), array([-1.5]))
    >>> found.row, found.parts[:, :A_ROW].nonzero()[1], ERRORS.total(found.parts, "error") * ROW_ENDS[found.row]
    (array([12]), array([5]), array([-1.5]))
    """
    error = rows.column("error")[where]
    at = np.flatnonzero(np.isfinite(error) & (rows.column("kind")[where] == Kind.LABEL) & (rows.column("abstained")[where] == 0))
    if not len(at):
        return
    sign = rows.column("sign")[where][at].astype(np.int64)
    cell = error_cell(error[at])
    row = cell // A_ROW
    totals = _summed(TOTAL, error[at] / LOWER_ENDS[cell], sign)
    totals[:, TOTAL.at["n"]] = sign
    parts = _summed(ERRORS, error[at] / ROW_ENDS[row], sign)
    parts[np.arange(len(at)), cell % A_ROW] = sign
    yield Errors(at, cell, totals, row, parts)


def _summed(layout: Layout, share: Floats, sign: Ints) -> Ints:
    """Return rows with the sums of errors, given as shares of a lower end; counts are left to the caller."""
    out = layout.zeros(len(share))
    for name, value in (("error", share), ("absolute", np.abs(share)), ("squared", np.square(share))):
        out[:, layout.at[name] + 1] = sign * to_fixed(value, SCORE_UNIT)
    return carry(out, layout.first_high)


def quantile(counts: Floats | Ints, share: float) -> float:
    """Return an absolute error that this share of the errors does not exceed; counts by cell, coarse or fine; 0 below the first edge.

    Errors are taken to be spread evenly over the logarithms of their cell.

    >>> counts = np.zeros(FINE)
    >>> counts[[160, 192]] = 50, 50
    >>> round(quantile(counts, 0.25), 4), round(quantile(counts, 0.9), 4)
    (0.1037, 1.0593)
    """
    below = np.cumsum(counts)
    reached = share * float(below[-1])
    cell = int(np.searchsorted(below, reached))
    if not cell:
        return 0.0
    within = (reached - float(below[cell - 1])) / float(counts[cell])
    wide = FINE // len(counts)
    return float(LOWER_ENDS[cell * wide] * 10.0 ** (within * wide / 32))
