"""Data of a drift event: what has changed, by how much, since when, for whom, and on what evidence."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.fields import Id, Name, Segment

Finite = Annotated[float, Meta(ge=-1e300, le=1e300)]
Count64 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Time = Annotated[str, Meta(min_length=20, max_length=40)]  # RFC 3339
Origins = dict[Name, dict[str, tuple[int, int]]]  # topic -> partition -> first and last offset


class Kind(StrEnum):
    """The quantity that has changed."""

    CONCEPT = "concept"
    CALIBRATION = "calibration"
    COST = "cost"
    PRIOR = "prior"
    SCORE = "score"
    COVARIATE = "covariate"
    ALERT_RATE = "alert_rate"
    ABSTENTION = "abstention"
    LABEL_DELAY = "label_delay"
    GAP = "gap"
    CLAIM = "claim"
    CHECK = "check"
    PROBE = "probe"
    CHALLENGER = "challenger"
    REGRESSION = "regression"


class Scope(StrEnum):
    """Whom the change concerns."""

    ALL = "all"
    GROUP = "group"  # the aggregate is silent


class Direction(StrEnum):
    """Which way the quantity went."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"


class Severity(StrEnum):
    """Level of the effect's lower bound against the tolerance: at least once, twice, four times."""

    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"


class Interval(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A figure with its interval and the number of events behind it; null where undefined."""

    value: Finite | None = None
    lo: Finite | None = None
    hi: Finite | None = None
    n: Count64 = 0


class Window(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename={"from_": "from"}):
    """A span of event time, RFC 3339; the end is not part of it."""

    from_: Time
    to: Time


class Impact(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the change costs."""

    money_per_day: Finite


class GroupRates(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The two rates whose difference a gap is: the group's, and the rest's in the same stretches of time."""

    group: Finite
    rest: Finite


class Monitor(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One monitor of an incident, as its own alarm told it."""

    metric: Name
    direction: Direction
    segment: Segment
    age_s: Annotated[float, Meta(ge=0, le=1e11)]
    kind: Kind
    onset: Time
    evidence: Finite


class DriftData(msgspec.Struct, frozen=True, kw_only=True):
    """Data of ``gnomon.drift.*``."""

    incident_id: Id  # the same from opened to cleared
    kind: Kind  # as told when the incident opened
    scope: Scope
    model_id: Id
    model_version: Id
    segment: Segment  # the one with the strongest evidence; empty: all
    metric: Name
    direction: Direction
    age_s: Annotated[float, Meta(ge=0, le=1e11)]  # age of the labels judged; 0: before any label
    severity: Severity
    baseline: Interval
    current: Interval  # after the alarm where known, else since the onset
    onset: Time | None  # estimated begin of the change, as told when the incident opened
    evidence: Finite  # of the strongest monitor, on the scale of ``threshold``
    threshold: Finite
    affected: list[Segment]
    window: Window  # event time of the predictions that the evidence rests on
    origins: Origins  # where these lie in the source topics
    impact: Impact | None
    message: str  # a sentence a person can act on
    unconfirmed: bool = False  # a younger rung's alarm while the delays of labels are changing
    why: str = ""  # why it is that kind
    monitors: list[Monitor] = msgspec.field(default_factory=list)  # each with its own onset; first the one spoken of; 20 at most
    rates: GroupRates | None = None  # of a gap: what ``current`` is the difference of
