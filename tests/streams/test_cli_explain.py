"""``gnomon explain``: an alarm found again from its log, with its evidence; a request with its history and what it fed."""

import json
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.kafka_broker import Broker
from support.logs import gnomon
from support.stories import DAY_MS, START_MS, fold, story
from support.whole import Deployment, closing, produce, records, spread
from support.workers import processes

from detectors.entries import OutcomeEntry, encode_entry
from detectors.packing import pack_subgroups
from detectors.trail import TracedWatch
from schemas.findings import EventType, from_json, to_json
from schemas.policy import parse_policy
from streams import explain
from streams.explain import Arrival, Request, fed

POLICY = parse_policy('[defaults]\nages = ["1d"]\nbaseline = { days = 20, labels = 100, failures = 10 }\n')


@pytest.fixture(scope="module")
def told():
    """A story with a change, its events, and the trail of the first alarm."""
    made = story(seed=4, days=90, per_day=60, change_day=50, delay_days=0.2)
    events = fold(made, policy=POLICY)[1]
    opened = next(event for event in events if event.type == EventType.DRIFT_OPENED and event.data.metric == "error")
    watch = TracedWatch(opened.data)
    again = fold(made, policy=POLICY, watch=watch)[1]
    return events, opened, watch, again


def test_being_traced_changes_nothing(told):
    events, _, _, again = told
    assert [to_json(event) for event in again] == [to_json(event) for event in events]


def test_the_trail_leads_to_the_alarm(told):
    _, opened, watch, _ = told
    trail = [pane for pane in watch.trail() if pane.due_ms <= opened.time_ms]
    assert trail[0].state == "learning"
    assert [pane.state for pane in trail].index("watching") > 5
    assert trail[-1].state == "alarm"
    assert trail[-1].due_ms == opened.time_ms
    assert trail[-1].log_evidence >= 0
    assert all(pane.log_evidence < 0 for pane in trail if pane.state == "watching" and pane.log_evidence is not None)
    assert abs(sum(pane.n for pane in trail if pane.start_ms >= START_MS) / 60 / (1 + (trail[-1].end_ms - START_MS) / DAY_MS) - 0.9) < 0.15
    since = [pane for pane in trail if pane.start_ms >= START_MS + 50 * DAY_MS]
    assert sum(pane.x for pane in since) > 2 * sum(pane.expected for pane in since)  # the error is four times what it was


@pytest.fixture
def kept(monkeypatch, told):
    """Topics that hold the events."""
    events = [event for event in told[0] if event.type.value.startswith("gnomon.drift")]

    def findings(settings, wanted, topics=()):
        return [event for event in events if wanted(event)]

    monkeypatch.setattr(explain, "findings", findings)
    return events


def test_an_alarm_is_explained(monkeypatch, told, kept):
    _, opened, watch, _ = told
    monkeypatch.setattr(explain, "replay", lambda settings, event, progress: explain.Replayed(watch.trail(), True, ""))
    shown = gnomon("explain", opened.id).stdout
    assert opened.data.message in shown
    assert "byte for byte" in shown
    assert shown.rstrip().endswith("alarm")
    assert "in predictions" in shown
    assert len(gnomon("explain", opened.id, "--panes", "0").stdout.splitlines()) > len(shown.splitlines())
    whole = json.loads(gnomon("explain", opened.data.incident_id, "--json").stdout)
    assert [from_json(json.dumps(event).encode()) for event in whole["events"]] == [
        event for event in kept if event.data.incident_id == opened.data.incident_id
    ]
    assert whole["same"] is True
    assert whole["trail"][-1]["state"] == "alarm"


def test_a_log_that_no_longer_reaches_back(monkeypatch, told, kept):
    _, opened, _, _ = told
    monkeypatch.setattr(explain, "replay", lambda settings, event, progress: explain.Replayed([], False, "the log no longer reaches back"))
    result = gnomon("explain", opened.id)
    assert result.exit_code == 0
    assert "the log no longer reaches back" in result.stdout
    assert f"incident {opened.data.incident_id}" in result.stdout


def test_mistakes_are_told_what_to_type(kept):
    for words in (["explain"], ["explain", "x", "--request", "y"], ["explain", "nobody"]):
        result = gnomon(*words)
        assert result.exit_code == 2
        assert "gnomon tail" in result.stderr


def outcome(at: int, label: int, version: int | None = None) -> Arrival:
    entry = OutcomeEntry(at, bytes([at]), label=label, version=version)
    return Arrival("outcomes", 0, at, entry, encode_entry(entry))


def test_the_label_in_force_is_that_of_the_highest_version_whenever_it_came():
    assert Request([outcome(5, 1), outcome(3, 0)], None).label_in_force().label == 1
    assert Request([outcome(5, 1, 1), outcome(3, 0, 2)], None).label_in_force().label == 0
    assert Request([], None).label_in_force() is None


def test_a_request_feeds_the_findings_of_its_time_and_groups(told):
    events, opened, _, _ = told
    begin = datetime.fromisoformat(opened.data.window.from_)
    assert abs(begin.timestamp() * 1000 - START_MS - 50 * DAY_MS) < 3 * DAY_MS  # the day of the change
    within = (int(begin.timestamp() * 1000), {"group": "a"})

    def made(at, groups, version="1", probe=""):
        blob = pack_subgroups(groups)
        return SimpleNamespace(at=at, subgroups=blob, model="m", version=version, probe=probe)

    assert opened in fed(events, made(*within))
    assert fed(events, made(START_MS, {"group": "a"})) == []
    assert fed(events, made(*within, version="2")) == []
    assert fed(events, made(*within, probe="canary")) == []
    import msgspec

    only = msgspec.structs.replace(opened, data=msgspec.structs.replace(opened.data, segment={"group": "c"}, affected=[]))
    assert fed([only], made(*within)) == []
    assert fed([only], made(within[0], {"group": "c"})) == [only]


@pytest.mark.integration
def test_from_the_log_of_a_deployment(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path, monkeypatch) -> None:
    end_ms = START_MS + 100 * DAY_MS
    never = {"GNOMON_IDLE_TIMEOUT_MS": "never", "GNOMON_BATCH_RECORDS": "200"}
    for name, value in {"KAFKA": kafka.bootstrap, "REDIS": redis_url, "PREFIX": prefix, "SECRET_KEY": "tests"}.items():
        monkeypatch.setenv(f"GNOMON_{name}", value)
    with processes() as started:
        deployment = Deployment(kafka, redis_url, prefix, tmp_path, started)
        made = records()
        deployment.join(**never)
        deployment.watch(**never)
        produce(deployment.settings, spread(made, deployment.settings, 1) + closing(deployment.settings, end_ms))
        deployment.settle(end_ms - DAY_MS)
        found = explain.findings(deployment.settings, lambda event: event.type == EventType.DRIFT_OPENED, ("drift",))
        assert found
        for event in found[:2]:
            told = json.loads(gnomon("explain", event.id, "--json").stdout)
            assert told["same"] is True, told["why_not"]
            assert told["trail"][-1]["state"] == "alarm"
        ident = next(json.loads(value)["request_id"] for at, topic, value in made if topic == "outcomes" and at > START_MS + 50 * DAY_MS)
        told = json.loads(gnomon("explain", "--request", ident, "--json").stdout)
        assert [each["model_version"] for each in told["predictions"]] == ["1"]
        assert [each["in_force"] for each in told["outcomes"]] == [True]
        assert told["outcomes"][0]["at_source"].startswith("outcomes[")
        assert gnomon("explain", "--request", ident).exit_code == 0
        monkeypatch.setenv("GNOMON_SECRET_KEY", "another")
        other = gnomon("explain", "--request", ident)
        assert other.exit_code == 2
        assert "GNOMON_SECRET_KEY" in other.stderr
        # a log that has lost its beginning
        from confluent_kafka import TopicPartition

        from streams.guard import admin
        from streams.producer import scored_partition

        partition = scored_partition(found[0].data.model_id, 3)
        place = TopicPartition(deployment.settings.topic("scored"), partition, 3)
        client = admin(deployment.settings)
        client.delete_records([place])[place].result(20)
        cut = gnomon("explain", found[0].id)
        assert cut.exit_code == 0
        assert "the log no longer reaches back" in cut.stdout
