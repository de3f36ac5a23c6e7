"""The hour of the week: what repeats is expected, what does not is not; the null follows it, and so do the clear test and groups."""

import numpy as np
import pytest

from detectors.active import Active
from detectors.bank import Bank, StepContext
from detectors.baselines.season import DAY_MS, HOUR_MS, HOURS, WEEK_MS, Season
from detectors.bets import UP, discover
from detectors.bets.rates import RATIOS
from detectors.signals import Alarm, Cleared, Estimate, Key, Moved
from schemas.policy_models import BaselinePolicy, ModelPolicy, WatchPolicy

RATES = discover()["rates"]
ONE = np.array([0])
FIRST_ERA = np.array([0])


def learnt(rates, *, rng=None, n=500, width=1):
    """A season of four weeks of panes; without ``rng`` the counts are what is expected."""
    season = Season(1)
    for at in range(0, 4 * HOURS, width):
        rate = float(np.mean(rates[at : at + width]))
        x = rng.binomial(n * width, rate) if rng is not None else n * width * rate
        season.add(ONE, at * HOUR_MS, (at + width) * HOUR_MS, np.array([[float(x), float(n * width)]]))
    season.fit(0)
    return season


def test_a_cycle_is_found_and_its_mean_stays():
    hours = np.arange(4 * HOURS)
    rates = 0.05 + 0.02 * np.sin(2 * np.pi * hours / 24) + 0.03 * (hours // 24 % 7 >= 5)
    season = learnt(rates, rng=np.random.default_rng(3))
    true = rates[:HOURS] / rates.mean()
    assert np.sqrt(np.mean((season.factors[0] - true) ** 2)) < 0.1 < np.std(true)
    assert season.factors[0].mean() == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["nothing", "a bad week", "hours that come and go", "a ramp"])
def test_what_does_not_repeat_is_no_season(kind):
    standing = 0
    for seed in range(20):
        rng, hours = np.random.default_rng(seed), np.arange(4 * HOURS)
        rates = {
            "nothing": np.full(len(hours), 0.05),
            "a bad week": np.where(hours // HOURS == 1, 0.1, 0.05),
            "hours that come and go": np.where(np.repeat(rng.random(len(hours) // 6) < 0.1, 6), 0.1, 0.05),
            "a ramp": 0.05 + 0.03 * hours / len(hours),
        }[kind]
        standing += float(np.abs(learnt(rates, rng=rng).factors - 1).max()) > 0.1
    assert standing <= 2


def test_panes_of_more_than_a_day_have_no_hour_and_wide_ones_the_mean_of_theirs():
    rates = np.where(np.arange(4 * HOURS) % 24 < 12, 0.02, 0.08)
    season = learnt(rates, width=3)
    assert season.over(ONE, FIRST_ERA, 0, 3 * HOUR_MS) == pytest.approx([0.4])
    assert season.over(ONE, FIRST_ERA, 9 * HOUR_MS, 15 * HOUR_MS) == pytest.approx([1.0])
    assert season.buckets(0, WEEK_MS, 6 * HOUR_MS, 4) == pytest.approx([0.4, 0.4, 1.6, 1.6])
    before = season.counts.copy()
    season.add(ONE, 0, 2 * DAY_MS, np.array([[5.0, 9.0]]))
    np.testing.assert_array_equal(season.counts, before)
    assert season.over(ONE, FIRST_ERA, 0, 2 * DAY_MS) == pytest.approx([1.0])


@pytest.mark.parametrize("direction", [1, -1])
def test_a_seasoned_table_is_that_of_a_null_as_many_times_as_large(direction):
    table = RATES.table(np.array([0.06, 0.05]), direction)[None]
    np.testing.assert_allclose(RATES.seasoned(table, np.array([1.5])), RATES.table(np.array([0.09, 0.075]), direction)[None])
    assert len(RATIOS) == RATES.stakes


def test_short_bursts_are_dependence_that_wide_buckets_do_not_show(reading):
    """Two of each hundred hours are four times as bad; the hours of four weeks show it, blocks of eight of them hardly."""
    rng = np.random.default_rng(12)
    bank = Bank(policy=watched(True))
    run(bank, reading, np.where(rng.random(29 * 24) < 0.02, 0.2, 0.05), n=60)
    monitors = bank.panels[1][0].monitors
    assert monitors.phi[0] > 1.2
    assert monitors.phi[1] >= monitors.phi[0]
    calm = Bank(policy=watched(True))
    run(calm, reading, np.full(29 * 24, 0.05), n=60)
    assert calm.panels[1][0].monitors.phi[0] == 1.0


def test_from_the_seventh_week_on_only_odd_and_even_are_kept():
    season = Season(1)
    for week in range(10):
        season.add(ONE, (week + 3) * WEEK_MS, (week + 3) * WEEK_MS + HOUR_MS, np.array([[float(week), 10.0]]))
    assert season.counts[0, :, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6 + 8, 7 + 9]
    assert season.series(0)[::HOURS].tolist() == [[float(week), 10.0] for week in range(6)]
    again = Season(2)
    again.load(season.to_state(), np.array([1]))
    assert again.counts[1].tolist() == season.counts[0].tolist()
    assert again.first.tolist()[1] == 3
    season.forget(ONE, set())
    assert not season.counts.any()


def watched(seasonal):
    return ModelPolicy(
        watch={name: WatchPolicy(enabled=name == "error") for name in ModelPolicy().watch}, baseline=BaselinePolicy(seasonal=seasonal)
    )


def run(bank, reading, rates, *, start=0, n=400):
    """Two segments, the whole and a quarter of it; the hour's rate decides."""
    rng, alarms = np.random.default_rng(4 + start), []
    for at, rate in enumerate(rates):
        x = np.array([rng.binomial(n, rate), rng.binomial(n // 4, rate)])
        pane = reading(start + at, segments=[0, 1], tn=np.array([n, n // 4]) - x, fn=x)
        alarms += [signal for signal in bank.step(pane, StepContext()) if isinstance(signal, Alarm)]
    return alarms


def test_with_a_season_a_strong_cycle_is_silent_untempered_and_a_rise_above_it_is_found(reading):
    calm = 0.05 + 0.04 * np.sin(2 * np.pi * np.arange(60 * 24) / 24)
    bank = Bank(policy=watched(True))
    assert run(bank, reading, calm) == []
    assert bank.panels[1][0].monitors.phi[:2].tolist() == [1.0, 1.0]
    plain = Bank(policy=watched(False))
    run(plain, reading, calm)
    assert plain.panels[1][0].monitors.phi[0] > 3
    saved = Bank.from_state(bank.to_state(), policy=watched(True))
    assert saved.to_state() == bank.to_state()
    assert not Bank.from_state(bank.to_state(), policy=watched(False)).panels[1][0].season.stands
    higher = [run(each, reading, 1.5 * calm[: 5 * 24], start=60 * 24) for each in (bank, saved)]
    assert {alarm.key.segment for alarm in higher[0]} == {0, 1}
    assert [alarm.key for alarm in higher[0]] == [alarm.key for alarm in higher[1]]
    assert higher[0][0].due_ms < (62 * 24 + 25) * HOUR_MS
    assert higher[0][0].current.value / higher[0][0].baseline.value == pytest.approx(1.5, rel=0.35)


def test_the_clear_test_expects_the_season():
    """Still twice as bad as ever: a static null would take each night's lull for the end."""
    fit, cleared = RATES.contract(0.05), {}
    for seasonal in (True, False):
        rng = np.random.default_rng(7)
        active = Active.after(
            Key("error", UP, 0, 1), RATES, fit, phi=1.0, stake=2, current=Estimate(0.1, 0.09, 0.11, 5_000),
            baseline=Estimate(0.05, 0.05, 0.05, 0.0), tolerance=0.2,
        )  # fmt: skip
        cleared[seasonal] = 0
        for hour in range(30 * 24):
            factor = 1 + 0.8 * np.sin(2 * np.pi * hour / 24)
            obs = np.array([300.0, float(rng.binomial(300, 0.1 * factor))])
            cleared[seasonal] += isinstance(active.step(obs, hour, factor if seasonal else 1.0), Cleared)
    assert cleared[True] == 0 < cleared[False]


def crowd(bank, reading, rng, days, *, start, a):
    """The whole and its halves A and B, 20 each an hour; B errs in 2 % by day and in 20 % by night, A at ``a`` by day and by night."""
    alarms = []
    for hour in range(24 * start, 24 * (start + days)):
        x = [rng.binomial(20, rates[hour % 24 >= 12]) for rates in (a, (0.02, 0.2))]
        pane = reading(hour, segments=[0, 1, 2], tn=np.array([40 - sum(x), 20 - x[0], 20 - x[1]]), fn=np.array([sum(x), *x]))
        alarms += [signal for signal in bank.step(pane, StepContext()) if isinstance(signal, Alarm)]
    return alarms


def told(seed, reading):
    bank, rng = Bank(policy=watched(True)), np.random.default_rng(seed)
    crowd(bank, reading, rng, 40, start=0, a=(0.02, 0.2))
    crowd(bank, reading, rng, 6, start=40, a=(0.35, 0.35))
    bank.relearn([Key("error", UP, segment, 1) for segment in (0, 1)])
    return bank, rng


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_group_that_was_not_told_to_learn_anew_keeps_the_season_it_learnt_with(reading, seed):
    """While the whole learns what was accepted, and after: its new season is that of a mixture of A, who has none now, and B."""
    bank, rng = told(seed, reading)
    season, monitors = bank.panels[1][0].season, bank.panels[1][0].monitors
    before = season.factors[0].copy()
    alarms = crowd(bank, reading, rng, 14, start=46, a=(0.35, 0.35))
    np.testing.assert_array_equal(season.factors[0], before)
    saved = Bank.from_state(bank.to_state(), policy=watched(True))
    rest = [crowd(each, reading, np.random.default_rng([seed, 1]), 36, start=60, a=(0.35, 0.35)) for each in (bank, saved)]
    assert saved.to_state() == bank.to_state()
    assert [alarm.key.segment for alarm in alarms + rest[0] if alarm.key.segment] == []
    assert monitors.state[:3].tolist() == [1, 1, 1]
    assert monitors.era[:3].tolist() == [1, 1, 0]
    assert np.ptp(season.factors[0]) < np.ptp(before)
    np.testing.assert_array_equal(season.past[0, 0], before)


def test_a_group_that_learns_anew_late_still_shows_that_the_season_of_the_whole_is_not_its_own(reading):
    """Its buckets begin with it: those of the first pane would be 16 hours wide by now, and day and night are lost in them."""
    bank, rng = told(2, reading)
    crowd(bank, reading, rng, 40, start=46, a=(0.35, 0.35))
    monitors = bank.panels[1][0].monitors
    assert monitors.state[1] == 1
    assert monitors.phi[1] > 2 > monitors.phi[0]


def test_seasons_that_no_baseline_stands_by_are_dropped():
    season = learnt(np.where(np.arange(4 * HOURS) % 24 < 12, 0.02, 0.08))
    cycle = season.factors[0].copy()
    season.forget(ONE, {(0, 0)})
    assert season.over(np.array([0, 0]), np.array([0, 1]), 0, HOUR_MS) == pytest.approx([0.4, 0.4])
    season.factors[0] = 1.0
    assert season.over(np.array([0, 0]), np.array([0, 1]), 0, HOUR_MS) == pytest.approx([0.4, 1.0])
    for places, there in ((np.array([1]), True), (np.array([-1]), False)):
        moved = Season(2)
        moved.load(season.to_state(), places)
        assert (moved.over(np.array([1]), np.array([0]), 0, HOUR_MS)[0] == cycle[0]) == moved.stands == there
    season.add(ONE, 0, HOUR_MS, np.array([[1.0, 10.0]]))
    season.forget(ONE, set())
    assert season.past == {}
    assert not season.stands


@pytest.mark.parametrize("hour", [0, 12])
def test_the_baseline_lies_in_its_own_interval_at_every_hour(reading, hour):
    """An alarm by day or by night, and what is said of it later: what is expected at that hour, with the interval of that."""
    bank, rng = Bank(policy=watched(True)), np.random.default_rng(5)
    crowd(bank, reading, rng, 30, start=0, a=(0.02, 0.2))
    told_of = []
    for day in range(30, 50):
        for at in range(24 * day + hour, 24 * day + hour + 12):
            x = rng.binomial(400, 0.5)
            told_of += bank.step(reading(at, segments=[0], tn=[400 - x], fn=[x]), StepContext())
    shown = [signal.baseline for signal in told_of if isinstance(signal, Alarm | Moved)]
    assert len(shown) >= 3
    for value, lo, hi, _ in shown:
        assert value == pytest.approx(0.2 if hour else 0.02, rel=0.3)
        assert lo < value < hi
        assert hi / lo == pytest.approx(shown[0].hi / shown[0].lo)


def test_a_rate_and_its_interval_do_not_pass_one():
    fit = RATES.fit(np.array([200.0, 160.0]), phi=1.0, tolerance=0.2, direction=-1, parent=None)
    table = RATES.seasoned(RATES.table(fit.null, -1)[None], np.array([1.5]))
    assert RATES.tally(np.array([[100.0, 100.0]]), table)[0, 0, 2] == 100.0
    lo, hi = RATES.interval(fit, 1.0, 0.2)
    assert lo == pytest.approx(fit.lo / fit.value)
    assert hi == 1.0
    assert RATES.interval(fit, fit.value * (1 + 1e-12), 0.2) == (fit.lo, fit.hi)  # no season: to the last bit
