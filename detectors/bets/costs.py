"""Bets on the mean cost of an event: nonnegative, of any tail."""

from collections.abc import Sequence

import numpy as np

from detectors.baselines.wilson import Z_90, half_width, wilson
from detectors.bets import Bet, Enough, Family, Fit, scaled
from detectors.cost_cells import CELLS, COST, LOWER_ENDS, PAIRS
from detectors.fixed import Floats
from detectors.reading import Reading

# Four kinds of alternatives: the mean is higher; more events cost something; those that do cost more; both of these.
LAMBDAS = np.array([0.01, 0.03, 0.1])  # of the mean, on top of what a constant cost would win
RATIOS = np.array([1.25, 1.6, 2.5])  # of the odds that an event costs anything
SHIFTS = np.array([0.25, 0.5, 1.0])  # of log costs, in standard deviations
BOTH = ((1.6, 0.25), (2.5, 0.5))  # such a ratio and such a shift at once
NAMES = ("", "more events cost something", "events that cost something cost more", "more events cost something, and these cost more")
_Z_MEAN = 1.96  # the bound holds in 91 to 95 of 100 samples of 1,000 to 10,000 costs, a tenth of them lognormal (sigma 1.5)
_FLOOR = 1e-3
_UNKNOWN_CV = 3.0  # of a contract: as skewed as costs often are
_BULK = 0.9  # share of the mean below the clear test's cap
_CLEAR = np.array([0.1, 0.3, 1.0])
_CELL_INDEX = np.arange(float(CELLS))
_STEP = np.log(10.0) / 6  # between cells, in logs
_MOST = 1 - 1e-6


class CostBet(Bet):
    """Evidence that the mean cost of an event has risen above its baseline.

    Every factor is ``w(c) / m0`` with some ``w >= 0`` and ``m0`` an upper bound of its mean in the baseline. On the mean of all,
    ``w = 1 - lam + lam * c / m0``: no cap, no variance, any tail; all that a contract value can be tested by. On the share of events that
    cost anything, the likelihood ratio of a rate. On the size of those that do, and among them only, ``c`` to a power, ``c`` cut off at
    the largest cost of the baseline (what was never seen has no bound): for lognormal costs the likelihood ratio of a shift by a quarter,
    a half and one of their standard deviations in logs. The latter two have light tails where the mean has a heavy one, so they know
    sooner; so has the product of two of them, for both at once. Whatever they say, nobody is paged unless the mean of all has risen.

    Costs are taken at the lower end of their cell, and so are those behind the bounds: nothing is lost but a little power. Bounds are
    corrected for skewness; that of the mean is one of 97.5 %, of which heavy tails leave about 95 %.

    Clearing needs a bounded quantity: costs are cut off below which 90 % of the mean lies, in the baseline and since the onset, and the
    null is that their mean is still beyond the midpoint of the two.

    Observation: events by cell, and the exact sum of costs. Null: (bound, exact mean, mean at the lower ends, coefficient of variation,
    cut, mean with the cut, bound of the share that costs anything, power of one deviation, last cell seen, log bounds of the mean
    powers); all but the first six are zero where a contract says nothing of them.

    References
    ----------
    Waudby-Smith & Ramdas, JRSS-B 86 (2024): betting on means. Chen, Biometrika 82 (1995): the mean of a skewed distribution.

    Examples
    --------
    >>> bet, total = CostBet(), np.zeros(65)
    >>> total[[0, 25]], total[64] = [900, 100], 1000.0  # a tenth of the events cost 10
    >>> fit = bet.fit(total, phi=1.0, tolerance=0.1, direction=1, parent=None)
    >>> fit.value, round(float(fit.null[0]), 2)
    (1.0, 1.2)
    >>> double = total.copy(); double[[0, 25]], double[64] = [800, 200], 2000.0
    >>> bet.log_factors(np.stack([total, double]), bet.table(fit.null, 1)[None].repeat(2, 0))[:, [2, 5]].round(1).tolist()
    [[-39.7, -69.7], [25.9, 21.9]]

    """

    name = "costs"
    shaped = True
    width = CELLS + 1
    terms = 9 + len(SHIFTS)
    stakes = len(LAMBDAS) + len(RATIOS) + len(SHIFTS) + len(BOTH)
    families = (
        Family(
            name="cost",
            kind="cost",
            noun="mean cost of a labelled prediction",
            look="Look at the dearest mistakes since then: there are more of them, or larger stakes.",
            tolerance=0.1,
        ),
    )

    def observe(self, reading: Reading, families: Sequence[Family]) -> Floats:
        """Return the events by cell and the sum of costs, shape (1, segments, 65)."""
        out = np.zeros((1, len(reading.segments), self.width))
        if reading.costs.any():
            out[0, :, :CELLS] = reading.costs[:, :, :2].reshape(len(reading.segments), 2 * PAIRS)
            out[0, :, CELLS] = COST.total(reading.costs, "cost").sum(axis=1)
        return out

    def mean(self, obs: Floats) -> float:
        """Return the exact mean cost."""
        return float(obs[CELLS] / self.size(obs))

    def size(self, obs: Floats) -> Floats:
        """Return the events whose cost is known."""
        return np.asarray(obs[..., :CELLS].sum(axis=-1))

    def fault(self, obs: Floats) -> str:
        """Refuse negative counts, and a sum of costs below that of the cells' lower ends."""
        if not obs.any():
            return ""
        counts, total = obs[..., :CELLS], obs[..., CELLS]
        if (counts >= 0).all() and (total >= counts @ LOWER_ENDS * (1 - 1e-9)).all():
            return ""
        return (
            f"expected counts >= 0 and a sum of costs not below their cells', got {float(counts.sum()):g} events at {float(total.sum()):g}"
        )

    def series(self, obs: Floats) -> Floats:
        """Return (sum of the cells' numbers, events): as costs move they move, and no single cost outweighs a day."""
        return np.stack([obs[:, :CELLS] @ _CELL_INDEX, obs[:, :CELLS].sum(axis=1)], axis=1)

    def dispersion(self, total: Floats) -> float:
        """Return the variance of the cells' numbers."""
        counts = total[:CELLS]
        n = max(float(counts.sum()), 1.0)
        return float(counts @ np.square(_CELL_INDEX - counts @ _CELL_INDEX / n)) / n

    def enough(self, total: Floats, two_sided: bool, aggregate: bool, rule: Enough) -> bool:
        """Say whether there are enough events, and enough that cost something."""
        n = float(self.size(total))
        return n >= rule.labels and n - float(total[0]) >= rule.failures

    def fit(self, total: Floats, *, phi: float, tolerance: float, direction: int, parent: Floats | None, bound: float = Z_90) -> Fit:
        """Bound the mean; ``phi`` events count as one."""
        counts, n = total[:CELLS], float(self.size(total))
        mean, low = float(total[CELLS]) / n, float(counts @ LOWER_ENDS) / n
        sd = float(np.sqrt(counts @ np.square(LOWER_ENDS - low) / n))
        edge = max(_bound(counts, LOWER_ENDS, phi, _Z_MEAN), _FLOOR)
        scale = mean / low if low > 0 else 1.0
        capped = np.minimum(LOWER_ENDS, LOWER_ENDS[:, None]) @ counts / n  # mean with the cut at each lower end
        at = int(np.argmax(capped >= _BULK * low))
        head = [edge, mean, low, sd / low if low > 0 else _UNKNOWN_CV, float(LOWER_ENDS[at]), float(capped[at])]
        lo = max(low - Z_90 * sd * float(np.sqrt(phi / n)), 0.0)
        return Fit(null=np.array([*head, *_shape(counts, phi, bound)]), value=mean, lo=lo * scale, hi=edge * scale, n=n)

    def interval(self, fit: Fit, expected: float, tolerance: float) -> tuple[float, float]:
        """Return the baseline's, as many times as large as what was expected."""
        return self.along(fit.value, fit.lo, fit.hi, expected)

    def along(self, value: float, lo: float, hi: float, expected: float) -> tuple[float, float]:
        """Return the interval, so many times as large."""
        return scaled(value, lo, hi, expected)

    def table(self, null: Floats, direction: int) -> Floats:
        """Return the log factor of each cell for each stake, then the exact mean and the coefficient of variation."""
        logs = np.zeros((CELLS, self.stakes))
        often, large, both = np.cumsum([len(LAMBDAS), len(RATIOS), len(SHIFTS)])
        logs[:, :often] = np.log1p(LAMBDAS * (LOWER_ENDS[:, None] / null[0] - 1))
        share, power = float(null[6]), float(null[7])
        if 0 < share < _MOST:
            p = RATIOS * share / (1 - share + RATIOS * share)
            logs[0, often:large], logs[1:, often:large] = np.log((1 - p) / (1 - share)), np.log(p / share)
        if power > 0:
            logs[1:, large:both] = power * SHIFTS * _STEP * np.minimum(_CELL_INDEX[1:, None], null[8]) - null[9:]
        for at, (ratio, shift) in enumerate(BOTH, start=both):  # the one given the other is a fair bet, so both are
            logs[:, at] = logs[:, often + RATIOS.tolist().index(ratio)] + logs[:, large + SHIFTS.tolist().index(shift)]
        return np.concatenate([logs.ravel(), null[[1, 3]]])

    def log_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors, shape (k, stakes)."""
        logs = table[:, :-2].reshape(len(table), CELLS, self.stakes)
        return np.asarray((obs[:, None, :CELLS] @ logs)[:, 0])

    def tally(self, obs: Floats, table: Floats) -> Floats:
        """Return (events, cost, events * baseline's mean), the same for each stake; shape (k, 1, 3)."""
        n = self.size(obs)
        return np.stack([n, obs[:, CELLS], n * table[:, -2]], axis=1)[:, None]

    def effect(self, mean: float, expected: float, direction: int) -> float:
        """Return by which share the mean has risen."""
        return mean / max(expected, _FLOOR) - 1

    def gate(self, n: float, effect: float, tolerance: float) -> bool:
        """Page only if the mean since the onset is above the baseline by the tolerance."""
        return effect >= tolerance

    def clear_table(self, fit: Fit, *, direction: int, stake: int, mean: float, tolerance: float, seen: Floats | None = None) -> Floats:
        """Return the log factor of each cell for each stake of the clear test."""
        _, exact, low, _, cut, capped = fit.null[:6].tolist()
        counts = np.zeros(CELLS) if seen is None else seen[:CELLS]
        least = exact * (1 + tolerance)
        if counts[1:].any():  # the cut must leave the change to be seen: a mean that rose by what lies beyond it would look as before
            n = float(counts.sum())
            heads = np.minimum(LOWER_ENDS, LOWER_ENDS[:, None]) @ counts / n
            at = max(int(np.argmax(heads >= _BULK * heads[-1])), int(np.searchsorted(LOWER_ENDS, cut)))
            shrunk = mean / max(float(seen[CELLS]) / n, _FLOOR) if seen is not None else 1.0
            before = capped if LOWER_ENDS[at] <= cut else low
            null = max((before + float(heads[at]) * shrunk) / 2, before * (1 + tolerance))
            cut = float(LOWER_ENDS[at])
        else:
            null = capped * max((exact + mean) / 2, least) / max(exact, _FLOOR)
        costs = np.minimum(LOWER_ENDS, cut) / max(null, _FLOOR)
        most = min(0.5, 0.9 / max(float(costs.max()) - 1, _FLOOR))
        return np.asarray(np.log1p(most * _CLEAR[:, None] * (1 - costs)).ravel())

    def clear_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors of the clear test."""
        return np.asarray(table.reshape(len(_CLEAR), CELLS) @ obs[:CELLS])

    def contract(self, value: float) -> Fit | None:
        """Take the value as it is: it was promised, not estimated."""
        value = max(value, _FLOOR)
        head = [value, value, value, _UNKNOWN_CV, 20 * value, value]
        return Fit(null=np.array(head + [0.0] * (self.terms - len(head))), value=value, lo=value, hi=value, n=0.0)

    def describe(self, stake: int, null: Floats | None = None) -> str:
        """Say whether costs are more frequent or larger, where that is what was seen."""
        return NAMES[int(np.searchsorted(np.cumsum([len(LAMBDAS), len(RATIOS), len(SHIFTS)]), stake, side="right"))]

    def spread(self, sums: Floats, phi: float, table: Floats) -> tuple[float, float]:
        """Return the 90 % interval of a mean, its standard deviation in proportion to it as in the baseline."""
        n, x, _ = sums.tolist()
        half = Z_90 * float(table[-1]) * x / n * float(np.sqrt(phi / n))
        return max(x / n - half, 0.0), x / n + half

    def sequence(self, sums: Floats, phi: float, table: Floats) -> tuple[float, float]:
        """Return the 95 % interval of a mean that may be looked at at any time, likewise."""
        n, x, _ = sums.tolist()
        half = half_width(n / phi, float(table[-1]) * x / n)
        return max(x / n - half, 0.0), x / n + half


def _bound(counts: Floats, values: Floats, phi: float, z: float) -> float:
    """Return the upper bound of a mean of values by cell, corrected for skewness; ``phi`` events count as one."""
    n = float(counts.sum())
    mean = float(counts @ values) / n
    sd = float(np.sqrt(counts @ np.square(values - mean) / n))
    if sd <= 0:
        return mean
    root = float(np.sqrt(n / phi))
    skewness = float(counts @ (values - mean) ** 3) / n / sd**3
    return mean + sd / root * (z + skewness * (1 + 2 * z * z) / (6 * root))


def _shape(counts: Floats, phi: float, z: float) -> list[float]:
    """Return the share's bound, the power of one deviation of log costs, the last cell seen, and the log bounds of the mean powers."""
    n, some = float(counts.sum()), counts[1:]
    dear = float(some.sum())
    share = min(wilson(n / phi, dear / phi, z)[1], _MOST)
    if dear <= 0:
        return [share, *([0.0] * (2 + len(SHIFTS)))]
    where = _STEP * _CELL_INDEX[1:]
    middle = float(some @ where) / dear
    deviation = float(np.sqrt(some @ np.square(where - middle) / dear))
    power = 1 / max(deviation, _STEP)
    powers = [float(np.log(_bound(some, np.exp(d * power * (where - middle)), phi, z)) + d * power * middle) for d in SHIFTS]
    return [share, power, float(np.flatnonzero(some)[-1] + 1), *powers]


BET = CostBet()
