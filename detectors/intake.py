"""What comes in: messages of the source topics, decoded and checked; what cannot be joined is refused, record by record."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import numpy as np

from detectors.arrivals import Arrivals
from detectors.bulk_packing import RAW, USUAL
from detectors.fixed import Ints
from detectors.pending import MAX_INDEX
from schemas.bulk import decode_many
from schemas.codec import Fault, Limits, Reason, decode_records
from schemas.prediction import Prediction
from schemas.scored import Origin

_ELEMENT_BITS = 20
_BLOCK = 8_192  # messages


@dataclass(frozen=True)
class SourceBatch:
    """Consecutive records of one source partition. The three lists have equal length; a value of None is a tombstone."""

    origin: Origin  # its topic is the logical name: predictions, outcomes or control
    offsets: Sequence[int] | Ints
    timestamps: Sequence[int] | Ints  # of the Kafka records, epoch ms
    values: Sequence[bytes | None]


class Refused(NamedTuple):
    """A record that cannot be joined: where it stood, its Kafka timestamp and its bytes, and what is wrong with it."""

    order: int
    batch: int
    offset: int
    at_ms: int
    raw: bytes
    fault: Fault


class Messages(NamedTuple):
    """The messages of one kind, n of them, and where each stood; arrays of shape (n,)."""

    kind: type[Any]
    values: Sequence[bytes | None]
    number: Ints  # among all messages that are joined together
    batch: Ints
    offset: Ints
    kafka_ms: Ints

    @classmethod
    def of(cls, kind: type[Any], batches: Sequence[SourceBatch], chosen: Sequence[int]) -> "Messages":
        """Return the messages of the chosen batches, in their order."""
        counts = [len(batch.values) for batch in batches]
        begins = np.cumsum([0, *counts])
        return cls(
            kind,
            batches[chosen[0]].values if len(chosen) == 1 else list(chain.from_iterable([batches[i].values for i in chosen])),
            np.concatenate([np.arange(begins[i], begins[i + 1]) for i in chosen]),
            np.repeat(chosen, [counts[i] for i in chosen]),
            np.concatenate([np.asarray(batches[i].offsets, dtype=np.int64) for i in chosen]),
            np.concatenate([np.asarray(batches[i].timestamps, dtype=np.int64) for i in chosen]),
        )

    def blocks(self) -> Iterator["Messages"]:
        """Yield the messages in parts that a processor's cache holds, with all that is made of them."""
        for begin in range(0, len(self.values), _BLOCK):
            part = slice(begin, begin + _BLOCK)
            yield Messages(self.kind, self.values[part], self.number[part], self.batch[part], self.offset[part], self.kafka_ms[part])


class Intake:
    """Reads messages of one kind.

    Parameters
    ----------
    limits
        Of source messages.
    max_skew_ms
        How far an event time may lie after its Kafka record's timestamp.

    """

    def __init__(self, limits: Limits, max_skew_ms: int) -> None:
        self._limits, self._max_skew_ms = limits, max_skew_ms

    def read(self, messages: Messages, refused: list[Refused]) -> Arrivals:
        """Return the records that can be joined; add the others to ``refused``."""
        return self._timely(self._readable(messages, refused), refused)

    def _readable(self, read: Messages, refused: list[Refused]) -> Arrivals:
        """Decode messages of one kind, and refuse what is no record of it."""
        kind = read.kind
        bulk = decode_many(read.values, kind, self._limits, raw=RAW if kind is Prediction else (), usual=USUAL[kind])
        message, element = bulk.messages, bulk.elements
        number, batch, offset, kafka_ms = (column[message] for column in read[2:])
        arrivals = Arrivals(bulk.records, bulk.raws, order_of(number, element), batch, offset, element, kafka_ms, bulk.kinds)
        doubtful = self._doubtful(arrivals, kind)
        if doubtful:
            records = list(bulk.records)
            for i in doubtful:
                [(_, record, _)] = decode_records(bulk.raws[i], kind, self._limits)
                records[i] = msgspec.structs.replace(record, index=int(element[i])) if isinstance(record, Fault) else record
            arrivals = replace(arrivals, records=records, kinds=frozenset(map(type, records)))
        faults = {i: record for i, record in enumerate(arrivals.records) if type(record) is Fault} if Fault in arrivals.kinds else {}
        return refuse(refused, arrivals, faults)

    def _doubtful(self, arrivals: Arrivals, kind: type[Any]) -> list[int]:
        """Return which lean records need the checks across fields that a whole one makes."""
        plain = not arrivals.held([name for name in kind.__struct_fields__ if name not in USUAL[kind]])
        if plain and (None not in arrivals.scores if kind is Prediction else bool((arrivals.labels >= 0).all())):
            return []
        records = arrivals.records
        lean = [i for i, record in enumerate(records) if type(record) is not Fault and type(record) is not kind]
        if kind is Prediction:
            return [i for i in lean if not (_scored(records[i]) if records[i].score is not None else _valued(records[i]))]
        labels = arrivals.pick(lean).labels.tolist()
        return [i for i, label in zip(lean, labels, strict=True) if label < 0 and not _true(records[i])]

    def fault(self, arrivals: Arrivals, i: int) -> Fault:
        """Return what is wrong with a prediction whose subgroups cannot be read."""
        [(_, fault, _)] = decode_records(arrivals.raws[i], Prediction, self._limits)
        element = int(arrivals.element[i])
        if isinstance(fault, Fault):
            return msgspec.structs.replace(fault, index=element)
        return Fault(element, Reason.WRONG_TYPE, "Expected subgroups that can be read - at `$.subgroups`")

    def _timely(self, arrivals: Arrivals, refused: list[Refused]) -> Arrivals:
        """Refuse records of a time that is too far ahead, and those too far back in their message."""
        at_ms, faults = arrivals.at_ms, {}
        for i in np.flatnonzero(at_ms > arrivals.kafka_ms + self._max_skew_ms).tolist():
            ahead = f"got one {int(at_ms[i] - arrivals.kafka_ms[i])} ms after it - at `$.timestamp`"
            detail = f"Expected a time at most {self._max_skew_ms} ms after the record's own, {ahead}"
            faults[i] = Fault(int(arrivals.element[i]), Reason.TOO_FAR_AHEAD, detail)
        for i in np.flatnonzero(arrivals.element > MAX_INDEX).tolist():
            detail = f"Expected at most {MAX_INDEX + 1} records in a message"
            faults.setdefault(i, Fault(int(arrivals.element[i]), Reason.TOO_MANY_RECORDS, detail))
        return refuse(refused, arrivals, faults)


def refuse(refused: list[Refused], arrivals: Arrivals, faults: Mapping[int, Fault]) -> Arrivals:
    """Take note of faults by position among the arrivals; return the others."""
    if not faults:
        return arrivals
    for i, fault in faults.items():
        order, batch, offset, _ = arrivals.place(i)
        refused.append(Refused(order, batch, offset, int(arrivals.kafka_ms[i]), arrivals.raws[i], fault))
    return arrivals.pick([i for i in range(len(arrivals.records)) if i not in faults])


def order_of(message: Any, element: Any) -> Any:
    """Return the place of a record among all that are joined together; scalar or array."""
    return message << _ELEMENT_BITS | element


def _scored(record: Any) -> bool:
    """Say whether a prediction with a score needs no check across its fields."""
    return record.predicted_value is None and record.interval is None and type(record.predicted_label) is not float


def _valued(record: Any) -> bool:
    """Say so of one without a score: a predicted value alone."""
    return record.predicted_value is not None and record.predicted_label is None and not record.scores


def _true(record: Any) -> bool:
    """Say so of an outcome: one that holds a true value."""
    return record.true_value is not None and type(record.true_label) is not float and record.checks is None
