"""Expected calibration error over bins of equal mass, with the noise taken out and an interval.

The gap of a bin of n events is seen with noise of variance ``v = y(1 - y) / n`` (y the share with half a success and half a failure added),
so its absolute value overshoots. If the seen gap d were the true one, the mean of ``|N(d, v)|`` (a folded normal) would exceed ``|d|`` by
``m(d, v) - |d|``; taking that off gives ``2|d| - m``, floored at 0 for the sum. The interval is normal, with the folded normals'
variances, and is cut to [0, 1]. No resampling, no random numbers: the same counts give the same bits.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from detectors.cells import BIN, GRID, grid_cell
from detectors.fixed import Floats, Ints
from detectors.statistics.exact import ExactMetric, labels_of, same_length, scores_of
from detectors.statistics.ratio import ratio

BINS = 10
_Z = 1.959963984540054  # 97.5 % point of the normal distribution


class EqualMass(NamedTuple):
    """An estimate with its approximate 95 % interval; each shape (...)."""

    ece: Floats
    lo: Floats
    hi: Floats


def mass_groups(n: npt.ArrayLike, groups: int = BINS) -> Ints:
    """Return the group of each cell of the last axis, so that groups hold about equal numbers of events; cells are never split.

    A cell goes where the middle of its mass falls.

    >>> mass_groups([1, 1, 0, 2, 4], groups=2).tolist()
    [0, 0, 0, 0, 1]
    """
    n = np.asarray(n, dtype=np.int64)
    total = np.maximum(n.sum(axis=-1, keepdims=True), 1)
    middle = 2 * np.cumsum(n, axis=-1) - n
    return np.asarray(np.minimum(middle * groups // (2 * total), groups - 1))


def equal_mass_ece(n: npt.ArrayLike, positive: npt.ArrayLike, score: npt.ArrayLike, groups: int = BINS) -> EqualMass:
    """Return the debiased equal-mass ECE with its interval, from events, positives and sums of scores per cell, shape (..., cells).

    >>> ece, lo, hi = equal_mass_ece([1000, 1000], [300, 500], [200.0, 500.0])
    >>> round(float(ece), 3), float(lo) < 0.05 < float(hi)
    (0.044, True)
    """
    n, positive, score = np.asarray(n), np.asarray(positive), np.asarray(score)
    group = mass_groups(n, groups)
    columns = [np.stack([np.where(group == g, column, 0).sum(axis=-1) for g in range(groups)], axis=-1) for column in (n, positive, score)]
    mass, hits, claimed = (column.astype(np.float64) for column in columns)
    total = mass.sum(axis=-1)
    weight = ratio(mass, total[..., np.newaxis])
    weight = np.nan_to_num(weight)
    gap = np.abs(np.nan_to_num(ratio(claimed - hits, mass)))
    share = (hits + 0.5) / (mass + 1.0)
    noise = np.where(mass > 0, share * (1 - share) / np.maximum(mass, 1.0), 0.0)
    sd = np.sqrt(noise)
    folded = _folded_mean(gap, sd)
    ece = np.clip((weight * (2 * gap - folded)).sum(axis=-1), 0.0, 1.0)
    half = _Z * np.sqrt((weight * weight * np.maximum(gap * gap + noise - folded * folded, 0.0)).sum(axis=-1))
    empty = total == 0
    return EqualMass(*(np.where(empty, np.nan, np.clip(figure, 0.0, 1.0)) for figure in (ece, ece - half, ece + half)))


def _folded_mean(gap: Floats, sd: Floats) -> Floats:
    """Return the mean of |N(gap, sd²)|."""
    z = np.nan_to_num(ratio(gap, sd))
    mean = sd * np.sqrt(2 / np.pi) * np.exp(-z * z / 2) + gap * (1 - 2 * ndtr(-z))
    return np.where(sd > 0, mean, gap)


class EqualMassCalibrationError(ExactMetric):
    """Expected calibration error over ten bins of equal mass, debiased, with an approximate 95 % interval (``interval``).

    Additive, mergeable, revertible. Cells of a grid of 60 are joined to bins when it is read, so scores that crowd into a few cells are
    told apart no finer than those.

    Parameters
    ----------
    pos_val
        The label that counts as positive.

    References
    ----------
    Roelofs, Cain, Shlens & Mozer, "Mitigating bias in calibration error estimation", AISTATS 2022.
    Leone, Nelson & Nottingham, "The folded normal distribution", Technometrics 3 (1961).

    Examples
    --------
    >>> error = EqualMassCalibrationError()
    >>> error.update_many([1, 0] * 200, [0.9, 0.3] * 200)
    >>> error
    EqualMassCalibrationError: 0.2

    """

    layout = BIN
    cells = GRID

    def _events(self, y_true: Any, y_pred: Any) -> tuple[Ints, dict[str, npt.ArrayLike]]:
        true, score = labels_of(y_true, self.pos_val), scores_of(y_pred, self.pos_val)
        same_length([true, score])
        return grid_cell(score), {"n": np.ones(len(true), dtype=np.int64), "positive": true, "score": score}

    def get(self) -> float:
        """Return the debiased error; NaN before the first event."""
        return float(self._estimate().ece)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        estimate = self._estimate()
        return float(estimate.lo), float(estimate.hi)

    def _estimate(self) -> EqualMass:
        return equal_mass_ece(BIN.count(self.rows, "n"), BIN.count(self.rows, "positive"), BIN.total(self.rows, "score"))
