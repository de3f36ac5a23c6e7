"""The rate of checks that come in documents: those of one document hang together, and the interval must know."""

from detectors.baselines.wilson import wilson
from detectors.cells import Layout
from detectors.fixed import Ints

Z_95 = 1.959963984540054
MOST = 1 << 20  # of one document's checks that count for the interval: their squares must add up in 63 bits

CHECKS = Layout(
    counts=("documents", "documents_failed", "passed", "total", "failed_squared", "failed_total", "total_squared"),
    sums={},
)


def check_sums(passed: Ints, total: Ints, sign: Ints) -> Ints:
    """Return what documents add to ``CHECKS``, shape (n, 7); one without checks adds nothing. Additive, mergeable, revertible."""
    failed, t = total - passed, total
    f, capped = failed.clip(max=MOST), t.clip(max=MOST)
    out = CHECKS.zeros(len(total))
    for i, column in enumerate((t > 0, failed > 0, passed, t, f * f, f * capped, capped * capped)):
        out[:, i] = sign * column
    return out


def pass_rate(row: Ints) -> tuple[float, float, float]:
    """Return the share that passed with its 95 % interval, of a row of ``CHECKS``.

    Wilson's interval of as many independent checks as bear the same information: the variance of a ratio over documents, against that of
    as many independent checks. Where all passed, or none, a document's checks count as one.

    Raises
    ------
    ValueError
        If there are no checks.

    References
    ----------
    Cochran, Sampling Techniques (1977), chapter 9: ratio estimates from clusters. Wilson, JASA 22 (1927).

    Examples
    --------
    >>> import numpy as np
    >>> each = check_sums(np.array([10, 0, 10, 10]), np.full(4, 10), np.ones(4, dtype=np.int64))
    >>> [round(x, 2) for x in pass_rate(each.sum(axis=0))]  # four documents, each all or nothing: not forty checks
    [0.75, 0.26, 0.96]

    """
    n, _, passed, total, failed_squared, failed_total, total_squared = (float(x) for x in row)
    if not 0 <= passed <= total or total <= 0:
        raise ValueError(f"expected 0 <= passed <= total and total > 0, got {passed:g} of {total:g}")
    rate = passed / total
    independent = rate * (1 - rate) * total
    if independent > 0 and n > 1:
        missed = 1 - rate
        residual = failed_squared - 2 * missed * failed_total + missed * missed * total_squared
        effect = residual * n / (n - 1) / independent
    else:
        effect = total_squared / total
    lo, hi = wilson(total / max(effect, 1.0), passed / max(effect, 1.0), Z_95)
    return rate, lo, hi
