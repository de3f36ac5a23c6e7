"""How far a distribution over cells has moved from its reference."""

import numpy as np

from detectors.fixed import Floats

_GROUPS = 10


def stability_index(counts: Floats, reference: Floats, n_reference: float) -> float:
    """Return the population stability index of counts by cell against the shares of a reference, less its bias.

    Cells are joined to at most ten groups of about equal share of the reference; half an event is added to each group. Without a change
    the plain index is about (groups - 1) * (1/n + 1/n_reference), which is taken off, so the result may be below zero.

    Parameters
    ----------
    counts
        Events by cell. Shape (cells,).
    reference
        Shares by cell, summing to one. Shape (cells,).
    n_reference
        Events behind the reference.

    References
    ----------
    Siddiqi, Credit Risk Scorecards (2006): the index. Yurdakul & Naranjo, Journal of Risk Model Validation 14 (2020): its mean.

    Examples
    --------
    >>> even = np.full(20, 0.05)
    >>> moved = np.append(np.full(10, 70.0), np.full(10, 30.0))
    >>> round(stability_index(np.full(20, 50.0), even, 10_000), 3), round(stability_index(moved, even, 10_000), 3)
    (-0.01, 0.158)

    """
    n = float(counts.sum())
    if n <= 0 or n_reference <= 0:
        return 0.0
    middle = np.cumsum(reference) - reference / 2
    group = np.clip((middle * _GROUPS).astype(np.int64), 0, _GROUPS - 1)
    now, before = np.bincount(group, counts, _GROUPS), np.bincount(group, reference * n_reference, _GROUPS)
    used = (now > 0) | (before > 0)
    here, there = now[used] + 0.5, before[used] + 0.5
    p, q = here / here.sum(), there / there.sum()
    return float(((p - q) * np.log(p / q)).sum() - (len(p) - 1) * (1 / n + 1 / n_reference))
