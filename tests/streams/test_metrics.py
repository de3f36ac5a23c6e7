"""Metrics: the join's counts against the truth of its traffic, bounded labels, and every metric declared."""

import asyncio
import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import missing
from prometheus_client.parser import text_string_to_metric_families
from support.flow import START_MS, traffic
from support.metric_samples import by, samples, value
from support.prometheus_server import NoPrometheusError, program
from support.stories import fold, story

from detectors.intake import SourceBatch
from detectors.joiner import Joiner
from detectors.pending import DictTable
from detectors.watch import Watch
from schemas.policy import Policy
from schemas.scored import Origin
from streams.join_metrics import DELAYS, JoinMetrics
from streams.metered import MeteredProducer
from streams.metrics import MAX_MODELS, OTHER, ColumnHistogram, Declared, Metrics
from streams.producer import DeliveryError, Message
from streams.settings import Settings
from streams.watch_metrics import WatchMetrics

BOTH = [JoinMetrics, WatchMetrics]
Record = tuple[str, bytes]


def join(records: list[Record], step: int, observe: Callable[[Any], None]) -> None:
    """Join records in steps, and show each step's result."""
    joiner, table, offsets = Joiner(Policy(), b"k"), DictTable(), Counter[str]()
    for start in range(0, len(records), step):
        batches = []
        for topic in ("predictions", "outcomes", "control"):
            values = [value for name, value in records[start : start + step] if name == topic]
            first = offsets[topic]
            offsets[topic] += len(values)
            batches.append(SourceBatch(Origin(topic, "x", 0), range(first, offsets[topic]), [START_MS + 10**9] * len(values), values))
        prepared = joiner.prepare(batches)
        observe(joiner.finish(prepared, table.exchange_now(prepared.lookups)))


@pytest.mark.parametrize(("seed", "step"), [(1, 7), (2, 400), (3, 10_000)])
def test_every_record_is_counted_once_whatever_the_steps(seed: int, step: int) -> None:
    made, metrics = traffic(seed, 1500), JoinMetrics(Settings())
    join(made.records, step, metrics.joined)
    assert by(metrics, "records_total", "topic") == Counter(topic for topic, _ in made.records)
    assert by(metrics, "records_total", "result")["dead_letter"] == made.bad == by(metrics, "dlq_total", "reason")["malformed"]
    assert value(metrics, "predictions_total") == made.predictions.total()
    assert value(metrics, "labels_total") == made.labels.total()
    assert value(metrics, "label_delay_seconds_count") == made.labels.total()


def test_outcomes_that_waited_and_those_that_still_do_add_up() -> None:
    claim = {"model_id": "m", "model_version": "1", "timestamp": START_MS, "score": 0.5}
    outcomes = [("outcomes", json.dumps({"request_id": f"r{i}", "timestamp": START_MS, "true_label": 1}).encode()) for i in range(10)]
    predictions = [("predictions", json.dumps(claim | {"request_id": f"r{i}"}).encode()) for i in range(6)]
    metrics = JoinMetrics(Settings())
    join(outcomes + predictions, 4, metrics.joined)
    assert value(metrics, "records_total", topic="outcomes", result="waiting") == 10
    assert value(metrics, "waits_ended_total") == value(metrics, "labels_total") == 6
    assert by(metrics, "records_total", "result") == Counter(waiting=10, prediction=6)


def test_label_delays_are_those_of_the_labels_in_force() -> None:
    hours = np.random.default_rng(5).exponential(30.0, 300)
    records: list[Record] = []
    for i, delay in enumerate(hours.tolist()):
        claim = {"request_id": f"r{i}", "model_id": "m", "model_version": "1", "timestamp": START_MS, "score": 0.5}
        known = {"request_id": f"r{i}", "timestamp": START_MS + int(delay * 3_600_000), "true_label": i % 2}
        records += [("predictions", json.dumps(claim).encode()), ("outcomes", json.dumps(known).encode())]
        if i % 3 == 0:  # a correction, days later, is no second label
            records.append(("outcomes", json.dumps(known | {"timestamp": START_MS + 10**9, "true_label": 1 - i % 2}).encode()))
    metrics = JoinMetrics(Settings())
    join(records, 50, metrics.joined)
    seconds = np.floor(hours * 3_600_000) / 1000
    for edge in DELAYS:
        assert value(metrics, "label_delay_seconds_bucket", le=str(edge)) == (seconds <= edge).sum()
    assert value(metrics, "label_delay_seconds_sum") == pytest.approx(seconds.sum())


def test_control_records_are_counted_as_forwarded() -> None:
    ack = {"type": "ack", "incident_id": "i", "by": "ada", "at": START_MS}
    metrics = JoinMetrics(Settings())
    join([("control", json.dumps(ack).encode())], 1, metrics.joined)
    assert value(metrics, "records_total", topic="control", result="forwarded") == 1


def test_event_times_are_read_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.metrics.time.time", lambda: 100.0)
    metrics, highs = JoinMetrics(Settings()), {Origin("predictions", "x", 3): 40_000}
    metrics.event_times(lambda: highs)
    assert value(metrics, "watermark_timestamp_seconds", topic="predictions", partition="3") == 40
    assert value(metrics, "event_time_lag_seconds", topic="predictions", partition="3") == 60
    highs.clear()  # the partition is another worker's now
    assert "partition" not in metrics.text().decode().split("gnomon_watermark_timestamp_seconds gauge")[1].split("#")[0]


def test_labels_hold_no_request_id_and_no_subgroup_and_few_models() -> None:
    metrics = WatchMetrics(Settings())
    watch = Watch()
    watch.counts = {f"model-{i}": np.ones(20, dtype=np.int64) for i in range(MAX_MODELS + 50)}
    metrics.folds(lambda: {0: watch}, lambda partition: 0)
    models = by(metrics, "model_records", "model")
    assert len(models) == MAX_MODELS + 1
    assert models[OTHER] == 50 * models["model-0"] > 0
    joins = JoinMetrics(Settings())
    claim = {"request_id": "hidden-id", "model_id": "m", "model_version": "1", "timestamp": START_MS, "score": 0.5}
    records = [
        ("predictions", json.dumps(claim | {"subgroups": {"disease": "hidden-group"}}).encode()),
        ("outcomes", b'{"request_id": "hidden-id"}'),
    ]
    join(records, 2, joins.joined)
    assert value(joins, "predictions_total") == 1
    assert b"hidden" not in joins.text()


def test_findings_are_counted_by_kind_severity_and_state(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = WatchMetrics(Settings())
    _, events = fold(story(seed=1, days=75, per_day=25, change_day=45, error_after=0.5, model="a", delay_days=0.5))
    monkeypatch.setattr("streams.watch_metrics.time.time", lambda: events[-1].time_ms / 1000 + 2)
    for event in events:
        metrics.found(event)
    assert by(metrics, "findings_total", "type") == Counter(event.type.value for event in events)
    drift = Counter(event.type.value.rsplit(".")[-1] for event in events if ".drift." in event.type.value)
    assert by(metrics, "alerts_total", "state") == drift
    assert drift["opened"] > 0
    late = sum((events[-1].time_ms - event.time_ms) / 1000 + 2 for event in events)
    assert value(metrics, "finding_delay_seconds_sum") == pytest.approx(late)


@pytest.mark.parametrize("kind", BOTH)
def test_every_metric_is_declared_and_its_name_is_as_prometheus_wants_it(kind: Callable[[Settings], Metrics]) -> None:
    metrics = kind(Settings())
    declared = {one.name for one in metrics.declared}
    families = {family.name for family in text_string_to_metric_families(metrics.text().decode())}
    ours = {name for name in families if name.startswith("gnomon_")}
    assert ours == {name.removesuffix("_total") for name in declared}
    assert all(one.name.endswith("_total") == (one.kind == "counter") for one in metrics.declared)
    assert not {"request_id", "subgroup", "segment"} & {label for one in metrics.declared for label in one.labels}
    assert not any(name.endswith("_created") for name, _ in samples(metrics))


@pytest.mark.parametrize("kind", BOTH)
def test_promtool_finds_nothing_to_say(kind: Callable[[Settings], Metrics]) -> None:
    try:
        command = [program("promtool"), "check", "metrics"]
    except NoPrometheusError as error:
        missing(str(error))
        raise
    done = subprocess.run(command, input=kind(Settings()).text(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_the_rules_of_the_docs_are_rules_about_metrics_that_there_are(tmp_path: Path) -> None:
    [rules] = re.findall(r"^```yaml\n(.*?)^```", (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(), re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"gnomon_\w+", rules))
    assert named
    assert named <= {one.name for kind in BOTH for one in kind(Settings()).declared}
    (tmp_path / "rules.yml").write_text(rules)
    try:
        command = [program("promtool"), "check", "rules", str(tmp_path / "rules.yml")]
    except NoPrometheusError as error:
        missing(str(error))
        raise
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hash_of_settings_tells_deployments_apart_not_workers_and_holds_no_secret() -> None:
    def shown(**fields: Any) -> str:
        return next(dict(labels)["hash"] for name, labels in samples(Metrics("join", Settings(**fields))) if name == "gnomon_config_info")

    assert shown() == shown(instance_id="a", crash_at="x:1", join_http_port=9) == shown(redis="redis://:secret@localhost:6379/0")
    assert shown() != shown(batch_records=5)


def test_a_column_histogram_never_falls() -> None:
    delays = ColumnHistogram(Declared("d", "histogram", (), ""), (1.0, 2.0))
    delays.add(np.array([0.5, 1.5, 1.0]), np.array([1, 1, 1]))
    delays.add(np.array([0.5, 3.0]), np.array([-1, 1]))
    assert delays.counts.tolist() == [2, 1, 1]
    assert delays.sum == 5.5


def test_a_step_that_fails_is_not_counted() -> None:
    metrics = Metrics("join", Settings())
    with metrics.step(5):
        pass
    with pytest.raises(asyncio.CancelledError), metrics.step(7):
        raise asyncio.CancelledError
    assert value(metrics, "step_records_total") == 5
    assert value(metrics, "step_seconds_count") == 1


def test_steps_and_messages_under_way_are_told_and_those_that_fail_are_not_under_way_any_more() -> None:
    metrics = JoinMetrics(Settings(batch_records=200))

    class Broken:
        async def produce(self, messages: Any) -> None:
            """Look, and fail."""
            assert value(metrics, "outbox_messages") == 2
            raise DeliveryError("away")

    async def failing() -> None:
        with metrics.step(50):
            assert value(metrics, "steps_in_flight") == 1
            with metrics.step(200):
                assert (value(metrics, "steps_in_flight"), value(metrics, "step_fill_ratio")) == (2, 1.0)
            await MeteredProducer(Broken(), metrics).produce([Message("t", 0, b"", b"")] * 2)

    with pytest.raises(DeliveryError):
        asyncio.run(failing())
    assert (value(metrics, "steps_in_flight"), value(metrics, "outbox_messages")) == (0, 0)
