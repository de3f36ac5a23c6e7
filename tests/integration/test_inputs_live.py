"""Inputs and comparisons of versions through a real Kafka and a real Redis: what is told is what a replay tells, whatever was killed."""

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from support.feature_logs import CHANGE, inputs
from support.kafka_broker import Broker
from support.logs import gnomon
from support.redis_server import RedisServer
from support.rivals import rivals
from support.stories import DAY_MS, START_MS
from support.whole import TIMED, Deployment, Message, Record, closing, produce
from support.workers import Process, processes, wait_for

from schemas.drift import DriftData
from schemas.findings import Event, EventType, from_binary, from_json, to_json
from schemas.report import ModelReport, Report

pytestmark = pytest.mark.integration

POLICY = """
[models.clinic]
baseline = { days = 7 }
[models.clinic.watch.covariate]
features = ["age", "site", "income"]

[models.triage]
ages = ["2d"]
[models.triage.watch.challenger]
champion = "1.4"
"""
AFTER_DAYS = 20  # past every age, and nobody is out of service yet
MODELS = ("clinic", "triage")
KILLS = 2  # once before the change, once after it


@dataclass(frozen=True)
class Told:
    """What came out: findings of the models as they go out, those of each model in their order, and the report."""

    lines: list[bytes]
    report: Report

    def opened(self, kind: str) -> list[Event]:
        """Return what opened incidents of a kind."""
        events = [from_json(line) for line in self.lines]
        return [e for e in events if e.type is EventType.DRIFT_OPENED and isinstance(e.data, DriftData) and e.data.kind.value == kind]

    def model(self, model_id: str, version: str) -> ModelReport:
        """Return what is reported of a version."""
        [found] = [each for each in self.report.models if (each.model_id, each.model_version) == (model_id, version)]
        return found


def _records() -> list[Record]:
    """One model whose input ``age`` shifts on day 18; another with two versions, of which the challenger is the worse one."""
    made = [(at, topic, record | {"model_id": "clinic", "request_id": f"c-{record['request_id']}"}) for at, topic, record in inputs("age")]
    for at, topic, record in rivals(seed=2, errors={"1.4": 0.05, "1.5": 0.12}, days=30):
        model = {"model_id": "triage"} if topic == "predictions" else {}
        made.append((at, topic, record | model | {"request_id": f"t-{record['request_id']}"}))
    return sorted((at, topic, json.dumps(record).encode()) for at, topic, record in made)  # ties by their bytes, as a replay takes them


def _told(events: list[Event], report: Report) -> Told:
    mine = [event for event in events if event.subject.partition("/")[0] in MODELS]
    return Told([to_json(event) for event in sorted(mine, key=lambda event: (event.subject, event.time_ms, event.id))], report)


def _replayed(records: list[Record], policy: Path, folder: Path) -> Told:
    for topic in TIMED:
        (folder / f"{topic}.jsonl").write_bytes(b"".join(value + b"\n" for _, name, value in records if name == topic))
    events, report = folder / "events.jsonl", folder / "report.json"
    files = folder / "predictions.jsonl", folder / "outcomes.jsonl"
    result = gnomon("replay", *files, "--policy", policy, "--events", events, "--report", report)
    assert result.exit_code == 0, result.output
    found = [from_json(line) for line in events.read_bytes().splitlines()]
    return _told(found, msgspec.json.decode(report.read_bytes(), type=Report))


def _live(deployment: Deployment, records: list[Record], policy: Path) -> Told:
    """Send the records in order; on the way both workers are killed, and start again from what was written down."""
    env = {
        "GNOMON_IDLE_TIMEOUT_MS": "never",
        "GNOMON_POLICY": str(policy),
        "GNOMON_BATCH_RECORDS": "400",
        "GNOMON_FLUSH_INTERVAL_MS": "200",
    }

    def begin() -> tuple[Process, Process]:
        # The same members again: nobody waits for the sessions of the dead.
        return deployment.join(**env, GNOMON_INSTANCE_ID="j"), deployment.watch(**env, GNOMON_INSTANCE_ID="w")

    def kept() -> int:
        return sum(model.segments[0].n_predictions for model in deployment.report().models)

    r, pair, end_ms = random.Random(3), begin(), records[-1][0] + AFTER_DAYS * DAY_MS
    wait_for(lambda: sum(deployment.ends("control")) > 0 and deployment.read("join", "control"), "the policy is in force", 60)
    messages: list[Message] = [(topic, 0, value) for _, topic, value in records] + closing(deployment.settings, end_ms)
    for part in range(KILLS + 1):
        before = kept()
        produce(deployment.settings, messages[part * len(messages) // (KILLS + 1) : (part + 1) * len(messages) // (KILLS + 1)])
        if part < KILLS:
            wait_for(lambda before=before: kept() > before, "some of it is written down", 60)
            time.sleep(r.random())
            for process in pair:
                process.kill()
            pair = begin()
    report = deployment.settle(end_ms - DAY_MS)
    return _told([from_binary(headers, value) for headers, value in deployment.findings().values()], report)


@pytest.fixture(scope="module")
def both(kafka: Broker, shared_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Told, Told]]:
    """What a deployment tells of the records, and what a replay of them does."""
    folder, records = tmp_path_factory.mktemp("inputs"), _records()
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    with processes() as started:
        # one partition a topic: offsets, which findings name, are those of the lines of a file
        deployment = Deployment(kafka, shared_redis.url, f"inputs{time.time_ns()}.", folder, started, source_partitions=1)
        yield _live(deployment, records, policy), _replayed(records, policy, folder)


def test_a_feature_that_shifts_is_named(both: tuple[Told, Told]) -> None:
    live, _ = both
    assert [(event.subject, event.data.metric, event.data.direction.value) for event in live.opened("covariate")] == [
        ("clinic/1", "feature:age", "up")
    ]
    [opened] = live.opened("covariate")
    assert opened.time_ms > START_MS + CHANGE * DAY_MS
    assert opened.data.origins["predictions"]
    assert [(each.name, each.state) for each in live.model("clinic", "1").features] == [
        ("age", "alarm"),
        ("income", "watching"),
        ("site", "watching"),
    ]


def test_the_worse_of_two_versions_is_named(both: tuple[Told, Told]) -> None:
    live, _ = both
    assert [(event.subject, event.data.metric, event.data.direction.value) for event in live.opened("challenger")] == [
        ("triage/1.5", "challenger:1.4", "up")
    ]
    [comparison] = live.model("triage", "1.5").comparisons
    assert (comparison.rival, comparison.n, comparison.state) == ("1.4", 3_000, "alarm")
    assert comparison.alone > 2 * comparison.rival_alone


def test_a_replay_tells_the_same_byte_for_byte(both: tuple[Told, Told]) -> None:
    live, replayed = both
    assert live.lines == replayed.lines
    assert live.model("clinic", "1").features == replayed.model("clinic", "1").features
    for version in ("1.4", "1.5"):
        assert live.model("triage", version).comparisons == replayed.model("triage", version).comparisons
