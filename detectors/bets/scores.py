"""Bets on the distribution of scores, before any label."""

from collections.abc import Sequence

import numpy as np

from detectors.baselines.stability import stability_index
from detectors.baselines.wilson import Z_90, wilson
from detectors.bets import Bet, Enough, Family, Fit, odds
from detectors.bets.rates import RATIOS
from detectors.cells import BIN, PANE_GRID
from detectors.fixed import Floats, Ints
from detectors.reading import Reading

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
RHO = np.array([1.15, 1.4, 2.0])
_Q = len(QUANTILES)
_SETS = 2 * _Q + 2  # above each threshold, not above it, beyond both outer thresholds, between them
_STAKES = _SETS * len(RHO)
_MIDDLES = (np.arange(PANE_GRID) + 0.5) / PANE_GRID
_Z_99 = 2.58
_FEWEST = 1_000.0
_EDGE = 1e-6


class ScoreBet(Bet):
    """Evidence that scores are distributed otherwise than in the baseline.

    Thresholds are the edges of the 20 cells nearest to five quantiles of the baseline, distinct ones only. A bet is on a share: of the
    scores above a threshold, of those not above it, of those beyond both outer thresholds (scores spread out), of those between them (they
    draw together). Each share's null is what was measured in the baseline, by how sure that is (99 %) and by the tolerance in points of
    the share; measured, since with ties the share above a 90 % quantile need not be 10 %. Alternatives have 1.15, 1.4 and 2 times the
    odds. A change within one cell is not seen: scores that are all below 0.05 need another scale.

    Observation: scores by cell. Null: (events that count, tolerance, shares by cell).

    References
    ----------
    Shin, Ramdas & Rinaldo, NEJSDS 2 (2024): e-detectors.

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
    width = PANE_GRID
    terms = 2 + PANE_GRID
    stakes = _STAKES
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

    def size(self, obs: Floats) -> Floats:
        """Return the scores."""
        return np.asarray(obs.sum(axis=-1))

    def fault(self, obs: Floats) -> str:
        """Refuse negative counts."""
        return "" if (obs >= 0).all() else f"expected counts >= 0 in every cell, got {float(np.nanmin(obs)):g}"

    def series(self, obs: Floats) -> Floats:
        """Return (sum of the cells' middles, scores)."""
        return np.stack([obs @ _MIDDLES, obs.sum(axis=1)], axis=1)

    def dispersion(self, total: Floats) -> float:
        """Return the variance of the cells' middles."""
        n = max(float(total.sum()), 1.0)
        return float(total @ np.square(_MIDDLES - total @ _MIDDLES / n)) / n

    def enough(self, total: Floats, two_sided: bool, aggregate: bool, rule: Enough) -> bool:
        """Say whether there are 1,000 scores."""
        return float(total.sum()) >= _FEWEST

    def fit(self, total: Floats, *, phi: float, tolerance: float, direction: int, parent: Floats | None, bound: float = Z_90) -> Fit:
        """Measure the shares; ``phi`` events count as one."""
        n = float(total.sum())
        mean, half = float(total @ _MIDDLES) / n, 1.645 * float(np.sqrt(self.dispersion(total) * phi / n))
        null = np.concatenate([[n / phi, tolerance], total / n])
        return Fit(null=null, value=mean, lo=max(mean - half, 0.0), hi=min(mean + half, 1.0), n=n)

    def interval(self, fit: Fit, expected: float, tolerance: float) -> tuple[float, float]:
        """Return how sure the baseline's share is."""
        return wilson(float(fit.null[0]), expected * float(fit.null[0]), _Z_99)

    def table(self, null: Floats, direction: int) -> Floats:
        """Return the thresholds, the shares, log(p/p0) and log((1-p)/(1-p0)) of each set and ratio, and the null."""
        edges, shares = _thresholds(null), _shares(null)
        gain, loss = np.zeros((_SETS, len(RHO))), np.zeros((_SETS, len(RHO)))
        for each in range(_SETS):
            hi = wilson(float(null[0]), float(shares[each] * null[0]), _Z_99)[1] + float(null[1])
            if _idle(each, edges) or hi >= 1 - _EDGE:
                continue  # no room above, or the same set as another one's
            shifted = odds(hi) * RHO
            p = shifted / (1 + shifted)
            gain[each], loss[each] = np.log(p / hi), np.log((1 - p) / (1 - hi))
        return np.concatenate([edges, shares, gain.ravel(), loss.ravel(), null])

    def log_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors, shape (k, stakes)."""
        hits, n = _hits(obs, table)
        gain, loss = np.split(table[:, _Q + _SETS : _Q + _SETS + 2 * _STAKES].reshape(len(table), 2 * _SETS, len(RHO)), 2, axis=1)
        return np.asarray(hits[..., None] * gain + (n - hits)[..., None] * loss).reshape(len(obs), _STAKES)

    def tally(self, obs: Floats, table: Floats) -> Floats:
        """Return (scores, those in the set, those expected there), shape (k, stakes, 3)."""
        hits, n = _hits(obs, table)
        expected = n * table[:, _Q : _Q + _SETS]
        return np.repeat(np.stack([np.broadcast_to(n, hits.shape), hits, expected], axis=2), len(RHO), axis=1)

    def effect(self, mean: float, expected: float, direction: int) -> float:
        """Return the change of the share, in points."""
        return mean - expected

    def gate(self, n: float, effect: float, tolerance: float) -> bool:
        """Page only if the share has moved by the tolerance since the onset."""
        return effect >= tolerance

    def clear_table(self, fit: Fit, *, direction: int, stake: int, mean: float, tolerance: float, seen: Floats | None = None) -> Floats:
        """Test "the share is still beyond the midpoint of baseline and alarm, and beyond the tolerance" with bets on less."""
        each = stake // len(RHO)
        base = float(_shares(fit.null)[each])
        m = min(max((base + mean) / 2, base + tolerance, _EDGE), 1 - _EDGE)
        shifted = odds(m) / RATIOS
        p = shifted / (1 + shifted)
        return np.concatenate([_thresholds(fit.null), [float(each)], np.log(p / m), np.log((1 - p) / (1 - m))])

    def clear_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors of the clear test."""
        hits, n = _hits(obs[None], table[None])
        x, gains = hits[0, int(table[_Q])], table[_Q + 1 :]
        return np.asarray(x * gains[: len(RATIOS)] + (n[0, 0] - x) * gains[len(RATIOS) :])

    def contract(self, value: float) -> Fit | None:
        """Take no contract value: a distribution is no number."""
        return None

    def direction(self, direction: int, stake: int) -> str:
        """Return up, down, or both where scores spread out or draw together."""
        each = stake // len(RHO)
        return "up" if each < _Q else "down" if each < 2 * _Q else "both"

    def describe(self, stake: int, null: Floats | None = None) -> str:
        """Say which scores there are more of."""
        if null is None:
            return ""
        each, edges = stake // len(RHO), _thresholds(null) / PANE_GRID
        if each < 2 * _Q:
            return f"scores {'above' if each < _Q else 'up to'} {edges[each % _Q]:g}"
        lower, upper = edges[0], edges[-1]
        return f"scores up to {lower:g} or above {upper:g}" if each == 2 * _Q else f"scores above {lower:g} and up to {upper:g}"

    def figure(self, total: Floats, table: Floats) -> str:
        """Say how far the whole distribution has moved."""
        null = table[-self.terms :]
        return f"population stability index {stability_index(total, null[2:], float(null[0])):.2f}"


BET = ScoreBet()


def _thresholds(null: Floats) -> Ints:
    """Return the cell edges (1 to 19) nearest to the quantiles; of equally near ones, the one next to the scores."""
    below = np.cumsum(null[2:])
    edges = []
    for quantile in QUANTILES:
        upper = min(int(np.searchsorted(below, quantile - 1e-12)) + 1, PANE_GRID - 1)
        lower = max(upper - 1, 1)
        nearer = abs(below[lower - 1] - quantile) < abs(below[upper - 1] - quantile)
        edges.append(lower if nearer else upper)
    return np.array(edges)


def _shares(null: Floats) -> Floats:
    hits, n = _hits(null[None, 2:], _thresholds(null)[None].astype(np.float64))
    return np.asarray(np.clip(hits[0] / n[0], 0.0, 1.0))


def _idle(each: int, edges: Ints) -> bool:
    """Say whether a set is another one's twin, or everything, or nothing."""
    if each >= 2 * _Q:
        return bool(edges[0] == edges[-1])
    return bool(edges[each % _Q] in edges[: each % _Q])


def _hits(obs: Floats, table: Floats) -> tuple[Floats, Floats]:
    """Return how many scores lie in each set, shape (k, sets), and how many there are, shape (k, 1)."""
    below = np.cumsum(obs, axis=1)
    n = below[:, -1:]
    under = np.take_along_axis(below, table[:, :_Q].astype(np.int64) - 1, axis=1)
    over = n - under
    tails = under[:, :1] + over[:, -1:]
    return np.concatenate([over, under, tails, n - tails], axis=1), n
