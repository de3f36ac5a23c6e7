"""Bets on a distribution by cells: on the share of events beyond its quantiles, for scores and for errors of predicted numbers."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from detectors.baselines.wilson import Z_90, wilson
from detectors.bets import Bet, Enough, Fit, odds
from detectors.bets.rates import RATIOS
from detectors.fixed import Floats, Ints

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
RHO = np.array([1.15, 1.4, 2.0])
Q = len(QUANTILES)
Z_99 = 2.58
_FEWEST = 1_000.0
_EDGE = 1e-6


class ExceedanceBet(Bet):
    """Evidence that a quantity is distributed otherwise than in the baseline.

    Thresholds are the edges of cells nearest to five quantiles of the baseline, distinct ones only. A bet is on a share: of the events
    above a threshold, of those not above it; where there are bets on ``tails``, of those beyond both outer thresholds and of those between
    them. Each share's null is what was measured in the baseline, by how sure that is (99 %) and by the tolerance in points of the share;
    measured, since with ties the share above a 90 % quantile need not be 10 %. Alternatives have 1.15, 1.4 and 2 times the odds. A change
    within one cell is not seen.

    Observation: events by cell. Null: (events that count, tolerance, shares by cell).

    References
    ----------
    Shin, Ramdas & Rinaldo, NEJSDS 2 (2024): e-detectors.

    """

    tails: ClassVar[bool]
    middles: ClassVar[Floats]  # of the cells, in a unit in which the test of over-dispersion can take means; shape (width,)

    @abstractmethod
    def estimate(self, mean: float, half: float) -> tuple[float, float, float]:
        """Return the value that a mean of the cells' middles stands for, and its interval of so much on either side."""

    @abstractmethod
    def beyond(self, above: bool, edge: int) -> str:
        """Name the events above, or not above, an edge of the cells."""

    def mean(self, obs: Floats) -> float:
        """Return the mean of the cells' middles."""
        return float(obs @ self.middles / obs.sum())

    def size(self, obs: Floats) -> Floats:
        """Return the events."""
        return np.asarray(obs.sum(axis=-1))

    def fault(self, obs: Floats) -> str:
        """Refuse negative counts."""
        return "" if np.count_nonzero(obs >= 0) == obs.size else f"expected counts >= 0 in every cell, got {float(np.nanmin(obs)):g}"

    def series(self, obs: Floats) -> Floats:
        """Return (sum of the cells' middles, events)."""
        return np.stack([obs @ self.middles, obs.sum(axis=1)], axis=1)

    def dispersion(self, total: Floats) -> float:
        """Return the variance of the cells' middles."""
        n = max(float(total.sum()), 1.0)
        return float(total @ np.square(self.middles - total @ self.middles / n)) / n

    def enough(self, total: Floats, two_sided: bool, aggregate: bool, rule: Enough) -> bool:
        """Say whether there are 1,000 events."""
        return float(total.sum()) >= _FEWEST

    def fit(self, total: Floats, *, phi: float, tolerance: float, direction: int, parent: Floats | None, bound: float = Z_90) -> Fit:
        """Measure the shares; ``phi`` events count as one."""
        n = float(total.sum())
        half = Z_90 * float(np.sqrt(self.dispersion(total) * phi / n))
        value, lo, hi = self.estimate(float(total @ self.middles) / n, half)
        return Fit(null=np.concatenate([[n / phi, tolerance], total / n]), value=value, lo=lo, hi=hi, n=n)

    def interval(self, fit: Fit, expected: float, tolerance: float) -> tuple[float, float]:
        """Return how sure the baseline's share is."""
        return wilson(float(fit.null[0]), expected * float(fit.null[0]), Z_99)

    def table(self, null: Floats, direction: int) -> Floats:
        """Return the thresholds, the shares, log(p/p0) and log((1-p)/(1-p0)) of each set and ratio, and the null."""
        edges, shares = thresholds(null), self._shares(null)
        gain, loss = np.zeros((len(shares), len(RHO))), np.zeros((len(shares), len(RHO)))
        for each in range(len(shares)):
            hi = wilson(float(null[0]), float(shares[each] * null[0]), Z_99)[1] + float(null[1])
            if _idle(each, edges) or hi >= 1 - _EDGE:
                continue  # no room above, or the same set as another one's
            shifted = odds(hi) * RHO
            p = shifted / (1 + shifted)
            gain[each], loss[each] = np.log(p / hi), np.log((1 - p) / (1 - hi))
        return np.concatenate([edges, shares, gain.ravel(), loss.ravel(), null])

    def log_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors, shape (k, stakes)."""
        hits, n = self._hits(obs, table)
        sets = hits.shape[1]
        gain, loss = np.split(table[:, Q + sets : Q + sets + 2 * self.stakes].reshape(len(table), 2 * sets, len(RHO)), 2, axis=1)
        return np.asarray(hits[..., None] * gain + (n - hits)[..., None] * loss).reshape(len(obs), self.stakes)

    def tally(self, obs: Floats, table: Floats) -> Floats:
        """Return (events, those in the set, those expected there), shape (k, stakes, 3)."""
        hits, n = self._hits(obs, table)
        expected = n * table[:, Q : Q + hits.shape[1]]
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
        base = float(self._shares(fit.null)[each])
        m = min(max((base + mean) / 2, base + tolerance, _EDGE), 1 - _EDGE)
        shifted = odds(m) / RATIOS
        p = shifted / (1 + shifted)
        return np.concatenate([thresholds(fit.null), [float(each)], np.log(p / m), np.log((1 - p) / (1 - m))])

    def clear_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors of the clear test."""
        hits, n = self._hits(obs[None], table[None])
        x, gains = hits[0, int(table[Q])], table[Q + 1 :]
        return np.asarray(x * gains[: len(RATIOS)] + (n[0, 0] - x) * gains[len(RATIOS) :])

    def contract(self, value: float) -> Fit | None:
        """Take no contract value: a distribution is no number."""
        return None

    def direction(self, direction: int, stake: int) -> str:
        """Return up, down, or both where scores spread out or draw together."""
        each = stake // len(RHO)
        return "up" if each < Q else "down" if each < 2 * Q else "both"

    def describe(self, stake: int, null: Floats | None = None) -> str:
        """Say which events there are more of."""
        if null is None:
            return ""
        each, edges = stake // len(RHO), thresholds(null)
        return self.beyond(each < Q, int(edges[each % Q]))

    def _shares(self, null: Floats) -> Floats:
        hits, n = self._hits(null[None, 2:], thresholds(null)[None].astype(np.float64))
        return np.asarray(np.clip(hits[0] / n[0], 0.0, 1.0))

    def _hits(self, obs: Floats, table: Floats) -> tuple[Floats, Floats]:
        """Return how many events lie in each set, shape (k, sets), and how many there are, shape (k, 1)."""
        below = np.cumsum(obs, axis=1)
        n = below[:, -1:]
        under = np.take_along_axis(below, table[:, :Q].astype(np.int64) - 1, axis=1)
        over = n - under
        sets = [over, under]
        if self.tails:
            outer = under[:, :1] + over[:, -1:]
            sets += [outer, n - outer]
        return np.concatenate(sets, axis=1), n


def sets_of(*, tails: bool) -> int:
    """Return how many shares a bet is on."""
    return 2 * Q + 2 * tails


def thresholds(null: Floats) -> Ints:
    """Return the inner cell edges nearest to the quantiles; of equally near ones, the one next to the events."""
    below = np.cumsum(null[2:])
    edges = []
    for quantile in QUANTILES:
        upper = min(int(np.searchsorted(below, quantile - 1e-12)) + 1, len(below) - 1)
        lower = max(upper - 1, 1)
        nearer = abs(below[lower - 1] - quantile) < abs(below[upper - 1] - quantile)
        edges.append(lower if nearer else upper)
    return np.array(edges)


def _idle(each: int, edges: Ints) -> bool:
    """Say whether a set is another one's twin, or everything, or nothing."""
    if each >= 2 * Q:
        return bool(edges[0] == edges[-1])
    return bool(edges[each % Q] in edges[: each % Q])
