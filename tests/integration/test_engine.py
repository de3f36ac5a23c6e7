"""The Faust seam on a real broker: whatever happens to workers, no record is lost and order within a partition is kept."""

from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from support.kafka_broker import Broker
from support.workers import committed, engine_worker, finished_lines, handled, processes, produce, read_topic, wait_for

pytestmark = pytest.mark.integration


def per_partition(lines: list[tuple[str, int, int, str]]) -> dict[tuple[str, int], list[int]]:
    offsets = defaultdict(list)
    for topic, partition, offset, _ in lines:
        offsets[topic, partition].append(offset)
    return dict(offsets)


def test_reads_all_once_in_order_and_stops_with_all_committed(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    one, two = f"{prefix}one", f"{prefix}two"
    kafka.create_topics({one: 3, two: 2})
    produce(kafka.bootstrap, one, 3, range(30_000))
    produce(kafka.bootstrap, two, 2, range(50))
    with processes() as started:
        worker = engine_worker(tmp_path, kafka.bootstrap, prefix, [one, two])
        started.append(worker)
        wait_for(lambda: len(handled(tmp_path)) >= 30_050, "all records handled")
        code, seconds = worker.stop()
    assert code == 0, worker.text()
    assert seconds < 5
    assert per_partition(handled(tmp_path)) == {
        **{(one, p): list(range(10_000)) for p in range(3)},
        **{(two, p): list(range(25)) for p in range(2)},
    }
    assert committed(kafka.bootstrap, f"{prefix}engine", one, 3) == [10_000] * 3
    assert committed(kafka.bootstrap, f"{prefix}engine", two, 2) == [25] * 2


def test_transactions_leave_gaps_and_what_they_aborted_is_not_read(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    topic = f"{prefix}t"
    kafka.create_topics({topic: 1})
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": prefix})
    producer.init_transactions(20)
    for transaction in range(6):
        producer.begin_transaction()
        for i in range(5):
            producer.produce(topic, f"{transaction}-{i}".encode(), partition=0)
        if transaction % 3 == 1:
            producer.flush(10)
            producer.abort_transaction(20)
        else:
            producer.commit_transaction(20)
    with processes() as started:
        worker = engine_worker(tmp_path, kafka.bootstrap, prefix, [topic])
        started.append(worker)
        wait_for(lambda: len(handled(tmp_path)) >= 20, "what was committed is handled")
        assert worker.stop()[0] == 0, worker.text()
    truth = [(offset, value.decode()) for _, offset, value in read_topic(kafka.bootstrap, topic) if value]
    assert [(offset, value) for _, _, offset, value in handled(tmp_path)] == truth
    assert truth[-1][0] > len(truth)  # gaps indeed
    assert committed(kafka.bootstrap, f"{prefix}engine", topic, 1) == [truth[-1][0] + 1]


def test_an_exception_ends_the_worker_and_loses_nothing(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    topic, often = f"{prefix}t", {"GNOMON_BATCH_RECORDS": "1000", "GNOMON_COMMIT_INTERVAL_MS": "50"}
    kafka.create_topics({topic: 2})
    produce(kafka.bootstrap, topic, 2, range(40_000))
    with processes() as started:
        worker = engine_worker(tmp_path, kafka.bootstrap, prefix, [topic], behaviour="raise", **often)
        started.append(worker)
        assert worker.wait() == 70, worker.text()
        assert "ZeroDivisionError" in worker.text()
        done = {(p, o) for _, p, o, _ in handled(tmp_path)}
        offsets = committed(kafka.bootstrap, f"{prefix}engine", topic, 2)
        assert all((p, o) in done for p in range(2) for o in range(max(0, offsets[p])))  # nothing unhandled is committed
        again = engine_worker(tmp_path, kafka.bootstrap, prefix, [topic], name="1")
        started.append(again)
        wait_for(lambda: len({line[1:3] for line in handled(tmp_path)}) == 40_000, "the restart handles the rest")
        assert again.stop()[0] == 0, again.text()
    assert committed(kafka.bootstrap, f"{prefix}engine", topic, 2) == [20_000] * 2


@pytest.mark.parametrize("behaviour", ["slow0.01", "ahead"])
def test_workers_join_leave_and_die_and_nothing_is_lost(kafka: Broker, prefix: str, tmp_path: Path, behaviour: str) -> None:
    topic, group, total, small = f"{prefix}t", f"{prefix}engine", 0, {"GNOMON_BATCH_RECORDS": "500"}
    kafka.create_topics({topic: 4})

    def more(n: int) -> None:
        nonlocal total
        produce(kafka.bootstrap, topic, 4, range(total, total + n))
        total += n

    def all_handled() -> bool:
        return len({line[3] for line in handled(tmp_path)}) == total

    with processes() as started:
        names = ["first", "second", "third"]
        workers = {}
        for name in names:  # each joins under load
            more(20_000)
            workers[name] = engine_worker(tmp_path, kafka.bootstrap, prefix, [topic], behaviour=behaviour, name=name, **small)
            started.append(workers[name])
            wait_for(lambda name=name: bool(handled(tmp_path, name)) or all_handled(), f"{name} handles")
        more(20_000)
        assert workers["second"].stop()[0] == 0, workers["second"].text()  # leaves in good order
        more(20_000)
        workers["third"].kill()  # dies
        more(20_000)
        wait_for(all_handled, "every record handled", 60)
        wait_for(lambda: committed(kafka.bootstrap, group, topic, 4) == [total // 4] * 4, "all is committed")
        assert workers["first"].stop()[0] == 0, workers["first"].text()
    assert len([name for name in names if handled(tmp_path, name)]) >= 2
    lines = handled(tmp_path)
    assert len(lines) < 1.5 * total  # repeats are few: what was acknowledged is committed before a partition is given up
    for name in names:  # order within a partition: a worker steps back only where a rebalance made it
        for offsets in per_partition(handled(tmp_path, name)).values():
            assert sum(b <= a for a, b in pairwise(offsets)) <= 4


def test_a_rebalance_repeats_nothing_that_was_acknowledged(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    """Faust forgets what is acknowledged and not committed before it gives a partition up."""
    topic, seldom = f"{prefix}t", {"GNOMON_COMMIT_INTERVAL_MS": "60000"}
    kafka.create_topics({topic: 2})
    produce(kafka.bootstrap, topic, 2, range(1000))
    with processes() as started:
        started.append(engine_worker(tmp_path, kafka.bootstrap, prefix, [topic], name="first", **seldom))
        wait_for(lambda: len(handled(tmp_path)) == 1000, "the first handles all")
        started.append(engine_worker(tmp_path, kafka.bootstrap, prefix, [topic], name="second", **seldom))
        wait_for(lambda: 500 in committed(kafka.bootstrap, f"{prefix}engine", topic, 2), "the first commits what it gives up")
        produce(kafka.bootstrap, topic, 2, range(1000, 1100))
        wait_for(lambda: bool(handled(tmp_path, "second")) and len(handled(tmp_path)) >= 1100, "both handle the rest")
        assert [worker.stop()[0] for worker in started] == [0, 0]
    assert len(handled(tmp_path)) == 1100


def test_a_checkpoint_is_never_behind_the_commit(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    topic, often = f"{prefix}t", {"GNOMON_BATCH_RECORDS": "500", "GNOMON_COMMIT_INTERVAL_MS": "20"}
    kafka.create_topics({topic: 1})
    produce(kafka.bootstrap, topic, 1, range(20_000))
    with processes() as started:
        worker = engine_worker(tmp_path, kafka.bootstrap, prefix, [topic], behaviour="flush", **often)
        started.append(worker)

        def checkpoint() -> int:
            lines = [line.split() for line in finished_lines(tmp_path / "out-0")] if (tmp_path / "out-0").exists() else []
            return max([int(line[3]) for line in lines if len(line) == 4 and line[0] == "checkpoint"], default=0)

        while checkpoint() < 20_000:
            offset = committed(kafka.bootstrap, f"{prefix}engine", topic, 1)[0]
            assert offset <= checkpoint()
        code, seconds = worker.stop()
    assert code == 0, worker.text()
    assert seconds < 5
    assert committed(kafka.bootstrap, f"{prefix}engine", topic, 1) == [20_000]


def test_a_handler_that_hangs_cannot_keep_a_worker_from_stopping(kafka: Broker, prefix: str, tmp_path: Path) -> None:
    topic = f"{prefix}t"
    kafka.create_topics({topic: 1})
    produce(kafka.bootstrap, topic, 1, range(10))
    with processes() as started:
        worker = engine_worker(tmp_path, kafka.bootstrap, prefix, [topic], behaviour="slow600", GNOMON_DRAIN_TIMEOUT_MS="1500")
        started.append(worker)
        wait_for(lambda: "handling" in worker.text(), "the handler is at work")
        code, seconds = worker.stop()
    assert (code, handled(tmp_path)) == (70, [])
    assert seconds < 4
    assert committed(kafka.bootstrap, f"{prefix}engine", topic, 1)[0] < 0


@pytest.mark.parametrize(("begin", "to"), [(1000, 3000), (3000, 1234), (3000, 0)])
def test_reads_on_from_where_the_state_says(kafka: Broker, prefix: str, tmp_path: Path, begin: int, to: int) -> None:
    """Up, down, and down to 0: aiokafka's own seek leaves 0 out, and would read on from where Kafka was."""
    topic, group = f"{prefix}t", f"{prefix}engine"
    kafka.create_topics({topic: 1})
    produce(kafka.bootstrap, topic, 1, range(4000))
    set_committed(kafka, group, topic, begin)
    with processes() as started:
        worker = engine_worker(tmp_path, kafka.bootstrap, prefix, [topic], behaviour=f"load{to}")
        started.append(worker)
        wait_for(lambda: bool(handled(tmp_path)) and handled(tmp_path)[-1][2] == 3999, "read to the end")
        assert worker.stop()[0] == 0, worker.text()
    assert [line[2] for line in handled(tmp_path)] == list(range(to, 4000))


def set_committed(kafka: Broker, group: str, topic: str, offset: int) -> None:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()
