"""The report: what a run, or a deployment so far, amounts to."""

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.drift import Count64, Finite, Interval, Time
from schemas.fatigue import AlarmFigures, FatigueFigures
from schemas.fields import Id, Name
from schemas.figures import AgedFigures, CheckFigures, Figure, Seconds, SegmentFigures
from schemas.retrain import TrainingData

State = dict[Name, bool | int | float | str | None]


class JoinCounts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Every input record, counted once: as a prediction, joined, corrected, duplicate, conflict, orphan or dead letter.

    ``outcomes`` is the sum of its fates; pending, expired and late say what became of predictions.
    """

    predictions: Count64 = 0  # slots filled, repeats left out
    outcomes: Count64 = 0
    joined: Count64 = 0  # outcomes that met a prediction
    pending: Count64 = 0  # predictions that wait for a label
    orphan: Count64 = 0  # outcomes that have met no prediction
    duplicate: Count64 = 0  # byte-identical repeats
    conflict: Count64 = 0  # different predictions for a slot that was taken
    corrected: Count64 = 0  # outcomes for a part that was known
    expired: Count64 = 0  # predictions past the horizon without a label
    late: Count64 = 0  # labels known after the horizon
    dead_letter: Count64 = 0


class Rung(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An age at which predictions are judged."""

    age_s: Seconds
    mature: bool = False
    label_coverage: Annotated[float, Meta(ge=0, le=1)] | None = None  # share labelled by that age


class Claim(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What was claimed of a model and what production says, by the labels at the oldest rung; null where it says nothing yet.

    ``refuted`` when the evidence against the claim has reached what the budget of false alarms asks for, and stands: that the version is
    out of service alone does not end it.
    """

    name: Name
    claimed: Annotated[float, Meta(ge=0, le=1)]
    value: Figure = None
    lo: Figure = None  # 95 % interval; none for a calibration error
    hi: Figure = None
    n: Count64 = 0  # labelled events that the figure rests on; of F1, each false one is half
    refuted: bool = False
    why: str = ""  # it is not judged; empty: it is


class RetrainState(msgspec.Struct, frozen=True, kw_only=True):
    """A request to retrain and what became of it: requested, acknowledged, completed or cancelled."""

    request_id: Id
    state: Name
    at: Time  # when it was made
    by: str = ""  # who answered; empty: nobody yet, or it was withdrawn
    answered: Time | None = None
    incidents: list[Id] = msgspec.field(default_factory=list)
    data: TrainingData


class CheckWatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A verification by name: its figures, and what the evidence on it is at."""

    name: Name
    figures: CheckFigures
    state: Name  # learning (no baseline yet), watching, alarm, off
    baseline: Interval | None = None  # of the oldest age that has one
    zero_tolerance: bool = False


class ProbeBand(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Probes of one kind: all of them, or those with an amount above 0 in one band."""

    amount_from: Figure = None  # null: whatever the amount
    amount_to: Figure = None  # null: no end
    n: Count64 = 0  # those that turned out negative left out
    detected: Count64 = 0
    rate: Figure = None  # detected / n
    lo: Figure = None  # 95 % interval
    hi: Figure = None
    amount: Figure = None  # sum
    missed_amount: Figure = None  # of those not detected


class ProbeWatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A kind of probe: how much of it is detected, and what the evidence on it is at."""

    name: Name
    sent: Count64
    figures: ProbeBand
    bands: list[ProbeBand] = msgspec.field(default_factory=list)  # by amount, powers of ten
    benign: Count64 = 0  # turned out negative
    benign_flagged: Count64 = 0  # of them flagged
    state: Name  # learning (no baseline yet), watching, alarm, off
    baseline: Interval | None = None  # of the oldest age that has one


class FeatureWatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A feature of a version, and what the evidence on it is at."""

    name: Name
    kind: str = ""  # numbers or categories, what most of its first values were; empty: too few have come
    n: Count64 = 0  # predictions that brought any feature
    missing: Count64 = 0  # of them, with null for this one
    absent: Count64 = 0  # of them, without this one
    missing_share: Figure = None  # null or absent
    state: Name  # learning (no baseline yet), watching, alarm, off


class MonitorState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the evidence on one quantity of all predictions is at, at one age: what it takes for normal, and what it would see."""

    metric: Name
    age_s: Finite
    state: Name  # learning (no baseline yet: nobody is paged), watching, alarm
    baseline: Interval | None = None  # what is normal; as far as it is known, while it is learning
    armed: Time | None = None  # while it is learning: about when its baseline will stand, by event time, if all goes on as of late
    detects: Figure = None  # of rates: the level whose evidence in one day's events of late is worth a page
    message: str = ""


class ErrorInterval(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The error rate of the predictions of an interval of time, by all labels known so far, beside the one that their scores say.

    ``expected`` needs no label, and is true only while the scores are calibrated: where the two part, the concept has drifted.
    """

    start: Time
    end: Time
    n: Count64 = 0  # predictions that were not abstained
    n_labelled: Count64 = 0
    error: Figure = None  # of the labelled
    lo: Figure = None  # 95 % interval
    hi: Figure = None
    expected: Figure = None  # of all ``n``; null where one brings no score


class AmountBand(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Mistakes of a version among what had an amount above 0 in one band, over all labels known so far."""

    amount_from: Finite
    amount_to: Figure = None  # null: no end
    positives: Count64 = 0  # labelled
    fn: Count64 = 0  # of them missed
    fnr: Figure = None  # fn / positives
    lo: Figure = None  # 95 % interval
    hi: Figure = None
    missed_amount: Figure = None  # sum of the amounts of the missed
    caught_amount: Figure = None  # of the others
    fp: Count64 = 0
    fp_amount: Figure = None


class ClassFigures(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One class of a model that answers with one of many, over all labels known so far."""

    name: Name
    n: Count64 = 0  # labels that are this class
    predicted: Count64 = 0  # labelled predictions that said so
    recall: Interval | None = None  # share of ``n`` that was recognised, with Wilson's 95 % interval; null of ``__other__``
    precision: Interval | None = None  # share of ``predicted`` that was right, likewise


class ClassPair(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How often one class was taken for another, or for itself."""

    true: Name
    predicted: Name
    n: Count64


class Confusion(msgspec.Struct, frozen=True, kw_only=True):
    """Which class was taken for which: the first 30 that came, the rest together as ``__other__``; real traffic that did not abstain."""

    n: Count64
    classes: list[ClassFigures] = msgspec.field(default_factory=list)  # the most frequent first
    pairs: list[ClassPair] = msgspec.field(default_factory=list)  # that occur, the most frequent first


class ScoreCoverage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How many predictions with a score in (lo, hi], the first bin with 0 too, have a label."""

    lo: Finite
    hi: Finite
    n: Count64  # abstained ones left out
    n_labelled: Count64
    coverage: Figure = None  # n_labelled / n


class ActionCoverage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How many predictions that led to one action have a label."""

    predicted: bool  # positive
    alerted: bool
    n: Count64  # abstained ones left out
    n_labelled: Count64
    coverage: Figure = None  # n_labelled / n


class AgeShare(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which share of the labels is known by an age; predictions that have not reached it are counted as censored (Kaplan-Meier)."""

    age_s: Seconds
    share: Annotated[float, Meta(ge=0, le=1)]
    at_risk: Count64  # predictions that have reached the age, and had no label by the age before


class StratumMaturity(msgspec.Struct, frozen=True, kw_only=True):
    """How long labels take for predictions with a score in (lo, hi]; strata hold about a third of the predictions each."""

    name: Name  # low, mid, high; all, if nearly all scores are alike
    lo: Finite
    hi: Finite
    n: Count64
    ages: list[AgeShare] = msgspec.field(default_factory=list)


class LabelReport(msgspec.Struct, frozen=True, kw_only=True):
    """Where labels are missing, and how long they take. Figures of labelled predictions speak for those alone."""

    by_score: list[ScoreCoverage] = msgspec.field(default_factory=list)  # in the order of the scores; empty ones left out
    by_action: list[ActionCoverage] = msgspec.field(default_factory=list)
    maturity: list[StratumMaturity] = msgspec.field(default_factory=list)
    slowest: Name | None = None  # the stratum with the least of its labels at the mature age, or at the oldest reached


class DecayWeek(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A figure of the predictions that a version made in one week of its age, by the labels known at the oldest rung."""

    week: Count64  # 0: the first
    value: Finite
    n: Count64  # labelled events behind it; of F1, each false one is half


class Decay(msgspec.Struct, frozen=True, kw_only=True):
    """A figure by the age of the model, and the straight line through it: weighted least squares on the weeks."""

    metric: Name  # error, f1, brier, or cost of a labelled prediction
    since: Time  # when the first week began
    weeks: list[DecayWeek] = msgspec.field(default_factory=list)
    slope: Interval | None = None  # change in 30 days, 95 %; n: weeks. Null with fewer than three
    fitted: Figure = None  # by the line, in the last week
    limit: Figure = None  # of the policy
    crosses: Time | None = None  # when the line meets the limit, past or future; null if there is none or slope may lead elsewhere
    crosses_from: Time | None = None  # the same by the end of slope's interval that meets it first, the figure's level taken as it is
    crosses_to: Time | None = None  # by the other end; null beside ``crosses``: not within the calendar


class Comparison(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A version beside another of its model, over the requests that both answered and whose label is known."""

    rival: Name
    n: Count64
    error: Figure = None  # share of its answers that were wrong; of its numbers, that were further from the truth than the rival's
    rival_error: Figure = None
    difference: Interval | None = None  # of the two, negative where the version is better; 95 %, valid however often it is looked at
    alone: Count64 = 0  # it was wrong and the rival right
    rival_alone: Count64 = 0
    numbers: Count64 = 0  # of ``n``: both predicted a number
    mae: Figure = None  # mean absolute error over these
    rival_mae: Figure = None
    mae_difference: Interval | None = None  # as ``difference``, in the unit of the numbers
    scored: Count64 = 0  # both have a score of one kind
    brier: Figure = None  # over these
    rival_brier: Figure = None
    brier_difference: Interval | None = None
    state: Name = "off"  # watching, alarm; off: the rival is not the champion, or nothing is watched


class ModelReport(msgspec.Struct, frozen=True, kw_only=True):
    """One version of one model."""

    model_id: Id
    model_version: Id
    segments: list[SegmentFigures] = msgspec.field(default_factory=list)  # since the version's first prediction; the first is all of it
    mature: list[AgedFigures] = msgspec.field(default_factory=list)  # at the oldest rung
    ladder: list[Rung] = msgspec.field(default_factory=list)
    state: State = msgspec.field(default_factory=dict)  # of the watch: phase, watermark, monitors
    monitors: list[MonitorState] = msgspec.field(default_factory=list)  # of all predictions; groups have such of their own
    errors: list[ErrorInterval] = msgspec.field(default_factory=list)  # over time, as in the charts of the web page
    claims: list[Claim] = msgspec.field(default_factory=list)  # that the policy holds against it, in the order of their names
    river: dict[Name, Figure] = msgspec.field(default_factory=dict)  # River's label metrics that the policy names
    retrain: list[RetrainState] = msgspec.field(default_factory=list)  # the latest requests to retrain it, oldest first
    checks: list[CheckWatch] = msgspec.field(default_factory=list)  # verification by name, all predictions
    fatigue: FatigueFigures | None = None  # of the model, all versions; null: no unit, alert key or disposition ever came
    probes: list[ProbeWatch] = msgspec.field(default_factory=list)  # synthetic traffic by kind, apart from the real
    amounts: list[AmountBand] = msgspec.field(default_factory=list)  # mistakes by the amount at stake
    classes: Confusion | None = None  # null: predictions of yes or no, or of numbers
    decay: list[Decay] = msgspec.field(default_factory=list)  # figures by the age of the model
    comparisons: list[Comparison] = msgspec.field(default_factory=list)  # with versions that answered the same requests
    features: list[FeatureWatch] = msgspec.field(default_factory=list)  # inputs, where the policy watches the family ``covariate``
    labels: LabelReport | None = None  # where they are missing and how long they take; null: no prediction but abstained ones


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Join counts, figures per model version and segment, events by type.

    >>> from schemas.codec import encode
    >>> encode(Report(events={"gnomon.drift.opened": 1})).partition(b',"alarms"')[0][-46:]
    b'"models":[],"events":{"gnomon.drift.opened":1}'
    """

    join: JoinCounts = JoinCounts()
    models: list[ModelReport] = msgspec.field(default_factory=list)
    events: dict[Name, Count64] = msgspec.field(default_factory=dict)  # type -> how many
    alarms: AlarmFigures = AlarmFigures()  # our own
