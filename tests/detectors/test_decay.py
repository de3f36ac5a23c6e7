"""Figures by the age of the model against plain counts, the line against numpy's, and the date of the crossing."""

import random

import msgspec
import numpy as np
import pytest
from support.stories import DAY_MS, START_MS, Record, fold, story

from detectors.model_version import STATE_VERSION, ModelVersion
from detectors.statistics.trend import trend
from detectors.watch_report import report
from schemas.fields import rfc3339
from schemas.policy import Policy, parse_policy
from schemas.report import Decay
from streams.report import render

WEEK_MS = 7 * DAY_MS
POLICY = '[models.m]\nages = ["1d", "8d"]\ncost = { fp = 5.0, fn = "amount" }\n'


def decaying() -> list[Record]:
    """From week to week four points more of the labels are wrong."""
    rng, made = random.Random(2), {}
    records = story(seed=3, days=70, per_day=40, error=0.0, delay_days=2.0)
    for _, topic, record in records:
        if topic == "predictions":
            made[record["request_id"]] = record
        elif rng.random() < 0.05 + 0.04 * (made[record["request_id"]]["timestamp"] - START_MS) / WEEK_MS:
            record["true_label"] = 1 - record["true_label"]
    return records


RECORDS = decaying()


def decay_of(records: list[Record], limits: str = "", **options: object) -> dict[str, Decay]:
    policy: Policy = parse_policy(POLICY + (f"[models.m.decay]\n{limits}\n" if limits else ""))
    watch, _ = fold(records, policy=policy, **options)  # type: ignore[arg-type]
    return {one.metric: one for one in report([watch]).models[0].decay}


def test_weeks_are_plain_counts_of_what_was_known_at_the_mature_age() -> None:
    found = decay_of(RECORDS)
    known = {r["request_id"]: r for _, topic, r in RECORDS if topic == "outcomes"}
    cells = np.zeros((10, 4))
    brier, cost = np.zeros(10), np.zeros(10)
    for at, topic, r in RECORDS:
        label = known.get(r["request_id"])
        if topic == "outcomes" or label is None or label["timestamp"] - at > 8 * DAY_MS:
            continue
        week, y, z = (at - START_MS) // WEEK_MS, label["true_label"], r["predicted_label"]
        cells[week, 2 * y + z] += 1
        brier[week] += (r["score"] - y) ** 2
        cost[week] += {(0, 1): 5.0, (1, 0): r["amount"]}.get((y, z), 0.0)
    _, fp, fn, tp = cells.T
    n = cells.sum(axis=1)
    plain = {"error": (fp + fn) / n, "f1": 2 * tp / (2 * tp + fp + fn), "brier": brier / n, "cost": cost / n}
    assert found["error"].since == rfc3339(START_MS)
    for name, values in plain.items():
        assert [week.week for week in found[name].weeks] == list(range(10))
        assert [week.value for week in found[name].weeks] == pytest.approx(values, abs=1e-9)
    assert [week.n for week in found["error"].weeks] == n.tolist()


def test_the_slope_is_that_of_weighted_least_squares_and_the_limit_is_crossed_where_the_line_says() -> None:
    found = decay_of(RECORDS, "error = 0.6\nf1 = 0.1\nbrier = 0.0")
    for name in ("error", "f1"):
        one = found[name]
        x = 7 * np.array([week.week for week in one.weeks]) + 3.5
        n = np.array([week.n for week in one.weeks], dtype=float) if name == "error" else None
        assert one.slope is not None
        assert one.slope.value is not None
        if n is not None:
            (slope, value), cover = np.polyfit(x, [week.value for week in one.weeks], 1, w=np.sqrt(n), cov=True)
            assert one.slope.value == pytest.approx(30 * slope)
            assert one.slope.hi == pytest.approx(30 * (slope + 2.306004 * np.sqrt(cover[0, 0])))  # Student's t of 8
            assert one.crosses == rfc3339(round(START_MS + (0.6 - value) / slope * DAY_MS))
    assert found["error"].slope is not None
    assert found["error"].slope.value == pytest.approx(0.04 * 30 / 7, rel=0.15)
    assert found["f1"].crosses is not None
    assert found["brier"].crosses == rfc3339(START_MS)  # past it from the first
    assert found["cost"].crosses is None  # no limit
    calm = decay_of(story(seed=9, days=28, per_day=40), "f1 = 0.9")
    assert calm["f1"].crosses is None


def test_a_date_is_given_only_where_the_slope_surely_leads_to_the_limit() -> None:
    """A calm story's slope leads nowhere, whichever way it happens to lean: some do lean towards the limit."""
    leaning = 0
    for records, sure in ((RECORDS, True), (story(seed=12, days=70, per_day=40), False)):
        found = decay_of(records, "error = 0.6\nf1 = 0.05\nbrier = 0.5\ncost = 100.0")
        for name, worse in (("error", 1), ("f1", -1), ("brier", 1), ("cost", 1)):
            slope = found[name].slope or pytest.fail(name)
            assert slope.value is not None
            assert slope.lo is not None
            assert slope.hi is not None
            leads = min(worse * slope.lo, worse * slope.hi) > 0
            assert leads == sure, name
            assert (found[name].crosses is not None) == leads, name
            leaning += not sure and worse * slope.value > 0
    assert leaning


def test_the_dates_beside_a_crossing_are_those_of_the_ends_of_the_slopes_interval() -> None:
    for limits in ("error = 0.6\nf1 = 0.05", "error = 0.1\nf1 = 0.7"):  # ahead, and past
        found = decay_of(RECORDS, limits)
        for one in (found["error"], found["f1"]):
            assert one.slope is not None
            assert one.fitted is not None
            assert one.limit is not None
            x = 7 * np.array([week.week for week in one.weeks]) + 3.5
            n = np.array([week.n for week in one.weeks], dtype=float)
            line = trend(x, np.array([week.value for week in one.weeks]), n)
            assert line is not None
            days = sorted(max(line.at + (one.limit - line.value) / slope, 0.0) for slope in (line.lo, line.slope, line.hi))
            dates = [one.crosses_from, one.crosses, one.crosses_to]
            if one.metric == "error":  # the number of events behind F1 may be half a one
                assert dates == [rfc3339(round(START_MS + day * DAY_MS)) for day in days]
            assert dates == sorted(dates, key=str)
            assert dates[0] != dates[2]


def test_the_interval_holds_its_95_per_cent() -> None:
    rng = np.random.default_rng(5)
    x, n = np.arange(12.0), rng.integers(50, 900, 12).astype(float)
    held = 0
    for _ in range(2_000):
        line = trend(x, rng.binomial(n.astype(int), 0.2 + 0.01 * x) / n, n)
        assert line is not None
        held += line.lo <= 0.01 <= line.hi
    assert 0.93 <= held / 2_000 <= 0.97


def test_fewer_than_three_weeks_have_no_slope() -> None:
    assert trend(np.arange(2.0), np.ones(2), np.ones(2)) is None
    assert trend(np.zeros(4), np.arange(4.0), np.ones(4)) is None
    assert trend(np.arange(4.0), np.array([1.0, np.nan, 2.0, 3.0]), np.array([1.0, 1.0, 1.0, 0.0])) is None


@pytest.mark.parametrize("chunk", [97, 100_000])
def test_batching_changes_nothing(chunk: int) -> None:
    assert msgspec.to_builtins(decay_of(RECORDS, chunk=chunk)) == msgspec.to_builtins(decay_of(RECORDS))


def test_order_changes_nothing() -> None:
    shuffled = random.Random(1).sample(RECORDS, len(RECORDS))
    assert msgspec.to_builtins(decay_of(shuffled, ticks=False)) == msgspec.to_builtins(decay_of(RECORDS))


def test_the_weeks_are_part_of_the_versions_state() -> None:
    watch, _ = fold(RECORDS, policy=parse_policy(POLICY))
    kept = watch.models["m"]["1"].to_state()
    back = ModelVersion.from_state(kept, "m", "1", parse_policy(POLICY).for_model("m"), distinct_scores=4096)
    before = msgspec.to_builtins(report([watch]).models[0].decay)
    assert before
    watch.models["m"]["1"] = back
    assert msgspec.to_builtins(report([watch]).models[0].decay) == before
    with pytest.raises(ValueError, match=f"state of version {STATE_VERSION}, got 2"):
        ModelVersion.from_state(kept | {"version": 2}, "m", "1", parse_policy(POLICY).for_model("m"), distinct_scores=4096)


def test_the_page_draws_the_course_and_says_when_it_crosses() -> None:
    watch, events = fold(RECORDS, policy=parse_policy(POLICY + "[models.m.decay]\nerror = 0.6\n"))
    found = report([watch])
    crosses = found.models[0].decay[0].crosses
    assert crosses is not None
    page = render(found, [watch], events, generated_at_ms=0)
    first, last = found.models[0].decay[0].crosses_from or "", found.models[0].decay[0].crosses_to or ""
    assert first < crosses < last
    assert f"crosses its limit on {crosses[:10]} ({first[:10]} to {last[:10]}, by the slope&#39;s interval)" in page
    open_end = msgspec.structs.replace(found.models[0].decay[0], crosses_to=None)
    endless = msgspec.structs.replace(found, models=[msgspec.structs.replace(found.models[0], decay=[open_end])])
    assert f"({first[:10]} or later, by the" in render(endless, [watch], events, generated_at_ms=0)
    without = msgspec.structs.replace(found, models=[msgspec.structs.replace(found.models[0], decay=[])])
    assert page.count("<svg") == render(without, [watch], events, generated_at_ms=0).count("<svg") + 4
