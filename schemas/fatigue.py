"""Data of a fatigue event: a person or desk receives more alerts, or worse ones, than can be heeded."""

from enum import StrEnum

import msgspec

from schemas.drift import Finite, Window
from schemas.fields import Id, Text


class FatigueKind(StrEnum):
    """What is wrong with the alerts."""

    RATE = "rate"  # alerts an hour
    FLOOD = "flood"  # alerts in ten minutes
    CHATTER = "chatter"  # repeats of one alert key in a minute
    STALE = "stale"  # an alert left open, hours
    PPV = "ppv"  # share of alerts that were right
    OVERRIDE = "override"  # share of alerts not acted upon
    RESPONSE_TIME = "response_time"  # seconds from alert to disposition
    REVIEW_TIME = "review_time"  # seconds of a person's time for one alert


class FatigueData(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Data of ``gnomon.fatigue.*``."""

    incident_id: Id
    model_id: Id
    model_version: Text  # empty: all versions
    kind: FatigueKind
    unit: Text  # ward or desk; empty: all
    value: Finite  # in the unit of ``kind``
    threshold: Finite
    window: Window
    message: str
