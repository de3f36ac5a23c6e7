"""The evidence: the budget, the recursion, deposits, and what a bank does with panes."""

import math

import numpy as np
import pytest
from scipy.stats import chi2

from detectors.bank import Bank, StepContext
from detectors.bets import UP, discover
from detectors.budget import AGGREGATE, DAY_MS, Budget
from detectors.kernel import grow, mix
from detectors.signals import Alarm, Note
from schemas.policy_models import BaselinePolicy, ModelPolicy, WatchPolicy
from schemas.policy_models import Budget as Budgeted

RATES = discover()["rates"]
CONTEXT = StepContext()


class Silent:
    """A River watch that never fires."""

    def __init__(self, *_):
        pass

    def step(self, n, x):
        assert 0 <= x <= n
        return False

    def to_state(self):
        return 0


@pytest.fixture(autouse=True)
def silent(monkeypatch):
    monkeypatch.setattr("detectors.warmup.RiverWatch", Silent)


def upper(count, level=0.975):
    """Exact upper bound of a Poisson mean."""
    return chi2.ppf(level, 2 * count + 2) / 2


def only(*names, **policy):
    """A policy that watches these families alone."""
    return ModelPolicy(watch={name: WatchPolicy(enabled=name in names) for name in ModelPolicy().watch}, **policy)


def test_the_recursion_spends_its_budget_and_not_more():
    """40 monitors at their null, 60 months; budget one a month. Tight: a plain CUSUM would spend a fiftieth."""
    rng, months, monitors = np.random.default_rng(11), 60, 40
    m0 = np.tile(np.array([0.02, 0.05, 0.2, 0.5]), 10)[:, None].repeat(months, 1).ravel()
    table = np.stack([RATES.table(np.array([p, p]), UP) for p in m0])
    log_r, alarms, warm = np.full((len(m0), RATES.stakes), -np.inf), 0, 0
    deposit = np.full(len(m0), 1 / monitors / 240)
    for step in range(720):  # three months of eight panes a day; the last is counted
        n = rng.integers(0, 60, len(m0)).astype(float)
        obs = np.stack([n, rng.binomial(n.astype(int), m0)], axis=1)
        log_r = grow(log_r, deposit, RATES.log_factors(obs, table))
        fired = mix(log_r) >= 0
        log_r[fired] = -np.inf
        alarms, warm = (alarms + fired.sum(), warm) if step >= 480 else (0, alarms)
    assert upper(alarms) / months <= 1.0, alarms
    assert alarms / months >= 0.1, alarms


def month_of_readings(rng, reading, days, *, groups=4, n=25, fnr=0.2, fpr=0.05, hours=8, start=0):
    """Panes of ``hours`` over ``days``; ``fnr`` may be a function of (day, group)."""
    for at in np.arange(start * 24, (start + days) * 24, hours):
        count = rng.poisson(n, groups)
        positive = rng.binomial(count, 0.3)
        rate = [fnr(at / 24, g) if callable(fnr) else fnr for g in range(groups)]
        fn, fp = rng.binomial(positive, rate), rng.binomial(count - positive, fpr)
        cells = {"tp": positive - fn, "fn": fn, "fp": fp, "tn": count - positive - fp}
        whole = {name: np.append(values.sum(), values) for name, values in cells.items()}
        yield reading(at, hours=hours, segments=list(range(groups + 1)), **whole)


def alarms_of(bank, readings, context=CONTEXT):
    return [signal for r in readings for signal in bank.step(r, context) if isinstance(signal, Alarm)]


def test_the_bank_meets_its_budget_with_baselines_it_estimates(reading):
    """13 monitors and their aggregate's, 12 streams of 10 months, budget three a month so that the bound can bite."""
    rng, found, months = np.random.default_rng(12), 0, 0
    for _ in range(12):
        bank = Bank(policy=only("error", "fpr", "fnr", "prior", budget=Budgeted(pages=3.0, days=30.0)))
        found += len(alarms_of(bank, month_of_readings(rng, reading, 300, hours=24, n=75)))
        months += 9
    assert upper(found) / months <= 3.0, found


def test_a_doubled_rate_is_found_in_time(reading):
    """5 -> 10 % in events after the change, budget one a month over 13 monitors, estimated baseline: some hundreds of positives."""
    delays, early = [], 0  # a baseline may be unlucky: its bound holds with 95 %
    for seed in range(15):
        rng = np.random.default_rng(seed)
        bank = Bank(policy=only("fnr"))
        found = alarms_of(bank, month_of_readings(rng, reading, 120, hours=2, n=50, fnr=lambda day, g: 0.05 if day < 60 else 0.10))
        first = next(alarm for alarm in found if alarm.key.segment == 0)
        if first.end_ms <= 60 * DAY_MS:
            early += 1
            continue
        delays.append((first.end_ms - 60 * DAY_MS) / (2 * 3_600_000) * 60)  # 60 positives a pane
        assert abs(first.onset_ms - 60 * DAY_MS) < 4 * DAY_MS
        assert first.baseline.value == pytest.approx(0.05, abs=0.01)
    assert early <= 2
    assert 120 <= np.median(delays) <= 700, delays


def test_a_small_group_is_found_while_the_whole_is_silent(reading):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        bank = Bank(policy=only("error", "fpr", "fnr"))
        panes = month_of_readings(rng, reading, 75, groups=25, n=40, fnr=lambda day, g: 0.1 if day < 60 or g != 5 else 0.3)
        found = [alarm for alarm in alarms_of(bank, panes) if alarm.end_ms > 60 * DAY_MS]
        assert found[0].key.segment == 6
        assert {alarm.key.segment for alarm in found} <= {0, 6}  # the whole has changed too, by a thirteenth
        assert {alarm.affected for alarm in found if alarm.key.segment} == {(6,)}
        assert found[0].direction == "up"


def reference(m0, observations, deposits, phi):
    """The evidence and the onset, by the book: scalars, no logs."""
    odds = [m0 / (1 - m0) * rho for rho in (1.25, 1.5, 2, 3, 6)]
    p = [o / (1 + o) for o in odds]
    r, c, since = [0.0] * 5, [1.0] * 5, [(0, 0)] * 5
    for (n, x), d in zip(observations, deposits, strict=True):
        for j in range(5):
            factor = ((p[j] / m0) ** x * ((1 - p[j]) / (1 - m0)) ** (n - x)) ** (1 / phi)
            r[j] = (r[j] + d) * factor
            since[j] = (n, x) if c[j] <= 1 else (since[j][0] + n, since[j][1] + x)
            c[j] = max(c[j], 1.0) * factor
    return sum(r) / 5, r, since


def test_the_bank_agrees_with_the_scalar_recursion(reading):
    """A contract value leaves nothing to learn, so the whole run is evidence; panes come at odd times."""
    rng = np.random.default_rng(4)
    policy = only("error", budget=Budgeted(pages=0.01, days=30))
    policy.watch["error"] = WatchPolicy(baseline=0.1)
    bank = Bank(policy=policy)
    at, observations, dues = 0.0, [], []
    for _ in range(60):
        at += float(rng.integers(1, 400))  # sometimes more than seven days
        n = int(rng.integers(0, 30))
        x = int(rng.binomial(n, 0.12))
        assert alarms_of(bank, [reading(at, tn=n - x, fn=x)]) == []
        if n:
            observations.append((n, x))
            dues.append(at + 25)
    gaps = [0.0, *np.minimum(np.diff(dues), 7 * 24)]
    # The first pane makes the monitor; what came before it is not owed.
    s, r, since = reference(0.1, observations, [gap / 24 / 30 * 0.4 * 0.01 for gap in gaps], 1.0)
    monitors = bank.panels[1][0].monitors
    np.testing.assert_allclose(np.exp(monitors.log_r[0]), r, rtol=1e-9)
    np.testing.assert_allclose(np.exp(mix(monitors.log_r[:1])), s, rtol=1e-9)
    np.testing.assert_array_equal(monitors.since[0, :, :2], since)


def test_lazy_deposits_are_the_eager_ones():
    budget, rng = Budget(pages=2, days=30), np.random.default_rng(5)
    eager, lazy = np.zeros(6), np.zeros(6)
    seen, pot, now = np.zeros(6, dtype=np.int64), np.zeros(6), 0
    kinds = np.zeros(6, dtype=np.int64)
    budget.standing[AGGREGATE] = 6
    budget.advance(0)
    for _ in range(200):
        step = int(rng.integers(1, 6 * 3_600_000))
        eager += 2 / 30 / DAY_MS * step * 0.4 / budget.standing[AGGREGATE]
        now += step
        budget.advance(now)
        touched = np.flatnonzero(rng.random(6) < 0.3)
        lazy[touched] += budget.owed(kinds[touched], seen[touched], pot[touched])
        seen[touched], pot[touched] = now, budget.pots[AGGREGATE]
        budget.standing[AGGREGATE] = int(rng.integers(1, 30))
    lazy += budget.owed(kinds, seen, pot)
    np.testing.assert_allclose(lazy, eager, rtol=1e-12)


def test_the_split_never_exceeds_the_budget():
    budget = Budget(pages=3, days=10)
    budget.standing[:] = (4, 7, 2)
    budget.advance(0)
    budget.advance(10 * DAY_MS, share=0.5)
    assert budget.pots @ budget.standing == pytest.approx(1.5)
    with pytest.raises(ValueError, match="due order"):
        budget.advance(DAY_MS)
    with pytest.raises(ValueError, match="pages > 0"):
        Budget(pages=0, days=30)


def test_a_long_silence_is_not_evidence(reading):
    policy = only("error")
    policy.watch["error"] = WatchPolicy(baseline=0.1)
    bank = Bank(policy=policy)
    bank.step(reading(0, tn=9, fn=1), CONTEXT)
    bank.step(reading(24 * 911, tn=9, fn=1), CONTEXT)
    assert bank.panels[1][0].monitors.paid[0] == pytest.approx(0.4 * 7 / 30)


def test_nothing_is_owed_to_a_monitor_without_a_baseline(reading):
    bank = Bank(policy=only("error"))
    for day in range(20):
        bank.step(reading(24 * day, tn=90, fn=10), CONTEXT)
    assert bank.budget.pots.tolist() == [0.0, 0.0, 0.0]
    assert bank.panels[1][0].monitors.paid[0] == 0


def armed_on(bank, reading, days, segments=(0, 1), context=CONTEXT, **cells):
    """The day on which each monitor's baseline stood."""
    found = {}
    for day in range(days):
        for signal in bank.step(reading(24 * day, hours=24, segments=segments, **cells), context):
            if isinstance(signal, Note) and signal.what == "armed":
                found[signal.key.family, signal.key.segment] = day + 1
    return found


def test_a_baseline_waits_for_days_labels_failures_and_outcomes(reading):
    assert armed_on(Bank(policy=only("error")), reading, 40, tn=[95, 40], fn=[5, 5]) == {
        ("error", 0): 28,
        ("error", 1): 29,
    }  # a group after the whole
    few = armed_on(Bank(policy=only("error")), reading, 80, tn=[95, 4], fn=[5, 1])
    assert few == {("error", 0): 28, ("error", 1): 40}  # 200 labels at five a day
    rare = armed_on(Bank(policy=only("error")), reading, 60, segments=[0], tn=399, fn=[0])
    assert rare == {("error", 0): 28}  # 10,000 labels make up for failures not seen
    bulk = StepContext(outcome_days=lambda segment: 1.0)
    assert armed_on(Bank(policy=only("error")), reading, 60, tn=[95, 40], fn=[5, 5], context=bulk) == {}
    own = BaselinePolicy(days=3, labels=50, failures=1)
    assert armed_on(Bank(policy=only("error", baseline=own)), reading, 10, tn=[95, 40], fn=[5, 5])["error", 0] == 3


def test_a_group_waits_for_the_whole(reading):
    context = StepContext(outcome_days=lambda segment: 9.0 if segment else 1.0)
    assert armed_on(Bank(policy=only("error")), reading, 60, tn=[95, 40], fn=[5, 5], context=context) == {}


def test_baselines_are_estimated_anew_until_there_are_plenty(reading):
    bank = Bank(policy=only("error"))
    armed_on(bank, reading, 28, segments=[0], tn=[18], fn=[2])
    monitors = bank.panels[1][0].monitors
    assert (monitors.base[0, 3], monitors.frozen[0]) == (560, 0)
    sizes = set()
    for day in range(28, 600):
        bank.step(reading(24 * day, hours=24, tn=18, fn=2), CONTEXT)
        sizes.add(float(monitors.base[0, 3]))
    assert sizes == {560.0, 1680.0, 5040.0, 10_000.0}
    assert monitors.frozen[0] == 1


def test_a_baseline_that_may_hold_a_change_is_left_as_it_is(reading):
    bank = Bank(policy=only("error"))
    armed_on(bank, reading, 28, segments=[0], tn=[18], fn=[2])
    for day in range(28, 120):
        bank.step(reading(24 * day, hours=24, tn=15, fn=5), CONTEXT)
    monitors = bank.panels[1][0].monitors
    assert monitors.hot[0] == 1
    assert monitors.base[0, 3] == 560


def test_quiet_on_a_constant(reading):
    bank = Bank(policy=ModelPolicy())
    for day in range(400):
        for rung, age in ((0, 0), (1, 24), (2, 240)):
            r = reading(
                24 * day,
                hours=24,
                age_h=age,
                rung=rung,
                mature=rung == 2,
                segments=[0, 1],
                **({} if rung == 0 else {"tp": [60, 20], "fn": [15, 5], "fp": [10, 3], "tn": [200, 70]}),
                made={"n": [300, 100], "alerted": [70, 23]},
            )
            if rung and day < 10:
                continue
            assert not [s for s in Bank.step(bank, r, CONTEXT) if isinstance(s, Alarm)] if rung == 0 else True
    assert bank.budget.standing[2] == 4


def test_no_labels_no_harm(reading):
    bank = Bank(policy=ModelPolicy())
    empty = reading(0, segments=[], rung=1)
    assert bank.step(empty, CONTEXT) == []
    assert bank.step(reading(1, made={"n": 5}), CONTEXT) == []
    assert bank.panels[1][-1].monitors.total[:, 0].max() == 5  # label coverage has seen five predictions
    assert bank.step(reading(2), CONTEXT) == []


@pytest.mark.parametrize("bad", [{"tp": -1, "tn": 5}, {"fn": 4, "fp": -1, "tn": 9}])
def test_impossible_counts_are_refused_and_nothing_moves(reading, bad):
    bank = Bank(policy=ModelPolicy())
    bank.step(reading(0, tp=3, fn=1, tn=5, fp=1), CONTEXT)
    before = bank.to_state()
    with pytest.raises(ValueError, match="expected 0 <= failures <= events"):
        bank.step(reading(1, **bad), CONTEXT)
    with pytest.raises(ValueError, match="due order"):
        bank.step(reading(-5, tp=3, fn=1, tn=5, fp=1), CONTEXT)
    assert bank.to_state() == before


def test_evidence_is_tempered_by_the_baselines_dependence(reading):
    """Failures come in bursts of twelve hours: events are worth less, and less is claimed of them."""
    rng = np.random.default_rng(9)
    phis = {}
    for burst in (0.0, 1.0):
        bank = Bank(policy=only("error", baseline=BaselinePolicy(seasonal=False)))
        for at in range(0, 24 * 40, 4):
            rate = 0.1 + burst * 0.1 * (1 if (at // 12) % 2 else -0.8)
            x = int(rng.binomial(100, rate))
            bank.step(reading(at, hours=4, segments=[0, 1], tn=[100 - x, 50 - x // 2], fn=[x, x // 2]), CONTEXT)
        monitors = bank.panels[1][0].monitors
        phis[burst] = monitors.phi[:2].tolist()
        before = monitors.log_c[0].clip(min=0)
        bank.step(reading(24 * 40, hours=4, segments=[0, 1], tn=[80, 40], fn=[20, 10]), CONTEXT)
        gain = RATES.log_factors(np.array([[100.0, 20.0]]), RATES.table(monitors.null[0], UP)[None])[0]
        np.testing.assert_allclose(monitors.log_c[0] - before, gain / monitors.phi[0], rtol=1e-9)
        edge = monitors.null[0, 0]
        phis[burst].append((edge - monitors.base[0, 0]) * math.sqrt(monitors.base[0, 3]))
    assert phis[0.0][0] == 1.0
    assert phis[1.0][0] > 5
    assert phis[1.0][1] >= phis[1.0][0]  # a group is at least as dependent as the whole
    assert phis[1.0][2] > 2 * phis[0.0][2]
