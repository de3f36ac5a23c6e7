"""Response times in log-spaced cells, 2 % wide: quantiles to within 1 %, from counts that add up and can be taken back."""

import numpy as np

from detectors.fixed import Floats, Ints

_EDGES: Ints = np.unique(np.ceil(1.02 ** np.arange(1_500)).astype(np.int64))  # ms; up to some 250 years
CELLS = len(_EDGES) + 1
_MIDDLES: Floats = np.concatenate([[0.0], np.sqrt(_EDGES * np.append(_EDGES[1:] - 1, _EDGES[-1]).astype(np.float64))])


def cell_of(ms: Ints) -> Ints:
    """Return the cell of each duration; one before zero counts as zero.

    >>> cell_of(np.array([-5, 0, 1, 60_000])).tolist()
    [0, 0, 1, 408]
    """
    return np.searchsorted(_EDGES, ms, side="right").astype(np.int64)


def quantile(cells: Ints, counts: Ints, share: float) -> float | None:
    """Return a quantile of durations given as counts by cell, in seconds; None of none.

    The smallest duration that at least this share does not exceed, as the geometric middle of its cell.

    References
    ----------
    Masson, Rim & Lee, PVLDB 12 (2019): DDSketch.

    Examples
    --------
    >>> quantile(cell_of(np.array([1_000, 2_000, 60_000])), np.ones(3, dtype=np.int64), 0.5).__round__(2)
    1.99

    """
    at = quantile_cell(cells, counts, share)
    return None if at is None else middle_s(at)


def middle_s(cell: int) -> float:
    """Return the geometric middle of a cell, in seconds."""
    return float(_MIDDLES[cell]) / 1000


def quantile_cell(cells: Ints, counts: Ints, share: float) -> int | None:
    """Return the cell of a quantile."""
    n = int(counts.sum())
    if n <= 0:
        return None
    order = np.argsort(cells, kind="stable")
    reached = np.cumsum(counts[order]) >= share * n
    return int(cells[order][int(np.argmax(reached))])
