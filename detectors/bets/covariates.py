"""Bets on the inputs, before any label: how a feature's numbers are spread, how often its categories come, how often it is missing.

One panel of each watches all features of a model version, a family for each: ``detectors.feature_bank`` says which. What a baseline calls
a cell is learnt from a feature's first values (``detectors.feature_scale``); any cells are valid, since shares are measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from detectors.baselines.wilson import wilson
from detectors.bets import DOWN, UP, Bet, Enough, Family, Fit, odds
from detectors.bets.exceedances import RHO, Z_99
from detectors.bets.rates import RateBet
from detectors.bets.scores import ScoreBet
from detectors.cells import PANE_GRID
from detectors.fixed import Floats, Ints
from detectors.reading import Reading

CELLS = PANE_GRID  # of a feature's values; of categories the last one holds those that had no cell of their own
_SLOTS = 2 * CELLS  # of a bet on categories: each category more often, or less
_STAKES = _SLOTS * len(RHO)
_BACK = np.array([0.25, 0.5, 0.75, 1.0])  # of the way back to the baseline, in log odds: what the clear test bets on
_FEWEST = 1_000.0
_EDGE = 1e-6


@dataclass(frozen=True, kw_only=True)
class CovariateReading(Reading):
    """What is seen of the features in one pane, by family: values by cell, shape (20,), or (predictions, those without it), shape (2,)."""

    counts: dict[str, Ints] = field(default_factory=dict)


def observed(reading: Reading, families: Sequence[Family], width: int) -> Floats:
    """Return the counts of families, shape (families, segments, width).

    A correction can outrun what it corrects, where two workers wrote them; what is less than nothing until then is taken for nothing.
    """
    out = np.zeros((len(families), len(reading.segments), width))
    for place, each in enumerate(families):
        counts = reading.counts.get(each.name) if isinstance(reading, CovariateReading) else None
        if counts is not None:
            out[place, 0] = np.maximum(counts, 0)
    return out


class NumberBet(ScoreBet):
    """Evidence that a feature's numbers are distributed otherwise than in the baseline: ``ScoreBet`` on cells of its own.

    >>> NumberBet().name, NumberBet().families
    ('numbers', ())
    """

    name = "numbers"
    families = ()  # type: ignore[assignment]  # of each feature, see ``families.NAMED``

    def observe(self, reading: Reading, families: Sequence[Family]) -> Floats:
        """Return the values by cell, shape (features, 1, 20)."""
        return observed(reading, families, CELLS)


class CategoryBet(ScoreBet):
    """Evidence that a category of a feature comes more often than in the baseline, or less often.

    A bet on each category's share, and on the share of all others, with 1.15, 1.4 and 2 times the odds; the null is what was measured, by
    how sure that is (99 %) and by the tolerance in points of the share. A feature has few categories or many: the alternatives are
    dealt out evenly to those that it has, so that none is wasted.

    Observation: values by cell; the last one holds categories that had no cell of their own. Null: as of ``ScoreBet``.

    References
    ----------
    Shin, Ramdas & Rinaldo, NEJSDS 2 (2024): e-detectors.

    Examples
    --------
    >>> bet, seen = CategoryBet(), np.zeros(20)
    >>> seen[:3] = 6000, 3000, 1000
    >>> fit = bet.fit(seen, phi=1.0, tolerance=0.02, direction=1, parent=None)
    >>> table, later = bet.table(fit.null, 1)[None], np.zeros((2, 20))
    >>> later[0, :3], later[1, :3] = (600, 300, 100), (550, 250, 200)
    >>> won = bet.log_factors(later, table.repeat(2, 0))
    >>> bool(won[0].max() < 0), bet.cell(int(won[1].argmax()), fit.null)
    (True, (2, 1))

    """

    name = "categories"
    stakes = _STAKES
    families = ()  # type: ignore[assignment]  # of each feature, see ``families.NAMED``

    def observe(self, reading: Reading, families: Sequence[Family]) -> Floats:
        """Return the values by cell, shape (features, 1, 20)."""
        return observed(reading, families, CELLS)

    def cell(self, stake: int, null: Floats) -> tuple[int, int]:
        """Return the category that an alternative is about, and whether it comes more (1) or less often (-1)."""
        cells, signs = _dealt(null)
        slot = stake // len(RHO)
        return int(cells[slot]), int(signs[slot])

    def table(self, null: Floats, direction: int) -> Floats:
        """Return cell, sign and share by slot, log(p/p0) and log((1-p)/(1-p0)) by slot and ratio, and the null."""
        cells, signs = _dealt(null)
        share = np.where(signs > 0, null[2 + cells], 1 - null[2 + cells])
        gain, loss = np.zeros((_SLOTS, len(RHO))), np.zeros((_SLOTS, len(RHO)))
        for slot in range(_SLOTS):
            hi = wilson(float(null[0]), float(share[slot] * null[0]), Z_99)[1] + float(null[1])
            if hi < 1 - _EDGE:
                shifted = odds(hi) * RHO
                p = shifted / (1 + shifted)
                gain[slot], loss[slot] = np.log(p / hi), np.log((1 - p) / (1 - hi))
        return np.concatenate([cells, signs, share, gain.ravel(), loss.ravel(), null]).astype(np.float64)

    def log_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors, shape (k, stakes)."""
        hits, n = _hits(obs, table)
        gain, loss = np.split(table[:, 3 * _SLOTS : 3 * _SLOTS + 2 * _STAKES].reshape(len(table), 2 * _SLOTS, len(RHO)), 2, axis=1)
        return np.asarray(hits[..., None] * gain + (n - hits)[..., None] * loss).reshape(len(obs), _STAKES)

    def tally(self, obs: Floats, table: Floats) -> Floats:
        """Return (values, those in the set, those expected there), shape (k, stakes, 3)."""
        hits, n = _hits(obs, table)
        expected = n * table[:, 2 * _SLOTS : 3 * _SLOTS]
        return np.repeat(np.stack([np.broadcast_to(n, hits.shape), hits, expected], axis=2), len(RHO), axis=1)

    def clear_table(self, fit: Fit, *, direction: int, stake: int, mean: float, tolerance: float, seen: Floats | None = None) -> Floats:
        """Test "the share is still beyond the midpoint of baseline and alarm, and beyond the tolerance" with bets on less."""
        cell, sign = self.cell(stake, fit.null)
        base = float(fit.null[2 + cell]) if sign > 0 else 1 - float(fit.null[2 + cell])
        return np.concatenate([[float(cell), float(sign)], _way_back(base, max((base + mean) / 2, base + tolerance))])

    def clear_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors of the clear test."""
        n, x = float(obs.sum()), float(obs[int(table[0])])
        return _cleared(n, x if table[1] > 0 else n - x, table[2:])

    def direction(self, direction: int, stake: int) -> str:
        """Return up: what is told is the share that rose."""
        return "up"

    def describe(self, stake: int, null: Floats | None = None) -> str:
        """Say nothing: only the bank knows the categories' names."""
        return ""


class MissingBet(RateBet):
    """Evidence that a feature is missing more often than in the baseline, or less often: ``RateBet`` in points of the share.

    >>> bet = MissingBet()
    >>> round(bet.effect(0.05, 0.01, 1), 2), bet.gate(100, 0.04, 0.02), bet.gate(100, 0.01, 0.02)
    (0.04, True, False)
    """

    name = "missing"
    families = ()  # type: ignore[assignment]  # of each feature, see ``families.NAMED``

    def observe(self, reading: Reading, families: Sequence[Family]) -> Floats:
        """Return (predictions, those without the feature), shape (features, 1, 2)."""
        out = observed(reading, families, 2)
        out[..., 1] = np.minimum(out[..., 1], out[..., 0])
        return out

    def enough(self, total: Floats, two_sided: bool, aggregate: bool, rule: Enough) -> bool:
        """Say whether there are 1,000 predictions: that none of them lacks it is the ordinary case."""
        return float(total[0]) >= _FEWEST

    def effect(self, mean: float, expected: float, direction: int) -> float:
        """Return the change of the share, in points, upwards of the direction watched."""
        return (mean - expected) * direction

    def clear_table(self, fit: Fit, *, direction: int, stake: int, mean: float, tolerance: float, seen: Floats | None = None) -> Floats:
        """Test "still beyond the midpoint of baseline and alarm, and beyond the tolerance" with bets on the way back."""
        middle, edge = (fit.value + mean) / 2, fit.value + tolerance * direction
        return _way_back(fit.value, max(middle, edge) if direction == UP else min(middle, edge))

    def clear_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors of the clear test."""
        return _cleared(float(obs[0]), float(obs[1]), table)


BETS: tuple[Bet, ...] = (NumberBet(), CategoryBet(), MissingBet())


def _dealt(null: Floats) -> tuple[Ints, Ints]:
    """Return the cell and sign of each slot: those that say something, over and over."""
    shares = null[2 : 2 + CELLS]
    used = [cell for cell in range(CELLS) if shares[cell] > 0 or cell == CELLS - 1]
    sets = [(cell, UP) for cell in used] + [(cell, DOWN) for cell in used if shares[cell] > 0]
    cells, signs = np.array(sets).T
    slots = np.arange(_SLOTS) % len(sets)
    return cells[slots], signs[slots]


def _hits(obs: Floats, table: Floats) -> tuple[Floats, Floats]:
    """Return how many values lie in each slot's set, shape (k, slots), and how many there are, shape (k, 1)."""
    n = obs.sum(axis=1, keepdims=True)
    x = np.take_along_axis(obs, table[:, :_SLOTS].astype(np.int64), axis=1)
    return np.where(table[:, _SLOTS : 2 * _SLOTS] > 0, x, n - x), n


def _way_back(base: float, there: float) -> Floats:
    """Return the clear test's null and what it bets on, shape (1 + alternatives,)."""
    m = odds(min(max(there, _EDGE), 1 - _EDGE))
    on = m * (odds(base) / m) ** np.append(0.0, _BACK)
    return np.asarray(on / (1 + on))


def _cleared(n: float, x: float, rates: Floats) -> Floats:
    m, back = rates[0], rates[1:]
    return np.asarray(x * np.log(back / m) + (n - x) * np.log((1 - back) / (1 - m)))
