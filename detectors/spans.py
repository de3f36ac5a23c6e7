"""Where the evidence lies in the source topics."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detectors.fixed import Ints
from detectors.ladder import DAY_MS
from schemas.scored import Origin, Rows


@dataclass
class Spans:
    """Which source offsets added to each day of predictions: origin -> day -> first and last offset."""

    days: dict[Origin, dict[int, tuple[int, int]]] = field(default_factory=dict)

    def add(self, rows: Rows, where: Ints) -> None:
        """Note the offsets of the picked rows."""
        day = rows.column("predicted_at")[where] // DAY_MS
        origin, offset = rows.column("origin")[where], rows.column("offset")[where]
        order = np.lexsort((offset, day, origin))
        day, origin, offset = day[order], origin[order], offset[order]
        first = np.flatnonzero(np.concatenate(([True], (day[1:] != day[:-1]) | (origin[1:] != origin[:-1]))))
        last = np.concatenate((first[1:], [len(day)])) - 1
        columns = (origin[first], day[first], offset[first], offset[last])
        for code, on, low, high in zip(*(column.tolist() for column in columns), strict=True):
            days = self.days.setdefault(rows.origins[code], {})
            old = days.get(on, (low, high))
            days[on] = min(low, old[0]), max(high, old[1])

    def between(self, start_ms: int, end_ms: int) -> dict[str, dict[str, tuple[int, int]]]:
        """Return topic -> partition -> first and last offset, for predictions made in a span, whole days."""
        out: dict[str, dict[str, tuple[int, int]]] = {}
        for origin in sorted(self.days, key=lambda o: (o.topic, o.partition)):
            among = [span for day, span in self.days[origin].items() if start_ms // DAY_MS <= day <= (end_ms - 1) // DAY_MS]
            if among:
                span = min(low for low, _ in among), max(high for _, high in among)
                out.setdefault(origin.topic, {})[str(origin.partition)] = span
        return out

    def to_state(self) -> list[Any]:
        """Return the state as plain values."""
        return [[o.topic, o.topic_id, o.partition, [[day, *span] for day, span in days.items()]] for o, days in self.days.items()]

    @classmethod
    def from_state(cls, state: list[Any]) -> "Spans":
        """Return the spans that ``to_state`` wrote."""
        return cls({Origin(*origin): {day: (low, high) for day, low, high in days} for *origin, days in state})
