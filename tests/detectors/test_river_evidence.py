"""Our evidence in River's dress: the checks that every wrapped detector of River's passes, its promise, and its place in a pipeline."""

import json

import numpy as np
import pytest
from river import datasets, drift, linear_model, metrics, preprocessing
from scipy.stats import chi2

from detectors.bets.rates import RATIOS
from detectors.kernel import grow, mix
from detectors.river.evidence import EvidenceDetector

BEFORE, AFTER = 0.1, 0.35


def fired(detector, values):
    """Return the positions at which it fires."""
    found = []
    for i, value in enumerate(values):
        detector.update(value)
        if detector.drift_detected:
            found.append(i)
    return found


def errors(rate, n, seed=1):
    return np.random.default_rng(seed).random(n) < rate


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.01, 1.01, "a", None])
@pytest.mark.parametrize("baseline", [None, 0.1])
def test_a_bad_number_is_refused_and_the_state_kept(bad, baseline):
    detector = EvidenceDetector(baseline=baseline)
    fired(detector, errors(BEFORE, 50))
    before = detector.to_state()
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        detector.update(bad)
    assert detector.to_state() == before


@pytest.mark.parametrize(
    "parameters",
    [
        {"baseline": 1.5},
        *({"learn_from": number} for number in (0, 1.5, float("nan"), True)),
        *({"false_alarms": share} for share in (0.0, 1.0, float("nan"))),
        {"direction": "sideways"},
    ],
)
def test_a_bad_parameter_is_refused(parameters):
    with pytest.raises(ValueError, match="expected"):
        EvidenceDetector(**parameters)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("direction", ["up", "down", "both"])
def test_quiet_on_a_constant(value, direction):
    assert not fired(EvidenceDetector(direction=direction, learn_from=300), [value] * 5_000)


@pytest.mark.parametrize("baseline", [None, BEFORE])
def test_fires_in_time_on_a_rise_and_not_before(baseline):
    found = fired(EvidenceDetector(baseline=baseline), np.concatenate([errors(BEFORE, 5_000), errors(AFTER, 500, seed=2)]))
    assert found
    assert 5_000 <= found[0] < 5_250


@pytest.mark.parametrize(("direction", "rise", "fall"), [("up", True, False), ("down", False, True), ("both", True, True)])
def test_the_direction_is_as_told(direction, rise, fall):
    low, high = errors(BEFORE, 3_000), errors(AFTER, 3_000, seed=2)
    assert bool(fired(EvidenceDetector(direction=direction), np.concatenate([low, high[:600]]))) == rise
    assert bool(fired(EvidenceDetector(direction=direction), np.concatenate([high, low[:600]]))) == fall


@pytest.mark.parametrize("at", [1, 500, 1_500, 5_100])
def test_a_state_saved_midway_changes_nothing(at):
    values = np.concatenate([errors(BEFORE, 5_000), errors(AFTER, 600, seed=2)]).astype(float)
    detector = EvidenceDetector(direction="both")
    fired(detector, values[:at])
    again = EvidenceDetector.from_state(json.loads(json.dumps(detector.to_state())))
    assert len(json.dumps(detector.to_state())) < 1_000
    assert fired(detector, values[at:]) == fired(again, values[at:])
    assert detector.to_state() == again.to_state()
    with pytest.raises(ValueError, match="version"):
        EvidenceDetector.from_state(detector.to_state() | {"version": 0})


def test_it_agrees_with_the_kernel_of_the_banks():
    values, null = np.random.default_rng(3).beta(1, 8, 400), 0.1
    odds = null / (1 - null) * RATIOS
    p = odds / (1 + odds)
    detector = EvidenceDetector(baseline=null, false_alarms=1e-4)
    log_r = np.full((1, len(RATIOS)), -np.inf)
    for x in values:
        log_r = grow(log_r, np.array([1e-4]), (x * np.log(p / null) + (1 - x) * np.log((1 - p) / (1 - null)))[None])
        assert mix(log_r)[0] < 0
        detector.update(float(x))
        np.testing.assert_allclose(detector.to_state()["evidence"], np.exp(log_r), rtol=1e-9)


@pytest.mark.parametrize("baseline", [None, 0.05])
def test_it_fires_for_nothing_no_more_often_than_it_may(baseline):
    rate, runs, n = 1e-3, 60, 5_000
    alarms, events = 0, 0
    for seed in range(runs):
        learn = 0 if baseline is not None else 2_000
        detector = EvidenceDetector(baseline=baseline, false_alarms=rate, learn_from=2_000)
        alarms += len(fired(detector, errors(0.05, learn + n, seed=seed)[: learn + n]))
        events += n
    assert chi2.ppf(0.95, 2 * (alarms + 1)) / 2 <= rate * events
    assert alarms > 0, "a promise of 1 in 1,000 that is never used up would be no evidence at all"


def test_it_takes_its_place_in_a_pipeline_of_rivers():
    scaled = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    detector = EvidenceDetector(false_alarms=1e-4, learn_from=200)
    model = drift.DriftRetrainingClassifier(model=scaled, drift_detector=detector.clone(), train_in_background=False)
    accuracy = metrics.Accuracy()
    for i, (x, y) in enumerate(datasets.Phishing()):
        turned = bool(y) != (i >= 800)  # what was phishing is none from then on
        accuracy.update(turned, model.predict_one(x))
        model.learn_one(x, turned)
    assert model.drift_detector.n_detections >= 1
    assert model.drift_detector.false_alarms == detector.false_alarms
    assert accuracy.get() > 0.8
