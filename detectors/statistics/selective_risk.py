"""Abstention: how often a model declines to answer, and how often it errs when it does answer."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.cells import Layout
from detectors.fixed import Ints
from detectors.statistics.exact import ExactMetric, labels_of
from detectors.statistics.ratio import ratio

FIGURES = ("risk", "abstention")


class SelectiveRisk(ExactMetric):
    """Error rate given that the model did not abstain, or the abstention rate.

    Additive, mergeable, revertible. A prediction of None is an abstention; its label is not looked at and may be None.

    Parameters
    ----------
    figure
        "risk" or "abstention".
    pos_val
        The label that counts as positive.

    References
    ----------
    El-Yaniv & Wiener, "On the foundations of noise-free selective classification", JMLR 11 (2010).

    Examples
    --------
    >>> risk = SelectiveRisk()
    >>> risk.update_many([1, 0, 1, 1], [1, 1, None, 1])
    >>> risk
    SelectiveRisk: 0.333333

    """

    layout = Layout(counts=("answered", "wrong", "abstained"), sums={})

    def __init__(self, figure: str = "risk", pos_val: object = True) -> None:
        if figure not in FIGURES:
            raise ValueError(f"no figure {figure!r}; there are {', '.join(FIGURES)}")
        self.figure = figure
        super().__init__(pos_val)

    @property
    def requires_labels(self) -> bool:
        """Labels, not probabilities."""
        return True

    def _events(self, y_true: Any, y_pred: Any) -> tuple[Ints | None, dict[str, npt.ArrayLike]]:
        true, predicted = np.asarray(y_true, dtype=object), np.asarray(y_pred, dtype=object)
        if true.shape != predicted.shape or true.ndim != 1:
            raise ValueError(f"expected columns of one length, got shapes {true.shape} and {predicted.shape}")
        answered = np.array([value is not None for value in predicted.tolist()], dtype=np.bool_)
        wrong = np.zeros(len(answered), dtype=np.bool_)
        wrong[answered] = labels_of(true[answered], self.pos_val) != labels_of(predicted[answered], self.pos_val)
        return None, {"answered": answered, "wrong": wrong, "abstained": ~answered}

    def get(self) -> float:
        """Return the figure; NaN while it is undefined."""
        answered, abstained = self._count("answered"), self._count("abstained")
        if self.figure == "risk":
            return float(ratio(self._count("wrong"), answered))
        return float(ratio(abstained, answered + abstained))

    @classmethod
    def _unit_test_params(cls) -> list[dict[str, object]]:
        return [{"figure": figure} for figure in FIGURES]
