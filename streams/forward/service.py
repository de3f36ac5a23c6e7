"""A forwarder as a process: told to stop by signals, telling of itself over HTTP."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from streams.forward.forwarder import Forwarder, Job
from streams.forward.post import ForwardError
from streams.health import Answer, HealthServer
from streams.metrics import PREFIX, Declared, Values
from streams.settings import Settings

RESULTS = ("sent", "refused", "unreadable", "retried")


def _declared(name: str, kind: str, doc: str, *labels: str) -> Declared:
    return Declared(f"{PREFIX}forward_{name}", kind, labels, doc)


REQUESTS = _declared("requests_total", "counter", "attempts by what came of them; unreadable: records that are no events", "result")
TAKEN = _declared("last_taken_timestamp_seconds", "gauge", "when the target last took something; 0: not yet")
UP = _declared("target_up", "gauge", "0 where the last attempt failed")
ACTIVE = _declared("active_alerts", "gauge", "alerts that the target is reminded of")
LAG = _declared("lag_records", "gauge", "offsets that are not acknowledged, to the end of the partition", "topic", "partition")
DECLARED = (REQUESTS, TAKEN, UP, ACTIVE, LAG)


class ForwardVitals:
    """What a forwarder tells of itself to Prometheus and to probes.

    Parameters
    ----------
    forwarder
        Whom to ask.
    prefix
        Of topics; left out of labels.

    """

    def __init__(self, forwarder: Forwarder, prefix: str) -> None:
        self._forwarder, self._prefix = forwarder, prefix
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def describe(self) -> list[Metric]:
        """Return the metrics without values."""
        return [_family(declared, {}) for declared in DECLARED]

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        forwarder = self._forwarder
        lag = {} if forwarder.feed is None else forwarder.feed.lag()
        yield _family(REQUESTS, {(result,): float(forwarder.counts[result]) for result in RESULTS})
        yield _family(TAKEN, {(): forwarder.last_taken_ms / 1000})
        yield _family(UP, {(): float(forwarder.good)})
        yield _family(ACTIVE, {(): float(forwarder.target.active())})
        yield _family(LAG, {(topic.removeprefix(self._prefix), str(partition)): float(n) for (topic, partition), n in lag.items()})

    async def live(self) -> Answer:
        """Tell that it runs: a target that is away for too long ends it anyway."""
        return Answer([], {})

    async def ready(self) -> Answer:
        """Tell whether the target takes alerts."""
        feed = self._forwarder.feed
        assigned = 0 if feed is None else feed.assigned
        facts: dict[str, object] = {"assigned": assigned, "role": "active" if assigned else "standby"}
        reasons = [] if self._forwarder.good else ["the target did not take what it was sent last"]
        return Answer(reasons + (await self.started()).reasons, facts)

    async def started(self) -> Answer:
        """Tell whether it has begun to read."""
        return Answer([] if self._forwarder.feed is not None else ["Kafka is not read yet"], {})

    def metrics(self) -> bytes:
        """Return the metrics in Prometheus's text format."""
        return generate_latest(self._registry)


def _family(declared: Declared, values: Values) -> Metric:
    kind = CounterMetricFamily if declared.kind == "counter" else GaugeMetricFamily
    family = kind(declared.name, declared.doc, labels=declared.labels)
    for labels, value in sorted(values.items()):
        family.add_metric(labels, value)
    return family


async def serve(job: Job, settings: Settings) -> Counter[str]:
    """Forward until told to stop by SIGTERM or SIGINT; return what was done.

    Raises
    ------
    ForwardError
        As of ``Forwarder.run``, and where metrics cannot be served.
    NotPublishedError
        If a dead letter cannot be kept.

    """
    forwarder = Forwarder(job, settings, lambda: int(time.time() * 1000))
    server = HealthServer(ForwardVitals(forwarder, settings.prefix), settings.http_host, settings.forward_http_port)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, forwarder.stop.set)
    try:
        if settings.forward_http_port:
            try:
                await server.start()
            except OSError as error:
                address = f"{settings.http_host}:{settings.forward_http_port}"
                raise ForwardError(f"metrics: cannot listen on {address}: {error.strerror}; set GNOMON_FORWARD_HTTP_PORT") from error
        await forwarder.run()
    finally:
        await server.stop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    return forwarder.counts
