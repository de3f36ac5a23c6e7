"""Where labels are missing and how long they take, against plain counts per request; the same in any order and batching."""

import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.stories import DAY_MS, START_MS, Record, fold, story

from detectors.companions.labels import Labels
from detectors.statistics.stratified_maturity import maturity_by_age
from detectors.watch_report import report
from schemas.policy import parse_policy
from schemas.policy_models import ModelPolicy
from schemas.report import LabelReport

POLICY = parse_policy('[models.m]\nages = ["1d", "4d", "16d"]\n')


def selective() -> list[Record]:
    """High scores are alerted half of the time; of low scores a third of the labels come, and late."""
    rng, kept = random.Random(4), []
    slow = {}
    for time, topic, record in story(seed=6, days=30, per_day=40):
        at = time
        if topic == "predictions":
            record["alerted"] = rng.random() < 0.5 and record["score"] > 0.5
            slow[record["request_id"]] = record["score"] < 0.3
        elif slow[record["request_id"]]:
            if rng.random() < 0.67:
                continue
            at += 3 * DAY_MS
            record["timestamp"] = at
        kept.append((at, topic, record))
    return sorted(kept, key=lambda record: record[0])


RECORDS = selective()


def labels_of(records: list[Record], **options: object) -> LabelReport:
    watch, _ = fold(records, policy=POLICY, close=False, **options)  # type: ignore[arg-type]
    found = report([watch]).models[0].labels
    assert found is not None
    return found


def test_coverage_is_a_plain_count_by_score_and_by_action() -> None:
    found = labels_of(RECORDS)
    made = {record["request_id"]: record for _, topic, record in RECORDS if topic == "predictions"}
    known = {record["request_id"] for _, topic, record in RECORDS if topic == "outcomes"}
    assert len(known) < len(made)
    for one in found.by_score:
        held = [key for key, record in made.items() if one.lo < record["score"] <= one.hi or record["score"] == one.lo == 0]
        assert (one.n, one.n_labelled) == (len(held), len(known.intersection(held)))
    assert sum(one.n for one in found.by_score) == len(made)
    for action in found.by_action:
        held = [k for k, r in made.items() if (r["predicted_label"] == 1, r["alerted"]) == (action.predicted, action.alerted)]
        assert (action.n, action.n_labelled) == (len(held), len(known.intersection(held)))
        assert action.coverage == pytest.approx(action.n_labelled / action.n)
    assert [(a.predicted, a.alerted) for a in found.by_action] == [(False, False), (True, False), (True, True)]


def test_maturity_is_by_stratum_and_the_slowest_is_named() -> None:
    found = labels_of(RECORDS)
    assert [one.name for one in found.maturity] == ["low", "mid", "high"]
    assert found.slowest == "low"
    now = max(at for at, _, _ in RECORDS) - 5_000
    known = {record["request_id"]: record["timestamp"] for _, topic, record in RECORDS if topic == "outcomes"}
    for one in found.maturity:
        delays = [
            (record["timestamp"], known.get(record["request_id"], 2**62) - record["timestamp"])
            for _, topic, record in RECORDS
            if topic == "predictions" and one.lo < record["score"] <= one.hi
        ]
        assert abs(one.n - len(delays)) <= 3  # a score of 0 is in the first
        left = 1.0
        for share, (young, old) in zip(one.ages, ((0, 1), (1, 4), (4, 16)), strict=True):
            at_risk = [delay for at, delay in delays if at + old * DAY_MS <= now and delay > young * DAY_MS]
            left *= 1 - sum(delay <= old * DAY_MS for delay in at_risk) / len(at_risk)
            assert share.share == pytest.approx(1 - left, abs=0.02)  # panes are as wide as an eighth of the age


def test_pending_predictions_are_censored_not_missing() -> None:
    """Each cohort's labels come by one law; that most are too young to have them changes nothing."""
    rng = np.random.default_rng(8)
    made = np.full(40, 2_000)
    delay = rng.exponential(2.0, (40, 2_000))
    known = np.stack([((delay > i) & (delay <= i + 1)).sum(axis=1) for i in range(8)], axis=1)
    reached = np.minimum(np.arange(40) // 5, 8)
    known[np.arange(8) >= reached[:, np.newaxis]] = 0
    share, _ = maturity_by_age(made, known, reached)
    assert share[:7] == pytest.approx(1 - np.exp(-np.arange(1, 8) / 2), abs=0.02)
    assert np.isnan(share[7])
    naive = known.sum() / made.sum()
    assert naive < share[6] - 0.2


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**16), chunk=st.integers(50, 3_000))
def test_order_and_batching_change_nothing(seed: int, chunk: int) -> None:
    shuffled = random.Random(seed).sample(RECORDS[:600], 600)
    found = labels_of(shuffled, chunk=chunk, ticks=False)
    plain = labels_of(RECORDS[:600], ticks=False)
    assert msgspec.to_builtins(found) == msgspec.to_builtins(plain)


def test_a_correction_counts_once_and_the_state_is_taken_back() -> None:
    first = next(record for _, topic, record in RECORDS if topic == "outcomes")
    again = first | {"timestamp": START_MS + 40 * DAY_MS, "true_label": 1 - first["true_label"]}
    watch, _ = fold([*RECORDS, (START_MS + 40 * DAY_MS, "outcomes", again)], policy=POLICY, close=False)
    corrected = report([watch]).models[0].labels
    assert corrected is not None
    assert corrected.by_action == labels_of(RECORDS).by_action
    member = watch.companions["m"].members["labels"]
    other, state = Labels("m", ModelPolicy()), member.to_state()
    assert state is not None
    other.load(state)
    assert other.to_state() == state
    with pytest.raises(ValueError, match="of version 1, got 2"):
        other.load(state | {"version": 2})
