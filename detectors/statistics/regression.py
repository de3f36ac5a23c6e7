"""Figures of a regression model: how far its numbers are off, and how often its intervals hold the truth."""

from math import fsum, sqrt
from typing import Any

import numpy as np

from detectors.baselines.wilson import Z_90, wilson
from detectors.cells import BIN, Layout
from detectors.error_cells import A_ROW, ERRORS, FINE, LOWER_ENDS, ROW_ENDS, ROWS, SUMS, TOTAL, quantile
from detectors.fixed import Floats, Ints
from schemas.drift import Interval
from schemas.figures import RegressionFigures


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
    return _means(TOTAL, LOWER_ENDS[cells], sums, int(counts.sum())) | _quantiles(counts)


def rung_error_figures(rows: Ints, sums: Ints) -> dict[str, Any]:
    r"""Return the figures of errors as a rung has read them, which are those that ``error_figures`` gives of the same errors.

    Parameters
    ----------
    rows, sums
        The rows that hold any, ascending, and their sums in the layout ``error_cells.ERRORS``; shapes (k,), (k, width).

    Examples
    --------
    >>> from detectors.error_cells import error_rows
    >>> from schemas.scored import Rows
    >>> [found] = error_rows(Rows("m", [], 2, {"kind": b"\x02\x02", "error": np.array([-3.0, 4.0]).tobytes()}), slice(None))
    >>> figures = rung_error_figures(found.row, found.parts)
    >>> figures["n"], round(figures["mae"], 9), round(figures["rmse"] ** 2, 9), round(figures["median_absolute_error"], 2)
    (2, 3.5, 12.5, 3.16)

    """
    counts = np.zeros((ROWS, A_ROW), dtype=np.int64)
    counts[rows] = sums[:, :A_ROW]
    return _means(ERRORS, ROW_ENDS[rows], sums, _held(sums)) | _quantiles(counts.ravel())


def _quantiles(counts: Ints) -> dict[str, float]:
    return {"median_absolute_error": quantile(counts, 0.5), "p90_absolute_error": quantile(counts, 0.9)}


def _held(sums: Ints) -> int:
    return int(sums[:, :A_ROW].sum())


def _means(layout: Layout, unit: Floats, sums: Ints, n: int) -> dict[str, Any]:
    error, absolute, squared = (fsum((unit**power * layout.total(sums, name)).tolist()) for name, power in SUMS.items())
    return {"n": n, "mae": absolute / n, "rmse": sqrt(max(squared, 0.0) / n), "mean_error": error / n}


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
    """Return both, over all labels known so far; None where there are no errors."""
    if TOTAL.count(sums, "n").sum() <= 0:
        return None
    return RegressionFigures(**error_figures(cells, sums), **coverage_figures(bins))


def rung_figures(bins: Ints, rows: Ints, sums: Ints) -> RegressionFigures | None:
    """Return both as a rung has read them; None where there are no errors. ``bins`` as of ``coverage_figures``."""
    if _held(sums) <= 0:
        return None
    return RegressionFigures(**rung_error_figures(rows, sums), **coverage_figures(bins))
