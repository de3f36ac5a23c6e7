"""What each kind of worker counts beyond what both do: records and labels in the join, findings and state in the watch."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from detectors.fixed import Ints
from detectors.joiner import Joined
from detectors.label_progress import label_progress
from detectors.watch import STATE_VERSION, Watch
from schemas.drift import DriftData
from schemas.fatigue import FatigueData
from schemas.findings import Event
from schemas.scored import Kind, Origin, Rows, Status
from streams.metrics import Metrics, Values
from streams.settings import Settings
from streams.topics import SCORED

RECORDS = (Status.PREDICTION, Status.JOINED, Status.CORRECTION, Status.DUPLICATE, Status.CONFLICT, Status.WAITING, Status.DEAD_LETTER)
OF_OUTCOMES = (Status.JOINED, Status.CORRECTION, Status.WAITING)
NO_MODEL = "__none__"  # of dead letters, and of outcomes that wait
HOUR, DAY = 3600.0, 86400.0
DELAYS = (1.0, 10.0, 60.0, 600.0, HOUR, 6 * HOUR, DAY, 3 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 60 * DAY, 90 * DAY, 180 * DAY)

LOOK_EVERY_S = 10.0  # at what costs more than a count
LOOK_SHARE = 20  # ... and so many times as long as the last look took: it is not what a worker is for
SNOOZED = "snoozed"
FOUND_AFTER = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0, HOUR, DAY)


class JoinMetrics(Metrics):
    """What a join worker tells of itself.

    Examples
    --------
    >>> metrics = JoinMetrics(Settings())
    >>> rows = Rows("m", [Origin("predictions", "x", 0)], 2, {"kind": bytes([1, 1]), "status": bytes([1, 1])})
    >>> metrics.joined(Joined([rows], [], [], {}))
    >>> [line for line in metrics.text().decode().splitlines() if line.startswith("gnomon_records_total")]
    ['gnomon_records_total{result="prediction",topic="predictions"} 2.0']

    """

    def __init__(self, settings: Settings) -> None:
        super().__init__("join", settings)
        self.records = self.counter("records_total", "source records, each once, by what they were", "topic", "result")
        self.predictions = self.counter("predictions_total", "predictions made known; less gnomon_labels_total: those still pending")
        self.labels = self.counter("labels_total", "predictions whose first label has come")
        self.waits_ended = self.counter("waits_ended_total", "waiting outcomes whose prediction came; the rest still wait, or are orphans")
        self.dead_letters = self.counter("dlq_total", "dead letters; too_far_ahead: records from the future", "reason")
        self.label_delay = self.columns("label_delay_seconds", "from a prediction to its label becoming known, in event time", DELAYS)

    def joined(self, joined: Joined) -> None:
        """Count what a step gave."""
        counts: Counter[tuple[str, Status]] = Counter()
        made = labels = 0
        for rows in joined.rows:
            self._statuses(rows, counts)
            kind, sign = rows.column("kind"), rows.column("sign").astype(np.int64)
            made += int(sign[kind == Kind.PREDICTION].sum())
            where = np.flatnonzero(kind == Kind.LABEL)
            if len(where):
                labels += int(sign[where].sum())
                delays = (rows.column("known_at")[where] - rows.column("predicted_at")[where]) / 1000.0
                self.label_delay.add(np.maximum(delays, 0.0), sign[where])  # a correction takes back what it adds
        self.predictions.inc(max(0, made))
        self.labels.inc(max(0, labels))
        # A prediction that meets outcomes says by rows of its own origin what they are now: no new records.
        self.waits_ended.inc(max(0, -counts["predictions", Status.WAITING]))
        for (topic, status), count in counts.items():
            if count > 0 and not (topic == "predictions" and status in OF_OUTCOMES):
                self.records.labels(topic, status.name.lower()).inc(count)
        for letter in joined.dead_letters:
            self.dead_letters.labels(letter.reason.value).inc()
        for control in joined.forwarded:
            self.records.labels(control.origin.topic, "forwarded").inc()

    @staticmethod
    def _statuses(rows: Rows, counts: "Counter[tuple[str, Status]]") -> None:
        width = len(Status)
        code = rows.column("origin").astype(np.int64) * width + rows.column("status")
        sums = np.bincount(code, rows.column("count"), len(rows.origins) * width).astype(np.int64)
        for place in np.flatnonzero(sums).tolist():
            status = Status(place % width)
            if status in RECORDS:
                counts[rows.origins[place // width].topic, status] += int(sums[place])

    def event_times(self, highs: Callable[[], Mapping[Origin, int]]) -> None:
        """Take the greatest event time of each source partition, epoch ms, from ``highs`` when scraped."""

        def values() -> Values:
            return {(origin.topic, str(origin.partition)): high / 1000 for origin, high in highs().items()}

        self.watermark.values = values
        self.event_time_lag.values = lambda: _behind(values())


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
        for model_id, versions in watch.models.items():
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
        self.event_time_lag.values = lambda: _behind(watermarks())
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


def _behind(seconds: Values) -> Values:
    """Return how far event times are behind the clock."""
    now_s = time.time()
    return {place: now_s - at for place, at in seconds.items()}
