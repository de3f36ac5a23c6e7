"""Rows that wait until something is due: what is found, and when, and the state at any time, are those of a fold that never waits."""

import json
import random
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
import pytest
from support.feature_logs import inputs
from support.stories import DAY_MS, OUTCOMES, PREDICTIONS, START_MS, Record, findings, state, story

from detectors.intake import SourceBatch
from detectors.joiner import Joiner
from detectors.pending import DictTable
from detectors.waiting import Waiting, together
from detectors.watch import Watch
from detectors.watched_model import WatchedModel
from schemas.control import Control, ControlType
from schemas.policy import Policy, encode_policy, parse_policy
from schemas.scored import Forwarded, Origin, Rows, Scored, Tick
from streams.scenarios import discover

CONTROL = Origin("control", "c", 0)
SCENARIOS = sorted(discover())


def two_versions() -> list[Record]:
    """Two versions that answer the same requests; the second errs more often from day 20 on."""
    records = []
    for at, topic, record in story(seed=5, days=30, per_day=30):
        records.append((at, topic, record))
        if topic == "predictions":
            worse = at >= START_MS + 20 * DAY_MS and hash_of(record["request_id"]) < 0.3
            label = record["predicted_label"] ^ worse
            records.append((at, topic, record | {"model_version": "2", "predicted_label": label}))
    return records


def hash_of(text: str) -> float:
    return random.Random(text).random()


def scored(records: Sequence[Record], policy: Policy, seed: int) -> Iterator[Scored]:
    """Join records as they might come: some late, cut at any place, ticks now and then, people who decide something."""
    rng = random.Random(seed)
    span = records[-1][0] - records[0][0]
    records = sorted(records, key=lambda record: record[0] + rng.choice([0, 0, 0, rng.randrange(span // 50)]))
    joiner, table = Joiner(policy, b"k"), DictTable()
    yield Forwarded(CONTROL, 0, 0, encode_policy(policy, by="test", at=0))
    offsets, now, start = {"predictions": 0, "outcomes": 0}, 0, 0
    decisions = {len(records) // 2: ControlType.BASELINE, len(records) * 2 // 3: ControlType.POLICY}
    while start < len(records):
        part = records[start : start + rng.choice([1, 3, 20, 200])]
        batches = []
        for origin in (PREDICTIONS, OUTCOMES):
            values = [json.dumps(record).encode() for _, topic, record in part if topic == origin.topic]
            first = offsets[origin.topic]
            offsets[origin.topic] += len(values)
            batches.append(SourceBatch(origin, range(first, first + len(values)), [2**50] * len(values), values))
        prepared = joiner.prepare(batches)
        yield from joiner.finish(prepared, table.exchange_now(prepared.lookups)).rows
        if rng.random() < 0.7:
            now = max(now, part[-1][0] - rng.choice([0, 1, span // 1000, span // 100]))
            yield Tick({"predictions": 1, "outcomes": 1}, [(PREDICTIONS, now), (OUTCOMES, now)], now)
        for at in [at for at in decisions if start <= at < start + len(part)]:
            yield decided(decisions[at], policy, at, now)
        start += len(part)


def decided(what: ControlType, policy: Policy, offset: int, at_ms: int) -> Forwarded:
    if what == ControlType.POLICY:
        return Forwarded(CONTROL, offset, 0, encode_policy(policy, by="test", at=at_ms))
    control = Control(type=what, at=at_ms, by="test", body={"decision": "accept"})
    return Forwarded(CONTROL, offset, 0, msgspec.json.encode(control))


def hastened(record: Record, times: int = 10_000) -> Record:
    """Let three weeks pass in three minutes."""
    _, topic, made = record
    at = START_MS + (made["timestamp"] - START_MS) // times
    return at, topic, made | {"timestamp": at}


def stories(name: str) -> tuple[list[Record], Policy]:
    if name == "inputs":
        return inputs("age", days=25), parse_policy("[defaults.watch.covariate]\nenabled = true\n")
    if name == "versions":
        return two_versions(), parse_policy("[defaults.watch.challenger]\nenabled = true\n")
    if name == "plain":
        return story(seed=3, days=50, per_day=60, change_day=30), Policy()
    if name == "dense":
        records, policy = stories("many")
        return [hastened(record) for record in records], policy
    if name == "many":
        parts = [story(seed=seed, days=20, per_day=40, change_day=10, model=f"m{seed}") for seed in range(4)]
        return sorted((each for part in parts for each in part), key=lambda record: record[0]), Policy()
    scenario = discover()[name]
    logs = scenario.play(seed=2, scale=scenario.twin / 2)
    records = [(int(str(each["timestamp"])), "predictions", dict(each)) for each in logs.predictions]
    records += [(int(str(each["timestamp"])), "outcomes", dict(each)) for each in logs.outcomes]
    return sorted(records, key=lambda record: record[0]), scenario.read_policy(days=logs.days)


@pytest.mark.parametrize("name", ["plain", "dense", "many", "inputs", "versions", *SCENARIOS])
def test_waiting_changes_neither_what_is_found_nor_when_nor_any_state(name: str) -> None:
    records, policy = stories(name)
    patient, eager = Watch(), Watch()
    found, looked = 0, random.Random(1)
    for record in scored(records, policy, seed=len(records)):
        events = patient.apply(record)
        assert findings(events) == findings(eager.apply(record))
        found += len(events)
        for model in eager._models.values():
            model.wake()  # so that nothing waits, and every watermark is looked at
        if looked.random() < 0.01:
            assert state(patient) == state(eager)
    assert findings(patient.close()) == findings(eager.close())
    assert state(patient) == state(eager)
    assert found


def test_most_messages_of_plain_traffic_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above would compare a fold that never waits with itself."""
    counted = {"came": 0, "counted": 0}

    def counting(name: str) -> None:
        method = getattr(WatchedModel, name)

        def call(self: WatchedModel, *args: object, **kwargs: object) -> object:
            counted["came" if name == "add" else "counted"] += 1
            return method(self, *args, **kwargs)

        monkeypatch.setattr(WatchedModel, name, call)

    counting("add")
    counting("_add")
    records, policy = stories("dense")
    watch = Watch(statistics_every_ms=None)
    for record in scored(records, policy, seed=1):
        watch.apply(record)
    assert counted["came"] > 2 * counted["counted"]


def test_messages_together_are_the_same_rows() -> None:
    rng = np.random.default_rng(4)
    messages = []
    for i in range(5):
        n = int(rng.integers(1, 6))
        texts = ["", *rng.permutation(["a", "b", "c", "d"])[: i % 4 + 1].tolist()]
        columns = {"kind": np.ones(n, "u1").tobytes(), "offset": np.arange(n).tobytes()}
        if i % 2:
            columns |= {"score": rng.random(n).tobytes(), "origin": np.full(n, 1, "u1").tobytes()}
        origins = [Origin("predictions", "p", i % 3), Origin("outcomes", "o", 0)]
        dimensions = {"site": rng.integers(0, len(texts), n).astype("<u4").tobytes()} if i != 2 else {}
        messages.append(Rows("m", origins, n, columns, ["1"], texts, dimensions))
    both = together(messages)
    for name in ("kind", "offset", "score", "sign"):
        np.testing.assert_array_equal(both.column(name), np.concatenate([rows.column(name) for rows in messages]))
    assert [both.origins[code] for code in both.column("origin")] == [
        rows.origins[code] for rows in messages for code in rows.column("origin")
    ]
    assert [both.texts[code] for code in both.dimension("site")] == [
        rows.texts[code] for rows in messages for code in rows.dimension("site")
    ]


def test_no_more_origins_wait_together_than_a_byte_can_tell_apart() -> None:
    def message(first: int, last: int) -> Rows:
        return Rows("m", [Origin("predictions", "p", i) for i in range(first, last)], 1, {"kind": b"\x01"}, ["1"])

    waiting = Waiting()
    waiting.add(message(0, 200))
    assert waiting.fits(message(100, 255))
    assert not waiting.fits(message(100, 256))
