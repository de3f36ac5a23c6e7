"""Shrunk rates: nearer to the truth than plain ones, honest on average over groups, and the same however groups are numbered."""

import numpy as np
import pytest
from support.stories import fold, story

from detectors.statistics.shrunk_rates import prior_of, shrunk
from detectors.watch_report import report
from schemas.policy import parse_policy

POLICY = parse_policy('[models.m]\nages = ["4d"]\n')


@pytest.mark.parametrize("worth", [20.0, 200.0])
def test_intervals_hold_on_average_over_groups_and_the_error_is_less(worth):
    """Groups of 5 to 500 events whose true rates are those of a Beta distribution of mean 10 %."""
    rng, held, ours, plain = np.random.default_rng(1), [], 0.0, 0.0
    for _ in range(60):
        truth = rng.beta(0.1 * worth, 0.9 * worth, 80)
        n = np.geomspace(5, 500, 80).round()
        x = rng.binomial(n.astype(int), truth).astype(float)
        prior = prior_of(x, n)
        mean, lo, hi = shrunk(x, n, prior).T
        held.append(np.mean((lo <= truth) & (truth <= hi)))
        ours, plain = ours + np.square(mean - truth).sum(), plain + np.square(x / n - truth).sum()
    assert 0.84 <= np.mean(held) <= 0.94
    assert ours < 0.6 * plain


def test_equal_groups_have_one_rate_and_a_lone_group_has_none():
    x, n = np.array([50.0, 5.0, 500.0]), np.array([500.0, 50.0, 5_000.0])
    prior = prior_of(x, n)
    assert prior.events == n.sum()
    np.testing.assert_allclose(shrunk(x, n, prior)[:, 0], 0.1)
    assert prior_of(np.array([3.0, 0.0]), np.array([9.0, 0.0])) is None
    nothing = prior_of(np.zeros(3), n)
    assert shrunk(np.zeros(3), n, nothing)[:, 1].max() < 1e-3


def test_the_report_brings_them_for_groups() -> None:
    watch, _ = fold(story(seed=3, days=12, per_day=100), policy=POLICY)
    model = report([watch]).models[0]
    for figures in (model.segments, model.mature):
        whole, *groups = figures
        assert whole.shrunk == {}
        assert len(groups) == 3
        for one in groups:
            error = one.shrunk["error"]
            plain, n = (one.fp + one.fn) / one.n_labelled, one.n_labelled
            assert error.n == n
            assert error.lo < error.value < error.hi
            common = (whole.fp + whole.fn) / whole.n_labelled
            assert min(plain, common) - 1e-9 <= error.value <= max(plain, common) + 1e-9
            assert one.shrunk["fpr"].n == one.fp + one.tn
            assert one.shrunk["fnr"].n == one.fn + one.tp
