"""The calibration line: labels regressed on the logit of the score."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from detectors.cells import BIN, GRID, grid_cell
from detectors.fixed import Floats, Ints
from detectors.statistics.exact import ExactMetric, labels_of, same_length, scores_of
from detectors.statistics.ratio import ratio

PARTS = ("slope", "intercept")
_CLIP = 1e-6  # mean scores are kept this far from 0 and 1: their logits must be finite
_STEPS = 30
_CLOSE = 1e-10


class Line(NamedTuple):
    """Slope and intercept, each shape (...); NaN where the data fix no line."""

    slope: Floats
    intercept: Floats


def calibration_line(n: npt.ArrayLike, positive: npt.ArrayLike, score: npt.ArrayLike) -> Line:
    """Fit ``P(y = 1) = logistic(intercept + slope * logit p)`` by maximum likelihood to binned counts, shape (..., bins).

    A bin stands for its events with its mean score. A calibrated model has slope 1 and intercept 0; a slope below 1 means that the
    scores are too extreme. NaN where one class is missing, fewer than two bins are filled, or the classes are separated (no maximum).

    >>> line = calibration_line([100, 100], [20, 80], [20.0, 80.0])
    >>> round(float(line.slope), 6), abs(round(float(line.intercept), 6))
    (1.0, 0.0)
    """
    n, hits = np.asarray(n, dtype=np.float64), np.asarray(positive, dtype=np.float64)
    mean = np.where(n > 0, ratio(score, n), 0.5)
    x = logit(np.clip(mean, _CLIP, 1 - _CLIP))
    fits = _overlap(x, hits, n - hits) & (hits.sum(axis=-1) > 0) & ((n - hits).sum(axis=-1) > 0) & ((n > 0).sum(axis=-1) > 1)
    slope, intercept = np.full(fits.shape, np.nan), np.full(fits.shape, np.nan)
    slope[fits], intercept[fits] = _fitted(n[fits], hits[fits], x[fits])
    return Line(slope, intercept)


def _fitted(n: Floats, hits: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Return the slopes and intercepts of lines, shape (k,), from bins of shape (k, bins); each is fitted as if it were alone."""
    slope, intercept = np.full(len(n), np.nan), np.full(len(n), np.nan)
    at, a, b = np.arange(len(n)), np.zeros(len(n)), np.ones(len(n))
    line = _line(a, b, x)
    best = _likelihood(n, hits, line)
    for _ in range(_STEPS):
        if not len(at):
            break
        step = _newton(n, hits, x, line)
        for _ in range(_STEPS):  # halve a step that overshoots
            line = _line(a + step[0], b + step[1], x)
            value = _likelihood(n, hits, line)
            worse = value < best - 1e-9 * np.abs(best)
            if not worse.any():
                break
            step = np.where(worse, step / 2, step)
        a, b, best = a + step[0], b + step[1], np.maximum(value, best)
        line = line if not worse.any() else _line(a, b, x)
        close = np.abs(step).max(axis=0) < _CLOSE * (1 + np.abs(a) + np.abs(b))
        if close.any():  # what stands is left out of what follows
            s0, s1, s2, _ = _curvature(n[close], x[close], line[close])
            known = s0 * s2 - s1 * s1 > 1e-9 * s0 * s2
            slope[at[close]], intercept[at[close]] = np.where(known, b[close], np.nan), np.where(known, a[close], np.nan)
            at, a, b, best, n, hits, x, line = (each[~close] for each in (at, a, b, best, n, hits, x, line))
    return slope, intercept


def _overlap(x: Floats, hits: Floats, misses: Floats) -> npt.NDArray[np.bool_]:
    """Say where the classes overlap: where one lies wholly beside the other the likelihood has no maximum, and the search no end."""

    def ends(count: Floats) -> tuple[Floats, Floats]:
        there = count > 0
        return np.where(there, x, np.inf).min(axis=-1), np.where(there, x, -np.inf).max(axis=-1)

    (low, high), (other_low, other_high) = ends(hits), ends(misses)
    return np.asarray((high > other_low) & (other_high > low))


def _line(a: Floats, b: Floats, x: Floats) -> Floats:
    return a[:, np.newaxis] + b[:, np.newaxis] * x


def _curvature(n: Floats, x: Floats, line: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the sums of the weights, times 1, x and x², and how many positives the line expects in each bin."""
    p = expit(line)
    expected = n * p
    weight = expected * (1 - p)
    weighted = weight * x
    return weight.sum(axis=-1), weighted.sum(axis=-1), (weighted * x).sum(axis=-1), expected


def _newton(n: Floats, hits: Floats, x: Floats, line: Floats) -> Floats:
    """Return the Newton step of intercept and slope, shape (2, k); 0 where the curvature is gone."""
    s0, s1, s2, expected = _curvature(n, x, line)
    rest = hits - expected
    g0, g1 = rest.sum(axis=-1), (rest * x).sum(axis=-1)
    determinant = s0 * s2 - s1 * s1
    return np.nan_to_num(np.stack([ratio(s2 * g0 - s1 * g1, determinant), ratio(s0 * g1 - s1 * g0, determinant)]))


def _likelihood(n: Floats, hits: Floats, line: Floats) -> Floats:
    return np.asarray((hits * line - n * np.logaddexp(0.0, line)).sum(axis=-1))


class CalibrationLine(ExactMetric):
    """Slope or intercept of the calibration line: below 1 the scores are too extreme; off 0 they are too high or too low.

    Additive, mergeable, revertible: three sums per cell of a grid of 60; the line is fitted to them when it is read.

    Parameters
    ----------
    part
        "slope" or "intercept".
    pos_val
        The label that counts as positive.

    References
    ----------
    Cox, "Two further applications of a model for binary regression", Biometrika 45 (1958).
    Van Calster et al., "Calibration: the Achilles heel of predictive analytics", BMC Medicine 17 (2019).

    Examples
    --------
    >>> slope = CalibrationLine("slope")
    >>> slope.update_many([1] * 7 + [0] * 3 + [1] * 3 + [0] * 7, [0.9] * 10 + [0.1] * 10)
    >>> slope
    CalibrationLine: 0.385622

    """

    layout = BIN
    cells = GRID

    def __init__(self, part: str = "slope", pos_val: object = True) -> None:
        if part not in PARTS:
            raise ValueError(f"no part {part!r}; there are {', '.join(PARTS)}")
        self.part = part
        super().__init__(pos_val)

    def _events(self, y_true: Any, y_pred: Any) -> tuple[Ints, dict[str, npt.ArrayLike]]:
        true, score = labels_of(y_true, self.pos_val), scores_of(y_pred, self.pos_val)
        same_length([true, score])
        return grid_cell(score), {"n": np.ones(len(true), dtype=np.int64), "positive": true, "score": score}

    def get(self) -> float:
        """Return the slope or intercept; NaN where the data fix none."""
        line = calibration_line(BIN.count(self.rows, "n"), BIN.count(self.rows, "positive"), BIN.total(self.rows, "score"))
        return float(getattr(line, self.part))

    @classmethod
    def _unit_test_params(cls) -> list[dict[str, object]]:
        return [{"part": part} for part in PARTS]
