"""Batches instead of messages: a Faust transport that yields one message per fetched partition batch.

Faust handles a message in some 90 µs, a batch in about as much; everything it does besides (agents, consumer groups, rebalancing,
commits) stays as it is. What is overridden here relies on insides of faust-streaming and aiokafka: ``streams.engine`` refuses to
start on versions other than those it was tested with.
"""

import asyncio
import sys
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import faust
import numpy as np
import numpy.typing as npt
from aiokafka.consumer import fetcher
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

FETCH_MAX_WAIT_MS = 100  # the driver's 1500 would add 1.5 s after each rewind and to each trickle


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one partition, in order, n of them.

    Offsets need not be consecutive: transactions and compaction leave gaps.
    """

    topic: str
    partition: int
    offsets: npt.NDArray[np.int64]  # shape (n,)
    timestamps: npt.NDArray[np.int64]  # shape (n,), epoch ms; Kafka's own, -1: none
    values: list[bytes | None]
    size: int  # bytes of all values

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def of(cls, topic: str, partition: int, records: list[Any]) -> "Batch":
        """Return the batch of a list of aiokafka records."""
        values, timestamps = [r.value for r in records], [r.timestamp for r in records]
        first, last, n = records[0].offset, records[-1].offset, len(records)
        return cls(
            topic,
            partition,
            np.arange(first, first + n) if last - first == n - 1 else np.array([r.offset for r in records], dtype=np.int64),
            np.array([-1 if t is None else t for t in timestamps] if None in timestamps else timestamps, dtype=np.int64),
            values,
            sum(map(len, filter(None, values))),
        )


class Position(NamedTuple):
    """Where a partition is being read, as its consumer knows it."""

    position: int | None  # the next offset to fetch
    end: int | None  # of the partition, at the last fetch
    fetched_at_ms: int | None  # when the broker answered last


class Schema(faust.Schema):  # type: ignore[misc]  # Faust is untyped here
    """Hands a batch through: nothing is decoded in Faust, so no payload can throw there."""

    def compile(self, app: Any, **_: Any) -> Any:
        """Return the coroutine function that makes an event of a message."""
        create_event = app.create_event

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return create_event(None, message.value, None, message)

        return decode


class Run(NamedTuple):
    """The records of one of the broker's batches, for aiokafka one record: it looks at the offset alone."""

    records: list[Any]
    offset: int  # of the last


class _AsRun:
    """One of the broker's batches that yields itself as a run."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:  # of a control batch its marker is read
        return next(self._batch)

    def __iter__(self) -> Iterator[Run]:
        records = list(self._batch)
        return iter([Run(records, records[-1].offset)] if records else [])


class _AsRuns:
    """What was fetched, its batches as runs."""

    def __init__(self, records: Any) -> None:
        self._records = records
        self.has_next = records.has_next

    def next_batch(self) -> _AsRun:
        return _AsRun(self._records.next_batch())


class PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # Faust is untyped here
    """Yields aiokafka's records as its decoder made them, a list per batch: to wrap and count each costs more than to decode it."""

    def __init__(self, tp: Any, records: Any, *args: Any) -> None:
        super().__init__(tp, _AsRuns(records), *args)

    def _consumer_record(self, tp: Any, run: Run) -> list[Any]:
        begin = self.next_fetch_offset  # it may lie within the batch
        return run.records if run.records[0].offset >= begin else [record for record in run.records if record.offset >= begin]


class FetchResult(fetcher.FetchResult):  # type: ignore[misc]  # Faust is untyped here
    """Hands out lists of records instead of record by record."""

    _partition_records: Any
    _rest: Sequence[Any] = ()  # records beyond what the last call was asked for

    def getall(self, max_records: int | None = None) -> list[Any]:
        """Return at most so many records, and take note of where the next ones begin."""
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        records, source, most = [*self._rest], self._partition_records, sys.maxsize if max_records is None else max_records
        while len(records) < most and (run := next(source, None)) is not None:
            records += run
        if len(records) >= most:
            source.next_fetch_offset = records[most - 1].offset + 1
        self._update_position()
        if len(records) < most:
            self._partition_records = None
        self._rest = records[most:]
        return records[:most]


fetcher.PartitionRecords, fetcher.FetchResult = PartitionRecords, FetchResult  # the fetcher makes them by these names


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust is untyped here
    """Owns aiokafka's consumer, in its own thread and event loop."""

    fetches = 0  # calls that returned records

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        # At least once, Faust reads uncommitted: it would count what a transactional producer has aborted.
        consumer._isolation_level = "read_committed"
        return consumer

    async def _fetch_records(self, *args: Any, **kwargs: Any) -> Any:
        records = await super()._fetch_records(*args, **kwargs)
        self.fetches += bool(records)  # no await since the position moved: ``positions`` sees both or neither
        return records

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek every assigned partition to its committed offset; aiokafka's own leaves out 0, and those that have none.

        What was fetched across a rebalance is dropped and read again from there. A partition of which nothing is committed must go back to
        its beginning then: else what was dropped would never be read.
        """
        result: Mapping[TP, int] = await self.call_thread(self._seek_to_committed)
        return result

    async def _seek_to_committed(self) -> dict[TP, int]:
        consumer = self._ensure_consumer()
        partitions = list(consumer.assignment())
        offsets = await asyncio.gather(*(consumer.committed(tp) for tp in partitions))
        known = {tp: offset for tp, offset in zip(partitions, offsets, strict=True) if consumer._subscription.is_assigned(tp)}
        for tp, offset in known.items():
            if offset is not None and offset >= 0:
                consumer.seek(tp, offset)
        if new := [tp for tp, offset in known.items() if offset is None or offset < 0]:
            await consumer.seek_to_beginning(*new)
        return dict(zip(partitions, offsets, strict=True))

    async def positions(self) -> tuple[int, dict[TP, Position]]:
        """Return the number of fetches and where each assigned partition is read; to be run in this thread's loop."""
        assignment = self._ensure_consumer()._subscription.subscription.assignment
        if assignment is None or not assignment.active:
            return self.fetches, {}
        states = {tp: assignment.state_value(tp) for tp in assignment.tps}
        return self.fetches, {TP(*tp): Position(s._position, s.highwater, s.timestamp) for tp, s in states.items() if s is not None}


class Consumer(driver.Consumer):  # type: ignore[misc]  # Faust is untyped here
    """Faust's consumer with batches for messages, and its own account of what may be committed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # (first, last) of each batch in flight, in order. Faust's own arithmetic commits past an unfinished message when
        # acknowledgements come out of order, and counts the message after a gap of offsets as acknowledged.
        self._in_flight: defaultdict[TP, deque[tuple[int, int]]] = defaultdict(deque)
        self._deliveries = 0
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Yield one message per fetched partition batch; its offset is the batch's last."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        generation = self.app.consumer_generation_id
        records, active = await self._wait_next_records(timeout)
        try:
            if records is None or self.should_stop:
                return
            if not self.flow_active or generation != self.app.consumer_generation_id:
                # Fetched across a rebalance: whose they are cannot be told. Read them again from what is committed; nothing of the
                # new generation has been delivered yet, since all comes through here.
                await self.wait(self.can_resume_flow)
                if records and not self.should_stop:
                    await self.perform_seek()
                return
            for tp, batch in records.items():
                if not self.flow_active or generation != self.app.consumer_generation_id:
                    break
                if batch and (active is None or tp in active or tp in self._buffered_partitions):
                    yield tp, self._deliver(tp, batch)
        finally:
            self._deliveries += bool(records)

    def _deliver(self, tp: TP, records: list[Any]) -> ConsumerMessage:
        first, last = records[0].offset, records[-1].offset
        self._in_flight[tp].append((first, last))
        self._read_offset[tp] = last - 1  # else Faust sees a gap, and takes what lies in it as acknowledged
        value = Batch.of(tp.topic, tp.partition, records)
        generation = self.app.consumer_generation_id
        return ConsumerMessage(tp.topic, tp.partition, last, 0.0, 0, None, None, value, None, 0, 0, tp, generation_id=generation)

    def _new_offset(self, tp: TP) -> int | None:
        """Return the offset to commit: after the last batch such that it and all before it are acknowledged."""
        acknowledged, waiting = self._acked_index[tp], self._in_flight[tp]
        offset = None
        while waiting and waiting[0][1] in acknowledged:
            last = waiting.popleft()[1]
            acknowledged.discard(last)
            offset = last + 1
        if offset is not None:
            self._acked[tp] = [last for last in self._acked[tp] if last >= offset]
        return offset

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit what is acknowledged, then let go: Faust would forget it first, and it would be read twice."""
        await self.commit()
        await super().on_partitions_revoked(revoked)
        for tp in list(self._in_flight):
            if tp in revoked:
                del self._in_flight[tp]

    async def verify_all_partitions_active(self) -> None:
        """Do nothing: Faust compares two clocks here and warns of partitions that are merely idle."""

    def in_flight(self) -> dict[TP, int]:
        """Return the number of batches delivered and not yet committed, by partition."""
        return {tp: len(batches) for tp, batches in self._in_flight.items() if batches}

    async def positions(self) -> tuple[int, dict[TP, Position]]:
        """Return the number of fetches that brought records, and where each assigned partition is read."""
        waiting = asyncio.run_coroutine_threadsafe(self._thread.positions(), self._thread.thread_loop)
        return await asyncio.wrap_future(waiting)

    def committed(self) -> dict[TP, int | None]:
        """Return the offset before which all is done, by partition: where the first batch in flight begins, else the last commit."""
        return {**self._committed_offset, **{tp: batches[0][0] for tp, batches in self._in_flight.items() if batches}}

    async def read_to_end(self) -> dict[TP, Position]:
        """Return the partitions that were read to their end: nothing on its way, nothing in flight, nothing more in Kafka.

        An open transaction keeps a partition from its end. Each comes with the time at which the broker last said so.
        """
        delivered = self._deliveries
        fetches, positions = await self.positions()
        if fetches != delivered or delivered != self._deliveries:
            return {}  # records are between the threads
        unfinished = {tp for tp, batches in self._in_flight.items() if any(last not in self._acked_index[tp] for _, last in batches)}
        return {tp: p for tp, p in positions.items() if p.position is not None and p.position == p.end and tp not in unfinished}


class Transport(driver.Transport):  # type: ignore[misc]  # Faust is untyped here
    """Faust's aiokafka transport with batches: ``gnomon://host:port``."""

    Consumer = Consumer
