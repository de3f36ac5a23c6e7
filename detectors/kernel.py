"""The recursion of the evidence: Shiryaev–Roberts with deposits, mixed over alternatives, in the log domain; its onset; rations."""

import numpy as np

from detectors.fixed import Floats, Ints

_HUGE = 600.0  # logs above it would overflow; a deposit adds nothing to them


def grow(log_r: Floats, deposit: Floats, log_factors: Floats) -> Floats:
    """Return ``log((R + deposit) * factor)``, shape (k, stakes); ``deposit`` has shape (k,) and may be zero.

    >>> float(np.exp(grow(np.array([[-np.inf]]), np.array([0.01]), np.array([[np.log(3.0)]]))[0, 0]).round(4))
    0.03
    """
    with np.errstate(divide="ignore"):
        grown = np.log(np.exp(np.minimum(log_r, _HUGE)) + deposit[:, None])  # ``logaddexp`` is right at any size, and five times slower
    return np.asarray(np.maximum(grown, log_r, out=grown) + log_factors)


def mix(log_r: Floats) -> Floats:
    """Return the log of the mean over alternatives, shape (k,), as the log evidence.

    >>> mix(np.array([[0.0, -np.inf]])).round(4).tolist()
    [-0.6931]
    """
    top = log_r.max(axis=1)
    safe = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(safe + np.log(np.exp(log_r - safe[:, None]).mean(axis=1)))


def crossed(log_r: Floats, level: float = 0.0) -> Ints:
    """Return the rows whose log evidence is at least ``level``, ascending.

    A mean reaches a level only if one of its terms does; so where none does, which is nearly always, there is nothing to mix.

    >>> crossed(np.array([[-1.0, -2.0], [1.0, 0.5], [0.1, -9.0]])).tolist()
    [1]
    """
    if float(log_r.max(initial=-np.inf)) < level:
        return np.zeros(0, dtype=np.int64)
    rows = np.flatnonzero((log_r >= level).any(axis=1))
    return np.asarray(rows[mix(log_r[rows]) >= level])


def ration(spent: Floats, log_factors: Floats, most: float) -> Floats:
    """Return log factors of which a sum may count for ``most`` only; ``spent``, the sum so far, moves on in place. Shapes (k, stakes).

    Fair factors stay fair, whatever the dependence: while the sum was below ``most`` they are cut, and above it they are at most one.

    >>> spent = np.array([[0.0]])
    >>> [float(ration(spent, np.array([[gain]]), 3.0)[0, 0]) for gain in (2.0, 2.0, -0.5, -1.5)], spent.tolist()
    ([2.0, 1.0, 0.0, -1.0], [[2.0]])
    """
    before = np.minimum(spent, most)
    spent += log_factors
    return np.asarray(np.minimum(spent, most) - before)


def follow(log_c: Floats, onset: Ints, since: Floats, *, log_factors: Floats, start_ms: int, tally: Floats) -> None:
    """Move the companion CUSUM, its onset (ms) and the tally (events, sum, expected ...) since then on by one pane, in place.

    Where an alternative had nothing left, it starts anew with this pane.

    Parameters
    ----------
    log_c, onset, log_factors
        Shape (k, stakes).
    start_ms
        Start of the pane.
    since, tally
        Shape (k, stakes, columns); ``tally`` may have one stake for all.

    References
    ----------
    Page, Biometrika 41 (1954).

    Examples
    --------
    >>> log_c, onset, since = np.array([[0.0, 1.0]]), np.array([[5, 5]]), np.ones((1, 2, 3))
    >>> follow(log_c, onset, since, log_factors=np.array([[0.5, 0.5]]), start_ms=9, tally=np.ones((1, 1, 3)))
    >>> log_c.tolist(), onset.tolist(), since[0, :, 0].tolist()
    ([[0.5, 1.5]], [[9, 5]], [1.0, 2.0])

    """
    alive = log_c > 0
    onset[~alive] = start_ms
    since *= alive[:, :, None]
    since += tally
    np.maximum(log_c, 0.0, out=log_c)
    log_c += log_factors
