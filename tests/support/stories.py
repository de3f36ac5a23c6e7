"""Small made-up streams of predictions and outcomes, and the shortest way from them to a fold."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from detectors.intake import SourceBatch
from detectors.joiner import Joiner
from detectors.model_companions import COMPANIONS
from detectors.pending import DictTable
from detectors.watch import Watch
from schemas.findings import Event, to_json
from schemas.policy import Policy, encode_policy
from schemas.scored import Forwarded, Origin, Tick

DAY_MS = 86_400_000
START_MS = 1_672_531_200_000  # 2023-01-01
PREDICTIONS, OUTCOMES = Origin("predictions", "p", 0), Origin("outcomes", "o", 0)

Record = tuple[int, str, dict[str, Any]]  # event time, topic, record


def story(
    *,
    seed: int,
    days: int = 120,
    per_day: int = 60,
    change_day: int | None = None,
    error: float = 0.08,
    error_after: float = 0.35,
    delay_days: float = 1.0,
    labelled: float = 0.97,
    version: str = "1",
    model: str = "m",
) -> list[Record]:
    """Records in order of event time. From ``change_day`` on the model errs more often; labels come after exponential delays."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    at = START_MS + np.sort(rng.integers(0, days * DAY_MS, n))
    score = rng.beta(1, 2, n).round(3)
    predicted = score >= 0.5
    rate = np.full(n, error)
    if change_day is not None:
        rate[at >= START_MS + change_day * DAY_MS] = error_after
    label = predicted ^ (rng.random(n) < rate)
    known = at + (rng.exponential(delay_days, n) * DAY_MS).astype(np.int64) + 1
    group = rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1])
    kept = rng.random(n) < labelled
    records: list[Record] = []
    for i in range(n):
        key = f"{model}-{version}-{i}"
        made = {
            "request_id": key,
            "model_id": model,
            "model_version": version,
            "timestamp": int(at[i]),
            "score": float(score[i]),
            "predicted_label": int(predicted[i]),
            "amount": float(i % 7) * 10,
            "subgroups": {"group": str(group[i])},
        }
        records.append((int(at[i]), "predictions", made))
        if kept[i]:
            records.append((int(known[i]), "outcomes", {"request_id": key, "timestamp": int(known[i]), "true_label": int(label[i])}))
    return sorted(records, key=lambda record: record[0])


def labelled_after(delay_ms: int, records: Sequence[Record]) -> list[Record]:
    """The same records, with labels that all take the same time."""
    made = {record["request_id"]: at for at, topic, record in records if topic == "predictions"}
    labels = [(made[record["request_id"]] + delay_ms, record) for _, topic, record in records if topic == "outcomes"]
    moved = [(at, "outcomes", record | {"timestamp": at}) for at, record in labels]
    return sorted([*moved, *(each for each in records if each[1] == "predictions")], key=lambda each: each[0])


def fold(
    records: Sequence[Record],
    *,
    chunk: int = 1_000,
    policy: Policy | None = None,
    watch: Watch | None = None,
    close: bool = True,
    ticks: bool = True,
) -> tuple[Watch, list[Event]]:
    """Join and fold records in the order given, ``chunk`` at a time with a tick after each."""
    policy = policy or Policy()
    joiner, table = Joiner(policy, b"k"), DictTable()
    watch = watch or Watch(statistics_every_ms=None)
    events = watch.apply(Forwarded(Origin("control", "c", 0), 0, 0, encode_policy(policy, by="test", at=0)))
    offsets = {"predictions": 0, "outcomes": 0}
    for start in range(0, len(records), chunk):
        part = records[start : start + chunk]
        prepared = joiner.prepare(batches_of([(topic, record) for _, topic, record in part], offsets))
        for rows in joiner.finish(prepared, table.exchange_now(prepared.lookups)).rows:
            events += watch.apply(rows)
        if ticks:
            events += watch.apply(tick(max(at for at, _, _ in part)))
    return watch, events + (watch.close() if close else [])


def batches_of(records: Iterable[tuple[str, dict[str, Any]]], offsets: dict[str, int]) -> list[SourceBatch]:
    """Return records, each with its topic, as a batch of each topic; ``offsets`` says where the topics end, and is moved on."""
    batches, records = [], list(records)
    for origin in (PREDICTIONS, OUTCOMES):
        values = [json.dumps(record).encode() for topic, record in records if topic == origin.topic]
        first = offsets[origin.topic]
        offsets[origin.topic] += len(values)
        batches.append(SourceBatch(origin, range(first, first + len(values)), [2**50] * len(values), values))
    return batches


def tick(at_ms: int) -> Tick:
    """Event time of both topics has come to a moment."""
    return Tick({"predictions": 1, "outcomes": 1}, [(PREDICTIONS, at_ms), (OUTCOMES, at_ms)], at_ms)


def findings(events: Iterable[Event]) -> list[bytes]:
    """Findings as they go out."""
    return [to_json(event) for event in events]


def state(watch: Watch) -> bytes:
    """The whole state of a fold."""
    versions = {f"{model}/{name}": watch.state_of(model, name) for model, named in watch.models.items() for name in (*named, COMPANIONS)}
    return msgspec.msgpack.encode([watch.head_state(), versions])
