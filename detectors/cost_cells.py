"""Costs of events in log-spaced cells: what the evidence on costs is made of.

The cost of an event is its realised cost where one is known, else what the matrix gives its cell of the confusion matrix; benefits
(negative costs) count as zero, since a bet on a mean needs a floor. A cost falls into one of 64 cells: nothing below 0.001, then six a
decade up to 31 million, the last one open. Evidence takes the lower end of a cell for every cost in it; people are shown the exact mean.

Unlike other sums these depend on a policy, and what was added can't be added anew under another matrix: so a model version keeps the
matrix that was in force at its first row. Reports follow the policy in force.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.cells import CONFUSION, KNOWN, Layout
from detectors.fixed import MONEY_UNIT, Floats, Ints, carry
from detectors.panes import BIN_BITS, grouped
from detectors.sums import Columns, confusion_cell
from schemas.cost import CostMatrix
from schemas.scored import Kind

COST = Layout(counts=("lower", "upper"), sums={"cost": MONEY_UNIT})  # two neighbouring cells to a row: a pane's key has room for 32
PAIRS = 32
CELLS = 2 * PAIRS
_EDGES: Ints = np.ceil(10.0 ** (1 + np.arange(CELLS - 1) / 6)).astype(np.int64)  # in ten-thousandths: from 0.001 on
LOWER_ENDS: Floats = np.concatenate([[0.0], _EDGES * MONEY_UNIT])


def cost_cell(cost: Ints) -> Ints:
    """Return the cell of each cost, given in ten-thousandths.

    >>> cost_cell(np.array([0, 9, 10, 10_000])).tolist(), float(LOWER_ENDS[19])
    ([0, 0, 1, 19], 1.0)
    """
    return np.searchsorted(_EDGES, cost, side="right").astype(np.int64)


def cost_rows(
    rows: Columns, where: npt.NDArray[Any] | slice, matrix: CostMatrix | None, *, timeouts: bool
) -> Iterator[tuple[str, Ints, Ints, Ints]]:
    r"""Yield what rows add: a table's name, the positions of rows (among ``where``), the pair of cells, the sums shaped (n, width).

    ``cost_cells`` holds costs of labels and realised ones. ``cost_twins``, where labels time out, holds what a prediction costs if it is
    a negative, less that of the labelled ones: what is left is the unlabelled ones' share.

    >>> from schemas.scored import Rows
    >>> rows = Rows("m", [], 1, {"kind": b"\x02", "label": b"\x01"})
    >>> for name, _, pair, sums in cost_rows(rows, slice(None), CostMatrix(fn=(1.0, 0.0)), timeouts=False):
    ...     print(name, pair.tolist(), sums.tolist())
    cost_cells [9] [[0, 1, 0, 10000]]
    """

    def column(name: str) -> npt.NDArray[Any]:
        return rows.column(name)[where]

    kind, sign = column("kind"), column("sign").astype(np.int64)
    realised = np.flatnonzero(kind == Kind.COST)
    if len(realised):
        yield "cost_cells", realised, *_sums(column("money")[realised], sign[realised])
    if matrix is None:
        return
    kept = column("abstained") == 0
    labelled = np.flatnonzero(kept & (kind == Kind.LABEL) & (column("costed") == 0))
    if len(labelled):
        cost = _cost(matrix, column("predicted")[labelled] != 0, column("label")[labelled] != 0, column("amount")[labelled])
        yield "cost_cells", labelled, *_sums(cost, sign[labelled])
    judged = np.flatnonzero(kept & ((kind == Kind.LABEL) | (kind == Kind.PREDICTION))) if timeouts else labelled[:0]
    if len(judged):
        cost = _cost(matrix, column("predicted")[judged] != 0, np.zeros(len(judged), dtype=bool), column("amount")[judged])
        yield "cost_twins", judged, *_sums(cost, np.where(kind[judged] == Kind.LABEL, -sign[judged], sign[judged]))


def _cost(matrix: CostMatrix, predicted: npt.NDArray[np.bool_], label: npt.NDArray[np.bool_], amount: Ints) -> Ints:
    lines, cell = np.array([getattr(matrix, name) for name in CONFUSION]), confusion_cell(predicted, label)
    return np.asarray(np.rint((lines[:, 0] / MONEY_UNIT).take(cell) + lines[:, 1].take(cell) * amount), dtype=np.int64)


def _sums(cost: Ints, sign: Ints) -> tuple[Ints, Ints]:
    cost = np.maximum(cost, 0)
    cell = cost_cell(cost)
    out = COST.zeros(len(cost))
    out[np.arange(len(cost)), cell & 1] = sign
    out[:, COST.at["cost"] + 1] = sign * cost
    return cell >> 1, out


def is_flat(matrix: CostMatrix) -> bool:
    """Say whether no cost goes by the amount."""
    return not any(getattr(matrix, name)[1] for name in CONFUSION)


def flat_costs(matrix: CostMatrix, keys: Ints, known: Ints) -> tuple[Ints, Ints]:
    """Return what labels add to ``cost_cells`` by keys << 5 | pair, ascending: all in a cell of the confusion cost the same.

    Parameters
    ----------
    matrix
        Without costs by amount.
    keys, known
        Sums in the layout ``KNOWN`` of rows of which none is taken back, shapes (k,) and (k, width).

    Examples
    --------
    >>> known = KNOWN.zeros(1)
    >>> known[0, KNOWN.at["matrix_fn"]] = 2
    >>> keys, sums = flat_costs(CostMatrix(fn=(1.0, 0.0)), np.array([3]), known)
    >>> (keys & PAIRS - 1).tolist(), sums.tolist()
    ([9], [[0, 2, 0, 20000]])

    """
    n = KNOWN.at["matrix_tp"]
    at, of = np.nonzero(known[:, n : n + len(CONFUSION)])
    each = np.rint(np.array([getattr(matrix, name)[0] for name in CONFUSION]) / MONEY_UNIT).astype(np.int64)
    pair, sums = _sums(each[of], known[at, n + of])
    return grouped(keys[at] << BIN_BITS | pair, sums)


def with_timeouts(costs: Ints, twins: Ints, binary: npt.NDArray[np.bool_]) -> Ints:
    """Return costs with every unlabelled prediction as a negative, in segments that hold binary ones only; shapes (s, 32, width)."""
    return carry(costs + twins * binary[:, np.newaxis, np.newaxis], COST.first_high)
