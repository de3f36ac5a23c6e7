"""What a report says of monitors that still learn, and of what those that watch would see."""

import math

import msgspec
import pytest
from support.stories import DAY_MS, START_MS, fold, story

from detectors.budget import SHARES
from detectors.progress import monitor_states
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.fields import Timestamp, epoch_ms
from schemas.report import MonitorState


def states(days: int, **given: float) -> tuple[Watch, dict[tuple[str, float], MonitorState]]:
    watch, _ = fold(story(seed=1, days=days, per_day=60, error=0.05, **given), close=False)
    return watch, {(each.metric, each.age_s / 3600): each for each in report([watch]).models[0].monitors}


@pytest.mark.parametrize("days", [10, 15, 20])
def test_a_monitor_is_armed_about_when_it_was_said(days: int) -> None:
    watch, _ = states(60)
    version = watch.models["m"]["1"]
    armed = {
        (note.key.family, version.ladder.age_ms(note.key.rung) / 3_600_000): note.due_ms
        for note in version.notes
        if note.what == "armed" and note.key.segment == 0 and note.key.direction > 0
    }
    said = {place: each for place, each in states(days)[1].items() if each.state == "learning" and each.armed and place in armed}
    assert said
    for place, each in said.items():
        at_ms = epoch_ms(msgspec.convert(each.armed, Timestamp))
        if place[0] in {"alert_rate", "score", "coverage"}:  # the days decide; of rare mistakes, how often they happen to come
            assert abs(at_ms - armed[place]) < 3 * DAY_MS, place
        assert each.message.startswith("Armed on about ")
    assert ("alert_rate", 0.0) in said


def test_what_would_show_is_what_a_day_of_events_is_worth_a_page() -> None:
    watch, found = states(60)
    version = watch.models["m"]["1"]
    each = found["error", 192.0]
    [panel] = [panel for panel in version.bank.panels[version.ladder.mature or 0] if panel.bet.name == "rates"]
    [row] = [row for row in range(panel.monitors.count) if panel.key(row, 0)[:2] == ("error", 1) and panel.monitors.slot[row] == 0]
    null, phi = float(panel.monitors.null[row, 0]), float(panel.monitors.phi[row])
    assert each.baseline is not None
    assert each.detects is not None
    assert each.baseline.value < null < each.detects
    divergence = each.detects * math.log(each.detects / null) + (1 - each.detects) * math.log((1 - each.detects) / (1 - null))
    given = version.bank.budget.rate * DAY_MS * SHARES[0] / version.bank.budget.standing[0]
    assert 57 * divergence / phi == pytest.approx(math.log(1 / given), rel=0.08)  # 60 predictions a day, 97 % of them labelled
    assert each.message == f"Watching; a rise from {100 * each.baseline.value:.2g} % to {100 * each.detects:.0f} % would show within a day."


def test_more_traffic_shows_smaller_rises_and_a_smaller_budget_larger_ones() -> None:
    dense, _ = fold(story(seed=1, days=60, per_day=240, error=0.05), close=False)
    more = {(each.metric, each.age_s / 3600): each.detects for each in report([dense]).models[0].monitors}
    watch, found = states(60)
    assert more["error", 192.0] < found["error", 192.0].detects
    poorer = {(each.metric, each.age_s / 3600): each.detects for each in monitor_states(watch.models["m"]["1"], 0.01)}
    assert poorer["error", 192.0] > found["error", 192.0].detects


def test_an_alarm_is_said_to_be_one_and_what_learns_from_nothing_names_no_day() -> None:
    _, found = states(110, change_day=80)
    assert found["error", 26.0].state == "alarm"
    assert found["error", 26.0].message.startswith("Past an alarm")
    _, early = states(3)
    assert all(each.state == "learning" for each in early.values())
    assert epoch_ms(msgspec.convert(early["alert_rate", 0.0].armed, Timestamp)) > START_MS


def test_a_report_of_a_model_without_a_pane_that_was_read_has_no_monitors() -> None:
    watch, _ = fold(story(seed=1, days=1, per_day=5), close=False, ticks=False)
    assert report([watch]).models[0].monitors == []
