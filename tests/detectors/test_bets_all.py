"""What every bet must do, found by itself."""

import itertools
import math

import numpy as np
import pytest

from detectors.baselines.wilson import wilson
from detectors.bets import DOWN, UP, discover, odds
from detectors.bets.costs import LAMBDAS, NAMES, CostBet
from detectors.bets.errors import ErrorBet
from detectors.bets.rates import RATIOS, RateBet
from detectors.bets.scores import ScoreBet
from detectors.cost_cells import CELLS, LOWER_ENDS, cost_cell
from detectors.families import families, family

BETS = discover()
NAMED = {
    "numbers": family("feature:x"),
    "categories": family("category:x"),
    "missing": family("missing:x"),
    "pair_scores": family("brier:x"),
}
CASES = [
    (bet, each, direction)
    for bet in BETS.values()
    for each in (*bet.families, *([NAMED[bet.name]] if bet.name in NAMED else []))
    for direction in each.directions
]
IDS = [f"{each.name}-{direction:+d}" for _, each, direction in CASES]


def observation(bet, n, rate, *, p=0.3):
    """``n`` events with ``rate`` failures or positives; a calibration bet sees them at scores around ``p``."""
    x = float(round(n * rate))
    if bet.name in ("rates", "missing"):
        return np.array([float(n), x])
    if bet.name in ("gap", "pair_scores"):
        # a failure is one of the group; the rest, three times as many, stays as it was. Or a squared error of one; the rival's stay
        rest = 3.0 * n
        return np.array(
            [n, x, rest, round(0.32 * rest), round(0.32 * rest) / 3, n / 3] if bet.name == "gap" else [n, x, 0.32 * n, 0.05 * n]
        )
    if bet.name in ("scores", "errors", "numbers", "categories"):  # a failure is a high score, a large error, another category
        return np.array([(n - x) * (cell == 4) + x * (cell == 15) for cell in range(bet.width)])
    if bet.name.startswith("claim_"):  # what counts for the claim against what does not: tp or tn, fp or fn
        right, wrong = (2, 1) if bet.name == "claim_specificity" else (0, 1) if bet.name == "claim_ppv" else (0, 3)
        cells = np.zeros(4)
        cells[right], cells[wrong] = x, (n - x) * (2 if bet.name == "claim_f1" else 1)
        return cells
    if bet.name == "costs":  # a failure costs 5
        cost = np.zeros(65)
        cost[[0, cost_cell(50_000), 64]] = n - x, x, 5 * x
        return cost
    cells = np.zeros((20, 3))
    cell = int(p * 20)
    cells[cell] = n, round(n * rate), n * (p + 0.02)
    return np.append(cells.ravel(), float(n))


@pytest.mark.parametrize(("bet", "each", "direction"), CASES, ids=IDS)
class TestEveryBet:
    def fitted(self, bet, each, direction):
        total = observation(bet, 10_000, 0.32)
        fit = bet.fit(total, phi=1.0, tolerance=each.tolerance, direction=direction, parent=None)
        return fit, bet.table(fit.null, direction)[None]

    def test_loses_on_a_constant(self, bet, each, direction):
        _, table = self.fitted(bet, each, direction)
        assert (bet.log_factors(observation(bet, 1000, 0.32)[None], table) <= 1e-12).all()

    def test_wins_in_the_direction_it_is_for(self, bet, each, direction):
        _, table = self.fitted(bet, each, direction)
        there = bet.log_factors(observation(bet, 1000, 0.32 + 0.2 * direction)[None], table)
        assert there.max() > 10
        leading = int(there.argmax())
        tally = bet.tally(observation(bet, 1000, 0.32 + 0.2 * direction)[None], table)[0]
        n, x, expected = tally[min(leading, len(tally) - 1), :3]
        assert bet.effect(x / n, expected / n, direction) > each.tolerance

    def test_halves_of_a_pane_add_up_to_the_whole(self, bet, each, direction):
        _, table = self.fitted(bet, each, direction)
        half = observation(bet, 400, 0.5)
        whole = bet.log_factors(2 * half[None], table)
        np.testing.assert_allclose(whole, 2 * bet.log_factors(half[None], table), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(bet.tally(2 * half[None], table), 2 * bet.tally(half[None], table))

    def test_monitors_do_not_see_each_other(self, bet, each, direction):
        _, table = self.fitted(bet, each, direction)
        obs = np.stack([observation(bet, n, r) for n, r in [(100, 0.1), (300, 0.5), (50, 0.32)]])
        together = bet.log_factors(obs, table.repeat(3, axis=0))
        alone = np.concatenate([bet.log_factors(row[None], table) for row in obs])
        np.testing.assert_array_equal(together, alone)

    def test_no_events_no_evidence(self, bet, each, direction):
        _, table = self.fitted(bet, each, direction)
        assert (bet.log_factors(np.zeros((1, bet.width)), table) == 0).all()
        assert (bet.tally(np.zeros((1, bet.width)), table)[..., 0] == 0).all()

    def test_bad_numbers_have_a_name(self, bet, each, direction):
        good = observation(bet, 100, 0.3)
        assert bet.fault(good[None, None]) == ""
        for bad in (-good, np.where(good > 0, np.nan, good)):
            assert "expected" in bet.fault(bad[None, None])

    def test_the_clear_test_wins_only_when_it_is_over(self, bet, each, direction):
        fit, table = self.fitted(bet, each, direction)
        drifted = observation(bet, 1000, 0.32 + 0.2 * direction)
        stake = int(bet.log_factors(drifted[None], table)[0].argmax())
        tally = bet.tally(drifted[None], table)[0]
        mean = tally[min(stake, len(tally) - 1), 1] / tally[min(stake, len(tally) - 1), 0]
        clear = bet.clear_table(fit, direction=direction, stake=stake, mean=mean, tolerance=each.tolerance)
        assert bet.clear_factors(observation(bet, 1000, 0.32), clear).max() > 5
        assert bet.clear_factors(drifted, clear).max() < -5


@pytest.mark.parametrize("direction", [UP, DOWN])
@pytest.mark.parametrize("m0", [0.001, 0.05, 0.5, 0.97])
def test_rate_factors_are_fair_at_the_edge_and_unfair_inside_the_null(direction, m0):
    """The exact expectation over all outcomes of 12 events."""
    bet, n = RateBet(), 12
    table = bet.table(np.array([m0, m0]), direction)[None]
    factors = np.exp([bet.log_factors(np.array([[n, x]], dtype=float), table)[0] for x in range(n + 1)])
    for mean, bound in ((m0, 1 + 1e-9), (m0 ** (2 if direction == UP else 0.5), 1.0)):
        weights = np.array([math.comb(n, x) * mean**x * (1 - mean) ** (n - x) for x in range(n + 1)])
        assert (weights @ factors <= bound).all()
    exact = np.array([math.comb(n, x) * m0**x * (1 - m0) ** (n - x) for x in range(n + 1)]) @ factors
    np.testing.assert_allclose(exact, 1.0)


def test_rate_alternatives_are_odds_ratios():
    table = RateBet().table(np.array([0.05, 0.05]), UP)
    p = 0.05 * np.exp(table[: len(RATIOS)])
    np.testing.assert_allclose([odds(each) / odds(0.05) for each in p], RATIOS)


def test_calibration_factors_are_fair_for_every_truth_in_the_band():
    """Exact expectation for one cell whose events have different probabilities inside the band."""
    bet = BETS["calibration"]
    for p, tau in itertools.product((0.03, 0.3, 0.62, 0.97), (0.0, 0.1)):
        cells = np.zeros((20, 3))
        cells[:, 0], cells[:, 2] = 1000.0, 1000 * (np.arange(20) + 0.5) / 20
        cells[:, 1] = np.round(cells[:, 2])
        fit = bet.fit(np.append(cells.ravel(), 20_000.0), phi=1.0, tolerance=tau, direction=UP, parent=np.zeros(bet.terms))
        table = bet.table(fit.null, UP)[None]
        edges = 1 / (1 + np.exp(-(np.log(p / (1 - p)) + np.array([-tau, 0.0, tau]))))
        for truth in itertools.product(edges, repeat=3):
            expectation = np.zeros(bet.stakes)
            for outcome in itertools.product((0, 1), repeat=3):
                chance = np.prod([q if y else 1 - q for q, y in zip(truth, outcome, strict=True)])
                seen = np.zeros((20, 3))
                seen[int(p * 20)] = 3, sum(outcome), 3 * p
                expectation += chance * np.exp(bet.log_factors(np.append(seen.ravel(), 3.0)[None], table)[0])
            assert (expectation <= 1 + 1e-9).all(), (p, tau, truth)


@pytest.mark.parametrize("bet", [ScoreBet(), ErrorBet()], ids=["scores", "errors"])
def test_factors_of_shares_are_fair_for_every_share_in_the_band(bet):
    """Exact expectation of one event per alternative, at the upper edge of its set's share and below it."""
    total = np.arange(float(bet.width), 0.0, -1.0) * 30
    fit = bet.fit(total, phi=1.0, tolerance=0.05, direction=UP, parent=None)
    table = bet.table(fit.null, UP)[None]
    each, tables = np.eye(bet.width), table.repeat(bet.width, axis=0)
    one = np.exp(bet.log_factors(each, tables))  # by cell, by alternative
    inside = bet.tally(each, tables)[..., 1] > 0
    bets = [j for j in range(bet.stakes) if inside[:, j].any() and (one[:, j] != 1).any()]
    assert len(bets) > 20
    for j in bets:
        share = bet.tally(total[None], table)[0, j, 1] / total.sum()
        edge = wilson(total.sum(), share * total.sum(), 2.58)[1] + 0.05
        hit, miss = one[inside[:, j], j], one[~inside[:, j], j]
        assert np.ptp(hit) < 1e-12
        assert hit[0] > 1 > miss[0]
        np.testing.assert_allclose(edge * hit[0] + (1 - edge) * miss[0], 1.0)


def test_cost_factors_are_fair_for_every_distribution_with_the_bounded_mean():
    """A factor of the mean is a line in the cost: its expectation is that of its ends, whatever the tail."""
    bet, total = CostBet(), np.zeros(65)
    total[[0, 20, 40]], total[64] = (900, 90, 10), 90 * LOWER_ENDS[20] + 10 * LOWER_ENDS[40]
    fit = bet.fit(total, phi=1.0, tolerance=0.1, direction=UP, parent=None)
    m0 = fit.null[0]
    assert m0 > fit.null[2]
    one = np.exp(bet.log_factors(np.eye(65)[:CELLS], bet.table(fit.null, UP)[None].repeat(CELLS, axis=0)))[:, : len(LAMBDAS)]
    for low, high in itertools.product(np.flatnonzero(m0 >= LOWER_ENDS), np.flatnonzero(m0 < LOWER_ENDS)):
        share = (m0 - LOWER_ENDS[low]) / (LOWER_ENDS[high] - LOWER_ENDS[low])
        np.testing.assert_allclose((1 - share) * one[low] + share * one[high], 1.0)


def test_cost_factors_of_frequency_and_size_are_unfair_to_us_where_costs_are_as_in_the_baseline_or_lower():
    """Every law that the baseline dominates: cells moved down at random. A cost never seen counts as the largest that was."""
    bet, rng, total = CostBet(), np.random.default_rng(9), np.zeros(65)
    total[[0, 15, 20, 28]] = 800, 90, 90, 20
    total[64] = total[:CELLS] @ LOWER_ENDS
    fit = bet.fit(total, phi=1.0, tolerance=0.1, direction=UP, parent=None)
    one = np.exp(bet.log_factors(np.eye(65)[:CELLS], bet.table(fit.null, UP)[None].repeat(CELLS, axis=0)))[:, len(LAMBDAS) :]
    assert (np.diff(one[:, :3], axis=0) >= 0).all()
    assert (np.diff(one[1:], axis=0) >= 0).all()
    assert (one[0, 3:6] == 1).all()  # size is asked of those that cost something
    np.testing.assert_allclose(one[:, 6:], one[:, [1, 2]] * one[:, [3, 4]])  # both at once
    assert [bet.describe(stake) for stake in (2, 3, 6, 9, 10)] == [NAMES[kind] for kind in (0, 1, 2, 3, 3)]
    np.testing.assert_array_equal(one[29:], one[[28]].repeat(CELLS - 29, axis=0))
    law = total[:CELLS] / total[:CELLS].sum()
    assert (law @ one < 1).all()
    for _ in range(50):
        for lowest, stakes in ((0, slice(3)), (1, slice(3, None))):
            lower = law.copy()
            for cell, share in zip((28, 20, 15), rng.random(3), strict=True):
                lower[rng.integers(lowest, cell)] += share * lower[cell]
                lower[cell] *= 1 - share
            assert (lower @ one[:, stakes] < 1).all()
    dearer = np.zeros(CELLS)
    dearer[[0, 20, 28]] = 0.8, 0.1, 0.1
    assert (dearer @ one[:, 3:] > 1).all()


@pytest.mark.parametrize("claim", ["f1", "accuracy", "sensitivity", "specificity", "ppv"])
@pytest.mark.parametrize("claimed", [0.5, 0.94, 1.0])
def test_claim_factors_are_fair_where_the_claim_just_holds(claim, claimed):
    """Exact expectation over the four cells for random confusion matrices, moved to the edge of the claim."""
    bet, rng = BETS[f"claim_{claim}"], np.random.default_rng(8)
    table = bet.table(bet.contract(claimed).null, DOWN)[None]
    factors = np.exp(bet.log_factors(np.eye(4), table.repeat(4, axis=0)))  # by cell, by stake
    z = bet._x - claimed * bet._n
    for mixed in rng.dirichlet(np.ones(4), 50):
        short, over = mixed @ np.maximum(-z, 0), mixed @ np.maximum(z, 0)
        share = np.where(z < 0, mixed * min(1.0, over / short), mixed)
        share /= share.sum()
        assert share @ z >= -1e-12  # as claimed, or better
        assert (share @ factors <= 1 + 1e-9).all()
    assert (factors >= 0).all()
    assert (factors[z < 0] > 1).all()


def test_the_bound_of_a_skewed_mean_covers_it():
    """Lognormal costs of a tenth of the events; a symmetric bound covers far less than the 95 % asked for."""
    rng, bet, truth = np.random.default_rng(5), CostBet(), []
    for _ in range(400):
        cost = np.where(rng.random(2_000) < 0.1, rng.lognormal(1.0, 1.5, 2_000), 0.0)
        cells = np.bincount(cost_cell(np.rint(cost * 1e4).astype(np.int64)), minlength=CELLS)
        fit = bet.fit(np.append(cells, cost.sum()), phi=1.0, tolerance=0.1, direction=UP, parent=None)
        truth.append((fit.null[0], fit.null[2]))
    bound, mean = np.array(truth).T
    assert 0.91 <= (bound >= mean.mean()).mean() <= 0.98


def test_thresholds_stand_next_to_the_scores_where_these_have_few_values():
    bet, total = ScoreBet(), np.zeros(20)
    total[9] = 1000.0  # every score is 0.5
    fit = bet.fit(total, phi=1.0, tolerance=0.05, direction=UP, parent=None)
    table = bet.table(fit.null, UP)[None]
    for cell, words in ((12, "scores above 0.5"), (4, "scores up to 0.45")):
        moved = total * 0.5
        moved[cell] = 500.0
        factors = bet.log_factors(moved[None], table)[0]
        assert factors.max() > 100
        assert bet.describe(int(factors.argmax()), fit.null) == words


def test_families_are_the_policys():
    from schemas.policy_models import CLAIMS, FAMILIES, OPT_IN_FAMILIES

    watched = {name: each for name, (each, _) in families().items() if each.kind != "claim"}
    assert {each.watch or name for name, each in watched.items()} <= set(FAMILIES)
    assert {each.watch or name for name, each in watched.items() if each.opt_in} <= set(OPT_IN_FAMILIES)
    claims = {name for name, (each, _) in families().items() if each.kind == "claim"}
    assert claims == set(CLAIMS) - {"ece"}  # a calibration error is no mean: reported, not bet against


def test_a_family_that_is_not_there_is_named_with_the_nearest():
    with pytest.raises(KeyError, match="no family 'eror'; did you mean 'error'"):
        family("eror")


def test_counts_of_a_family(reading):
    bet = BETS["rates"]
    r = reading(
        0,
        segments=[0, 3],
        tp=[5, 1],
        fp=[2, 0],
        tn=[20, 4],
        fn=[3, 2],
        made={"n": [40, 9], "abstained": [4, 1], "alerted": [7, 9]},
        abstained=[1, 0],
    )
    expected = {
        "error": [[30, 5], [7, 2]],
        "fpr": [[22, 2], [4, 0]],
        "fnr": [[8, 3], [3, 2]],
        "prior": [[30, 8], [7, 3]],
        "coverage": [[40, 31], [9, 7]],
        "alert_rate": [[36, 7], [8, 8]],
        "abstention": [[40, 4], [9, 1]],
    }
    for name, counts in expected.items():
        np.testing.assert_array_equal(bet.observe(r, [family(name)])[0], counts, err_msg=name)
    np.testing.assert_array_equal(bet.observe(r, [family(name) for name in expected]), list(expected.values()))


def test_where_being_right_is_the_label_only_the_error_rate_is_a_rate(reading):
    bet, names = BETS["rates"], ["error", "fpr", "fnr", "prior"]
    made = {"n": [10, 10], "positive": [10, 6], "negative": [0, 4], "binary": [0, 10]}
    obs = bet.observe(reading(0, segments=[0, 3], tp=[7, 3], fp=[3, 3], tn=[0, 2], fn=[0, 2], made=made), [family(name) for name in names])
    np.testing.assert_array_equal(obs[:, 0], [[10, 3], [0, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(obs[:, 1], [[10, 5], [5, 3], [5, 2], [10, 5]])
