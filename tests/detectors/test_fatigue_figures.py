"""The figures of alert fatigue: each against a slow reckoning, alert by alert; the same however the records come."""

import random

import msgspec
import numpy as np
import pytest
from support.stories import DAY_MS, START_MS, Record, fold, tick
from support.stories import story as plain
from support.wards import HOUR_MS, Wards, alert, chatters, floods, outcome, reckoned, stale, wards

from detectors.companions.fatigue import Fatigue
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.fatigue import AlertFigures, FatigueFigures
from schemas.findings import Event, to_json
from schemas.policy import Policy, parse_policy

POLICY = parse_policy('[models.m.fatigue]\nreview_time = "60s"\npeople = 2\n')


def figures(watch: Watch) -> FatigueFigures:
    told = report([watch]).models[0].fatigue
    assert told is not None
    return told


def one(told: FatigueFigures, unit: str | None) -> AlertFigures:
    return told.overall if unit is None else next(each for each in told.units if each.unit == unit)


@pytest.mark.parametrize("unit", [None, "icu", "er", ""])
@pytest.mark.parametrize("seed", [1, 2])
def test_each_figure_is_what_counting_alerts_one_by_one_gives(seed: int, unit: str | None) -> None:
    story = wards(seed)
    watch, _ = fold(story.records, policy=POLICY, chunk=50)
    got, want = one(figures(watch), unit), reckoned(story, unit, people=2, review_ms=60_000)
    responses = want.pop("responses")
    for name, share in (("response_median_s", 0.5), ("response_p90_s", 0.9)):
        exact = responses[max(int(-(-share * len(responses) // 1)) - 1, 0)] / 1000
        assert getattr(got, name) == pytest.approx(exact, rel=0.0101)
    difference, half = want.pop("value_difference")
    assert got.value_difference.value == pytest.approx(difference)
    assert (got.value_difference.lo, got.value_difference.hi) == pytest.approx((difference - half, difference + half))
    assert got.ppv.value == pytest.approx(want.pop("ppv"))
    for name, value in want.items():
        assert getattr(got, name) == (None if value is None else pytest.approx(value)), name


@pytest.mark.parametrize("seed", [3, 4])
def test_floods_chatter_and_stale_alerts_are_what_a_walk_through_time_finds(seed: int) -> None:
    story = wards(seed, bursts=6, alerts=200, keys=3)
    watch, _ = fold(story.records, policy=POLICY, chunk=70)
    told, end = figures(watch), watch.companions["m"].members["fatigue"].now_ms  # type: ignore[attr-defined]
    for unit in ("icu", "er"):
        mine = [a for a in story.alerts if a.unit == unit]
        expected = floods([a.at for a in mine], until=end)
        got = one(told, unit)
        assert got.floods == len(expected) > 0
        lasted = sum((end if stop is None else stop) - begin for begin, stop in expected)
        hours = max(story.hours) + 1 - min(story.hours)
        assert got.flood_share == pytest.approx(lasted / hours / 3_600_000)
        assert got.chatter == chatters(mine) > 0
        assert got.stale == stale(mine, until=end)
    assert told.overall.chatter == chatters(story.alerts)
    assert told.overall.stale == stale(story.alerts, until=end) > 0


def ended(story: Wards, policy: Policy, order: list[int], chunk: int, *, ticks: bool) -> tuple[bytes, list[bytes]]:
    watch, events = fold([story.records[i] for i in order], policy=policy, chunk=chunk, ticks=ticks)
    return msgspec.json.encode(figures(watch)), [to_json(event) for event in events if fatigue(event)]


def fatigue(event: Event) -> bool:
    return event.type.startswith("gnomon.fatigue")


@pytest.mark.parametrize("seed", [5, 6])
def test_neither_order_nor_batches_nor_repeats_change_figures_or_events(seed: int) -> None:
    story = wards(seed, days=10, alerts=900, bursts=8, keys=4)
    text = "[models.m]\nages = ['3d']\nbaseline = { days = 2, labels = 40, failures = 5 }\n[models.m.fatigue]\noverride = 0.3\nppv = 0.6\n"
    policy = parse_policy(text)
    order = list(range(len(story.records)))
    told, events = ended(story, policy, order, 40, ticks=True)
    kinds = {msgspec.json.decode(event)["data"]["kind"] for event in events}
    assert kinds >= {"flood", "chatter", "stale", "override", "ppv"}
    assert ended(story, policy, order, 7, ticks=True) == (told, events)
    twice = [i for i in order for _ in range(1 + i % 2)]
    shuffled = random.Random(seed).sample(twice, len(twice))
    assert ended(story, policy, shuffled, 100, ticks=False) == (told, events)


def test_late_alerts_correct_the_figures_and_nothing_else() -> None:
    story = wards(7, bursts=0, alerts=60, muddle=False)
    burst = wards(8, bursts=1, alerts=1, units=("icu",), muddle=False)
    late = [(at, topic, record | {"request_id": f"late-{record['request_id']}"}) for at, topic, record in burst.records]
    watch, events = fold([*story.records, *late], policy=POLICY, chunk=20)
    in_time, others = fold(sorted([*story.records, *late], key=lambda record: record[0]), policy=POLICY, chunk=20)
    got, want = one(figures(watch), "icu"), one(figures(in_time), "icu")
    assert got.alerts == want.alerts
    assert got.override_rate == want.override_rate
    assert (got.floods, want.floods) == (0, 1)
    assert figures(watch).late == len(burst.alerts)
    assert sum(map(fatigue, events)) < sum(map(fatigue, others))


def test_a_model_without_units_keys_or_dispositions_has_no_fatigue() -> None:
    watch, _ = fold(plain(seed=1, days=2))
    assert report([watch]).models[0].fatigue is None


def sparse(seed: int) -> list[Record]:
    """A ward over twenty weeks, without an answer in the first three; labels come after up to nineteen weeks."""
    rng = np.random.default_rng(seed)
    records = []
    for i, at in enumerate(np.sort(START_MS + rng.integers(0, 140 * DAY_MS, 560)).tolist()):
        records.append(alert(i, at, "icu" if i % 3 else "er", f"bed {i % 5}"))
        records.append(outcome(i, at + int(rng.uniform(0.1, 130) * DAY_MS), true_label=i % 2))
        if at > START_MS + 21 * DAY_MS:
            action = "acted" if rng.random() < (0.8 if at < START_MS + 80 * DAY_MS else 0.1) else "dismissed"
            records.append(outcome(i, at + int(rng.uniform(0.1, 30) * HOUR_MS), action_taken=action, review_seconds=30.0))
    end = START_MS + 140 * DAY_MS
    return [record for record in sorted(records, key=lambda record: record[0]) if record[0] < end]


@pytest.mark.parametrize("days", [22, 140])
@pytest.mark.parametrize("rule", ["ages = ['3d']", "horizon = '98d'\non_timeout = 'negative'"])
def test_state_and_events_do_not_hang_on_how_the_log_is_cut_into_messages_and_ticks(rule: str, days: int) -> None:
    policy = parse_policy(f"[models.m]\n{rule}\nbaseline = {{ days = 7, labels = 20, failures = 5 }}\n[models.m.fatigue]\noverride = 0.5\n")
    records = [record for record in sparse(11) if record[0] < START_MS + days * DAY_MS]
    found = []
    for chunk, ticks in ((5, True), (60, True), (400, True), (60, False)):
        watch, events = fold(records, policy=policy, chunk=chunk, ticks=ticks, close=False)
        events += [] if ticks else watch.apply(tick(max(at for at, _, _ in records)))
        companion = watch.companions["m"].members["fatigue"]
        assert isinstance(companion, Fatigue)
        found.append((msgspec.msgpack.encode(companion.to_state()), [to_json(event) for event in events if fatigue(event)]))
    if days == 140:
        assert any(msgspec.json.decode(event)["data"]["kind"] == "override" for event in found[0][1])
        assert companion.ledger.merged_ms > START_MS + 30 * DAY_MS
    assert all(each == found[0] for each in found[1:])
