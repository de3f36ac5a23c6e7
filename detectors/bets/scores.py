"""Bets on the distribution of scores, before any label."""

from collections.abc import Sequence

import numpy as np

from detectors.baselines.stability import stability_index
from detectors.bets import Family
from detectors.bets.exceedances import RHO, ExceedanceBet, Q, sets_of, thresholds
from detectors.cells import BIN, PANE_GRID
from detectors.fixed import Floats
from detectors.reading import Reading


class ScoreBet(ExceedanceBet):
    """Evidence that scores are distributed otherwise than in the baseline; see ``ExceedanceBet``.

    It knows of two more shares: of the scores beyond both outer thresholds (they spread out), and between them (they draw together). Scores
    that are all below 0.05 are in one cell, and need another scale.

    Examples
    --------
    >>> bet, even = ScoreBet(), np.full(20, 500.0)
    >>> fit = bet.fit(even, phi=1.0, tolerance=0.05, direction=1, parent=None)
    >>> table = bet.table(fit.null, 1)[None]
    >>> higher, wider = np.linspace(0, 100, 20), 100 * (np.abs(np.arange(20) - 9.5) > 7)
    >>> won = bet.log_factors(np.stack([even / 10, higher, wider]), table.repeat(3, 0))
    >>> bool(won[0].max() < 0), [bet.describe(int(won[i].argmax()), fit.null) for i in (1, 2)]
    (True, ['scores above 0.5', 'scores up to 0.1 or above 0.9'])

    """

    name = "scores"
    tails = True
    middles = (np.arange(PANE_GRID) + 0.5) / PANE_GRID
    width = PANE_GRID
    terms = 2 + PANE_GRID
    stakes = sets_of(tails=True) * len(RHO)
    families = (
        Family(
            name="score",
            kind="score",
            noun="scores",
            look="Look at the inputs and at what feeds them: the model sees other cases than in the baseline, or sees them differently.",
            needs_labels=False,
            tolerance=0.05,
        ),
    )

    def observe(self, reading: Reading, families: Sequence[Family]) -> Floats:
        """Return the scores by cell, shape (1, segments, 20)."""
        return BIN.count(reading.made_bins, "n").astype(np.float64)[None]

    def estimate(self, mean: float, half: float) -> tuple[float, float, float]:
        """Return the mean score."""
        return mean, max(mean - half, 0.0), min(mean + half, 1.0)

    def beyond(self, above: bool, edge: int) -> str:
        """Name scores."""
        return f"scores {'above' if above else 'up to'} {edge / PANE_GRID:g}"

    def describe(self, stake: int, null: Floats | None = None) -> str:
        """Say which scores there are more of."""
        each = stake // len(RHO)
        if null is None or each < 2 * Q:
            return super().describe(stake, null)
        lower, *_, upper = thresholds(null) / PANE_GRID
        return f"scores up to {lower:g} or above {upper:g}" if each == 2 * Q else f"scores above {lower:g} and up to {upper:g}"

    def figure(self, total: Floats, table: Floats) -> str:
        """Say how far the whole distribution has moved."""
        null = table[-self.terms :]
        return f"population stability index {stability_index(total, null[2:], float(null[0])):.2f}"


BET = ScoreBet()
