"""Area under the ROC curve by mid-ranks, from counts per distinct score."""

import numpy as np
import numpy.typing as npt

from detectors.fixed import Floats


def auc(n0: npt.ArrayLike, n1: npt.ArrayLike) -> Floats:
    """Return the AUC from counts of negatives and positives per score, ascending, shape (..., scores); NaN if a class is missing.

    It is the chance that a positive scores higher than a negative, ties counting half (Mann-Whitney). Scores must be distinct for it to be
    exact; cells give what their resolution allows.

    References
    ----------
    Hanley & McNeil, "The meaning and use of the area under a ROC curve", Radiology 143 (1982).

    Examples
    --------
    >>> float(auc([2, 1, 0], [0, 1, 1]))
    0.9166666666666666

    """
    n0, n1 = np.asarray(n0, dtype=np.float64), np.asarray(n1, dtype=np.float64)
    below = np.cumsum(n0, axis=-1) - n0 / 2
    pairs = n0.sum(axis=-1) * n1.sum(axis=-1)
    return np.asarray(np.divide((n1 * below).sum(axis=-1), pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0))
