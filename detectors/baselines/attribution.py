"""Which groups to name beside an alarm."""

import numpy as np
import numpy.typing as npt

from detectors.fixed import Floats

_LEVEL = 0.1


def e_bh(log_e: Floats, level: float = _LEVEL) -> npt.NDArray[np.intp]:
    """Return the places of the e-values that the e-BH procedure rejects, ascending.

    The expected share of false ones among them is at most ``level`` at this one moment, for any dependence; not over many moments.

    References
    ----------
    Wang & Ramdas, JRSS-B 84 (2022): false discovery rate control with e-values.

    Examples
    --------
    >>> e_bh(np.log([1.0, 30.0, 25.0, 0.1])).tolist()
    [1, 2]

    """
    count = len(log_e)
    order = np.argsort(-log_e, kind="stable")
    enough = log_e[order] >= np.log(count / (level * np.arange(1, count + 1)))
    passed = np.flatnonzero(enough)
    return np.sort(order[: passed[-1] + 1]) if len(passed) else np.zeros(0, dtype=np.intp)
