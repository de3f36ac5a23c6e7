"""``gnomon policy apply`` and decisions on a running deployment: every join worker and the watch follow, without a restart."""

import json
import time
from pathlib import Path

import pytest
from support.flow import START_MS, join_worker, provision, send
from support.kafka_broker import Broker
from support.logs import gnomon
from support.workers import processes, read_topic, wait_for

from schemas.scored import Kind, Rows, decode
from streams.coordinators import settled
from streams.guard import admin
from streams.settings import Settings

pytestmark = pytest.mark.integration


def predicted(settings: Settings) -> dict[int, set[int]]:
    """What was claimed of the predictions made at each time, in ms after the start."""
    found: dict[int, set[int]] = {}
    for _, _, value in read_topic(settings.kafka, settings.topic("scored")):
        rows = decode(value or b"")
        if isinstance(rows, Rows):
            made = rows.column("kind") == Kind.PREDICTION
            for at, claim in zip(rows.column("predicted_at")[made].tolist(), rows.column("predicted")[made].tolist(), strict=True):
                found.setdefault(at - START_MS, set()).add(claim)
    return found


def members(settings: Settings) -> int:
    """How many join workers hold partitions."""
    client, group = admin(settings), settings.topic("join")
    found = settled(lambda: client.describe_consumer_groups([group])[group].result(20)).members
    return sum(bool(each.assignment and each.assignment.topic_partitions) for each in found)


def claims(at: int, n: int = 60) -> list[tuple[str, bytes]]:
    fields = {"model_id": "m", "model_version": "1", "timestamp": START_MS + at, "score": 0.7}
    return [("predictions", json.dumps({"request_id": f"{at}-{i}"} | fields).encode()) for i in range(n)]


def test_two_join_workers_follow_a_policy(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path, monkeypatch) -> None:
    settings = provision(kafka, prefix)
    for name, value in {"KAFKA": kafka.bootstrap, "REDIS": redis_url, "PREFIX": prefix}.items():
        monkeypatch.setenv(f"GNOMON_{name}", value)
    policy = tmp_path / "policy.toml"
    policy.write_text("[defaults]\nthreshold = 0.8\n")
    with processes() as started:
        for name in "ab":
            started.append(join_worker(tmp_path, settings, redis_url, name))
        wait_for(lambda: members(settings) == 2, "both have their partitions")
        send(settings, claims(0))
        wait_for(lambda: predicted(settings) == {0: {1}}, "the first are joined")
        result = gnomon("policy", "apply", policy, "--by", "ada", "--json", "--wait", "30")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["followed"] is True
        time.sleep(1.5)  # a worker asks once a second
        send(settings, claims(1), seed=1)
        wait_for(lambda: 1 in predicted(settings), "the second are joined")
        for worker in started:
            assert worker.stop()[0] == 0, worker.text()
        assert predicted(settings) == {0: {1}, 1: {0}}
        # whoever starts later follows it too
        started.append(join_worker(tmp_path, settings, redis_url, "c"))
        send(settings, claims(2), seed=2)
        wait_for(lambda: 2 in predicted(settings), "the third are joined")
        assert predicted(settings)[2] == {0}
    assert "ada" in gnomon("policy", "show").stdout


def test_a_file_that_is_new_at_a_start_is_followed_by_all(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path, monkeypatch) -> None:
    settings = provision(kafka, prefix)
    for name, value in {"KAFKA": kafka.bootstrap, "REDIS": redis_url, "PREFIX": prefix}.items():
        monkeypatch.setenv(f"GNOMON_{name}", value)
    file, other = tmp_path / "file.toml", tmp_path / "other.toml"
    file.write_text("[defaults]\nthreshold = 0.8\n")
    other.write_text("[defaults]\nthreshold = 0.6\n")
    with processes() as started:
        started.append(join_worker(tmp_path, settings, redis_url, "a", GNOMON_POLICY=str(file)))
        send(settings, claims(0))
        wait_for(lambda: predicted(settings) == {0: {0}}, "the first are joined, by the file")
        assert gnomon("policy", "apply", other, "--by", "ada", "--wait", "30").exit_code == 0
        send(settings, claims(1))
        wait_for(lambda: predicted(settings).get(1) == {1}, "what is applied overrides the file")
        assert started[0].stop()[0] == 0
        # the same file again: it was in force before, and what was applied since stays
        started.append(join_worker(tmp_path, settings, redis_url, "b", GNOMON_POLICY=str(file)))
        send(settings, claims(2))
        wait_for(lambda: predicted(settings).get(2) == {1}, "a restart does not bring the file back")
