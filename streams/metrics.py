"""Prometheus metrics of a worker, in a registry of their own; ``docs/metrics.md`` is made from what is declared here.

Labels are bounded: topics, partitions and words that the program knows. Model ids come from what a worker has seen, ``MAX_MODELS`` of
them at most; request ids and values of subgroups are never labels.
"""

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from confluent_kafka import KafkaError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily

from streams.settings import Settings

PREFIX = "gnomon_"
MAX_MODELS = 200
OTHER = "__other__"
OWN = {"instance_id", "data_dir", "crash_at", "http_host", "join_http_port", "watch_http_port"}  # settings that tell workers apart
MINUTES = (1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0)
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Values = Mapping[tuple[str, ...], float]  # by label values


class Declared(NamedTuple):
    """A metric as it is documented."""

    name: str
    kind: str
    labels: tuple[str, ...]
    doc: str


class LiveGauge:
    """A gauge that is asked for its values when it is scraped, so that what is gone leaves no line behind."""

    def __init__(self, declared: Declared) -> None:
        self._declared = declared
        self.values: Callable[[], Values] = dict

    def describe(self) -> list[GaugeMetricFamily]:
        """Return the gauge without values."""
        return [GaugeMetricFamily(self._declared.name, self._declared.doc, labels=self._declared.labels)]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge."""
        for family in self.describe():
            for labels, value in sorted(self.values().items()):
                family.add_metric(labels, value)
            yield family


class ColumnHistogram:
    """A histogram of whole columns: one call of NumPy however many values there are.

    Parameters
    ----------
    edges
        Upper edges of the buckets, rising; one for what lies beyond is added.

    Examples
    --------
    >>> delays = ColumnHistogram(Declared("delay_seconds", "histogram", (), "delays"), (1.0, 60.0))
    >>> delays.add(np.array([0.5, 60.0, 61.0, 70.0]), np.array([1, 1, 1, -1]))
    >>> delays.counts.tolist(), delays.sum  # what is taken back never takes more than there is
    ([1, 1, 0], 51.5)

    """

    def __init__(self, declared: Declared, edges: Sequence[float]) -> None:
        self._declared = declared
        self._edges = np.array(edges)
        self.counts = np.zeros(len(edges) + 1, dtype=np.int64)
        self.sum = 0.0

    def add(self, values: npt.NDArray[np.float64], weights: npt.NDArray[np.int64]) -> None:
        """Add values, shape (n,), each as often as its weight says; one that moves between buckets has weights -1 and 1."""
        bucket = np.searchsorted(self._edges, values)
        added = np.bincount(bucket, weights, len(self.counts)).astype(np.int64)
        self.counts += np.maximum(added, 0)  # a counter that falls would read as a restart
        self.sum += max(0.0, float(values @ weights))

    def describe(self) -> list[HistogramMetricFamily]:
        """Return the histogram without values."""
        return [HistogramMetricFamily(self._declared.name, self._declared.doc)]

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the histogram."""
        edges = [*(str(float(edge)) for edge in self._edges), "+Inf"]
        buckets = list(zip(edges, self.counts.cumsum().tolist(), strict=True))
        yield HistogramMetricFamily(self._declared.name, self._declared.doc, buckets, self.sum)


class Metrics:
    """What both kinds of worker tell of themselves.

    Parameters
    ----------
    app
        ``join`` or ``watch``.
    settings
        A hash of them is shown, so that a worker with other settings stands out.

    Examples
    --------
    >>> metrics = Metrics("join", Settings())
    >>> metrics.heard("redis", good=False)
    >>> [line for line in metrics.text().decode().splitlines() if 'dep="redis"' in line]
    ['gnomon_dep_up{dep="redis"} 0.0', 'gnomon_retries_total{dep="redis"} 1.0']

    """

    def __init__(self, app: str, settings: Settings) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, and of no use here
        self.settings = settings
        self.registry = CollectorRegistry()
        self.declared: list[Declared] = []
        self._models: set[str] = set()
        self.away: set[str] = set()  # dependencies
        self.all_well_since_s = time.monotonic()
        ProcessCollector(registry=self.registry)
        build = self.gauge("build_info", "1; which program this is", "app", "version", "python", "faust")
        build.labels(app, version("gnomon"), platform.python_version(), version("faust-streaming")).set(1)
        self.gauge("config_info", "1; a hash of the settings, secrets left out", "hash").labels(_digest(settings)).set(1)

        self.assigned = self.gauge("assigned_partitions", "partitions that this worker reads")
        self.rebalances = self.counter("rebalance_total", "rebalances of the consumer group that this worker took part in")
        self.rebalance_seconds = self.histogram("rebalance_seconds", "how long they lasted, to the second", buckets=MINUTES)
        self.lag = self.live("consumer_lag_records", "offsets not committed yet, to the end of the partition", "topic", "partition")
        self.commit_age = self.live("commit_age_seconds", "since a commit, or since nothing was left to commit: the slowest partition's")
        text = "how long the oldest record that is not committed has been there, to the sample"
        self.lag_seconds = self.live("consumer_lag_seconds", text, "topic", "partition")
        self.loop_lag = self.gauge("event_loop_lag_seconds", "how late the event loop woke last, of some ten times a second")

        self.step_seconds = self.histogram("step_seconds", "one step: from batches read to everything that they gave confirmed")
        self.step_records = self.counter("step_records_total", "Kafka records handled; those that are read again count again")
        self.in_flight = self.gauge("steps_in_flight", "steps that are under way")
        self.fill = self.gauge("step_fill_ratio", "Kafka records of the step that began last, of the most that one takes")
        self.event_time_lag = self.live("event_time_lag_seconds", "the clock minus the watermark", "topic", "partition")
        self.watermark = self.live("watermark_timestamp_seconds", "how far event time has come", "topic", "partition")

        self.dep_up = self.gauge("dep_up", "1 where the last that was heard of a dependency was good", "dep")
        self.retries = self.counter("retries_total", "calls that failed for now, and are made again", "dep")
        self.redis_seconds = self.histogram("redis_command_seconds", "calls to Redis, those that fail too", "command")
        self.redis_memory = self.live("redis_memory_bytes", "memory that Redis uses; of a cluster: the fullest node's")
        self.redis_maxmemory = self.live("redis_maxmemory_bytes", "memory that Redis may use, or that node; 0: no limit")
        self.clock_skew = self.live(
            "clock_skew_seconds", "the clock of a dependency minus this machine's; of a cluster: the node's that is furthest off", "dep"
        )
        self.produce_seconds = self.histogram("produce_seconds", "from produce to the confirmation of a whole batch of messages")
        self.outbox = self.gauge("outbox_messages", "messages handed to the producer that Kafka has not confirmed")
        self.produced = self.counter("produced_total", "messages confirmed by Kafka", "topic")
        self.produce_errors = self.counter("produce_errors_total", "errors of the producer; one that it cannot ride out ends the worker")

    def counter(self, name: str, doc: str, *labels: str) -> Counter:
        """Declare a counter; its name ends in ``_total``."""
        return Counter(self._declare(name, "counter", doc, labels).name, doc, labels, registry=self.registry)

    def gauge(self, name: str, doc: str, *labels: str) -> Gauge:
        """Declare a gauge."""
        return Gauge(self._declare(name, "gauge", doc, labels).name, doc, labels, registry=self.registry)

    def histogram(self, name: str, doc: str, *labels: str, buckets: Sequence[float] = SECONDS) -> Histogram:
        """Declare a histogram of seconds."""
        return Histogram(self._declare(name, "histogram", doc, labels).name, doc, labels, registry=self.registry, buckets=buckets)

    def live(self, name: str, doc: str, *labels: str) -> LiveGauge:
        """Declare a gauge that is asked for its values when it is scraped."""
        gauge = LiveGauge(self._declare(name, "gauge", doc, labels))
        self.registry.register(gauge)
        return gauge

    def columns(self, name: str, doc: str, edges: Sequence[float]) -> ColumnHistogram:
        """Declare a histogram that is fed with columns."""
        histogram = ColumnHistogram(self._declare(name, "histogram", doc, ()), edges)
        self.registry.register(histogram)
        return histogram

    def _declare(self, name: str, kind: str, doc: str, labels: tuple[str, ...]) -> Declared:
        declared = Declared(PREFIX + name, kind, labels, doc)
        self.declared.append(declared)
        return declared

    def model(self, model_id: str) -> str:
        """Return the label of a model: itself, or ``__other__`` once ``MAX_MODELS`` are known."""
        if model_id not in self._models and len(self._models) < MAX_MODELS:
            self._models.add(model_id)
        return model_id if model_id in self._models else OTHER

    def heard(self, dep: str, *, good: bool) -> None:
        """Take note of what was last heard of a dependency; bad: a call failed, and is made again."""
        self.dep_up.labels(dep).set(good)
        if not good:
            self.away.add(dep)
            self.retries.labels(dep).inc()
        elif dep in self.away:
            self.away.remove(dep)
            self.all_well_since_s = time.monotonic()

    @contextmanager
    def step(self, records: int) -> Iterator[None]:
        """Time a step that handles so many Kafka records; one that fails ends the worker, and is not counted."""
        begun = time.perf_counter()
        self.fill.set(records / self.settings.batch_records)
        with self.in_flight.track_inprogress():
            yield
        self.step_seconds.observe(time.perf_counter() - begun)
        self.step_records.inc(records)

    def kafka_weather(self, error: KafkaError) -> None:
        """Take note of an error that the producer rides out."""
        self.produce_errors.inc()
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.heard("kafka", good=False)

    def text(self) -> bytes:
        """Return all of it in Prometheus's text format."""
        return generate_latest(self.registry)


def _digest(settings: Settings) -> str:
    """Return a hash of the settings as they are shown, without what tells workers of one deployment apart."""
    shown = {name: value for name, value in settings.shown().items() if name not in OWN}
    return blake2b(repr(sorted(shown.items())).encode(), digest_size=6).hexdigest()


def behind(seconds: Values) -> Values:
    """Return how far event times are behind the clock."""
    now_s = time.time()
    return {place: now_s - at for place, at in seconds.items()}
