"""The web page: nothing from a record gets in unescaped, nothing goes out, the same figures give the same bytes."""

import html
import re
import sys
from subprocess import run as run_process

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.logs import DAY_MS, START_MS, gnomon, outcome, prediction, story, write_lines

from detectors.timeline import Line, Timeline, timeline
from schemas.fields import FIRST_MS, LAST_MS
from schemas.figures import SegmentFigures
from schemas.policy import parse_policy
from schemas.report import ModelReport, Report
from streams.replay import Replayed, replay
from streams.report import charts, render
from streams.report.page import _headline
from streams.report.stories import Story

SCRIPT = "<script>alert(1)</script>"
NOW_MS = START_MS + 400 * DAY_MS
QUICK = '[defaults]\nages = ["3h", "1d"]\nbaseline = { days = 7, labels = 200, failures = 20 }\ncost = { fp = 5.0, fn = 20.0 }'


def page_of(replayed: Replayed, **options) -> str:
    return render(replayed.report, [replayed.watch], replayed.events, generated_at_ms=NOW_MS, **options)


def replayed(folder, made, known, policy=QUICK) -> Replayed:
    files = write_lines(folder / "p.jsonl", made), write_lines(folder / "o.jsonl", known)
    return replay(*files, started_ms=NOW_MS, policy=parse_policy(policy))


@pytest.fixture(scope="module")
def changed(tmp_path_factory) -> Replayed:
    made, known = story(days=40, per_day=100, changes_on=20)
    for record in made:
        record["model_id"] = SCRIPT
        record["subgroups"]["'\"><img src=x onerror=alert(2)>"] = record["subgroups"]["region"]
    return replayed(tmp_path_factory.mktemp("changed"), made, known)


def test_a_name_that_is_a_script_is_shown_as_text(changed):
    page = page_of(changed)
    assert changed.events, "the case must hold incidents, whose messages hold the name"
    assert html.escape(SCRIPT) in page
    assert not re.search(r"<script|<img|javascript:", page, re.IGNORECASE)
    assert not re.search(r"<[^>]*\son\w+\s*=", page)


@settings(max_examples=60, deadline=None)
@given(name=st.text(alphabet=st.one_of(st.characters(codec="utf-8"), st.sampled_from("<>&\"'/{}%$`=")), min_size=1, max_size=60))
def test_any_name_comes_out_as_the_same_text(name):
    figures = [SegmentFigures(n_predictions=20, n_alerted=5), SegmentFigures(segment={name: name}, n_predictions=20, n_alerted=5)]
    report = Report(models=[ModelReport(model_id=name, model_version=name, segments=figures)])
    page = render(report, [], [], title=name, generated_at_ms=0)
    escaped = name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;").replace("'", "&#39;")
    assert f"<title>{escaped}</title>" in page
    assert f'<h2>{escaped} <span class="soft">version</span> {escaped}</h2>' in page
    assert f"<span>{escaped} = {escaped}</span>" in page
    plain = render(Report(models=[ModelReport(model_id="m", model_version="1", segments=figures)]), [], [], title="t", generated_at_ms=0)
    assert page.count("<") - plain.count("<") == 0, "a name has added an element"


def test_the_policy_of_the_page_forbids_scripts_and_requests(changed):
    page = page_of(changed)
    content = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    assert content.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert page.index("Content-Security-Policy") < page.index("<style")
    assert not re.findall(r'(?:src|href|action)="(?!#|data:,)[^"]*"', page)
    assert not re.findall(r"@import|url\((?!#)", page)


def test_the_same_figures_give_the_same_bytes(changed):
    assert page_of(changed) == page_of(changed)


def test_identifiers_are_unique(changed):
    ids = re.findall(r'\bid="([^"]*)"', page_of(changed))
    assert len(ids) > 20
    assert len(set(ids)) == len(ids)


def test_the_page_tells_what_happened(changed):
    page = html.unescape(page_of(changed))
    opened = [event.data for event in changed.events if event.type.value == "gnomon.drift.opened"]
    assert {data.incident_id for data in opened}
    last = {event.data.incident_id: event.data for event in changed.events if hasattr(event.data, "affected")}
    for data in last.values():
        assert data.message in page
        for topic, partitions in data.origins.items():
            for partition, (first, end) in partitions.items():
                assert f"{topic} partition {partition}, offsets {first:,} to {end:,}" in page
    for words in (
        "region = north",
        "Error rate",
        "Cost per day",
        "Reliability",
        "Label maturity",
        "Groups side by side",
        "labels known within",
    ):
        assert words in page


def test_buckets_add_up_to_the_report(changed):
    version = changed.watch.models[SCRIPT]["1"]
    time = timeline(version)
    whole = changed.report.models[0].segments[0]
    of = {name: lines[-1] for name, lines in time.lines.items()}
    assert of["alert_rate"].n.sum() == whole.n_predictions
    assert of["error"].n.sum() == whole.n_labelled
    for name, events, wanted in (("fpr", "fpr", whole.fp), ("fnr", "fnr", whole.fn)):
        assert sum(round(v * n) for v, n in zip(of[name].value, of[events].n, strict=True) if n) == wanted
    days = (time.end_ms - time.start_ms) / DAY_MS
    assert (of["cost_per_day"].value * days).sum() == pytest.approx(whole.cost_total)
    assert all((line.lo <= line.value).all() and (line.value <= line.hi).all() for line in (of["error"], of["alert_rate"]))


def test_the_error_that_the_scores_say_is_dotted_beside_the_realised_one(changed):
    page = page_of(changed)
    assert "error rate by the scores, of all predictions, if they are calibrated" in page
    assert page.count('stroke-dasharray="3 4"') == 1
    assert len(re.findall(r"By the scores: first [^<]*", page)) == 1
    time = timeline(changed.watch.models[SCRIPT]["1"])
    colours, without = charts.colours_of(time), time.lines["error"]
    with charts.style():
        drawn, plain = (
            charts.over_time(without, time, [], colours=colours, name="x", expected=line)
            for line in (time.lines["expected_error"][0], None)
        )
    assert drawn.count("stroke-dasharray") == plain.count("stroke-dasharray") + 1


def test_a_line_of_younger_labels_holds_those_only(tmp_path):
    made = [prediction(str(i), START_MS + i * 3_600_000, 0.9) for i in range(24 * 30)]
    hours = (2, 12)
    known = [outcome(str(i), START_MS + (i + hours[i % 2]) * 3_600_000, i % 2) for i in range(24 * 30)]
    found = replayed(tmp_path, made, known)
    lines = {line.age_s: line for line in timeline(found.watch.models["m"]["1"]).lines["label_coverage"]}
    assert set(lines) == {3 * 3600.0, 86400.0, None}
    assert (lines[3 * 3600.0].value == 0.5).all()
    assert (lines[None].value == 1).all()
    assert timeline(found.watch.models["m"]["1"]).maturity[0][1] == 0.5


@pytest.mark.parametrize("title", ["nothing at all", "one prediction"])
def test_little_data_gives_a_page_too(tmp_path, title):
    made = [prediction("a", START_MS, 0.5)] if title == "one prediction" else []
    page = page_of(replayed(tmp_path, made, []), title=title)
    assert title in page
    assert "No prediction has a label" in page if made else "No predictions." in page


@pytest.mark.parametrize(("first", "last"), [(FIRST_MS, FIRST_MS + 1), (FIRST_MS, LAST_MS), (LAST_MS - 1, LAST_MS), (0, 10_000)])
def test_times_at_the_ends_of_the_calendar_are_drawn(first, last):
    column, n = np.array([0.5, 0.25]), np.array([20, 20])
    line = Line(None, n, column, column, column)
    time = Timeline(1, np.array([first, last]), np.array([first + 1, last + 1]), {"error": [line]})
    with charts.style():
        colours = charts.colours_of(time)
        assert charts.over_time([line], time, [(first, "1", True)], colours=colours, name="x").startswith("<svg")
        assert charts.cost_bars(line, time, [], name="x").startswith("<svg")


def test_the_command_writes_the_page(tmp_path):
    made, known = story(days=3, per_day=20, changes_on=9)
    files = write_lines(tmp_path / "p.jsonl", made), write_lines(tmp_path / "o.jsonl", [*known, b"{"])
    result = gnomon("replay", *files, "--html", tmp_path / "r.html")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "Refused: 1 malformed" in page
    assert gnomon("replay", *files, "--html", tmp_path / "x", "--report", tmp_path / "x").exit_code == 2


def test_nothing_is_drawn_with_unless_the_page_is_asked_for(tmp_path):
    files = write_lines(tmp_path / "p.jsonl", [prediction("a", START_MS, 0.5)]), write_lines(tmp_path / "o.jsonl", [])
    code = (
        "import sys\nfrom streams.cli.main import app\n"
        f"app(['replay', {str(files[0])!r}, {str(files[1])!r}], standalone_mode=False)\n"
        "assert 'streams.replay' in sys.modules\n"
        "assert not {'matplotlib', 'jinja2'} & set(sys.modules), 'imported'"
    )
    done = run_process([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_request_to_retrain_is_not_counted_as_an_incident():
    shown = {"number": "1", "message": "", "opened": "2026-02-14", "cleared": None}
    drift = Story(title="Error rate", severity="critical", sentence="Error rate rose", gravity=0, **shown)
    request = Story(title="Retraining requested", sentence="Retraining requested", incident=False, **shown)
    assert _headline([drift], None) == "Error rate rose (critical). 1 incident, 1 open."
    assert _headline([drift, request], None) == "Error rate rose (critical). 1 incident, 1 open; 1 more below."
