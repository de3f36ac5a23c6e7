"""When a model version counts as out of service: what stands open of it would stay open for ever, since nothing comes that could end it."""

import numpy as np

from detectors.fixed import Ints
from detectors.ladder import DAY_MS

SILENT_DAYS = 30  # without a prediction, after the last one has been judged at the oldest age


def silent_from(days: Ints, *, since_ms: int, age_ms: int, until_ms: int, ended: bool = False) -> int | None:
    """Return the time at which a version has been silent for long enough; None: not by ``until_ms``.

    Parameters
    ----------
    days
        Days since 1970 with predictions, ascending.
    since_ms
        How far the version has been judged: the silence after the last prediction before it is looked at.
    age_ms
        The oldest age at which predictions are judged.
    until_ms
        How far time has come.
    ended
        Whether nothing more will come at all, as at the end of a log: then only a silence counts that was broken.

    Examples
    --------
    >>> days = np.array([0, 1, 2, 60])
    >>> at = silent_from(days, since_ms=3 * DAY_MS, age_ms=DAY_MS, until_ms=50 * DAY_MS)
    >>> at / DAY_MS
    34.0
    >>> silent_from(days, since_ms=3 * DAY_MS, age_ms=40 * DAY_MS, until_ms=90 * DAY_MS) is None  # the next came before
    True
    >>> silent_from(days, since_ms=61 * DAY_MS, age_ms=0, until_ms=99 * DAY_MS, ended=True) is None
    True

    """
    place = int(np.searchsorted(days, since_ms // DAY_MS, side="right"))
    if not place:
        return None
    silent_ms = (int(days[place - 1]) + 1 + SILENT_DAYS) * DAY_MS + age_ms
    broken = place < len(days)
    if silent_ms > until_ms or (broken and int(days[place]) * DAY_MS < silent_ms) or (ended and not broken):
        return None
    return silent_ms
