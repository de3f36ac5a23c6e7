"""``gnomon explain`` of checks and probes: found again from their log, with what each pane of failures did to the evidence."""

import json

import pytest
from support.documents import documents, payments
from support.logs import gnomon
from support.stories import Record, fold

from detectors.trail import TracedWatch
from schemas.drift import DriftData
from schemas.findings import Event, EventType, to_json
from schemas.policy import Policy, parse_policy
from streams import explain

STRICT = parse_policy("[models.m.checks.citation]\nzero_tolerance = true\nclean = 50\n")
STORIES: dict[str, tuple[list[Record], Policy | None, str]] = {
    "check": (documents(seed=1, change_day=60), None, "check:citation"),
    "zero tolerance": (documents(seed=1, change_day=60)[:3_000], STRICT, "check:citation"),
    "probe": (payments(seed=1, change_day=42, band_after=10_000), None, "probe:card-testing"),
}


@pytest.fixture(scope="module", params=sorted(STORIES))
def told(request: pytest.FixtureRequest) -> tuple[str, Event, TracedWatch]:
    records, policy, metric = STORIES[request.param]
    events = fold(records, policy=policy, chunk=400, close=False)[1]
    opened = next(event for event in events if event.type is EventType.DRIFT_OPENED and getattr(event.data, "metric", "") == metric)
    assert isinstance(opened.data, DriftData)
    watch = TracedWatch(opened.data)
    again = fold(records, policy=policy, watch=watch, chunk=400, close=False)[1]
    assert [to_json(event) for event in again] == [to_json(event) for event in events]  # being traced changes nothing
    return request.param, opened, watch


def test_the_trail_leads_to_the_event(told: tuple[str, Event, TracedWatch]) -> None:
    name, opened, watch = told
    trail = [pane for pane in watch.trail() if pane.due_ms <= opened.time_ms]
    assert trail[-1].state == "alarm"
    assert trail[-1].due_ms == opened.time_ms
    assert all(pane.x <= pane.n for pane in trail)
    if name == "zero tolerance":
        assert {pane.state for pane in trail[:-1]} <= {"watching"}
        assert [pane.x > 0 for pane in trail].index(True) == len(trail) - 1
        assert opened.data.current.n == sum(pane.n for pane in trail)  # type: ignore[union-attr]
    else:
        assert trail[0].state == "learning"
        assert trail[-1].log_evidence is not None
        assert trail[-1].log_evidence >= 0
        watching = [pane for pane in trail if pane.state == "watching"]
        assert watching
        assert all(pane.log_evidence is None or pane.log_evidence < 0 for pane in watching)
        assert trail[-1].x > trail[-1].expected  # failures


def test_it_is_told(told: tuple[str, Event, TracedWatch], monkeypatch: pytest.MonkeyPatch) -> None:
    name, opened, watch = told
    monkeypatch.setattr(explain, "findings", lambda settings, wanted, topics=(): [opened] if wanted(opened) else [])
    monkeypatch.setattr(explain, "replay", lambda settings, event, progress: explain.Replayed(watch.trail(), True, ""))
    shown = gnomon("explain", opened.id).stdout
    assert "byte for byte" in shown
    assert shown.rstrip().endswith("alarm")
    said = "Documents in which citation was checked, and in which it failed" if name == "zero tolerance" else "the evidence of failures of "
    assert said in shown
    whole = json.loads(gnomon("explain", opened.id, "--json").stdout)
    assert whole["trail"][-1]["state"] == "alarm"
