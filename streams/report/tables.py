"""Checks, probes, mistakes by amount, classes, numbers, inputs and other versions beside one model version, as tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.drift import Interval
from schemas.figures import CheckFigures
from schemas.report import FeatureWatch, ModelReport, ProbeBand, ProbeWatch
from streams.report.words import figure, group, interval, short, thousands

MOST_ROWS = 40


@dataclass(frozen=True)
class Table:
    """A heading, what to know of it, and rows of text, each as long as ``headings``; ``more`` rows are left out."""

    title: str
    note: str
    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    more: int = 0


def tables(model: ModelReport) -> list[Table]:
    """Return the tables that a version has something for.

    >>> tables(ModelReport(model_id="m", model_version="1"))
    []
    """
    made = [_comparisons(model), _numbers(model), _classes(model), _checks(model), _probes(model.probes), _amounts(model)]
    made.append(_inputs(model.features))
    return [Table(one.title, one.note, one.headings, one.rows[:MOST_ROWS], max(len(one.rows) - MOST_ROWS, 0)) for one in made if one.rows]


def _comparisons(model: ModelReport) -> Table:
    rows = [
        (
            one.rival,
            thousands(one.n),
            f"{figure(one.error)} against {figure(one.rival_error)}",
            interval(one.difference),
            f"{thousands(one.alone)} against {thousands(one.rival_alone)}",
            interval(one.brier_difference),
            interval(one.mae_difference, "regression"),
            one.state,
        )
        for one in model.comparisons
    ]
    return Table(
        "Beside other versions",
        "Requests that both versions answered and whose label is known; differences below zero speak for this version, with 95 % "
        "intervals that hold however often one looks. Of predicted numbers, wrong is the one that was further from the truth.",
        ("Version", "Requests", "Wrong", "Difference", "Wrong alone", "Difference of Brier scores", "Of mean absolute errors", "State"),
        rows,
    )


def _numbers(model: ModelReport) -> Table:
    rows = []
    for segment in model.segments:
        one = segment.regression
        if one is not None and one.n:
            held = "" if one.coverage is None else f"{interval(one.coverage)}, {figure(one.level)} stated"
            errors = (one.mean_error, one.mae, one.rmse, one.median_absolute_error, one.p90_absolute_error)
            rows.append((group(segment.segment), thousands(one.n), held, *(short(error) for error in errors)))
    return Table(
        "Predicted numbers",
        "Predictions whose true value is known so far; errors in the unit of the numbers; above zero, the mean error says too high.",
        ("Group", "Known", "Intervals that hold the truth", "Mean error", "Mean absolute", "Root mean square", "Median", "90 % quantile"),
        rows,
    )


def _classes(model: ModelReport) -> Table:
    rows = []
    for one in model.classes.classes if model.classes is not None else ():
        taken = [pair for pair in model.classes.pairs if pair.true == one.name != pair.predicted] if model.classes is not None else []
        mostly = ", ".join(f"{pair.predicted} ({thousands(pair.n)})" for pair in taken[:3])
        rows.append((one.name, thousands(one.n), thousands(one.predicted), interval(one.recall), interval(one.precision), mostly))
    return Table(
        "Classes",
        "Labels known so far, with 95 % intervals: how many of a class were recognised, how many of those called so were of it, and what "
        "its others were taken for. Classes beyond the first thirty are together as __other__.",
        ("Class", "Known", "Predicted", "Recognised", "Right where predicted", "Mostly taken for"),
        rows,
    )


def _inputs(features: list[FeatureWatch]) -> Table:
    rows = [
        (
            one.name,
            one.kind or "not known yet",
            thousands(one.n),
            figure(one.missing_share),
            thousands(one.missing),
            thousands(one.absent),
            one.state,
        )
        for one in features
    ]
    return Table(
        "Inputs",
        "Features that the policy watches, of predictions that brought any.",
        ("Feature", "Kind", "Predictions", "Missing", "Null", "Not sent", "State"),
        rows,
    )


def _checks(model: ModelReport) -> Table:
    rows = []
    for check in model.checks:
        state = "no failure tolerated" if check.zero_tolerance else check.state
        state = "alarm" if check.state == "alarm" else state
        rows.append((check.name, *_passed(check.figures), interval(check.baseline), state))
        for segment in model.segments:
            part = segment.checks.get(check.name)
            if segment.segment and part is not None:
                rows.append((" · ".join(f"{k} = {v}" for k, v in segment.segment.items()), *_passed(part), "", ""))
    return Table(
        "Checks",
        "Verification by name, over all documents checked so far, and by group below it; with 95 % intervals.",
        ("Check", "Passed", "Of", "Documents with a failure", "Baseline", "State"),
        rows,
    )


def _passed(figures: CheckFigures) -> tuple[str, str, str]:
    failed = f"{thousands(figures.documents_failed)} of {thousands(figures.documents)}"
    return interval(_interval(figures.rate, figures.lo, figures.hi)), thousands(figures.total), failed


def _probes(probes: list[ProbeWatch]) -> Table:
    rows = []
    for probe in probes:
        rows.append((probe.name, *_detected(probe.figures), interval(probe.baseline), probe.state))
        rows += [(_band(band.amount_from, band.amount_to), *_detected(band), "", "") for band in probe.bands]
    return Table(
        "Probes",
        "Synthetic attacks and canaries: they are in no other figure. Which share was detected, and by amount below it.",
        ("Probe", "Detected", "Of", "Amount missed", "Baseline", "State"),
        rows,
    )


def _detected(band: ProbeBand) -> tuple[str, str, str]:
    return interval(_interval(band.rate, band.lo, band.hi)), thousands(band.n), short(band.missed_amount)


def _amounts(model: ModelReport) -> Table:
    rows = [
        (
            _band(band.amount_from, band.amount_to),
            interval(_interval(band.fnr, band.lo, band.hi)),
            f"{thousands(band.fn)} of {thousands(band.positives)}",
            short(band.missed_amount),
            short(band.caught_amount),
            thousands(band.fp),
        )
        for band in model.amounts
    ]
    note = "Labels known so far, by the amount at stake; amounts in their own unit."
    return Table("Misses by amount", note, ("Amount", "Missed", "Positives", "Amount missed", "Amount caught", "False positives"), rows)


def _band(low: float | None, high: float | None) -> str:
    return figure(low) if low is None else f"{low:,.0f} and more" if high is None else f"{low:,.0f} to {high:,.0f}"


def _interval(value: float | None, lo: float | None, hi: float | None) -> Interval:
    return Interval(value=value, lo=lo, hi=hi)
