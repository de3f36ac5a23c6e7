"""The net benefit at a threshold."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.cells import Layout
from detectors.fixed import Ints
from detectors.statistics.cost import net_benefit
from detectors.statistics.exact import ExactMetric, labels_of, same_length, scores_of


class NetBenefit(ExactMetric):
    """Net benefit of acting on scores from a threshold on: TP/n - FP/n * t/(1 - t).

    Additive, mergeable, revertible.

    Parameters
    ----------
    threshold
        Within (0, 1): the probability from which one acts. Its odds say how many false alarms one true one is worth.
    pos_val
        The label that counts as positive.

    References
    ----------
    Vickers & Elkin, "Decision curve analysis", Medical Decision Making 26 (2006).

    Examples
    --------
    >>> benefit = NetBenefit(0.2)
    >>> benefit.update_many([1, 0, 0, 0], [0.9, 0.3, 0.1, 0.1])
    >>> benefit
    NetBenefit: 0.1875

    """

    layout = Layout(counts=("n", "tp", "fp"), sums={})

    def __init__(self, threshold: float = 0.5, pos_val: object = True) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"expected a threshold within (0, 1), got {threshold!r}")
        self.threshold = threshold
        super().__init__(pos_val)

    @property
    def bigger_is_better(self) -> bool:
        """Whether a higher value is the better one."""
        return True

    def _events(self, y_true: Any, y_pred: Any) -> tuple[Ints | None, dict[str, npt.ArrayLike]]:
        true, score = labels_of(y_true, self.pos_val), scores_of(y_pred, self.pos_val)
        same_length([true, score])
        acted = score >= self.threshold
        return None, {"n": np.ones(len(true), dtype=np.int64), "tp": acted & true, "fp": acted & ~true}

    def get(self) -> float:
        """Return the net benefit per event; NaN before the first."""
        return float(net_benefit(self._count("tp"), self._count("fp"), self._count("n"), self.threshold))

    @classmethod
    def _unit_test_params(cls) -> list[dict[str, object]]:
        return [{"threshold": 0.2}]
