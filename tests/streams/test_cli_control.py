"""``gnomon ack``, ``snooze``, ``verdict``, ``baseline accept``: one control record each, and what the watch makes of it."""

import asyncio
import json
import time

import msgspec
import pytest
import typer.main
from support.logs import gnomon
from support.stories import DAY_MS, START_MS, fold, story
from support.wards import alert, outcome

from detectors.monitors import LEARNING
from schemas.control import Control
from schemas.findings import EventType
from schemas.policy import parse_policy
from schemas.scored import Forwarded, Origin
from streams import control_log, live_report
from streams.cli import control
from streams.cli.control import Open
from streams.cli.main import app
from streams.control_log import NotPublishedError
from streams.settings import Settings

OPEN = [Open("i1", "fraud", "7", "error", 3), Open("i2", "fraud", "7", "score", 1), Open("i3", "sepsis", "1", "fnr", 2)]


@pytest.fixture
def sent(monkeypatch):
    records: list[Control] = []

    def publish(settings, record):
        records.append(msgspec.json.decode(record, type=Control))
        return len(records) - 1

    monkeypatch.setattr(control_log, "publish", publish)
    monkeypatch.setattr(control, "_open", lambda settings: OPEN)
    return records


@pytest.mark.parametrize(
    ("words", "kind", "body"), [(["ack", "i1"], "ack", {}), (["verdict", "i1", "false"], "verdict", {"verdict": "false"})]
)
def test_a_decision_is_sent_and_its_effect_told(sent, words, kind, body):
    result = gnomon(*words, "--by", "ada")
    assert result.exit_code == 0, result.output
    record = sent[0]
    assert (record.type, record.incident_id, record.model_id, record.by, record.body) == (kind, "i1", "fraud", "ada", body)
    assert abs(record.at - time.time() * 1000) < 60_000
    assert "offset 0" in result.stdout
    assert json.loads(gnomon(*words, "--json").stdout)["type"] == kind


def test_a_snooze_ends(sent):
    assert gnomon("snooze", "i3", "--for", "7d").exit_code == 0
    assert abs(sent[0].body["until"] - time.time() * 1000 - 7 * DAY_MS) < 60_000
    assert gnomon("snooze", "i3", "--for", "soon").exit_code == 2
    assert len(sent) == 1


def test_an_incident_that_is_not_open_is_refused_with_those_that_are(sent):
    result = gnomon("ack", "i9")
    assert result.exit_code == 2
    assert "i1 (fraud 7, error)" in result.stderr
    assert "--force" in result.stderr
    assert sent == []
    assert gnomon("ack", "i9", "--force").exit_code == 0
    assert sent[0].model_id is None


def test_every_incident_that_is_open_can_be_answered(monkeypatch):
    """Also those of alert fatigue, of checks and of probes, which are no version's own."""
    flood = [alert(i, START_MS + i * 1_000) for i in range(20)]
    document = outcome(3, START_MS + 60_000, checks={"citation": [4, 5]})
    policy = parse_policy("[models.m.checks.citation]\nzero_tolerance = true\n")
    watch, events = fold([*flood, document, alert("end", START_MS + 90_000)], policy=policy, close=False)
    opened = {event.data.incident_id for event in events if event.type in (EventType.DRIFT_OPENED, EventType.FATIGUE_OPENED)}

    async def read_watches(client, settings):
        return [watch]

    monkeypatch.setattr(live_report, "read_watches", read_watches)
    monkeypatch.setattr(control, "with_redis", lambda settings, work: asyncio.run(work(None)))
    sent: list[Control] = []
    monkeypatch.setattr(control_log, "publish", lambda settings, record: sent.append(msgspec.json.decode(record, type=Control)) or 0)
    found = control._open(Settings(redis="redis://127.0.0.1:1"))
    assert sorted(each[1:] for each in found) == [("m", "", "flood of icu", 0), ("m", "1", "check:citation", 0)]
    assert {each.incident_id for each in found} == opened
    for incident in sorted(opened):
        result = gnomon("ack", incident)
        assert result.exit_code == 0, result.output
    assert [record.incident_id for record in sent] == sorted(opened)
    assert "(m, flood of icu)" in gnomon("ack", "another").stderr


def test_a_verdict_is_true_or_false(sent):
    result = gnomon("verdict", "i1", "maybe")
    assert result.exit_code == 2
    assert "gnomon verdict i1 true" in result.stderr


def test_accepting_says_what_will_happen(sent):
    result = gnomon("baseline", "accept", "fraud")
    assert "2 incidents will be closed, and 4 monitors will learn" in result.stdout
    assert gnomon("baseline", "accept", "fraud", "--incident", "i2").exit_code == 0
    assert [(record.model_id, record.incident_id) for record in sent] == [("fraud", None), ("fraud", "i2")]
    for words in (["none"], ["fraud", "--incident", "i3"]):
        assert gnomon("baseline", "accept", *words).exit_code == 2
    assert len(sent) == 2


def test_a_reset_is_of_a_model_that_is_watched(monkeypatch, sent):
    monkeypatch.setattr(control, "_models", lambda settings: {"fraud"})
    assert "watched: fraud" in gnomon("baseline", "reset", "sepsis").stderr
    assert sent == []
    assert "learn anew" in gnomon("baseline", "reset", "fraud", "--by", "ada").stdout
    assert gnomon("baseline", "reset", "sepsis", "--force").exit_code == 0
    assert [(record.type, record.model_id, record.body) for record in sent] == [
        ("baseline", "fraud", {"decision": "reset"}),
        ("baseline", "sepsis", {"decision": "reset"}),
    ]


def test_what_kafka_does_not_take_is_not_claimed(monkeypatch, sent):
    def publish(settings, record):
        raise NotPublishedError("Kafka did not take the record: no answer")

    monkeypatch.setattr(control_log, "publish", publish)
    result = gnomon("ack", "i1")
    assert result.exit_code == 1
    assert "gnomon doctor" in result.stderr
    assert result.stdout == ""


def test_a_name_that_cannot_be_is_a_mistake(sent):
    assert gnomon("ack", "i1", "--by", "").exit_code == 2
    assert sent == []


def test_every_subcommand_is_explained_with_an_example():
    for name in ("policy", "baseline"):
        for command in typer.main.get_command(app).commands[name].commands.values():
            assert "Example: gnomon" in command.help
            assert all(parameter.help for parameter in command.params if parameter.name != "help")


def test_accepting_a_baseline_closes_the_incident_and_its_monitors_learn_anew():
    policy = parse_policy('[defaults]\nages = ["1d"]\nbaseline = { days = 10, labels = 100, failures = 10 }\n')
    made = story(seed=4, days=100, per_day=60, change_day=35, delay_days=0.1)
    watch, _ = fold([record for record in made if record[0] < START_MS + 60 * DAY_MS], policy=policy, close=False)
    version = watch.models["m"]["1"]
    assert [incident.kind for incident in version.incidents.open] == ["concept"]
    incident = version.incidents.open[0]
    keys = [member.alarm.key for member in incident.members]
    at = START_MS + 60 * DAY_MS
    record = json.dumps({"type": "baseline", "by": "ada", "at": at, "model_id": "m", "body": {"decision": "accept"}}).encode()
    found = watch.apply(Forwarded(Origin("control", "c", 0), 1, 0, record))
    assert [event.type for event in found] == [EventType.DRIFT_CLEARED, EventType.RETRAIN_CANCELLED]  # nothing is left to mend
    assert found[0].data.incident_id == incident.incident_id
    assert "ada" in found[0].data.message
    assert version.incidents.open == []
    for key in keys:
        rows = [(panel, version.bank.row(panel, key)) for panel in version.bank.panels[key.rung]]
        states = [panel.monitors.state[row] for panel, row in rows if row >= 0]
        assert states == [LEARNING]
    # what was an error too many is normal now: another forty days of it say nothing of those monitors
    later = [record for record in made if record[0] >= START_MS + 60 * DAY_MS]
    from support.stories import tick

    from detectors.intake import SourceBatch
    from detectors.joiner import Joiner
    from detectors.pending import DictTable

    joiner, table = Joiner(policy, b"k"), DictTable()
    again: list = []
    for start in range(0, len(later), 1000):
        part = later[start : start + 1000]
        batches = []
        for name, ident in (("predictions", "p"), ("outcomes", "o")):
            values = [json.dumps(fields).encode() for _, topic, fields in part if topic == name]
            batches.append(
                SourceBatch(Origin(name, ident, 0), range(10**6 + start, 10**6 + start + len(values)), [2**50] * len(values), values)
            )
        prepared = joiner.prepare(batches)
        for rows in joiner.finish(prepared, table.exchange_now(prepared.lookups)).rows:
            again += watch.apply(rows)
        again += watch.apply(tick(max(moment for moment, _, _ in part)))
    assert [event for event in again if event.type == EventType.DRIFT_OPENED and event.data.metric == keys[0].family] == []
    states = [panel.monitors.state[row] for panel in version.bank.panels[keys[0].rung] if (row := version.bank.row(panel, keys[0])) >= 0]
    assert states != [LEARNING]  # a new baseline stands
