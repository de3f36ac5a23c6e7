"""A source topic that was made anew is refused until someone accepts it; then the whole path goes on, and counts what it had counted."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.kafka_broker import Broker
from support.logs import gnomon
from support.whole import Deployment, produce
from support.workers import processes, wait_for

from streams.guard import admin
from streams.provision import apply, plan

pytestmark = pytest.mark.integration
START_MS = 1_700_000_000_000


def claims(first: int, n: int, count: int) -> list[tuple[str, int, bytes]]:
    fields = {"model_id": "m", "model_version": "1", "score": 0.5}
    made = [{"request_id": f"r{i}", "timestamp": START_MS + i, **fields} for i in range(first, first + n)]
    return [("predictions", i % count, json.dumps(record).encode()) for i, record in enumerate(made)]


def labels(first: int, n: int, count: int) -> list[tuple[str, int, bytes]]:
    made = [{"request_id": f"r{i}", "timestamp": START_MS + 1000 + i, "true_label": i % 2} for i in range(first, first + n)]
    return [("outcomes", i % count, json.dumps(record).encode()) for i, record in enumerate(made)]


def test_a_source_is_accepted_and_the_path_goes_on(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path, monkeypatch) -> None:
    for name, value in {"KAFKA": kafka.bootstrap, "REDIS": redis_url, "PREFIX": prefix, "SCORED_PARTITIONS": "3"}.items():
        monkeypatch.setenv(f"GNOMON_{name}", value)
    with processes() as started:
        deployment = Deployment(kafka, redis_url, prefix, tmp_path, started)
        settings = deployment.settings
        count = settings.source_partitions
        produce(settings, claims(0, 60, count) + labels(0, 30, count))
        join, watch = deployment.join(), deployment.watch()
        before = deployment.settle()
        assert (before.join.predictions, before.join.joined) == (60, 30)
        running = gnomon("provision", "--accept", "outcomes")
        assert running.exit_code == 2
        assert "workers still run" in running.stderr
        assert join.stop()[0] == 0
        wait_for(lambda: deployment.read("watch", "scored"), "all is folded")
        assert watch.stop()[0] == 0
        kafka.delete_topics(settings.topic("outcomes"))
        smaller = replace(settings, source_partitions=2)  # fewer than before: the watch must not wait for those that are gone
        client = admin(smaller)
        apply(client, smaller, [step for step in plan(client, smaller) if step.name == "outcomes"])
        refused = deployment.join()
        assert refused.wait() == 78
        assert "--accept outcomes" in refused.text()

        def accepted() -> bool:  # Kafka gives a member that has died some seconds
            result = gnomon("provision", "--accept", "outcomes")
            assert result.exit_code == 0 or "workers still run" in result.stderr, result.output
            return result.exit_code == 0

        wait_for(accepted, "it is accepted")
        produce(settings, labels(30, 30, 2) + claims(60, 3, count))
        deployment.join(GNOMON_IDLE_TIMEOUT_MS="500")
        deployment.watch()
        wait_for(lambda: deployment.report().join.joined == 60, "what waited for its labels has them", 40)
        after = deployment.report().join
        assert (after.predictions, after.joined, after.duplicate) == (63, 60, 0)

        def moves() -> bool:
            return all(int(model.state["watermark_ms"] or 0) > START_MS + 2_000 for model in deployment.report().models)

        wait_for(moves, "the watermark moves again")


def test_the_scored_topic_and_unknown_ones_are_not_accepted(kafka: Broker, redis_url: str, prefix: str, monkeypatch) -> None:
    for name, value in {"KAFKA": kafka.bootstrap, "REDIS": redis_url, "PREFIX": prefix}.items():
        monkeypatch.setenv(f"GNOMON_{name}", value)
    scored = gnomon("provision", "--accept", "scored")
    assert scored.exit_code == 2
    assert "new GNOMON_PREFIX" in scored.stderr
    unknown = gnomon("provision", "--accept", "outcome")
    assert unknown.exit_code == 2
    assert "outcomes" in unknown.stderr
    missing = gnomon("provision", "--accept", "outcomes")
    assert missing.exit_code == 2
    assert "gnomon provision" in missing.stderr
    assert gnomon("provision", "--accept", "outcomes", "--dry-run").exit_code == 2
    steps = [json.loads(line) for line in gnomon("provision", "--dry-run", "--json").stdout.splitlines()]
    assert {step["action"] for step in steps} == {"create"}
