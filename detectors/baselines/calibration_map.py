"""What a score has meant so far: the map from score to probability that a calibration monitor compares with."""

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.special import gammaincc

from detectors.bets import sigmoid
from detectors.cells import PANE_GRID
from detectors.fixed import Floats

ABSOLUTE, LOGISTIC, BINNED = 0, 1, 2
Z_95 = 1.96
_LEVEL = 0.05
_CLIP = 1e-6
_SMOOTHING = 20.0  # pseudo-labels of a cell, at the logistic map's value


def _zeros() -> Floats:
    return np.zeros(PANE_GRID)


@dataclass(frozen=True, kw_only=True)
class CalibrationMap:
    """``logit c0 = a + b * logit p + bump[cell]``, with a half-width in logits: of a cell, or of the line, at least ``tolerance``."""

    mode: int
    tolerance: float
    a: float = 0.0
    b: float = 1.0
    variance: tuple[float, float, float] = (0.0, 0.0, 0.0)  # of a, of a with b, of b
    bump: Floats = field(default_factory=_zeros)
    half: Floats = field(default_factory=_zeros)  # 0: from the line's variance
    miscalibrated: bool = False


def logit(p: Floats) -> Floats:
    """Return ln(p / (1 - p)) with p kept within 1e-6 of the ends."""
    p = np.clip(p, _CLIP, 1 - _CLIP)
    return np.asarray(np.log(p) - np.log1p(-p))


def fit_map(cells: Floats, *, coverage: float, tolerance: float, phi: float = 1.0, mode: int | None = None) -> CalibrationMap:
    """Choose and fit the map that a reference supports.

    The identity (absolute mode) if nearly every prediction has its label and the cells agree with the scores within the tolerance; else
    a two-parameter logistic map (relative mode: what the score has meant so far); else, if that is rejected too, the cells' own rates,
    smoothed towards it.

    Parameters
    ----------
    cells
        Labels, positives and sum of scores by cell of the score. Shape (20, 3).
    coverage
        Share of predictions with a label. Below 95 % the labels that are known are a biased part, and the identity is no null.
    tolerance
        Half-width of the band that counts as calibrated, in logits.
    phi
        Over-dispersion of the reference.
    mode
        Of the aggregate, for a group: absolute or relative is inherited.

    References
    ----------
    Cox, Biometrika 45 (1958): logistic recalibration.

    Examples
    --------
    >>> n, p = np.full(20, 500.0), (np.arange(20) + 0.5) / 20
    >>> honest = fit_map(np.stack([n, n * p, n * p], axis=1), coverage=1.0, tolerance=0.1)
    >>> honest.mode == ABSOLUTE, honest.miscalibrated
    (True, False)
    >>> tame = fit_map(np.stack([n, n * sigmoid(0.7 * logit(p)), n * p], axis=1), coverage=1.0, tolerance=0.1)
    >>> tame.mode == LOGISTIC, tame.miscalibrated, round(tame.b, 2)
    (True, True, 0.7)

    """
    used = cells[:, 0] > 0
    n, y = cells[used, 0], cells[used, 1]
    scores = logit(cells[used, 2] / n)
    identity = CalibrationMap(mode=ABSOLUTE, tolerance=tolerance)
    if mode == ABSOLUTE:
        return identity
    agrees = _agrees(n / phi, y / phi, sigmoid(scores - tolerance), sigmoid(scores + tolerance), len(n))
    if mode is None and coverage >= 0.95 and agrees:
        return identity
    a, b, variance = _logistic(n, y, scores)
    variance = (variance[0] * phi, variance[1] * phi, variance[2] * phi)
    at = sigmoid(a + b * scores)
    bump, half, kind = _zeros(), _zeros(), LOGISTIC
    if len(n) > 2 and not _agrees(n / phi, y / phi, at, at, len(n) - 2):
        smooth = np.clip((y + _SMOOTHING * at) / (n + _SMOOTHING), _CLIP, 1 - _CLIP)
        bump[used] = logit(smooth) - (a + b * scores)
        half[used] = np.maximum(tolerance, Z_95 * np.sqrt(phi / ((n + _SMOOTHING) * smooth * (1 - smooth))))
        kind = BINNED
    return CalibrationMap(
        mode=kind,
        tolerance=tolerance,
        a=a,
        b=b,
        variance=variance,
        bump=bump,
        half=half,
        miscalibrated=coverage >= 0.95 and not agrees,
    )


def _agrees(n: Floats, y: Floats, lo: Floats, hi: Floats, freedom: int) -> bool:
    """Test whether each cell's rate is within its band, by Pearson's X² to the nearest point of it."""
    nearest = np.clip(np.clip(y / n, lo, hi), _CLIP, 1 - _CLIP)
    square = float(((y - n * nearest) ** 2 / (n * nearest * (1 - nearest))).sum())
    return float(gammaincc(freedom / 2, square / 2)) > _LEVEL


def _logistic(n: Floats, y: Floats, x: Floats) -> tuple[float, float, tuple[float, float, float]]:
    """Fit ``logit E[y] = a + b x`` by Newton's method; return a, b and their covariance. A weak prior (a=0, b=1) keeps it finite."""
    a, b, ridge = 0.0, 1.0, 1e-3
    aa = ab = bb = 0.0
    for _ in range(50):
        mean = sigmoid(a + b * x)
        weight = n * mean * (1 - mean)
        residual = y - n * mean
        gradient = float(residual.sum()) - ridge * a, float((residual * x).sum()) - ridge * (b - 1)
        aa, ab, bb = float(weight.sum()) + ridge, float((weight * x).sum()), float((weight * x * x).sum()) + ridge
        determinant = aa * bb - ab * ab
        step = (bb * gradient[0] - ab * gradient[1]) / determinant, (aa * gradient[1] - ab * gradient[0]) / determinant
        size = max(1.0, math.hypot(*step))  # at most one logit at a time: a far start does not overshoot
        a, b = a + step[0] / size, b + step[1] / size
        if math.hypot(*step) < 1e-10:
            break
    determinant = aa * bb - ab * ab
    return a, b, (bb / determinant, -ab / determinant, aa / determinant)
