"""The figures of one segment of one model version. Undefined is null: a rate of nothing, a figure whose fields never came."""

from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.drift import Count64, Finite, Interval, Window
from schemas.fields import Id, Name, Segment

Figure = Finite | None
Seconds = Annotated[float, Meta(ge=0, le=1e11)]


class Bin(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One bar of a reliability diagram: labelled predictions with a score in (lo, hi], the first bin with 0 too."""

    lo: Finite
    hi: Finite
    n: Count64
    mean_score: Figure = None
    positive_rate: Figure = None


class CheckFigures(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One verification by name: how many checks were made and passed, in how many documents."""

    passed: Count64
    total: Count64
    rate: Figure = None  # passed / total
    lo: Figure = None  # 95 % interval; the checks of one document are not independent
    hi: Figure = None
    documents: Count64 = 0
    documents_failed: Count64 = 0  # with a failure


class RegressionFigures(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How far the numbers of a regression model are off, over predictions whose true value is known; in the unit of the numbers."""

    n: Count64
    coverage: Interval | None = None  # share of intervals that hold the true value, with a 90 % interval
    level: Figure = None  # mean of the levels that the intervals state
    mae: Figure = None  # mean absolute error
    rmse: Figure = None  # root mean square error
    mean_error: Figure = None  # bias: mean of predicted - true value; positive: too high
    median_absolute_error: Figure = None  # quantiles by cells: within 3.6 % of an error that was seen
    p90_absolute_error: Figure = None


class SegmentFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a segment: all predictions, a subgroup, or an intersection of subgroups.

    Rates are over labelled predictions that were not abstained, unless said otherwise. For labels other than 0 and 1 the positive class
    is "the predicted label is right" and the score is the confidence in it; for numbers it is "the interval holds the true value", and the
    score is the interval's level. What tells positives from negatives (fpr, fnr, ppv, npv, f1, nne, base_rate, expected_f1, net_benefit) is
    null where most predictions are of those kinds.
    """

    segment: Segment = msgspec.field(default_factory=dict)  # dimension -> value; empty: all predictions

    # Counts
    n_predictions: Count64 = 0  # abstained ones included
    n_labelled: Count64 = 0
    n_abstained: Count64 = 0
    n_alerted: Count64 = 0

    # Confusion of predicted against true label
    tp: Count64 = 0
    fp: Count64 = 0
    tn: Count64 = 0
    fn: Count64 = 0
    accuracy: Figure = None  # (tp + tn) / n
    fpr: Figure = None  # fp / (fp + tn), false-positive rate
    fnr: Figure = None  # fn / (fn + tp), false-negative rate
    ppv: Figure = None  # tp / (tp + fp), positive predictive value, precision
    npv: Figure = None  # tn / (tn + fn), negative predictive value
    f1: Figure = None  # 2 tp / (2 tp + fp + fn)
    nne: Figure = None  # 1 / ppv, number needed to evaluate
    base_rate: Figure = None  # share of labelled that are positive
    alert_rate: Figure = None  # alerted / predictions

    # The same before any label, of all predictions, if the scores are believed: true only while they are calibrated, so drift of the
    # concept does not show in it. Null where a prediction brings no score
    expected_tp: Figure = None  # sum of the scores of what was predicted positive
    expected_fp: Figure = None
    expected_tn: Figure = None
    expected_fn: Figure = None  # sum of the scores of what was predicted negative
    expected_accuracy: Figure = None  # if the scores are calibrated; the realised one less it says how far they are not
    expected_f1: Figure = None  # of the expected counts

    # Scores
    mean_score: Figure = None  # of labelled predictions
    bias: Figure = None  # mean score - base rate; positive: over-confident
    brier: Figure = None  # mean (score - label)^2
    log_loss: Figure = None  # natural logarithm, scores clipped at 1e-15
    auc: Figure = None  # area under the ROC curve, ties by mid-ranks

    # Calibration: equal-width bins (lo, hi] unless said otherwise, means within bins, weights by count
    ece_10: Figure = None  # expected calibration error, 10 bins
    ece_15: Figure = None
    ece_20: Figure = None
    rms_ce_10: Figure = None  # root mean square calibration error, 10 bins
    rms_ce_15: Figure = None
    mce_10: Figure = None  # maximum calibration error, 10 bins
    mce_15: Figure = None
    debiased_rms_ce: Figure = None  # less the part that chance alone gives (Kumar et al. 2019)
    ece_em: Interval | None = None  # equal-mass bins, with an interval
    calibration_slope: Figure = None  # of the logit; 1 is calibrated, below 1 over-confident
    calibration_intercept: Figure = None
    confidently_wrong_rate: Figure = None  # share of labelled that were wrong with a confidence of at least 0.9
    reliability: list[Bin] = msgspec.field(default_factory=list)

    # Cost, in the unit of ``amount``; costs less benefits
    cost_total: Figure = None  # by the matrix, or realised where that is known
    cost_per_event: Figure = None  # per labelled prediction
    expected_cost: Figure = None  # per prediction, if the scores are believed
    realised_cost: Figure = None  # sum of the costs reported
    regret: Figure = None  # per labelled prediction: cost less that of the best decision in hindsight
    value_total: Figure = None  # sum of the benefits reported; null: none was
    net_benefit: Figure = None  # tp / n - fp / n * t / (1 - t) at the decision threshold t (Vickers & Elkin 2006)
    compute_cost: Figure = None  # sum over predictions
    review_cost: Figure = None  # of people's time so far, at the policy's cost of an hour
    net_value: Figure = None  # per prediction: value less costs, computing and review, as far as they are known
    expected_regret: Figure = None  # per prediction, if the scores are believed: cost beyond that of the other action for all of a kind

    # Abstention
    abstention_rate: Figure = None  # abstained / predictions
    selective_risk: Figure = None  # error rate given that the model did not abstain
    abstained_risk: Figure = None  # share wrong among labelled abstentions that bring a label

    # Inputs and labels
    missing_feature_rate: Figure = None  # null features / features sent
    label_coverage: Figure = None  # labelled / predictions not abstained
    mean_label_delay_s: Figure = None  # from prediction to label, of labels that came

    # People
    override_rate: Figure = None  # share of dispositions that were not acted upon
    mean_review_s: Figure = None  # of a person's time, per document reviewed
    review_saved_s: Figure = None  # the policy's baseline less that; negative: it takes longer than without the model
    checks: dict[Name, CheckFigures] = msgspec.field(default_factory=dict)  # verification by name

    # Error, fpr and fnr of a group by name, drawn toward the groups of its dimension as far as it has little data (empirical Bayes), with
    # the 90 % posterior interval: for comparing groups of unequal size. Empty for all predictions, and where there is one group
    shrunk: dict[Name, Interval] = msgspec.field(default_factory=dict)

    # Numbers, where a regression model predicts them; the rest of the figures is of its intervals then
    regression: RegressionFigures | None = None


class AgedFigures(SegmentFigures, frozen=True, kw_only=True):
    """Figures from what was known when the predictions had reached an age: comparable between old and new ones."""

    age_s: Seconds | None = None  # None: all labels known so far, whatever their age
    mature: bool = False  # at that age, later labels change the figures no more


class StatisticsData(AgedFigures, frozen=True, kw_only=True):
    """Data of ``gnomon.statistics``: one segment of one model version, provisional between rungs."""

    model_id: Id
    model_version: Id
    window: Window | None = None  # None: since the version's first prediction
