"""Metrics of the watch: how far it has come, how far labels have, what it holds and what it keeps back."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from support.metric_samples import by, samples, value
from support.stories import DAY_MS, fold, story

from detectors.watch import STATE_VERSION, Watch
from schemas.policy import parse_policy
from streams.settings import Settings
from streams.watch_metrics import WatchMetrics


def test_the_watch_tells_of_the_partitions_that_it_holds() -> None:
    metrics, held = WatchMetrics(Settings()), {2: Watch()}
    held[2].sources.partitions, held[2].sources.highs = (
        {"predictions": 1, "outcomes": 1},
        {("predictions", 0): 9_000, ("outcomes", 0): 7_000},
    )

    def size(partition: int) -> int:
        return 100 * partition

    metrics.folds(lambda: held, size)
    assert value(metrics, "watermark_timestamp_seconds", topic="scored", partition="2") == 7
    assert value(metrics, "state_bytes", partition="2") == 200
    assert value(metrics, "model_versions", partition="2") == 0
    assert value(metrics, "state_schema_version") == STATE_VERSION
    found: Mapping[Any, float] = samples(metrics)
    held.clear()
    assert {place for place in found if ("partition", "2") in place[1]} & samples(metrics).keys() == set()


def test_how_far_labels_have_come_is_told_by_age_as_counted_by_hand() -> None:
    ages_days = [1, 3]
    ages = json.dumps([f"{days}d" for days in ages_days])
    policy = parse_policy(f'[defaults]\nages = {ages}\nhorizon = "3d"\non_timeout = "negative"\n')
    records = story(seed=3, days=20, per_day=50, delay_days=1.0, labelled=0.9)
    watch, _ = fold(records, policy=policy, close=False)
    metrics, held = WatchMetrics(Settings()), {0: watch}
    metrics.folds(lambda: held, lambda partition: 0)
    metrics.folded(0, watch)
    made = {fields["request_id"]: at for at, topic, fields in records if topic == "predictions"}
    known = {fields["request_id"]: at for at, topic, fields in records if topic == "outcomes"}
    now = watch.models["m"]["1"].watermark_ms
    for days in ages_days:
        age = days * DAY_MS
        old = {key for key, at in made.items() if at + age <= now}
        shares = len({key for key in old if key in known and known[key] - made[key] <= age}) / len(old)
        assert value(metrics, "label_maturity_ratio", model="m", age=f"{days * 86400}") == pytest.approx(shares, abs=0.01)  # to the pane
    past = [key for key, at in made.items() if at + 3 * DAY_MS <= now]
    timed_out = sum(key not in known or known[key] - made[key] > 3 * DAY_MS for key in past)
    assert value(metrics, "timeout_negatives", model="m") == pytest.approx(timed_out, abs=5)  # to the pane
    assert timed_out > 50
    waiting = min(at for key, at in made.items() if at + 3 * DAY_MS > now and known.get(key, now + 1) > now)
    assert 0 <= value(metrics, "oldest_pending_seconds", model="m") - (now - waiting) / 1000 <= 86_400
    assert value(metrics, "subgroup_overflow_values", model="m") == 0
    held.clear()
    assert not by(metrics, "label_maturity_ratio", "age")


def test_values_beyond_the_cap_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.segments.MAX_VALUES", 2)
    records = story(seed=3, days=2, per_day=50)
    watch, _ = fold(records, close=False)
    metrics = WatchMetrics(Settings())
    metrics.folds(lambda: {0: watch}, lambda partition: 0)
    metrics.folded(0, watch)
    named = Counter(fields["subgroups"]["group"] for _, topic, fields in records if topic == "predictions")
    apart = [pair[1] for pair in watch.models["m"]["1"].sums.segments.pairs if pair is not None]
    assert len(apart) == 3
    assert value(metrics, "subgroup_overflow_values", model="m") == sum(n for name, n in named.items() if name not in apart) > 0


def test_what_a_snooze_keeps_back_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, now = WatchMetrics(Settings()), 0.0
    monkeypatch.setattr("streams.watch_metrics.time.monotonic", lambda: now)
    watch, _ = fold(story(seed=3, days=2, per_day=50), close=False)

    def kept_back(total: int, *, at_s: float, of: Watch = watch) -> float:
        nonlocal now
        now, of.models["m"]["1"].incidents.withheld = at_s, total
        metrics.folded(0, of)
        return value(metrics, "alerts_suppressed_total", reason="snoozed")

    assert kept_back(0, at_s=0) == 0
    assert kept_back(2, at_s=1) == 0  # not looked at again so soon
    assert [kept_back(2, at_s=11), kept_back(2, at_s=22), kept_back(5, at_s=33)] == [2, 2, 5]
    again, _ = fold(story(seed=3, days=2, per_day=50), close=False)  # the partition was taken anew
    assert kept_back(1, at_s=44, of=again) == 6
