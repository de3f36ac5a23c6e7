"""Checks, probes and misses on the page."""

import html
import re

from support.documents import documents, payments
from support.rivals import rivals
from support.stories import fold

from detectors.watch_report import report
from schemas.drift import Interval
from schemas.figures import RegressionFigures, SegmentFigures
from schemas.policy import parse_policy
from schemas.report import ClassFigures, ClassPair, Confusion, FeatureWatch, ModelReport, Report
from streams.report import render
from streams.report.tables import MOST_ROWS, tables

NAME = "<b>citation</b>"


def _rows(page: str, title: str) -> list[list[str]]:
    part = page.partition(f"<h3>{title}</h3>")[2].partition("</table>")[0]
    return [[html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in re.findall(r"<tr>(.*?)</tr>", part)[1:]]


def test_checks_stand_with_their_groups_and_names_are_text() -> None:
    watch, events = fold(documents(seed=1, days=20, name=NAME), policy=parse_policy('[models.m]\nreview_baseline = "5m"\n'), close=False)
    model = report([watch]).models[0]
    page = render(report([watch]), [watch], events, generated_at_ms=0)
    assert NAME not in page
    whole, *groups = _rows(page, "Checks")
    figures = model.checks[0].figures
    assert whole[0] == NAME
    assert whole[2:4] == [f"{figures.total:,}", f"{figures.documents_failed:,} of {figures.documents:,}"]
    assert whole[5] == "learning"
    assert [group[0] for group in groups] == ["court = a", "court = b"]
    assert " less than before" in page
    assert "<h3>Probes</h3>" not in page


def test_probes_and_misses_stand_by_amount() -> None:
    watch, events = fold(payments(seed=2, days=8), close=False)
    model = report([watch]).models[0]
    page = render(report([watch]), [watch], events, generated_at_ms=0)
    whole, *bands = _rows(page, "Probes")
    assert whole[0] == "card-testing"
    assert whole[2] == f"{model.probes[0].figures.n:,}"
    assert bands[-1][0] == "10,000 to 100,000"
    assert len(bands) == len(model.probes[0].bands)
    misses = _rows(page, "Misses by amount")
    assert [row[2] for row in misses] == [f"{band.fn} of {band.positives}" for band in model.amounts]


def test_classes_stand_with_what_they_are_taken_for() -> None:
    pairs = [ClassPair(true="cat", predicted="cat", n=8), ClassPair(true="cat", predicted="<dog>", n=2)]
    each = ClassFigures(name="cat", n=10, predicted=8, recall=Interval(value=0.8, lo=0.49, hi=0.94, n=10))
    [table] = tables(ModelReport(model_id="m", model_version="1", classes=Confusion(n=10, classes=[each], pairs=pairs)))
    assert table.title == "Classes"
    assert table.rows == [("cat", "10", "8", "80 % (49 to 94 %)", "\u2013", "<dog> (2)")]  # text: the page escapes it


def test_versions_stand_beside_each_other() -> None:
    watch, events = fold(rivals(seed=1, errors={"1.4": 0.1, "1.5": 0.05}, days=5, per_day=60))
    page = render(report([watch]), [watch], events, generated_at_ms=0)
    [found] = report([watch]).models[0].comparisons
    row = _rows(page, "Beside other versions")[0]
    assert row[:2] == ["1.5", "300"]
    assert row[4] == f"{found.alone} against {found.rival_alone}"
    assert row[6:] == ["\u2013", "off"]


def test_a_long_table_is_cut_and_says_so() -> None:
    model = report([fold(payments(seed=2, days=8), close=False)[0]]).models[0]
    many = ModelReport(model_id="m", model_version="1", probes=model.probes * 20)
    [table] = tables(many)
    assert len(table.rows) == MOST_ROWS
    assert table.more == 20 * (1 + len(model.probes[0].bands)) - MOST_ROWS


def test_numbers_and_inputs_stand_in_tables_of_their_own() -> None:
    numbers = RegressionFigures(
        n=1_200,
        coverage=Interval(value=0.81, lo=0.79, hi=0.83, n=1_200),
        level=0.9,
        mae=4.25,
        rmse=6.5,
        mean_error=-1.5,
        p90_absolute_error=9.0,
    )
    features = [
        FeatureWatch(name="<i>age</i>", kind="numbers", n=50, missing=4, absent=1, missing_share=0.1, state="alarm"),
        FeatureWatch(name="site", state="learning"),
    ]
    segments = [SegmentFigures(regression=numbers), SegmentFigures(segment={"region": "north"})]
    model = ModelReport(model_id="m", model_version="1", segments=segments, features=features)
    page = render(Report(models=[model]), [], [], generated_at_ms=0)
    [row] = _rows(page, "Predicted numbers")
    assert row == ["all", "1,200", "81.0 % (79.0 to 83.0 %), 90.0 % stated", "-1.5", "4.25", "6.5", "\u2013", "9"]
    assert _rows(page, "Inputs") == [
        ["<i>age</i>", "numbers", "50", "10.0 %", "4", "1", "alarm"],
        ["site", "not known yet", "0", "\u2013", "0", "0", "learning"],
    ]
    assert "<i>age</i>" not in page
