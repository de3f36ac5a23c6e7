"""The cost of decisions by a matrix."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.cells import CONFUSION, Layout
from detectors.fixed import MONEY_UNIT, Floats, Ints
from detectors.statistics.cost import matrix_cost, regret
from detectors.statistics.exact import ExactMetric, bounded, labels_of, same_length
from detectors.statistics.ratio import ratio
from schemas.cost import CostMatrix, parse_line

FIGURES = ("mean", "total", "regret")


def matrix_of(tp: object, fp: object, tn: object, fn: object) -> CostMatrix:
    """Return the cost matrix of four costs, each a number or a line in the amount such as "0.3*amount".

    >>> matrix_of(0, 5, 0, "amount").fn
    (0.0, 1.0)
    """
    return CostMatrix(tp=parse_line(tp), fp=parse_line(fp), tn=parse_line(tn), fn=parse_line(fn))


def amounts_of(amount: Any, n: int) -> Floats:
    """Return amounts, shape (n,), 0 where there are none; beyond 1e12 they are refused, so that sums stay exact."""
    return np.zeros(n) if amount is None else bounded(amount, "an amount", -1e12, 1e12)


class DecisionCost(ExactMetric):
    """Cost of decisions by a matrix whose entries may grow with the amount at stake, or their regret.

    Additive, mergeable, revertible: a count and an amount per cell of the confusion matrix; the matrix is applied when it is read.

    Parameters
    ----------
    tp, fp, tn, fn
        Cost of each outcome: a number, "amount", "0.3*amount", or a sum of such terms. Negative is a benefit.
    figure
        "mean" or "total" cost, or "regret": mean cost beyond that of the better action per cell, in hindsight.
    pos_val
        The label that counts as positive.

    References
    ----------
    Elkan, "The foundations of cost-sensitive learning", IJCAI 2001.
    Bahnsen, Aouada & Ottersten, "Example-dependent cost-sensitive decision trees", Expert Systems with Applications 42 (2015).

    Examples
    --------
    >>> cost = DecisionCost(fp=5, fn="amount")
    >>> cost.update(True, False, amount=10_000)  # a missed fraud
    >>> cost.update(False, True, amount=30)  # a blocked customer
    >>> cost
    DecisionCost: 5002.5

    """

    layout = Layout(counts=CONFUSION, sums={f"amount_{cell}": MONEY_UNIT for cell in CONFUSION})

    def __init__(
        self, tp: object = 0, fp: object = 1, tn: object = 0, fn: object = 1, *, figure: str = "mean", pos_val: object = True
    ) -> None:
        if figure not in FIGURES:
            raise ValueError(f"no figure {figure!r}; there are {', '.join(FIGURES)}")
        self.tp, self.fp, self.tn, self.fn = tp, fp, tn, fn
        self.figure = figure
        self._matrix = matrix_of(tp, fp, tn, fn)
        super().__init__(pos_val)

    @property
    def requires_labels(self) -> bool:
        """Labels, not probabilities."""
        return True

    def _events(self, y_true: Any, y_pred: Any, amount: Any = None) -> tuple[Ints | None, dict[str, npt.ArrayLike]]:
        true, predicted = labels_of(y_true, self.pos_val), labels_of(y_pred, self.pos_val)
        stake = amounts_of(amount, len(true))
        same_length([true, predicted, stake])
        cells: dict[str, Any] = {"tp": predicted & true, "fp": predicted & ~true, "tn": ~predicted & ~true, "fn": ~predicted & true}
        return None, cells | {f"amount_{cell}": np.where(mask, stake, 0.0) for cell, mask in cells.items()}

    def get(self) -> float:
        """Return the figure; NaN before the first event."""
        counts: dict[str, Any] = {cell: float(self._count(cell)) for cell in CONFUSION}
        amounts: dict[str, Any] = {cell: self._total(f"amount_{cell}") for cell in CONFUSION}
        n = sum(counts.values())
        if self.figure == "regret":
            return float(ratio(regret(self._matrix, counts, amounts), n))
        total = matrix_cost(self._matrix, counts, amounts)
        return float(ratio(total, n) if self.figure == "mean" else np.where(n > 0, total, np.nan))

    @classmethod
    def _unit_test_params(cls) -> list[dict[str, object]]:
        return [{"fp": 5, "fn": "2 + 0.5*amount", "tp": "0.1*amount", "figure": figure} for figure in FIGURES]
