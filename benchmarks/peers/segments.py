"""The job of the peers' watch: River's metrics per event on the aggregate and three subgroups of each model, ADWIN on the aggregate.

Confusion matrix, Brier score, mean score and label (calibration in the large), mean cost; with fewer figures than Gnomon keeps.
"""

import json
import os
import time
from typing import Any

from river import drift, metrics, stats

FP, FN = 5.0, 1.0


class Segment:
    """Figures of one segment."""

    def __init__(self) -> None:
        self.confusion = metrics.ConfusionMatrix()
        self.brier, self.score, self.label, self.cost = stats.Mean(), stats.Mean(), stats.Mean(), stats.Mean()

    def add(self, score: float, predicted: int, label: int) -> None:
        """Take one labelled prediction."""
        self.confusion.update(label, predicted)
        self.brier.update((score - label) ** 2)
        self.score.update(score)
        self.label.update(label)
        self.cost.update(FP if predicted > label else FN if label > predicted else 0.0)


class Segments:
    """All segments of all models."""

    def __init__(self) -> None:
        self.segments: dict[tuple[str, str, str], Segment] = {}
        self.errors: dict[str, Any] = {}
        self.drifts = 0

    def add(self, made: dict[str, Any], known: dict[str, Any]) -> bool:
        """Take a joined pair; return whether its model drifts."""
        score, label, model = made["score"], known["true_label"], made["model_id"]
        predicted = int(score >= 0.5)
        for dimension, value in (("", ""), *made["subgroups"].items()):
            key = (model, dimension, value)
            segment = self.segments.get(key)
            if segment is None:
                segment = self.segments[key] = Segment()
            segment.add(score, predicted, label)
        detector = self.errors.get(model)
        if detector is None:
            detector = self.errors[model] = drift.ADWIN()
        detector.update(int(predicted != label))
        self.drifts += detector.drift_detected
        return bool(detector.drift_detected)


class Meter:
    """Counts pairs; from the first record to the last pair it takes the time, then says so and ends the process."""

    def __init__(self, pairs: int) -> None:
        self.pairs, self.left = pairs, pairs
        self._begun: tuple[float, float] | None = None

    def begin(self) -> None:
        """Take note that there is a record."""
        if self._begun is None:
            self._begun = time.perf_counter(), time.process_time()

    def joined(self, n: int = 1) -> None:
        """Take note of pairs; the last one ends the process."""
        self.left -= n
        if self.left <= 0:
            self.end()

    def end(self) -> None:
        """Print wall and CPU seconds, and end."""
        wall, cpu = self._begun or (time.perf_counter(), time.process_time())
        said = json.dumps({"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu})
        os.write(1, f"\n{said}\n".encode())  # Faust takes sys.stdout for itself
        os._exit(0)
