"""When a model version counts as out of service: what stands open of it would stay open for ever, since nothing comes that could end it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from detectors.fixed import Ints
from detectors.ladder import DAY_MS
from detectors.panes import END

if TYPE_CHECKING:
    from detectors.bank import Bank
    from detectors.incident_events import IncidentEvent, Naming
    from detectors.incidents import Incidents
    from detectors.model_version import ModelVersion

SILENT_DAYS = 30  # without a prediction, after the last one has been judged at the oldest age
SILENT = f"no prediction has come for {SILENT_DAYS} days and the oldest age at which they are judged: it seems to be out of service"


def close_silent(
    bank: "Bank",
    incidents: "Incidents",
    version: "ModelVersion",
    *,
    until_ms: int,
    naming: "Naming",
    also: Ints | None = None,
    oldest_ms: Callable[[int], int] = lambda at_ms: 0,
) -> "list[IncidentEvent]":
    """Close what is open of a version that is out of service by a time; should it come back, its monitors go on from their baselines.

    Parameters
    ----------
    bank, incidents
        Of the version, or of a companion of it.
    version
        Whose predictions count, and the ages at which they are judged.
    until_ms
        How far time has come: the next step, or the watermark.
    naming
        Of segments, in what is told.
    also
        Days since 1970 with other signs of life, ascending.
    oldest_ms
        The oldest age at which the companion judges at a time, if it has ages of its own.

    """
    if not incidents.open:
        return []
    days = version.sums.days() if also is None else np.union1d(version.sums.days(), also)

    def age_ms(at_ms: int) -> int:
        return max(version.ladder.oldest_ms(at_ms), oldest_ms(at_ms))

    ended = version.watermark_ms == END
    at_ms = silent_from(days, since_ms=bank.budget.now, age_ms=age_ms, until_ms=until_ms, ended=ended)
    if at_ms is None:
        return []
    events = []
    for incident in list(incidents.open):
        bank.calm([member.alarm.key for member in incident.members])
        events += incidents.close(incident.incident_id, SILENT, due_ms=at_ms, naming=naming)
    return events


def silent_from(days: Ints, *, since_ms: int, age_ms: Callable[[int], int], until_ms: int, ended: bool = False) -> int | None:
    """Return the time at which a version has been silent for long enough; None: not by ``until_ms``.

    Parameters
    ----------
    days
        Days since 1970 with signs of life, ascending.
    since_ms
        How far the version has been judged: what is open was opened by then, and is not closed before. A silence before the last sign of
        life by then is past.
    age_ms
        Gives the oldest age at which predictions are judged at a time: an age that is not known yet does not count.
    until_ms
        How far time has come.
    ended
        Whether nothing more will come at all, as at the end of a log: then only a silence counts that was broken.

    Examples
    --------
    >>> days = np.array([0, 1, 2, 60])
    >>> at = silent_from(days, since_ms=3 * DAY_MS, age_ms=lambda at: DAY_MS, until_ms=50 * DAY_MS)
    >>> at / DAY_MS
    34.0
    >>> silent_from(days, since_ms=3 * DAY_MS, age_ms=lambda at: 40 * DAY_MS, until_ms=90 * DAY_MS) is None  # the next came before
    True
    >>> silent_from(days, since_ms=61 * DAY_MS, age_ms=lambda at: 0, until_ms=99 * DAY_MS, ended=True) is None
    True

    """
    place = int(np.searchsorted(days, since_ms // DAY_MS, side="right"))
    days = days[max(place - 1, 0) :]
    following = np.append(days[1:] * DAY_MS, -END if ended else END)[: len(days)]
    quiet = (days + 1 + SILENT_DAYS) * DAY_MS
    for at in np.flatnonzero(quiet <= np.minimum(following, until_ms)).tolist():
        quiet_ms = silent_ms = int(quiet[at])
        while quiet_ms + age_ms(silent_ms) > silent_ms:  # an older age may have become known meanwhile
            silent_ms = quiet_ms + age_ms(silent_ms)
        if silent_ms <= min(int(following[at]), until_ms):
            return max(silent_ms, since_ms)
    return None
