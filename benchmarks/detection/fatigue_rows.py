"""Alert fatigue: how soon a ward that gets worse is named, how often a calm one, and the load of our own alarms on one operator."""

import sys
from pathlib import Path

import numpy as np

from benchmarks.detection.table import Table, delays, poisson, upper, verdict
from detectors.watch_report import report
from schemas.control import Control, ControlType
from schemas.drift import DriftData
from schemas.fatigue import AlarmFigures, FatigueData
from schemas.findings import EventType
from schemas.policy import parse_policy

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
CHANGES = {
    "PPV 50 → 30 %": {"ppv": 0.3},
    "PPV 50 → 10 %": {"ppv": 0.1},
    "responses half as fast": {"minutes": 20.0},
    "reviews twice as long": {"review_s": 120.0},
    "acted upon 70 → 20 %, at least 50 % asked for": {"acted": 0.2},
}
POLICY = '[models.m]\nages = ["1d"]\n[models.m.fatigue]\noverride = 0.5\n'


def wards(scale: float) -> Table:
    """Run two wards with twelve alerts a day each through join and fold; one of them changes on day 60, or none does."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    from support.stories import START_MS, fold  # noqa: PLC0415  the tests' folder must be on the path first
    from support.wards import ward_days  # noqa: PLC0415  likewise

    runs, calm_runs, days, change = max(1, round(20 * scale)), max(1, round(100 * scale)), 100, 60
    table = Table(
        "Two wards with 12 alerts a day each: a change in one on day 60 of 100, budget 1 page a month, a fifth of it for fatigue",
        ("change", "events before it, or at the other ward", "found", "median / p90 delay, days"),
    )
    policy = parse_policy(POLICY)
    calm = 0
    for seed in range(calm_runs):
        records = sorted(ward_days(20_000 + seed, days=days), key=lambda record: record[0])
        _, events = fold(records, policy=policy, chunk=2_000)
        calm += sum(event.type is EventType.FATIGUE_OPENED for event in events)
    months = calm_runs * days / 30
    table.add("none", f"{poisson(calm, months)} a month", "", "")
    for name, after in CHANGES.items():
        found, wrong = np.full(runs, np.nan), 0
        for seed in range(runs):
            records = ward_days(30_000 + seed, days=days, changed="icu", day=change, **after)
            _, events = fold(sorted(records, key=lambda record: record[0]), policy=policy, chunk=2_000)
            for event in events:
                if event.type is EventType.FATIGUE_OPENED and isinstance(event.data, FatigueData):
                    day = (event.time_ms - START_MS) / DAY_MS - change
                    wrong += day < 0 or event.data.unit != "icu"
                    if day >= 0 and event.data.unit == "icu" and np.isnan(found[seed]):
                        found[seed] = day
        table.add(name, f"{wrong} in {runs} runs", f"{int((~np.isnan(found)).sum())} of {runs}", delays(found))
    reached = verdict(upper(calm, months) <= 0.2)
    table.notes.append(
        f"{calm_runs} calm runs, seeds 20,000 and on; {runs} a change, 30,000 and on. Calm: upper bound ≤ 0.2 a month: {reached}."
    )
    return table


def fleet(scale: float) -> Table:
    """Run fifty models through join and fold, ten of which fail on day 60, with one operator who acknowledges within the hour, or not."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    from support.stories import fold, story  # noqa: PLC0415  the tests' folder must be on the path first

    models, days = max(2, round(50 * scale)), 90
    streams = [
        story(seed=40_000 + i, days=days, per_day=20, model=f"model {i}", change_day=None if i % 5 else 60, delay_days=1.0)
        for i in range(models)
    ]
    watch, events = fold(sorted((record for stream in streams for record in stream), key=lambda record: record[0]), chunk=20_000)
    ignored = report([watch]).alarms
    for event in events:
        if event.type is EventType.DRIFT_OPENED and isinstance(event.data, DriftData):
            watch.alarms.heed(Control(type=ControlType.ACK, by="operator", at=event.time_ms + HOUR_MS, incident_id=event.data.incident_id))
    heeded = report([watch]).alarms
    table = Table(
        f"The load of our own alarms: {models} models on one operator for {days} days, a fifth of them failing from day 60 on",
        ("operator", "incidents", "an hour", "10-minute windows with more than ten", "chatter", "stale on the worst day"),
    )
    for name, told in (("acknowledges within the hour", heeded), ("takes note of nothing", ignored)):
        table.add(name, told.incidents, f"{told.per_hour:.2g}", f"{told.crowded_share:.2%}", told.chatter, told.stale)
    table.notes.append(f"Aims: at most 6 an hour, under 1 % of windows, no chatter, fewer than 5 stale: {verdict(_light(heeded))}.")
    return table


def _light(told: AlarmFigures) -> bool:
    within = told.per_hour is not None and told.per_hour <= 6 and told.crowded_share is not None and told.crowded_share < 0.01
    return within and told.chatter == 0 and told.stale < 5
