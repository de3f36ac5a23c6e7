"""More than two classes, and confidence that a model states: the label is whether the prediction was right, the score how sure it was."""

import numpy as np
import pytest
from support.stories import DAY_MS, START_MS, Record, fold

from detectors.entries import decode_entry
from detectors.packing import pack_prediction
from detectors.watch_report import report
from schemas.findings import EventType
from schemas.policy import parse_policy
from schemas.policy_models import ModelPolicy
from schemas.prediction import Prediction

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
    assert whole.accuracy == whole.base_rate == pytest.approx(0.745, abs=0.03)
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
