"""Scenarios: every record is one, the figures are those of the story, and the event that the story asks for comes."""

import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from river.drift import ADWIN
from support.logs import gnomon
from support.scenarios import batch, failed_since, played

from schemas.codec import decode_records
from schemas.drift import DriftData
from schemas.fields import epoch_ms
from schemas.outcome import Outcome
from schemas.policy import parse_policy
from schemas.prediction import Prediction
from streams.scenarios import DAY_MS, discover
from streams.scenarios.files import to_lines
from streams.scenarios.playing import play, raised

NAMES = sorted(discover())


def test_the_stories_are_there() -> None:
    labels = {"sepsis", "retinopathy", "oncology", "sap", "hle", "benchmark-gap", "recession", "fraud"}
    assert set(NAMES) == labels | {"legal-rag", "sanction"}


@pytest.mark.parametrize("calm", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_every_record_can_be_read_and_a_seed_gives_the_same_ones(name: str, calm: bool) -> None:
    logs = discover()[name].play(seed=3, calm=calm, scale=0.02)
    for records, kind in ((logs.predictions, Prediction), (logs.outcomes, Outcome)):
        assert records
        assert {type(record) for line in to_lines(records).splitlines() for _, record, _ in decode_records(line, kind)} == {kind}
    again = discover()[name].play(seed=3, calm=calm, scale=0.02)
    assert (again.predictions, again.outcomes) == (logs.predictions, logs.outcomes)
    assert discover()[name].play(seed=4, calm=calm, scale=0.02).predictions != logs.predictions
    assert {one["request_id"] for one in logs.outcomes} <= {one["request_id"] for one in logs.predictions}


@pytest.mark.parametrize("name", NAMES)
def test_the_report_equals_a_batch_computation_over_the_records(name: str) -> None:
    one = played(name)
    [model] = one.report.models
    for figures in model.segments:
        expected = batch(one.logs, one.policy.for_model(model.model_id), figures.segment)
        for key, value in expected.items():
            assert getattr(figures, key) == pytest.approx(value, rel=1e-9, abs=1e-9), (figures.segment, key)


@pytest.mark.parametrize("name", NAMES)
def test_the_event_of_the_story_comes_after_the_change(name: str) -> None:
    one = played(name)
    for expected in discover()[name].expects:
        found = raised(one, expected)
        assert found, f"{expected} is not among {[(event.type.value, getattr(event.data, 'kind', '')) for event in one.events]}"
        assert one.logs.changed_ms is None or found[0].time_ms > one.logs.changed_ms


def test_the_published_figures_are_read_from_the_report() -> None:
    def of(name: str):
        return played(name).report.models[0].segments[0]

    assert of("sap").f1 == pytest.approx(0.07, abs=0.02)
    assert 0.03 <= of("hle").accuracy <= 0.15
    assert 0.7 <= of("hle").rms_ce_10 <= 0.9
    sepsis = of("sepsis")
    assert sepsis.fnr == pytest.approx(0.67, abs=0.03)
    assert sepsis.alert_rate == pytest.approx(0.18, abs=0.01)
    assert sepsis.ppv == pytest.approx(0.12, abs=0.02)
    assert sepsis.fp * 365 / 123 == pytest.approx(18_000, rel=0.03)
    fatigue = played("sepsis").report.models[0].fatigue
    assert fatigue is not None
    assert fatigue.overall.false_alerts_per_year == pytest.approx(18_000, rel=0.03)
    assert fatigue.overall.ppv.value == pytest.approx(0.12, abs=0.02)
    assert fatigue.overall.nne == pytest.approx(8, abs=1)
    gap = played("benchmark-gap")
    late = [record for record in gap.logs.predictions if record["timestamp"] >= (gap.logs.changed_ms or 0)]
    early = [record for record in gap.logs.predictions if record["timestamp"] < (gap.logs.changed_ms or 0)]
    true = {record["request_id"]: record["true_label"] for record in gap.logs.outcomes}
    right = [np.mean([true[record["request_id"]] == record["predicted_label"] for record in part]) for part in (early, late)]
    assert right[0] == pytest.approx(0.91, abs=0.02)
    assert right[1] < 0.6
    assert abs(np.mean([record["score"] for record in early]) - np.mean([record["score"] for record in late])) < 0.01


@pytest.mark.parametrize(
    ("name", "metric", "segment", "published"),
    [
        ("retinopathy", "abstention", {"clinic": "rural"}, (0.86, 0.92)),
        ("benchmark-gap", "accuracy", {}, (0.5, 0.6)),
        ("legal-rag", "check:citation_accuracy", {}, (0.67, 0.83)),
        ("hle", "accuracy", {}, (0.03, 0.15)),
        ("sap", "f1", {}, (0.04, 0.1)),
        ("oncology", "error", {"comorbidity": "multiple"}, (0.35, 0.55)),
    ],
)
def test_events_state_the_figure_of_the_story(name: str, metric: str, segment: dict[str, str], published: tuple[float, float]) -> None:
    """What people are told last agrees, within its interval, with a count over what came since the change."""
    one = played(name)
    data = [event.data for event in one.events if isinstance(event.data, DriftData)]
    told = [each for each in data if (each.metric, each.segment) == (metric, segment)][-1]
    counted = failed_since(one.logs, metric, segment)
    assert published[0] <= counted <= published[1]
    assert told.current.lo <= counted <= told.current.hi
    assert told.current.value == pytest.approx(counted, abs=0.1)


def test_false_alerts_of_each_ward_are_those_of_a_count() -> None:
    one = played("sepsis")
    sick = {record["request_id"]: record["true_label"] for record in one.logs.outcomes if "true_label" in record}
    hours = [record["timestamp"] // 3_600_000 for record in one.logs.predictions]
    years = (max(hours) + 1 - min(hours)) / 24 / 365.25
    fatigue = one.report.models[0].fatigue
    assert fatigue is not None
    for figures in (fatigue.overall, *fatigue.units):
        alerts = [record for record in one.logs.predictions if record["alerted"] and figures.unit in ("", record["unit"])]
        false = sum(not sick[record["request_id"]] for record in alerts)
        assert (figures.alerts, figures.labelled, figures.false_alerts) == (len(alerts), len(alerts), false)
        assert figures.false_alerts_per_year == pytest.approx(false / years)
        assert figures.ppv.value == pytest.approx(1 - false / len(alerts))
        assert figures.nne == pytest.approx(len(alerts) / (len(alerts) - false))
    assert len(fatigue.units) == 4


def test_what_lawyers_see_is_read_from_the_report() -> None:
    one = played("legal-rag")
    changed = one.logs.changed_ms or 0
    [checks] = [check for check in one.report.models[0].checks if check.name == "citation_accuracy"]
    counts = [outcome["checks"]["citation_accuracy"] for outcome in one.logs.outcomes]
    assert (checks.figures.passed, checks.figures.total) == (sum(passed for passed, _ in counts), sum(total for _, total in counts))
    late = {record["request_id"] for record in one.logs.predictions if record["timestamp"] >= changed}
    failed = [
        1 - o["checks"]["citation_accuracy"][0] / o["checks"]["citation_accuracy"][1] for o in one.logs.outcomes if o["request_id"] in late
    ]
    assert 0.17 <= np.mean(failed) <= 0.33
    seconds = [outcome["review_seconds"] for outcome in one.logs.outcomes]
    assert one.report.models[0].segments[0].mean_review_s == pytest.approx(np.mean(seconds), rel=1e-9)
    saved = one.report.models[0].segments[0].review_saved_s
    assert saved == pytest.approx(20 * 60 - np.mean(seconds))
    assert saved < 0  # verification has eaten what the tool had saved
    calm = play(discover()["legal-rag"], calm=True, scale=0.05).report.models[0].segments[0].review_saved_s
    assert calm is not None
    assert calm > 5 * 60
    scores = [record["score"] for record in one.logs.predictions]
    assert abs(np.mean(scores[: len(scores) // 2]) - np.mean(scores[len(scores) // 2 :])) < 0.01  # as sure of itself as before


def test_one_fabricated_citation_is_enough() -> None:
    one = played("sanction")
    [opened] = [event for event in one.events if event.type.value == "gnomon.drift.opened"]
    bad = next(outcome for outcome in one.logs.outcomes if outcome["checks"]["citation_exists"][0] < 12)
    assert opened.time_ms == bad["timestamp"]


def test_money_lost_is_stated_while_accuracy_is_silent() -> None:
    one = played("fraud")
    kinds = {str(event.data.kind) for event in one.events if isinstance(event.data, DriftData)}
    assert "concept" not in kinds
    true = {record["request_id"]: record for record in one.logs.outcomes}
    real = [record for record in one.logs.predictions if "probe" not in record]
    wrong = [record["predicted_label"] != true[record["request_id"]]["true_label"] for record in real]
    assert not _alarms(wrong)  # of accuracy, by another's detector
    moved = np.array([record["timestamp"] >= (one.logs.changed_ms or 0) for record in real])
    assert _alarms(np.array(wrong) | (moved & (np.random.default_rng(1).random(len(moved)) < 0.02)))  # which two points more wake
    told = [event.data for event in one.events if isinstance(event.data, DriftData) and str(event.data.kind) == "cost"]
    assert told[-1].impact is not None
    assert told[-1].impact.money_per_day == pytest.approx(one.logs.truth["money_per_day"], rel=0.1)


def _alarms(wrong: Iterable[bool]) -> int:
    detector, found = ADWIN(), 0
    for each in wrong:
        detector.update(int(each))
        found += detector.drift_detected
    return found


def test_recession_asks_once_to_retrain_on_what_came_after_the_turn() -> None:
    one = played("recession")
    [asked] = [event for event in one.events if event.type.value == "gnomon.retrain.requested"]
    assert one.logs.changed_ms is not None
    told = [event.data for event in one.events if isinstance(event.data, DriftData) and event.time_ms <= asked.time_ms]
    assert asked.data.data.from_ == [data.onset for data in told if data.incident_id in asked.data.incidents][-1]
    assert asked.data.data.n_labelled >= 2_000
    assert abs(epoch_ms(datetime.fromisoformat(asked.data.data.from_)) - one.logs.changed_ms) <= DAY_MS  # the width of a pane at that age
    assert asked.data.expected_gain * 30 >= 20_000
    assert not [event for event in one.events if event.type.value == "gnomon.retrain.cancelled"]


def test_a_budget_reaches_the_watch_that_plays_it() -> None:
    one = play(discover()["sanction"], calm=True, scale=0.1, pages=0.05)
    budget = parse_policy(one.policy.toml).for_model("briefs").budget  # the text is what goes through the log
    assert (budget.pages, budget.days) == (0.05, one.logs.days)


def test_scenarios_are_listed_and_written(tmp_path: Path) -> None:
    assert [one["name"] for one in json.loads(gnomon("scenario", "--json").stdout)] == NAMES
    out = tmp_path / "new" / "sap"
    result = gnomon("scenario", "sap", "--out", str(out), "--scale", "0.01", "--seed", "5")
    assert result.exit_code == 0, result.output
    assert "180 predictions" in result.stdout
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "outcomes.jsonl", "policy.toml", "predictions.jsonl"]
    assert (
        gnomon("replay", str(out / "predictions.jsonl"), str(out / "outcomes.jsonl"), "--policy", str(out / "policy.toml")).exit_code == 0
    )


def test_mistakes_are_told(tmp_path: Path) -> None:
    assert "did you mean recession?" in gnomon("scenario", "recesion", "--out", str(tmp_path)).stderr
    assert "try: gnomon scenario sap --out sap" in gnomon("scenario", "sap").stderr
    (tmp_path / "file").write_text("")
    assert gnomon("scenario", "sap", "--out", str(tmp_path / "file")).exit_code == 1
