"""The fold: what it finds depends on the log alone, not on how it was cut, ticked or delivered."""

import random

import msgspec
import numpy as np
import pytest
from support.stories import DAY_MS, OUTCOMES, PREDICTIONS, START_MS, findings, fold, labelled_after, state, story

from detectors.model_companions import COMPANIONS
from detectors.sources import SourceRecreatedError
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.findings import Event, EventType
from schemas.policy import parse_policy
from schemas.scored import Origin, Rows, Tick

CHANGED = story(seed=1, days=75, per_day=30, change_day=50)


def test_a_change_is_found_after_it_began_and_not_before() -> None:
    _, events = fold(CHANGED)
    opened = [event for event in events if event.type == EventType.DRIFT_OPENED and event.data.kind.value == "concept"]
    assert opened
    assert opened[0].time_ms >= START_MS + 50 * DAY_MS
    assert opened[0].data.onset >= "2023-02-15"  # some panes of slack before 20 February
    assert opened[0].data.current.value > opened[0].data.baseline.hi


@pytest.mark.parametrize("chunk", [97, 10**9])
def test_findings_and_state_do_not_depend_on_where_the_log_is_cut_and_ticked(chunk: int) -> None:
    watch, events = fold(CHANGED, chunk=1_000)
    other, others = fold(CHANGED, chunk=chunk)
    assert findings(others) == findings(events)
    assert findings(events)
    assert state_but_offsets(other) == state_but_offsets(watch)


def test_what_a_rung_has_yet_to_read_does_not_merge_with_what_it_has_read() -> None:
    """Once the first predictions are there, age 0 is read in wider panes, from the middle of one on."""
    records = labelled_after(3_600_000, story(seed=8, days=40, per_day=60, error=0.2, labelled=1.0))[:2_400]
    watch, _ = fold(records, close=False)
    other, _ = fold(records, close=False, chunk=53)
    assert state_but_offsets(other) == state_but_offsets(watch)


def state_but_offsets(watch: Watch) -> bytes:
    return msgspec.msgpack.encode([watch.state_of(model, name) for model, named in watch.models.items() for name in (*named, COMPANIONS)])


def test_a_second_delivery_changes_nothing() -> None:
    watch, _ = fold(CHANGED[:3_000], close=False)
    before = state(watch)
    rows = Rows("m", [PREDICTIONS], 1, {"kind": b"\x01", "status": b"\x01", "offset": np.array([5]).tobytes()}, versions=["1"])
    watch.apply(rows)
    assert state(watch) == before


def test_order_of_arrival_changes_no_figure() -> None:
    shuffled = random.Random(3).sample(CHANGED, len(CHANGED))
    watch, _ = fold(CHANGED, close=False)
    other, _ = fold(shuffled, close=False, ticks=False)
    assert msgspec.to_builtins(report([other]).models[0].segments) == msgspec.to_builtins(report([watch]).models[0].segments)


def test_a_topic_made_anew_is_refused() -> None:
    watch, _ = fold(CHANGED[:100], close=False)
    with pytest.raises(SourceRecreatedError, match="created anew"):
        watch.apply(Tick({"predictions": 1, "outcomes": 1}, [(Origin("predictions", "other", 0), 5)]))


def test_time_waits_for_every_source_partition() -> None:
    watch = Watch()
    watch.apply(Tick({"predictions": 2, "outcomes": 1}, [(PREDICTIONS, 100), (OUTCOMES, 90)]))
    assert watch.sources.time_ms() is None
    watch.apply(Tick({"predictions": 2, "outcomes": 1}, [(Origin("predictions", "p", 1), 80)]))
    assert watch.sources.time_ms() == 80
    watch.apply(Tick({"predictions": 2, "outcomes": 1}, [(Origin("predictions", "p", 1), 70)]))
    assert watch.sources.time_ms() == 80  # a repeated, older tick takes nothing back


def test_versions_have_baselines_of_their_own_and_share_the_budget() -> None:
    versions_of = (story(seed=seed, days=40, per_day=20, version=name) for seed, name in ((4, "1"), (5, "2")))
    two = sorted((record for records in versions_of for record in records), key=lambda record: record[0])
    watch, _ = fold(two, close=False)
    versions = watch.models["m"]
    late = START_MS + 35 * DAY_MS
    assert [watch._model("m").share(name)(late) for name in versions] == [0.5, 0.5]
    assert watch._model("m").share("1")(late + 365 * DAY_MS) == 1.0


def test_statistics_come_at_most_once_a_second_of_the_ticks_clock_and_only_of_what_has_changed() -> None:
    watch, half = Watch(statistics_every_ms=1_000), CHANGED[:500]
    ahead = CHANGED[-1][0] + 365 * DAY_MS  # one partition is far ahead of the other, as the furthest event time must not pace the rest

    def beat(at_ms: int) -> list[Event]:
        return watch.apply(Tick({"predictions": 1, "outcomes": 1}, [(PREDICTIONS, ahead), (OUTCOMES, START_MS)], at_ms))

    fold([record for record in half if record[1] == "predictions"], watch=watch, close=False, ticks=False)
    first = beat(10_000)
    assert {event.type for event in first} == {EventType.STATISTICS}
    assert (first[0].data.n_predictions, first[0].data.n_labelled) == (sum(topic == "predictions" for _, topic, _ in half), 0)
    assert beat(12_000) == []  # nothing has changed
    labels = Rows("m", [OUTCOMES], 1, {"kind": b"\x02", "status": b"\x02", "score": np.array([0.5]).tobytes()}, versions=["1"])
    watch.apply(labels)
    assert beat(12_500)[0].data.n_labelled == 1
    watch.apply(msgspec.structs.replace(labels, columns=labels.columns | {"offset": np.array([1]).tobytes()}))
    assert beat(13_000) == []  # too soon, but not forgotten
    assert beat(13_500)[0].data.n_labelled == 2


def test_models_and_versions_past_the_caps_share_one_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.watch.MAX_MODELS", 2)
    monkeypatch.setattr("detectors.watched_model.MAX_VERSIONS", 1)
    records = [r for model in "abc" for version in "12" for r in story(seed=6, days=1, per_day=5, model=model, version=version)]
    watch, _ = fold(sorted(records, key=lambda record: record[0]), close=False)
    assert len(watch.models) == 3  # two and the rest
    assert "__other__" in watch.models
    assert all(set(versions) <= {"1", "2", "__other__"} and len(versions) <= 2 for versions in watch.models.values())
    assert report([watch]).join.predictions == 30


def test_versions_past_the_cap_share_one_in_what_is_watched_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.watched_model.MAX_VERSIONS", 1)
    records = [r for version in "123" for r in story(seed=6, days=30, per_day=5, version=version)]
    watch, _ = fold(sorted(records, key=lambda record: record[0]), close=False)
    members = watch.companions["m"].members
    assert set(watch.models["m"]) == {"1", "__other__"}
    assert set(members["labels"].actions) == set(members["amounts"].versions) == {"1", "__other__"}
    assert all(version.labels is not None and version.amounts for version in report([watch]).models)


def test_made_up_versions_fill_no_companion() -> None:
    """Each message of another version, with all that companions keep by version."""
    watch = Watch()
    for i in range(300):
        at = np.full(2, START_MS + i, "<i8").tobytes()
        columns = {"kind": b"\x01\x02", "index": np.arange(2, dtype="<i4").tobytes(), "offset": np.full(2, i, "<i8").tobytes()}
        columns |= {"predicted_at": at, "known_at": at, "score": np.full(2, 0.5).tobytes(), "amount": np.full(2, 10_000, "<i8").tobytes()}
        classes = np.array([0, 1 + i % 2], dtype="<u4").tobytes()
        columns |= {"said": classes, "truth": classes} if i % 3 else {}
        watch.apply(Rows("m", [PREDICTIONS], 2, columns, versions=[f"v{i}"], texts=["", "a", "b"]))
    state = watch.state_of("m", COMPANIONS)
    kept = {name: state[name][field] for name, field in (("amounts", "versions"), ("classes", "versions"), ("labels", "actions"))}
    kept |= {"retrain": state["retrain"]["labels"], "probes": dict(state["probes"]["versions"])}
    assert {name: set(each) <= set(watch.models["m"]) for name, each in kept.items()} == dict.fromkeys(kept, True)
    assert kept["labels"]["__other__"][0] == [100, 100]


def test_policy_arrives_as_a_record_and_ages_are_those_it_declares() -> None:
    policy = parse_policy('[models.m]\nages = ["1h", "2d"]\nhorizon = "8d"\non_timeout = "negative"\n')
    watch, _ = fold(CHANGED[:2_000], policy=policy)
    ladder = report([watch]).models[0].ladder
    assert [rung.age_s for rung in ladder] == [0, 3_600, 172_800, 691_200]
    assert [rung.mature for rung in ladder] == [False, False, False, True]


def test_times_before_1970_give_the_same_findings() -> None:
    """Fifty-seven years earlier, by whole weeks: the same incidents, told at the same distance from the start."""
    shift = 57 * 52 * 7 * DAY_MS
    earlier = [(at - shift, topic, record | {"timestamp": record["timestamp"] - shift}) for at, topic, record in CHANGED]
    _, events = fold(CHANGED)
    _, others = fold(earlier)
    assert START_MS - shift < 0
    assert [(e.type, e.time_ms, e.data.current) for e in events] == [(e.type, e.time_ms + shift, e.data.current) for e in others]
