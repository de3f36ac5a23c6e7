"""Bets on the distribution of absolute errors of predicted numbers."""

from collections.abc import Sequence

import numpy as np

from detectors.bets import Family
from detectors.bets.exceedances import RHO, ExceedanceBet, sets_of
from detectors.error_cells import A_ROW, CELLS, EDGES, QUARTERS, quantile
from detectors.fixed import Floats
from detectors.reading import Reading

_PER_DECADE = 8


class ErrorBet(ExceedanceBet):
    """Evidence that absolute errors are distributed otherwise than in the baseline; see ``ExceedanceBet``.

    Cells are an eighth of a decade wide, so that a change by a third may be seen in any unit.

    Examples
    --------
    >>> bet, total = ErrorBet(), np.zeros(128)
    >>> total[[46, 48, 50]] = [500, 400, 100]  # a tenth of the errors lie above 1.78
    >>> fit = bet.fit(total, phi=1.0, tolerance=0.05, direction=1, parent=None)
    >>> larger = np.roll(total, 2)
    >>> won = bet.log_factors(np.stack([total, larger]), bet.table(fit.null, 1)[None].repeat(2, 0))
    >>> bool(won[0].max() <= 0), bet.describe(int(won[1].argmax()), fit.null), bet.figure(larger, bet.table(fit.null, 1))
    (True, 'absolute errors above 0.75', 'median absolute error 1.33, in the baseline 0.75')

    """

    name = "errors"
    tails = False
    middles = np.arange(float(CELLS))
    width = CELLS
    terms = 2 + CELLS
    stakes = sets_of(tails=False) * len(RHO)
    families = (
        Family(
            name="regression",
            kind="regression",
            noun="absolute error",
            look="Look at what changed upstream (inputs, their units, the number itself) and at the largest recent errors.",
            opt_in=True,
            tolerance=0.05,
        ),
    )

    def observe(self, reading: Reading, families: Sequence[Family]) -> Floats:
        """Return the errors by cell, shape (1, segments, 128)."""
        out = np.zeros((1, len(reading.segments), CELLS))
        if len(reading.errors):
            out[0] = reading.errors[..., :A_ROW].reshape(len(reading.segments), CELLS, QUARTERS).sum(axis=2)
        return out

    def estimate(self, mean: float, half: float) -> tuple[float, float, float]:
        """Return the geometric mean of the absolute errors."""
        value, lo, hi = (float(EDGES[0]) * 10 ** ((x + 0.5) / _PER_DECADE) for x in (mean, mean - half, mean + half))
        return value, lo, hi

    def beyond(self, above: bool, edge: int) -> str:
        """Name absolute errors."""
        return f"absolute errors {'above' if above else 'up to'} {EDGES[edge]:.3g}"

    def figure(self, total: Floats, table: Floats) -> str:
        """Say what the median is now."""
        now, before = (quantile(counts, 0.5) for counts in (total, table[-CELLS:]))
        return f"median absolute error {now:.3g}, in the baseline {before:.3g}"


BET = ErrorBet()
