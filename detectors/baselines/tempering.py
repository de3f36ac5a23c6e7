"""How many dependent events are worth one independent event, and how much one hour may say."""

import math

import numpy as np
from scipy.special import gammaincc

from detectors.fixed import Floats

HOUR_MS = 3_600_000
BUCKETS = 128
_BLOCKS = 8
_LEVEL = 0.01
HOUR_MOST = math.log(20.0)  # log evidence of an hour where hours come in bursts: an alarm takes three or more
_HUGE = 600.0


def phi(series: Floats, dispersion: float) -> float:
    """Return the over-dispersion of a series: 1 if none can be seen.

    The largest Pearson X²/df over blocks of 1, 2, 4 ... buckets, of those that a chi-square test rejects at 1 %. Log evidence is divided
    by it (a power below one of a fair bet is a fair bet) and so is the number of events behind a bound.

    Parameters
    ----------
    series
        (sum, weight) by bucket of event time. Shape (buckets, 2).
    dispersion
        Variance of a sum per unit of weight if events are independent.

    References
    ----------
    McCullagh & Nelder, Generalized Linear Models (1989), 4.5: over-dispersion.

    Examples
    --------
    >>> import numpy as np
    >>> even, swing = np.full((64, 2), (5.0, 100.0)), np.full((64, 2), (5.0, 100.0))
    >>> swing[::2, 0] = 20
    >>> phi(even, 0.05 * 0.95), round(phi(swing, 0.125 * 0.875), 1)
    (1.0, 5.2)

    """
    weight = float(series[:, 1].sum())
    if dispersion <= 0 or weight <= 0:
        return 1.0
    rate, worst = float(series[:, 0].sum()) / weight, 1.0
    while len(series) >= _BLOCKS:
        blocks = series[series[:, 1] > 0]
        if len(blocks) < _BLOCKS:
            break
        expected = blocks[:, 1] * dispersion
        # Below one expected failure a block the statistic is not near a chi-square; longer blocks follow.
        if float(expected.mean()) >= 1.0:
            square = float((((blocks[:, 0] - blocks[:, 1] * rate) ** 2) / expected).sum())
            freedom = len(blocks) - 1
            if square / freedom > worst and float(gammaincc(freedom / 2, square / 2)) < _LEVEL:
                worst = square / freedom
        series = halve(series)
    return worst


def bursty(log_factors: Floats) -> bool:
    """Say whether a bet would have won on the hours of its own baseline, in which nothing is taken to have changed.

    A few bad hours in a month are hardly seen in X²/df, but each multiplies the evidence many times over. Of a fair bet the mean of the
    factors is at most one; where that of any alternative is more, half of what the best hour won left out, single hours are not to be
    trusted, and each may count for ``HOUR_MOST`` only. Independent events look so in one baseline of fourteen (of six, were that hour to
    count in full): there a change that shows within one hour takes three or more, and a smaller one no longer than before.

    Parameters
    ----------
    log_factors
        Of each hour, tempered, by alternative. Shape (hours, stakes).

    Examples
    --------
    >>> calm = np.full((100, 1), -0.2)
    >>> bursty(calm), bursty(np.concatenate([calm, [[3.0]]])), bursty(np.concatenate([calm, [[3.0], [3.0]]]))
    (False, False, True)

    """
    won = np.expm1(np.minimum(log_factors, _HUGE))
    return bool((won.sum(axis=0) > np.maximum(won.max(axis=0), 0) / 2).any())


def halve(series: Floats) -> Floats:
    """Merge neighbouring buckets of a series shaped (..., buckets, 2); an odd last one stays alone.

    >>> import numpy as np
    >>> halve(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).tolist()
    [[4.0, 6.0], [5.0, 6.0]]
    """
    even = series[..., ::2, :].copy()
    odd = series[..., 1::2, :]
    even[..., : odd.shape[-2], :] += odd
    return even
