"""What the evidence bank says: alarms, what is learnt after them, that they are over, and remarks that page nobody."""

from dataclasses import dataclass, field
from typing import NamedTuple

REFINED = "refined"


class Key(NamedTuple):
    """A monitor."""

    family: str
    direction: int  # +1: watches a rise; -1: a fall
    segment: int  # 0: the aggregate
    rung: int


class Estimate(NamedTuple):
    """A value with its interval and the number of events behind it."""

    value: float
    lo: float
    hi: float
    n: float


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """A monitor's evidence reached one false alarm's worth, and the change is large enough to page."""

    key: Key
    kind: str
    direction: str  # up, down, both
    how: str  # what the direction leaves unsaid; may be empty
    needs_labels: bool
    age_ms: int
    mature: bool
    due_ms: int
    onset_ms: int  # start of the pane from which the leading bet won
    end_ms: int  # end of the pane that raised it
    baseline: Estimate
    current: Estimate  # since the onset; selected, so on the large side
    log_evidence: float  # ln S; S >= 1
    detector: str = "evidence"
    unconfirmed: bool = False  # a younger rung while labels come at another pace than in the baseline
    why: str = ""
    affected: tuple[int, ...] = ()  # groups with evidence at this moment
    per_day: float = 0.0  # events a day since the onset
    unit_cost: float | None = None  # of one more failure, where a cost matrix says so
    rates: tuple[float, float] | None = None  # the group's and the rest's, where ``current`` is their difference


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What the data since an alarm say: unselected, so an honest size."""

    key: Key
    due_ms: int
    current: Estimate
    baseline: Estimate
    severity: int  # 0 minor, 1 major, 2 critical
    rose: bool  # the severity is higher than ever before in this alarm
    figure: str = ""  # one more, for people
    per_day: float | None = None  # events a day since the alarm, where money depends on it
    unit_cost: float | None = None  # as of the alarm, with the data since
    rates: tuple[float, float] | None = None  # likewise


@dataclass(frozen=True, kw_only=True)
class Cleared:
    """The test that the change is still there was rejected at 1 %; the monitor's evidence starts again from zero."""

    key: Key
    due_ms: int
    current: Estimate
    rates: tuple[float, float] | None = None  # as of the alarm, since the test began to win


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something to know that pages nobody.

    A baseline stands, or was estimated anew from more data; a watch that pages nobody fired, before that or beside it; scores were
    miscalibrated from the start.
    """

    what: str  # armed | refined | warm_up | watch | miscalibrated
    key: Key
    due_ms: int
    text: str
    figures: dict[str, float] = field(default_factory=dict)


Signal = Alarm | Moved | Cleared | Note
