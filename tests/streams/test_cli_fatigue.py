"""Alert fatigue as people meet it: in a replay's exit status, summary, page and events, in ``tail`` and in ``explain``."""

import json

import msgspec
import pytest
from support.logs import gnomon, write_lines
from support.stories import fold
from support.wards import ward_days

from detectors.trail import TracedWatch
from schemas.findings import EventType, from_json, to_json
from schemas.policy import parse_policy
from schemas.report import Report
from streams import explain
from streams.cli.tail import event_line
from streams.explain import Replayed
from streams.topics import EVENT_TOPICS

POLICY = "[models.m]\nages = ['1d']\nbaseline = { days = 7, labels = 100, failures = 10 }\n"


@pytest.fixture(scope="module")
def records():
    return sorted(ward_days(1, days=30, changed="icu", ppv=0.1, day=15), key=lambda record: record[0])


@pytest.fixture(scope="module")
def events(records):
    return [event for event in fold(records, policy=parse_policy(POLICY))[1] if event.type.startswith("gnomon.fatigue")]


def test_a_replay_tells_it_and_can_hold_a_release_back(records, tmp_path):
    logs = [
        write_lines(tmp_path / f"{topic}.jsonl", [made for _, of, made in records if of == topic]) for topic in ("predictions", "outcomes")
    ]
    (tmp_path / "policy.toml").write_text(POLICY)
    out = {name: tmp_path / name for name in ("report.json", "events.jsonl", "page.html")}
    files = ["--report", out["report.json"], "--events", out["events.jsonl"], "--html", out["page.html"]]
    result = gnomon("replay", *logs, "--policy", tmp_path / "policy.toml", *files, "--fail-on", "gnomon.fatigue")
    assert result.exit_code == 3, result.output
    assert "alerts of m: 720 alerts" in result.output
    assert "PPV of alerts at icu (m) is" in result.output
    found = [from_json(line) for line in out["events.jsonl"].read_bytes().splitlines()]
    assert [event.data.unit for event in found if event.type == EventType.FATIGUE_OPENED] == ["icu"]
    report = msgspec.json.decode(out["report.json"].read_bytes(), type=Report)
    assert report.models[0].fatigue is not None
    assert [one.unit for one in report.models[0].fatigue.units] == ["er", "icu"]
    assert report.alarms.fatigue == 1
    page = out["page.html"].read_text()
    assert "Alert fatigue of m: ppv, icu" in page
    assert "Alerts of m" in page
    assert '<td data-name="Unit">icu</td>' in page


def test_it_has_a_topic_and_a_line_of_its_own(events):
    assert {EVENT_TOPICS[event.type] for event in events} == {"fatigue"}
    assert event_line(events[0]).split(": PPV")[0].endswith(f"fatigue.opened m [{events[0].data.incident_id}]")


def test_it_is_folded_again_from_its_log(records, events):
    watch = TracedWatch(events[0].data)
    again = fold(records, policy=parse_policy(POLICY), watch=watch)[1]
    assert [to_json(event) for event in again if event.type.startswith("gnomon.fatigue")] == [to_json(event) for event in events]
    assert watch.trail() == []


def test_explain_says_what_it_rests_on(events, monkeypatch):
    monkeypatch.setattr(explain, "story", lambda settings, ident: events[:1])
    monkeypatch.setattr(explain, "replay", lambda *given: Replayed([], same=True, why_not=""))
    result = gnomon("explain", events[0].data.incident_id)
    assert result.exit_code == 0, result.output
    assert "alert fatigue of m, kind ppv" in result.output
    assert "whom            icu" in result.output
    assert "threshold 1\n" in result.output
    assert "the same event, byte for byte" in result.output
    shown = json.loads(gnomon("explain", events[0].data.incident_id, "--json").stdout)
    assert shown["events"][0]["data"]["unit"] == "icu"
