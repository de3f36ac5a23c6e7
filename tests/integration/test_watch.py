"""The watch on a real Kafka and a real Redis: whatever dies whenever, its state is the fold of its log and no finding is lost."""

import signal
from pathlib import Path

import pytest
import redis
from support.kafka_broker import Broker
from support.redis_server import RedisServer
from support.whole import Deployment, Message, figures, produce, read_messages, records, refold, scored
from support.workers import committed, processes, wait_for

from schemas.scored import Origin, Tick, encode
from streams.watching import CRASH_POINTS

pytestmark = pytest.mark.integration


def parts(messages: list[Message], n: int) -> list[list[Message]]:
    return [messages[i * len(messages) // n : (i + 1) * len(messages) // n] for i in range(n)]


def check(deployment: Deployment, timeout_s: float = 30.0) -> None:
    """Wait until all is folded, and hold report and findings against a fold in this process."""
    wait_for(lambda: deployment.read("watch", "scored"), "all is folded", timeout_s)
    report, findings, audit = refold(deployment.settings)
    assert findings
    assert len(audit) > len(findings)
    assert {value for _, value in read_messages(deployment.settings, "audit")} == audit
    assert deployment.findings() == findings
    assert figures(deployment.report()) == figures(report)


def test_a_crash_at_any_point_changes_nothing(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path) -> None:
    with processes() as started:
        deployment = Deployment(kafka, redis_url, prefix, tmp_path, started)
        whole = scored(records(), deployment.settings)
        middle = len(whole) // 2  # what is found is found after it
        log = parts(whole[middle:], len(CRASH_POINTS))
        log[0] = whole[:middle] + log[0]
        for point, part in zip(CRASH_POINTS, log, strict=True):
            produce(deployment.settings, part)
            # one flush, when all is folded: what it writes down has been found
            doomed = deployment.watch(GNOMON_INSTANCE_ID="w", CRASH_AT=f"{point}:1", GNOMON_FLUSH_INTERVAL_MS="2000")
            assert doomed.wait() == 137, doomed.text()
        last = deployment.watch(GNOMON_INSTANCE_ID="w")
        check(deployment)
        assert last.stop()[0] == 0, last.text()
        assert len(deployment.findings("statistics")) > 0


def test_a_zombie_is_refused(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path) -> None:
    with processes() as started:
        deployment = Deployment(kafka, redis_url, prefix, tmp_path, started)
        first, second = parts(scored(records(60), deployment.settings), 2)
        produce(deployment.settings, first)
        zombie = deployment.watch(GNOMON_FLUSH_INTERVAL_MS="15000")
        wait_for(lambda: sum(deployment.ends("statistics")) > 0, "the first part is folded, and not written down")
        zombie.process.send_signal(signal.SIGSTOP)
        assert deployment.report().models == []
        produce(deployment.settings, second)
        deployment.watch()
        wait_for(lambda: deployment.read("watch", "scored"), "the heir takes over")
        written = deployment.report()
        zombie.process.send_signal(signal.SIGCONT)
        assert zombie.wait() == 70
        assert "was taken by another worker (epoch 2, ours is 1)" in zombie.text()
        assert deployment.report() == written
        check(deployment)


def test_redis_dies_and_returns(kafka: Broker, own_redis: RedisServer, prefix: str, tmp_path: Path) -> None:
    with processes() as started:
        deployment = Deployment(kafka, own_redis.url, prefix, tmp_path, started)
        first, second = parts(scored(records(50), deployment.settings), 2)
        worker = deployment.watch()
        produce(deployment.settings, first)
        wait_for(lambda: deployment.read("watch", "scored"), "the first part is folded")
        own_redis.kill()
        produce(deployment.settings, second)
        wait_for(lambda: "trying on" in worker.text(), "the worker waits")
        own_redis.start()
        check(deployment)
        code, seconds = worker.stop()
        assert code == 0, worker.text()
        assert seconds < 5
        ends = deployment.ends("scored")
        assert committed(kafka.bootstrap, f"{prefix}watch", f"{prefix}scored", 3) == ends


def test_without_its_checkpoints_it_folds_from_the_beginning(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path) -> None:
    with processes() as started:
        deployment = Deployment(kafka, redis_url, prefix, tmp_path, started)
        first, second = parts(scored(records(50), deployment.settings), 2)
        produce(deployment.settings, first)
        worker = deployment.watch()
        wait_for(lambda: deployment.read("watch", "scored"), "the first part is folded")
        assert worker.stop()[0] == 0, worker.text()
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
        produce(deployment.settings, second)
        deployment.watch()
        check(deployment)


def test_a_topic_that_is_not_the_one_of_the_checkpoint_is_refused(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path) -> None:
    with processes() as started:
        deployment = Deployment(kafka, redis_url, prefix, tmp_path, started)
        settings = deployment.settings
        produce(settings, scored(records(5), settings))
        worker = deployment.watch(GNOMON_GUARD_INTERVAL_MS="300")
        wait_for(lambda: deployment.read("watch", "scored"), "it is folded")
        # a source that was created anew
        produce(settings, [("scored", 0, encode(Tick({"predictions": 1, "outcomes": 1}, [(Origin("outcomes", "new", 0), 5)])))])
        assert worker.wait() == 78
        assert "outcomes" in worker.text()
        assert "new" in worker.text()
        # the scored topic itself
        kafka.delete_topics(settings.topic("scored"))
        kafka.create_topics({settings.topic("scored"): 3})
        again = deployment.watch()
        assert again.wait() == 78
        assert "topic scored was made anew" in again.text()
        with redis.Redis.from_url(redis_url) as client:
            client.delete(f"{prefix}topics")  # as `provision --accept` does: the checkpoints still know
        third = deployment.watch()
        assert third.wait() == 78
        assert "the checkpoint of scored partition" in third.text()
