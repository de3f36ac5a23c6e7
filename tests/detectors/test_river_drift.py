"""What every wrapped River detector must do, whichever it is."""

import dataclasses
import json
import warnings

import numpy as np
import pytest
from river import base, drift, naive_bayes

from detectors.river import drift as module
from detectors.river.drift import RiverWatch
from detectors.river.parameters import KINDS

NAMES = sorted(KINDS)
REAL = sorted(name for name, kind in KINDS.items() if not kind.binary)
# Page-Hinkley's threshold is a sum of deviations: at its default of 50, a rise by 0.3 takes some 170 events less those before.
PARAMETERS = {"page-hinkley": {"threshold": 5.0}}


def watch_of(name, **parameters):
    return RiverWatch(name, PARAMETERS.get(name, {}) | parameters)


def feed(watch, panes, n, ones):
    return [watch.step(n, ones) for _ in range(panes)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("n", "ones"), [(50, 0), (50, 50), (50, 5), (50, 25)])
def test_quiet_on_a_constant(name, n, ones):
    assert not any(feed(watch_of(name), 60, n, ones))


@pytest.mark.parametrize("name", NAMES)
def test_fires_within_a_thousand_events_of_a_rise(name):
    watch = watch_of(name)
    feed(watch, 20, 50, 4)
    assert any(feed(watch, 20, 50, 30))
    assert watch.n_detections >= 1


@pytest.mark.parametrize("name", NAMES)
def test_direction_is_as_told(name):
    fall = watch_of(name)
    feed(fall, 20, 50, 30)
    assert any(feed(fall, 20, 50, 4)) == (fall.direction in ("both", "down"))


@pytest.mark.parametrize(
    ("name", "parameters", "direction"),
    [
        ("page-hinkley", {"mode": "up", "threshold": 5.0}, "up"),
        ("page-hinkley", {"mode": "down", "threshold": 5.0}, "down"),
        ("hddm-a", {"two_sided_test": True}, "both"),
        ("hddm-w", {"two_sided_test": True}, "both"),
    ],
)
def test_direction_follows_the_parameters(name, parameters, direction):
    rise, fall = RiverWatch(name, parameters), RiverWatch(name, parameters)
    assert rise.direction == direction
    feed(rise, 20, 50, 4)
    feed(fall, 20, 50, 30)
    assert any(feed(rise, 20, 50, 30)) == (direction in ("up", "both"))
    assert any(feed(fall, 20, 50, 4)) == (direction in ("down", "both"))


def test_river_fhddm_itself_looks_the_other_way():
    """If River turns this round, the wrapper must stop doing so."""
    detector = drift.binary.FHDDM()
    seen = []
    for x in [0] * 300 + [1] * 300:
        detector.update(x)
        seen.append(detector.drift_detected)
    assert not any(seen)


def stream(seed, panes=60):
    """Panes whose rate creeps up by and by, then jumps: what is found when depends on all that is remembered."""
    rng = np.random.default_rng(seed)
    rate = np.where(np.arange(panes) < 3 * panes // 4, 0.1 + 0.2 * np.arange(panes) / panes, 0.8)
    n = rng.integers(0, 120, panes)
    return list(zip(n.tolist(), rng.binomial(n, rate).tolist(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_stopping_and_starting_changes_nothing(name, monkeypatch):
    # A bound so low that the log is cut several times; restarts before, between and after the cuts.
    monkeypatch.setitem(KINDS, name, dataclasses.replace(KINDS[name], memory=200))
    found, cuts = 0, 0
    for seed in range(1 if name == "kswin" else 8):
        straight, restarted = watch_of(name), watch_of(name)
        for i, (n, ones) in enumerate(stream(seed)):
            if i % 7 == 0:
                restarted = RiverWatch.from_state(json.loads(json.dumps(restarted.to_state())))
            size = straight._events
            told = straight.step(n, ones)
            assert restarted.step(n, ones) == told
            assert restarted.to_state() == straight.to_state()
            found += told
            cuts += not told and straight._events < size
    assert found > 0
    assert cuts > 0


@pytest.mark.parametrize("name", REAL)
def test_means_survive_a_restart_too(name):
    rng = np.random.default_rng(7)
    means = np.concatenate([rng.normal(0.2, 0.05, 400), rng.normal(0.6, 0.05, 400)])
    straight, restarted = watch_of(name), watch_of(name)
    told = [straight.step_mean(mean) for mean in means]
    again = []
    for i, mean in enumerate(means):
        if i in (100, 401, 402):
            restarted = RiverWatch.from_state(json.loads(json.dumps(restarted.to_state())))
        again.append(restarted.step_mean(mean))
    assert again == told
    assert any(told)


@pytest.mark.parametrize("name", NAMES)
def test_the_state_stays_small(name):
    watch = watch_of(name)
    for n, ones in stream(1, 60) * (1 if name == "kswin" else 10):
        watch.step(n, ones)
    assert watch._events <= 2 * KINDS[name].memory
    assert len(json.dumps(watch.to_state())) < 30_000


@pytest.mark.parametrize("name", NAMES)
def test_bad_numbers_are_refused_and_the_state_kept(name):
    watch = watch_of(name)
    watch.step(40, 10)
    before = json.dumps(watch.to_state())
    for n, ones in [(10, 11), (10, -1), (-1, 0), (10.5, 1), (float("nan"), 1), (10, float("nan")), (True, True)]:
        with pytest.raises(ValueError, match="whole numbers"):
            watch.step(n, ones)
    for value in (float("nan"), float("inf"), -float("inf"), "a", None):
        with pytest.raises(ValueError, match="expected"):
            watch.update(value)
    assert json.dumps(watch.to_state()) == before


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(REAL)))
def test_a_binary_detector_refuses_means(name):
    with pytest.raises(ValueError, match="zeros and ones"):
        watch_of(name).step_mean(0.5)


@pytest.mark.parametrize("name", ["adwin", "ddm", "hddm-a", "eddm"])
def test_a_step_is_its_events_one_by_one(name):
    at_once, singly = watch_of(name), watch_of(name)
    for n, ones in stream(2):
        values = np.diff(np.arange(n + 1) * ones // max(n, 1)).tolist()
        assert sum(values) == ones
        told = [singly.step(1, value) for value in values]
        assert at_once.step(n, ones) == any(told)


def test_large_steps_are_fed_in_proportion():
    large, limit = RiverWatch("adwin"), RiverWatch("adwin")
    large.step(3_000_000, 300_000)
    limit.step(module.STEP_LIMIT, 1000)
    assert large.to_state() == limit.to_state()


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("page-hinkly", {}, "did you mean 'page-hinkley'"),
        ("adwin", {"dleta": 0.1}, "did you mean 'delta'"),
        ("adwin", {"delta": 7}, r"delta to be a number within \(0, 1\), got 7"),
        ("adwin", {"delta": float("nan")}, "delta"),
        ("adwin", {"delta": True}, "delta"),
        ("adwin", {"clock": 1.5}, "whole number"),
        ("page-hinkley", {"mode": "sideways"}, "one of"),
        ("kswin", {"window_size": 40, "stat_size": 30}, "at least twice"),
        ("ddm", {"warning_threshold": 4.0}, "must not be above"),
        ("eddm", {"alpha": 0.8}, "must not be above"),
        ("hddm-a", {"two_sided_test": 1}, "one of"),
        ("fhddm", {"short_window_size": 100}, "below"),
    ],
)
def test_mistakes_in_a_policy_are_named(name, parameters, message):
    with pytest.raises(ValueError, match=message):
        RiverWatch(name, parameters)


@pytest.mark.parametrize("name", NAMES)
def test_the_defaults_are_rivers(name):
    built = RiverWatch(name)
    reference = KINDS[name].make()
    for parameter, value in built.parameters.items():
        if parameter != "seed":
            assert getattr(reference, parameter) == value


@pytest.mark.parametrize("name", NAMES)
def test_every_detector_takes_its_place_in_a_pipeline_of_rivers_and_can_be_cloned(name):
    detector = RiverWatch(name)
    assert detector.clone().to_state() == detector.to_state()
    model = drift.DriftRetrainingClassifier(model=naive_bayes.GaussianNB(), drift_detector=detector, train_in_background=False)
    for i in range(100 if name == "kswin" else 1_500):
        model.predict_one({"x": float(i % 7)})
        model.learn_one({"x": float(i % 7)}, (i % 7 > 3) != (i > 1_000))
    again = model.clone()
    assert again.drift_detector.to_state() == RiverWatch(name).to_state()
    assert (model.drift_detector.n_detections > 0) == (name != "kswin")


def test_a_state_of_another_version_is_refused():
    with pytest.raises(ValueError, match="version 1, got 2"):
        RiverWatch.from_state(RiverWatch("ddm").to_state() | {"version": 2})


def test_it_is_a_river_detector():
    watch = RiverWatch("adwin")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in [0.0] * 500 + [1.0] * 100:
            watch.update(x)
            if watch.drift_detected:
                break
    assert isinstance(watch, base.DriftDetector)
    assert watch.drift_detected
