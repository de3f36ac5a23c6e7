"""Scenarios: every record is one, the figures are those of the story, and the event that the story asks for comes."""

import json
from pathlib import Path

import pytest
from support.logs import gnomon
from support.scenarios import batch, played
from support.told import Told, tell

from schemas.codec import decode_records
from schemas.outcome import Outcome
from schemas.policy import parse_policy
from schemas.prediction import Prediction
from streams.scenarios import discover
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


@pytest.mark.parametrize("name", NAMES)
def test_the_figures_of_the_story_are_told(name: str) -> None:
    one = played(name)
    tell(name, Told(one.logs, one.report.models[0], one.events))


def test_before_checking_ate_it_time_was_saved() -> None:
    saved = play(discover()["legal-rag"], calm=True, scale=0.05).report.models[0].segments[0].review_saved_s
    assert saved is not None
    assert saved > 5 * 60


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
