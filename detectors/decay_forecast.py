"""When decay will be past the policy's limit: one look a week of a version's age, the same however far the watermark jumps."""

import msgspec
import numpy as np

from detectors.companions.decay import FALLS, weekly
from detectors.incident_events import day
from detectors.ladder import DAY_MS, WEEK_MS
from detectors.model_version import ModelVersion
from detectors.retrain import Forecast, Ground
from detectors.statistics.trend import trend
from schemas.drift import Severity
from schemas.fields import LAST_MS
from schemas.policy_models import ModelPolicy

LEVEL = 0.998  # of the slope's interval: a calm model is looked at every week for as long as it lives
FEWEST_WEEKS = 6
_NOUNS = {"error": "Error rate", "f1": "F1", "brier": "Brier score", "cost": "Cost per prediction"}


def looks(version: ModelVersion, since_week: int, until_ms: int) -> list[tuple[int, int]]:
    """Return (due, week) of the weeks of a version's age that the mature rung has read whole by a time, and of the first one without data.

    A week is due when its last pane has reached the mature age, and not before that age was known.
    """
    ladder, weeks = version.ladder, version.mature_sums.weeks.keys
    begin = ladder.weeks_since_ms(version.schedule.first_ms)
    if begin is None or ladder.mature is None or not len(weeks):
        return []
    waits = ladder.width_ms(ladder.mature) + ladder.age_ms(ladder.mature)
    due = [(max(begin + (week + 1) * WEEK_MS + waits, ladder.settled_ms()), week) for week in range(since_week, int(weeks[-1]) + 2)]
    return [(at, week) for at, week in due if at <= until_ms]


def foresee(version: ModelVersion, policy: ModelPolicy, week: int, due_ms: int) -> Ground | None:
    """Return the ground that the weeks up to one give: the limit that will be crossed first; None: no figure surely moves towards one.

    The slope must point to the limit at both ends of its interval of 99.8 %, over six weeks or more that end with this one. The date is
    the line's own: the interval's early end would come the sooner the less is known.
    """
    known, begin = version.mature_sums.weeks, version.ladder.weeks_since_ms(version.schedule.first_ms)
    upto = known.keys <= week
    weeks = known.keys[upto]
    if begin is None or len(weeks) < FEWEST_WEEKS or weeks[-1] != week:
        return None
    found = []
    for name, (value, n) in weekly(known.rows[upto], policy.cost).items():
        limit, held = policy.decay.get(name), np.isfinite(value) & (n > 0)
        if limit is None or int(held.sum()) < FEWEST_WEEKS:
            continue
        line = trend(np.asarray((weeks[held] + 0.5) * (WEEK_MS / DAY_MS), dtype=np.float64), value[held], n[held], LEVEL)
        if line is None or (line.hi >= 0 if name in FALLS else line.lo <= 0):
            continue
        at_ms = begin + max(line.reaches(limit), 0.0) * DAY_MS
        if at_ms <= LAST_MS:
            found.append((round(at_ms), name, line, limit))
    if not found:
        return None
    crosses_ms, name, line, limit = min(found, key=lambda each: each[:2])
    month = [30 * slope for slope in (line.slope, line.lo, line.hi)]
    past = crosses_ms <= due_ms
    said = (
        f"{_NOUNS[name]} of {version.model_id} {version.name} {'falls' if name in FALLS else 'rises'} with its age: "
        f"{month[0]:+.3g} in 30 days ({month[1]:+.3g} to {month[2]:+.3g}); "
        f"{'it is past' if past else 'it will be past'} its limit of {limit:g} {'since' if past else 'on'} about {day(crosses_ms)}."
    )
    return Ground(
        incident_id="",
        model_version=version.name,
        onset_ms=begin,
        severity=Severity.MINOR,
        metric=name,
        money_per_day=None,
        message=said,
        forecast=Forecast(crosses_ms=crosses_ms, fresh_until_ms=due_ms + WEEK_MS),
    )


def to_plain(ground: Ground) -> dict[str, object]:
    """Return a ground as plain values.

    >>> date = Forecast(crosses_ms=9, fresh_until_ms=8)
    >>> given = {"incident_id": "", "model_version": "1", "onset_ms": 0, "metric": "f1", "money_per_day": None, "message": ""}
    >>> ground = Ground(**given, severity=Severity.MINOR, forecast=date)
    >>> of_plain(to_plain(ground)) == ground
    True
    """
    plain: dict[str, object] = msgspec.to_builtins(ground)
    return plain


def of_plain(plain: dict[str, object]) -> Ground:
    """Return the ground that ``to_plain`` wrote."""
    return msgspec.convert(plain, Ground)
