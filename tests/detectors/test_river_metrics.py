"""River's label metrics from counts, held against River fed event by event."""

import pytest
from river import metrics

from detectors.river.metrics import label_metric, label_metrics

PARAMETERS = {
    "FBeta": {"beta": 2.0},
    "MacroFBeta": {"beta": 2.0},
    "MicroFBeta": {"beta": 0.5},
    "WeightedFBeta": {"beta": 2.0},
    "MultiFBeta": {"betas": {False: 0.5, True: 2.0}, "weights": {False: 1.0, True: 3.0}},
}
COUNTS = [(20, 5, 15, 10), (7, 0, 0, 3), (0, 0, 12, 0), (1, 0, 0, 1), (3, 4, 90, 2)]


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("name", sorted(label_metrics()))
def test_every_metric_reads_as_river_does_event_by_event(name, counts):
    parameters = PARAMETERS.get(name, {})
    slow = getattr(metrics, name)(**parameters)
    for (true, predicted), count in zip([(True, True), (False, True), (False, False), (True, False)], counts, strict=True):
        for _ in range(count):
            slow.update(true, predicted)
    try:
        expected = slow.get()
    except ZeroDivisionError:
        expected = None
    assert label_metric(name, *counts, **parameters) == (None if expected is None else pytest.approx(expected, abs=1e-12))


def test_river_offers_the_metrics_that_the_documentation_names():
    assert {"Accuracy", "MCC", "Rand", "AdjustedMutualInfo", "CohenKappa", "Jaccard", "GeometricMean", "VBeta"} <= set(label_metrics())
    assert not {"ROCAUC", "LogLoss", "ClassificationReport"} & set(label_metrics())


def test_nothing_counted_is_none_or_rivers_zero():
    assert all(label_metric(name, 0, 0, 0, 0, **PARAMETERS.get(name, {})) in (None, 0.0, 1.0) for name in label_metrics())


@pytest.mark.parametrize(
    ("name", "counts", "parameters", "message"),
    [
        ("Acuracy", (1, 1, 1, 1), {}, "did you mean 'Accuracy'"),
        ("FBeta", (1, 1, 1, 1), {}, "beta"),
        ("F1", (1, 1, 1, 1), {"gamma": 2}, "gamma"),
        ("F1", (1, -1, 1, 1), {}, "whole counts"),
        ("F1", (1, 0.5, 1, 1), {}, "whole counts"),
    ],
)
def test_mistakes_are_named(name, counts, parameters, message):
    with pytest.raises(ValueError, match=message):
        label_metric(name, *counts, **parameters)


def test_a_rust_panic_is_no_figure(monkeypatch):
    class PanicException(BaseException):
        pass

    def panic(_):
        raise PanicException

    monkeypatch.setattr(metrics.MCC, "get", panic)
    assert label_metric("MCC", 1, 1, 1, 1) is None


def test_what_stops_a_program_is_not_swallowed(monkeypatch):
    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(metrics.MCC, "get", stop)
    with pytest.raises(KeyboardInterrupt):
        label_metric("MCC", 1, 1, 1, 1)
