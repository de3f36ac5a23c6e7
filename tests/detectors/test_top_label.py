"""More than two classes, and confidence that a model states: the label is whether the prediction was right, the score how sure it was."""

import numpy as np
import pytest
from support.stories import DAY_MS, START_MS, Record, fold

from detectors.entries import decode_entry
from detectors.figures import OF_BINARY
from detectors.packing import pack_prediction
from detectors.timeline import timeline
from detectors.watch_report import report
from schemas.drift import Interval
from schemas.findings import EventType
from schemas.policy import parse_policy
from schemas.policy_models import ModelPolicy
from schemas.prediction import Prediction
from streams.report.dots import estimate

CHANGE = START_MS + 60 * DAY_MS
CLASSES = ("cat", "dog", "fox")
POLICY = parse_policy('[models.m]\nages = ["2d"]\n')


def classified(*, seed: int, wrong: float = 0.0, form: str = "scores", days: int = 85, per_day: int = 60) -> list[Record]:
    """Three classes with calibrated confidence; from day 60 on so many of the confident ones turn out to be another class."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    at = START_MS + np.sort(rng.integers(0, days * DAY_MS, n))
    sure = rng.uniform(0.5, 0.99, n).round(3)
    top = rng.integers(0, 3, n)
    right = (rng.random(n) < sure) & ~((at >= CHANGE) & (sure >= 0.9) & (rng.random(n) < wrong))
    records: list[Record] = []
    for i in range(n):
        made = {"request_id": f"r{i}", "model_id": "m", "model_version": "1", "timestamp": int(at[i])}
        rest = float((1 - sure[i]) / 2)
        if form == "scores":
            made["scores"] = {name: float(sure[i]) if k == top[i] else rest for k, name in enumerate(CLASSES)}
        else:
            made |= {"score": float(sure[i]), "predicted_label": CLASSES[top[i]]}
        records.append((int(at[i]), "predictions", made | {"subgroups": {"site": "a" if i % 2 else "b"}}))
        true = CLASSES[(top[i] + (0 if right[i] else 1)) % 3]
        known = int(at[i]) + DAY_MS
        records.append((known, "outcomes", {"request_id": f"r{i}", "timestamp": known, "true_label": true}))
    return sorted(records, key=lambda record: record[0])


@pytest.mark.parametrize(
    ("given", "score", "label"),
    [
        ({"scores": {"cat": 0.2, "dog": 0.5, "fox": 0.3}}, 0.5, "dog"),
        ({"scores": {"cat": 0.4, "dog": 0.4, "fox": 0.2}}, 0.4, "cat"),  # a tie: the first name
        ({"scores": {"cat": 0.2, "dog": 0.5, "fox": 0.3}, "predicted_label": "fox"}, 0.3, "fox"),  # what was decided, and how sure of it
        ({"scores": {"cat": 0.2, "dog": 0.8}, "score": 0.6}, 0.6, "dog"),
        ({"scores": {"0": 0.1, "1": 0.2, "2": 0.7}}, 0.7, "2"),
        ({"score": 0.85, "predicted_label": "Paris"}, 0.85, "Paris"),
    ],
)
def test_the_score_is_the_confidence_in_what_was_predicted(given: dict[str, object], score: float, label: str) -> None:
    record = Prediction(request_id="a", model_id="m", model_version="1", timestamp=0, **given)  # type: ignore[arg-type]
    entry = decode_entry(pack_prediction(record, b"raw", ModelPolicy()))
    assert (entry.score, entry.label, entry.flags) == (score, label, 0)  # type: ignore[union-attr]


def test_scores_by_class_and_stated_confidence_give_the_same_figures() -> None:
    by_class, _ = fold(classified(seed=2, days=20), policy=POLICY)
    stated, _ = fold(classified(seed=2, days=20, form="stated"), policy=POLICY)
    one, other = (report([watch]).models[0].segments for watch in (by_class, stated))
    assert one == other
    whole = one[0]
    assert whole.accuracy == pytest.approx(0.745, abs=0.03)
    assert whole.calibration_slope == pytest.approx(1.0, abs=0.25)
    assert (whole.tn, whole.fn) == (0, 0)
    assert [segment.segment for segment in one] == [{}, {"site": "a"}, {"site": "b"}]


@pytest.mark.parametrize("form", ["scores", "stated"])
def test_confidence_that_is_a_lie_is_found_as_calibration_and_error_and_under_no_other_name(form: str) -> None:
    watch, events = fold(classified(seed=3, wrong=0.4, form=form), policy=POLICY)
    drifts = [event for event in events if event.type.startswith("gnomon.drift.")]
    named = {monitor.metric for event in drifts for monitor in event.data.monitors}
    assert {"calibration"} <= named <= {"calibration", "error"}
    first = next(event for event in drifts if event.type == EventType.DRIFT_OPENED)
    assert CHANGE < first.time_ms <= CHANGE + 15 * DAY_MS
    assert any("confident" in event.data.message for event in drifts)
    whole = report([watch]).models[0].segments[0]
    assert whole.confidently_wrong_rate is not None
    assert whole.calibration_slope is not None
    assert whole.calibration_slope < 1


def test_calm_confidence_raises_no_more_than_the_budget() -> None:
    """One false page in 30 days, after the 28 of the baseline."""
    runs = [fold(classified(seed=seed), policy=POLICY)[1] for seed in range(3)]
    assert sum(event.type == EventType.DRIFT_OPENED for events in runs for event in events) <= 3 * (85 - 28) / 30


def yes_or_no(n: int, *, seed: int = 9, days: int = 20) -> list[Record]:
    """Predictions of yes or no of the same model, right in nine of ten."""
    rng = np.random.default_rng(seed)
    records: list[Record] = []
    for i in range(n):
        at, yes, right = START_MS + i * days * DAY_MS // n, bool(rng.random() < 0.5), bool(rng.random() < 0.9)
        made = {"request_id": f"b{i}", "model_id": "m", "model_version": "1", "timestamp": at, "score": 0.9 if yes else 0.1}
        records.append((at, "predictions", made | {"subgroups": {"site": "c"}}))
        records.append((at + DAY_MS, "outcomes", {"request_id": f"b{i}", "timestamp": at + DAY_MS, "true_label": int(yes == right)}))
    return records


CLAIMED = parse_policy(
    '[models.m]\nages = ["2d"]\nmetrics = ["MCC", "Accuracy"]\n[models.m.claims]\n'
    + "".join(
        f"{name} = {least}\n"
        for name, least in {"accuracy": 0.9, "ece": 0.2, "f1": 0.99, "ppv": 0.99, "sensitivity": 0.9, "specificity": 0.9}.items()
    )
)


def test_claims_of_many_classes_are_judged_by_accuracy_alone_and_the_others_say_why_not() -> None:
    watch, events = fold(classified(seed=2, days=40), policy=CLAIMED)
    named = {monitor.metric for event in events if event.type.startswith("gnomon.drift.") for monitor in event.data.monitors}
    assert named == {"accuracy"}
    claims = {claim.name: claim for claim in report([watch]).models[0].claims}
    assert claims["accuracy"].refuted
    assert claims["ece"].value is not None
    assert not claims["accuracy"].why
    assert not claims["ece"].why
    for name in ("f1", "ppv", "sensitivity", "specificity"):
        assert claims[name].why.startswith("not judged")
        assert (claims[name].value, claims[name].refuted) == (None, False)


def test_figures_that_tell_positives_from_negatives_are_null_for_many_classes() -> None:
    watch, _ = fold(classified(seed=2, days=20), policy=CLAIMED)
    [model] = report([watch]).models
    for figures in [*model.segments, *model.mature]:
        assert [name for name in OF_BINARY if getattr(figures, name) is not None] == []
        assert figures.accuracy is not None
        assert figures.bias is not None
        assert figures.selective_risk == pytest.approx(1 - figures.accuracy)
        assert set(figures.shrunk) <= {"error"}
        assert estimate(figures, "fpr") == estimate(figures, "ppv") == Interval()
    assert any(figures.shrunk for figures in model.segments)
    assert model.river["MCC"] is None
    assert model.river["Accuracy"] == pytest.approx(model.segments[0].accuracy)
    assert {each.metric for each in model.decay} == {"error", "brier"}
    assert {"fpr", "fnr", "base_rate"}.isdisjoint(timeline(watch.models["m"]["1"]).lines)


@pytest.mark.parametrize(("n", "binary"), [(400, False), (3_000, True)])
def test_a_segment_of_both_kinds_counts_as_what_most_of_it_is(n: int, binary: bool) -> None:
    records = sorted(classified(seed=2, days=20) + yes_or_no(n), key=lambda record: record[0])
    watch, _ = fold(records, policy=CLAIMED)
    [model] = report([watch]).models
    assert (model.segments[0].fpr is not None) == binary
    assert ("not judged" in {claim.name: claim for claim in model.claims}["f1"].why) != binary
    own = {figures.segment.get("site"): figures for figures in model.segments}
    assert own["a"].fpr is None
    assert own["c"].fpr == pytest.approx(0.1, abs=0.05)
