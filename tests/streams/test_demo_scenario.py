"""A scenario as a demo: what the story asks for comes, and the books balance; where they do not it is said."""

import pytest
from support.logs import gnomon

from schemas.report import Report
from streams import demo_scenario
from streams.demo_scenario import ToldScenario, faults
from streams.demo_seen import Seen
from streams.scenarios import Expected, Logs, discover


def test_a_scenario_is_told_and_its_books_balance():
    lines: list[str] = []
    told = demo_scenario.run(discover()["sanction"], lines.append, lambda _: None)
    assert told.faults == []
    assert told.missing == []
    assert any("gnomon.drift.opened: citation_exists of briefs" in line for line in lines)
    assert [model.model_id for model in told.report.models] == ["briefs"]


def test_books_are_counted_from_the_records():
    made = [{"request_id": "a"}, {"request_id": "b", "probe": True}, {"request_id": "c", "abstained": True}]
    known = [{"request_id": "a", "true_label": 1}, {"request_id": "a", "action_taken": "acted"}, {"request_id": "b", "true_label": 1}]
    known.append({"request_id": "c", "true_label": 1})
    assert faults(Seen(), Logs(predictions=made, outcomes=known), extra=8) == [
        "records counted once: expected 15, got 0",
        "predictions: expected 7, got 0",
        "outcomes: expected 8, got 0",
        "predictions known to the watch: expected 2, got 0",
        "labels known to the watch: expected 1, got 0",
    ]


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (ToldScenario(Report(), ["predictions: expected 2, got 1"], [], 1.0), "predictions: expected 2, got 1"),
        (
            ToldScenario(Report(), [], [Expected(type="gnomon.fatigue.opened", kind="ppv", unit="icu")], 1.0),
            "gnomon.fatigue.opened ppv icu",
        ),
    ],
)
def test_the_command_fails_when_the_demo_does(monkeypatch, told, says):
    monkeypatch.setattr(demo_scenario, "run", lambda scenario, say, status: told)
    result = gnomon("demo", "--scenario", "sanction")
    assert result.exit_code == 1
    assert says in result.stderr


def test_a_scenario_that_is_not_there_is_a_mistake():
    result = gnomon("demo", "--scenario", "sanctions")
    assert result.exit_code == 2
    assert "did you mean sanction?" in result.stderr
