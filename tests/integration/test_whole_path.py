"""The whole path on a real Kafka and a real Redis: what comes out depends on what was sent, and on nothing else."""

import json
import os
import random
import time
from pathlib import Path

import msgspec
import pytest
from support.kafka_broker import Broker
from support.stories import DAY_MS, START_MS, story
from support.whole import Deployment, closing, figures, produce, records, spread
from support.workers import Process, processes, wait_for

from schemas.findings import EventType
from streams.logs import read_log
from streams.replay import replay

pytestmark = pytest.mark.integration

NEVER = {"GNOMON_IDLE_TIMEOUT_MS": "never"}
POLICY = '[models.b]\nages = ["1d", "4d"]\nbaseline = { days = 20, labels = 100, failures = 10 }\n'
END_MS = START_MS + 200 * DAY_MS


@pytest.mark.parametrize("workers", [1, 3])
def test_any_order_any_repetition_any_number_of_workers(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path, workers: int) -> None:
    made = story(seed=5, days=20, per_day=100, model="a") + story(seed=6, days=20, per_day=50, model="b")
    lines = [(at, topic, json.dumps(record).encode()) for at, topic, record in made]
    r = random.Random(workers)
    sent = [line for line in lines for _ in range(r.randint(1, 3))]
    r.shuffle(sent)
    with processes() as started:
        deployment = Deployment(kafka, redis_url, prefix, tmp_path, started)
        for _ in range(workers):
            deployment.join()
            deployment.watch()
        produce(deployment.settings, spread(sent, deployment.settings, 1))
        live = deployment.settle()
        for process in started:
            assert process.stop()[0] == 0, process.text()
    for topic in ("predictions", "outcomes"):
        (tmp_path / topic).with_suffix(".jsonl").write_bytes(b"".join(value + b"\n" for _, name, value in lines if name == topic))
    played = replay(tmp_path / "predictions.jsonl", tmp_path / "outcomes.jsonl", started_ms=int(time.time() * 1000)).report
    assert [msgspec.to_builtins(model.segments) for model in live.models] == [
        msgspec.to_builtins(model.segments) for model in played.models
    ]
    assert live.join.duplicate == len(sent) - len(lines)
    assert msgspec.structs.replace(live.join, duplicate=0) == played.join
    assert played.join.predictions == 3000


def test_kills_change_neither_report_nor_findings(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path) -> None:
    made, policy = records(), tmp_path / "policy.toml"
    policy.write_text(POLICY)
    env = {**NEVER, "GNOMON_POLICY": str(policy), "GNOMON_BATCH_RECORDS": "200"}
    reports, findings = [], []
    for kills in (0, 5):
        with processes() as started:
            deployment = Deployment(kafka, redis_url, f"{prefix}{kills}.", tmp_path, started)
            messages = spread(made, deployment.settings, 1) + closing(deployment.settings, END_MS)
            _send_and_kill(deployment, messages, kills, env)
            reports.append(deployment.settle(END_MS - DAY_MS))
            findings.append(deployment.findings())
    types = {dict(headers)["ce_type"].decode() for headers, _ in findings[0].values()}
    assert {EventType.DRIFT_OPENED, EventType.DRIFT_CLEARED} <= types
    assert findings[1] == findings[0]
    assert figures(reports[1]) == figures(reports[0])
    assert [rung.age_s for model in reports[0].models if model.model_id == "b" for rung in model.ladder] == [0, 86_400, 345_600]


def _send_and_kill(deployment: Deployment, messages: list[tuple[str, int, bytes]], kills: int, env: dict[str, str]) -> None:
    def begin() -> tuple[Process, Process]:
        # The same members again: nobody waits for the sessions of the dead.
        return deployment.join(**env, GNOMON_INSTANCE_ID="j"), deployment.watch(**env, GNOMON_INSTANCE_ID="w")

    r, parts = random.Random(7), kills + 1
    pair = begin()
    for part in range(parts):
        before = sum(deployment.ends("scored"))
        produce(deployment.settings, messages[part * len(messages) // parts : (part + 1) * len(messages) // parts])
        if part < kills:
            wait_for(lambda before=before: sum(deployment.ends("scored")) > before, "rows come")
            time.sleep(r.random())
            for process in pair:
                process.kill()
            pair = begin()


DATA = Path(os.environ.get("GNOMON_DATA") or Path(__file__).parents[2] / "../shared/data")


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no event sets at {DATA}: set GNOMON_DATA to their folder")
@pytest.mark.parametrize(("name", "workers"), [("compas", 1), ("compas", 3), ("fte_governors", 3), ("nannyml_car_loan", 1), ("nab", 1)])
def test_a_real_event_set_on_a_broker_has_its_figures(
    *, kafka: Broker, redis_url: str, prefix: str, tmp_path: Path, name: str, workers: int
) -> None:
    lines = [(0, topic, line) for topic in ("predictions", "outcomes") for line in read_log(DATA / name / f"{topic}.jsonl.gz").lines]
    expected = json.loads((DATA / name / "acceptance.json").read_bytes())
    r = random.Random(1)
    sent = [line for line in lines for _ in range(r.choice([1, 1, 2, 3]))]
    r.shuffle(sent)
    with processes() as started:
        deployment = Deployment(kafka, redis_url, prefix, tmp_path, started)
        for _ in range(workers):
            deployment.join()
            deployment.watch()
        produce(deployment.settings, spread(sent, deployment.settings, 1))
        live = msgspec.to_builtins(deployment.settle())
    repeats = {"duplicate": len(sent) - len(lines)}
    assert {count: live["join"][count] for count in expected["join"]} == expected["join"] | repeats
    for model in expected["models"]:
        (found,) = [each for each in live["models"] if all(each[key] == model[key] for key in ("model_id", "model_version"))]
        by_segment = {json.dumps(each["segment"], sort_keys=True): each for each in found["segments"]}
        for segment in model["segments"]:
            got = by_segment[json.dumps(segment["segment"], sort_keys=True)]
            for figure, value in segment.items():
                tolerance = 2e-3 if figure == "auc" else 1e-9
                assert got[figure] == (pytest.approx(value, abs=tolerance) if isinstance(value, float) else value), figure
