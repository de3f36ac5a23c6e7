"""Figures of many versions worked out together are those of each alone, bit for bit."""

import random

import numpy as np
import pytest
from support.stories import Record, fold, story

from detectors import segment_figures
from detectors.model_version import ModelVersion
from detectors.segment_figures import statistics_events
from detectors.statistics.auc import auc
from detectors.statistics.score_counts import ScoreCounts
from detectors.watch import Watch
from schemas.figures import SegmentFigures
from schemas.findings import to_binary
from schemas.policy import parse_policy

POLICY = parse_policy('[defaults]\n[models.m3]\ncost = { fp = 5.0, fn = "amount" }\n[models.m5]\nthreshold = 0.3\n')


def records() -> list[Record]:
    """Models of 5 to 900 predictions, with groups of every size: calibration lines of few steps or many, or none at all."""
    rng, found = random.Random(4), []
    for model, per_day in enumerate((1, 3, 9, 30, 90, 180)):
        for at, topic, record in story(seed=model, days=5, per_day=per_day, model=f"m{model}"):
            if topic == "predictions":
                groups = {"city": f"c{min(rng.randrange(1, 400) // (1 + rng.randrange(60)), 30)}", "age": rng.choice("abc")}
                found.append((at, topic, record | {"subgroups": groups}))
            else:
                found.append((at, topic, record))
    return sorted(found, key=lambda record: record[0])


def unfilled(figures: SegmentFigures) -> SegmentFigures:
    return figures


def versions(watch: Watch) -> list[ModelVersion]:
    return [version for _, named in sorted(watch.models.items()) for version in named.values()]


@pytest.mark.parametrize("together", [1, 30, 10_000])
def test_statistics_of_many_versions_are_those_of_each_alone(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, _ = fold(records(), policy=POLICY, close=False)
    all_of_them = versions(watch)
    alone = [event for version in all_of_them for event in statistics_events([(version, unfilled)], 7)]
    monkeypatch.setattr(segment_figures, "_TOGETHER", together)
    joined = statistics_events([(version, unfilled) for version in all_of_them], 7)
    assert len(joined) > 6 * 10
    assert sum(event.data.calibration_slope is not None for event in joined) > 30
    assert [to_binary(event) for event in joined] == [to_binary(event) for event in alone]


@pytest.mark.parametrize("cap", [40, 4_096])
def test_areas_are_those_of_the_distributions(cap: int) -> None:
    rng = np.random.default_rng(2)
    counts = ScoreCounts(cap, 20)
    for n in (1, 7, 300):
        segments = np.stack([np.zeros(n, dtype=np.int64), rng.integers(1, 9, n)], axis=1)
        counts.update_many(segments, rng.random(n).round(3), rng.integers(0, 2, n))
        asked = np.array([0, 1, 2, 5, 8, 11])
        slow = [float(auc(one.n0, one.n1)) for one in counts.distributions(asked.tolist())]
        assert np.array_equal(counts.areas(asked), slow, equal_nan=True)
