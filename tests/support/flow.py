"""Traffic with a known truth through the join on a real broker, and what came out of it, counted without the join's own code."""

import json
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Producer
from support.kafka_broker import Broker
from support.workers import Process, committed, read_topic

from schemas.scored import Kind, Origin, Rows, Status, Tick, decode
from streams.guard import admin
from streams.provision import apply, plan
from streams.settings import Settings

START_MS = 1_700_000_000_000
RUN = "from streams.engine import run; from streams.join import app; run(app, loglevel='WARNING')"
Truth = dict[str, Counter[tuple[object, ...]]]


@dataclass
class Traffic:
    """Records to send, as (topic, value), and the counts that any way through the join must come to."""

    records: list[tuple[str, bytes]] = field(default_factory=list)
    predictions: Counter[str] = field(default_factory=Counter)  # by model
    labels: Counter[tuple[str, int]] = field(default_factory=Counter)  # in force, by (model, label)
    bad: int = 0


def traffic(seed: int, n: int, name: str = "r") -> Traffic:
    """Predictions of five models, most with an outcome before or after them; repeats, corrections, and records that cannot be read."""
    r, made = random.Random(seed), Traffic()
    for i in range(n):
        model, ident = f"m{r.randrange(5)}", f"{name}{i}"
        record = {"request_id": ident, "model_id": model, "model_version": "1", "timestamp": START_MS + i, "score": round(r.random(), 3)}
        claims = [json.dumps(record).encode()] * r.choice([1, 1, 1, 2])
        made.records += [("predictions", claim) for claim in claims]
        made.predictions[model] += 1
        if r.random() < 0.7:
            labels = [r.randrange(2) for _ in range(r.choice([1, 1, 1, 2]))]
            for version, label in enumerate(labels):
                outcome = {"request_id": ident, "timestamp": START_MS + n + i + version, "version": version, "true_label": label}
                made.records.append(("outcomes", json.dumps(outcome).encode()))
            made.labels[model, labels[-1]] += 1
        if r.random() < 0.01:
            made.records.append((r.choice(["predictions", "outcomes"]), b'{"request_id": '))
            made.bad += 1
    r.shuffle(made.records)
    return made


def provision(kafka: Broker, prefix: str, **fields: object) -> Settings:
    """Make the topics: three source partitions, two scored ones."""
    settings = Settings(kafka=kafka.bootstrap, prefix=prefix, **{"source_partitions": 3, "scored_partitions": 2, **fields})
    client = admin(settings)
    apply(client, settings, plan(client, settings))
    return settings


def send(settings: Settings, records: list[tuple[str, bytes]], seed: int = 0) -> None:
    """Produce records, each to any partition: the join must not need that an id's records meet."""
    r, producer = random.Random(seed), Producer({"bootstrap.servers": settings.kafka, "linger.ms": 5})
    for topic, value in records:
        producer.produce(settings.topic(topic), value, partition=r.randrange(settings.source_partitions) if topic != "control" else 0)
        producer.poll(0)
    assert producer.flush(30) == 0


def join_worker(folder: Path, settings: Settings, redis_url: str, name: str = "0", command: list[str] | None = None, **env: str) -> Process:
    """Start a join worker."""
    base = {
        "GNOMON_KAFKA": settings.kafka,
        "GNOMON_PREFIX": settings.prefix,
        "GNOMON_REDIS": redis_url,
        "GNOMON_SESSION_TIMEOUT_MS": "6000",
    }
    base |= {"GNOMON_DATA_DIR": str(folder / f"data-{name}"), "GNOMON_SECRET_KEY": "tests", "GNOMON_COMMIT_INTERVAL_MS": "200"}
    return Process(command or [sys.executable, "-c", RUN], {**base, **env}, folder / f"log-{name}")


def done(settings: Settings, sent: int) -> bool:
    """Whether all of the records sent so far are committed."""
    n, group = settings.source_partitions, settings.topic("join")
    return sum(max(0, o) for t in ("predictions", "outcomes") for o in committed(settings.kafka, group, settings.topic(t), n)) >= sent


@dataclass
class Scored:
    """What the scored topic holds, read as the watch does: rows that are not above their mark are dropped."""

    predictions: Counter[str] = field(default_factory=Counter)
    labels: Counter[tuple[str, int]] = field(default_factory=Counter)
    records: Counter[Status] = field(default_factory=Counter)
    dropped: int = 0
    controls: list[tuple[int, bytes]] = field(default_factory=list)  # (scored partition, record)
    ticks: dict[int, dict[Origin, int]] = field(default_factory=dict)
    models: dict[str, set[int]] = field(default_factory=dict)  # scored partitions of each
    behind: int = 0  # rows that came after a tick that claims to have covered them


def read_scored(settings: Settings) -> Scored:
    """Read the scored topic to its end."""
    out, marks = Scored(), dict[tuple[str, Origin], tuple[int, int]]()
    for partition, _, value in read_topic(settings.kafka, settings.topic("scored")):
        record = decode(value or b"")
        if isinstance(record, Tick):
            highs = out.ticks.setdefault(partition, {})
            highs.update({origin: max(high, highs.get(origin, 0)) for origin, high in record.highs})
        elif isinstance(record, Rows):
            out.models.setdefault(record.model_id, set()).add(partition)
            _add(out, record, marks)
        else:
            out.controls.append((partition, record.record))
    return out


def _add(out: Scored, rows: Rows, marks: dict[tuple[str, Origin], tuple[int, int]]) -> None:
    names = ("origin", "offset", "index", "kind", "sign", "status", "count", "label")
    before = dict(marks)
    for origin, offset, index, kind, sign, status, count, label in zip(*(rows.column(name).tolist() for name in names), strict=True):
        mark = (rows.model_id, rows.origins[origin])
        if (offset, index) <= before.get(mark, (-1, -1)):
            out.dropped += 1
            continue
        marks[mark] = max((offset, index), marks.get(mark, (-1, -1)))
        if kind == Kind.PREDICTION:
            out.predictions[rows.model_id] += sign
        if kind == Kind.LABEL:
            out.labels[rows.model_id, label] += sign
        if status not in {Status.NONE, Status.SUPERSEDED}:
            out.records[Status(status)] += count


def check(settings: Settings, *sent: Traffic) -> Scored:
    """Hold the scored topic against the truth; returns what it holds."""
    out = read_scored(settings)
    assert out.predictions == sum((t.predictions for t in sent), Counter())
    assert +out.labels == sum((t.labels for t in sent), Counter())
    assert out.records[Status.DEAD_LETTER] == sum(t.bad for t in sent)
    assert sum(out.records.values()) == sum(len(t.records) for t in sent)  # each record is counted once
    assert all(len(partitions) == 1 for partitions in out.models.values())
    return out
