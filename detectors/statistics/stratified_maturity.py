"""How much of the labels has come by each age, by score, fair to predictions that are still young."""

from itertools import pairwise

import numpy as np

from detectors.fixed import Floats, Ints
from detectors.statistics.ratio import ratio


def maturity_by_age(made: Ints, known: Ints, reached: Ints) -> tuple[Floats, Ints]:
    """Return the share of labels that are known by each age, Kaplan-Meier, and how many predictions were at risk; shape (ages,).

    A prediction that has not reached an age is censored before it: neither it nor its label counts there. Of the counts, which are
    additive, mergeable and revertible; the share is not. NaN from the first age on that nothing has reached.

    Parameters
    ----------
    made
        Predictions of each cohort, shape (cohorts,).
    known
        Their labels by the age that they were first known by, shape (cohorts, ages).
    reached
        How many of the ages each cohort has reached, shape (cohorts,).

    References
    ----------
    Kaplan & Meier, "Nonparametric estimation from incomplete observations", JASA 53 (1958).

    Examples
    --------
    >>> share, at_risk = maturity_by_age(np.array([100, 100]), np.array([[50, 25], [50, 0]]), np.array([2, 1]))
    >>> share.tolist(), at_risk.tolist()  # the second cohort is too young for the second age
    ([0.5, 0.75], [200, 50])

    """
    ages = np.arange(known.shape[1])
    old = reached[:, np.newaxis] > ages
    at_risk = np.where(old, made[:, np.newaxis] - (np.cumsum(known, axis=1) - known), 0).sum(axis=0)
    hazard = np.clip(np.nan_to_num(ratio(np.where(old, known, 0).sum(axis=0), at_risk)), 0.0, 1.0)
    share = 1.0 - np.cumprod(1.0 - hazard)
    return np.where(old.any(axis=0), share, np.nan), at_risk.astype(np.int64)


def score_strata(n: Ints) -> list[tuple[int, int]]:
    """Return at most three ranges of cells [from, to) that hold about a third of the events each; a cell is never divided.

    >>> score_strata(np.array([10, 10, 10])), score_strata(np.array([98, 1, 1])), score_strata(np.array([0, 0]))
    ([(0, 1), (1, 2), (2, 3)], [(0, 1), (1, 3)], [])
    """
    if not n.any():
        return []
    below = 3 * np.cumsum(n)
    cuts = [0, *(int(np.argmax(below >= k * n.sum())) + 1 for k in (1, 2)), len(n)]
    return [(lo, hi) for lo, hi in pairwise(cuts) if hi > lo and n[lo:hi].any()]
