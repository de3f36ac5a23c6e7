"""What a join worker counts beyond what all workers do: records, labels and dead letters."""

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np

from detectors.joiner import Joined
from schemas.scored import Kind, Origin, Rows, Status
from streams.metrics import Metrics, Values, behind
from streams.settings import Settings

RECORDS = (Status.PREDICTION, Status.JOINED, Status.CORRECTION, Status.DUPLICATE, Status.CONFLICT, Status.WAITING, Status.DEAD_LETTER)
OF_OUTCOMES = (Status.JOINED, Status.CORRECTION, Status.WAITING)
HOUR, DAY = 3600.0, 86400.0
DELAYS = (1.0, 10.0, 60.0, 600.0, HOUR, 6 * HOUR, DAY, 3 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 60 * DAY, 90 * DAY, 180 * DAY)


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
        self.event_time_lag.values = lambda: behind(values())
