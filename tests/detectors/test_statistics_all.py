"""What every statistic must do, whichever it is: agree with a slow reference, merge, revert, refuse, be stored, wear River's face."""

import functools
import itertools
import json
import math

import numpy as np
import pytest
from river import base, evaluate, linear_model, metrics, stats, stream, utils

from detectors.statistics import statistics

CASES = [
    pytest.param(name, parameters, id=f"{name}-{i}")
    for name, cls in statistics().items()
    for i, parameters in enumerate(getattr(cls, "_unit_test_params", lambda: [{}])())
]
METRICS = [case for case in CASES if issubclass(statistics()[case.values[0]], metrics.base.Metric)]


def columns(name, n=300, seed=3):
    """Columns for a statistic, and named ones; half the scores lie on edges of bins, or next to them: 3 * 0.1 is above 0.3."""
    rng = np.random.default_rng(seed)
    score = np.where(rng.random(n) < 0.5, rng.integers(0, 11, n) * 0.1, rng.random(n)).clip(0, 1)
    true = rng.random(n) < 0.2 + 0.5 * score
    amount = rng.lognormal(3, 1, n).round(2)
    sent = rng.integers(0, 9, n)
    return {
        "Share": ([true], {}),
        "MissingFeatures": ([np.stack([sent, rng.integers(0, sent + 1)], axis=1)], {}),
        "MeanLabelDelay": ([rng.integers(0, 10_000_000, n) / 1000], {}),
        "LabelMaturity": ([np.stack([age := rng.lognormal(6, 3, n).round(3), true & (age < 10_000)], axis=1)], {}),
        "SelectiveRisk": ([true, np.where(rng.random(n) < 0.2, None, rng.random(n) < 0.5)], {}),
        "ConfusionRate": ([true, score > 0.5], {}),
        "DecisionCost": ([true, score > 0.5], {"amount": amount}),
        "ExpectedCost": ([true, score], {"amount": amount}),
    }.get(name, ([true, score], {}))


def row(column, i):
    value = column[i]
    return value.tolist() if hasattr(value, "tolist") else value


def fed(name, parameters, part=slice(None)):
    given, named = columns(name)
    statistic = statistics()[name](**parameters)
    statistic.update_many(*(column[part] for column in given), **{key: column[part] for key, column in named.items()})
    return statistic


def dumped(statistic):
    return json.dumps(statistic.to_state(), default=lambda data: data.hex())


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_agrees_with_its_slow_reference(name, parameters):
    given, named = columns(name)
    expected = REFERENCES[name](parameters, *(column.tolist() for column in given), **{key: c.tolist() for key, c in named.items()})
    assert fed(name, parameters).get() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_columns_are_events_one_by_one(name, parameters):
    given, named = columns(name)
    single = statistics()[name](**parameters)
    for i in range(len(given[0])):
        single.update(*(row(column, i) for column in given), **{key: row(column, i) for key, column in named.items()})
    assert dumped(single) == dumped(fed(name, parameters))


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_merging_and_reverting_give_the_same_bits_in_any_order(name, parameters):
    given, named = columns(name)
    order = np.random.default_rng(0).permutation(300)
    left, right, more = (fed(name, parameters, part) for part in (order[:120], order[120:], order[:50]))
    right += left
    assert dumped(right) == dumped(fed(name, parameters))
    right += more
    right.update_many(*(c[order[:50]] for c in given), sign=-1, **{key: c[order[:50]] for key, c in named.items()})
    assert dumped(right) == dumped(fed(name, parameters))
    for i in order[:5]:
        right.revert(*(row(column, i) for column in given), **{key: row(column, i) for key, column in named.items()})
    assert dumped(right) == dumped(fed(name, parameters, order[5:]))


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_empty_is_nan(name, parameters):
    assert math.isnan(statistics()[name](**parameters).get())


@pytest.mark.parametrize(("name", "parameters"), CASES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_bad_number_is_refused_and_the_state_kept(name, parameters, bad):
    given, named = columns(name)
    statistic = fed(name, parameters)
    before = dumped(statistic)
    last = given[-1]
    if last.dtype in (bool, object):  # labels: infinity is a label like any other
        if math.isinf(bad) and name != "Share":
            return
        broken = last.astype(object)
    else:
        broken = last.astype(float)
    broken[7] = bad
    with pytest.raises(ValueError, match="expected"):
        statistic.update_many(*given[:-1], broken, **named)
    for key in named:
        amounts = named[key].copy()
        amounts[7] = bad
        with pytest.raises(ValueError, match="expected"):
            statistic.update_many(*given, **{key: amounts})
    assert dumped(statistic) == before


@pytest.mark.parametrize(("name", "parameters"), METRICS)
def test_columns_of_different_lengths_are_refused(name, parameters):
    given, _ = columns(name)
    statistic = fed(name, parameters)
    before = dumped(statistic)
    with pytest.raises(ValueError, match="expected"):
        statistic.update_many(given[0][:1], given[1])
    assert dumped(statistic) == before


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_stored_mid_stream_it_goes_on_as_before(name, parameters):
    half = fed(name, parameters, slice(0, 150))
    again = statistics()[name](**parameters).load_state(half.to_state())
    again += fed(name, parameters, slice(150, 300))
    assert dumped(again) == dumped(fed(name, parameters))
    with pytest.raises(ValueError, match="version"):
        again.load_state(half.to_state() | {"version": 0})
    assert dumped(again) == dumped(fed(name, parameters))


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_merging_with_another_statistic_is_refused(name, parameters):
    other = "Share" if name != "Share" else "MissingFeatures"
    with pytest.raises(ValueError, match="merge"):
        functools.reduce(lambda a, b: a.__iadd__(b), [fed(name, parameters), statistics()[other]()])


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_river_clones_prints_and_rolls_it(name, parameters):
    given, named = columns(name)
    statistic = fed(name, parameters)
    clone = statistic.clone()
    assert math.isnan(clone.get())
    assert {key: getattr(clone, key) for key in parameters} == parameters
    assert isinstance(statistic, metrics.base.Metric | stats.base.Univariate)
    assert repr(statistic).startswith(f"{name}: ")
    rolling = utils.Rolling(statistics()[name], window_size=40, **parameters)
    for i in range(90):
        rolling.update(*(row(column, i) for column in given), **{key: row(column, i) for key, column in named.items()})
    assert dumped(rolling.obj) == dumped(fed(name, parameters, slice(50, 90)))


@pytest.mark.parametrize(("name", "parameters"), METRICS)
def test_it_runs_in_a_river_pipeline(name, parameters):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 2))
    y = rng.random(200) < 1 / (1 + np.exp(-x[:, 0]))
    model = linear_model.LogisticRegression()
    metric = statistics()[name](**parameters)
    assert metric.works_with(model)
    evaluate.progressive_val_score(stream.iter_array(x, y.tolist()), model, metric + metrics.Accuracy())
    alone = statistics()[name](**parameters)
    evaluate.progressive_val_score(stream.iter_array(x, y.tolist()), linear_model.LogisticRegression(), alone)
    assert dumped(alone) == dumped(metric)
    assert dumped(alone) != dumped(statistics()[name](**parameters))
    assert isinstance(alone, base.Base)


@pytest.mark.parametrize(("name", "parameters"), CASES)
def test_the_state_stays_small(name, parameters):
    assert len(dumped(fed(name, parameters))) < 20_000


def test_every_statistic_has_a_reference_and_a_docstring():
    assert set(REFERENCES) == set(statistics())
    for cls in statistics().values():
        for part in ("Additive, mergeable, revertible", "References\n", "Examples\n"):
            assert part in cls.__doc__, cls


# Slow references: plain Python, event by event.


def slow_rate(parameters, true, predicted):
    tp, fp = (sum(1 for y, z in zip(true, predicted, strict=True) if z and y == want) for want in (True, False))
    fn, tn = (sum(1 for y, z in zip(true, predicted, strict=True) if not z and y == want) for want in (True, False))
    n = tp + fp + tn + fn
    recall, specificity = tp / (tp + fn), tn / (tn + fp)
    return {
        "accuracy": (tp + tn) / n,
        "error": (fp + fn) / n,
        "fpr": fp / (fp + tn),
        "fnr": fn / (fn + tp),
        "ppv": tp / (tp + fp),
        "npv": tn / (tn + fn),
        "sensitivity": recall,
        "specificity": specificity,
        "f1": 2 / (1 / recall + (tp + fp) / tp),
        "balanced_accuracy": (recall + specificity) / 2,
        "mcc": np.corrcoef(np.array(true, float), np.array(predicted, float))[0, 1],
        "predicted_rate": sum(predicted) / n,
        "base_rate": sum(true) / n,
        "nne": (tp + fp) / tp,
    }[parameters["rate"]]


def slow_bins(true, score, bins):
    """Events by bin (lo, hi]; a score within 1e-12 of an edge, in bins, is on it."""
    filled = {}
    for y, p in zip(true, score, strict=True):
        place = p * bins
        place = round(place) if abs(place - round(place)) <= 1e-12 else math.ceil(place)
        filled.setdefault(max(place, 1), []).append((p, y))
    return [(len(events), np.mean([p for p, _ in events]), np.mean([y for _, y in events])) for _, events in sorted(filled.items())]


def slow_calibration_error(parameters, true, score):
    bins = slow_bins(true, score, parameters["bins"])
    gaps, weights = [abs(p - y) for _, p, y in bins], [n / len(true) for n, _, _ in bins]
    if parameters["norm"] == "max":
        return max(gaps)
    power = {"ece": 1, "rms": 2}[parameters["norm"]]
    return sum(w * gap**power for w, gap in zip(weights, gaps, strict=True)) ** (1 / power)


def slow_debiased(_, true, score):
    bins = [one for one in slow_bins(true, score, 20) if one[0] >= 2]
    total = sum(n for n, _, _ in bins)
    return math.sqrt(max(sum(n / total * ((p - y) ** 2 - y * (1 - y) / (n - 1)) for n, p, y in bins), 0))


def slow_equal_mass(_, true, score):
    from scipy.optimize import brentq

    total, before, groups = len(true), 0, {}
    for n, p, y in slow_bins(true, score, 60):
        groups.setdefault(min(math.floor(10 * (before + n / 2) / total), 9), []).append((n, p, y))
        before += n
    bins = []
    for cells in groups.values():
        n, hits = sum(cell[0] for cell in cells), sum(cell[0] * cell[2] for cell in cells)
        share = (hits + 0.5) / (n + 1)
        bins.append((n / total, abs(sum(cell[0] * cell[1] for cell in cells) - hits) / n, math.sqrt(share * (1 - share) / n)))
    scale = sum(w * math.hypot(gap, sd) for w, gap, sd in bins)

    def expected(ece):
        mean = 0.0
        for w, gap, sd in bins:
            true_gap = ece * math.hypot(gap, sd) / scale
            mean += w * (
                sd * math.sqrt(2 / math.pi) * math.exp(-((true_gap / sd) ** 2) / 2) + true_gap * math.erf(true_gap / sd / math.sqrt(2))
            )
        return mean - sum(w * gap for w, gap, _ in bins)

    return brentq(expected, 0.0, 1.0, xtol=1e-14)


def slow_line(parameters, true, score):
    from scipy.optimize import root

    bins = slow_bins(true, score, 60)
    x = [math.log(min(max(p, 1e-6), 1 - 1e-6) / (1 - min(max(p, 1e-6), 1 - 1e-6))) for _, p, _ in bins]

    def gradient(line):
        rest = [n * (y - 1 / (1 + math.exp(-line[0] - line[1] * v))) for (n, _, y), v in zip(bins, x, strict=True)]
        return [sum(rest), sum(r * v for r, v in zip(rest, x, strict=True))]

    best = root(gradient, [0.0, 1.0], tol=1e-13)
    return best.x[{"intercept": 0, "slope": 1}[parameters["part"]]]


def slow_auc(_, true, score):
    pairs = [(a > b) + 0.5 * (a == b) for a, y in zip(score, true, strict=True) if y for b, z in zip(score, true, strict=True) if not z]
    return sum(pairs) / len(pairs)


def slow_cost(parameters, true, predicted, amount):
    def cost(y, z, a):
        return {(1, 1): 0.1 * a, (0, 1): 5.0, (0, 0): 0.0, (1, 0): 2 + 0.5 * a}[(int(y), int(z))]

    total = sum(cost(y, z, a) for y, z, a in zip(true, predicted, amount, strict=True))
    if parameters["figure"] == "regret":
        regret = 0.0
        for cell in [(True, True), (False, True), (False, False), (True, False)]:
            events = [(y, z, a) for y, z, a in zip(true, predicted, amount, strict=True) if (y, z) == cell]
            regret += max(0.0, sum(cost(y, z, a) for y, z, a in events) - sum(cost(y, not z, a) for y, z, a in events))
        return regret / len(true)
    return total / len(true) if parameters["figure"] == "mean" else total


def slow_expected(parameters, _, score, amount):
    def cost(p, a, positive):
        return (1 - p) * 5 if positive else p * (2 + 0.5 * a)

    kinds = [[(p, a) for p, a in zip(score, amount, strict=True) if (p >= 0.3) == positive] for positive in (False, True)]
    chosen = [sum(cost(p, a, positive) for p, a in kind) for positive, kind in enumerate(kinds)]
    other = [sum(cost(p, a, not positive) for p, a in kind) for positive, kind in enumerate(kinds)]
    if parameters["regret"]:
        return sum(max(0.0, a - b) for a, b in zip(chosen, other, strict=True)) / len(score)
    # A stake is p * amount rounded to the unit of money, so a mean is off by at most half a unit at 0.5 * amount.
    return pytest.approx(sum(chosen) / len(score), abs=2.5e-5)


def slow_expected_rate(parameters, _, score):
    threshold = parameters.get("threshold", 0.5)
    tp, fp, tn, fn = (
        sum(weight(p) for p in score if (p >= threshold) == positive)
        for weight, positive in ((float, True), (lambda p: 1 - p, True), (lambda p: 1 - p, False), (float, False))
    )
    return (tp + tn) / len(score) if parameters["rate"] == "accuracy" else 2 * tp / (2 * tp + fp + fn)


def slow_benefit(_, true, score):
    tp, fp = (sum(1 for y, p in zip(true, score, strict=True) if p >= 0.2 and y == want) for want in (True, False))
    return tp / len(true) - fp / len(true) * 0.2 / 0.8


def slow_risk(parameters, true, predicted):
    answered = [(y, z) for y, z in zip(true, predicted, strict=True) if z is not None]
    return sum(y != z for y, z in answered) / len(answered) if parameters["figure"] == "risk" else 1 - len(answered) / len(true)


def slow_maturity(_, pairs):
    edges, survival = [0.0, *(2.0**k for k in range(31)), math.inf], 1.0
    for low, high in itertools.pairwise(edges):
        at_risk = sum(age >= low for age, _ in pairs)
        here = [arrived for age, arrived in pairs if low <= age < high]
        at_risk -= sum(not arrived for arrived in here) / 2
        if at_risk:
            survival *= 1 - min(sum(map(bool, here)) / at_risk, 1)
    return 1 - survival


REFERENCES = {
    "ConfusionRate": slow_rate,
    "CalibrationError": slow_calibration_error,
    "DebiasedRmsCalibrationError": slow_debiased,
    "EqualMassCalibrationError": slow_equal_mass,
    "CalibrationLine": slow_line,
    "Auc": slow_auc,
    "Brier": lambda _, true, score: float(np.mean([(p - y) ** 2 for y, p in zip(true, score, strict=True)])),
    "LogLoss": lambda _, true, score: (
        sum(-math.log(max(p, 1e-15)) if y else -math.log(1 - min(p, 1 - 1e-15)) for y, p in zip(true, score, strict=True)) / len(true)
    ),
    "Bias": lambda _, true, score: sum(score) / len(score) - sum(true) / len(true),
    "DecisionCost": slow_cost,
    "ExpectedCost": slow_expected,
    "ExpectedRate": slow_expected_rate,
    "NetBenefit": slow_benefit,
    "SelectiveRisk": slow_risk,
    "Share": lambda _, marks: sum(marks) / len(marks),
    "MissingFeatures": lambda _, pairs: sum(missing for _, missing in pairs) / sum(sent for sent, _ in pairs),
    "MeanLabelDelay": lambda _, delays: sum(delays) / len(delays),
    "LabelMaturity": slow_maturity,
}
