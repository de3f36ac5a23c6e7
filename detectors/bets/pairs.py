"""Bets on the Brier scores of two versions of a model that answered the same requests."""

from collections.abc import Sequence

import numpy as np

from detectors.baselines.wilson import Z_90, half_width
from detectors.bets import Bet, Enough, Family, Fit
from detectors.fixed import Floats
from detectors.named_rates import RateReading
from detectors.pair_panes import PAIR
from detectors.reading import Reading

LAMBDAS = np.array([0.05, 0.1, 0.2, 0.4, 0.6])
PSI = -np.log1p(-LAMBDAS) - LAMBDAS
_EDGE = 1e-6


class PairScoreBet(Bet):
    """Evidence that the mean squared error of a version's scores is above a rival's (or below it), on requests that both answered.

    With ``d`` in [-1, 1] the difference of the two squared errors, in the direction watched, a factor is
    ``exp(lam * sum(d) - psi * sum(d * d))`` with ``psi = -log(1 - lam) - lam`` and ``lam`` in (0, 1). As
    ``1 + lam * d >= exp(lam * d - psi * d * d)`` for any ``d >= -1``, it is at most a product of fair bets where the mean of ``d`` given
    the past is zero, and of unfair ones to us where it is below, whatever the dependence. It knows two sums, so panes may be merged
    in any order, and labels may be taken back.

    Small differences of large spread suit a small ``lam``; versions that hardly differ, the largest.

    The null needs no data, nor does the estimate: both versions are measured in the same pane.

    Observation: (requests, squared errors of the version, of its rival, squares of their differences; sums). Null: (the rival's mean, for
    the clear test where no observation says it; a contract has none).

    References
    ----------
    Fan, Grama & Liu, Electronic J. of Probability 20 (2015), lemma 4.1: the inequality. Howard et al., Annals of Statistics 49 (2021).

    Examples
    --------
    >>> bet = PairScoreBet("brier:1.4")
    >>> table = bet.table(bet.contract(0.0).null, -1)[None].repeat(2, 0)
    >>> same, better = [1000.0, 100.0, 100.0, 20.0], [1000.0, 80.0, 100.0, 20.0]
    >>> bet.log_factors(np.array([same, better]), table).max(axis=1).round(2).tolist()
    [-0.03, 5.78]

    """

    name = "pair_scores"
    shaped = True
    width = 4
    terms = 1
    stakes = len(LAMBDAS)
    tallied = 4
    families = ()  # of each rival, see ``families.NAMED``

    def __init__(self, name: str = name) -> None:
        self.name = name  # type: ignore[misc]  # of the object: there is one bet for each rival

    def observe(self, reading: Reading, families: Sequence[Family]) -> Floats:
        """Return (requests, squared errors, the rival's, squares of their differences), shape (1, segments, 4).

        A correction can outrun what it corrects, where two workers wrote them; until then sums are brought to what there can be.
        """
        out = np.zeros((1, len(reading.segments), self.width))
        sums = reading.counts.get(self.name) if isinstance(reading, RateReading) else None
        if sums is not None:
            n = np.maximum(PAIR.count(sums, "scored"), 0).astype(np.float64)
            own, rival = (np.clip(PAIR.total(sums, name), 0.0, n) for name in ("loss", "rival_loss"))
            least = np.square(own - rival) / np.maximum(n, 1.0)
            out[0] = np.stack([n, own, rival, np.clip(PAIR.total(sums, "squares"), least, n)], axis=1)
        return out

    def size(self, obs: Floats) -> Floats:
        """Return the requests that both answered with a score."""
        return np.asarray(obs[..., 0])

    def fault(self, obs: Floats) -> str:
        """Refuse sums that no requests have.

        >>> PairScoreBet().fault(np.array([[3.0, 5.0, 0.0, 1.0]]))
        'expected squared errors of 0 to 1 a request, got 5 and 0 of 3'
        """
        n, own, rival, squares = np.moveaxis(obs, -1, 0)
        least = np.square(own - rival) * (1 - 1e-9)  # of a constant difference; sums of millions are rounded
        ok = (n >= 0) & (own >= 0) & (own <= n) & (rival >= 0) & (rival <= n) & (squares <= n) & (n * squares >= least - _EDGE)
        if ok.all():
            return ""
        at = np.unravel_index(int(np.argmax(~ok)), n.shape)
        return f"expected squared errors of 0 to 1 a request, got {own[at]:g} and {rival[at]:g} of {n[at]:g}"

    def series(self, obs: Floats) -> Floats:
        """Return (squared errors, requests)."""
        return obs[:, 1::-1]

    def dispersion(self, total: Floats) -> float:
        """Return the most that a squared error can vary with that mean."""
        mean = float(total[1] / total[0]) if total[0] else 0.0
        return mean * (1 - mean)

    def enough(self, total: Floats, two_sided: bool, aggregate: bool, rule: Enough) -> bool:
        """Never: that the two are alike is not learnt from data."""
        return False

    def fit(self, total: Floats, *, phi: float, tolerance: float, direction: int, parent: Floats | None, bound: float = Z_90) -> Fit:
        """Take the rival's mean."""
        value = float(total[2]) / max(float(total[0]), 1.0)
        return Fit(null=np.array([value]), value=value, lo=value, hi=value, n=0.0)

    def interval(self, fit: Fit, expected: float, tolerance: float) -> tuple[float, float]:
        """Return the rival's mean: how sure the difference is stands beside the version's own."""
        return expected, expected

    def table(self, null: Floats, direction: int) -> Floats:
        """Return the direction: it is all that the factors depend on."""
        return np.array([float(direction)])

    def log_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors, shape (k, stakes)."""
        gap = table[:, 0] * (obs[:, 1] - obs[:, 2])
        return np.asarray(LAMBDAS * gap[:, None] - PSI * obs[:, 3:4])

    def tally(self, obs: Floats, table: Floats) -> Floats:
        """Return (requests, squared errors, the rival's, squares), the same for each stake; shape (k, 1, 4)."""
        return obs[:, None]

    def effect(self, mean: float, expected: float, direction: int) -> float:
        """Return the difference as a share of the rival's score, in the direction watched.

        >>> round(PairScoreBet().effect(0.09, 0.10, -1), 3)
        0.1
        """
        return direction * (mean / max(expected, _EDGE) - 1)

    def gate(self, n: float, effect: float, tolerance: float) -> bool:
        """Page only if the score since the onset is beyond the rival's by the tolerance."""
        return effect >= tolerance

    def clear_table(self, fit: Fit, *, direction: int, stake: int, mean: float, tolerance: float, seen: Floats | None = None) -> Floats:
        """Test "still apart by half of what was seen, and by the tolerance" with bets on less.

        Returns (direction, that distance).
        """
        rival = fit.value if seen is None or seen[0] <= 0 else float(seen[2] / seen[0])
        return np.array([float(direction), max(direction * (mean - rival) / 2, tolerance * rival, _EDGE)])

    def clear_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors of the clear test: those of ``distance - d``, which is at least -1 as well."""
        direction, distance = table
        n, gap, squares = obs[0], direction * (obs[1] - obs[2]), obs[3]
        return np.asarray(LAMBDAS * (n * distance - gap) - PSI * (n * distance**2 - 2 * distance * gap + squares))

    def contract(self, value: float) -> Fit | None:
        """Take the two to be alike; the value says nothing."""
        return Fit(null=np.zeros(1), value=0.0, lo=0.0, hi=0.0, n=0.0)

    def spread(self, sums: Floats, phi: float, table: Floats) -> tuple[float, float]:
        """Return the version's mean less and plus what the difference may be off by, 90 %."""
        n, own, rival, squares = sums.tolist()
        half = Z_90 * deviation(n, own - rival, squares) * float(np.sqrt(phi / n))
        return max(own / n - half, 0.0), min(own / n + half, 1.0)

    def sequence(self, sums: Floats, phi: float, table: Floats) -> tuple[float, float]:
        """Return the same, 95 %, for any number of looks."""
        n, own, rival, squares = sums.tolist()
        half = half_width(n / phi, deviation(n, own - rival, squares))
        return max(own / n - half, 0.0), min(own / n + half, 1.0)


def deviation(n: float, total: float, squares: float) -> float:
    """Return the deviation of ``n`` differences in [-1, 1], given their sum and that of their squares.

    One pair more of each sign is added: few pairs that all agree are no certainty.

    >>> round(deviation(1000, -20.0, 20.0), 3)
    0.143
    """
    return float(np.sqrt(max((squares + 1) / (n + 1) - (total / n) ** 2, 0.0)))


BET = PairScoreBet()
