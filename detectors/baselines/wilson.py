"""Intervals of a rate: Wilson's for a fixed number of events, an asymptotic confidence sequence for a growing one."""

import math
from statistics import NormalDist

Z_90 = 1.645
# Of the bound that evidence is taken against, where labels are mature: one baseline in six is below the truth, by little, and evidence
# against such a null grows slowly. Averaged over baselines of 400 to 60,000 events, rates of 2 to 20 %: 0.1 to 0.9 of the false alarms that
# the budget allows; 95 %, which is kept for labels known early (a selected part, whose make-up changes), leave 0.1 and find changes later.
Z_MATURE = 1.0


def wilson(n: float, x: float, z: float = Z_90) -> tuple[float, float]:
    """Return Wilson's interval of a rate of ``x`` in ``n``; 90 % two-sided unless said. ``n`` need not be whole.

    Raises
    ------
    ValueError
        If not ``0 <= x <= n`` with ``n > 0``.

    References
    ----------
    Wilson, JASA 22 (1927).

    Examples
    --------
    >>> [round(edge, 4) for edge in wilson(1000, 50)]
    [0.0398, 0.0626]

    """
    if not (n > 0 and 0 <= x <= n):
        raise ValueError(f"expected 0 <= failures <= events and events > 0, got {x} of {n}")
    rate, square = x / n, z * z
    middle = (rate + square / (2 * n)) / (1 + square / n)
    half = z / (1 + square / n) * math.sqrt(rate * (1 - rate) / n + square / (4 * n * n))
    return max(0.0, min(middle - half, rate)), min(1.0, max(middle + half, rate))


def sequence(n: float, x: float, alpha: float = 0.05, optimised_for: float = 500.0) -> tuple[float, float]:
    """Return an interval of a rate that may be looked at after every event.

    References
    ----------
    Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, Annals of Statistics 52 (2024): asymptotic confidence sequences.

    Examples
    --------
    >>> [round(edge, 3) for edge in sequence(1000, 100)]
    [0.071, 0.129]

    """
    if n <= 0:
        return 0.0, 1.0
    mean = (x + 0.5) / (n + 1)
    half = half_width(n, math.sqrt(mean * (1 - mean)), alpha, optimised_for)
    return max(0.0, x / n - half), min(1.0, x / n + half)


def half_width(n: float, sigma: float, alpha: float = 0.05, optimised_for: float = 500.0) -> float:
    """Return half the width of an interval of a mean that may be looked at after every event; ``sigma`` is one event's deviation.

    >>> round(half_width(1000, 0.3), 3)
    0.029
    """
    log = -2 * math.log(alpha)
    rho_squared = (log + math.log(log + 1)) / optimised_for
    return sigma * math.sqrt(2 * (n * rho_squared + 1) / (n * n * rho_squared) * math.log(math.sqrt(n * rho_squared + 1) / alpha))


def stricter(z: float, share: float) -> float:
    """Return the bound that fails ``share`` times as often as one of ``z`` standard errors.

    A baseline below the truth may alarm although nothing has changed, whatever its monitor was allowed to spend. So bounds fail in
    proportion to the budget: a tenth of the pages, a tenth of the failures.

    >>> round(stricter(1.645, 1.0), 3), round(stricter(1.645, 0.1), 3)
    (1.645, 2.576)
    """
    normal = NormalDist()
    return -normal.inv_cdf(min(max(share, 1e-6), 1.0) * normal.cdf(-z))
