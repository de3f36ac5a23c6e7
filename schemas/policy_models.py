"""What a policy says of one model, resolved: every duration in milliseconds, every default filled in."""

import msgspec

from schemas.cost import CostMatrix
from schemas.drift import Severity

# on unless turned off
DEFAULT_FAMILIES = ("error", "fpr", "fnr", "calibration", "cost", "alert_rate", "score", "prior", "coverage")
OPT_IN_FAMILIES = ("abstention", "covariate", "gap", "regression", "challenger")
FAMILIES = DEFAULT_FAMILIES + OPT_IN_FAMILIES
CLAIMS = ("f1", "accuracy", "sensitivity", "specificity", "ppv", "ece")
DECAY = ("error", "f1", "brier", "cost")  # what may have a limit that decay is held against
MAX_AGES = 20
MAX_FEATURES = 100  # of a model that are watched
MAX_FEATURE_NAME = 64  # characters; one with a longer name is not watched
DAY_MS = 86_400_000

Scalar = bool | int | float | str


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """How many false pages a model may raise: ``pages`` in ``days``, on average, all its monitors together."""

    pages: float = 1.0
    days: float = 30.0


class BaselinePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What must be seen before a monitor may page, or what replaces it."""

    days: float = 28.0  # of cohorts, by event time
    labels: int = 200  # matured
    failures: int = 20
    seasonal: bool = True  # follow the hour of the week, once four weeks of it have been seen
    file: str | None = None  # Parquet file of a reference set: replaces the window
    values: dict[str, float] = msgspec.field(default_factory=dict)  # family -> contract value


class WatchPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """One family of monitors."""

    enabled: bool = True
    detector: str = "bank"  # the evidence bank, or a River detector's name
    role: str = "pager"  # of a River detector: it pages for the whole in the bank's place, or it is a "watch" beside the bank
    parameters: dict[str, Scalar | list[str]] = msgspec.field(default_factory=dict)  # of that detector
    tolerance: float | None = None  # change that does not matter; None: the family's own default
    baseline: float | None = None  # contract value


class ProbePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of probe: how much of it should be detected."""

    enabled: bool = True
    baseline: float | None = None  # share detected; None: what was learnt
    tolerance: float | None = None  # relative change of the odds that does not matter; None: 0.2


class CheckPolicy(ProbePolicy, frozen=True, kw_only=True):
    """One verification by name: how much of it should pass."""

    zero_tolerance: bool = False  # the first document that fails is an incident, without any evidence
    clean: int = 100  # documents without a failure that end such an incident


class FatiguePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When alerts are too many or too poor, per unit. None: held against the unit's own past.

    The counts are those of ANSI/ISA-18.2-2016: twelve alarms an hour and operator are the most that is manageable, a flood starts above ten
    alarms in ten minutes and ends below five. Three activations in a minute are chatter. Alarms older than a day are stale. Of alerts
    in clinical decision support 49 to 96 % are overridden (Ancker et al., BMC Med Inform Decis Mak 17:36, 2017).
    """

    enabled: bool = True
    people: float = 1.0  # on duty in a unit
    alerts_per_hour: float = 12.0  # and person; mean over a day
    flood_start: int = 10  # more than these in the window
    flood_end: int = 5  # fewer than these
    flood_window_ms: int = 600_000
    chatter: int = 3  # at least these of one alert key in the window
    chatter_window_ms: int = 60_000
    stale_ms: int = DAY_MS  # five of a day's alerts left open for longer
    ppv: float | None = None  # below
    override: float = 0.96  # above; share not acted upon
    response_ms: int | None = None  # above; median from alert to disposition
    review_ms: int | None = None  # above; mean per alert


class RetrainPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When a finding becomes a request to retrain."""

    enabled: bool = True
    cool_down_ms: int = 7 * DAY_MS  # after a request
    min_labels: int = 1_000  # known, of predictions made since the onset
    min_gain: float = 0.0  # expected, money a day; where a cost is known
    cost: float = 0.0  # of retraining, money ...
    payback_ms: int = 30 * DAY_MS  # ... that must be won back in this time
    severity: Severity = Severity.MAJOR  # at least
    decay_within_ms: int | None = None  # ask before an incident, when decay will be past its limit within so long; None: never


class ModelPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a policy says of one model.

    >>> policy = ModelPolicy()
    >>> policy.watch["error"].enabled, policy.watch["gap"].enabled, policy.budget.pages
    (True, False, 1.0)
    """

    budget: Budget = Budget()
    positive_label: int | str = 1
    threshold: float = 0.5  # where a prediction brings no label: positive if score >= threshold
    ages_ms: tuple[int, ...] | None = None  # ascending; None: learnt from the label delays
    horizon_ms: int | None = None  # None: labels never expire
    on_timeout: str = "unknown"  # or "negative"
    lateness_ms: int = 5_000
    baseline: BaselinePolicy = BaselinePolicy()
    dimensions: tuple[str, ...] | None = None  # None: all that arrive, capped
    intersections: tuple[tuple[str, ...], ...] = ()
    cost: CostMatrix | None = None
    review_cost_per_hour: float | None = None  # of the people who look at predictions
    review_baseline_ms: int | None = None  # of a person's time for one document, before the model
    checks: dict[str, CheckPolicy] = msgspec.field(default_factory=dict)  # by name; "*": every other
    probes: dict[str, ProbePolicy] = msgspec.field(default_factory=dict)  # by kind; "*": every other
    claims: dict[str, float] = msgspec.field(default_factory=dict)  # names of ``CLAIMS``
    decay: dict[str, float] = msgspec.field(default_factory=dict)  # limits, names of ``DECAY``
    watch: dict[str, WatchPolicy] = msgspec.field(
        default_factory=lambda: {family: WatchPolicy(enabled=family in DEFAULT_FAMILIES) for family in FAMILIES}
    )
    metrics: tuple[str, ...] = ()  # River label metrics to report
    fatigue: FatiguePolicy = FatiguePolicy()
    retrain: RetrainPolicy = RetrainPolicy()
