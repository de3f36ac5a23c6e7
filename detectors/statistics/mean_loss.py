"""Means over scored events: what losses share."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.cells import Layout
from detectors.fixed import SCORE_UNIT, Ints
from detectors.statistics.exact import ExactMetric, labels_of, same_length, scores_of
from detectors.statistics.ratio import ratio


class MeanLoss(ExactMetric):
    """A mean over scored events; subclasses say of what, in ``_loss``."""

    shared = True  # a base, not a statistic
    layout = Layout(counts=("n",), sums={"loss": SCORE_UNIT})

    def _loss(self, score: Any, true: Any) -> npt.ArrayLike:
        raise NotImplementedError

    def _events(self, y_true: Any, y_pred: Any) -> tuple[Ints | None, dict[str, npt.ArrayLike]]:
        true, score = labels_of(y_true, self.pos_val), scores_of(y_pred, self.pos_val)
        same_length([true, score])
        return None, {"n": np.ones(len(true), dtype=np.int64), "loss": self._loss(score, true)}

    def get(self) -> float:
        """Return the mean; NaN before the first event."""
        return float(ratio(self._total("loss"), self._count("n")))
