"""The whole path on a real broker: traffic into the topics, join and watch workers as processes, and what came out."""

import asyncio
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from support.flow import join_worker, provision
from support.kafka_broker import Broker
from support.stories import DAY_MS, OUTCOMES, PREDICTIONS, START_MS, story, tick
from support.workers import Process, committed, read_topic, wait_for

from detectors.intake import SourceBatch
from detectors.joiner import Joiner
from detectors.pending import DictTable
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.codec import encode
from schemas.findings import EventType, to_binary
from schemas.policy import Policy
from schemas.report import Report
from schemas.scored import decode
from schemas.scored import encode as encode_scored
from streams.guard import admin
from streams.live_report import live_report
from streams.producer import scored_partition
from streams.settings import Settings

RUN = "from streams.engine import run; from streams.watch import app; run(app, loglevel='WARNING')"
TIMED = ("predictions", "outcomes")
Record = tuple[int, str, bytes]  # event time, topic, value
Message = tuple[str, int, bytes | None]  # topic, partition, value


def records(days: int = 75) -> list[Record]:
    """Two models, in order of event time: one goes wrong on day 45, the other on day 35, and is well again from day 55 on."""
    made = story(seed=1, days=75, per_day=25, change_day=45, error_after=0.5, model="a", delay_days=0.5)
    made += [r for r in story(seed=2, days=75, per_day=15, change_day=35, error_after=0.6, model="b") if _before(r, 55)]
    made += [_moved(r, 55) for r in story(seed=3, days=20, per_day=15, model="b")]
    lines = [(at, topic, json.dumps(record).encode()) for at, topic, record in made if at < START_MS + days * DAY_MS]
    return sorted(lines, key=lambda line: line[0])


def _before(record: tuple[int, str, dict[str, Any]], day: int) -> bool:
    return record[0] < START_MS + day * DAY_MS


def _moved(record: tuple[int, str, dict[str, Any]], days: int) -> tuple[int, str, dict[str, Any]]:
    at, topic, fields = record
    at += days * DAY_MS
    return at, topic, fields | {"timestamp": at, "request_id": "again-" + fields["request_id"]}


def closing(settings: Settings, at_ms: int) -> list[Message]:
    """A last record for every partition, which takes the watermark past all that came before."""
    prediction = {"request_id": "z", "model_id": "closing", "model_version": "1", "timestamp": at_ms, "score": 0.5}
    outcome = {"request_id": "nobody", "timestamp": at_ms, "true_label": 1}
    partitions = range(settings.source_partitions)
    return [("predictions", p, json.dumps(prediction | {"row": p}).encode()) for p in partitions] + [
        ("outcomes", p, json.dumps(outcome | {"row": p}).encode()) for p in partitions
    ]


def spread(made: Sequence[Record], settings: Settings, seed: int) -> list[Message]:
    """Give each record any partition, in the order given."""
    r = random.Random(seed)
    return [(topic, r.randrange(settings.source_partitions), value) for _, topic, value in made]


def produce(settings: Settings, messages: Sequence[Message]) -> None:
    """Produce messages and wait until Kafka has them."""
    options = {"queue.buffering.max.messages": 2_000_000, "queue.buffering.max.kbytes": 1 << 20}
    producer = Producer({"bootstrap.servers": settings.kafka, "linger.ms": 5, "message.max.bytes": 32 << 20, **options})
    for topic, partition, value in messages:
        producer.produce(settings.topic(topic), value, partition=partition)
        producer.poll(0)
    assert producer.flush(120) == 0


def allow_large(settings: Settings, topic: str) -> None:
    """Let a topic take messages that the service does not."""
    entry = ConfigEntry("max.message.bytes", str(32 << 20), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, settings.topic(topic), incremental_configs=[entry])
    client = admin(settings)
    client.incremental_alter_configs([resource])[resource].result(15)


def watch_worker(folder: Path, settings: Settings, name: str = "0", **env: str) -> Process:
    """Start a watch worker."""
    base = {
        "GNOMON_KAFKA": settings.kafka,
        "GNOMON_PREFIX": settings.prefix,
        "GNOMON_REDIS": settings.redis,
        "GNOMON_SESSION_TIMEOUT_MS": "6000",
        "GNOMON_DATA_DIR": str(folder / f"data-watch-{name}"),
        "GNOMON_COMMIT_INTERVAL_MS": "200",
    }
    return Process([sys.executable, "-c", RUN], {**base, **env}, folder / f"log-watch-{name}")


class Deployment:
    """Topics of one prefix, and the workers on them."""

    def __init__(self, kafka: Broker, redis_url: str, prefix: str, folder: Path, started: list[Process], **fields: Any) -> None:
        self.settings = replace(provision(kafka, prefix, scored_partitions=3, **fields), redis=redis_url)
        self.folder = folder
        self.started = started
        self.count = 0

    def join(self, **env: str) -> Process:
        """Start a join worker."""
        return self._started(join_worker(self.folder, self.settings, self.settings.redis, self._name("j"), **env))

    def watch(self, **env: str) -> Process:
        """Start a watch worker."""
        return self._started(watch_worker(self.folder, self.settings, self._name("w"), **env))

    def _name(self, kind: str) -> str:
        self.count += 1
        return f"{self.settings.prefix}{kind}{self.count}"

    def _started(self, process: Process) -> Process:
        self.started.append(process)
        return process

    def ends(self, topic: str) -> list[int]:
        """Return the end of each partition of a topic."""
        consumer = Consumer({"bootstrap.servers": self.settings.kafka, "group.id": "ends"})
        try:
            name = self.settings.topic(topic)
            partitions = consumer.list_topics(name, timeout=10).topics[name].partitions
            return [consumer.get_watermark_offsets(TopicPartition(name, p), timeout=10)[1] for p in sorted(partitions)]
        finally:
            consumer.close()

    def read(self, group: str, *topics: str) -> bool:
        """Whether a group has committed everything in topics."""
        for topic in topics:
            ends = self.ends(topic)
            offsets = committed(self.settings.kafka, self.settings.topic(group), self.settings.topic(topic), len(ends))
            if [max(0, offset) for offset in offsets] != ends:
                return False
        return True

    def settle(self, watermark_ms: int | None = None, timeout_s: float = 180.0) -> Report:
        """Wait until everything is joined and folded, and the watermark has come to a time; return the report."""
        wait_for(lambda: self.read("join", *TIMED), "all is joined", timeout_s)
        if watermark_ms is not None:
            wait_for(lambda: _low(self.report()) >= watermark_ms, "the watermark moves", timeout_s)
        wait_for(lambda: self.read("watch", "scored"), "all is folded", timeout_s)
        return self.report()

    def report(self) -> Report:
        """Return the report, from the checkpoints."""
        return asyncio.run(live_report(self.settings))

    def findings(self, topic: str = "drift") -> dict[str, tuple[list[tuple[str, bytes]], bytes]]:
        """Return headers and value of each finding by its id; one that came twice must have come with the same bytes."""
        found: dict[str, tuple[list[tuple[str, bytes]], bytes]] = {}
        for headers, value in read_messages(self.settings, topic):
            finding = headers, value
            assert found.setdefault(dict(headers)["ce_id"].decode(), finding) == finding
        return found


def refold(settings: Settings) -> tuple[Report, dict[str, tuple[list[tuple[str, bytes]], bytes]], set[bytes]]:
    """Fold the scored topic in this process, from its beginning: the report, the findings but for statistics by id, the audit trail."""
    watches: dict[int, Watch] = {}
    found, audit = {}, set()
    for partition, _, value in sorted(read_topic(settings.kafka, settings.topic("scored"))):
        for event in watches.setdefault(partition, Watch()).apply(decode(value or b"")):
            if event.type is not EventType.STATISTICS:
                found[event.id] = to_binary(event)
        audit |= {line.value for line in watches[partition].ledger.take()}
    return report([watches[partition] for partition in sorted(watches)]), found, audit


def scored(made: Sequence[Record], settings: Settings, cut: int = 100) -> list[Message]:
    """Return what the join would write to the scored topic, ``cut`` records at a time with a tick after each, and a last one."""
    joiner, table, messages = Joiner(Policy(), b"k"), DictTable(), list[Message]()
    offsets = dict.fromkeys(TIMED, 0)
    count = settings.scored_partitions
    for start in range(0, len(made), cut):
        part = made[start : start + cut]
        batches = []
        for origin in (PREDICTIONS, OUTCOMES):
            values = [value for _, topic, value in part if topic == origin.topic]
            first = offsets[origin.topic]
            offsets[origin.topic] += len(values)
            batches.append(SourceBatch(origin, range(first, first + len(values)), [2**50] * len(values), values))
        prepared = joiner.prepare(batches)
        rows = joiner.finish(prepared, table.exchange_now(prepared.lookups)).rows
        messages += [("scored", scored_partition(each.model_id, count), encode_scored(each)) for each in rows]
        messages += [("scored", p, encode_scored(tick(part[-1][0]))) for p in range(count)]
    return messages + [("scored", p, encode_scored(tick(made[-1][0] + 60 * DAY_MS))) for p in range(count)]


def _low(live: Report) -> int:
    marks = [int(model.state["watermark_ms"] or 0) for model in live.models]
    return min(marks, default=-1)


def read_messages(settings: Settings, topic: str) -> list[tuple[list[tuple[str, bytes]], bytes]]:
    """Return headers and values of everything in a topic."""
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": "reader", "enable.partition.eof": True})
    name, found, ends = settings.topic(topic), [], 0
    partitions = consumer.list_topics(name, timeout=10).topics[name].partitions
    consumer.assign([TopicPartition(name, p, 0) for p in partitions])
    while ends < len(partitions):
        for message in consumer.consume(1000, 0.5):
            if message.error() is None:
                found.append((message.headers() or [], message.value() or b""))
            else:
                ends += 1
    consumer.close()
    return found


def figures(live: Report) -> bytes:
    """What must not depend on the order, the number or the fate of workers, as bytes: all but how many statistics went out."""
    events = {name: count for name, count in live.events.items() if name != "gnomon.statistics"}
    return encode(Report(join=live.join, models=live.models, events=events))
