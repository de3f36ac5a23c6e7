"""Score drift through the whole fold: found before any label, quiet without it, the same however the log is cut."""

import numpy as np
import pytest
from support.stories import DAY_MS, START_MS, Record, findings, fold

from schemas.findings import EventType

CHANGE = START_MS + 60 * DAY_MS


def scored(*, seed: int, change: str = "", days: int = 90, per_day: int = 60) -> list[Record]:
    """Predictions without any outcome; from day 60 on the scores are higher, or spread out."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    at = START_MS + np.sort(rng.integers(0, days * DAY_MS, n))
    score = rng.beta(2, 3, n)
    after = at >= CHANGE
    if change == "up":
        score = np.where(after, rng.beta(3, 2, n), score)
    elif change == "wide":
        score = np.where(after, rng.beta(0.8, 1.2, n), score)
    made = {"model_id": "m", "model_version": "1", "predicted_label": 0}
    return [
        (int(at[i]), "predictions", made | {"request_id": f"r{i}", "timestamp": int(at[i]), "score": float(score[i].round(4))})
        for i in range(n)
    ]


@pytest.mark.parametrize(("change", "direction"), [("up", "up"), ("wide", "both")])
def test_a_shift_of_scores_is_found_within_days_and_named(change: str, direction: str) -> None:
    _, events = fold(scored(seed=11, change=change))
    opened = [event for event in events if event.type == EventType.DRIFT_OPENED]
    assert [event.data.kind.value for event in opened] == ["score"]
    assert CHANGE < opened[0].time_ms <= CHANGE + 10 * DAY_MS
    assert opened[0].data.direction.value == direction
    assert opened[0].data.current.value > opened[0].data.baseline.hi
    updates = [event for event in events if event.type in (EventType.DRIFT_UPDATED, EventType.DRIFT_ESCALATED)]
    assert any("population stability index 0." in event.data.message for event in updates)


@pytest.mark.parametrize("seed", range(3))
def test_calm_scores_are_quiet(seed: int) -> None:
    _, events = fold(scored(seed=seed))
    assert events == []


@pytest.mark.parametrize("chunk", [97, 10**9])
def test_findings_do_not_depend_on_where_the_log_is_cut(chunk: int) -> None:
    records = scored(seed=11, change="up")
    _, events = fold(records)
    assert findings(fold(records, chunk=chunk)[1]) == findings(events) != []
