"""``gnomon tail``: what a person and what a shell sees of each topic; nothing is committed."""

import json

import pytest
from support.kafka_broker import Broker
from support.logs import gnomon
from support.stories import fold, story
from support.whole import closing, produce

from schemas.findings import EventType, from_json, to_binary
from schemas.scored import Origin, Tick, encode
from streams.cli.tail import as_line, for_people
from streams.control_log import NotPublishedError, publish
from streams.doctor import kafka_findings
from streams.readers import Reader, ReadError, Record
from streams.settings import Settings


@pytest.fixture(scope="module")
def events():
    return fold(story(seed=4, days=90, per_day=60, change_day=50))[1]


def record(value: bytes | None, headers=(), offset: int = 3) -> Record:
    return Record(0, offset, 1_700_000_000_000, value, list(headers))


def test_an_event_is_a_sentence_with_its_incident_and_a_cloudevent_for_a_shell(events):
    opened = next(event for event in events if event.type == EventType.DRIFT_OPENED)
    headers, value = to_binary(opened)
    line = for_people("drift", record(value, headers))
    assert line.startswith(opened.time[:10])
    assert f"drift.opened {opened.data.severity} m/1 [{opened.data.incident_id}]: {opened.data.message}" in line
    assert from_json(as_line("drift", record(value, headers)).encode()) == opened


def test_what_is_no_event_is_shown_as_it_is():
    assert "drift[0] 3: garbage" in for_people("drift", record(b"garbage"))
    assert json.loads(as_line("drift", record(b"\xff")))["bytes"] == "ff"
    assert json.loads(as_line("control", record(b'{"type": "ack"}'))) == {"type": "ack"}
    assert for_people("control", record(None)).endswith("(no value)")
    long = for_people("predictions", record(b"x" * 5000))
    assert len(long) < 400
    assert "5000 characters" in long


def test_scored_records_are_summed_up():
    tick = record(encode(Tick({"predictions": 1}, [(Origin("predictions", "p", 0), 5)])))
    assert "tick: event time of 1 source partitions" in for_people("scored", tick)
    assert json.loads(as_line("scored", tick))["offset"] == 3
    assert "something else" in for_people("scored", record(b"garbage"))


def test_a_mistyped_topic_is_told_what_was_meant():
    result = gnomon("tail", "drfit")
    assert result.exit_code == 2
    assert "gnomon tail drift" in result.stderr


def test_a_kafka_that_is_away(monkeypatch):
    monkeypatch.setattr("streams.readers.TIMEOUT_S", 1.0)
    monkeypatch.setenv("GNOMON_KAFKA", "127.0.0.1:1")
    result = gnomon("tail")
    assert result.exit_code == 1
    assert "GNOMON_KAFKA" in result.stderr


@pytest.mark.integration
def test_on_a_broker(kafka: Broker, prefix: str, monkeypatch, events):
    from confluent_kafka import Producer
    from support.flow import provision

    settings = provision(kafka, prefix)
    monkeypatch.setenv("GNOMON_KAFKA", kafka.bootstrap)
    monkeypatch.setenv("GNOMON_PREFIX", "nobody.")
    missing = gnomon("tail", "--no-follow")
    assert missing.exit_code == 1
    assert "gnomon provision" in missing.stderr
    monkeypatch.setenv("GNOMON_PREFIX", prefix)
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    found = [event for event in events if event.type in (EventType.DRIFT_OPENED, EventType.DRIFT_ESCALATED, EventType.DRIFT_UPDATED)]
    for event in found:
        headers, value = to_binary(event)
        producer.produce(settings.topic("drift"), value, headers=headers)
    assert producer.flush(20) == 0
    shown = gnomon("tail", "--no-follow", "--json")
    assert shown.exit_code == 0, shown.output
    assert [from_json(line.encode()) for line in shown.stdout.splitlines()] == found
    assert len(gnomon("tail", "--from-beginning", "--max", "1").stdout.splitlines()) == 1
    produce(settings, closing(settings, 5))
    assert gnomon("tail", "predictions", "--no-follow").stdout.count("predictions[") == settings.source_partitions
    assert gnomon("tail", "dead-letters", "--no-follow").stdout == ""


def test_a_kafka_that_is_away_is_told_once_by_whoever_asks_it(monkeypatch, capfd):
    for place in ("readers", "doctor", "control_log"):
        monkeypatch.setattr(f"streams.{place}.TIMEOUT_S", 0.5)
    away = Settings(kafka="127.0.0.1:1")
    with pytest.raises(ReadError, match="gnomon doctor"):
        Reader(away, "drift")
    with pytest.raises(NotPublishedError):
        publish(away, b"{}", timeout_s=0.5)
    [finding] = kafka_findings(away, {})
    assert "GNOMON_KAFKA" in finding.fix
    assert capfd.readouterr().err == ""  # librdkafka writes past Python
