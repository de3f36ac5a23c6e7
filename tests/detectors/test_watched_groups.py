"""Which groups are watched: all while there is room, then those of which most is known, whatever their numbers and order."""

import msgspec
import numpy as np
import pytest
from support.stories import DAY_MS, START_MS, Record, findings, fold

from detectors.bank import Bank, StepContext
from detectors.signals import Alarm
from detectors.watched_groups import MOST_GROUPS, WatchedGroups
from schemas.policy import parse_policy
from schemas.policy_models import ModelPolicy, WatchPolicy

ONLY = ModelPolicy(watch={name: WatchPolicy(enabled=name == "error") for name in ModelPolicy().watch})
COUNT = 1_000


def named(numbers):
    """Names of groups by number; ``numbers[i]`` is the number of the i-th group."""
    names = {number: {"shop": f"{place:04d}"} for place, number in enumerate(numbers)} | {0: {}}
    return StepContext(outcome_days=lambda segment: 30.0, name=names.__getitem__)


def sizes_of(rng):
    """A heavy tail: some groups are large, most are small."""
    return rng.permutation((4_000 / (1 + np.arange(COUNT)) + 2).astype(int))


def readings(reading, rng, days, sizes, numbers, *, error=0.1, start=0):
    """A pane a day, first as predictions, then with labels; groups come on their own days, not all at once."""
    comes = rng.integers(0, 5, COUNT)
    for day in range(start, start + days):
        n = np.where(comes <= day - start, rng.poisson(sizes), 0)
        rate = np.array([error(day, group) for group in range(COUNT)]) if callable(error) else error
        wrong = rng.binomial(n, rate)
        there = np.flatnonzero(n)
        order = there[np.argsort(numbers[there])]
        segments = [0, *numbers[order].tolist()]
        fn, tn = (np.append(each.sum(), each[order]) for each in (wrong, n - wrong))
        yield reading(24 * day, rung=0, age_h=0, hours=24, mature=False, segments=segments, made={"n": fn + tn})
        yield reading(24 * day, hours=24, segments=segments, fn=fn, tn=tn, made={"n": fn + tn})


def ranked(reading, numbers, *, days=20):
    bank, context = Bank(policy=ONLY), named(numbers)
    rng = np.random.default_rng(31)
    for each in sorted(readings(reading, rng, days, sizes_of(rng), numbers), key=lambda r: r.due_ms):
        bank.step(each, context)
    return {context.name(segment)["shop"] for segment in bank.segments[1:]}, bank


def test_two_hundred_of_a_thousand_are_watched_whatever_their_numbers(reading):
    """The same panes, the groups numbered as they stand, backwards, and at random: the same two hundred, nearly all of the largest."""
    rng = np.random.default_rng(31)
    sizes = sizes_of(rng)
    largest = {f"{place:04d}" for place in np.argsort(-sizes, kind="stable")[:MOST_GROUPS]}
    told = []
    for numbers in (1 + np.arange(COUNT), COUNT - np.arange(COUNT), 1 + np.random.default_rng(7).permutation(COUNT)):
        watched, bank = ranked(reading, numbers)
        assert len(watched) == MOST_GROUPS
        monitors = bank.panels[1][0].monitors
        assert monitors.count <= MOST_GROUPS + 1
        told.append(watched)
    assert told[0] == told[1] == told[2]
    assert len(told[0] & largest) >= 180


def test_while_there_is_room_all_are_watched_at_once(reading):
    groups = WatchedGroups(most=3)
    segments = np.array([0, 4, 9])
    slots, changed = groups.place(segments, 0, name=lambda number: {"a": str(-number)}, kept=set)
    assert (slots.tolist(), changed) == ([0, 1, 2], [])


def place(groups, sizes, due_ms, kept=frozenset(), column="made"):
    """Count a pane of groups 1, 2, ... and give them places; names are in the order of the numbers."""
    segments = np.arange(len(sizes) + 1)
    groups.count(segments, **{column: np.append(sum(sizes), sizes)})
    slots, changed = groups.place(segments, due_ms, name=lambda number: {"g": f"{number:03d}"} if number else {}, kept=lambda: set(kept))
    return slots[1:].tolist(), changed


def test_ties_go_by_name():
    assert place(WatchedGroups(most=2), [5, 5, 5, 5], 0)[0] == [1, 2, -1, -1]
    groups = WatchedGroups(most=2)
    groups.count(np.arange(5), made=np.array([20, 5, 5, 5, 5]))
    slots, _ = groups.place(np.arange(5), 0, name=lambda number: {"g": f"{9 - number}"} if number else {}, kept=set)
    assert slots[1:].tolist() == [-1, -1, 2, 1]


def test_ranks_are_taken_anew_when_predictions_have_doubled_and_after_four_weeks():
    groups = WatchedGroups(most=2)
    assert place(groups, [9, 8, 3], 0) == ([1, 2, -1], [])
    assert place(groups, [0, 0, 10], 1) == ([1, 2, -1], [])  # 13 of group 3: but 30 are no double of 20
    assert place(groups, [0, 0, 10], 2) == ([1, -1, 2], [2])
    assert groups.segments == [0, 1, 3]
    assert place(groups, [0, 20, 0], 3) == ([1, -1, 2], [])
    assert place(groups, [0, 0, 0], 28 * DAY_MS + 2)[1] == [1]
    assert sorted(groups.segments) == [0, 2, 3]


def test_matured_events_go_before_traffic_and_half_a_per_cent_before_all():
    groups = WatchedGroups(most=1)
    groups.count(np.arange(4), made=np.array([100_000, 400, 99_200, 400]))
    groups.count(np.arange(4), matured=np.array([171, 150, 20, 1]))
    slots, _ = groups.place(np.arange(4), 0, name=lambda number: {}, kept=set)
    assert slots.tolist() == [0, -1, 1, -1]  # group 1 has more labels, but neither 0.5 % nor 200 of them
    groups = WatchedGroups(most=1)
    groups.count(np.arange(4), made=np.array([100_000, 400, 99_200, 400]), matured=np.array([321, 250, 70, 1]))
    slots, _ = groups.place(np.arange(4), 0, name=lambda number: {}, kept=set)
    assert slots.tolist() == [0, 1, -1, -1]


def test_who_has_more_than_learnt_stays(reading):
    """A group with a baseline keeps its place although others have become far larger; one that has only learnt gives way."""
    groups = WatchedGroups(most=2)
    place(groups, [9, 8, 3], 0)
    assert place(groups, [0, 0, 500], 1, kept={2}) == ([-1, 2, 1], [1])

    bank = Bank(policy=ONLY)
    numbers = 1 + np.arange(COUNT)
    context, rng = named(numbers), np.random.default_rng(3)
    small = np.where(np.arange(COUNT) < MOST_GROUPS, 30, 0)  # only the first two hundred come, and arm
    for each in readings(reading, rng, 60, small, numbers):
        bank.step(each, context)
    before = set(bank.segments)
    monitors = bank.panels[1][0].monitors
    assert (monitors.state[: monitors.count] == 1).all()
    large = np.where(np.arange(COUNT) < MOST_GROUPS, 30, 3_000)
    for each in readings(reading, rng, 10, large, numbers, start=60):
        bank.step(each, context)
    assert set(bank.segments) == before


def test_who_enters_learns_from_there_on_and_is_judged(reading):
    """A group that came late and is large takes a place, learns, and is found when it changes."""
    numbers = 1 + np.arange(COUNT)
    context, rng = named(numbers), np.random.default_rng(4)
    bank = Bank(policy=ONLY)
    sizes = np.where(np.arange(COUNT) == 900, 0, 3)
    for each in readings(reading, rng, 10, sizes, numbers):
        bank.step(each, context)
    assert 901 not in bank.segments
    sizes[900] = 3_000
    found = []
    error = lambda day, group: 0.3 if group == 900 and day >= 80 else 0.1  # noqa: E731
    for each in readings(reading, rng, 80, sizes, numbers, error=error, start=10):
        found += [signal for signal in bank.step(each, context) if isinstance(signal, Alarm) and signal.key.segment == 901]
    assert 901 in bank.segments
    assert found
    assert min(alarm.onset_ms for alarm in found) >= 78 * DAY_MS
    row = bank.row(bank.panels[1][0], found[0].key)
    assert bank.panels[1][0].monitors.first[row] >= 10 * DAY_MS


def test_a_restart_changes_nothing(reading):
    numbers = 1 + np.random.default_rng(5).permutation(COUNT)
    context = named(numbers)
    rng = np.random.default_rng(31)
    made = list(readings(reading, rng, 12, sizes_of(rng), numbers))
    whole, parts = Bank(policy=ONLY), Bank(policy=ONLY)
    for each in made:
        whole.step(each, context)
        parts.step(each, context)
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(parts.to_state()), strict=False)
        parts = Bank.from_state(state, policy=ONLY)
    assert msgspec.msgpack.encode(parts.to_state()) == msgspec.msgpack.encode(whole.to_state())
    with pytest.raises(ValueError, match="version 8"):
        Bank.from_state(whole.to_state() | {"version": 4}, policy=ONLY)


def shops(*, seed: int, days: int = 40, per_day: int = 250) -> list[Record]:
    """A thousand shops, some of them large; labels a few hours later."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    at = START_MS + np.sort(rng.integers(0, days * DAY_MS, n))
    share = 1 / (1 + np.arange(COUNT))
    shop = rng.choice(COUNT, n, p=share / share.sum())
    predicted, wrong = rng.random(n) < 0.4, rng.random(n) < 0.1
    records: list[Record] = []
    for i in range(n):
        made = {"request_id": f"r{i}", "model_id": "m", "model_version": "1", "timestamp": int(at[i]), "predicted_label": int(predicted[i])}
        records.append((int(at[i]), "predictions", made | {"subgroups": {"shop": f"{shop[i]:04d}"}}))
        known = int(at[i]) + 3_600_000 * (1 + i % 5)
        records.append((known, "outcomes", {"request_id": f"r{i}", "timestamp": known, "true_label": int(predicted[i] ^ wrong[i])}))
    return sorted(records, key=lambda record: record[0])


def test_order_of_arrival_and_cuts_of_the_log_do_not_choose() -> None:
    """Within a chunk records come in any order, so that the groups are numbered otherwise."""
    policy, records = parse_policy('[models.m]\nages = ["1d"]\n'), shops(seed=8)
    watched, told = [], []
    for shuffle in (False, True):
        mine = list(records)
        if shuffle:
            rng = np.random.default_rng(9)
            mine = [mine[at] for start in range(0, len(mine), 2_000) for at in start + rng.permutation(min(2_000, len(mine) - start))]
        watch, events = fold(mine, policy=policy, chunk=2_000)
        version = watch.models["m"]["1"]
        assert len(version.sums.segments) > 600
        watched.append({version.segment_text(number) for number in version.bank.segments})
        told.append(findings(events))
    assert len(watched[0]) == MOST_GROUPS + 1
    assert watched[0] == watched[1]
    assert told[0] == told[1]
    assert {f"shop = {shop:04d}" for shop in range(60)} <= watched[0]
