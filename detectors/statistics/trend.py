"""A straight line through figures of unequal weight."""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from detectors.fixed import Floats


@dataclass(frozen=True)
class Trend:
    """The line ``value + slope * (x - at)`` with the interval of its slope."""

    at: float
    value: float
    slope: float
    lo: float
    hi: float

    def reaches(self, level: float) -> float:
        """Return the x at which the line is at a level; NaN if it is flat."""
        return self.at + (level - self.value) / self.slope if self.slope else float("nan")


def trend(x: Floats, y: Floats, weight: Floats, level: float = 0.95) -> Trend | None:
    """Return the weighted least-squares line and its slope's interval; None for fewer than three points, or if all are at one x.

    The spread of the points around the line gives the interval, by Student's t: it holds for any figure whose variance is inversely
    proportional to its weight, whatever the proportion. Points of weight 0 and undefined ones are left out. Not additive.

    References
    ----------
    Draper & Smith, "Applied Regression Analysis", 3rd ed., 1998, ch. 9.

    Examples
    --------
    >>> line = trend(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]), np.array([1.0, 2.0, 1.0]))
    >>> line.slope, line.reaches(9.0)
    (2.0, 4.0)

    """
    kept = np.isfinite(y) & (weight > 0)
    x, y, weight = x[kept], y[kept], weight[kept]
    if len(x) < 3:
        return None
    total = weight.sum()
    at, value = float(weight @ x / total), float(weight @ y / total)
    spread = float(weight @ np.square(x - at))
    if spread <= 0:
        return None
    slope = float(weight @ ((x - at) * (y - value)) / spread)
    residual = y - value - slope * (x - at)
    apart = float(stdtrit(len(x) - 2, (1 + level) / 2) * np.sqrt(weight @ np.square(residual) / (len(x) - 2) / spread))
    return Trend(at, value, slope, slope - apart, slope + apart)
