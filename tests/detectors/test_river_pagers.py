"""River's detectors by policy: in place of the bank's monitor of the whole, or beside it; and what a changed policy leaves of them."""

import dataclasses

import msgspec
import numpy as np
import pytest

from detectors.bank import Bank, StepContext
from detectors.bets import Bet, discover
from detectors.cells import PANE_GRID
from detectors.signals import Alarm, Note
from detectors.tracks import TAKEN
from schemas.policy_models import ModelPolicy, WatchPolicy

CONTEXT = StepContext()


def policy(**rules):
    watch = {name: WatchPolicy(enabled=name in rules) for name in ModelPolicy().watch}
    return ModelPolicy(watch=watch | rules)


def small_group(reading, days, *, start=0, rate=0.25):
    """A pane a day: a group of 1,700 at 5 %, and one of 300 whose rate is told; the whole rises by a fifth only."""
    for day in range(start, start + days):
        n = np.array([2_000, 1_700, 300])
        x = np.array([85 + round(300 * rate), 85, round(300 * rate)])
        yield reading(24 * day, hours=24, segments=[0, 1, 2], tn=n - x, fn=x)


def said(bank, readings, kind=Alarm):
    return [signal for each in readings for signal in bank.step(each, CONTEXT) if isinstance(signal, kind)]


def again(bank, rules):
    """The bank as it comes back from a checkpoint, under these rules."""
    return Bank.from_state(msgspec.msgpack.decode(msgspec.msgpack.encode(bank.to_state())), policy=rules)


def test_groups_are_watched_by_the_bank_whoever_pages_for_the_whole(reading):
    found = {}
    for detector in ("bank", "hddm-w"):
        bank = Bank(policy=policy(error=WatchPolicy(detector=detector)))
        said(bank, small_group(reading, 40, rate=0.05))
        if detector == "hddm-w":
            assert bank.budget.standing.tolist() == [0, 2, 0]
        found[detector] = [alarm for alarm in said(bank, small_group(reading, 20, start=40)) if alarm.key.segment]
        assert [alarm.detector for alarm in found[detector]] == ["bank"]
    assert found["hddm-w"] == found["bank"]  # neither later nor with less evidence


def test_where_a_river_detector_pages_the_monitor_of_the_whole_spends_nothing(reading):
    bank = Bank(policy=policy(error=WatchPolicy(detector="ddm"), fnr=WatchPolicy()))
    said(bank, small_group(reading, 60, rate=0.05))
    panel = bank.panels[1][0]
    error, fnr = (int(panel.rows[panel.families.index(name), 0]) for name in ("error", "fnr"))
    assert (panel.monitors.paid[error], panel.monitors.log_r[error].max()) == (0.0, -np.inf)
    assert panel.monitors.paid[fnr] > 0
    assert bank.budget.standing.tolist() == [1, 4, 0]


def test_the_evidence_of_the_whole_does_not_outlive_its_pager(reading):
    bank = Bank(policy=policy(error=WatchPolicy()))
    said(bank, small_group(reading, 50, rate=0.05))
    kept = bank.panels[1][0].monitors.paid[1:3].tolist()
    for detector, standing in (("ddm", [0, 2, 0]), ("bank", [1, 2, 0])):
        bank = again(bank, policy(error=WatchPolicy(detector=detector)))
        m = bank.panels[1][0].monitors
        assert (m.paid[0], m.log_r[0].max(), bank.budget.standing.tolist()) == (0.0, -np.inf, standing)
        assert m.paid[1:3].tolist() == kept
    said(bank, small_group(reading, 1, start=50, rate=0.05))
    assert bank.panels[1][0].monitors.paid[0] > 0


def test_a_detector_that_the_policy_changes_begins_anew_and_none_is_left_behind(reading):
    rules = [
        (WatchPolicy(), ("adwin", 0.002)),  # in warm-up
        (WatchPolicy(detector="adwin", parameters={"delta": 0.01}), ("adwin", 0.01)),
        (WatchPolicy(detector="adwin", parameters={"delta": 0.01}, tolerance=0.3), ("adwin", 0.01)),
        (WatchPolicy(detector="ddm"), ("ddm", None)),
        (WatchPolicy(), ("adwin", 0.002)),
    ]
    bank, events = Bank(policy=policy(error=WatchPolicy())), []
    for i, (rule, expected) in enumerate(rules):
        bank = again(bank, policy(error=rule))
        said(bank, small_group(reading, 3, start=3 * i, rate=0.05))
        watch = bank.warm_up.watches["error", 1]
        assert (watch.name, watch.parameters.get("delta")) == expected
        events.append(watch._events)
    assert events == [300, 300, 600, 300, 300]  # only what is the same goes on
    said(again(bank, policy(error=WatchPolicy(), fnr=WatchPolicy())), small_group(reading, 40, start=15, rate=0.05))
    paged = again(bank, policy(error=WatchPolicy(detector="ddm")))
    said(paged, small_group(reading, 40, start=15, rate=0.05))
    for rule in ({"error": WatchPolicy()}, {"fnr": WatchPolicy(baseline=0.1)}):
        left = again(paged, policy(**rule))
        assert (left.warm_up.watches, left.warm_up.carried) == ({}, {})


def test_a_watch_runs_beside_the_bank_and_changes_nothing_but_its_remarks(reading):
    readings = [*small_group(reading, 40, rate=0.05), *small_group(reading, 20, start=40, rate=0.9)]
    rules = policy(error=WatchPolicy(detector="adwin", parameters={"delta": 1e-3}, role="watch"))
    alone, beside, restarted = Bank(policy=policy(error=WatchPolicy())), Bank(policy=rules), Bank(policy=rules)
    notes = []
    for i, each in enumerate(readings):
        plain, found = ([s for s in bank.step(each, CONTEXT) if getattr(s, "what", "") != "warm_up"] for bank in (alone, beside))
        noted = [s for s in found if getattr(s, "what", "") == "watch"]
        assert [s for s in found if s not in noted] == plain
        notes += [(i, s.text) for s in noted]
        if i % 7 == 3 or 38 < i < 45:
            restarted = again(restarted, rules)
        restarted.step(each, CONTEXT)
        if i == 39:
            assert beside.warm_up.watches["error", 1]._events == 40 * 100  # it has gone on since the baseline stands
    assert 40 <= notes[0][0] < 45
    assert notes[0][1] == "adwin sees a change of the error rate; it watches beside the evidence bank and pages nobody"
    assert msgspec.msgpack.encode(restarted.to_state()) == msgspec.msgpack.encode(beside.to_state())
    states = [{key: value for key, value in bank.to_state().items() if key not in ("warm_up", "remarks")} for bank in (alone, beside)]
    assert msgspec.msgpack.encode(states[0]) == msgspec.msgpack.encode(states[1])  # nor of the budget


def scored(reading, days, *, start=0, middle=6):
    """A pane every two hours: 200 scores around the middle of a cell, by chance."""
    rng = np.random.default_rng(start)
    for pane in range(12 * start, 12 * (start + days)):
        counts = np.bincount(np.clip(rng.normal(middle, 2, 200).round().astype(int), 0, PANE_GRID - 1), minlength=PANE_GRID)
        bins = np.stack([counts, counts * 0, (np.arange(PANE_GRID) + 0.5) / PANE_GRID * counts], axis=1)
        each = reading(2 * pane, hours=2, age_h=0, rung=0, made={"n": 200, "scored": 200}, bins=bins)
        yield dataclasses.replace(each, made_bins=each.known_bins, known_bins=each.made_bins)


@pytest.mark.parametrize("detector", ["adwin", "page-hinkley", "kswin"])
@pytest.mark.parametrize("role", ["watch", "pager"])
def test_means_can_be_watched_too(reading, detector, role):
    parameters = {"threshold": 0.1, "delta": 0.005} if detector == "page-hinkley" else {}
    rules = policy(score=WatchPolicy(detector=detector, role=role, parameters=parameters))
    bank = Bank(policy=rules)
    said(bank, scored(reading, 40))
    assert bank.budget.standing.tolist() == [0, 0, int(role == "watch")]
    bank = again(bank, rules)
    heard = [s for each in scored(reading, 10, start=40, middle=9) for s in bank.step(each, CONTEXT)]
    if role == "watch":
        noted = [s for s in heard if isinstance(s, Note) and s.what == "watch"]
        assert f"{detector} sees a change of the scores" in noted[0].text
        assert [s.detector for s in heard if isinstance(s, Alarm)] == ["bank"]
    else:
        alarm = next(s for s in heard if isinstance(s, Alarm))
        assert (alarm.detector, alarm.kind, alarm.key.segment) == (detector, "score", 0)


def test_what_is_fed_of_means_is_their_mean():
    bets = discover()
    costs = np.zeros(bets["costs"].width)
    costs[0], costs[5], costs[-1] = 6, 2, 20.0
    assert bets["costs"].mean(costs) == 2.5
    labels = np.zeros(bets["calibration"].width)
    labels[6:9] = 10, 4, 1.5  # labels, positives, sum of scores
    assert bets["calibration"].mean(labels) == 0.25
    errors = np.zeros(bets["errors"].width)
    errors[[40, 42]] = 1, 3
    assert bets["errors"].mean(errors) == 41.5
    assert {name for name, bet in bets.items() if type(bet).mean is not Bet.mean} >= set(TAKEN) - {"rates"}
