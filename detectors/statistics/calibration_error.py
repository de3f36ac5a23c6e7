"""Calibration errors of binned scores: expected (ECE), root mean square, maximum."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.cells import BIN, GRID, grid_cell
from detectors.fixed import Floats, Ints
from detectors.statistics.exact import ExactMetric, labels_of, same_length, scores_of
from detectors.statistics.ratio import ratio

NORMS = ("ece", "rms", "max")


def coarsen(bins: Ints, n: int) -> Ints:
    """Join neighbouring cells of a grid, shape (..., g, width), to ``n`` cells, shape (..., n, width); ``n`` must divide ``g``.

    >>> coarsen(BIN.zeros(60), 15).shape
    (15, 4)
    """
    *lead, grid, width = bins.shape
    if grid % n:
        raise ValueError(f"expected a number of bins that divides {grid}, got {n}")
    return np.asarray(bins.reshape(*lead, n, grid // n, width).sum(axis=-2))


def calibration_error(norm: str, n: npt.ArrayLike, positive: npt.ArrayLike, score: npt.ArrayLike) -> Floats:
    """Return the calibration error over the bins of the last axis, shape (...); NaN where all are empty.

    Parameters
    ----------
    norm
        "ece": the mean gap, weighted by events; "rms": its root mean square; "max": the largest.
    n, positive, score
        Events, positive labels and the sum of scores of each bin, shape (..., bins). The gap of a bin is between the mean
        score and the share of positives in it; empty bins are skipped.

    Examples
    --------
    >>> float(calibration_error("ece", [2, 0, 2], [0, 0, 2], [0.2, 0.0, 1.2]))
    0.25

    """
    n = np.asarray(n, dtype=np.float64)
    gap = np.abs(ratio(np.asarray(score) - np.asarray(positive), n, otherwise=0.0))
    total = n.sum(axis=-1)
    if norm == "ece":
        return ratio((n * gap).sum(axis=-1), total)
    if norm == "rms":
        return np.sqrt(ratio((n * gap * gap).sum(axis=-1), total))
    if norm == "max":
        return np.where(total > 0, gap.max(axis=-1), np.nan)
    raise ValueError(f"no norm {norm!r}; there are {', '.join(NORMS)}")


class CalibrationError(ExactMetric):
    """The gap between what the scores claim and what happens, over equal-width bins.

    Additive, mergeable, revertible: the state is three sums per cell of a grid of 60, which serves 10, 12, 15, 20, 30 and 60 bins. Bins are
    (lo, hi], the first also holds 0, and a score within 1e-12 (in bins) of an edge lies on it.

    Parameters
    ----------
    norm
        "ece" (mean gap), "rms" or "max".
    bins
        A divisor of 60.
    pos_val
        The label that counts as positive.

    References
    ----------
    Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", ICML 2017.

    Examples
    --------
    >>> ece = CalibrationError("ece", bins=10)
    >>> ece.update_many([1, 0, 1, 1], [0.9, 0.9, 0.9, 0.3])
    >>> ece
    CalibrationError: 0.35
    >>> ece.revert(1, 0.3)
    >>> round(ece.get(), 6)
    0.233333

    """

    layout = BIN
    cells = GRID

    def __init__(self, norm: str = "ece", bins: int = 10, pos_val: object = True) -> None:
        if norm not in NORMS:
            raise ValueError(f"no norm {norm!r}; there are {', '.join(NORMS)}")
        if not isinstance(bins, int) or bins < 1 or GRID % bins:
            raise ValueError(f"expected a number of bins that divides {GRID}, got {bins!r}")
        self.norm = norm
        self.bins = bins
        super().__init__(pos_val)

    def _events(self, y_true: Any, y_pred: Any) -> tuple[Ints, dict[str, npt.ArrayLike]]:
        true, score = labels_of(y_true, self.pos_val), scores_of(y_pred, self.pos_val)
        same_length([true, score])
        return grid_cell(score), {"n": np.ones(len(true), dtype=np.int64), "positive": true, "score": score}

    def get(self) -> float:
        """Return the calibration error; NaN before the first event."""
        rows = coarsen(self.rows, self.bins)
        return float(calibration_error(self.norm, BIN.count(rows, "n"), BIN.count(rows, "positive"), BIN.total(rows, "score")))

    @classmethod
    def _unit_test_params(cls) -> list[dict[str, object]]:
        return [{"norm": norm, "bins": bins} for norm in NORMS for bins in (10, 15)]
