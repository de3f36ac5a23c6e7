"""Costs of decisions, from counts and amounts per cell of the confusion matrix.

A cost is a line ``a + b * amount`` per cell, so counts and summed amounts give every total exactly. Hindsight is taken per cell: the better
of the two actions *for the cell as a whole*. With amounts that differ inside a cell, the best action may differ too, so regret is a lower
bound of the regret event by event (a sum of minima is at most the minimum of the sums); it is exact where one action is better
for every amount.
"""

import numpy as np
import numpy.typing as npt

from detectors.cells import CONFUSION
from detectors.fixed import Floats
from detectors.statistics.ratio import ratio
from schemas.cost import CostMatrix

OTHER = {"tp": "fn", "fp": "tn", "tn": "fp", "fn": "tp"}  # the cell that the other action would have led to

Cells = dict[str, Floats]  # by cell of the confusion matrix, each shape (...)


def cost_of(matrix: CostMatrix, cell: str, count: npt.ArrayLike, amount: npt.ArrayLike) -> Floats:
    """Return the cost of ``count`` events of one cell with ``amount`` in all.

    >>> float(cost_of(CostMatrix(fn=(25.0, 0.5)), "fn", 2, 100.0))
    100.0
    """
    a, b = getattr(matrix, cell)
    return np.asarray(a * np.asarray(count, dtype=np.float64) + b * np.asarray(amount, dtype=np.float64))


def matrix_cost(matrix: CostMatrix, counts: Cells, amounts: Cells) -> Floats:
    """Return the cost that the matrix gives labelled events."""
    return np.asarray(sum(cost_of(matrix, cell, counts[cell], amounts[cell]) for cell in CONFUSION))


def regret(matrix: CostMatrix, counts: Cells, amounts: Cells) -> Floats:
    """Return the cost of labelled events beyond that of the action which was better in hindsight, per cell.

    >>> ones, none = dict.fromkeys(CONFUSION, np.float64(1)), dict.fromkeys(CONFUSION, np.float64(0))
    >>> float(regret(CostMatrix(fp=(5.0, 0.0), fn=(20.0, 0.0)), ones, none))
    25.0
    """
    total = np.zeros(np.shape(counts["tp"]))
    for cell in CONFUSION:
        chosen, other = (cost_of(matrix, name, counts[cell], amounts[cell]) for name in (cell, OTHER[cell]))
        total = total + np.maximum(chosen - other, 0.0)
    return np.asarray(total)


def expected_costs(matrix: CostMatrix, counts: Cells, amounts: Cells) -> tuple[Floats, Floats]:
    """Return the expected cost of predictions before labels, and the expected regret.

    ``counts`` and ``amounts`` are expected ones, by the scores: of n predicted positive with scores summing to s, s are true positives and
    n - s false ones. The expected regret is against the other action for all predicted positive, and for all predicted negative.

    >>> counts = {"tp": np.float64(8), "fp": np.float64(2), "fn": np.float64(1), "tn": np.float64(9)}
    >>> [float(cost) for cost in expected_costs(CostMatrix(fp=(5.0, 0.0), fn=(20.0, 0.0)), counts, dict.fromkeys(CONFUSION, np.float64(0)))]
    [30.0, 0.0]
    """
    excess = np.zeros(np.shape(counts["tp"]))
    total = np.zeros(np.shape(counts["tp"]))
    for action in (("tp", "fp"), ("tn", "fn")):
        chosen = np.asarray(sum(cost_of(matrix, cell, counts[cell], amounts[cell]) for cell in action))
        other = np.asarray(sum(cost_of(matrix, OTHER[cell], counts[cell], amounts[cell]) for cell in action))
        total = total + chosen
        excess = excess + np.maximum(chosen - other, 0.0)
    return np.asarray(total), np.asarray(excess)


def net_benefit(tp: npt.ArrayLike, fp: npt.ArrayLike, n: npt.ArrayLike, threshold: float) -> Floats:
    """Return the net benefit per event of acting at a threshold: true positives, less false ones at the threshold's odds.

    NaN without events, or if the threshold is not within (0, 1).

    References
    ----------
    Vickers & Elkin, "Decision curve analysis", Medical Decision Making 26 (2006).

    Examples
    --------
    >>> float(net_benefit(30, 20, 100, 0.2))
    0.25

    """
    odds = threshold / (1 - threshold) if 0 < threshold < 1 else np.nan
    return ratio(np.asarray(tp, dtype=np.float64) - odds * np.asarray(fp, dtype=np.float64), n)
