"""Readable records of one kind and where they stood: one by one, and by columns, each of which is made once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import Any

import msgspec
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
    raws: list[bytes]
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

    def column(self, name: str) -> Sequence[Any]:
        """Return a field of all records, n values."""
        values = self._columns.get(name)
        if values is None:
            values = self._columns[name] = [getattr(record, name) for record in self.records]
        return values

    @cached_property
    def _columns(self) -> dict[str, Sequence[Any]]:
        if len(self.kinds) > 1 or not self.records:
            return {}
        [kind] = self.kinds  # all fields in one go take a third of the time of one after another
        return dict(zip(kind.__struct_fields__, zip(*map(msgspec.structs.astuple, self.records), strict=True), strict=True))

    @cached_property
    def at_ms(self) -> Ints:
        """The event times, epoch ms, shape (n,)."""
        times = self.column("timestamp")
        try:
            return np.array(times, dtype=np.int64)
        except TypeError:  # some are RFC 3339
            return np.array(list(map(epoch_ms, times)), dtype=np.int64)

    @cached_property
    def labels(self) -> Ints:
        """The labels of outcomes that are a label 0 or 1 and nothing else; -1 of others. Shape (n,)."""
        labels = np.fromiter(map(_LABELS.get, self.column("true_label"), repeat(-1)), np.int64, len(self.records))
        for name in self.held(_BESIDE):
            column = self.column(name)
            if column.count(None) < len(column):
                labels[[value is not None for value in column]] = -1
        return labels
