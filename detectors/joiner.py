"""The join as one pure object: source batches in, scored rows out. The agents, the replay and the embedded mode all drive this one.

It takes two steps, with the pending table between them: ``prepare`` reads, checks and packs; the table says what came before each record;
``finish`` applies the rule. Neither knows a clock, and only the table does input and output::

    prepared = joiner.prepare(batches)
    joined = joiner.finish(prepared, await table.exchange(prepared.lookups))

What comes out is the same whenever the same source records are joined again, in whatever batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from detectors.entries import Keys, pack_outcome, pack_prediction
from detectors.join_rows import Row
from detectors.join_rule import rule
from detectors.pending import MAX_BYTES, MAX_ENTRIES, MAX_INDEX, Lookup, Prefixes, origin_prefix, record_origin
from detectors.scored_rows import RowsBuilder
from schemas.codec import LIMITS, Fault, Limits, Reason, decode_records, encode
from schemas.control import Control
from schemas.dead_letter import DeadLetter, dead_letter
from schemas.fields import epoch_ms
from schemas.outcome import Outcome
from schemas.policy import Policy
from schemas.policy_models import ModelPolicy
from schemas.prediction import Prediction
from schemas.scored import Forwarded, Origin, Rows, Status

DAY_MS = 86_400_000
KINDS: dict[str, type[Prediction] | type[Outcome] | type[Control]] = {"predictions": Prediction, "outcomes": Outcome, "control": Control}

_MAX_HELD = 10_000
_DEAD_LETTER = Row("", status=int(Status.DEAD_LETTER))
_LOG_FULL = f"Expected at most {MAX_ENTRIES} records and {MAX_BYTES} bytes of them for one request"


@dataclass(frozen=True)
class SourceBatch:
    """Consecutive records of one source partition. The three lists have equal length; a value of None is a tombstone."""

    origin: Origin  # its topic is the logical name: predictions, outcomes or control
    offsets: Sequence[int]
    timestamps: Sequence[int]  # of the Kafka records, epoch ms
    values: Sequence[bytes | None]


class Source(NamedTuple):
    """Where a record stood, and what is wrong with it, if anything."""

    batch: int
    offset: int
    element: int  # index in the message
    at_ms: int  # the Kafka record's timestamp
    raw: bytes
    fault: Fault | None = None


@dataclass
class Prepared:
    """What a set of batches asks of the pending table, and what is known without it."""

    origins: list[Origin] = field(default_factory=list)  # of the batches
    lookups: list[Lookup] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)  # in source order; those without a fault are the lookups', in their order
    forwarded: list[Forwarded] = field(default_factory=list)
    highs: dict[Origin, int] = field(default_factory=dict)  # greatest event time, epoch ms


@dataclass(frozen=True)
class Joined:
    """What a set of batches gave."""

    rows: list[Rows]  # by model; to be produced in this order
    forwarded: list[Forwarded]  # control records for the watch
    dead_letters: list[DeadLetter]
    highs: dict[Origin, int]  # greatest event time per source partition, epoch ms


class Joiner:
    """Joins predictions with their outcomes.

    Parameters
    ----------
    policy
        What entries and times to live are made by. For another policy make another joiner.
    secret
        Key of the hash that hides request ids; the same for the life of the table.
    limits
        Of source messages.
    max_skew_ms
        How far an event time may lie after its Kafka record's timestamp; beyond, the record is a dead letter.
    max_age_ms
        How long logs are kept where the policy sets no horizon; None: for ever.
    outage_ms
        The longest outage to survive: added to how long logs are kept.
    keep_payload
        Whether dead letters hold the bytes of what was refused.

    Examples
    --------
    >>> from detectors.pending import DictTable
    >>> joiner, table = Joiner(Policy(), b"secret"), DictTable()
    >>> made = b'{"request_id": "a", "model_id": "m", "model_version": "1", "timestamp": 5, "score": 0.9}'
    >>> known = b'{"request_id": "a", "timestamp": 9, "true_label": 1}'
    >>> prepared = joiner.prepare([
    ...     SourceBatch(Origin("predictions", "x", 0), [0], [5], [made]),
    ...     SourceBatch(Origin("outcomes", "y", 0), [0, 1], [9, 9], [known, b"{"]),
    ... ])
    >>> joined = joiner.finish(prepared, table.exchange_now(prepared.lookups))
    >>> [(rows.model_id, rows.n, rows.column("kind").tolist()) for rows in joined.rows]
    [('', 1, [0]), ('m', 2, [1, 2])]
    >>> [letter.reason.value for letter in joined.dead_letters], list(joined.highs.values())
    (['malformed'], [5, 9])

    """

    def __init__(
        self,
        policy: Policy,
        secret: bytes,
        limits: Limits = LIMITS,
        *,
        max_skew_ms: int = DAY_MS,
        max_age_ms: int | None = None,
        outage_ms: int = 0,
        keep_payload: bool = False,
        max_rows: int = 8_000,
    ) -> None:
        self._policy = policy
        self._key = Keys(secret)
        self._limits = limits
        self._max_skew_ms = max_skew_ms
        self._max_age_ms = max_age_ms
        self._outage_ms = outage_ms
        self._keep_payload = keep_payload
        self._max_rows = max_rows
        self._prefixes: dict[Origin, bytes] = {}
        self._held: dict[str, tuple[ModelPolicy, int]] = {}
        ttls = [self.ttl_ms(model) for model in ("", *policy.models)]
        self._longest_ttl_ms = max(ttls) if all(ttls) else 0

    def ttl_ms(self, model_id: str) -> int:
        """Return how long the log of a model's prediction is kept; 0: for ever."""
        policy = self._policy.for_model(model_id)
        kept = self._max_age_ms if policy.horizon_ms is None else policy.horizon_ms
        return 0 if kept is None else kept + policy.lateness_ms + self._outage_ms

    def prepare(self, batches: Sequence[SourceBatch]) -> Prepared:
        """Decode and check batches; those of one source partition in their order.

        Raises
        ------
        ValueError
            If a batch is of a topic that the join does not read. What records hold never raises.

        """
        prepared = Prepared()
        for batch in batches:
            kind = KINDS.get(batch.origin.topic)
            if kind is None:
                raise ValueError(f"expected a batch of {', '.join(KINDS)}, got {batch.origin.topic!r}")
            position = len(prepared.origins)
            prepared.origins.append(batch.origin)
            for offset, at_ms, value in zip(batch.offsets, batch.timestamps, batch.values, strict=True):
                for element, record, raw in decode_records(value, kind, self._limits):
                    source = Source(position, offset, element, at_ms, raw)
                    fault = record if isinstance(record, Fault) else self._take(prepared, source, record)
                    if fault is not None:
                        source = source._replace(fault=fault)
                    if fault is not None or kind is not Control:
                        prepared.sources.append(source)
        return prepared

    def finish(self, prepared: Prepared, prefixes: Prefixes) -> Joined:
        """Apply the rule to what the table answered.

        Raises
        ------
        ValueError
            If there is not one answer per lookup. What entries hold never raises.

        """
        if len(prefixes) != len(prepared.lookups):
            raise ValueError(f"expected {len(prepared.lookups)} answers of the pending table, got {len(prefixes)}")
        builder = RowsBuilder(self._max_rows)
        places = [builder.origin(origin) for origin in prepared.origins]
        letters: list[DeadLetter] = []
        answers = iter(prefixes)
        for source in prepared.sources:
            rows, fault = ([], source.fault) if source.fault is not None else _apply(next(answers), source.element)
            if fault is not None:
                letters.append(self._letter(prepared.origins[source.batch], source, fault))
                rows = [_DEAD_LETTER]
            builder.add(places[source.batch], source.offset, source.element, rows)
        return Joined(builder.build(), prepared.forwarded, letters, prepared.highs)

    def _take(self, prepared: Prepared, source: Source, record: Prediction | Outcome | Control) -> Fault | None:
        """Add one readable record to what is prepared, or return why it cannot be."""
        batch, offset, index, at_ms, raw, _ = source
        origin = prepared.origins[batch]
        if isinstance(record, Control):
            prepared.forwarded.append(Forwarded(origin, offset, index, encode(record)))  # as it was understood, nulls left out
            return None
        event_ms = epoch_ms(record.timestamp)
        if event_ms > at_ms + self._max_skew_ms:
            ahead = f"got one {event_ms - at_ms} ms after it - at `$.timestamp`"
            return Fault(index, Reason.TOO_FAR_AHEAD, f"Expected a time at most {self._max_skew_ms} ms after the record's own, {ahead}")
        if index > MAX_INDEX:
            return Fault(index, Reason.TOO_MANY_RECORDS, f"Expected at most {MAX_INDEX + 1} records in a message")
        try:
            if isinstance(record, Prediction):
                policy, ttl_ms = self._held.get(record.model_id) or self._hold(record.model_id)
                entry = pack_prediction(record, raw, policy, event_ms)
            else:
                entry = pack_outcome(record, raw, event_ms)
                ttl_ms = self._longest_ttl_ms if record.model_id is None else self.ttl_ms(record.model_id)
            key = self._key(record.request_id, record.row)
        except (ValueError, OverflowError) as error:
            return Fault(index, Reason.OUT_OF_RANGE, f"Expected values that fit an entry, got {type(error).__name__}")
        prefix = self._prefixes.get(origin)
        if prefix is None:
            prefix = self._prefixes[origin] = origin_prefix(origin)
        prepared.lookups.append(Lookup(key, record_origin(prefix, offset, index), entry, ttl_ms))
        if event_ms > prepared.highs.get(origin, event_ms - 1):
            prepared.highs[origin] = event_ms
        return None

    def _hold(self, model_id: str) -> tuple[ModelPolicy, int]:
        held = self._policy.for_model(model_id), self.ttl_ms(model_id)
        if len(self._held) < _MAX_HELD:  # a name per request would fill the memory
            self._held[model_id] = held
        return held

    def _letter(self, origin: Origin, source: Source, fault: Fault) -> DeadLetter:
        return dead_letter(
            fault,
            source.raw,
            topic=origin.topic,
            partition=origin.partition,
            offset=source.offset,
            at_ms=source.at_ms,
            keep_payload=self._keep_payload,
        )


def _apply(prefix: list[bytes] | None, index: int) -> tuple[list[Row], Fault | None]:
    if not prefix:
        return [], Fault(index, Reason.LOG_FULL, _LOG_FULL)
    try:
        return rule(prefix[:-1], prefix[-1]), None
    except (msgspec.MsgspecError, ValueError):
        return [], Fault(index, Reason.MALFORMED, "Expected an entry of the pending table, got bytes that are none")
