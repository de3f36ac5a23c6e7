"""Bounds, over-dispersion, calibration maps, the coverage guard, attribution."""

import itertools
from statistics import NormalDist

import numpy as np
import pytest

from detectors.bank import Bank
from detectors.baselines.attribution import e_bh
from detectors.baselines.calibration_map import ABSOLUTE, BINNED, LOGISTIC, fit_map, logit
from detectors.baselines.coverage import DAY_MS, CoverageGuard
from detectors.baselines.tempering import halve, phi
from detectors.baselines.wilson import sequence, wilson
from detectors.bets import Enough, discover, sigmoid
from detectors.panel import Panel
from detectors.tracks import Track
from schemas.policy_models import Budget, ModelPolicy

RATES, CALIBRATION = discover()["rates"], discover()["calibration"]


def test_wilson_solves_its_quadratic():
    for n, x in ((1, 0), (20, 3), (1000, 1000), (12.5, 2.5)):
        for edge in wilson(n, x):
            if 0 < edge < 1:
                assert abs(x / n - edge) == pytest.approx(1.645 * np.sqrt(edge * (1 - edge) / n), abs=1e-9)


@pytest.mark.parametrize(("n", "x"), [(0, 0), (5, 6), (5, -1), (float("nan"), 1)])
def test_wilson_refuses_what_is_no_count(n, x):
    with pytest.raises(ValueError, match="expected 0 <= failures <= events"):
        wilson(n, x)


def test_the_confidence_sequence_holds_at_every_look():
    rng = np.random.default_rng(7)
    for p in (0.05, 0.3):
        x = (rng.random((400, 3000)) < p).cumsum(axis=1)
        missed = 0
        for path in x:
            looks = [sequence(n, path[n - 1]) for n in (50, 100, 200, 400, 800, 1600, 3000)]
            missed += any(not lo <= p <= hi for lo, hi in looks)
        assert missed <= 0.08 * len(x)
    assert sequence(0, 0) == (0.0, 1.0)


def counts(rng, rates, n=100):
    return np.stack([rng.binomial(n, rates), np.full(len(rates), n)], axis=1).astype(float)


def temper(series):
    rate = series[:, 0].sum() / series[:, 1].sum()
    return phi(series, rate * (1 - rate))


def test_independent_events_are_seldom_tempered():
    rng = np.random.default_rng(1)
    found = np.array([temper(counts(rng, np.full(128, 0.05))) for _ in range(300)])
    assert (found > 1).mean() < 0.06  # five block lengths at 1 % each
    assert found.max() < 4


def test_dependence_is_seen_at_the_length_at_which_it_lives():
    rng = np.random.default_rng(2)
    daily = [temper(counts(rng, 0.05 + 0.02 * np.sin(np.arange(128) * 2 * np.pi / 24), n=400)) for _ in range(50)]
    assert np.median(daily) > 3
    walk = []
    for _ in range(50):
        noise = np.zeros(128)
        for i in range(1, 128):
            noise[i] = 0.95 * noise[i - 1] + 0.1 * rng.standard_normal()
        walk.append(temper(counts(rng, sigmoid(logit(np.full(128, 0.05)) + noise), n=1000)))
    assert np.median(walk) > 10  # blocks of eight and more show it; single buckets hardly
    assert np.median([phi(s, 0.05 * 0.95) for s in [counts(rng, np.full(128, 0.05), n=1000) for _ in range(50)]]) == 1.0


def test_too_short_or_too_sparse_a_series_says_nothing():
    assert phi(np.array([[50.0, 100.0], [0.0, 100.0]] * 3), 0.25) == 1.0
    assert phi(np.array([[1.0, 1.0], [0.0, 1.0]] * 8), 0.0) == 1.0
    rare = np.zeros((64, 2))
    rare[:, 1], rare[::8, 0] = 10.0, 1.0
    assert temper(rare) == 1.0


def test_halving_keeps_the_sums():
    series = np.arange(14.0).reshape(7, 2)
    np.testing.assert_array_equal(halve(series).sum(axis=0), series.sum(axis=0))
    assert halve(series).shape == (4, 2)


def cells(rng, n, truth):
    p = sigmoid(rng.normal(-1.5, 1.5, n))
    y = rng.random(n) < truth(p)
    at = np.minimum((p * 20).astype(int), 19)
    return np.stack([np.bincount(at, w, 20) for w in (np.ones(n), y, p)], axis=1)


def test_honest_scores_are_taken_at_their_word_and_others_not():
    rng = np.random.default_rng(3)
    honest = [fit_map(cells(rng, 5000, lambda p: p), coverage=1.0, tolerance=0.1) for _ in range(40)]
    assert np.mean([m.mode == ABSOLUTE for m in honest]) >= 0.9
    tame = [fit_map(cells(rng, 5000, lambda p: sigmoid(0.7 * logit(p))), coverage=1.0, tolerance=0.1) for _ in range(40)]
    assert all(m.mode in {LOGISTIC, BINNED} for m in tame)
    assert np.mean([m.mode == LOGISTIC for m in tame]) >= 0.8
    assert all(m.miscalibrated for m in tame)
    assert np.mean([m.b for m in tame]) == pytest.approx(0.7, abs=0.02)
    z = [(m.b - 0.7) / np.sqrt(m.variance[2]) for m in tame]
    assert np.std(z) == pytest.approx(1.0, abs=0.35)


def test_partly_labelled_references_are_relative_and_accuse_nobody():
    rng = np.random.default_rng(4)
    found = fit_map(cells(rng, 5000, lambda p: sigmoid(logit(p) + 0.5)), coverage=0.8, tolerance=0.1)
    assert (found.mode, found.miscalibrated) == (LOGISTIC, False)


def test_a_map_that_is_no_line_is_taken_cell_by_cell():
    rng = np.random.default_rng(5)
    found = fit_map(cells(rng, 40_000, lambda p: np.where(p < 0.4, p / 2, p)), coverage=1.0, tolerance=0.1)
    assert found.mode == BINNED
    at = 0.325
    value = sigmoid(found.a + found.b * logit(np.array([at])) + found.bump[int(at * 20)])
    assert value[0] == pytest.approx(at / 2, rel=0.1)


def test_groups_inherit_the_mode():
    rng = np.random.default_rng(6)
    assert fit_map(cells(rng, 300, lambda p: p**2), coverage=1.0, tolerance=0.1, mode=ABSOLUTE).mode == ABSOLUTE
    assert fit_map(cells(rng, 300, lambda p: p), coverage=1.0, tolerance=0.1, mode=LOGISTIC).mode != ABSOLUTE


def test_what_is_enough():
    rule = Enough()
    assert not RATES.enough(np.array([199.0, 60.0]), False, True, rule)
    assert not RATES.enough(np.array([9_999.0, 19.0]), False, True, rule)
    assert RATES.enough(np.array([200.0, 20.0]), False, True, rule)
    assert RATES.enough(np.array([10_000.0, 0.0]), False, True, rule)
    assert not RATES.enough(np.array([300.0, 290.0]), True, True, rule)  # both directions: 20 of each
    reference = np.append(np.array([[150.0, 15.0, 15.0]] * 20).ravel(), 3000.0)
    assert CALIBRATION.enough(reference, False, True, rule)
    assert not CALIBRATION.enough(reference * 0.9, False, True, rule)
    assert CALIBRATION.enough(reference * 0.9, False, False, rule)


def test_dependent_events_widen_the_bound():
    total = np.array([2000.0, 100.0])
    plain = RATES.fit(total, phi=1.0, tolerance=0.2, direction=1, parent=None)
    wide = RATES.fit(total, phi=4.0, tolerance=0.2, direction=1, parent=None)
    assert wide.hi - wide.value == pytest.approx(2 * (plain.hi - plain.value), rel=0.1)
    assert wide.null[0] == wide.hi
    assert RATES.fit(total, phi=1.0, tolerance=0.2, direction=-1, parent=None).null[0] == plain.lo
    near = RATES.fit(total, phi=1.0, tolerance=0.2, direction=1, parent=None, bound=1.0)
    assert near.null[0] - near.value == pytest.approx((plain.hi - plain.value) / 1.645, rel=0.05)
    assert near.hi == plain.hi  # what people are shown stays


def test_the_coverage_guard_forgets_after_seven_days():
    guard = CoverageGuard(days=28)
    assert not guard.shifted()
    for day in range(28):
        guard.step(day * DAY_MS, 100, 50)
    for day in range(28, 31):
        guard.step(day * DAY_MS, 100, 20)
    assert guard.shifted()
    for day in range(31, 38):
        guard.step(day * DAY_MS, 100, 50)
    assert not guard.shifted()
    again = CoverageGuard(days=28)
    again.load(guard.to_state())
    assert again.to_state() == guard.to_state()


def test_e_bh_is_the_largest_set_that_vouches_for_itself():
    rng = np.random.default_rng(8)
    for _ in range(200):
        e = np.exp(rng.normal(2, 2, 6))
        best = ()
        for size, chosen in itertools.product(
            range(1, 7), itertools.chain.from_iterable(itertools.combinations(range(6), k) for k in range(1, 7))
        ):
            if len(chosen) == size and all(e[i] >= 6 / (0.1 * size) for i in chosen) and size > len(best):
                best = chosen
        assert tuple(e_bh(np.log(e))) == tuple(sorted(best))


@pytest.mark.parametrize(("pages", "share"), [(1.0, 1.0), (5.0, 1.0), (0.1, 0.1), (0.01, 0.01)])
def test_bounds_fail_in_proportion_to_the_budget(pages, share):
    """The null of a monitor that has just been armed, for budgets of different sizes."""
    bank = Bank(policy=ModelPolicy(budget=Budget(pages=pages, days=30)))
    assert bank.rule.share == share
    family = next(family for family in RATES.families if family.name == "error")
    track = Track(family=family, direction=1, tolerance=0.2)
    panel = Panel(RATES, [track], rung=1, rule=bank.rule, mature=True)
    total = np.array([3_000.0, 150.0])
    fit = panel.learner._bounded(total, track, 1.0, None)
    n, p = 3_000.0, float(fit.null[0])
    z = (p - 0.05) / np.sqrt(p * (1 - p) / n)  # Wilson's edge is where the rate lies z errors of the edge away
    assert NormalDist().cdf(-z) == pytest.approx(share * NormalDist().cdf(-1.0), rel=0.02)
    assert (fit.lo, fit.hi) == wilson(3_000, 150)  # what people are shown stays an interval of 90 %
