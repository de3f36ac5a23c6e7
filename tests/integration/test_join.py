"""The join on a real Kafka and a real Redis: whatever dies whenever, every record is counted once and every pair is there once."""

import json
import signal
import sys
import time
from pathlib import Path

import msgspec
import pytest
from support.flow import check, done, join_worker, provision, read_scored, send, traffic
from support.kafka_broker import Broker
from support.redis_server import RedisServer
from support.workers import processes, read_topic, wait_for

from schemas.control import Control
from schemas.scored import Status
from streams.joining import CRASH_POINTS

pytestmark = pytest.mark.integration


def decoded(record: bytes) -> Control:
    """Control records go on as they were understood: the same record, not the same bytes."""
    return msgspec.json.decode(record, type=Control)


def test_pairs_counts_dead_letters_controls_and_ticks(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path) -> None:
    settings, sent = provision(kafka, prefix), traffic(1, 2000)
    snooze = {"type": "snooze", "by": "ada", "at": 5, "incident_id": "i", "body": {"until": 9}}
    acks = [json.dumps(snooze | {"model_id": m}).encode() for m in ("m1", None)]
    send(settings, [*sent.records, *(("control", ack) for ack in acks)])
    with processes() as started:
        started.append(join_worker(tmp_path, settings, redis_url, GNOMON_IDLE_TIMEOUT_MS="2000"))
        wait_for(lambda: done(settings, len(sent.records)), "all is joined")
        begun = time.time()
        wait_for(lambda: len(read_scored(settings).controls) == 3, "control records arrive")
        wait_for(
            lambda: all(min(h.values()) > (begun - 2) * 1000 for h in read_scored(settings).ticks.values()),
            "idle partitions follow the clock",
        )
        code, seconds = started[0].stop()
    assert code == 0, started[0].text()
    assert seconds < 5
    out = check(settings, sent)
    assert out.dropped == 0
    letters = [json.loads(value or b"") for _, _, value in read_topic(kafka.bootstrap, f"{prefix}dead-letters")]
    assert len(letters) == sent.bad
    assert {letter["reason"] for letter in letters} == {"malformed"}
    assert sorted(p for p, record in out.controls if decoded(record) == decoded(acks[1])) == [0, 1]
    assert [{p} for p, record in out.controls if decoded(record) == decoded(acks[0])] == [out.models["m1"]]
    assert {p: len(highs) for p, highs in out.ticks.items()} == {0: 6, 1: 6}  # two topics of three partitions


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_crash_at_any_point_changes_nothing(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path, point: str) -> None:
    settings, first, second = provision(kafka, prefix), traffic(2, 1500, "a"), traffic(5, 300, "b")
    env = {"GNOMON_INSTANCE_ID": "one", "GNOMON_BATCH_RECORDS": "300", "GNOMON_COMMIT_INTERVAL_MS": "20"}
    send(settings, first.records)
    with processes() as started:
        doomed = join_worker(tmp_path, settings, redis_url, CRASH_AT=f"{point}:{1 if point == 'ticked' else 2}", **env)
        started.append(doomed)
        assert doomed.wait() == 137, doomed.text()
        send(settings, second.records)
        heir = join_worker(tmp_path, settings, redis_url, "1", **env)  # the same member: nobody waits for the dead one's session
        started.append(heir)
        wait_for(lambda: done(settings, len(first.records) + len(second.records)), "the heir joins the rest")
        assert heir.stop()[0] == 0, heir.text()
    out = check(settings, first, second)
    if point == "produced":
        assert out.dropped > 0  # rows did come twice, and were recognised


def test_workers_killed_and_frozen_under_load(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path) -> None:
    """One dies; one is frozen until its partitions are another's, and then goes on with what it had in hand."""
    settings, total = provision(kafka, prefix), 0
    parts = [traffic(seed, 1500, f"part{seed}-") for seed in range(5)]
    with processes() as started:
        for turn, part in enumerate(parts):
            send(settings, part.records, turn)
            total += len(part.records)
            started.append(join_worker(tmp_path, settings, redis_url, str(turn), GNOMON_BATCH_RECORDS="100"))
            wait_for(lambda: started[-1].catches(signal.SIGTERM), "the worker is up", 60)  # on a busy machine that takes a while
            time.sleep(2)
            if turn == 1:
                started[0].kill()
            if turn == 3:
                started[2].process.send_signal(signal.SIGSTOP)
        wait_for(lambda: done(settings, total), "all is joined", 60)
        started[2].process.send_signal(signal.SIGCONT)
        last = traffic(9, 300, "last")
        send(settings, last.records)
        wait_for(lambda: done(settings, total + len(last.records)), "the last are joined too", 60)
        assert started[2].stop()[0] in {0, 70}, started[2].text()  # it goes on as a member, or has ended itself
    check(settings, *parts, last)


def test_redis_dies_and_returns(kafka: Broker, own_redis: RedisServer, prefix: str, tmp_path: Path) -> None:
    settings, first, second = provision(kafka, prefix), traffic(3, 800, "a"), traffic(4, 800, "b")
    with processes() as started:
        worker = join_worker(tmp_path, settings, own_redis.url)
        started.append(worker)
        send(settings, first.records)
        wait_for(lambda: done(settings, len(first.records)), "the first are joined")
        own_redis.kill()
        send(settings, second.records)
        wait_for(lambda: "trying on" in worker.text(), "the worker waits")
        time.sleep(1)
        own_redis.start()
        wait_for(lambda: done(settings, len(first.records) + len(second.records)), "the second are joined")
        assert worker.stop()[0] == 0, worker.text()
    check(settings, first, second)


def test_a_source_topic_made_anew_stops_the_worker_and_keeps_it_stopped(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path) -> None:
    settings = provision(kafka, prefix)
    with processes() as started:
        worker = join_worker(tmp_path, settings, redis_url, GNOMON_GUARD_INTERVAL_MS="300", GNOMON_IDLE_TIMEOUT_MS="500")
        started.append(worker)
        wait_for(lambda: bool(read_scored(settings).ticks), "it works")
        kafka.delete_topics(settings.topic("outcomes"))
        provision(kafka, prefix)
        assert worker.wait() == 78
        assert "made anew" in worker.text() or "outcomes is missing" in worker.text()
        again = join_worker(tmp_path, settings, redis_url, "1")
        started.append(again)
        assert again.wait() == 78
        assert "topic outcomes was made anew" in again.text()


def test_a_redis_that_evicts_is_refused(kafka: Broker, own_redis: RedisServer, prefix: str, tmp_path: Path) -> None:
    import redis

    settings = provision(kafka, prefix)
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    with processes() as started:
        started.append(join_worker(tmp_path, settings, own_redis.url))
        assert started[0].wait() == 78
        assert "noeviction" in started[0].text()


def test_an_outcome_that_never_meets_its_prediction_waits(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path) -> None:
    settings = provision(kafka, prefix)
    send(settings, [("outcomes", b'{"request_id": "x", "timestamp": 5, "true_label": 1}')])
    with processes() as started:
        started.append(join_worker(tmp_path, settings, redis_url))
        wait_for(lambda: done(settings, 1), "it is read")
        assert started[0].stop()[0] == 0
    assert read_scored(settings).records == {Status.WAITING: 1}


def test_faust_can_start_it_too(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path) -> None:
    settings, sent = provision(kafka, prefix), traffic(6, 100)
    send(settings, sent.records)
    command = [str(Path(sys.executable).with_name("faust")), "-A", "streams.join", "worker", "-l", "warn"]
    with processes() as started:
        started.append(join_worker(tmp_path, settings, redis_url, command=command))
        wait_for(lambda: done(settings, len(sent.records)), "all is joined")
        assert started[0].stop()[0] == 0, started[0].text()
    check(settings, sent)
