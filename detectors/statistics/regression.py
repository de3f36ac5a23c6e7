"""Figures of a regression model: how far its numbers are off, and how often its intervals hold the truth."""

from math import fsum, sqrt
from typing import Any

import numpy as np

from detectors.baselines.wilson import Z_90, wilson
from detectors.cells import BIN
from detectors.error_cells import FINE, LOWER_ENDS, TOTAL, quantile
from detectors.fixed import Floats, Ints
from schemas.drift import Interval
from schemas.figures import RegressionFigures

_SUMS = {"error": 1, "absolute": 1, "squared": 2}  # the power of the cell's lower end that each is in units of


def error_figures(cells: Ints, sums: Ints) -> dict[str, Any]:
    """Return the figures of errors, by the names of ``schemas.figures.RegressionFigures``.

    Mean absolute error, root mean square error and bias are made of sums that merge and can be taken back, and so are the quantiles, of
    counts by cell; no figure itself is such a sum. Quantiles are within 3.6 % of an error that was seen, or 0 below a millionth.

    Parameters
    ----------
    cells, sums
        The cells that hold any, ascending, and their sums in the layout ``error_cells.TOTAL``; shapes (k,), (k, width).

    References
    ----------
    Masson, Rim & Lee, PVLDB 12 (2019): DDSketch.

    Examples
    --------
    >>> from detectors.error_cells import error_cell
    >>> from detectors.fixed import to_fixed, SCORE_UNIT
    >>> errors = np.array([-3.0, 4.0])
    >>> cells, sums = error_cell(errors), TOTAL.zeros(2)
    >>> for name, value in (("n", None), ("error", errors), ("absolute", abs(errors)), ("squared", errors**2)):
    ...     unit = LOWER_ENDS[cells] ** (2 if name == "squared" else 1)
    ...     sums[:, TOTAL.at[name] + (value is not None)] = 1 if value is None else to_fixed(value / unit, SCORE_UNIT)
    >>> figures = error_figures(cells, sums)
    >>> figures["n"], round(figures["mae"], 9), round(figures["rmse"] ** 2, 9), round(figures["mean_error"], 9)
    (2, 3.5, 12.5, 0.5)

    """
    counts = np.zeros(FINE, dtype=np.int64)
    counts[cells] = TOTAL.count(sums, "n")
    n = int(counts.sum())
    unit = LOWER_ENDS[cells]
    error, absolute, squared = (fsum((unit**power * TOTAL.total(sums, name)).tolist()) for name, power in _SUMS.items())
    return {
        "n": n,
        "mae": absolute / n,
        "rmse": sqrt(max(squared, 0.0) / n),
        "mean_error": error / n,
        "median_absolute_error": quantile(counts, 0.5),
        "p90_absolute_error": quantile(counts, 0.9),
    }


def coverage_figures(bins: Ints) -> dict[str, Any]:
    """Return how many intervals held the truth, with a 90 % interval, and the mean of the levels that they state; {} where there are none.

    ``bins`` are labelled predictions by cell of the level, layout ``cells.BIN``, shape (cells, width). Of sums that merge and can be taken
    back.

    >>> bins = np.zeros((60, BIN.width), dtype=np.int64)
    >>> bins[53, :3] = 100, 85, 90
    >>> figures = coverage_figures(bins)
    >>> figures["coverage"].value, round(figures["coverage"].lo, 3), figures["level"]
    (0.85, 0.782, 0.9)
    """
    n, held = int(BIN.count(bins, "n").sum()), int(BIN.count(bins, "positive").sum())
    if not n:
        return {}
    lo, hi = wilson(n, held, Z_90)
    level: Floats = BIN.total(bins, "score")
    return {"coverage": Interval(value=held / n, lo=lo, hi=hi, n=n), "level": float(level.sum()) / n}


def regression_figures(bins: Ints, cells: Ints, sums: Ints) -> RegressionFigures | None:
    """Return both; None where there are no errors."""
    if TOTAL.count(sums, "n").sum() <= 0:
        return None
    return RegressionFigures(**error_figures(cells, sums), **coverage_figures(bins))
