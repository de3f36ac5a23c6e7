"""What a watch worker counts beyond what all workers do: findings, state, and how mature labels are."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from detectors.fixed import Ints
from detectors.label_progress import label_progress
from detectors.watch import STATE_VERSION, Watch
from schemas.drift import DriftData
from schemas.fatigue import FatigueData
from schemas.findings import Event
from streams.join_metrics import DAY, HOUR, RECORDS
from streams.metrics import Metrics, Values, behind
from streams.settings import Settings
from streams.topics import SCORED

NO_MODEL = "__none__"  # of dead letters, and of outcomes that wait
LOOK_EVERY_S = 10.0  # at what costs more than a count
LOOK_SHARE = 20  # ... and so many times as long as the last look took: it is not what a worker is for
SNOOZED = "snoozed"
FOUND_AFTER = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0, HOUR, DAY)


class WatchMetrics(Metrics):
    """What a watch worker tells of itself.

    Examples
    --------
    >>> metrics = WatchMetrics(Settings())
    >>> metrics.folds(lambda: {0: Watch()}, lambda partition: 70)
    >>> [line for line in metrics.text().decode().splitlines() if line.startswith("gnomon_state_bytes")]
    ['gnomon_state_bytes{partition="0"} 70.0']

    """

    def __init__(self, settings: Settings) -> None:
        super().__init__("watch", settings)
        self.gauge("state_schema_version", "the version of state that this program reads and writes").set(STATE_VERSION)
        self.alerts = self.counter("alerts_total", "drift and fatigue events", "kind", "severity", "state")
        self.findings = self.counter("findings_total", "events of all types", "type")
        text = "from the event time at which a finding was due to its being found, by the clock"
        self.finding_delay = self.histogram("finding_delay_seconds", text, buckets=FOUND_AFTER)
        self.state_bytes = self.live("state_bytes", "a scored partition's state, as written to Redis", "partition")
        self.model_versions = self.live("model_versions", "model versions watched", "partition")
        self.model_records = self.live("model_records", "source records since the state began, by what they were", "model", "result")
        self.suppressed = self.counter("alerts_suppressed_total", "drift events that were kept back", "reason")
        self.suppressed.labels(SNOOZED)
        text = "share of the predictions of an age, in seconds, that were labelled by then; of the ages that are read"
        self.maturity = self.live("label_maturity_ratio", text, "model", "age")
        text = "age, in event time, of the oldest prediction that waits for a label within its horizon; to the pane"
        self.oldest_pending = self.live("oldest_pending_seconds", text, "model")
        text = "predictions past the horizon that count as negatives, since no label has come; of models whose policy says so"
        self.timed_out = self.live("timeout_negatives", text, "model")
        text = "values of dimensions, of predictions, that are counted together as __other__: there are more values than are kept apart"
        self.overflow = self.live("subgroup_overflow_values", text, "model")
        self._looks: dict[int, _Look] = {}  # by partition

    def found(self, event: Event) -> None:
        """Count a finding."""
        self.findings.labels(event.type.value).inc()
        self.finding_delay.observe(time.time() - event.time_ms / 1000)
        state = event.type.value.rsplit(".", 1)[1]
        if isinstance(event.data, DriftData):
            self.alerts.labels(event.data.kind.value, event.data.severity.value, state).inc()
        elif isinstance(event.data, FatigueData):
            self.alerts.labels(event.data.kind.value, "none", state).inc()

    def folded(self, partition: int, watch: Watch) -> None:
        """Look at a fold now and then, in the thread that folds."""
        begun, last = time.monotonic(), self._looks.get(partition)
        if last is not None and begun < last.again_at_s:
            return
        withheld, before = watch.withheld(), last.withheld if last is not None and last.watch is watch else 0
        self.suppressed.labels(SNOOZED).inc(withheld - before)
        look = _Look(watch, withheld)
        for model_id, versions in watch.counted().items():
            model = self.model(model_id)
            for version in versions.values():
                progress = label_progress(version)
                for age_ms, counts in progress.by_age.items():
                    look.by_age[model, f"{age_ms / 1000:g}"] += np.array(counts)
                if version.on_timeout == "negative" and version.horizon_ms in progress.by_age:
                    made, labelled = progress.by_age[version.horizon_ms]
                    look.timed_out[model] += made - labelled
                if progress.oldest_ms is not None:
                    look.oldest_s[model] = max(look.oldest_s[model], (version.watermark_ms - progress.oldest_ms) / 1000)
                look.overflow[model] += progress.overflow
        ended = time.monotonic()
        look.again_at_s = ended + max(LOOK_EVERY_S, LOOK_SHARE * (ended - begun))
        self._looks[partition] = look

    def folds(self, watches: Callable[[], Mapping[int, Watch]], size: Callable[[int], int]) -> None:
        """Take figures from the folds of the partitions held, and from the sizes of their checkpoints, when scraped."""

        def watermarks() -> Values:
            times = {(SCORED, str(partition)): watch.sources.time_ms() for partition, watch in watches().items()}
            return {place: time_ms / 1000 for place, time_ms in times.items() if time_ms is not None}

        def versions() -> Values:
            return {(str(partition),): watch.n_versions() for partition, watch in watches().items()}

        self.watermark.values = watermarks
        self.event_time_lag.values = lambda: behind(watermarks())
        self.state_bytes.values = lambda: {(str(partition),): size(partition) for partition in watches()}
        self.model_versions.values = versions
        self.model_records.values = lambda: self._records(watches())

        def looks() -> list[_Look]:
            """Return the last look at each partition that is still held."""
            return [look for partition, look in list(self._looks.items()) if watches().get(partition) is look.watch]

        def maturity() -> Values:
            counts: defaultdict[tuple[str, str], Ints] = defaultdict(_pair)
            for look in looks():
                for place, both in look.by_age.items():
                    counts[place] += both
            return {place: labelled / made for place, (made, labelled) in counts.items()}

        def oldest() -> Values:
            found = [(model, s) for look in looks() for model, s in look.oldest_s.items()]
            return {(model,): s for model, s in sorted(found)}  # the oldest comes last

        def counted(of: Callable[[_Look], Counter[str]]) -> Values:
            counts: Counter[tuple[str, ...]] = Counter()
            for look in looks():
                counts.update({(model,): n for model, n in of(look).items()})
            return counts

        self.maturity.values = maturity
        self.oldest_pending.values = oldest
        self.overflow.values = lambda: counted(lambda look: look.overflow)
        self.timed_out.values = lambda: counted(lambda look: look.timed_out)

    def _records(self, watches: Mapping[int, Watch]) -> Values:
        values: Counter[tuple[str, ...]] = Counter()
        for watch in watches.values():
            for model_id, counts in list(watch.counts.items()):  # a copy: the fold goes on in a thread of its own
                for status in RECORDS:
                    values[self.model(model_id) or NO_MODEL, status.name.lower()] += int(counts[status])
        return values


def _pair() -> Ints:
    return np.zeros(2, dtype=np.int64)


@dataclass
class _Look:
    """What was seen of a fold."""

    watch: Watch
    withheld: int
    again_at_s: float = 0.0
    by_age: defaultdict[tuple[str, str], Ints] = field(default_factory=lambda: defaultdict(_pair))
    oldest_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    overflow: Counter[str] = field(default_factory=Counter)
    timed_out: Counter[str] = field(default_factory=Counter)
