"""Where the evidence lies in the source topics: offsets by the time of what they hold."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detectors.fixed import Ints
from detectors.ladder import DAY_MS
from detectors.panes import distinct, floor_to
from schemas.scored import Kind, Origin, Rows

FINE_MS = 300_000
FINE_DAYS = 3  # days kept in five-minute spans before the watermark; older ones are whole days

Span = tuple[int, int]  # first and last offset
Found = dict[str, dict[str, Span]]  # topic -> partition -> span


@dataclass
class Spans:
    """Which source offsets hold the predictions made in each five minutes; later in each day.

    Predictions only: an outcome that comes before its prediction is joined by the prediction's arrival, so which outcomes have rows of
    their own depends on the order of arrival.

    What ``between`` says depends on the time at which it is asked, not on what has been read since, nor on when days were folded up.
    """

    fine: dict[Origin, dict[int, Span]] = field(default_factory=dict)
    days: dict[Origin, dict[int, Span]] = field(default_factory=dict)

    def add(self, rows: Rows, where: Ints) -> None:
        """Note the offsets of the picked rows."""
        made = rows.column("kind")[where] == Kind.PREDICTION
        if not made.any():
            return
        where = where if made.all() else where[made]
        for code, begin, span in spans_of(*(rows.column(name)[where] for name in ("origin", "predicted_at", "offset"))):
            self.note(rows.origins[code], begin, span)

    def note(self, origin: Origin, begin: int, span: Span) -> None:
        """Note the offsets of predictions made in the five minutes that begin then."""
        day = floor_to(begin, DAY_MS)
        folded = self.days.get(origin, {})
        spans = folded if day in folded else self.fine.setdefault(origin, {})
        _widen(spans, day if day in folded else begin, span)

    def fold_up(self, watermark_ms: int) -> None:
        """Fold the five-minute spans of days long past into one span a day."""
        until = floor_to(watermark_ms - FINE_DAYS * DAY_MS, DAY_MS)
        for origin, spans in self.fine.items():
            for begin in [begin for begin in spans if begin < until]:
                _widen(self.days.setdefault(origin, {}), floor_to(begin, DAY_MS), spans.pop(begin))

    def between(self, start_ms: int, end_ms: int, due_ms: int) -> Found:
        """Return where the predictions made in a span of time lie, as asked when it was read."""
        out: Found = {}
        since, until = floor_to(start_ms, DAY_MS), end_ms
        if due_ms - until > (FINE_DAYS - 1) * DAY_MS:
            until = floor_to(until + DAY_MS - 1, DAY_MS)
        for origin in sorted(self.fine.keys() | self.days.keys(), key=lambda each: (each.topic, each.partition)):
            among = [span for begin, span in self.days.get(origin, {}).items() if since <= begin < until]
            among += [span for begin, span in self.fine.get(origin, {}).items() if since <= begin < until and begin + FINE_MS <= due_ms]
            if among:
                whole = min(low for low, _ in among), max(high for _, high in among)
                out.setdefault(origin.topic, {})[str(origin.partition)] = whole
        return out

    def to_state(self) -> list[Any]:
        """Return the state as plain values."""
        return [
            [
                [o.topic, o.topic_id, o.partition, [[begin, *span] for begin, span in sorted(by.items())]]
                for o, by in sorted(spans.items(), key=_place)
            ]
            for spans in (self.fine, self.days)
        ]

    @classmethod
    def from_state(cls, state: list[Any]) -> "Spans":
        """Return the spans that ``to_state`` wrote."""
        fine, days = ({Origin(*o): {begin: (low, high) for begin, low, high in by} for *o, by in part} for part in state)
        return cls(fine, days)


def spans_of(code: Ints, predicted_at: Ints, offset: Ints) -> Iterator[tuple[int, int, Span]]:
    """Yield the span of offsets by code and five minutes.

    >>> list(spans_of(np.array([1, 1, 1]), np.array([0, 300_001, 5]), np.array([7, 8, 9])))
    [(1, 0, (7, 9)), (1, 300000, (8, 8))]
    """
    starts, start = distinct(predicted_at // FINE_MS)
    found, which = distinct(code.astype(np.int64) * len(starts) + start)
    low, high = np.full(len(found), np.iinfo(np.int64).max), np.full(len(found), np.iinfo(np.int64).min)
    np.minimum.at(low, which, offset)
    np.maximum.at(high, which, offset)
    columns = (found // max(len(starts), 1), starts[found % max(len(starts), 1)] * FINE_MS, low, high)
    for each, begin, first, last in zip(*(column.tolist() for column in columns), strict=True):
        yield each, begin, (first, last)


def _widen(spans: dict[int, Span], begin: int, span: Span) -> None:
    low, high = spans.get(begin, span)
    spans[begin] = min(low, span[0]), max(high, span[1])


def _place(item: tuple[Origin, dict[int, Span]]) -> tuple[str, int]:
    return item[0].topic, item[0].partition
