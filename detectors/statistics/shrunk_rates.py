"""Rates of groups, drawn toward those of the others as far as they rest on little."""

from typing import Any, NamedTuple

import numpy as np
from scipy.special import betaincinv

from detectors.fixed import Floats

_TAIL = 0.05


class Prior(NamedTuple):
    """A Beta distribution of the rates of groups: their mean, and how many events it is worth; of many groups, one of each."""

    mean: Any
    events: Any


def prior_of(failures: Floats, events: Floats) -> Prior | None:
    """Return the prior that the rates of groups suggest, by moments; None: fewer than two groups have events.

    What their rates vary beyond chance is their variance. If it is nothing, the prior is worth all events together and not more: the common
    rate is not known any better.

    Parameters
    ----------
    failures, events
        By group. Shape (groups,).

    References
    ----------
    Casella, The American Statistician 39 (1985): An introduction to empirical Bayes data analysis.

    Examples
    --------
    >>> prior_of(np.array([10.0, 11.0, 9.0]), np.array([100.0, 100.0, 100.0]))
    Prior(mean=0.1, events=300.0)
    >>> [round(part, 2) for part in prior_of(np.array([5.0, 10.0, 30.0]), np.array([100.0, 100.0, 100.0]))]
    [0.15, 6.86]

    """
    some = events > 0
    n, total = events[some], float(events.sum())
    if len(n) < 2:
        return None
    mean = float(failures.sum()) / total
    beyond = float(n @ np.square(failures[some] / n - mean)) - (len(n) - 1) * mean * (1 - mean)
    variance = beyond / (total - float(n @ n) / total)
    worth = mean * (1 - mean) / variance - 1 if variance > 0 else total
    return Prior(mean, min(max(worth, 1.0), total))


def shrunk(failures: Floats, events: Floats, prior: Prior) -> Floats:
    """Return the posterior mean and the 90 % posterior interval of each group's rate, shape (groups, 3).

    It holds on average over groups that are like each other, so it is for reading: no bound of a baseline is taken from it.

    >>> shrunk(np.array([0.0, 30.0]), np.array([10.0, 1000.0]), Prior(0.05, 100.0)).round(3).tolist()
    [[0.045, 0.018, 0.082], [0.032, 0.024, 0.041]]
    """
    a = np.maximum(failures + prior.mean * prior.events, 1e-9)
    b = np.maximum(events - failures + (1 - prior.mean) * prior.events, 1e-9)
    return np.stack([a / (a + b), betaincinv(a, b, _TAIL), betaincinv(a, b, 1 - _TAIL)], axis=1)
