"""Bets against claims: what was promised of a model is a baseline that needs no data."""

from collections.abc import Sequence

import numpy as np

from detectors.baselines.wilson import Z_90, wilson
from detectors.bets import DOWN, Bet, Enough, Family, Fit
from detectors.cells import CONFUSION, KNOWN, many_classes
from detectors.fixed import Floats
from detectors.reading import Reading

# A claim "x / n >= c" by cell of the confusion matrix (tp, fp, tn, fn): what counts in x, and in n
_CLAIMS = {
    "f1": ("F1", (1.0, 0.0, 0.0, 0.0), (1.0, 0.5, 0.0, 0.5)),
    "accuracy": ("accuracy", (1.0, 0.0, 1.0, 0.0), (1.0, 1.0, 1.0, 1.0)),
    "sensitivity": ("sensitivity", (1.0, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 1.0)),
    "specificity": ("specificity", (0.0, 0.0, 1.0, 0.0), (0.0, 1.0, 1.0, 0.0)),
    "ppv": ("positive predictive value", (1.0, 0.0, 0.0, 0.0), (1.0, 1.0, 0.0, 0.0)),
}
FRACTIONS = np.array([0.03, 0.1, 0.25, 0.5, 0.9])  # of the largest stake that leaves nothing negative
_MOST_STAKE = 10.0
_FEWEST = 30.0
_EDGE = 1e-6


class ClaimBet(Bet):
    """Evidence that a ratio of counts is lower than was claimed.

    F1 >= c is linear in the confusion matrix: each labelled event has ``z = x - c * n`` (F1: 1 - c for a true positive, -c/2 for a false
    positive or false negative), and the claim says that its mean is not below zero. A factor is ``1 - lam * z``; its expectation is at most
    one as long as the mean of ``z`` given the past is not negative, whatever the dependence.

    Observation: the confusion matrix. Null: (claimed value).

    References
    ----------
    Waudby-Smith & Ramdas, JRSS-B 86 (2024): betting on means of bounded variables.

    Examples
    --------
    >>> bet = CLAIMS["f1"]
    >>> table = bet.table(bet.contract(0.94).null, -1)[None]
    >>> as_claimed, worse = np.array([[94.0, 6.0, 0.0, 6.0]]), np.array([[71.0, 29.0, 0.0, 29.0]])
    >>> bool(bet.log_factors(as_claimed, table).max() <= 0), bool(bet.log_factors(worse, table).max() > 20)
    (True, True)

    """

    width = 4
    terms = 1
    stakes = len(FRACTIONS)

    def __init__(self, claim: str) -> None:
        noun, x, n = _CLAIMS[claim]
        self.name = f"claim_{claim}"  # type: ignore[misc]  # a class variable of most bets; here one class serves five
        self.families = (  # type: ignore[misc]  # likewise
            Family(
                name=claim,
                kind="claim",
                noun=noun,
                look="Do not rely on the claimed figure: the model does not reach it here.",
                directions=(DOWN,),
                groups=False,
                opt_in=True,
                mature_only=True,
                tolerance=0.02,
            ),
        )
        self.of_binary = claim != "accuracy"  # whether it only has a meaning where the answer is yes or no
        self._x, self._n = np.array(x), np.array(n)

    def observe(self, reading: Reading, families: Sequence[Family]) -> Floats:
        """Return the confusion matrix, shape (1, segments, 4); zeros where the claim says nothing of many classes."""
        counts = np.stack([KNOWN.count(reading.known, cell) for cell in CONFUSION], axis=1).astype(np.float64)
        if self.of_binary:
            counts[many_classes(reading.made)] = 0.0
        return counts[None]

    def size(self, obs: Floats) -> Floats:
        """Return the events that the claim speaks of; half of a false one of F1."""
        return np.asarray(obs @ self._n)

    def fault(self, obs: Floats) -> str:
        """Refuse negative counts."""
        return "" if (obs >= 0).all() else f"expected counts >= 0, got {float(np.nanmin(obs)):g}"

    def series(self, obs: Floats) -> Floats:
        """Return (what counts for the claim, events)."""
        return np.stack([obs @ self._x, obs @ self._n], axis=1)

    def dispersion(self, total: Floats) -> float:
        """Return the variance of a rate of that size."""
        n = float(total @ self._n)
        rate = float(total @ self._x) / n if n else 0.0
        return rate * (1 - rate)

    def enough(self, total: Floats, two_sided: bool, aggregate: bool, rule: Enough) -> bool:
        """Never: a claim is not learnt from data."""
        return False

    def fit(self, total: Floats, *, phi: float, tolerance: float, direction: int, parent: Floats | None, bound: float = Z_90) -> Fit:
        """Take the value seen for the claim."""
        value = min(max(float(total @ self._x) / max(float(total @ self._n), 1.0), _EDGE), 1.0)
        return Fit(null=np.array([value]), value=value, lo=value, hi=value, n=0.0)

    def interval(self, fit: Fit, expected: float, tolerance: float) -> tuple[float, float]:
        """Return the claim."""
        return fit.value, fit.value

    def table(self, null: Floats, direction: int) -> Floats:
        """Return the log factor of each cell for each stake, then the claim."""
        z = self._x - null[0] * self._n
        most = min(1 / max(float(z.max()), _EDGE), _MOST_STAKE)
        return np.append(np.log1p(-most * FRACTIONS[:, None] * z).ravel(), null[0])

    def log_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors, shape (k, stakes)."""
        return np.asarray((table[:, :-1].reshape(len(table), self.stakes, 4) * obs[:, None]).sum(axis=2))

    def tally(self, obs: Floats, table: Floats) -> Floats:
        """Return (events, what counts for the claim, what the claim says), the same for each stake; shape (k, 1, 3)."""
        n = obs @ self._n
        return np.stack([n, obs @ self._x, n * table[:, -1]], axis=1)[:, None]

    def effect(self, mean: float, expected: float, direction: int) -> float:
        """Return by how many points production is below the claim."""
        return expected - mean

    def gate(self, n: float, effect: float, tolerance: float) -> bool:
        """Page only from 30 events on, and if the claim is missed by the tolerance."""
        return n >= _FEWEST and effect >= tolerance

    def clear_table(self, fit: Fit, *, direction: int, stake: int, mean: float, tolerance: float, seen: Floats | None = None) -> Floats:
        """Test "still below the midpoint of claim and production, and below the tolerance" with bets on more."""
        claimed = float(fit.null[0])
        m = max(min((claimed + mean) / 2, claimed - tolerance), _EDGE)
        z = self._x - m * self._n
        most = min(1 / max(float(-z.min()), _EDGE), _MOST_STAKE)
        return np.asarray(np.log1p(most * FRACTIONS[:, None] * z).ravel())

    def clear_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors of the clear test."""
        return np.asarray(table.reshape(self.stakes, 4) @ obs)

    def contract(self, value: float) -> Fit | None:
        """Take the claim as it is."""
        value = min(max(value, _EDGE), 1.0)
        return Fit(null=np.array([value]), value=value, lo=value, hi=value, n=0.0)

    def measure(self, counts: Floats) -> tuple[float, float, float, float]:
        """Return what production says of the claim: value, 95 % interval, events. Counts by cell, shape (4,).

        >>> [round(figure, 3) for figure in CLAIMS["ppv"].measure(np.array([90.0, 10.0, 500.0, 20.0]))]
        [0.9, 0.826, 0.945, 100.0]
        """
        n, x = float(counts @ self._n), float(counts @ self._x)
        return (x / n, *wilson(n, x, 1.96), n) if n > 0 else (float("nan"), 0.0, 1.0, 0.0)


CLAIMS = {claim: ClaimBet(claim) for claim in _CLAIMS}
BETS = tuple(CLAIMS.values())
