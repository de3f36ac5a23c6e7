"""Exact sums for a mean and its variance: three products of the halves of a number, so that no square overflows."""

import math
from collections.abc import Sequence

from detectors.cells import Layout
from detectors.fixed import LIMB_BITS, Ints, carry

MOMENTS = Layout(counts=("n",), sums={"x": 1.0, "high_high": 1.0, "high_low": 1.0, "low_low": 1.0})
_HALF_BITS = 24
_Z_95 = 1.959964


def moment_rows(values: Ints, signs: Ints) -> Ints:
    """Return what whole numbers below 2**47 add to ``MOMENTS``, times their sign; additive, mergeable, revertible.

    >>> import numpy as np
    >>> rows = moment_rows(np.array([-3, 2**40]), np.array([1, 1])).sum(axis=0)
    >>> mean_and_variance(rows) == (2, (2**40 - 3) / 2, (2**40 + 3) ** 2 / 2)
    True
    """
    high, low = values >> _HALF_BITS, values & ((1 << _HALF_BITS) - 1)
    out = MOMENTS.zeros(len(values))
    out[:, 0] = signs
    for name, product in (("x", values), ("high_high", high * high), ("high_low", high * low), ("low_low", low * low)):
        out[:, MOMENTS.at[name] + 1] = signs * product
    return carry(out, MOMENTS.first_high)  # before rows are added up: a batch of low products alone could overflow


def mean_and_variance(row: Ints) -> tuple[int, float, float]:
    """Return n, the mean, and the variance of a sample (NaN below two), from a row of ``MOMENTS``."""

    def exact(name: str) -> int:
        at = MOMENTS.at[name]
        return (int(row[at]) << LIMB_BITS) + int(row[at + 1])

    n, x = int(row[0]), exact("x")
    square = (exact("high_high") << 2 * _HALF_BITS) + (exact("high_low") << (_HALF_BITS + 1)) + exact("low_low")
    if n < 1:
        return 0, math.nan, math.nan
    return n, x / n, (n * square - x * x) / (n * (n - 1)) if n > 1 else math.nan


def difference(one: Ints, other: Ints) -> tuple[float, float, float, int] | None:
    """Return the difference of two means with its 95 % interval (Welch's) and the smaller n; None below two of each.

    References
    ----------
    Welch, Biometrika 34 (1947); the normal quantile in place of Student's.

    Examples
    --------
    >>> import numpy as np
    >>> a, b = (moment_rows(np.array(v), np.ones(3, dtype=np.int64)).sum(axis=0) for v in ([1, 2, 3], [11, 12, 13]))
    >>> [round(part, 2) for part in difference(b, a)]
    [10.0, 8.4, 11.6, 3]

    """
    pairs: Sequence[tuple[int, float, float]] = [mean_and_variance(one), mean_and_variance(other)]
    if min(n for n, _, _ in pairs) < 2:
        return None
    delta = pairs[0][1] - pairs[1][1]
    half = _Z_95 * math.sqrt(sum(variance / n for n, _, variance in pairs))
    return delta, delta - half, delta + half, min(n for n, _, _ in pairs)
