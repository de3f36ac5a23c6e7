"""All scenarios at once through a real Kafka and a real Redis: the figures equal a batch computation, and the event of each story comes."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support.kafka_broker import Broker
from support.redis_server import RedisServer
from support.scenarios import batch
from support.whole import Deployment, closing, produce, spread
from support.workers import processes, wait_for

from schemas.codec import encode
from schemas.control import Control, ControlType
from schemas.findings import Event, EventType, from_binary
from schemas.report import ModelReport
from schemas.retrain import RetrainRequested
from streams.scenarios import DAY_MS, Logs, Scenario, discover
from streams.scenarios.files import to_lines
from streams.scenarios.playing import fits

pytestmark = pytest.mark.integration

LARGE = 30_000  # predictions; stories with more are played at half their traffic


@dataclass(frozen=True)
class Live:
    """What came of the scenarios, by name."""

    deployment: Deployment
    logs: dict[str, Logs]
    models: dict[str, ModelReport]
    events: list[Event]


def _model(logs: Logs) -> str:
    return str(logs.predictions[0]["model_id"])


@pytest.fixture(scope="module")
def live(kafka: Broker, shared_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Play them all, once for this file."""
    folder, policy = tmp_path_factory.mktemp("scenarios"), "\n".join(scenario.policy for scenario in discover().values())
    (folder / "policy.toml").write_text(policy)
    logs = {name: _played(scenario) for name, scenario in discover().items()}
    lines = [
        (int(record["timestamp"]), topic, to_lines([_named(name, record)])[:-1])
        for name, one in logs.items()
        for topic, records in (("predictions", one.predictions), ("outcomes", one.outcomes))
        for record in records
    ]
    lines.sort(key=lambda line: line[0])
    end_ms = lines[-1][0] + 100 * DAY_MS  # past every age
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
        yield Live(deployment, logs, {name: by_model[_model(one)] for name, one in logs.items()}, events)


def _played(scenario: Scenario) -> Logs:
    logs = scenario.play(seed=1)
    return logs if len(logs.predictions) <= LARGE else scenario.play(seed=1, scale=0.5)


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
    for expected in scenario.expects:
        found = sorted(event.time_ms for event in mine if fits(event, expected))
        assert found, expected
        assert logs.changed_ms is None or found[0] > logs.changed_ms


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
