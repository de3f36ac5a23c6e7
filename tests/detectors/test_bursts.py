"""Hours that are bad now and then: they pass for no change, and cost what changes by little."""

import numpy as np
import pytest

from detectors.bank import Bank, StepContext
from detectors.baselines.tempering import HOUR_MOST, bursty
from detectors.bets import UP, discover
from detectors.kernel import ration
from detectors.signals import Alarm
from schemas.policy_models import ModelPolicy, WatchPolicy

RATES = discover()["rates"]
POLICY = ModelPolicy(watch={name: WatchPolicy(enabled=name == "error") for name in ModelPolicy().watch})
MONTH = 29 * 24


def won(rng, rates, n=60):
    """Say whether the bet wins on hours of so many events, its null one standard error above their mean."""
    x = rng.binomial(n, rates)
    null = RATES.fit(np.array([float(n * len(x)), float(x.sum())]), phi=1.0, tolerance=0.2, direction=UP, parent=None, bound=1.0).null
    return bursty(RATES.log_factors(RATES.unseries(np.stack([x, np.full(len(x), n)], axis=1).astype(float)), RATES.table(null, UP)[None]))


def feed(bank, reading, hours, *, start, n=600, panes=1):
    """The whole, and a group of half of it; ``hours`` are failures of the whole, spread over panes. Return the hours of alarms."""
    alarms = []
    for at, x in enumerate(hours):
        for pane in range(panes):
            fn = np.array([x, x // 2]) * (pane + 1) // panes - np.array([x, x // 2]) * pane // panes
            given = reading(
                start + at + pane / panes, hours=1 / panes, age_h=24, segments=[0, 1], fn=fn, tn=np.array([n, n // 2]) // panes - fn
            )
            alarms += [(at, signal.key.segment) for signal in bank.step(given, StepContext()) if isinstance(signal, Alarm)]
    return alarms


@pytest.fixture(scope="module")
def rates():
    rng = np.random.default_rng(31)
    return np.where(rng.random(5 * MONTH) < 0.01, 0.15, 0.049)


@pytest.fixture
def bank(reading, rates):
    """A bank that has learnt from a month with bursts."""
    bank = Bank(policy=POLICY)
    assert feed(bank, reading, np.random.default_rng(32).binomial(600, rates[:MONTH]), start=0) == []
    return bank


def test_bursts_show_in_a_month_that_the_bet_would_have_won():
    rng = np.random.default_rng(30)
    calm = np.mean([won(rng, np.full(MONTH, 0.05)) for _ in range(100)])
    bursts = np.mean([won(rng, np.where(rng.random(MONTH) < 0.01, 0.15, 0.049)) for _ in range(100)])
    assert calm < 0.3
    assert bursts > 0.75


def test_hours_that_are_bad_now_and_then_raise_no_alarm(bank, reading, rates):
    assert bank.panels[1][0].monitors.bursty[:2].tolist() == [1, 1]
    hours = np.random.default_rng(33).binomial(600, rates[MONTH:])
    alarms = feed(bank, reading, hours, start=MONTH)
    assert (hours > 70).sum() > 20  # 30 are expected of an hour
    assert len(alarms) <= 2  # in four months; unrationed, nearly each of these hours


@pytest.mark.parametrize(("hours", "rationed"), [(3, True), (12, True), (24, False)])
def test_panes_of_several_hours_are_rationed_as_a_whole_but_not_days(reading, hours, rationed):
    """One pane in twenty of the baseline is worse by four standard errors; then comes one in which all is wrong."""
    bank, n = Bank(policy=POLICY), 60 * hours
    x = [round(0.05 * n + 4 * (0.05 * 0.95 * n) ** 0.5 * (at % 20 == 7)) for at in range(MONTH // hours)]
    for at, errors in enumerate(x):
        bank.step(reading(at * hours, hours=hours, fn=[errors], tn=[n - errors]), StepContext())
    monitors = bank.panels[1][0].monitors
    assert (monitors.bursty[0], monitors.phi[0]) == (rationed, 1.0)
    signals = bank.step(reading(len(x) * hours, hours=hours, fn=[n], tn=[0]), StepContext())
    assert any(isinstance(signal, Alarm) for signal in signals) != rationed


@pytest.mark.parametrize("panes", [1, 12])
def test_a_change_is_found_in_the_hour_that_the_ration_allows_however_many_panes_it_has(bank, reading, panes):
    found = feed(bank, reading, [120] * 12, start=MONTH, panes=panes)
    first = {segment: min(at for at, which in found if which == segment) for segment in (0, 1)}
    assert set(first.values()) <= {2, 3}


def test_without_bursts_a_large_change_is_found_at_once(reading):
    bank = Bank(policy=POLICY)
    feed(bank, reading, [30] * MONTH, start=0)
    assert bank.panels[1][0].monitors.bursty[:2].tolist() == [0, 0]
    assert (0, 0) in feed(bank, reading, [120], start=MONTH)


def test_what_an_hour_has_spent_is_kept_in_its_midst(bank, reading):
    feed(bank, reading, [120], start=MONTH, panes=2)
    half = reading(MONTH + 1, hours=0.5, segments=[0, 1], fn=[60, 30], tn=[240, 120])
    bank.step(half, StepContext())
    again = Bank.from_state(bank.to_state(), policy=POLICY)
    rest = reading(MONTH + 1.5, hours=0.5, segments=[0, 1], fn=[60, 30], tn=[240, 120])
    assert again.panels[1][0].monitors.spent.max() > HOUR_MOST
    assert bank.step(rest, StepContext()) == again.step(rest, StepContext())
    assert again.to_state() == bank.to_state()


def test_who_learns_anew_from_calm_hours_is_rationed_no_more(bank, reading):
    keys = [bank.panels[1][0].key(row, row) for row in (0, 1)]
    bank.relearn(keys)
    assert bank.panels[1][0].monitors.bursty[:2].tolist() == [0, 0]
    feed(bank, reading, [30] * MONTH, start=MONTH)
    assert bank.panels[1][0].monitors.bursty[:2].tolist() == [0, 0]


def test_groups_with_shipped_baselines_take_over_what_a_whole_that_is_past_an_alarm_has_shown(bank, reading):
    panel = bank.panels[1][0]
    feed(bank, reading, [120] * 6, start=MONTH)
    assert 0 in panel.active
    panel.shipped = lambda family, slot: (np.array([60_000.0, 3_000.0]), 1.0)
    bank.calm([panel.key(1, 1)])
    assert [row for row, _ in panel.ship(bank.budget)] == [1]
    assert panel.monitors.bursty[:2].tolist() == [1, 1]
    bank.calm([panel.key(0, 0)])
    assert [row for row, _ in panel.ship(bank.budget)] == [0, 1]
    assert panel.monitors.bursty[:2].tolist() == [0, 0]


def test_rationed_factors_are_fair_and_add_up_to_the_ration():
    rng = np.random.default_rng(34)
    gains = rng.normal(0.2, 1.5, (50, 400, 1))
    spent, total = np.zeros((400, 1)), np.zeros((400, 1))
    for gain in gains:
        before = spent.copy()
        rationed = ration(spent, gain, HOUR_MOST)
        total += rationed
        assert (rationed <= np.where(before < HOUR_MOST, gain, 0.0) + 1e-9).all()
        np.testing.assert_allclose(total, np.minimum(spent, HOUR_MOST), atol=1e-9)
    np.testing.assert_allclose(spent, gains.sum(axis=0))
