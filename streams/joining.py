"""The join worker's step: source batches to the pending table, to the rule, to the scored topic; then, and only then, it is done.

Faust, which calls it, is in ``streams.join``; the join itself, which is pure, in ``detectors.joiner``.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from detectors.intake import SourceBatch
from detectors.joiner import Joined, Joiner
from detectors.pending import PendingTable
from schemas.codec import encode as encode_json
from schemas.scored import Forwarded, Origin, Scored, encode
from streams.agent import Turn
from streams.batches import Batch
from streams.guard import Facts
from streams.policy_follow import PolicyFollower
from streams.producer import Message, scored_partition
from streams.retrying import retry
from streams.settings import Settings
from streams.ticks import Highs
from streams.topics import SCORED, SOURCES, TIMED

log = logging.getLogger(__name__)

CRASH_POINTS = ("read", "looked-up", "dead-lettered", "produced", "ticked")
PAST_MS = 86_400_000
TELL_AGAIN_S = 60.0
JSON = [("content-type", b"application/json")]


class Produces(Protocol):
    """Sends messages in order, and returns when all are confirmed."""

    async def produce(self, messages: Sequence[Message]) -> None:
        """Produce messages; raises if one is not delivered."""


class _About(msgspec.Struct):
    model_id: str | None = None


class Joining:
    """One step of the join after another, over all source partitions of a worker.

    Parameters
    ----------
    settings
        Names and intervals.
    joiner
        The join.
    table
        The pending table; retriable errors are waited out.
    producer
        Where rows, control records, ticks and dead letters go.
    crash
        Called with the name of each point at which a test may end the process: ``CRASH_POINTS``.
    policies
        Gives another joiner when another policy comes into force; None: the policy stays.

    """

    def __init__(
        self,
        settings: Settings,
        joiner: Joiner,
        table: PendingTable,
        producer: Produces,
        crash: Callable[[str], None],
        *,
        policies: PolicyFollower | None = None,
    ) -> None:
        self._joiner = joiner
        self._policies = policies
        self._table = table
        self._producer = producer
        self._crash = crash
        self._scored = settings.topic(SCORED)
        self._dead_letters = settings.topic("dead-letters")
        self._logical = {settings.topic(name): name for name in SOURCES}
        self._facts: Mapping[str, Facts] = {}
        self.highs = Highs(settings.idle_timeout_ms)
        self._told_at = float("-inf")

    def own(self, facts: Mapping[str, Facts], partitions: Iterable[tuple[str, int]]) -> None:
        """Begin with the partitions (topic in Kafka, number) of topics as Kafka describes them now."""
        self._facts = facts
        self.highs.own(self.origin(topic, partition) for topic, partition in partitions if self._logical.get(topic) in TIMED)

    def grown(self, facts: Mapping[str, Facts]) -> None:
        """Take note of new partition counts of the source topics."""
        self._facts = facts

    def origin(self, topic: str, partition: int) -> Origin:
        """Return what stands for a source partition in the rows."""
        name = self._logical[topic]
        return Origin(name, self._facts[name].topic_id, partition)

    async def step(self, batches: Sequence[Batch], turn: Turn | None = None) -> Joined:
        """Join batches; when it returns, everything they gave is confirmed by Kafka, and they may be acknowledged.

        Several steps may be under way: each awaits its ``turn`` before it produces, so that rows keep the order of their sources.
        Repeating it, whole or after a crash anywhere within, gives the same rows under the same origins.

        Raises
        ------
        StoreError, DeliveryError
            If the table or Kafka refuse for good: the batches must not be acknowledged.

        """
        self._crash("read")
        if self._policies is not None:
            self._joiner = await self._policies.joiner() or self._joiner
        joiner = self._joiner
        prepared = joiner.prepare([SourceBatch(self.origin(b.topic, b.partition), b.offsets, b.timestamps, b.values) for b in batches])
        logs = await retry("the pending table", lambda: self._table.exchange(prepared.lookups))
        self._crash("looked-up")
        if turn is not None:
            await turn()
        joined = joiner.finish(prepared, logs)
        # First, and confirmed: a row that counts a dead letter must not be there without it.
        await self._producer.produce([Message(self._dead_letters, None, None, encode_json(d), JSON) for d in joined.dead_letters])
        self._crash("dead-lettered")
        await self._producer.produce(
            [self._message(rows.model_id, rows) for rows in joined.rows]
            + [message for record in joined.forwarded for message in self._forward(record)]
        )
        self._crash("produced")
        if self._policies is not None and joined.forwarded:
            await self._policies.note(joined.forwarded)
        self._tell_of_the_past(joined.highs)
        self.highs.produced(joined.highs, {self.origin(b.topic, b.partition): int(b.offsets[-1]) for b in batches if len(b.offsets)})
        return joined

    def _tell_of_the_past(self, highs: Mapping[Origin, int]) -> None:
        """Say, once a minute at most, that records come from a time that has passed: ages that are over were judged without them."""
        now, known = time.monotonic(), self.highs.now()
        behind = {origin: known[origin] - high for origin, high in highs.items() if origin in known}
        worst = max(behind, key=lambda origin: behind[origin], default=None)
        if worst is None or behind[worst] < PAST_MS or now - self._told_at < TELL_AGAIN_S:
            return
        self._told_at = now
        log.warning(
            "%s[%d]: records are %.1f days older than event time has come to. They are counted in the figures, but ages that have passed "
            "are not judged again: send history before the workers start, or replay it",
            worst.topic,
            worst.partition,
            behind[worst] / PAST_MS,
        )

    async def tick(self) -> None:
        """Say how far event time has come, in every scored partition, after the rows that it covers."""
        if not self._facts:
            return
        tick = self.highs.tick({name: self._facts[name].partitions for name in TIMED}, int(time.time() * 1000))
        if tick is not None:
            value = encode(tick)
            await self._producer.produce([Message(self._scored, partition, None, value) for partition in range(self._count)])
            self._crash("ticked")

    def at_end(self, partitions: Iterable[tuple[str, int]], now_ms: int | None = None) -> None:
        """Take note of the partitions that are read to their end."""
        now_ms = int(time.time() * 1000) if now_ms is None else now_ms
        self.highs.at_end((self.origin(topic, p) for topic, p in partitions if self._logical.get(topic) in TIMED), now_ms)

    @property
    def _count(self) -> int:
        return self._facts[SCORED].partitions

    def _message(self, model_id: str, record: Scored) -> Message:
        return Message(self._scored, scored_partition(model_id, self._count), model_id.encode(), encode(record))

    def _forward(self, record: Forwarded) -> list[Message]:
        model_id = msgspec.json.decode(record.record, type=_About).model_id
        if model_id is not None:
            return [self._message(model_id, record)]
        value = encode(record)
        return [Message(self._scored, partition, None, value) for partition in range(self._count)]
