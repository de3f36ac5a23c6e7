"""What a watch has read of its sources: which records are new, which topic they are of, and how far event time has come."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from detectors.fixed import Ints
from schemas.scored import Forwarded, Origin, Rows, Tick

SOURCES = ("predictions", "outcomes")  # topics that the watch's time waits for

Mark = tuple[int, int]  # offset, index in the message
_NOTHING: Mark = (-1, -1)
_LAST = 2**31 - 1  # index in a message
_FEW = 64  # rows


class SourceRecreatedError(Exception):
    """A source topic was created anew: its offsets begin again, so nothing of it can be told from what was counted already."""


class Sources:
    """The marks below which everything has been counted, per source partition and model, and the time of each source partition.

    A tick says up to where all rows of a source partition have come. That is one mark for all models, so marks of models are kept only
    from one tick to the next: however many model ids come, real or made up, they fill no memory.

    Examples
    --------
    >>> sources = Sources()
    >>> ends = [(Origin("predictions", "x", 0), 90), (Origin("outcomes", "y", 0), 80)]
    >>> sources.tick(Tick({"predictions": 1, "outcomes": 1}, ends, 0))
    >>> sources.time_ms()
    80

    """

    def __init__(self) -> None:
        self.marks: dict[Origin, dict[str, Mark]] = {}  # by model, above the floor
        self.floors: dict[Origin, Mark] = {}  # of all models
        self.control_marks: dict[Origin, Mark] = {}  # apart: rows that count dead letters of the topic come before what was forwarded
        self.highs: dict[tuple[str, int], int] = {}  # greatest event time by source partition
        self.partitions: dict[str, int] = {}
        self.topic_ids: dict[str, str] = {}

    def fresh(self, rows: Rows) -> Ints:
        """Return which rows are above their origin's mark, and move the marks; a message is held against them as they stood before it.

        Raises
        ------
        SourceRecreatedError
            If a source topic has another id than before.

        """
        for each in rows.origins:
            self.known(each)
        origin, offset, index = rows.column("origin"), rows.column("offset"), rows.column("index")
        marks = [self._mark(rows.model_id, each) for each in rows.origins]
        if rows.n <= _FEW:
            return self._fresh_of_few(rows, marks, zip(origin.tolist(), offset.tolist(), index.tolist(), strict=True))
        if len(marks) == 1 and int(offset.min()) > marks[0][0]:  # the rule, of one source partition
            last = offset.max()
            self.marks.setdefault(rows.origins[0], {})[rows.model_id] = int(last), int(index[offset == last].max())
            return np.arange(rows.n)
        edges = np.array(marks, dtype=np.int64).reshape(-1, 2).T
        old = edges[0].take(origin)
        if (offset > old).all():
            where = np.arange(rows.n)
            self._move(rows, origin, offset, index)
            return where
        where = np.flatnonzero((offset > old) | ((offset == old) & (index > edges[1].take(origin))))
        self._move(rows, origin[where], offset[where], index[where])
        return where

    def _fresh_of_few(self, rows: Rows, marks: list[Mark], places: Iterable[tuple[int, int, int]]) -> Ints:
        """Do as ``fresh`` does; for few rows a call on columns costs more than a walk through them."""
        moved: dict[int, Mark] = {}
        where = []
        for at, (origin, *place) in enumerate(places):
            mark = (place[0], place[1])
            if mark > marks[origin]:
                where.append(at)
                if mark > moved.get(origin, marks[origin]):
                    moved[origin] = mark
        for origin in sorted(moved):  # in the order in which ``_move`` goes
            self.marks.setdefault(rows.origins[origin], {})[rows.model_id] = moved[origin]
        return np.array(where, dtype=np.int64)

    def _move(self, rows: Rows, origin: Ints, offset: Ints, index: Ints) -> None:
        """Move the mark of each origin to the last of its rows."""
        last, within = (np.full(len(rows.origins), -1, dtype=np.int64) for _ in range(2))
        origin = origin.astype(np.int64)
        np.maximum.at(last, origin, offset)
        at = np.flatnonzero(offset == last.take(origin))
        np.maximum.at(within, origin[at], index[at].astype(np.int64))
        for each, *mark in zip(rows.origins, last.tolist(), within.tolist(), strict=True):
            if mark[1] >= 0:
                self.marks.setdefault(each, {})[rows.model_id] = mark[0], mark[1]

    def _mark(self, model_id: str, origin: Origin) -> Mark:
        """Return the mark of a model: what is not above it has been counted."""
        marks = self.marks.get(origin)
        mark = None if marks is None else marks.get(model_id)
        return self.floors.get(origin, _NOTHING) if mark is None else mark

    def _done(self, origin: Origin, offset: int) -> None:
        """Raise the floor of a source partition over an offset; marks below it say nothing any more."""
        floor = offset, _LAST
        if floor <= self.floors.get(origin, _NOTHING):
            return
        self.floors[origin] = floor
        above = {model_id: mark for model_id, mark in self.marks.pop(origin, {}).items() if mark > floor}
        if above:
            self.marks[origin] = above

    def is_new(self, forwarded: Forwarded) -> bool:
        """Say whether a control record has not been read before, and move its mark; raises as ``fresh``."""
        self.known(forwarded.origin)
        mark = forwarded.offset, forwarded.index
        if mark <= self.control_marks.get(forwarded.origin, _NOTHING):
            return False
        self.control_marks[forwarded.origin] = mark
        return True

    def tick(self, tick: Tick) -> None:
        """Take how far the sources have come; never back. Raises as ``fresh``."""
        for topic, count in tick.partitions.items():
            self.partitions[topic] = max(count, self.partitions.get(topic, 0))
        for origin, high in tick.highs:
            self.known(origin)
            place = origin.topic, origin.partition
            self.highs[place] = max(high, self.highs.get(place, high))
        for origin, offset in tick.done:
            self.known(origin)
            self._done(origin, offset)

    def time_ms(self) -> int | None:
        """Return the event time that all source partitions have come to; None: one has said nothing yet."""
        if not all(topic in self.partitions for topic in SOURCES):
            return None
        places = [(topic, partition) for topic in SOURCES for partition in range(self.partitions[topic])]
        if any(place not in self.highs for place in places):
            return None
        return min(self.highs[place] for place in places)

    def forget(self, topic: str) -> None:
        """Forget which topic a source was, and how far its event time had come: the one that is read next is taken for the right one.

        What was counted of the old one stays counted; its marks hold for it alone.
        """
        self.topic_ids.pop(topic, None)
        self.partitions.pop(topic, None)
        self.highs = {place: high for place, high in self.highs.items() if place[0] != topic}

    def known(self, origin: Origin) -> None:
        """Hold which topic a record is of against which it was before; raises as ``fresh``."""
        known = self.topic_ids.setdefault(origin.topic, origin.topic_id)
        if known != origin.topic_id:
            raise SourceRecreatedError(
                f"expected records of {origin.topic} with topic id {known}, got id {origin.topic_id}: the topic was created anew; "
                "start under a new prefix, or reset the state"
            )

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values."""
        return {
            "marks": [[*_plain(origin), [[model_id, *mark] for model_id, mark in marks.items()]] for origin, marks in self.marks.items()],
            "floors": [[*_plain(origin), *mark] for origin, mark in self.floors.items()],
            "control_marks": [[*_plain(origin), *mark] for origin, mark in self.control_marks.items()],
            "highs": [[topic, partition, high] for (topic, partition), high in self.highs.items()],
            "partitions": self.partitions,
            "topic_ids": self.topic_ids,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        self.marks = {
            Origin(*origin): {model_id: (offset, index) for model_id, offset, index in marks} for *origin, marks in state["marks"]
        }
        self.floors = {Origin(*origin): (offset, index) for *origin, offset, index in state["floors"]}
        self.control_marks = {Origin(*origin): (offset, index) for *origin, offset, index in state["control_marks"]}
        self.highs = {(topic, partition): high for topic, partition, high in state["highs"]}
        self.partitions, self.topic_ids = dict(state["partitions"]), dict(state["topic_ids"])


def _plain(origin: Origin) -> list[Any]:
    return [origin.topic, origin.topic_id, origin.partition]
