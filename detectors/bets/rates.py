"""Bets on a rate: of errors, of alerts, of labels known by an age."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from detectors.baselines.wilson import Z_90, wilson
from detectors.bets import DOWN, UP, Bet, Enough, Family, Fit, odds, scaled
from detectors.cells import KNOWN, MADE, many_classes
from detectors.fixed import Floats, Ints
from detectors.reading import Reading

RATIOS = np.array([1.25, 1.5, 2.0, 3.0, 6.0])
_LABELLED = {"known.tp": 1, "known.fp": 1, "known.tn": 1, "known.fn": 1}
_EDGE = 1e-6
_OF_BINARY = ("fpr", "fnr", "prior")  # where y is "the prediction was right", these say nothing that the error rate does not
_BACK = np.array([0.0, 0.5, 1.0])  # of the way back to the baseline, in log odds: the clear test's null, and what it bets on


class RateBet(Bet):
    """Evidence that a rate has risen above (or fallen below) its baseline.

    Likelihood ratios of Bernoulli alternatives whose odds are 1.25, 1.5, 2, 3 and 6 times those of the null's edge ``m0`` (or one over
    that): ``(p/m0)**x * ((1-p)/(1-m0))**(n-x)``. Each is a fair bet at ``m0`` and an unfair one to us below it, whatever the dependence, as
    long as the mean given the past is at most ``m0``. The logs add up, so panes may be merged in any order.

    Observation: (events, failures). Null: (edge ``m0``, estimate).

    References
    ----------
    Shin, Ramdas & Rinaldo, NEJSDS 2 (2024): e-detectors. Wald, Sequential Analysis (1947): likelihood ratios.

    Examples
    --------
    >>> bet = RateBet()
    >>> table = bet.table(np.array([0.05, 0.05]), UP)
    >>> bet.log_factors(np.array([[100.0, 5.0], [100.0, 10.0]]), table[None].repeat(2, 0)).round(2)[:, 2].tolist()
    [-1.41, 2.05]

    """

    name = "rates"
    width = 2
    terms = 2
    stakes = len(RATIOS)
    seasonal = True
    families = (
        Family(
            name="error",
            kind="concept",
            noun="error rate",
            look="Look at recent wrong predictions and at what changed upstream.",
            n=_LABELLED,
            x={"known.fp": 1, "known.fn": 1},
        ),
        Family(
            name="fpr",
            kind="concept",
            noun="false-positive rate",
            look="Look at negatives that the model flags now and did not before.",
            n={"known.fp": 1, "known.tn": 1},
            x={"known.fp": 1},
        ),
        Family(
            name="fnr",
            kind="concept",
            noun="false-negative rate",
            look="Look at positives that the model misses now; consider a lower threshold until it is retrained.",
            n={"known.tp": 1, "known.fn": 1},
            x={"known.fn": 1},
        ),
        Family(
            name="prior",
            kind="prior",
            noun="base rate",
            look="Look at what is sent to the model: more or fewer positives arrive than before.",
            directions=(UP, DOWN),
            groups=False,
            n=_LABELLED,
            x={"known.tp": 1, "known.fn": 1},
        ),
        Family(
            name="coverage",
            kind="label_delay",
            noun="share of predictions with a label",
            look="Look at the label source: labels come faster, slower or not at all.",
            directions=(UP, DOWN),
            groups=False,
            n={"made.n": 1},
            x={**_LABELLED, "known.abstained": 1},
        ),
        Family(
            name="alert_rate",
            kind="alert_rate",
            noun="alert rate",
            look="Look at the threshold and at the inputs: more or fewer people are alerted per prediction.",
            directions=(UP, DOWN),
            needs_labels=False,
            n={"made.n": 1, "made.abstained": -1},
            x={"made.alerted": 1},
        ),
        Family(
            name="abstention",
            kind="abstention",
            noun="abstention rate",
            look="Look at the inputs that the model declines to judge.",
            directions=(UP, DOWN),
            needs_labels=False,
            opt_in=True,
            n={"made.n": 1},
            x={"made.abstained": 1},
        ),
    )

    def observe(self, reading: Reading, families: Sequence[Family]) -> Floats:
        """Return (events, failures), shape (families, segments, 2): one product of the counts with the families' coefficients."""
        names = tuple(family.name for family in families)
        matrix, alerts = _coefficients(names)
        made, known = len(MADE.counts), len(KNOWN.counts)
        flat = reading.made[:, :made] @ matrix[:made] + reading.known[:, :known] @ matrix[made:]
        out = flat.reshape(len(reading.segments), len(families), 2).transpose(1, 0, 2).astype(np.float64)
        many = many_classes(reading.made)
        if np.count_nonzero(many):
            out[np.ix_(np.isin(names, _OF_BINARY), many)] = 0.0
        if alerts >= 0:  # an abstained prediction may have alerted a person as well
            np.minimum(out[alerts, :, 1], out[alerts, :, 0], out=out[alerts, :, 1])
        return out

    def size(self, obs: Floats) -> Floats:
        """Return the events."""
        return np.asarray(obs[..., 0])

    def fault(self, obs: Floats) -> str:
        """Refuse negative counts, and more failures than events.

        >>> RateBet().fault(np.array([[3.0, 5.0]]))
        'expected 0 <= failures <= events, got 5 of 3'
        """
        n, x = obs[..., 0], obs[..., 1]
        if np.count_nonzero((x >= 0) & (x <= n)) == x.size:
            return ""
        at = np.unravel_index(int(np.argmax(~((x >= 0) & (x <= n)))), n.shape)
        return f"expected 0 <= failures <= events, got {x[at]:g} of {n[at]:g}"

    def series(self, obs: Floats) -> Floats:
        """Return (failures, events)."""
        return obs[:, ::-1]

    def unseries(self, series: Floats) -> Floats:
        """Return (events, failures)."""
        return series[:, ::-1]

    def dispersion(self, total: Floats) -> float:
        """Return the variance of a Bernoulli of the total's rate."""
        rate = float(total[1] / total[0]) if total[0] else 0.0
        return rate * (1 - rate)

    def enough(self, total: Floats, two_sided: bool, aggregate: bool, rule: Enough) -> bool:
        """Say whether there are enough events and failures; if both directions are watched, enough of their opposite too."""
        n, x = float(total[0]), float(total[1])
        failures = min(x, n - x) if two_sided else x
        return n >= rule.plenty or (n >= rule.labels and failures >= rule.failures)

    def fit(self, total: Floats, *, phi: float, tolerance: float, direction: int, parent: Floats | None, bound: float = Z_90) -> Fit:
        """Take the edge of a Wilson interval on the side that is watched; ``phi`` events count as one."""
        n, x = float(total[0]) / phi, float(total[1]) / phi
        lo, hi = wilson(n, x)
        value = x / n
        edge = wilson(n, x, bound)[1 if direction == UP else 0]
        return Fit(null=np.array([min(max(edge, _EDGE), 1 - _EDGE), value]), value=value, lo=lo, hi=hi, n=float(total[0]))

    def interval(self, fit: Fit, expected: float, tolerance: float) -> tuple[float, float]:
        """Return Wilson's, as many times as large as the season has it."""
        return self.along(fit.value, fit.lo, fit.hi, expected)

    def along(self, value: float, lo: float, hi: float, expected: float) -> tuple[float, float]:
        """Return the interval, so many times as large.

        >>> RateBet().along(0.5, 0.25, 0.75, 0.25), RateBet().along(0.5, 0.25, 0.75, 0.75)
        ((0.125, 0.375), (0.375, 1.0))
        """
        lo, hi = scaled(value, lo, hi, expected)
        return lo, min(hi, 1.0)

    def table(self, null: Floats, direction: int) -> Floats:
        """Return log(p/m0), then log((1-p)/(1-m0)) for each alternative, then ``m0`` and the estimate; shape (2 * stakes + 2,)."""
        return np.asarray(_tables(null[:1], np.array([float(direction)]), null[1:])[0])

    def seasoned(self, table: Floats, factors: Floats) -> Floats:
        """Return the tables of rates so many times as large."""
        m0 = np.clip(table[:, -2] * factors, _EDGE, 1 - _EDGE)
        return _tables(m0, np.where(table[:, 0] > 0, 1.0, -1.0), np.minimum(table[:, -1] * factors, 1.0))

    def log_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors, shape (k, stakes)."""
        n, x = obs[:, :1], obs[:, 1:2]
        return np.asarray(x * table[:, : self.stakes] + (n - x) * table[:, self.stakes : 2 * self.stakes])

    def tally(self, obs: Floats, table: Floats) -> Floats:
        """Return (events, failures, events * estimate), the same for each alternative; shape (k, 1, 3)."""
        out = np.empty((len(obs), 1, 3))
        out[:, 0, :2] = obs
        out[:, 0, 2] = obs[:, 0] * table[:, -1]
        return out

    def effect(self, mean: float, expected: float, direction: int) -> float:
        """Return the odds ratio less one, upwards of the direction watched.

        >>> round(RateBet().effect(0.10, 0.05, UP), 2), round(RateBet().effect(0.05, 0.10, DOWN), 2)
        (1.11, 1.11)
        """
        ratio = odds(mean) / odds(expected)
        return (ratio if direction == UP else 1 / ratio) - 1

    def gate(self, n: float, effect: float, tolerance: float) -> bool:
        """Page only if the odds ratio since the onset is at least one plus the tolerance."""
        return effect >= tolerance

    def clear_table(self, fit: Fit, *, direction: int, stake: int, mean: float, tolerance: float, seen: Floats | None = None) -> Floats:
        """Test "still beyond the midpoint of baseline and alarm, and beyond the tolerance" with bets on the way back and on the baseline.

        Returns these rates, shape (1 + alternatives,).
        """
        shifted = odds(fit.value) * (1 + tolerance) ** direction
        edge, middle = shifted / (1 + shifted), (fit.value + mean) / 2
        m = odds(max(middle, edge) if direction == UP else min(middle, edge))
        there = m * (odds(fit.value) / m) ** _BACK
        return np.asarray(there / (1 + there))

    def clear_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors of the clear test."""
        (n, x), m, back = obs, table[0], table[1:]
        return np.asarray(x * np.log(back / m) + (n - x) * np.log((1 - back) / (1 - m)))

    def clear_seasoned(self, table: Floats, factor: float) -> Floats:
        """Return the rates, so many times as large."""
        return np.asarray(np.clip(table * factor, _EDGE, 1 - _EDGE))

    def contract(self, value: float) -> Fit | None:
        """Take the value as it is: it was promised, not estimated."""
        value = min(max(value, _EDGE), 1 - _EDGE)
        return Fit(null=np.array([value, value]), value=value, lo=value, hi=value, n=0.0)


BET = RateBet()


def _tables(m0: Floats, sign: Floats, estimate: Floats) -> Floats:
    """Return the tables of many nulls; all of shape (k,)."""
    m0 = m0[:, None]
    shifted = m0 / (1 - m0) * RATIOS ** sign[:, None]
    p = np.clip(shifted / (1 + shifted), _EDGE, 1 - _EDGE)
    return np.concatenate([np.log(p / m0), np.log((1 - p) / (1 - m0)), m0, estimate[:, None]], axis=1)


@cache
def _coefficients(names: tuple[str, ...]) -> tuple[Ints, int]:
    """Return the coefficients of every count, shape (counts, 2 * families), and the place of the alert rate, or -1."""
    by_name = {family.name: family for family in RateBet.families}
    at = {f"made.{name}": i for i, name in enumerate(MADE.counts)}
    at |= {f"known.{name}": i + len(MADE.counts) for i, name in enumerate(KNOWN.counts)}
    matrix = np.zeros((len(at), 2 * len(names)), dtype=np.int64)
    for f, name in enumerate(names):
        for j, sums in enumerate((by_name[name].n, by_name[name].x)):
            for column, coefficient in sums.items():
                matrix[at[column], 2 * f + j] = coefficient
    return matrix, names.index("alert_rate") if "alert_rate" in names else -1
