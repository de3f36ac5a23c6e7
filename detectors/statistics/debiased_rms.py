"""RMS calibration error less the part that sampling noise alone would give."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.cells import BIN, GRID, grid_cell
from detectors.fixed import Floats, Ints
from detectors.statistics.calibration_error import coarsen
from detectors.statistics.exact import ExactMetric, labels_of, same_length, scores_of
from detectors.statistics.ratio import ratio

BINS = 20


def debiased_rms(n: npt.ArrayLike, positive: npt.ArrayLike, score: npt.ArrayLike) -> Floats:
    """Return the debiased RMS calibration error over the bins of the last axis, shape (...); NaN without a bin of two events.

    Each bin's squared gap is lessened by the variance of its positive rate, ``y(1 - y) / (n - 1)``; bins of fewer than two events have no
    estimate of it and are skipped. A sum below 0 means that no miscalibration shows, and gives 0.

    >>> float(debiased_rms([100, 100], [10, 60], [10.0, 60.0])), round(float(debiased_rms([101], [50], [80.0])), 4)
    (0.0, 0.2928)
    """
    n, positive = np.asarray(n, dtype=np.float64), np.asarray(positive, dtype=np.float64)
    used = n >= 2
    share = ratio(positive, n, otherwise=0.0)
    gap = ratio(np.asarray(score) - positive, n, otherwise=0.0)
    noise = share * (1 - share) / np.where(used, n - 1, 1)
    weight = np.where(used, n, 0.0)
    return np.sqrt(np.maximum(ratio((weight * (gap * gap - noise)).sum(axis=-1), weight.sum(axis=-1)), 0.0))


class DebiasedRmsCalibrationError(ExactMetric):
    """RMS calibration error over 20 equal-width bins, less the part that sampling noise alone would give.

    Additive, mergeable, revertible. The plain error of a perfectly calibrated model is far from 0 at a few hundred events; this one's
    square is unbiased for the squared error of the binned scores, until it is cut at 0.

    Parameters
    ----------
    pos_val
        The label that counts as positive.

    References
    ----------
    Bröcker, "Estimating reliability and resolution of probability forecasts", Climate Dynamics 39 (2012).
    Kumar, Liang & Ma, "Verified uncertainty calibration", NeurIPS 2019.

    Examples
    --------
    >>> error = DebiasedRmsCalibrationError()
    >>> error.update_many([1, 0, 0, 0, 0, 1], [0.9] * 6)
    >>> error
    DebiasedRmsCalibrationError: 0.525991

    """

    layout = BIN
    cells = GRID

    def _events(self, y_true: Any, y_pred: Any) -> tuple[Ints, dict[str, npt.ArrayLike]]:
        true, score = labels_of(y_true, self.pos_val), scores_of(y_pred, self.pos_val)
        same_length([true, score])
        return grid_cell(score), {"n": np.ones(len(true), dtype=np.int64), "positive": true, "score": score}

    def get(self) -> float:
        """Return the error; NaN until a bin holds two events."""
        rows = coarsen(self.rows, BINS)
        return float(debiased_rms(BIN.count(rows, "n"), BIN.count(rows, "positive"), BIN.total(rows, "score")))
