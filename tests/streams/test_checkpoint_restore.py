"""A fold that is put away and taken back at any point is the same fold: state and findings, byte for byte."""

import json
import random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from support.stories import DAY_MS, OUTCOMES, PREDICTIONS, START_MS, fold, story, tick

from detectors.intake import SourceBatch
from detectors.joiner import Joiner
from detectors.pending import DictTable
from detectors.watch import Watch
from schemas.control import Control, ControlType
from schemas.findings import Event, EventType, to_json
from schemas.policy import Policy, encode_policy, parse_policy
from schemas.scored import Forwarded, Origin, Scored, Tick
from streams.checkpoint_pack import (
    GONE,
    HEAD,
    PIECE,
    PIECE_BYTES,
    VERSION,
    WHOLE_BYTES,
    CheckpointError,
    Fields,
    Packer,
    Position,
    Saved,
    unpack,
)

CONTROL = Origin("control", "c", 0)
POLICIES = (
    "",
    '[models.b]\nages = ["2d", "8d"]\nhorizon = "10d"\non_timeout = "negative"\nbaseline = { days = 14, labels = 100, failures = 10 }\n',
    '[models.a.watch.error]\ndetector = "adwin"\n[models.b.watch.fnr]\nenabled = false\n[defaults]\nbudget = { pages = 5, days = 30 }\n',
)


def scored_log(seed: int) -> list[Scored]:
    """Three models, one of them in two versions, that change; late labels, corrections, repeats, controls; cut and ticked at random."""
    r = random.Random(seed)
    days = 75
    records: list[tuple[int, str, dict[str, Any]]] = []
    for number, (model, version) in enumerate((("a", "1"), ("b", "1"), ("b", "2"), ("c/é", "x y"))):
        delay, per_day = (0.02, 1.0, 3.0, 0.5)[number], (18, 12, 3, 1)[number]  # the first learns its ages within the run
        about = {"model": model, "version": version, "change_day": 45, "error_after": 0.6}
        records += story(seed=seed * 10 + number, days=days, per_day=per_day, delay_days=delay, **about)
    for at, topic, record in r.sample(records, 300):
        if topic == "outcomes":
            later = at + r.randrange(20 * DAY_MS)
            records.append(
                (later, topic, record | {"timestamp": later, "version": 1, "true_label": r.randrange(2), "action_taken": "acted"})
            )
        else:
            records.append((at + r.randrange(DAY_MS), topic, record))  # a repeat
    for i, toml in enumerate(POLICIES):
        at = START_MS + i * 25 * DAY_MS
        records.append((at, "control", json.loads(encode_policy(parse_policy(toml), by="ada", at=at))))
    at = START_MS + 65 * DAY_MS
    records.append((at, "control", {"type": "baseline", "by": "ada", "at": at, "model_id": "a", "body": {"decision": "accept"}}))
    records.sort(key=lambda record: record[0])
    return joined(records, r)


def joined(records: list[tuple[int, str, dict[str, Any]]], r: random.Random) -> list[Scored]:
    """What the join makes of records, cut and ticked at random."""
    joiner, table, log = Joiner(parse_policy(""), b"k"), DictTable(), list[Scored]()
    offsets = {"predictions": 0, "outcomes": 0, "control": 0}
    start = 0
    while start < len(records):
        part = records[start : start + r.choice([1, 30, 200])]
        start += len(part)
        batches = []
        for origin in (CONTROL, PREDICTIONS, OUTCOMES):
            values = [json.dumps(record).encode() for _, topic, record in part if topic == origin.topic]
            first = offsets[origin.topic]
            offsets[origin.topic] += len(values)
            batches.append(SourceBatch(origin, range(first, first + len(values)), [2**50] * len(values), values))
        prepared = joiner.prepare(batches)
        result = joiner.finish(prepared, table.exchange_now(prepared.lookups))
        log += [*result.forwarded, *result.rows]
        if r.random() < 0.4:
            log.append(tick(part[-1][0]))
    return [*log, tick(records[-1][0] + 60 * DAY_MS)]


class Store:
    """A checkpoint's hash: fields are put over those that are there, as Redis does."""

    def __init__(self) -> None:
        self.fields: Fields = {}
        self.packer = Packer()

    def save(self, watch: Watch, position: int) -> Fields:
        fields = self.packer.pack(watch, Position("t", 1, position))
        self.packer.written()
        self.fields = {field: value for field, value in (self.fields | fields).items() if value != GONE}
        watch.changed.clear()
        return fields

    def load(self) -> Saved:
        saved = unpack(self.fields)
        assert saved is not None
        self.packer = saved.packer
        return saved


def state(watch: Watch) -> tuple[bytes, dict[tuple[str, str], bytes]]:
    versions = {(m, n): msgspec.msgpack.encode(v.to_state()) for m, named in watch.models.items() for n, v in named.items()}
    return msgspec.msgpack.encode(watch.head_state()), versions


@pytest.fixture(scope="module")
def log() -> list[Scored]:
    return scored_log(1)


@pytest.fixture(scope="module")
def undisturbed(log: list[Scored]) -> tuple[Watch, list[Event]]:
    watch = Watch()
    return watch, [event for record in log for event in watch.apply(record)]


def test_put_away_and_taken_back_at_random_points(log: list[Scored], undisturbed: tuple[Watch, list[Event]]) -> None:
    plain, expected = undisturbed
    r, store, watch, found, restores = random.Random(1), Store(), Watch(), list[Event](), 0
    for position, record in enumerate(log):
        found += watch.apply(record)
        if r.random() < 0.15:
            store.save(watch, position + 1)
            if r.random() < 0.5:
                watch, restores = store.load().watch, restores + 1
    assert restores > 10
    assert [to_json(event) for event in found] == [to_json(event) for event in expected]
    assert state(watch) == state(plain)
    assert {EventType.DRIFT_OPENED, EventType.DRIFT_CLEARED, EventType.STATISTICS} <= {event.type for event in expected}
    assert all(version.ladder.learnt_ms is not None for version in plain.models["a"].values())


def test_a_crash_repeats_findings_under_the_same_ids_with_the_same_bytes(log: list[Scored], undisturbed: tuple[Watch, list[Event]]) -> None:
    plain, expected = undisturbed
    r, store, watch, found, position, crashes = random.Random(3), Store(), Watch(), dict[str, bytes](), 0, 0
    store.save(watch, 0)
    while position < len(log):
        for event in watch.apply(log[position]):
            assert found.setdefault(event.id, to_json(event)) == to_json(event)
        position += 1
        if r.random() < 0.1:
            store.save(watch, position)
        if r.random() < 0.05:
            watch, (_, _, position), _ = store.load()
            crashes += 1
    assert crashes > 10
    assert found == {event.id: to_json(event) for event in expected}
    assert state(watch) == state(plain)


def test_only_what_changed_is_written(log: list[Scored]) -> None:
    watch, store = Watch(), Store()
    for record in log[:200]:
        watch.apply(record)
    store.save(watch, 200)
    assert len(watch.models) == 3
    assert store.save(watch, 201).keys() == {b"head"}


def test_a_version_that_only_grows_older_is_not_written_and_comes_back_as_it_would_be(log: list[Scored]) -> None:
    watch, store = Watch(), Store()
    for record in log:
        watch.apply(record)
    last = max(high for _, high in watch.sources.highs.items())
    watch.apply(tick(last + 5 * 365 * DAY_MS))  # every age is read
    store.save(watch, 1)
    before = state(watch)
    watch.apply(tick(last + 9 * 365 * DAY_MS))
    assert not watch.changed
    assert state(watch)[1] != before[1]  # panes that the watermark has passed are merged, and closed to predictions
    store.save(watch, 2)
    assert state(store.load().watch) == state(watch)


def test_a_checkpoint_of_another_format_is_refused() -> None:
    fields = Packer().pack(Watch(), Position("t", 1, 5))
    with pytest.raises(CheckpointError, match="cannot be read"):
        unpack({b"head": fields[b"head"][:-3]})
    assert unpack({b"epoch": b"3"}) is None


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every state be written in pieces, and small ones."""
    monkeypatch.setattr("streams.checkpoint_pack.PIECE_BYTES", 512)
    monkeypatch.setattr("streams.checkpoint_pack.WHOLE_BYTES", 0)


def saved_twice(log: list[Scored], between: int) -> tuple[Watch, Store, Fields, Fields]:
    """Save so many records before the end of a log, and at its end."""
    watch, store, written = Watch(), Store(), []
    for position, part in enumerate((log[:-between], log[-between:]), 1):
        for record in part:
            watch.apply(record)
        written.append(store.save(watch, position))
    return watch, store, *written


@pytest.mark.usefixtures("in_pieces")
def test_of_long_tables_only_the_pieces_that_changed_are_written(log: list[Scored]) -> None:
    watch, store, first, second = saved_twice(log, 2)
    pieces = {field for field in first if field.startswith(PIECE)}
    again = pieces & second.keys()
    assert len(pieces) > 20
    assert 0 < len(again) < len(pieces)
    assert all(second[field] != first[field] for field in again)
    assert state(store.load().watch) == state(watch)


def test_pieces_that_are_not_needed_any_more_are_deleted() -> None:
    packer, state = Packer(), {"long": bytes(3 * PIECE_BYTES), "other": [{"long": b"x" * WHOLE_BYTES}]}
    watch: Any = SimpleNamespace(changed={("m", "1")}, count=lambda: None, head_state=dict, state_of=lambda model, name: state)
    first = packer.pack(watch, Position("t", 1, 1))
    assert len(first) == 1 + 1 + 3 + WHOLE_BYTES // PIECE_BYTES
    assert packer.pack(watch, Position("t", 1, 1)) == first  # nobody said that it was written
    packer.written()
    state["long"] = bytes(PIECE_BYTES)
    second = packer.pack(watch, Position("t", 1, 2))
    version, path = msgspec.msgpack.encode(("m", "1")), b".long"
    gone = {PIECE + version + path + b".%d" % i for i in (1, 2)}
    assert {field for field, value in second.items() if value == GONE} == gone
    assert second.keys() - gone == {HEAD, VERSION + version}


@pytest.mark.usefixtures("in_pieces")
def test_who_takes_a_checkpoint_knows_what_stands_there(log: list[Scored]) -> None:
    watch, store = Watch(), Store()
    for record in log:
        watch.apply(record)
    store.save(watch, 1)
    again = store.load().watch
    again.changed.update((model, name) for model, versions in again.models.items() for name in versions)
    assert store.save(again, 2).keys() == {HEAD}


def test_names_may_hold_any_character() -> None:
    joiner, table, watch, store = Joiner(Policy(), b"s"), DictTable(), Watch(), Store()
    names = [("a\0b", "c"), ("a", "b\0c"), ("a", ""), ("", "a")]
    made = {"timestamp": 5, "score": 0.5}
    records = [
        {"request_id": str(i), "model_id": model or "m", "model_version": name or "\0", **made} for i, (model, name) in enumerate(names)
    ]
    values = [json.dumps(record).encode() for record in records]
    prepared = joiner.prepare([SourceBatch(PREDICTIONS, range(len(values)), [9] * len(values), values)])
    for rows in joiner.finish(prepared, table.exchange_now(prepared.lookups)).rows:
        watch.apply(rows)
    store.save(watch, 1)
    assert state(store.load().watch) == state(watch)
    assert len(state(watch)[1]) == len(names)


@pytest.mark.usefixtures("in_pieces")
def test_pieces_of_different_checkpoints_are_refused(log: list[Scored]) -> None:
    _, store, first, second = saved_twice(log, 20)
    lost = next(field for field in second if field.startswith(PIECE) and field in first)
    with pytest.raises(CheckpointError, match="that belong together"):
        unpack(store.fields | {lost: first[lost]})


def test_decisions_end_incidents_of_versions_in_the_same_order_after_a_restart() -> None:
    two, one = (story(seed=seed, days=50, per_day=40, change_day=30, version=name) for seed, name in ((1, "2"), (2, "1")))
    records = [*two, *one]
    records.sort(key=lambda record: record[0])
    assert records[0][2]["model_version"] == "2"  # it comes first, and its name is the later one
    policy = parse_policy('[defaults]\nages = ["1d"]\nbaseline = { days = 14, labels = 200, failures = 10 }\n')
    watch, _ = fold(records, policy=policy, close=False)
    store = Store()
    store.save(watch, 1)
    accept = Control(type=ControlType.BASELINE, at=START_MS + 50 * DAY_MS, by="a", model_id="m", body={"decision": "accept"})
    decision = Forwarded(CONTROL, 1, 0, msgspec.json.encode(accept))
    live, again = watch.apply(decision), store.load().watch.apply(decision)
    assert len(live) > 1
    assert [to_json(event) for event in again] == [to_json(event) for event in live]


def test_a_checkpoint_before_any_time_has_passed_comes_back_as_it_was(log: list[Scored]) -> None:
    watch, store = Watch(), Store()
    for record in log:
        if isinstance(record, Tick):
            break
        watch.apply(record)
    store.save(watch, 1)
    again = store.load().watch
    for model_id in watch.models:
        assert again.state_of(model_id, "") == watch.state_of(model_id, "")
