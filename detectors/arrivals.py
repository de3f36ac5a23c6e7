"""Readable records of one kind and where they stood, with the columns that more than one step reads.

A column is a list of a record's field, written out where it is an ordinary one: ``getattr`` takes three times as long, and a tuple of each
record's fields would wake Python's collector of cycles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Any

import numpy as np

from detectors.fixed import Ints
from schemas.bulk import held_by
from schemas.fields import epoch_ms

_BESIDE = ("version", "model_id", "cost", "action_taken", "review_seconds", "value", "checks", "true_value")  # a label, in outcomes
_LABELS: dict[Any, int] = {0: 0, 1: 1}  # True and 1.0 are 1


@dataclass(frozen=True)
class Arrivals:
    """Readable records of one kind, n of them, and where they stood; arrays of shape (n,)."""

    records: list[Any]  # predictions or outcomes, or lean twins of them: see ``schemas.bulk``
    raws: Sequence[bytes]
    order: Ints  # among all records that are joined together
    batch: Ints
    offset: Ints
    element: Ints  # index in the message
    kafka_ms: Ints  # the Kafka record's timestamp
    kinds: frozenset[type[Any]]  # of the records, and perhaps of some that were among them

    def place(self, i: int) -> tuple[int, int, int, int]:
        """Return order, batch, offset and element of one of them."""
        return int(self.order[i]), int(self.batch[i]), int(self.offset[i]), int(self.element[i])

    def pick(self, chosen: list[int]) -> "Arrivals":
        """Return some of them."""
        records, raws = [self.records[i] for i in chosen], [self.raws[i] for i in chosen]
        order, batch, offset, element, kafka_ms = (
            column[chosen] for column in (self.order, self.batch, self.offset, self.element, self.kafka_ms)
        )
        return Arrivals(records, raws, order, batch, offset, element, kafka_ms, frozenset(map(type, records)))

    def held(self, names: Sequence[str]) -> list[str]:
        """Return which fields may hold something in some of the records."""
        return held_by(self.kinds, names)

    def column(self, name: str) -> list[Any]:
        """Return a field of all records, n values."""
        return [getattr(record, name) for record in self.records]

    @cached_property
    def scores(self) -> list[float | None]:
        """The scores of predictions, n values."""
        return [record.score for record in self.records]

    @cached_property
    def at_ms(self) -> Ints:
        """The event times, epoch ms, shape (n,)."""
        times = [record.timestamp for record in self.records]
        try:
            return np.array(times, dtype=np.int64)
        except TypeError:  # some are RFC 3339
            return np.array(list(map(epoch_ms, times)), dtype=np.int64)

    @cached_property
    def labels(self) -> Ints:
        """The labels of outcomes that are a label 0 or 1 and nothing else; -1 of others. Shape (n,)."""
        given = [record.true_label for record in self.records]
        labels = np.fromiter(map(_LABELS.get, given, repeat(-1)), np.int64, len(given))
        for name in self.held(_BESIDE):
            column = self.column(name)
            if column.count(None) < len(column):
                labels[[value is not None for value in column]] = -1
        return labels
