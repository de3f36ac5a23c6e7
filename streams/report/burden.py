"""What a model's alerts ask of people, as a table of units."""

from dataclasses import dataclass

from schemas.fatigue import AlertFigures, FatigueFigures
from schemas.report import Report
from streams.report.words import age, figure, short, thousands

MOST_UNITS = 20
HEADINGS = ("Unit", "Alerts", "An hour and person", "False a year", "PPV", "For one that is right", "Not acted upon", "Response, median",
            "Response, 90 %", "Review hours a week", "Floods", "Chatter", "Left open")  # fmt: skip


@dataclass(frozen=True)
class Burden:
    """The table of one model, all its versions together: cells in the order of ``HEADINGS``; all units first."""

    model_id: str
    rows: list[tuple[str, ...]]
    more: int  # units that are not shown


def burdens(report: Report) -> list[Burden]:
    """Return a table for each model whose alerts have units, alert keys or dispositions.

    >>> burdens(Report())
    []
    """
    told = {model.model_id: model.fatigue for model in report.models if model.fatigue is not None}
    return [_table(model_id, fatigue) for model_id, fatigue in told.items()]


def _table(model_id: str, fatigue: FatigueFigures) -> Burden:
    largest = sorted(fatigue.units, key=lambda one: -one.alerts)[:MOST_UNITS]
    rows = [_row("all", fatigue.overall), *(_row(one.unit or "(names none)", one) for one in largest)]
    return Burden(model_id, rows, len(fatigue.units) - len(largest))


def _row(name: str, one: AlertFigures) -> tuple[str, ...]:
    none = "\u2013"
    return (
        name,
        thousands(one.alerts),
        none if one.alerts_per_hour is None else short(one.alerts_per_hour),
        none if one.false_alerts_per_year is None else thousands(round(one.false_alerts_per_year)),
        figure(one.ppv.value),
        none if one.nne is None else short(one.nne),
        figure(one.override_rate),
        none if one.response_median_s is None else age(one.response_median_s),
        none if one.response_p90_s is None else age(one.response_p90_s),
        none if one.review_hours_per_week is None else short(one.review_hours_per_week),
        thousands(one.floods),
        thousands(one.chatter),
        thousands(one.stale),
    )
