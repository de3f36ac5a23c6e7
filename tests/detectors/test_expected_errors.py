"""The error rate over time, beside the one that the scores say without any label."""

import random

import numpy as np
import pytest
from support.stories import DAY_MS, PREDICTIONS, START_MS, Record, fold

from detectors.timeline import timeline
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.policy import parse_policy
from schemas.scored import Kind, Rows

POLICY = parse_policy('[models.m]\nages = ["1d"]\n')
CHANGE = 30


def told(days: int, *, scored: bool = True) -> list[Record]:
    """Calibrated scores; from day 30 on, what is said to be sure is a coin flip. Labels stop on day 50."""
    r, records = random.Random(2), []
    for i in range(days * 50):
        at = START_MS + i * DAY_MS // 50
        score = round(r.random(), 3)
        positive = r.random() < (score if i < CHANGE * 50 else 0.5)
        made = {"request_id": f"r{i}", "model_id": "m", "model_version": "1", "timestamp": at}
        records.append((at, "predictions", made | ({"score": score} if scored else {"predicted_label": int(score >= 0.5)})))
        if i < 50 * 50:
            known = at + 3_600_000
            records.append((known, "outcomes", {"request_id": f"r{i}", "timestamp": known, "true_label": int(positive)}))
    return sorted(records, key=lambda record: record[0])


def test_the_error_that_the_scores_say_stands_beside_the_realised_one_and_parts_from_it_when_the_concept_drifts() -> None:
    watch, _ = fold(told(70), policy=POLICY)
    [model] = report([watch]).models
    errors = model.errors
    assert sum(each.n for each in errors) == 70 * 50
    assert sum(each.n_labelled for each in errors) == 50 * 50
    assert sum(each.n * each.expected for each in errors) == pytest.approx(70 * 50 * (1 - model.segments[0].expected_accuracy))
    assert [each.start for each in errors[1:]] == [each.end for each in errors[:-1]]
    assert all(each.expected == pytest.approx(0.25, abs=0.09) for each in errors), "of the score alone: it does not see the change"
    before, after = errors[: len(errors) * 3 // 8], [each for each in errors if each.start >= "2023-02-06" and each.n_labelled]
    assert sum(each.error for each in before) / len(before) == pytest.approx(0.25, abs=0.03)
    assert sum(each.error for each in after) / len(after) == pytest.approx(0.5, abs=0.05)
    assert all(each.lo < each.error < each.hi for each in errors if each.n_labelled)
    late = errors[-1]
    assert (late.n_labelled, late.error) == (0, None)
    assert late.expected is not None
    time = timeline(watch.models["m"]["1"])
    assert time.lines["expected_error"][0].value.tolist() == [each.expected for each in errors]


def test_predictions_without_a_score_say_nothing_of_their_errors() -> None:
    watch, _ = fold(told(20, scored=False), policy=POLICY)
    assert {each.expected for each in report([watch]).models[0].errors} == {None}
    assert "expected_error" not in timeline(watch.models["m"]["1"]).lines


def test_a_label_may_come_before_its_prediction():
    """Steps of the join overlap: a label's row may be produced a step before its prediction's, and a report be asked for in between."""

    def row(offset: int, at_ms: int, kind: Kind) -> Rows:
        known = {"known_at": np.array([at_ms + 1]).tobytes(), "label": b"\x01"} if kind == Kind.LABEL else {}
        columns = {"kind": bytes([kind]), "status": b"\x01", "offset": np.array([offset]).tobytes(), "score": np.array([0.7]).tobytes()}
        return Rows("m", [PREDICTIONS], 1, columns | {"predicted_at": np.array([at_ms]).tobytes()} | known, versions=["1"])

    later_ms = START_MS + 400 * DAY_MS
    watch = Watch()
    for record in (row(0, START_MS, Kind.PREDICTION), row(1, START_MS, Kind.LABEL), row(3, later_ms, Kind.LABEL)):
        watch.apply(record)
    assert [interval.n_labelled for interval in report([watch]).models[0].errors] == [1]
    assert timeline(watch.models["m"]["1"]).start_ms.shape == (1,)
    watch.apply(row(4, later_ms, Kind.PREDICTION))
    assert [interval.n_labelled for interval in report([watch]).models[0].errors] == [1, 1]
