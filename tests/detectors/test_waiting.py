"""Rows that wait until something is due: what is found, and when, and the state at any time, are those of a fold that never waits."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from support.feature_logs import inputs
from support.stories import DAY_MS, OUTCOMES, PREDICTIONS, START_MS, Record, batches_of, findings, fold, state, story, tick

from detectors.companions import NEVER, Companion
from detectors.companions.retrain import Retrain
from detectors.intake import SourceBatch
from detectors.joiner import Joiner
from detectors.many_sums import Lot, add_lots
from detectors.model_companions import ModelCompanions
from detectors.model_version import ModelVersion
from detectors.pending import DictTable
from detectors.retrain import Ground
from detectors.waiting import Waiting, together
from detectors.watch import Watch
from detectors.watched_model import WatchedModel
from schemas.control import Control, ControlType
from schemas.drift import Severity
from schemas.findings import Event, EventType
from schemas.policy import Policy, encode_policy, parse_policy
from schemas.scored import Forwarded, Kind, Origin, Rows, Scored, Tick
from streams.scenarios import discover

CONTROL = Origin("control", "c", 0)


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


def one_after_another() -> list[Record]:
    """A second version that begins later; no amounts, so that nothing is due at short notice."""
    parts = [story(seed=7, days=50, per_day=30), story(seed=8, days=10, per_day=30, version="2")]
    late = [hastened(record, 1, 41 * DAY_MS) for record in parts[1]]
    return sorted((without_amount(record) for record in parts[0] + late), key=lambda record: record[0])


def without_amount(record: Record) -> Record:
    at, topic, made = record
    return at, topic, {name: value for name, value in made.items() if name != "amount"}


def unalerted(record: Record) -> Record:
    at, topic, made = without_amount(record)
    return at, topic, made | {"alerted": False} if topic == "predictions" else made


def hash_of(text: str) -> float:
    return random.Random(text).random()


def scored(records: Sequence[Record], policy: Policy, seed: int, ticks: Sequence[int] = (0, 1, 1, 4)) -> Iterator[Scored]:
    """Join records as they might come: some late, cut at any place, ticks now and then, people who decide something."""
    rng = random.Random(seed)
    span = records[-1][0] - records[0][0]
    records = sorted(records, key=lambda record: record[0] + rng.choice([0, 0, 0, rng.randrange(span // 50)]))
    joiner, table = Joiner(policy, b"k"), DictTable()
    yield Forwarded(CONTROL, 0, 0, encode_policy(policy, by="test", at=0))
    offsets, now, start = {"predictions": 0, "outcomes": 0}, 0, 0
    decisions = {len(records) // 2: ControlType.BASELINE, len(records) * 2 // 3: ControlType.POLICY}
    while start < len(records):
        part = records[start : start + rng.choice([1, 3, 20, 100])]
        prepared = joiner.prepare(batches_of([(topic, record) for _, topic, record in part], offsets))
        yield from joiner.finish(prepared, table.exchange_now(prepared.lookups)).rows
        until = max(now, part[-1][0] - rng.choice([0, 1, span // 1000, span // 100]))
        for at in sorted(rng.randint(now or until, until) for _ in range(rng.choice(ticks))):
            now = at
            yield Tick({"predictions": 1, "outcomes": 1}, [(PREDICTIONS, now), (OUTCOMES, now)], now)
        for at in [at for at in decisions if start <= at < start + len(part)]:
            yield decided(decisions[at], policy, at, now)
        start += len(part)


def decided(what: ControlType, policy: Policy, offset: int, at_ms: int) -> Forwarded:
    if what == ControlType.POLICY:
        return Forwarded(CONTROL, offset, 0, encode_policy(policy, by="test", at=at_ms))
    control = Control(type=what, at=at_ms, by="test", body={"decision": "accept"})
    return Forwarded(CONTROL, offset, 0, msgspec.json.encode(control))


def hastened(record: Record, times: int = 10_000, later_ms: int = 0) -> Record:
    """Let three weeks pass in three minutes."""
    _, topic, made = record
    at = START_MS + later_ms + (made["timestamp"] - START_MS) // times
    return at, topic, made | {"timestamp": at}


def many() -> list[Record]:
    parts = [story(seed=seed, days=20, per_day=40, change_day=10, model=f"m{seed}") for seed in range(4)]
    return sorted((each for part in parts for each in part), key=lambda record: record[0])


DAILY = '[defaults]\nages = ["1d"]\n'
MADE: dict[str, tuple[Callable[[], list[Record]], str]] = {
    "plain": (lambda: story(seed=3, days=50, per_day=60, change_day=30), ""),
    "unalerted": (lambda: [unalerted(record) for record in story(seed=3, days=60, per_day=60, change_day=30)], ""),
    "slow": (lambda: story(seed=6, days=500, per_day=3, change_day=400), ""),
    "many": (many, ""),
    "dense": (lambda: [hastened(record) for record in many()], ""),
    "inputs": (lambda: inputs("age", days=25), "[defaults.watch.covariate]\nenabled = true\n"),
    "one after another": (one_after_another, DAILY),
    "versions": (two_versions, "[defaults.watch.challenger]\nenabled = true\n"),
}


SHORT_NOTICE = {"one after another"}  # something new makes due what was not: that shows for a short while only


def stories(name: str) -> tuple[list[Record], Policy]:
    if name in MADE:
        make, policy = MADE[name]
        return make(), parse_policy(policy)
    scenario = discover()[name]
    logs = scenario.play(seed=2, scale=scenario.twin / 2)
    records = [(int(str(each["timestamp"])), "predictions", dict(each)) for each in logs.predictions]
    records += [(int(str(each["timestamp"])), "outcomes", dict(each)) for each in logs.outcomes]
    return sorted(records, key=lambda record: record[0]), scenario.read_policy(days=logs.days)


@pytest.mark.parametrize("name", [*MADE, *discover()])
def test_waiting_changes_neither_what_is_found_nor_when_nor_any_state(name: str) -> None:
    records, policy = stories(name)
    patient, eager = Watch(), Watch()
    found, looked = 0, random.Random(1)
    for record in scored(records, policy, seed=len(records), ticks=(30,) if name in SHORT_NOTICE else (0, 1, 1, 4)):
        events = patient.apply(record)
        assert findings(events) == findings(eager.apply(record))
        found += len(events)
        if looked.random() < 0.1:
            patient.counted()  # as who makes metrics does, by the clock on the wall
        for model in eager._models.values():
            model.wake()  # so that nothing waits, and every watermark is looked at
        if looked.random() < (0.3 if name in SHORT_NOTICE else 0.01):
            assert state(patient) == state(eager)
    assert findings(patient.close()) == findings(eager.close())
    assert state(patient) == state(eager)
    assert found


@pytest.mark.parametrize("name", [*MADE, *discover()])
def test_before_what_is_due_next_a_watermark_brings_nothing_but_time(name: str) -> None:
    """Of each version and companion by itself: together one may hide that another is asked too late."""
    records, policy = stories(name)
    watch, rng, looked = Watch(statistics_every_ms=None), random.Random(2), 0
    for record in scored(records, policy, seed=1):
        watch.apply(record)
        if rng.random() < 0.04:
            for model in watch._models.values():
                model.wake()
                looked += sum(brings_only_time(*pair, rng) for pair in pairs_of(model))
    assert looked


Member = ModelVersion | Companion


def pairs_of(model: WatchedModel) -> Iterator[tuple[Member, Member, Callable[[Member, int], list[Event]]]]:
    """Two copies of each version and companion, and how they are advanced."""
    for name, version in model.versions.items():
        once, again = (ModelVersion.from_state(version.to_state(), "m", name, model.policy, 4_096) for _ in range(2))
        for each in (once, again):
            each.take_back_time(version.watermark_ms)
        yield once, again, lambda each, at_ms: each.advance(at_ms, lambda due_ms: 1.0)
    now_ms = max(version.watermark_ms for version in model.versions.values())
    both = ModelCompanions(model.model_id, model.policy), ModelCompanions(model.model_id, model.policy)
    for each in both:
        each.load(copied(model.companions.to_state()))
        each.take_back_time(now_ms)
    for name in both[0].members:
        yield both[0].members[name], both[1].members[name], lambda each, at_ms: each.advance(at_ms, model.versions, [])


def copied(state: dict[str, Any]) -> dict[str, Any]:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(state))


def brings_only_time(once: Member, again: Member, advance: Callable[[Member, int], list[Event]], rng: random.Random) -> bool:
    now_ms = max(getattr(once, "watermark_ms", 0), getattr(once, "now_ms", 0))
    next_ms = min(once.next_ms(now_ms), now_ms + 40 * DAY_MS)
    if now_ms <= 0 or next_ms <= now_ms + 1:
        return False
    at_ms = rng.choice([next_ms - 1, rng.randint(now_ms, next_ms - 1)])
    assert advance(once, at_ms) == []
    again.take_back_time(at_ms)
    assert once.to_state() == again.to_state()
    return True


def test_most_messages_of_plain_traffic_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the test above would compare a fold that never waits with itself."""
    counted = {"came": 0, "counted": 0}

    def counting(name: str) -> None:
        method = getattr(WatchedModel, name)

        def call(self: WatchedModel, *args: object, **kwargs: object) -> object:
            counted["came" if name == "add" else "counted"] += 1
            return method(self, *args, **kwargs)

        monkeypatch.setattr(WatchedModel, name, call)

    def count(lots: Sequence[Lot]) -> None:
        counted["counted"] += versions_in(lots)
        add_lots(lots)

    counting("add")
    counting("_add_to_versions")
    monkeypatch.setattr("detectors.watch.add_lots", count)
    records, policy = stories("dense")
    watch = Watch(statistics_every_ms=None)
    for record in scored(records, policy, seed=1):
        watch.apply(record)
    assert counted["came"] > 2 * counted["counted"]


def versions_in(lots: Sequence[Lot]) -> int:
    return len({id(lot.version) for lot in lots})


def test_companions_wait_for_what_is_due_to_them_not_to_the_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Statistics and panes ask for the versions' sums alone."""
    counted = {ModelVersion: 0, ModelCompanions: 0}
    for kind in counted:
        for name in ("add", "advance"):
            method = getattr(kind, name)

            def call(self: Any, *args: Any, kind: type = kind, method: Callable[..., Any] = method) -> Any:
                counted[kind] += 1
                return method(self, *args)

            monkeypatch.setattr(kind, name, call)

    def count(lots: Sequence[Lot]) -> None:
        counted[ModelVersion] += versions_in(lots)
        add_lots(lots)

    monkeypatch.setattr("detectors.watch.add_lots", count)
    watch = Watch()
    for record in scored([unalerted(record) for record in story(seed=3, days=30, per_day=60)], Policy(), seed=1):
        watch.apply(record)
    assert counted[ModelVersion] > 5 * counted[ModelCompanions]


def test_a_flood_is_told_at_the_next_tick_although_nothing_was_due_for_long() -> None:
    policy = parse_policy(DAILY)
    calm = [without_amount(record) for record in story(seed=9, days=40, per_day=30) if record[1] == "predictions"]
    watch, _ = fold(calm, policy=policy, close=False)
    now = calm[-1][0] // DAY_MS * DAY_MS + DAY_MS + 600_000
    watch.apply(tick(now))
    watch.apply(tick(now + 60_000))
    assert watch._models["m"]._watermark_ms > START_MS  # that tick was for nobody
    offset = len(calm)
    alert = calm[-1][2] | {"alerted": True, "unit": "ward", "alert_key": "bed"}
    flood = [alert | {"request_id": f"flood {i}", "timestamp": now + 60_000 + 1_000 * i, "alert_key": f"bed {i}"} for i in range(15)]
    joiner, table = Joiner(policy, b"k"), DictTable()
    batch = SourceBatch(PREDICTIONS, range(offset, offset + 15), [2**50] * 15, [json.dumps(each).encode() for each in flood])
    prepared = joiner.prepare([batch])
    for rows in joiner.finish(prepared, table.exchange_now(prepared.lookups)).rows:
        watch.apply(rows)
    assert [event.type for event in watch.apply(tick(now + 120_000))] == [EventType.FATIGUE_OPENED]


def test_a_request_to_retrain_may_fall_due_at_any_time_while_an_incident_has_not_asked() -> None:
    retrain = Retrain("m", Policy().defaults)
    assert retrain.next_ms(START_MS) == NEVER
    retrain.grounds["i"] = Ground(
        incident_id="i", model_version="1", onset_ms=0, severity=Severity.MAJOR, metric="error", money_per_day=None, message=""
    )
    assert retrain.next_ms(START_MS) < START_MS
    retrain.asked.add("i")
    assert retrain.next_ms(START_MS) == NEVER


def test_segments_are_numbered_in_the_order_of_the_log() -> None:
    def message(offset: int, dimension: str, value: str) -> Rows:
        columns = {"kind": b"\x01", "offset": np.array([offset]).tobytes(), "score": np.array([0.5]).tobytes()}
        return Rows("m", [PREDICTIONS], 1, columns, ["1"], ["", value], {dimension: np.array([1], "<u4").tobytes()})

    watch = Watch()
    for offset, (dimension, value) in enumerate([("b", "x"), ("b", "a"), ("a", "y")]):
        watch.apply(message(offset, dimension, value))
    segments = watch.models["m"]["1"].sums.segments
    assert [segments.name(number) for number in range(1, 4)] == [{"b": "x"}, {"b": "a"}, {"a": "y"}]


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


@pytest.mark.parametrize("lent", [False, True])
def test_what_the_companions_mind_they_see_at_once_and_once(lent: bool) -> None:
    """The first alert of a model; the version counts it with what comes next."""

    def message(offset: int) -> Rows:
        columns = {"kind": b"\x01", "alerted": b"\x01", "offset": np.array([offset]).tobytes(), "score": np.array([0.5]).tobytes()}
        return Rows("m", [PREDICTIONS], 1, columns, ["1"])

    model = WatchedModel("m", Policy().for_model("m"), 64)
    _, companions = model.unsettled()
    for offset, (waiting, seen) in enumerate([(1, 1), (2, 1), (3, 1)]):
        model.add(message(offset), np.array([0]), whole=True)
        assert (model._waiting.n, int(companions.members["fatigue"].ledger.tables["made"].rows.sum(axis=0)[0])) == (waiting, seen)
    if lent:
        add_lots(model.lend())
    assert int(model.versions["1"].sums.tables["total_made"].rows[0, 0]) == 3
    assert int(model.companions.members["fatigue"].ledger.tables["made"].rows.sum(axis=0)[0]) == 3


def test_classes_of_versions_past_the_cap_are_numbered_in_the_order_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.watched_model.MAX_VERSIONS", 1)
    texts = ["", *(f"class {i}" for i in range(40))]
    code = np.repeat(np.arange(1, 41, dtype="<u4"), 3)
    columns = {"kind": b"\x02" * 3, "version": np.arange(3, dtype="<u2").tobytes()}
    said = [code[start : start + 3].tobytes() for start in (1, 58, 5, 100, 29)]
    messages = [Rows("m", [PREDICTIONS], 3, columns | {"said": each, "truth": each}, ["1", "2", "3"], texts) for each in said]
    models = [WatchedModel("m", Policy().for_model("m"), 64) for _ in range(2)]
    for rows in messages:
        for model in models:
            model.add(rows, np.arange(3), whole=True)
        assert set(models[1].companions.members["classes"].versions) == {"1", "__other__"}
    assert models[0]._waiting.n == 3 * len(messages)
    states = [model.companions.to_state()["classes"] for model in models]
    assert states[0] == states[1]


def test_who_looks_at_versions_changes_no_state() -> None:
    """Time that has passed with nothing due has passed for what is watched beside the versions, too: what comes next may take it down."""

    def row(offset: int, at_ms: int, kind: Kind) -> Rows:
        known = {"known_at": np.array([at_ms + 1]).tobytes(), "label": b"\x01"} if kind == Kind.LABEL else {}
        columns = {"kind": bytes([kind]), "status": b"\x01", "offset": np.array([offset]).tobytes(), "score": np.array([0.7]).tobytes()}
        return Rows("m", [PREDICTIONS], 1, columns | {"predicted_at": np.array([at_ms]).tobytes()} | known, versions=["1"])

    def passed(at_ms: int) -> Tick:
        return Tick({"predictions": 1, "outcomes": 1}, [(PREDICTIONS, at_ms + 5_000), (OUTCOMES, at_ms + 5_000)], at_ms)

    aged = '[defaults]\nages = ["30d"]\n'
    decay = aged + '[defaults.decay]\nerror = 0.2\n[defaults.retrain]\ndecay_within = "7d"\n'
    log = [
        decided(ControlType.POLICY, parse_policy(aged), 0, START_MS),
        row(0, START_MS, Kind.PREDICTION),
        row(1, START_MS, Kind.LABEL),
        passed(START_MS + 6_000),
        passed(START_MS + 9_000),
        decided(ControlType.POLICY, parse_policy(decay), 1, START_MS + 9_500),
        passed(START_MS + 100_000),
    ]
    plain, seen = Watch(), Watch()
    for record in log:
        plain.apply(record)
        seen.apply(record)
        seen.counted()
    assert plain.state_of("m", "")["retrain"]["since_ms"] == START_MS + 9_000
    assert state(seen) == state(plain)
