"""Metrics: the join's counts against the truth of its traffic, bounded labels, and every metric declared."""

import asyncio
import json
import re
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError
from conftest import missing
from prometheus_client.parser import text_string_to_metric_families
from support.flow import START_MS, traffic
from support.prometheus_server import NoPrometheusError, program
from support.stories import DAY_MS, fold, story

from detectors.intake import SourceBatch
from detectors.joiner import Joiner
from detectors.pending import DictTable, Lookups
from detectors.watch import STATE_VERSION, Watch
from schemas.policy import Policy, parse_policy
from schemas.scored import Origin
from streams.checkpoint import DictCheckpoints, FencedError
from streams.errors import StoreError, StoreUnavailable
from streams.metered import MeteredCheckpoints, MeteredProducer, MeteredTable, redis_call
from streams.metrics import MAX_MODELS, OTHER, ColumnHistogram, Declared, Metrics
from streams.producer import DeliveryError, Message
from streams.settings import Settings
from streams.worker_metrics import DELAYS, JoinMetrics, WatchMetrics

BOTH = [JoinMetrics, WatchMetrics]
Record = tuple[str, bytes]


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every line of the metrics, by name and labels."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[f"gnomon_{name}", tuple(sorted(labels.items()))]


def by(metrics: Metrics, name: str, label: str) -> Counter[str]:
    """The sums of a metric by one of its labels."""
    sums: Counter[str] = Counter()
    for (found, labels), number in samples(metrics).items():
        if found == f"gnomon_{name}":
            sums[dict(labels)[label]] += int(number)
    return sums


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
    monkeypatch.setattr("streams.worker_metrics.time.time", lambda: 100.0)
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
    monkeypatch.setattr("streams.worker_metrics.time.time", lambda: events[-1].time_ms / 1000 + 2)
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


@pytest.mark.parametrize(("error", "retried"), [(StoreUnavailable("away"), 1), (StoreError("refused"), 0)])
async def test_calls_to_redis_are_timed_and_retries_counted(error: Exception, retried: int) -> None:
    class Table(DictTable):
        failed = False

        async def exchange(self, lookups: Any) -> Any:
            if not self.failed:
                self.failed = True
                raise error
            return await super().exchange(lookups)

    metrics = Metrics("join", Settings())
    table = MeteredTable(Table(), metrics)
    with pytest.raises(type(error)):
        await table.exchange(Lookups())
    assert by(metrics, "retries_total", "dep")["redis"] == retried
    assert metrics.away == ({"redis"} if retried else set())
    assert await table.exchange(Lookups()) == []
    assert value(metrics, "dep_up", dep="redis") == 1
    assert metrics.away == set()
    assert value(metrics, "redis_command_seconds_count", command="exchange") == 2


async def test_the_time_of_all_being_well_begins_when_the_last_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 10.0
    monkeypatch.setattr("streams.metrics.time.monotonic", lambda: now)
    metrics = Metrics("join", Settings())

    async def fail() -> None:
        raise StoreUnavailable("away")

    async def succeed() -> None:
        return None

    async def call(call: Callable[[], Awaitable[None]]) -> None:
        await redis_call(metrics, "check", call)

    with pytest.raises(StoreUnavailable):
        await call(fail)
    now = 20.0
    await call(succeed)
    now = 30.0
    await call(succeed)
    assert metrics.all_well_since_s == 20.0


async def test_checkpoints_know_the_size_of_what_was_read_and_written() -> None:
    checkpoints, metrics = DictCheckpoints(), Metrics("watch", Settings())
    metered = MeteredCheckpoints(checkpoints, metrics)
    epoch = await metered.take(3)
    await metered.write(3, epoch, {b"head": b"12345", b"v:a": b"123"})
    await metered.write(3, epoch, {b"head": b"1234567"})
    assert metered.size(3) == 10 == sum(map(len, checkpoints.hashes[3].values()))
    again = MeteredCheckpoints(checkpoints, metrics)
    assert again.size(3) == 0
    await again.take(3)
    await again.read(3)
    assert again.size(3) == 10
    with pytest.raises(FencedError):
        await metered.write(3, epoch, {b"head": b""})
    assert metered.size(3) == 10


async def test_what_kafka_confirms_is_counted_by_topic_and_what_it_refuses_as_an_error() -> None:
    class Producer:
        error: Exception | None = None

        async def produce(self, messages: Any) -> None:
            if self.error:
                raise self.error

    producer, metrics = Producer(), Metrics("join", Settings(prefix="eu."))
    metered = MeteredProducer(producer, metrics)
    await metered.produce([])
    await metered.produce(
        [Message("eu.scored", 0, None, b""), Message("eu.scored", 1, None, b""), Message("eu.dead-letters", 0, None, b"")]
    )
    assert by(metrics, "produced_total", "topic") == {"scored": 2, "dead-letters": 1}
    assert value(metrics, "produce_seconds_count") == 1
    producer.error = DeliveryError("no")
    with pytest.raises(DeliveryError):
        await metered.produce([Message("eu.scored", 0, None, b"")])
    assert value(metrics, "produce_errors_total") == 1
    metrics.kafka_weather(KafkaError(KafkaError._TRANSPORT))  # one of several connections, perhaps an idle one
    assert metrics.away == set()
    metrics.kafka_weather(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert metrics.away == {"kafka"}
    assert value(metrics, "produce_errors_total") == 3
    producer.error = None
    await metered.produce([Message("eu.scored", 0, None, b"")])
    assert metrics.away == set()


def test_a_step_that_fails_is_not_counted() -> None:
    metrics = Metrics("join", Settings())
    with metrics.step(5):
        pass
    with pytest.raises(asyncio.CancelledError), metrics.step(7):
        raise asyncio.CancelledError
    assert value(metrics, "step_records_total") == 5
    assert value(metrics, "step_seconds_count") == 1


def test_the_watch_tells_of_the_partitions_that_it_holds() -> None:
    metrics, held = WatchMetrics(Settings()), {2: Watch()}
    held[2].partitions, held[2].highs = {"predictions": 1, "outcomes": 1}, {("predictions", 0): 9_000, ("outcomes", 0): 7_000}

    def size(partition: int) -> int:
        return 100 * partition

    metrics.folds(lambda: held, size)
    assert value(metrics, "watermark_timestamp_seconds", topic="scored", partition="2") == 7
    assert value(metrics, "state_bytes", partition="2") == 200
    assert value(metrics, "model_versions", partition="2") == 0
    assert value(metrics, "state_schema_version") == STATE_VERSION
    found: Mapping[Any, float] = samples(metrics)
    held.clear()
    assert {place for place in found if ("partition", "2") in place[1]} & samples(metrics).keys() == set()


def test_how_far_labels_have_come_is_told_by_age_as_counted_by_hand() -> None:
    ages_days = [1, 3]
    ages = json.dumps([f"{days}d" for days in ages_days])
    policy = parse_policy(f'[defaults]\nages = {ages}\nhorizon = "3d"\non_timeout = "negative"\n')
    records = story(seed=3, days=20, per_day=50, delay_days=1.0, labelled=0.9)
    watch, _ = fold(records, policy=policy, close=False)
    metrics, held = WatchMetrics(Settings()), {0: watch}
    metrics.folds(lambda: held, lambda partition: 0)
    metrics.folded(0, watch)
    made = {fields["request_id"]: at for at, topic, fields in records if topic == "predictions"}
    known = {fields["request_id"]: at for at, topic, fields in records if topic == "outcomes"}
    now = watch.models["m"]["1"].watermark_ms
    for days in ages_days:
        age = days * DAY_MS
        old = {key for key, at in made.items() if at + age <= now}
        shares = len({key for key in old if key in known and known[key] - made[key] <= age}) / len(old)
        assert value(metrics, "label_maturity_ratio", model="m", age=f"{days * 86400}") == pytest.approx(shares, abs=0.01)  # to the pane
    past = [key for key, at in made.items() if at + 3 * DAY_MS <= now]
    timed_out = sum(key not in known or known[key] - made[key] > 3 * DAY_MS for key in past)
    assert value(metrics, "timeout_negatives", model="m") == pytest.approx(timed_out, abs=5)  # to the pane
    assert timed_out > 50
    waiting = min(at for key, at in made.items() if at + 3 * DAY_MS > now and known.get(key, now + 1) > now)
    assert 0 <= value(metrics, "oldest_pending_seconds", model="m") - (now - waiting) / 1000 <= 86_400
    assert value(metrics, "subgroup_overflow_values", model="m") == 0
    held.clear()
    assert not by(metrics, "label_maturity_ratio", "age")


def test_values_beyond_the_cap_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.segments.MAX_VALUES", 2)
    records = story(seed=3, days=2, per_day=50)
    watch, _ = fold(records, close=False)
    metrics = WatchMetrics(Settings())
    metrics.folds(lambda: {0: watch}, lambda partition: 0)
    metrics.folded(0, watch)
    named = Counter(fields["subgroups"]["group"] for _, topic, fields in records if topic == "predictions")
    apart = [pair[1] for pair in watch.models["m"]["1"].sums.segments.pairs if pair is not None]
    assert len(apart) == 3
    assert value(metrics, "subgroup_overflow_values", model="m") == sum(n for name, n in named.items() if name not in apart) > 0


def test_what_a_snooze_keeps_back_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, now = WatchMetrics(Settings()), 0.0
    monkeypatch.setattr("streams.worker_metrics.time.monotonic", lambda: now)
    watch, _ = fold(story(seed=3, days=2, per_day=50), close=False)

    def kept_back(total: int, *, at_s: float, of: Watch = watch) -> float:
        nonlocal now
        now, of.models["m"]["1"].incidents.withheld = at_s, total
        metrics.folded(0, of)
        return value(metrics, "alerts_suppressed_total", reason="snoozed")

    assert kept_back(0, at_s=0) == 0
    assert kept_back(2, at_s=1) == 0  # not looked at again so soon
    assert [kept_back(2, at_s=11), kept_back(2, at_s=22), kept_back(5, at_s=33)] == [2, 2, 5]
    again, _ = fold(story(seed=3, days=2, per_day=50), close=False)  # the partition was taken anew
    assert kept_back(1, at_s=44, of=again) == 6


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
