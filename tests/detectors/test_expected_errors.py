"""The error rate over time, beside the one that the scores say without any label."""

import random

import pytest
from support.stories import DAY_MS, START_MS, Record, fold

from detectors.timeline import timeline
from detectors.watch_report import report
from schemas.policy import parse_policy

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
