"""What an incident tells people: an event of its life, and the sentence in it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from detectors.families import family
from detectors.signals import Alarm, Estimate, Key

SEVERITIES = ("minor", "major", "critical")
OPENED, ESCALATED, UPDATED, CLEARED = "opened", "escalated", "updated", "cleared"
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
_SPANS = ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"))
MOST_EVIDENCE = math.log(1e300)
_NAMED = 5  # groups named in a sentence
_SHARES = {"score": "Scores", "regression": "Absolute errors", "covariate": "Inputs"}  # kinds that speak of a share of the events

Naming = Callable[[int], str]


@dataclass(frozen=True, kw_only=True)
class IncidentEvent:
    """One event of an incident's life, with all that the evidence knows of it.

    ``segment`` and ``affected`` are segment indexes; times are epoch ms. ``current`` is the mean since the onset in the opening event
    (selected, so on the large side), later the mean since the alarm where that is known.
    """

    event: str  # opened | escalated | updated | cleared
    incident_id: str
    time_ms: int
    kind: str
    scope: str  # all | group
    segment: int
    metric: str
    direction: str  # up | down | both
    age_s: float
    severity: str
    baseline: Estimate
    current: Estimate
    onset_ms: int  # as told when it opened
    evidence: float  # S of the strongest monitor, kept below 1e300
    log10_evidence: float
    affected: tuple[int, ...]
    window: tuple[int, int]
    members: tuple[Key, ...]
    alarms: tuple[Alarm, ...]  # of the members; first that which the event speaks of
    unconfirmed: bool
    why: str
    message: str
    threshold: float = 1.0
    impact: float | None = None  # money a day
    rates: tuple[float, float] | None = None  # the group's and the rest's, where ``current`` is their difference


def day(ms: int) -> str:
    """Write a date.

    >>> day(1_553_990_400_000)
    '31 March 2019'
    """
    at = datetime.fromtimestamp(ms // 1000, tz=UTC)
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}"


def span(ms: int) -> str:
    """Write an age in its largest unit.

    >>> span(190 * 86_400_000), span(5_400_000)
    ('190 days', '1.5 hours')
    """
    for unit, name in _SPANS:
        if ms >= unit:
            count = f"{ms / unit:.1f}".removesuffix(".0")
            return f"{count} {name}{'' if count == '1' else 's'}"
    return "0 seconds"


def percent(estimate: Estimate) -> str:
    """Write a rate with its interval, with as many decimals as the interval can bear.

    >>> percent(Estimate(0.069, 0.066, 0.072, 9000)), percent(Estimate(0.5, 0.42, 0.58, 100))
    ('6.9 % (6.6–7.2)', '50 % (42–58)')
    """
    width = 100 * (estimate.hi - estimate.lo)
    digits = 0 if width >= 5 else 1 if width >= 0.2 else 2
    value, lo, hi = (f"{100 * part:.{digits}f}" for part in estimate[:3])
    return f"{value} % ({lo}–{hi})"  # noqa: RUF001  # a range is written with a dash


def amount(estimate: Estimate) -> str:
    """Write a sum of money with its interval, with as many decimals as the interval can bear.

    >>> amount(Estimate(5.123, 4.9, 5.35, 900)), amount(Estimate(1204.2, 1100.0, 1310.0, 900))
    ('5.12 (4.90–5.35)', '1204 (1100–1310)')
    """
    width = estimate.hi - estimate.lo
    digits = 0 if width >= 50 else 2 if width >= 0.05 else 4
    value, lo, hi = (f"{part:.{digits}f}" for part in estimate[:3])
    return f"{value} ({lo}–{hi})"  # noqa: RUF001  # a range is written with a dash


def points(estimate: Estimate) -> str:
    """Write a difference of rates with its interval, with as many decimals as the interval can bear.

    >>> points(Estimate(0.0512, 0.023, 0.079, 900)), points(Estimate(0.002, -0.011, 0.015, 900)), points(Estimate(0.05, 0.05, 0.05, 0))
    ('5.1 points (2.3 to 7.9)', '0.2 points (-1.1 to 1.5)', '5 points')
    """
    if estimate.lo == estimate.hi:
        return f"{100 * estimate.value:g} points"
    digits = 0 if estimate.hi - estimate.lo >= 0.1 else 1
    value, lo, hi = (f"{100 * part:z.{digits}f}" for part in estimate[:3])
    return f"{value} points ({lo} to {hi})"


def message(
    event: str,
    model: str,
    lead: Alarm,
    current: Estimate,
    affected: tuple[int, ...] = (),
    *,
    naming: Naming,
    why: str = "",
    closed: str = "",
    figure: str = "",
    money: float | None = None,
    began_ms: int | None = None,
    rates: tuple[float, float] | None = None,
) -> str:
    """Say in a sentence or three what changed, for whom, since when, and where to look.

    ``why`` is added to it; ``closed`` is why an incident ends although the change may still be there; ``figure`` is one more about the
    data since the alarm, ``money`` what the change costs a day. ``began_ms`` is the onset
    of the incident, which is told where ``lead`` saw its change begin on another day. ``rates`` are the group's and the rest's, of a gap.

    Examples
    --------
    >>> lead = Alarm(key=Key("fnr", 1, 0, 2), kind="concept", direction="up", how="", needs_labels=True, age_ms=190 * 86_400_000,
    ...     mature=False, due_ms=0, onset_ms=1_553_990_400_000, end_ms=0, baseline=Estimate(0.069, 0.066, 0.072, 9000),
    ...     current=Estimate(0.098, 0.089, 0.108, 3000), log_evidence=0.1)
    >>> print(message("opened", "car-loan 1", lead, lead.current, (), naming=str))
    False-negative rate of car-loan 1 rose from 6.9 % (6.6–7.2) to 9.8 % (8.9–10.8) among predictions made since 31 March 2019, \
read at age 190 days; no group stands out. Look at positives that the model misses now; consider a lower threshold until it is retrained.

    """
    what = family(lead.key.family)
    gap = what.kind == "gap"
    whom = model if lead.key.segment == 0 else f"{model} for {naming(lead.key.segment)}"
    if gap:
        whom = f"{model} between {naming(lead.key.segment)} and the rest"
    began = "" if began_ms is None or day(began_ms) == day(lead.onset_ms) else f" (the incident: since {day(began_ms)})"
    since = f"among predictions made since {day(lead.onset_ms)}{began}, read {_age(lead.age_ms)}"
    write = {"cost": amount, "gap": points}.get(what.kind, percent)
    now, base = write(current), write(lead.baseline)
    if event == CLEARED:
        if closed:
            return f"Closed: {what.noun} of {whom}.{_because(closed)}"
        noun = f"share of {lead.how}" if what.kind in _SHARES else what.noun
        # A stream can swing past where it was: that ends this change, but nothing is as before.
        below, above = current.hi < lead.baseline.lo, current.lo > lead.baseline.hi
        beyond = (below and lead.key.direction > 0) or (above and lead.key.direction < 0)
        how = "has turned, past where it was" if beyond else "is back"
        return f"{_subject(noun, whom)} {how}: {now} lately, against a baseline of {base}.{_because(why)}"
    if what.kind == "calibration":
        words = {"up": "that turned out positive", "down": "that turned out negative"}.get(lead.direction, "that went against the score")
        change = f"Calibration of {whom} changed: {lead.how}. The share of outcomes {words} is {now} where {base} was to be expected"
    elif what.kind in _SHARES:
        verb = "rose" if lead.key.direction > 0 else "fell"
        change = f"{_SHARES[what.kind]} of {whom} shifted: the share of {lead.how} {verb} from {base} to {now}"
    elif what.kind == "claim":
        change = f"Claimed {what.noun} of {whom} {100 * lead.baseline.value:g} %, production says {now}"
    elif gap:
        against = f"the baseline was {base}" if lead.baseline.n else f"{base} are tolerated"
        sides = "" if rates is None else f": {_plain(rates[0])} in the group, {_plain(rates[1])} in the rest,"
        change = f"{_subject(what.noun, whom)} is {now} where {against}{sides}"
    else:
        verb, sign = ("rose", 1) if lead.direction == "up" else ("fell", -1)
        # After the alarm it may have come back, and further: what rose must not be said to have risen to less than it was.
        beyond = sign * (current.value - lead.baseline.value) > 0
        to = now if beyond else f"{write(lead.current)}, and is {now} since the alarm,"
        change = f"{_subject(what.noun, whom)} {verb} from {base} to {to}"
    if money is not None and money > 0:
        change += f", about {money:,.0f} a day"
    extra = f" ({figure})" if figure else ""
    groups = "" if what.kind == "covariate" else f"; {_groups(lead, affected, naming)}"  # inputs are watched as a whole only
    return f"{change}{extra} {since}{groups}. {what.look}{_because(why)}"


def _plain(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _because(why: str) -> str:
    return f" {why[0].upper()}{why[1:]}." if why else ""


def _subject(noun: str, whom: str) -> str:
    return f"{noun[0].upper()}{noun[1:]} of {whom}"


def _age(age_ms: int) -> str:
    return f"at age {span(age_ms)}" if age_ms else "as they were made"


def _groups(lead: Alarm, affected: tuple[int, ...], naming: Naming) -> str:
    if not affected:
        return "no group stands out"
    names = [naming(segment) for segment in affected[:_NAMED]]
    more = f" and {len(affected) - _NAMED} more" if len(affected) > _NAMED else ""
    return f"affected: {', '.join(names)}{more}"
