"""Calibration: the published code's habit, the debiasing, the interval, the line where there is none."""

import math

import numpy as np
import pytest

from detectors.statistics.calibration_line import calibration_line
from detectors.statistics.debiased_rms import debiased_rms
from detectors.statistics.equal_mass import equal_mass_ece, mass_bins, mass_groups
from detectors.statistics.label_maturity import maturity
from detectors.statistics.sized_bins import sized_rms


def published_calib_err(confidence, correct, beta=100):
    """The code in common use, as published, with its last bin dropped by the loop."""
    idxs = np.argsort(confidence, kind="stable")
    confidence, correct = confidence[idxs], correct[idxs]
    bins = [[i * beta, (i + 1) * beta] for i in range(len(confidence) // beta)]
    bins[-1] = [bins[-1][0], len(confidence)]
    cerr = 0
    total_examples = len(confidence)
    for i in range(len(bins) - 1):
        bin_confidence = confidence[bins[i][0] : bins[i][1]]
        bin_correct = correct[bins[i][0] : bins[i][1]]
        num_examples_in_bin = len(bin_confidence)
        if num_examples_in_bin > 0:
            difference = np.abs(np.nanmean(bin_confidence) - np.nanmean(bin_correct))
            cerr += num_examples_in_bin / total_examples * np.square(difference)
    return np.sqrt(cerr)


@pytest.mark.parametrize("n", [100, 199, 200, 350, 1234])
def test_the_compatible_figure_is_the_published_codes(n):
    rng = np.random.default_rng(n)
    confidence = rng.beta(5, 2, n).round(2)
    correct = rng.random(n) < 0.2
    assert sized_rms(confidence, correct, hle_compat=True) == pytest.approx(
        published_calib_err(confidence, correct.astype(float)), abs=1e-12
    )
    groups = np.minimum(np.arange(n) // 100, max(n // 100, 1) - 1)
    order = np.argsort(confidence, kind="stable")
    whole = math.sqrt(
        sum(
            (groups == g).sum() / n * (confidence[order][groups == g].mean() - correct[order][groups == g].mean()) ** 2 for g in set(groups)
        )
    )
    assert sized_rms(confidence, correct) == pytest.approx(whole, abs=1e-12)
    assert sized_rms(confidence, correct) > sized_rms(confidence, correct, hle_compat=True)


def test_too_few_events_and_bad_ones():
    assert sized_rms([0.9] * 10, [0] * 10, hle_compat=True) == 0.0
    assert sized_rms([0.9] * 10, [0] * 10) == pytest.approx(0.9)
    assert math.isnan(sized_rms([], []))
    with pytest.raises(ValueError, match="a confidence"):
        sized_rms([math.nan], [1])


def simulated(rng, n, slope, sets=400):
    """Return counts of ``sets`` data sets in 20 cells, whose outcomes follow the logit times ``slope``, and the true gaps."""
    p = (np.arange(20) + 0.5) / 20
    truth = 1 / (1 + (1 / p - 1) ** slope)
    counts = rng.multinomial(n, np.full(20, 0.05), size=sets)
    return counts, rng.binomial(counts, truth), counts * p, np.abs(p - truth)


@pytest.mark.parametrize("n", [300, 1000, 10_000])
def test_debiased_rms_is_near_zero_for_a_calibrated_model_and_right_for_another(n):
    rng = np.random.default_rng(1)
    counts, positive, score, _ = simulated(rng, n, 1.0)
    assert np.median(debiased_rms(counts, positive, score)) < 0.02
    counts, positive, score, gaps = simulated(rng, n, 0.5)
    assert np.sqrt(np.mean(debiased_rms(counts, positive, score) ** 2)) == pytest.approx(math.sqrt(np.mean(gaps**2)), abs=0.006)


@pytest.mark.parametrize("slope", [1.0, 0.8, 0.5])
@pytest.mark.parametrize("n", [300, 3000])
def test_the_equal_mass_interval_covers_and_the_bias_is_less(n, slope):
    counts, positive, score, gaps = simulated(np.random.default_rng(2), n, slope)
    true = gaps.mean()
    ece, lo, hi = equal_mass_ece(counts, positive, score, groups=20)
    plain = np.abs(score - positive).sum(axis=1) / n
    assert np.mean((lo <= true + 1e-9) & (true <= hi)) >= 0.91  # 95 % less three standard errors of 400 sets and the approximation
    assert abs(np.median(ece) - true) <= abs(np.median(plain) - true) + 0.001
    assert ((lo <= ece) & (ece <= hi)).all()


def test_no_line_without_both_classes_two_bins_or_overlap():
    for positive in ([0, 0, 0], [10, 10, 10], [0, 0, 10], [0, 10, 10]):
        assert math.isnan(calibration_line([10, 10, 10], positive, [1.0, 5.0, 9.0]).slope)
    assert math.isnan(calibration_line([0, 10, 0], [0, 5, 0], [0.0, 5.0, 0.0]).slope)
    assert math.isnan(calibration_line([0], [0], [0.0]).intercept)


@pytest.mark.parametrize("slope", [-0.5, 0.1, 1.0, 2.5])
@pytest.mark.parametrize("intercept", [-2.0, 0.0, 1.0])
def test_the_line_is_found_wherever_it_lies(slope, intercept):
    p = np.linspace(0.01, 0.99, 60)
    n = np.full(60, 10**12)
    truth = 1 / (1 + np.exp(-(intercept + slope * np.log(p / (1 - p)))))
    line = calibration_line(n, np.rint(truth * n), p * n)
    assert (float(line.slope), float(line.intercept)) == pytest.approx((slope, intercept), abs=1e-6)


def test_maturity_is_fair_to_those_still_waiting():
    """Half the predictions are too young to have their label: the share that came is biased, the life table is not."""
    rng = np.random.default_rng(3)
    delay, age = rng.exponential(1000, 200_000), rng.uniform(0, 2000, 200_000)
    edges = np.linspace(0, 2000, 401)
    arrived = np.histogram(delay[delay <= age], edges)[0]
    waiting = np.histogram(age[delay > age], edges)[0]
    curve = maturity(arrived, waiting)
    assert curve[199] == pytest.approx(1 - math.exp(-1), abs=0.01)
    assert abs((delay <= age).mean() - (1 - math.exp(-2))) > 0.2


def test_coverage_by_hand():
    assert maturity([1, 0], [0, 1]).tolist() == pytest.approx([0.5, 0.5])
    assert maturity([1, 4], [2, 3]).tolist() == pytest.approx([1 / 9, 1 - (1 - 1 / 9) * (1 - 4 / 5.5)])


@pytest.mark.parametrize("seed", range(5))
def test_equal_mass_bins_are_sums_of_their_cells(seed):
    rng = np.random.default_rng(seed)
    n = rng.integers(0, 9, (3, 60)) * (rng.random((3, 60)) < 0.4)
    n[0] = 0
    group, positive, score = mass_groups(n), rng.integers(0, n + 1), rng.random(n.shape)
    want = [[[column[i, group[i] == g].sum() for g in range(10)] for i in range(3)] for column in (n, positive, score)]
    np.testing.assert_allclose(np.array(mass_bins(n, positive, score)), want)
    for i in range(3):
        np.testing.assert_allclose(np.array(mass_bins(n[i], positive[i], score[i])), np.array(want)[:, i])
