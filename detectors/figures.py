"""Sums to figures: what a report says of a segment.

Each figure is the pure function of ``detectors.statistics`` over the integer sums of a segment, for all segments at once, under the name of
its field in ``schemas.figures.SegmentFigures``. A figure that the sums leave undefined (no positives, no scores and so on) is None.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from detectors.cells import BIN, CONFUSION, KNOWN, MADE, many_classes
from detectors.fixed import Floats, Ints
from detectors.statistics.auc import auc
from detectors.statistics.calibration_error import calibration_error, coarsen
from detectors.statistics.calibration_line import calibration_line
from detectors.statistics.confusion import rate
from detectors.statistics.cost import expected_costs, matrix_cost, net_benefit, regret
from detectors.statistics.debiased_rms import BINS, debiased_rms
from detectors.statistics.equal_mass import binned_ece, mass_bins
from detectors.statistics.expected_confusion import expected_confusion
from detectors.statistics.ratio import ratio
from detectors.statistics.score_counts import Distribution
from schemas.cost import CostMatrix
from schemas.drift import Interval
from schemas.figures import Bin

HOUR_MS = 3_600_000


class Review(NamedTuple):
    """A policy's figures of people's time; None: it says nothing."""

    cost_per_hour: float | None = None
    baseline_ms: int | None = None


NO_REVIEW = Review()

Figures = dict[str, Any]  # float | int | None, but for ``ece_em`` and ``reliability``
_Columns = dict[str, Floats | Ints]
_RATES = ("accuracy", "fpr", "fnr", "ppv", "npv", "f1", "nne", "base_rate")
# Figures that tell positives from negatives: of answers that are no yes or no, they say nothing, or what others say
OF_BINARY = ("fpr", "fnr", "ppv", "npv", "f1", "nne", "base_rate", "expected_f1", "net_benefit")
_RELIABILITY = 10  # bars of the reliability diagram
_CONFIDENT = 6  # cells of 60 at each end: scores beyond 0.9, and up to 0.1


def segment_figures(
    made: Ints,
    known: Ints,
    *,
    known_bins: Ints | None = None,
    distribution: Distribution | None = None,
    cost: CostMatrix | None = None,
    threshold: float = 0.5,
) -> Figures:
    """Return the figures of one segment; arguments as of ``many_figures``, without the first axis.

    >>> from schemas.figures import SegmentFigures
    >>> figures = SegmentFigures(**segment_figures(MADE.zeros(1)[0], KNOWN.zeros(1)[0]))
    >>> figures.n_predictions, figures.fpr
    (0, None)
    """
    bins = None if known_bins is None else known_bins[np.newaxis]
    return many_figures(made[np.newaxis], known[np.newaxis], known_bins=bins, distributions=[distribution], cost=cost, threshold=threshold)[
        0
    ]


def many_figures(
    made: Ints,
    known: Ints,
    *,
    known_bins: Ints | None = None,
    areas: Floats | None = None,
    distributions: Sequence[Distribution | None] | None = None,
    cost: CostMatrix | None = None,
    threshold: float = 0.5,
    review: Review = NO_REVIEW,
    intervals: bool = True,
) -> list[Figures]:
    """Return the figures of each of s segments, by the names of ``schemas.figures.SegmentFigures``.

    Parameters
    ----------
    made, known
        Sums in the layouts ``cells.MADE`` and ``cells.KNOWN``, shape (s, width).
    known_bins
        Labelled predictions by cell of the score, 60 cells in the layout ``cells.BIN``, shape (s, 60, width); None: no figures of
        calibration.
    areas
        The AUC of each segment, shape (s,); None: it is taken from the distributions.
    distributions
        Labels per score, one per segment; None: no AUC, and the equal-mass bins are taken from the grid.
    cost
        The cost matrix; None: only realised costs are counted.
    threshold
        The probability at which the policy acts: its odds are the exchange rate of the net benefit.
    review
        What people's time costs, and how long they took before there was the model.
    intervals
        Whether to estimate ``ece_em`` with its interval: two thirds of the work.

    """
    columns = _counts(made, known) | believed(made) | _people(made, known, review) | _costs(made, known, cost, threshold)
    columns["net_value"] = _net_value(columns)
    if areas is None:
        areas = np.array([np.nan if one is None else float(auc(one.n0, one.n1)) for one in distributions or [None] * len(made)])
    columns["auc"] = areas
    many = many_classes(made)
    columns |= {name: np.where(many, np.nan, columns[name]) for name in OF_BINARY}
    if known_bins is None:
        return _rows(columns)
    figures = _rows(columns | _calibration(known_bins) | _confidence(known_bins, many))
    mass = _equal_mass(known_bins, distributions) if intervals else [None] * len(figures)
    for one, interval, bars in zip(figures, mass, _reliability(known_bins), strict=True):
        one["ece_em"] = interval
        one["reliability"] = bars
    return figures


def _counts(made: Ints, known: Ints) -> _Columns:
    n, abstained = MADE.count(made, "n"), MADE.count(made, "abstained")
    confusion = {cell: KNOWN.count(known, cell) for cell in CONFUSION}
    labelled, scored = _labelled(known), KNOWN.count(known, "scored")
    rates: _Columns = {name: rate(name, **confusion) for name in _RATES}
    mean_score = ratio(KNOWN.total(known, "score"), scored)
    # A model sends scores with all predictions or none, as a rule; the difference of means over different predictions is no bias.
    bias = np.where(scored == labelled, mean_score, np.nan) - rates["base_rate"]
    counts = {"n_predictions": n, "n_labelled": labelled, "n_abstained": abstained, "n_alerted": MADE.count(made, "alerted")}
    of_scores = {
        "mean_score": mean_score,
        "bias": bias,
        "brier": ratio(KNOWN.total(known, "brier"), scored),
        "log_loss": ratio(KNOWN.total(known, "loss"), scored),
    }
    rest = {
        "alert_rate": ratio(MADE.count(made, "alerted"), n),
        "abstention_rate": ratio(abstained, n),
        "selective_risk": rate("error", **confusion),
        "abstained_risk": ratio(KNOWN.count(known, "abstained_wrong"), KNOWN.count(known, "abstained")),
        "missing_feature_rate": ratio(MADE.count(made, "missing"), MADE.count(made, "features")),
        "label_coverage": ratio(labelled, n - abstained),
        "mean_label_delay_s": ratio(KNOWN.count(known, "delay_s"), labelled),
    }
    return counts | confusion | rates | of_scores | rest


def _people(made: Ints, known: Ints, review: Review) -> _Columns:
    disposed = KNOWN.count(known, "disposed")
    mean_review_s = ratio(KNOWN.count(known, "review_ms"), 1000 * KNOWN.count(known, "reviewed"))
    hour = np.nan if review.cost_per_hour is None else review.cost_per_hour
    hours = np.where(KNOWN.count(known, "reviewed") > 0, KNOWN.count(known, "review_ms") / HOUR_MS, np.nan)
    return {
        "override_rate": ratio(disposed - KNOWN.count(known, "acted"), disposed),
        "mean_review_s": mean_review_s,
        "review_saved_s": (np.nan if review.baseline_ms is None else review.baseline_ms / 1000) - mean_review_s,
        "review_cost": hour * hours,
        "value_total": np.where(KNOWN.count(known, "valued") > 0, KNOWN.total(known, "value"), np.nan),
        "compute_cost": np.where(MADE.count(made, "n") > 0, MADE.total(made, "compute_cost"), np.nan),
    }


def _net_value(columns: _Columns) -> Floats:
    """Return the value of a prediction less all that it cost, as far as that is known; NaN where nothing is."""
    parts = {"value_total": 1.0, "cost_total": -1.0, "compute_cost": -1.0, "review_cost": -1.0}
    money = {name: np.asarray(columns[name], dtype=np.float64) for name in parts}
    known = np.isfinite(money["value_total"]) | np.isfinite(money["cost_total"])
    total = sum(sign * np.nan_to_num(money[name]) for name, sign in parts.items())
    return ratio(np.where(known, total, np.nan), columns["n_predictions"])


def _labelled(known: Ints) -> Ints:
    return np.asarray(sum(KNOWN.count(known, cell) for cell in CONFUSION))


def _binned(bins: Ints, n: int) -> tuple[Ints, Ints, Floats]:
    rows = coarsen(bins, n)
    return BIN.count(rows, "n"), BIN.count(rows, "positive"), BIN.total(rows, "score")


def _calibration(bins: Ints) -> _Columns:
    ten, fifteen, twenty = (_binned(bins, n) for n in (10, 15, 20))
    line = calibration_line(*_binned(bins, bins.shape[-2]))
    return {
        "ece_10": calibration_error("ece", *ten),
        "ece_15": calibration_error("ece", *fifteen),
        "ece_20": calibration_error("ece", *twenty),
        "rms_ce_10": calibration_error("rms", *ten),
        "rms_ce_15": calibration_error("rms", *fifteen),
        "mce_10": calibration_error("max", *ten),
        "mce_15": calibration_error("max", *fifteen),
        "debiased_rms_ce": debiased_rms(*_binned(bins, BINS)),
        "calibration_slope": line.slope,
        "calibration_intercept": line.intercept,
    }


def _confidence(bins: Ints, many: Any) -> _Columns:
    """Share of labelled with a score beyond 0.9 and wrong; where the score is a probability, also up to 0.1 and positive."""
    n, positive = BIN.count(bins, "n"), BIN.count(bins, "positive")
    above = (n - positive)[..., -_CONFIDENT:].sum(axis=-1)
    below = np.where(many, 0, positive[..., :_CONFIDENT].sum(axis=-1))
    return {"confidently_wrong_rate": ratio(above + below, n.sum(axis=-1))}


def _equal_mass(bins: Ints, distributions: Sequence[Distribution | None] | None) -> list[Interval | None]:
    """Return the equal-mass ECE from the distinct scores where they are known, else from the cells of the grid."""
    joined = mass_bins(*_binned(bins, bins.shape[-2]))
    total = BIN.count(bins, "n").sum(axis=-1)
    for row, one in enumerate(distributions or []):
        if one is not None and one.scores is not None and (one.n0 + one.n1).sum() == total[row]:
            exact = mass_bins(one.n0 + one.n1, one.n1, one.scores * (one.n0 + one.n1))
            for column, own in zip(joined, exact, strict=True):
                column[row] = own
    estimates = zip(total.tolist(), *(figure.tolist() for figure in binned_ece(*joined)), strict=True)
    return [Interval(value=ece, lo=lo, hi=hi, n=n) if n else None for n, ece, lo, hi in estimates]


def _reliability(bins: Ints) -> list[list[Bin]]:
    n, positive, score = _binned(bins, _RELIABILITY)
    columns = [[filled(row) for row in column] for column in (n, ratio(score, n), ratio(positive, n))]
    edges = [(i / _RELIABILITY, (i + 1) / _RELIABILITY) for i in range(_RELIABILITY)]
    return [
        [Bin(lo=lo, hi=hi, n=n, mean_score=p, positive_rate=y) for (lo, hi), n, p, y in zip(edges, *segment, strict=True)]
        for segment in zip(*columns, strict=True)
    ]


def _costs(made: Ints, known: Ints, cost: CostMatrix | None, threshold: float) -> _Columns:
    realised_n = KNOWN.count(known, "realised")
    realised = np.where(realised_n > 0, KNOWN.total(known, "realised_cost"), np.nan)
    benefit = net_benefit(KNOWN.count(known, "tp"), KNOWN.count(known, "fp"), _labelled(known), threshold)
    columns: _Columns = {"realised_cost": realised, "net_benefit": benefit}
    if cost is None:
        return columns | {"cost_total": realised, "cost_per_event": ratio(realised, realised_n)}
    counts = {cell: KNOWN.count(known, f"matrix_{cell}").astype(np.float64) for cell in CONFUSION}
    amounts = {cell: KNOWN.total(known, f"matrix_amount_{cell}") for cell in CONFUSION}
    by_matrix = np.asarray(sum(counts.values()))
    n = by_matrix + realised_n
    total = np.where(n > 0, matrix_cost(cost, counts, amounts) + np.nan_to_num(realised), np.nan)
    decided, all_scored = _decided(made)
    believed, excess = (np.where(all_scored, money, np.nan) for money in expected_costs(cost, *_expected_cells(made)))
    return columns | {
        "cost_total": total,
        "cost_per_event": ratio(total, n),
        "expected_cost": ratio(believed, decided),
        "expected_regret": ratio(excess, decided),
        "regret": ratio(regret(cost, counts, amounts), by_matrix),
    }


def _decided(made: Ints) -> tuple[Ints, Any]:
    """Return how many predictions were not abstained, and whether all of them bring a score."""
    decided = MADE.count(made, "n") - MADE.count(made, "abstained")
    return decided, MADE.count(made, "scored") == decided


def believed(made: Ints) -> _Columns:
    """Return what the scores lead one to expect of the decisions; undefined where some bring none."""
    counts, _ = _expected_cells(made)
    decided, all_scored = _decided(made)
    cells = {cell: np.where(all_scored & (decided > 0), n, np.nan) for cell, n in counts.items()}
    rates = {f"expected_{name}": rate(name, **cells) for name in ("accuracy", "f1")}
    return {f"expected_{cell}": cells[cell] for cell in CONFUSION} | rates


def _expected_cells(made: Ints) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Return expected counts and amounts per cell of the confusion matrix, by the scores."""
    score, hit = MADE.total(made, "score"), MADE.total(made, "score_positive")
    counts = expected_confusion(MADE.count(made, "positive"), MADE.count(made, "negative"), hit, score - hit)
    tp, fn = MADE.total(made, "stake_positive"), MADE.total(made, "stake_negative")
    amounts = {"tp": tp, "fp": MADE.total(made, "amount_positive") - tp, "fn": fn, "tn": MADE.total(made, "amount_negative") - fn}
    return counts, amounts


def filled(column: Floats | Ints) -> list[Any]:
    """Return a column with None for NaN."""
    return [None if x != x else x for x in column.tolist()]  # noqa: PLR0124  # nothing else differs from itself


def _rows(columns: _Columns) -> list[Figures]:
    lists = [filled(column) for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]
