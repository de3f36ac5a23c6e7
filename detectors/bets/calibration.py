"""Bets on calibration: that a score no longer means what it claimed, or what it has meant so far."""

from collections.abc import Sequence

import numpy as np

from detectors.baselines.calibration_map import Z_95, CalibrationMap, fit_map, logit
from detectors.baselines.wilson import Z_90, wilson
from detectors.bets import Bet, Enough, Family, Fit, odds, sigmoid
from detectors.cells import BIN, MADE, PANE_GRID
from detectors.fixed import Floats
from detectors.reading import Reading

# Recalibrated alternatives, logit q = shift + slope * logit c0; the last bet is on confident predictions that are wrong.
SHIFT = np.array([0.0, 0.0, 0.0, 0.0, 0.2, -0.2, 0.5, -0.5])
SLOPE = np.array([0.6, 0.8, 1.25, 1.6, 1.0, 1.0, 1.0, 1.0])
NAMES = (
    *("the scores are over-confident",) * 2,
    *("the scores are under-confident",) * 2,
    *("the scores are too low", "the scores are too high") * 2,
    "confident scores are wrong too often",
)
_CONFIDENT, _HOPELESS = 0.9, 0.25
_TURNED = 0.1  # share of confident predictions whose outcome is turned round
_CELLS = 3 * PANE_GRID
_EDGES = np.arange(PANE_GRID + 1) / PANE_GRID
_HEAD = 7  # mode, a, b, three variances, tolerance
_TERMS = _HEAD + 2 * PANE_GRID
_MIN_LABELS = 30


class CalibrationBet(Bet):
    """Evidence that outcomes left the band around what the scores claim (absolute) or have meant so far (relative).

    The null is composite: each label's probability lies within the band ``[lo, hi]`` around the map ``c0`` of its score, whatever the
    dependence. An alternative above the band bets against ``hi``, one below against ``lo``, one inside does not bet. A pane gives one
    mean score per cell; that is enough, since the expected product is largest when all probabilities of a cell equal their mean, and
    the mean of the band over a cell is bounded by the larger of the band at the mean and the chord over the cell.

    Observation: labels, positives and sum of scores of 20 cells, and the number of predictions. Null: the terms of a ``CalibrationMap``.

    References
    ----------
    Henzi & Ziegel, Biometrika 109 (2022), with its corrigendum; Cox, Biometrika 45 (1958): recalibration.

    Examples
    --------
    >>> bet, n = CalibrationBet(), np.full(20, 100.0)
    >>> p = (np.arange(20) + 0.5) / 20
    >>> def obs(rate): return np.append(np.stack([n, n * rate, n * p], axis=1).ravel(), 2000.0)[None]
    >>> fit = bet.fit(obs(p)[0], phi=1.0, tolerance=0.1, direction=1, parent=None)
    >>> table = bet.table(fit.null, 1)[None]
    >>> bool(bet.log_factors(obs(p), table).max() < 0), int(bet.log_factors(obs(sigmoid(0.6 * logit(p))), table).argmax())
    (True, 0)

    """

    name = "calibration"
    width = _CELLS + 1
    terms = _TERMS
    stakes = len(NAMES)
    families = (
        Family(
            name="calibration",
            kind="calibration",
            noun="calibration",
            look="Recalibrate the scores, or do not use them as probabilities, until the model is retrained.",
            mature_only=True,
            tolerance=0.1,
        ),
    )

    def observe(self, reading: Reading, families: Sequence[Family]) -> Floats:
        """Return the cells and the number of predictions with a score, shape (1, segments, 61)."""
        bins, out = reading.known_bins, np.zeros((1, len(reading.segments), self.width))
        if not bins.any():
            return out
        cells = out[0, :, :_CELLS].reshape(len(reading.segments), PANE_GRID, 3)
        cells[..., 0] = BIN.count(bins, "n")
        cells[..., 1] = BIN.count(bins, "positive")
        cells[..., 2] = BIN.total(bins, "score")
        out[0, :, :_CELLS] = cells.reshape(len(reading.segments), _CELLS)
        out[0, :, _CELLS] = MADE.count(reading.made, "scored")
        return out

    def mean(self, obs: Floats) -> float:
        """Return the mean of outcomes less scores."""
        return float((obs[1:_CELLS:3] - obs[2:_CELLS:3]).sum() / self.size(obs))

    def size(self, obs: Floats) -> Floats:
        """Return the labels."""
        return np.asarray(obs[..., :_CELLS:3].sum(axis=-1))

    def fault(self, obs: Floats) -> str:
        """Refuse counts and sums that no labels and scores can give."""
        if not obs.any():
            return ""
        n, y, s = obs[..., :_CELLS:3], obs[..., 1:_CELLS:3], obs[..., 2:_CELLS:3]
        if (y >= 0).all() and (y <= n).all() and (s >= 0).all() and (s <= n * (1 + 1e-9)).all():
            return ""
        return f"expected 0 <= positives <= labels and scores in [0, 1] in every cell, got {n.sum():g} labels, {y.sum():g} positives"

    def series(self, obs: Floats) -> Floats:
        """Return (outcomes less scores, variance that the scores claim)."""
        n, y, s = obs[:, :_CELLS:3], obs[:, 1:_CELLS:3], obs[:, 2:_CELLS:3]
        return np.stack([(y - s).sum(axis=1), (s * (1 - s / np.maximum(n, 1.0))).sum(axis=1)], axis=1)

    def dispersion(self, total: Floats) -> float:
        """Return how much more than the scores claim the outcomes vary within the cells."""
        n, y, s = total[:_CELLS:3], total[1:_CELLS:3], total[2:_CELLS:3]
        whole = np.maximum(n, 1.0)
        claimed = float((s * (1 - s / whole)).sum())
        return max(1.0, float((y * (1 - y / whole)).sum()) / claimed) if claimed > 0 else 1.0

    def enough(self, total: Floats, two_sided: bool, aggregate: bool, rule: Enough) -> bool:
        """Say whether there are 3,000 labels (a group: as many as the rule says) and 20 of each class."""
        n, y = float(self.size(total)), float(total[1:_CELLS:3].sum())
        return n >= max(rule.labels, 3_000 if aggregate else 0) and min(y, n - y) >= rule.failures

    def fit(self, total: Floats, *, phi: float, tolerance: float, direction: int, parent: Floats | None, bound: float = Z_90) -> Fit:
        """Choose the map; a group takes the mode of the aggregate."""
        cells, n = total[:_CELLS].reshape(PANE_GRID, 3), float(self.size(total))
        coverage = n / max(float(total[_CELLS]), 1.0)
        mode = None if parent is None else int(parent[0])
        chosen = fit_map(cells, coverage=coverage, tolerance=tolerance, phi=phi, mode=mode)
        y = float(cells[:, 1].sum())
        lo, hi = wilson(n / phi, y / phi)
        remark = (
            f"the scores were miscalibrated from the start (intercept {chosen.a:+.2f}, slope {chosen.b:.2f}); "
            "changes are watched relative to what they have meant so far"
        )
        return Fit(null=_terms(chosen), value=y / n, lo=lo, hi=hi, n=n, remark=remark if chosen.miscalibrated else "")

    def interval(self, fit: Fit, expected: float, tolerance: float) -> tuple[float, float]:
        """Return the tolerance band."""
        lo, hi = sigmoid(np.log(odds(expected)) + np.array([-tolerance, tolerance]))
        return float(lo), float(hi)

    def table(self, null: Floats, direction: int) -> Floats:
        """Return the null, and the band at both ends of every cell."""
        hi, lo, _ = _band(np.broadcast_to(_EDGES[:-1], (1, PANE_GRID)), null[None])
        hi_end, lo_end, _ = _band(np.broadcast_to(_EDGES[1:], (1, PANE_GRID)), null[None])
        return np.concatenate([null, hi[0], hi_end[0], lo[0], lo_end[0]])

    def log_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors, shape (k, stakes)."""
        n, y, hi, lo, _, q = self._alternatives(obs, table)
        edge = np.where(q > hi, hi, np.where(q < lo, lo, q))
        gain = y * np.log(q / edge) + (n - y) * np.log((1 - q) / (1 - edge))
        return np.asarray(gain.sum(axis=2).T)

    def tally(self, obs: Floats, table: Floats) -> Floats:
        """Return (labels, outcomes on the side bet on, the map's expectation) over the cells bet in, shape (k, stakes, 3)."""
        n, y, hi, lo, c0, q = self._alternatives(obs, table)
        up, down = (q > hi) * 1.0, (q < lo) * 1.0
        events = ((up + down) * n).sum(axis=2)
        hits = (up * y + down * (n - y)).sum(axis=2)
        expected = (up * n * c0 + down * n * (1 - c0)).sum(axis=2)
        return np.stack([events.T, hits.T, expected.T], axis=2)

    def effect(self, mean: float, expected: float, direction: int) -> float:
        """Return the change in logits."""
        return float(np.log(odds(mean) / odds(expected)))

    def gate(self, n: float, effect: float, tolerance: float) -> bool:
        """Page only with at least 30 labels since the onset."""
        return n >= _MIN_LABELS

    def clear_table(self, fit: Fit, *, direction: int, stake: int, mean: float, tolerance: float, seen: Floats | None = None) -> Floats:
        """Test "still at least half-way to the alternative that led, and beyond the band" with a bet on the map."""
        return np.append(self.table(fit.null, direction), float(stake))

    def clear_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factor of the clear test, shape (1,)."""
        n, y, hi, lo, c0, q = self._alternatives(obs[None], table[None, :-1])
        j = int(table[-1])
        middle = sigmoid((logit(c0) + logit(q[j])) / 2)
        null = np.where(q[j] > hi, np.maximum(middle, hi), np.where(q[j] < lo, np.minimum(middle, lo), c0))
        gain = y * np.log(c0 / null) + (n - y) * np.log((1 - c0) / (1 - null))
        return np.asarray(gain.sum(axis=1))

    def contract(self, value: float) -> Fit | None:
        """Take no contract value: that the scores are probabilities is the contract, and the reference says whether it holds."""
        return None

    def direction(self, direction: int, stake: int) -> str:
        """Return up (more positives than the scores say), down, or both where the scores are too extreme or too tame."""
        return {"the scores are too low": "up", "the scores are too high": "down"}.get(NAMES[stake], "both")

    def describe(self, stake: int, null: Floats | None = None) -> str:
        """Say what is wrong with the scores."""
        return NAMES[stake]

    def _alternatives(self, obs: Floats, table: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
        """Return labels, positives, band and map by cell, shape (k, 20), and the alternatives, shape (stakes, k, 20)."""
        n, y, s = obs[:, :_CELLS:3], obs[:, 1:_CELLS:3], obs[:, 2:_CELLS:3]
        at = np.where(n > 0, s / np.maximum(n, 1.0), (_EDGES[:-1] + _EDGES[1:]) / 2)
        hi, lo, centre = _band(at, table[:, :_TERMS])
        ends = table[:, _TERMS:].reshape(len(table), 4, PANE_GRID)
        t = at * PANE_GRID - np.arange(PANE_GRID)
        hi = np.maximum(hi, ends[:, 0] + t * (ends[:, 1] - ends[:, 0]))
        lo = np.minimum(lo, ends[:, 2] + t * (ends[:, 3] - ends[:, 2]))
        c0 = np.clip(sigmoid(centre), 1e-6, 1 - 1e-6)
        q = np.empty((self.stakes, *at.shape))
        q[:-1] = np.clip(sigmoid(SHIFT[:, None, None] + SLOPE[:, None, None] * centre), 1e-6, 1 - 1e-6)
        high, low = (c0 >= _CONFIDENT) & (1 - lo < _HOPELESS), (c0 <= 1 - _CONFIDENT) & (hi < _HOPELESS)
        q[-1] = np.where(high, lo + _TURNED * (1 - 2 * lo), np.where(low, hi + _TURNED * (1 - 2 * hi), c0))
        return n, y, hi, lo, c0, q


BET = CalibrationBet()


def _terms(chosen: CalibrationMap) -> Floats:
    head = [float(chosen.mode), chosen.a, chosen.b, *chosen.variance, chosen.tolerance]
    return np.concatenate([head, chosen.bump, chosen.half])


def _band(p: Floats, null: Floats) -> tuple[Floats, Floats, Floats]:
    """Return upper edge, lower edge and the map's logit at scores shaped (k, 20), for nulls shaped (k, terms)."""
    x = logit(p)
    _, a, b, va, vab, vb, tolerance = (null[:, i : i + 1] for i in range(_HEAD))
    centre = a + b * x + null[:, _HEAD : _HEAD + PANE_GRID]
    line = Z_95 * np.sqrt(np.maximum(va + 2 * vab * x + vb * x * x, 0.0))
    own = null[:, _HEAD + PANE_GRID : _TERMS]
    half = np.where(own > 0, own, np.maximum(line, tolerance))
    edges = np.clip(sigmoid(np.stack([centre + half, centre - half])), 1e-6, 1 - 1e-6)
    return edges[0], edges[1], np.asarray(centre)
