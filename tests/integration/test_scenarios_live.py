"""All scenarios at once through a real Kafka and a real Redis: the figures equal a batch computation, and the event of each story comes."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from support.kafka_broker import Broker
from support.redis_server import RedisServer
from support.scenarios import batch
from support.told import Told, tell
from support.whole import Deployment, closing, produce, spread
from support.workers import processes, read_topic, wait_for

from schemas.audit import AuditLine, AuditType
from schemas.codec import encode
from schemas.control import Control, ControlType
from schemas.drift import DriftData
from schemas.findings import Event, EventType, from_binary
from schemas.report import ModelReport
from schemas.retrain import RetrainRequested
from streams.scenarios import DAY_MS, Logs, discover
from streams.scenarios.files import to_lines
from streams.scenarios.playing import fits

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Live:
    """What came of the scenarios, by name."""

    deployment: Deployment
    logs: dict[str, Logs]
    models: dict[str, ModelReport]
    events: list[Event]
    end_ms: int


def _model(logs: Logs) -> str:
    return str(logs.predictions[0]["model_id"])


@pytest.fixture(scope="module")
def live(kafka: Broker, shared_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Play them all, once for this file."""
    folder, policy = tmp_path_factory.mktemp("scenarios"), "\n".join(scenario.policy for scenario in discover().values())
    (folder / "policy.toml").write_text(policy)
    logs = {name: scenario.play(seed=1) for name, scenario in discover().items()}
    lines = [
        (int(record["timestamp"]), topic, to_lines([_named(name, record)])[:-1])
        for name, one in logs.items()
        for topic, records in (("predictions", one.predictions), ("outcomes", one.outcomes))
        for record in records
    ]
    lines.sort(key=lambda line: line[0])
    end_ms = max(
        lines[-1][0], max(at for at, topic, _ in lines if topic == "predictions") + 80 * DAY_MS
    )  # past every age; the credit model is not out of service yet
    with processes() as started:
        deployment = Deployment(kafka, shared_redis.url, f"scenarios{time.time_ns()}.", folder, started)
        env = {"GNOMON_IDLE_TIMEOUT_MS": "never", "GNOMON_POLICY": str(folder / "policy.toml")}
        deployment.join(**env)
        deployment.watch(**env)
        wait_for(lambda: deployment.read("join", "control") and sum(deployment.ends("control")) > 0, "the policy is in force", 60)
        produce(deployment.settings, spread(lines, deployment.settings, 1) + closing(deployment.settings, end_ms))
        report = deployment.settle(end_ms - DAY_MS, timeout_s=600)
        found = [finding for topic in ("drift", "fatigue", "retrain") for finding in deployment.findings(topic).values()]
        events = [from_binary(headers, value) for headers, value in found]
        by_model = {model.model_id: model for model in report.models}
        yield Live(deployment, logs, {name: by_model[_model(one)] for name, one in logs.items()}, events, end_ms)


def _named(name: str, record: dict[str, Any]) -> dict[str, Any]:
    return record | {"request_id": f"{name}/{record['request_id']}"}


@pytest.mark.parametrize("name", sorted(discover()))
def test_a_story_is_told_by_the_deployment(live: Live, name: str) -> None:
    scenario, logs, model = discover()[name], live.logs[name], live.models[name]
    policy = scenario.read_policy().for_model(model.model_id)
    for figures in model.segments:
        for key, value in batch(logs, policy, figures.segment).items():
            assert getattr(figures, key) == pytest.approx(value, rel=1e-9, abs=1e-9), (figures.segment, key)
    mine = [event for event in live.events if event.subject.partition("/")[0] == model.model_id]
    mine.sort(key=lambda event: (event.time_ms, _count(event)))
    tell(name, Told(logs, model, mine))
    for expected in scenario.expects:
        found = [event.time_ms for event in mine if fits(event, expected)]
        assert found, expected
        assert logs.changed_ms is None or found[0] > logs.changed_ms


def _count(event: Event) -> int:
    count = event.id.rpartition("-")[2]
    return int(count) if count.isdecimal() else 0


def test_a_request_to_retrain_is_acknowledged_and_completed_through_control(live: Live) -> None:
    asked = [event.data for event in live.events if event.type == EventType.RETRAIN_REQUESTED and event.subject.startswith("credit/")]
    assert len({data.request_id for data in asked if isinstance(data, RetrainRequested)}) == 1
    states = []
    for decision in ("ack", "done"):
        control = Control(type=ControlType.RETRAIN, by="ada", at=int(time.time() * 1000), model_id="credit", body={"decision": decision})
        produce(live.deployment.settings, [("control", 0, encode(control))])

        def state() -> str:
            [credit] = [model for model in live.deployment.report().models if model.model_id == "credit"]
            return credit.retrain[-1].state

        before = states[-1] if states else "requested"
        wait_for(lambda state=state, before=before: state() != before, f"{decision} is heard", 60)
        states.append(state())
    assert states == ["acknowledged", "completed"]


def test_what_was_played_is_what_is_counted(live: Live) -> None:
    join = live.deployment.report().join
    extra = live.deployment.settings.source_partitions
    assert join.predictions == sum(len(one.predictions) for one in live.logs.values()) + extra
    assert (join.duplicate, join.conflict, join.dead_letter) == (0, 0, 0)


def _again(record: dict[str, Any], later_ms: int) -> dict[str, Any]:
    return record | {"timestamp": record["timestamp"] + later_ms, "request_id": f"again/{record['request_id']}"}


def test_a_new_version_starts_with_a_baseline_of_its_own(live: Live) -> None:
    """What came after the turn, from a version of its own: the errors that were an alarm of the old one are normal for it."""
    logs = live.logs["recession"]
    late = [record for record in logs.predictions if record["timestamp"] >= (logs.changed_ms or 0)]
    asked = {record["request_id"] for record in late}
    known = [record for record in logs.outcomes if record["request_id"] in asked]
    shift_ms = live.end_ms + DAY_MS - (logs.changed_ms or 0)
    made = [("predictions", _again(record, shift_ms) | {"model_version": "recession-1"}) for record in late]
    made += [("outcomes", _again(record, shift_ms)) for record in known]
    lines = sorted(((record["timestamp"], topic, to_lines([record])[:-1]) for topic, record in made), key=lambda line: line[0])
    settings, end_ms = live.deployment.settings, lines[-1][0] + 80 * DAY_MS
    produce(settings, spread(lines, settings, 2) + closing(settings, end_ms))
    report = live.deployment.settle(end_ms - DAY_MS, timeout_s=300)
    assert {model.model_version for model in report.models if model.model_id == "credit"} == {"boom-1", "recession-1"}
    events = [from_binary(headers, value) for headers, value in live.deployment.findings("drift").values()]
    of_labels = [event for event in events if isinstance(event.data, DriftData) and event.data.age_s]
    assert {event.subject for event in of_labels if event.subject.startswith("credit/")} == {"credit/boom-1"}
    trail = [msgspec.json.decode(value, type=AuditLine) for _, _, value in read_topic(settings.kafka, settings.topic("audit")) if value]
    stood = [
        (line.model_version, each["value"])
        for line in trail
        if line.model_id == "credit" and line.type is AuditType.BASELINE
        for each in line.body["baselines"]
        if (each["metric"], each["direction"], each["segment"]) == ("error", "up", {})
    ]
    errors = {version: [value for name, value in stood if name == version] for version in ("boom-1", "recession-1")}
    assert max(errors["boom-1"]) < min(errors["recession-1"])
