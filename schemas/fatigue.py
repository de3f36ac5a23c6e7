"""Alert fatigue, as an event and in the report: a person or desk receives more alerts, or worse ones, than can be heeded."""

from enum import StrEnum

import msgspec

from schemas.drift import Count64, Finite, Interval, Window
from schemas.fields import Id, Text
from schemas.figures import Figure


class FatigueKind(StrEnum):
    """What is wrong with the alerts."""

    RATE = "rate"  # alerts an hour
    FLOOD = "flood"  # alerts in ten minutes
    CHATTER = "chatter"  # repeats of one alert key in a minute
    STALE = "stale"  # alerts of a day left open for longer than is allowed
    PPV = "ppv"  # share of alerts that were right
    OVERRIDE = "override"  # share of alerts not acted upon
    RESPONSE_TIME = "response_time"  # seconds from alert to disposition
    REVIEW_TIME = "review_time"  # seconds of a person's time for one alert


class FatigueData(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Data of ``gnomon.fatigue.*``."""

    incident_id: Id  # the same from opened to cleared
    model_id: Id
    model_version: Text  # empty: all versions
    kind: FatigueKind
    unit: Text  # ward or desk; empty: alerts that name none
    value: Finite  # in the unit of ``kind``
    threshold: Finite
    window: Window  # event time of the alerts that it rests on
    message: str
    evidence: Finite | None = None  # of a bet, against 1; null: a count, which needs none
    baseline: Interval | None = None  # of a bet: what the unit's own past, or the policy, lets expect
    current: Interval | None = None  # of a bet: since the change began; once cleared, lately


class AlertFigures(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a model's alerts ask of those who receive them, and what becomes of them. Probes are left out."""

    unit: Text = ""  # ward or desk; empty: all of them, or alerts that name none
    alerts: Count64 = 0
    alerts_per_hour: Figure = None  # and person on duty, of the time with predictions
    labelled: Count64 = 0  # alerts with a label, or past the horizon where none means negative
    false_alerts: Count64 = 0  # of them
    false_alerts_per_year: Figure = None
    ppv: Interval = Interval()  # share of labelled alerts that were right
    nne: Figure = None  # 1 / ppv, number needed to evaluate
    dispositions: Count64 = 0  # alerts that someone has dealt with
    override_rate: Figure = None  # share of named actions that are "overridden", "dismissed" or "ignored": not acted upon
    dismiss_rate: Figure = None  # share that are "dismissed"
    ignore_rate: Figure = None  # share that are "ignored"
    response_median_s: Figure = None  # from alert to disposition; within 1 %
    response_p90_s: Figure = None
    response_trend: Figure = None  # change of the median in a week, as a share of it; of the latest weeks
    mean_review_s: Figure = None  # of a person's time
    review_hours_per_week: Figure = None
    review_delta_hours_per_week: Figure = None  # against the policy's review_time for each alert reviewed
    top10_share: Figure = None  # of alerts that have an alert key, the ten most frequent keys'
    floods: Count64 = 0
    flood_share: Figure = None  # of the time
    chatter: Count64 = 0  # times that an alert key began to repeat itself
    stale: Count64 = 0  # alerts left open for longer than is allowed, where any are dealt with
    value_difference: Interval = Interval()  # mean value where acted upon less that where not; 95 %; a difference, not an effect


class FatigueFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Alert fatigue of a model, all its versions together."""

    overall: AlertFigures = AlertFigures()
    units: list[AlertFigures] = msgspec.field(default_factory=list)  # in the order of their names
    late: Count64 = 0  # alerts that came after the watermark: in the figures, but in no flood and no chatter


class AlarmFigures(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The load of our own alarms on one operator, all models together."""

    incidents: Count64 = 0  # opened
    drift: Count64 = 0
    fatigue: Count64 = 0
    per_hour: Figure = None  # of the time with predictions
    crowded_share: Figure = None  # of the 10-minute windows of that time, those with more than ten
    chatter: Count64 = 0  # times that the same alarm opened for the third time within a minute
    stale: Count64 = 0  # at most on one day: open for more than a day, and acknowledged by nobody
    judged: Count64 = 0  # with a person's verdict
    ppv: Figure = None  # of those judged, the share that was real
    nne: Figure = None  # number needed to evaluate: 1 / ppv
    false_per_year: Figure = None  # judged false, in a year of the time with predictions
    mean_response_s: Figure = None  # from an incident's opening to the first answer to it
    top_10_share: Figure = None  # of all incidents, those of the ten models that have most
