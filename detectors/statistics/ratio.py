"""Ratios that may be undefined."""

import numpy as np
import numpy.typing as npt

from detectors.fixed import Floats


def ratio(top: npt.ArrayLike, bottom: npt.ArrayLike, otherwise: float = np.nan) -> Floats:
    """Return ``top / bottom``, NaN where either is NaN, and ``otherwise`` where ``bottom`` is 0; shapes broadcast.

    >>> ratio([1, 1], [4, 0]), ratio([1, 1], [4, 0], otherwise=0.0)
    (array([0.25,  nan]), array([0.25, 0.  ]))
    """
    top, bottom = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    if top.shape != bottom.shape:
        top, bottom = np.broadcast_arrays(top, bottom)
    out = np.empty(top.shape)
    out.fill(otherwise)
    return np.asarray(np.divide(top, bottom, out=out, where=bottom != 0))
