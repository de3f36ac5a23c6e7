"""Bets on the gap between a group and the rest of the traffic: equalised odds, watched."""

from collections.abc import Sequence
from dataclasses import replace
from math import hypot, sqrt
from typing import ClassVar

import numpy as np

from detectors.baselines.wilson import Z_90, half_width, wilson
from detectors.bets import DOWN, UP, Bet, Enough, Family, Fit
from detectors.bets.rates import BET as RATES
from detectors.fixed import Floats
from detectors.reading import Reading

RATIOS = np.array([1.1, 1.25, 1.5, 2.0, 3.0, 6.0])  # of the odds of the side that fares worse, at the edge of the null
_PROMISED = np.repeat([0.05, 0.25], 3), np.tile([1.25, 2.0, 4.0], 2)  # of a contract, which knows no rate: lower rates, and ratios
_CLEAR = np.array([0.5, 1.0])  # of the stake that suits a gap as in the baseline
_MOST = 0.75  # of the stake that leaves nothing negative
_EDGE = 1e-3
_N, _X, _REST, _REST_X, _EXPECTED, _WEIGHT = range(6)
_KEY = "gap"  # in a policy: one table for all three


def _family(name: str, look: str) -> Family:
    [rate] = (family for family in RATES.families if family.name == name)
    return replace(
        rate,
        name=f"gap_{name}",
        watch=_KEY,
        kind="gap",
        noun=f"gap in the {rate.noun}",
        look=look,
        directions=(UP, DOWN),
        opt_in=True,
        tolerance=0.01,
    )


class GapBet(Bet):
    """Evidence that a group fares worse than the rest of the traffic by more than it may (or better, which the rest pays for).

    The null is ``theta_worse - theta_better <= gap``, as means over the group's and the others' events of a pane. At a point of its edge,
    ``high - low = gap``, and for any ``s >= 0`` that leaves no term below zero, the factor of a pane is the product of ::

        1 + s * n_better / n * (y - high)    over the n_worse events of the one side,
        1 - s * n_worse / n * (y - low)      over the n_better events of the other; n = n_worse + n_better.

    As ``1 + u <= exp(u)``, its expectation is at most ``exp(s * n_worse * n_better / n * (theta_worse - theta_better - gap)) <= 1``. So it
    needs nothing but the null: not the common rate, which may move as it likes between panes and within them, and not equal chances of
    the events of a pane, given those chances independent. Sizes may be as unequal as they like. It is the likelihood ratio of Turner, Ly
    and Grünwald, whose alternative is chosen by where it projects to: (high, low) is the projection of the alternative onto the null, for
    the sizes of this pane. Edge and stakes come from the baseline or are constants; sizes alone are taken from the pane.

    What it does not see through: a pane compares means. Where a group is busy at other hours of the pane than the rest, and the rate moves
    with the hours, they differ although they are the same at each hour. Panes are at most 12 % of the age that reads them.

    A learnt null is the baseline's gap plus its bound, and never narrower than equality: what is watched is a gap that widens. With equal
    rates there is thus nothing in it that can be estimated wrongly. A contract is a gap in points, to either side; it knows no rate, so its
    stakes suit several. Gaps are differences of rates: of rates that differ and double together the gap doubles as well.

    Observation: (the group's events and failures; those of the rest in the same panes; the failures that the group would have had at the
    rest's rate of each pane; the sum of squares of the group's events over the rest's). The third pair of columns makes the gap of
    many panes one that compares like with like. Null: (edge, estimate, rate of the rest; zero of a contract).

    References
    ----------
    Turner, Ly & Grünwald, J. Stat. Planning and Inference 230 (2024): E-variables of two streams. Turner & Grünwald, Stat. and Prob.
    Letters 198 (2023): linear nulls. Newcombe, Stat. in Medicine 17 (1998), method 10: the interval of a difference.

    Examples
    --------
    >>> bet = GapBet()
    >>> table = bet.table(bet.contract(0.02).null, UP)[None].repeat(2, 0)
    >>> same, worse = [300.0, 15.0, 5700.0, 285.0, 15.0, 15.8], [300.0, 45.0, 5700.0, 285.0, 15.0, 15.8]  # 5 % of all; 15 % of the group
    >>> bet.log_factors(np.array([same, worse]), table).max(axis=1).round(1).tolist()
    [-1.8, 10.4]

    """

    name = "gap"
    relative = True
    shaped = True
    width = 6
    terms = 3
    stakes = len(RATIOS)
    tallied = 5
    families: ClassVar[tuple[Family, ...]] = (
        _family("error", "Look at wrong predictions of the group: at its inputs, its labels, and whether it was in the training data."),
        _family("fpr", "Look at negatives of the group that the model flags: at its inputs, its threshold, and how it is labelled."),
        _family("fnr", "Look at positives of the group that the model misses: at its inputs, its threshold, and how it is labelled."),
    )

    def observe(self, reading: Reading, families: Sequence[Family]) -> Floats:
        """Return observations of the groups that can be compared, shape (families, segments, 6); zeros of the others and of the whole."""
        of = {f"gap_{family.name}": family for family in RATES.families}
        rates = RATES.observe(reading, [of[family.name] for family in families])
        out = np.zeros((*rates.shape[:2], self.width))
        if not len(reading.segments) or reading.segments[0] != 0:
            return out
        out[:, 1:, :_REST] = rates[:, 1:]
        out[:, 1:, _REST : _REST_X + 1] = rates[:, :1] - rates[:, 1:]
        n, rest, failed = out[..., _N], out[..., _REST], out[..., _REST_X]
        # A prediction with several dimensions beyond their cap counts several times in the segment of those: it may exceed the whole.
        comparable = (n > 0) & (rest > 0) & (failed >= 0) & (failed <= rest)
        out[~comparable] = 0.0
        share = np.divide(n, rest, out=np.zeros_like(n), where=comparable)
        out[..., _EXPECTED], out[..., _WEIGHT] = share * out[..., _REST_X], share * out[..., _N]
        return out

    def size(self, obs: Floats) -> Floats:
        """Return the group's events."""
        return np.asarray(obs[..., _N])

    def fault(self, obs: Floats) -> str:
        """Refuse negative counts, and more failures than events."""
        for n, x in ((obs[..., _N], obs[..., _X]), (obs[..., _REST], obs[..., _REST_X])):
            fault = RATES.fault(np.stack([n, x], axis=-1))
            if fault:
                return fault
        return ""

    def series(self, obs: Floats) -> Floats:
        """Return (failures beyond those at the rest's rate, events)."""
        return np.stack([obs[:, _X] - obs[:, _EXPECTED], obs[:, _N]], axis=1)

    def dispersion(self, total: Floats) -> float:
        """Return the variance of the gap of one event of the group and its part of the rest."""
        n = float(total[_N])
        return _variance(n, float(total[_X]), float(total[_EXPECTED]), float(total[_WEIGHT])) if n else 0.0

    def enough(self, total: Floats, two_sided: bool, aggregate: bool, rule: Enough) -> bool:
        """Say whether the group has enough events, and enough failures in it or expected at the rest's rate."""
        n, failures = float(total[_N]), max(float(total[_X]), float(total[_EXPECTED]))
        return n >= rule.plenty or (n >= rule.labels and failures >= rule.failures)

    def fit(self, total: Floats, *, phi: float, tolerance: float, direction: int, parent: Floats | None, bound: float = Z_90) -> Fit:
        """Take the edge of Newcombe's interval on the side that is watched, or equality; ``phi`` events count as one."""
        n, x, expected, weight = total[[_N, _X, _EXPECTED, _WEIGHT]].tolist()
        value = (x - expected) / n
        lo, hi = _difference((n, x, expected, weight), phi, Z_90)
        below, above = _difference((n, x, expected, weight), phi, bound)
        edge = max(above, 0.0) if direction == UP else min(below, 0.0)
        return Fit(null=np.array([edge, value, min(max(expected / n, _EDGE), 1 - _EDGE)]), value=value, lo=lo, hi=hi, n=n)

    def interval(self, fit: Fit, expected: float, tolerance: float) -> tuple[float, float]:
        """Return Newcombe's; of a contract what it says."""
        return (fit.lo, fit.hi) if fit.n else (expected, expected)

    def table(self, null: Floats, direction: int) -> Floats:
        """Return for each alternative ``high``, ``low`` and ``s``; then the direction and the estimate."""
        edge, estimate, rest = null.tolist()
        if rest:
            (high, low), ratios = _edge(np.full(self.stakes, rest), edge * direction, direction), RATIOS
        else:
            (high, low), ratios, estimate = _edge(_PROMISED[0], edge, UP), _PROMISED[1], estimate * direction
        raised = 1 / (1 + (1 / high - 1) / ratios)  # a rate whose odds are so many times as high
        return np.concatenate([high, low, (raised - high) / (high * (1 - high)), [direction, estimate]])

    def log_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors, shape (k, stakes)."""
        k = self.stakes
        return _log_factors(obs, table[:, -2], table[:, :k], table[:, k : 2 * k], table[:, 2 * k : 3 * k])

    def tally(self, obs: Floats, table: Floats) -> Floats:
        """Return (the group's events, its failures beyond those at the rest's rate, events * estimate, failures, weight)."""
        beyond = obs[:, _X] - obs[:, _EXPECTED]
        return np.stack([obs[:, _N], beyond, obs[:, _N] * table[:, -1], obs[:, _X], obs[:, _WEIGHT]], axis=1)[:, None]

    def effect(self, mean: float, expected: float, direction: int) -> float:
        """Return by how much the gap has widened."""
        return direction * (mean - expected)

    def gate(self, n: float, effect: float, tolerance: float) -> bool:
        """Page only if the gap since the onset is wider by the tolerance."""
        return effect >= tolerance

    def clear_table(self, fit: Fit, *, direction: int, stake: int, mean: float, tolerance: float, seen: Floats | None = None) -> Floats:
        """Test "still beyond the midpoint of baseline and alarm, and beyond the tolerance", at the rate that the rest has had since.

        Returns the side that is worse if it is over, then ``high``, ``low`` and ``s`` of each alternative.
        """
        _, estimate, rest = fit.null.tolist()
        value = estimate if rest else direction * estimate
        middle = max(direction * (value + mean) / 2, direction * value + tolerance)
        if seen is not None and seen[_N] > 0:
            rest = (float(seen[_EXPECTED]) + 0.5) / (float(seen[_N]) + 1)
        elif not rest:
            rest = float(_PROMISED[0][0])
        # The null is that one side still fares worse by ``middle``: that the other does by no more than ``-middle``.
        high, low = _edge(np.full(len(_CLEAR), rest), -middle, -direction)
        stakes = _CLEAR * (middle - direction * value) / (low * (1 - low))
        return np.concatenate([[-direction], high, low, stakes])

    def clear_factors(self, obs: Floats, table: Floats) -> Floats:
        """Return the log factors of the clear test."""
        high, low, stakes = table[1:].reshape(3, 1, len(_CLEAR))
        return np.asarray(_log_factors(obs[None], table[:1], high, low, stakes)[0])

    def contract(self, value: float) -> Fit | None:
        """Take the value as it is, to either side: it was promised, not estimated."""
        value = min(max(value, 0.0), 1 - 3 * _EDGE)
        return Fit(null=np.array([value, value, 0.0]), value=value, lo=value, hi=value, n=0.0)

    def spread(self, sums: Floats, phi: float, table: Floats) -> tuple[float, float]:
        """Return Newcombe's 90 % interval of the gap, of which ``phi`` events count as one."""
        n, beyond, _, x, weight = sums.tolist()
        return _difference((n, x, x - beyond, weight), phi, Z_90)

    def sequence(self, sums: Floats, phi: float, table: Floats) -> tuple[float, float]:
        """Return the 95 % interval of the gap that may be looked at at any time."""
        n, beyond, _, x, weight = sums.tolist()
        half = half_width(n / phi, sqrt(_variance(n + 1, x + 0.5, x - beyond + 0.5, weight)))
        return max(-1.0, beyond / n - half), min(1.0, beyond / n + half)

    def rates(self, sums: Floats) -> tuple[float, float] | None:
        """Return the group's rate, and the rest's in the same panes, weighted as the group's events lie in them."""
        n, beyond, _, x, _ = sums.tolist()
        return (x / n, (x - beyond) / n) if n > 0 else None


BET = GapBet()


def _edge(rest: Floats, gap: float, direction: int) -> tuple[Floats, Floats]:
    """Return the rates of the worse and the better side at a point of the null's edge, inside (0, 1), the rest's as given if that goes."""
    low = rest if direction == UP else rest - gap
    low = np.clip(low, _EDGE + max(-gap, 0.0), 1 - _EDGE - max(gap, 0.0))
    return low + gap, low


def _log_factors(obs: Floats, direction: Floats, high: Floats, low: Floats, stakes: Floats) -> Floats:
    """Return the log of the products over both sides, shape (k, stakes); ``direction``, shape (k,), is that of the group."""
    group, rest = obs[:, [_N, _X], None], obs[:, [_REST, _REST_X], None]
    up = direction[:, None, None] > 0
    worse, better = np.where(up, group, rest), np.where(up, rest, group)
    (n, x), (m, y) = ((side[:, 0], side[:, 1]) for side in (worse, better))
    part = n / np.maximum(n + m, 1.0)  # of all events that are on the side that fares worse
    s = np.minimum(stakes, _MOST / np.maximum((1 - part) * high, part * (1 - low)))
    one, other = s * (1 - part), s * part
    worse_logs = x * np.log1p(one * (1 - high)) + (n - x) * np.log1p(-one * high)
    better_logs = y * np.log1p(-other * (1 - low)) + (m - y) * np.log1p(other * low)
    return np.asarray(worse_logs + better_logs)


def _variance(n: float, x: float, expected: float, weight: float) -> float:
    p, r = x / n, min(expected / n, 1.0)
    return p * (1 - p) + r * (1 - r) * weight / n


def _difference(sides: tuple[float, float, float, float], phi: float, z: float) -> tuple[float, float]:
    """Return Newcombe's interval of ``(x - expected) / n``, the rest's rate known from ``n * n / weight`` events."""
    n, x, expected, weight = sides
    p, r = x / n, min(max(expected / n, 0.0), 1.0)
    others = n * n / weight / phi
    low, high = wilson(n / phi, x / phi, z)
    rest_low, rest_high = wilson(others, min(r * others, others), z)
    return p - r - hypot(p - low, rest_high - r), p - r + hypot(high - p, r - rest_low)
