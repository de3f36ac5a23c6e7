"""Synthetic traffic: apart from the real in every figure, and watched for what is detected of it. Mistakes by the amount at stake."""

import math
import random
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest
from support.documents import payments
from support.stories import DAY_MS, START_MS, Record, findings, fold, story

from detectors.segments import PROBE
from detectors.watch import Watch
from detectors.watch_report import report
from schemas.findings import Event, EventType
from schemas.policy import parse_policy
from streams.checkpoint_pack import Packer, Position, unpack

LARGE = payments(seed=1, change_day=42, band_after=10_000)
KIND = "card-testing"


@cache
def large() -> tuple[Watch, list[Event]]:
    """Folded once; nobody changes it."""
    return fold(LARGE, chunk=50, close=False)


def of_probes(events: list[Event]) -> list[Event]:
    return [event for event in events if getattr(event.data, "metric", "") == f"probe:{KIND}"]


def kinds(events: list[Event]) -> list[str]:
    return [event.type.value.rsplit(".", 1)[1] for event in events]


def bands(records: list[Record], *, planted: bool) -> dict[float, list[dict[str, Any]]]:
    """Predictions by the power of ten of their amount, with their label."""
    labels = {record["request_id"]: record["true_label"] for _, topic, record in records if topic == "outcomes"}
    found: dict[float, list[dict[str, Any]]] = {}
    for _, topic, record in records:
        if topic == "predictions" and ("probe" in record) == planted:
            seen = record | {"label": labels[record["request_id"]], "predicted": record["score"] >= 0.5}
            found.setdefault(10.0 ** math.floor(math.log10(record["amount"])), []).append(seen)
    return found


def test_detection_by_band_is_that_of_a_count() -> None:
    [probe] = report([large()[0]]).models[0].probes
    counted = bands(LARGE, planted=True)
    everything = [record for each in counted.values() for record in each]
    assert (probe.name, probe.sent, probe.figures.n) == (KIND, len(everything), len(everything))
    assert probe.figures.detected == sum(record["predicted"] for record in everything)
    assert [band.amount_from for band in probe.bands] == sorted(counted)
    for band in probe.bands:
        mine = counted[band.amount_from]
        assert (band.n, band.amount_to) == (len(mine), 10 * band.amount_from)
        assert band.rate == pytest.approx(np.mean([record["predicted"] for record in mine]))
        assert band.lo < band.rate < band.hi
        assert band.missed_amount == pytest.approx(sum(record["amount"] for record in mine if not record["predicted"]))
        assert band.amount == pytest.approx(sum(record["amount"] for record in mine))


def test_misses_by_band_are_those_of_a_count() -> None:
    found = report([large()[0]]).models[0].amounts
    counted = bands(LARGE, planted=False)
    assert [band.amount_from for band in found] == sorted(counted)
    for band in found:
        missed = [record for record in counted[band.amount_from] if record["label"] and not record["predicted"]]
        wrong = [record for record in counted[band.amount_from] if not record["label"] and record["predicted"]]
        positives = [record for record in counted[band.amount_from] if record["label"]]
        assert (band.positives, band.fn, band.fp) == (len(positives), len(missed), len(wrong))
        assert band.missed_amount == pytest.approx(sum(record["amount"] for record in missed))
        assert band.fp_amount == pytest.approx(sum(record["amount"] for record in wrong))
        assert band.fnr == pytest.approx(len(missed) / len(positives))


def test_a_fall_in_one_band_is_found_with_the_money_at_risk() -> None:
    _, events = large()
    mine = of_probes(events)
    assert kinds(mine)[0] == "opened"
    assert kinds(mine).count("opened") == 1
    opened = mine[0]
    assert START_MS + 42 * DAY_MS < opened.time_ms < START_MS + 55 * DAY_MS
    data = opened.data
    assert (data.kind.value, data.direction.value) == ("probe", "down")
    assert data.affected == [{"amount": "10,000 to 100,000"}]
    assert {event.data.age_s for event in mine} == {0.0}
    least = 10_000 if data.segment else 0
    assert data.current.hi < data.baseline.lo
    stakes = [
        record["score"] * record["amount"]
        for at, topic, record in LARGE
        if topic == "predictions" and "probe" not in record and record["amount"] >= least
        if 0 <= (at // DAY_MS - (onset := _ms(data.onset) // DAY_MS) + 28) < 28
    ]
    assert onset > START_MS // DAY_MS + 37
    fall = data.baseline.value - data.current.value
    assert data.impact.money_per_day == pytest.approx(fall * sum(stakes) / 28, rel=1e-6)
    assert f"about {data.impact.money_per_day:,.0f} a day is at risk" in data.message
    assert data.message.startswith("Detection rate of the probe card-testing of m 1 ")


def _ms(time: str) -> int:
    return int(np.datetime64(time.removesuffix("Z"), "ms").astype(int))


def test_no_change_no_incident() -> None:
    assert of_probes(fold(payments(seed=2), close=False)[1]) == []


def test_a_contract_needs_no_baseline_and_what_is_off_is_reported_only() -> None:
    records = payments(seed=3, days=12, change_day=0)
    policy = parse_policy(f"[models.m.probes.{KIND}]\nbaseline = 0.9\n")
    first = of_probes(fold(records, policy=policy, close=False)[1])[0]
    assert first.data.baseline.value == pytest.approx(0.9)
    assert first.time_ms < START_MS + 8 * DAY_MS
    watch, events = fold(records, policy=parse_policy('[models.m.probes."*"]\nenabled = false\n'), close=False)
    assert of_probes(events) == []
    assert report([watch]).models[0].probes[0].state == "off"
    assert watch.companions["m"].members["probes"].weight(2**60) == 0.0


def test_benign_canaries_are_counted_apart() -> None:
    records: list[Record] = []
    for i in range(40):
        at = START_MS + i * 1_000
        made = {"request_id": f"c{i}", "model_id": "m", "model_version": "1", "timestamp": at, "score": 0.9 if i % 4 == 0 else 0.1}
        records.append((at, "predictions", made | {"probe": True, "amount": 50.0}))
        records.append((at + 500, "outcomes", {"request_id": f"c{i}", "timestamp": at + 500, "true_label": int(i % 2 == 0)}))
    [probe] = report([fold(records, close=False)[0]]).models[0].probes
    assert (probe.name, probe.sent, probe.figures.n, probe.figures.detected) == ("probe", 40, 20, 10)
    assert (probe.benign, probe.benign_flagged) == (20, 0)
    assert (probe.figures.amount, probe.figures.missed_amount) == (1_000.0, 500.0)


def test_answers_are_detected_by_being_right() -> None:
    """Labels other than 0 and 1: a probe is known by its label."""
    records: list[Record] = []
    for i in range(30):
        at = START_MS + i * 1_000
        made = {"request_id": f"c{i}", "model_id": "m", "model_version": "1", "timestamp": at, "score": 0.9, "predicted_label": "cat"}
        records.append((at, "predictions", made | {"probe": "canary"}))
        if i < 20:
            label = "cat" if i < 15 else "dog"
            records.append((at + 500, "outcomes", {"request_id": f"c{i}", "timestamp": at + 500, "true_label": label}))
    [probe] = report([fold(sorted(records, key=lambda r: r[0]), close=False)[0]]).models[0].probes
    assert (probe.sent, probe.figures.n, probe.figures.detected) == (30, 20, 15)


def _with_probes(records: list[Record]) -> list[Record]:
    """The same traffic with as many probes, which are wrong, costly, alerted, judged and verified."""
    out = list(records)
    for i, (at, topic, record) in enumerate(records):
        if topic == "predictions" and i % 2 == 0:
            key = f"x-{record['request_id']}"
            made = record | {"request_id": key, "score": 0.95, "predicted_label": 1, "probe": f"kind{i % 3}", "amount": 9e6}
            out.append((at, topic, made | {"alerted": True, "unit": "ward", "compute_cost": 5.0}))
            seen = {"request_id": key, "timestamp": at + 1, "true_label": 0, "cost": 1e6, "value": -7.0, "checks": {"c": [0, 9]}}
            out.append((at + 1, "outcomes", seen | {"action_taken": "ignored", "review_seconds": 900}))
    return sorted(out, key=lambda record: record[0])


def test_nothing_of_a_probe_is_in_a_real_figure() -> None:
    policy = parse_policy('[models.m]\ncost = { fp = 5.0, fn = "amount" }\nreview_cost_per_hour = 60\nages = ["2d"]\n')
    records = story(seed=4, days=40, per_day=40)
    without, events = fold(records, policy=policy, watch=Watch(statistics_every_ms=1))
    with_, others = fold(_with_probes(records), policy=policy, watch=Watch(statistics_every_ms=1))
    real, mixed = report([without]).models[0], report([with_]).models[0]
    assert len(mixed.probes) == 3
    for part in ("segments", "mature", "ladder", "claims", "amounts", "checks", "fatigue"):
        assert getattr(mixed, part) == getattr(real, part), part
    statistics = [event.data.segment for event in others if event.type == EventType.STATISTICS]
    assert statistics
    assert not any(PROBE in segment for segment in statistics)
    version = with_.models["m"]["1"]
    assert not [number for number in version.bank.segments if version.sums.segments.is_probe(number)]
    assert [event for event in others if event.type.value.startswith("gnomon.fatigue")] == [
        event for event in events if event.type.value.startswith("gnomon.fatigue")
    ]


def _elsewhere(events: list[Event]) -> list[bytes]:
    """The findings on probes, wherever their records lie in the topics."""
    return findings(msgspec.structs.replace(event, data=msgspec.structs.replace(event.data, origins={})) for event in of_probes(events))


def test_order_and_batches_and_restarts_change_nothing() -> None:
    watch, events = large()
    assert of_probes(events)
    again, others = fold(LARGE, chunk=900, close=False)
    assert sorted(findings(others)) == sorted(findings(events))
    assert again.head_state() == watch.head_state()
    assert again.state_of("m", "1") == watch.state_of("m", "1")
    assert again.companions["m"].members["probes"].to_state() == watch.companions["m"].members["probes"].to_state()
    rng = random.Random(1)
    parts = [LARGE[start : start + 50] for start in range(0, len(LARGE), 50)]
    shuffled = [record for part in parts for record in rng.sample(part, len(part)) + part[:3]]
    other, found = fold(shuffled, chunk=53, close=False)
    assert _elsewhere(found) == _elsewhere(events)
    mine, theirs = report([watch]).models[0], report([other]).models[0]
    assert (mine.probes, mine.amounts) == (theirs.probes, theirs.amounts)
    half, first = fold(LARGE[: len(LARGE) // 2], close=False)
    saved = unpack(Packer().pack(half, Position("scored", 1, 0)))
    assert saved is not None
    saved.watch.news.every_ms = None
    _, rest = fold(LARGE, watch=saved.watch, close=False)
    assert findings(of_probes(first) + of_probes(rest)) == findings(of_probes(events))
    assert saved.watch.companions["m"].members["probes"].to_state() == watch.companions["m"].members["probes"].to_state()
