"""The join as one pure object: source batches in, scored rows out. Agents, embedded mode and reference sets drive it.

It takes two steps, with the pending table between them: ``prepare`` reads, checks and packs; the table says what came before each record;
``finish`` applies the rule. Neither knows a clock, and only the table does input and output::

    prepared = joiner.prepare(batches)
    joined = joiner.finish(prepared, await table.exchange(prepared.lookups))

What comes out is the same whenever the same source records are joined again, in whatever batches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from detectors.bulk_packing import Packed, pack_outcomes, pack_predictions, shaped
from detectors.contexts import UNREADABLE, Contexts
from detectors.intake import Intake, Messages, Refused, SourceBatch, order_of, refuse
from detectors.join_columns import Unusual, join_usual
from detectors.join_rows import Row
from detectors.join_rule import rule
from detectors.keys import Keys, PlainKeys
from detectors.pending import MAX_BYTES, MAX_ENTRIES, Logs, Lookups, entries_of, origin_prefix
from detectors.policy_record import read_policy
from detectors.scored_rows import RowsBuilder
from detectors.shapes import Shapes
from schemas.codec import LIMITS, Fault, Limits, Reason, decode_records, encode
from schemas.control import Control, ControlType
from schemas.dead_letter import DeadLetter, dead_letter
from schemas.fields import epoch_ms, rfc3339
from schemas.outcome import Outcome
from schemas.policy import Policy, PolicyError
from schemas.policy_models import ModelPolicy
from schemas.prediction import Prediction
from schemas.scored import Forwarded, Origin, Rows, Status

DAY_MS = 86_400_000
KINDS: dict[str, type[Prediction] | type[Outcome] | type[Control]] = {"predictions": Prediction, "outcomes": Outcome, "control": Control}

MOST_TOLD = 2_000  # characters of what is wrong with a policy
_MAX_HELD = 10_000
_DEAD_LETTER = Row("", status=int(Status.DEAD_LETTER))
_LOG_FULL = f"Expected at most {MAX_ENTRIES} records and {MAX_BYTES} bytes of them for one request"


@dataclass
class Prepared:
    """What a set of batches asks of the pending table, and what is known without it."""

    origins: list[Origin] = field(default_factory=list)  # of the batches
    lookups: Lookups = field(default_factory=Lookups)
    packed: list[Packed] = field(default_factory=list)  # the lookups', in their order
    contexts: Contexts = field(default_factory=Contexts)
    refused: list[Refused] = field(default_factory=list)
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
        Key of the hash that hides request ids; the same for the life of the table. None: they are not hidden, for a table in memory.
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
        secret: bytes | None,
        limits: Limits = LIMITS,
        *,
        max_skew_ms: int = DAY_MS,
        max_age_ms: int | None = None,
        outage_ms: int = 0,
        keep_payload: bool = False,
        max_rows: int = 8_000,
    ) -> None:
        self._policy = policy
        self._key = PlainKeys() if secret is None else Keys(secret)
        self._limits = limits
        self._intake = Intake(limits, max_skew_ms)
        self._max_age_ms = max_age_ms
        self._outage_ms = outage_ms
        self._keep_payload = keep_payload
        self._max_rows = max_rows
        self._held: dict[str, tuple[ModelPolicy, int]] = {}
        self._shapes = Shapes(self._hold)
        ttls = [self.ttl_ms(model) for model in ("", *policy.models)]
        self._longest_ttl_ms = max(ttls) if all(ttls) else 0

    def ttl_ms(self, model_id: str | None) -> int:
        """Return how long the log of a model's prediction is kept; None: of whichever model's; 0: for ever."""
        if model_id is None:
            return self._longest_ttl_ms
        policy = self._policy.for_model(model_id)
        kept = self._max_age_ms if policy.horizon_ms is None else policy.horizon_ms
        return 0 if kept is None else kept + policy.lateness_ms + self._outage_ms

    def prepare(self, batches: Sequence[SourceBatch], *, framed: bool = True) -> Prepared:
        """Decode and check batches; those of one source partition in their order.

        Unless ``framed``, lookups have keys alone: for whoever makes the frames of few, see ``Packed``.

        Raises
        ------
        ValueError
            If a batch is of a topic that the join does not read. What records hold never raises.

        """
        if self._shapes.full():
            self._shapes = Shapes(self._hold)
        prepared = Prepared([batch.origin for batch in batches], contexts=self._shapes.contexts)
        for batch in batches:
            if batch.origin.topic not in KINDS:
                raise ValueError(f"expected a batch of {', '.join(KINDS)}, got {batch.origin.topic!r}")
        sources = np.frombuffer(b"".join(map(origin_prefix, prepared.origins)), dtype="V6")
        begin = 0
        for position, batch in enumerate(batches):
            if batch.origin.topic == "control":
                self._forward(prepared, position, batch, begin)
            begin += len(batch.values)
        for topic in ("predictions", "outcomes"):
            chosen = [i for i, batch in enumerate(batches) if batch.origin.topic == topic]
            if chosen:
                for read in Messages.of(KINDS[topic], batches, chosen).blocks():
                    self._take(prepared, read, sources, framed=framed)
        return prepared

    def finish(self, prepared: Prepared, logs: Logs) -> Joined:
        """Apply the rule to what the table answered.

        Raises
        ------
        ValueError
            If there is not one answer per lookup. What entries hold never raises.

        """
        if len(logs) != len(prepared.lookups):
            raise ValueError(f"expected {len(prepared.lookups)} answers of the pending table, got {len(logs)}")
        begin = 0

        def rows_of(packed: Packed, builder: RowsBuilder) -> list[Unusual]:
            nonlocal begin
            begin += len(packed)
            return join_usual(packed, logs.part(begin - len(packed), begin), prepared.contexts, builder)

        return self.assemble(prepared, rows_of)

    def assemble(self, prepared: Prepared, rows_of: Callable[[Packed, RowsBuilder], list[Unusual]]) -> Joined:
        """Put the rows together.

        ``rows_of`` is called for all that was packed, in its order; it adds the rows of the usual ones, and returns the others.
        """
        builder = RowsBuilder(prepared.origins, prepared.contexts.names, self._max_rows)
        refused = list(prepared.refused)
        for packed in prepared.packed:
            arrivals = packed.arrivals
            for i, log in rows_of(packed, builder):
                order, batch, offset, element = arrivals.place(i)
                rows, fault = _apply(log, element)
                if fault is None:
                    builder.add(order, batch, offset, element, rows)
                else:
                    refused.append(Refused(order, batch, offset, int(arrivals.kafka_ms[i]), arrivals.raws[i], fault))
        refused.sort(key=lambda each: each.order)
        for each in refused:
            builder.add(each.order, each.batch, each.offset, each.fault.index, [_DEAD_LETTER])
        letters = [self._letter(prepared.origins[each.batch], each) for each in refused]
        return Joined(builder.build(), prepared.forwarded, letters, prepared.highs)

    def _forward(self, prepared: Prepared, position: int, batch: SourceBatch, begin: int) -> None:
        """Take control records: they go on as they were understood, nulls left out.

        A policy with a fault goes on, too: the watch refuses it whole and writes that down; here it is a dead letter, for people to see.
        """
        places = zip(np.asarray(batch.offsets).tolist(), np.asarray(batch.timestamps).tolist(), batch.values, strict=True)
        for i, (offset, at_ms, value) in enumerate(places, begin):
            for element, record, raw in decode_records(value, Control, self._limits):
                if isinstance(record, Fault):
                    prepared.refused.append(Refused(order_of(i, element), position, offset, at_ms, raw, record))
                else:
                    prepared.forwarded.append(Forwarded(batch.origin, offset, element, encode(record)))
                    fault = _unusable(record, element)
                    if fault is not None:
                        prepared.refused.append(Refused(order_of(i, element), position, offset, at_ms, raw, fault))

    def _take(self, prepared: Prepared, read: Messages, sources: Any, *, framed: bool) -> None:
        """Take predictions or outcomes: what is readable is packed for the table."""
        arrivals = self._intake.read(read, prepared.refused)
        if not arrivals.records:
            return
        if read.kind is Outcome:
            packed = pack_outcomes(arrivals, sources, self.ttl_ms)
        else:
            what = shaped(arrivals, self._hold, self._shapes)
            unread = np.flatnonzero(self._shapes.column("context", what.codes) == UNREADABLE).tolist()
            if unread:
                arrivals = refuse(prepared.refused, arrivals, {i: self._intake.fault(arrivals, i) for i in unread})
                if not arrivals.records:
                    return
                what = shaped(arrivals, self._hold, self._shapes)
            packed = pack_predictions(arrivals, sources, what, self._shapes)
        prepared.packed.append(packed)
        rows = arrivals.column("row") if arrivals.held(["row"]) else ()
        prepared.lookups.keys += self._key.many([record.request_id for record in arrivals.records], rows)
        if framed:
            prepared.lookups.frames += packed.frames.made()
            prepared.lookups.ttls_ms += packed.ttls_ms.tolist()
        starts = np.flatnonzero(np.concatenate(([True], arrivals.batch[1:] != arrivals.batch[:-1])))
        for position, high in zip(arrivals.batch[starts].tolist(), np.maximum.reduceat(arrivals.at_ms, starts).tolist(), strict=True):
            origin = prepared.origins[position]
            prepared.highs[origin] = max(high, prepared.highs.get(origin, high))

    def _hold(self, model_id: str) -> tuple[ModelPolicy, int]:
        held = self._held.get(model_id)
        if held is None:
            held = self._policy.for_model(model_id), self.ttl_ms(model_id)
            if len(self._held) < _MAX_HELD:  # a name per request would fill the memory
                self._held[model_id] = held
        return held

    def _letter(self, origin: Origin, refused: Refused) -> DeadLetter:
        return dead_letter(
            refused.fault,
            refused.raw,
            topic=origin.topic,
            partition=origin.partition,
            offset=refused.offset,
            at_ms=refused.at_ms,
            keep_payload=self._keep_payload,
        )


def _unusable(record: Control, element: int) -> Fault | None:
    if record.type != ControlType.POLICY:
        return None
    try:
        read_policy(record)
    except PolicyError as error:
        text = f"The policy of {record.by}, {rfc3339(epoch_ms(record.at))}, is refused whole: {'; '.join(error.faults)}"
        return Fault(element, Reason.INVALID_VALUE, text[:MOST_TOLD])
    return None


def _apply(log: bytes | None, index: int) -> tuple[list[Row], Fault | None]:
    if not log:
        return [], Fault(index, Reason.LOG_FULL, _LOG_FULL)
    try:
        *prefix, entry = entries_of(log)
        return rule(prefix, entry), None
    except (msgspec.MsgspecError, ValueError):
        return [], Fault(index, Reason.MALFORMED, "Expected an entry of the pending table, got bytes that are none")
