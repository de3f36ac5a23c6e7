"""River's detectors by policy: in place of the bank's monitor of the whole, or beside it; and what a change of the policy leaves of them."""

import dataclasses

import msgspec
import numpy as np
import pytest

from detectors.bank import Bank, StepContext
from detectors.signals import Alarm, Note
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
