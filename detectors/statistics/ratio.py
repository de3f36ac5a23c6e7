"""Ratios that may be undefined."""

import numpy as np
import numpy.typing as npt

from detectors.fixed import Floats


def ratio(top: npt.ArrayLike, bottom: npt.ArrayLike) -> Floats:
    """Return ``top / bottom``, NaN where ``bottom`` is 0 or either is NaN; shapes broadcast.

    >>> ratio([1, 1], [4, 0])
    array([0.25,  nan])
    """
    top, bottom = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    if top.shape != bottom.shape:
        top, bottom = np.broadcast_arrays(top, bottom)
    out = np.empty(top.shape)
    out.fill(np.nan)
    return np.asarray(np.divide(top, bottom, out=out, where=bottom != 0))
