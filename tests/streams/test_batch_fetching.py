"""Reading what was fetched in runs gives what aiokafka gives record by record: the same records, and the same position after each call."""

from types import SimpleNamespace
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import example, given
from hypothesis import strategies as st

from streams.batches import FetchResult, PartitionRecords

TOPIC = SimpleNamespace(topic="t", partition=0)
READ_COMMITTED = fetcher.READ_COMMITTED
ABORT = b"\0\0\0\0"  # the key of the record that a control batch of an aborted transaction holds

Batches = list[tuple[list[int], bool, bool]]  # how far each record is from the one before it; of a transaction; which is aborted


def fetched(batches: Batches) -> tuple[bytes, list[tuple[int, int]]]:
    """Return batches as a broker sends them, and the transactions that it says were aborted."""
    out, aborted, at = b"", [], 0
    for producer, (gaps, transactional, fails) in enumerate(batches):
        made = [(gaps, False)] + ([([1], True)] if transactional and fails else [])
        if transactional and fails:
            aborted.append((producer, at))
        for distances, control in made:
            builder = DefaultRecordBatchBuilder(2, 0, transactional, producer if transactional else -1, 0, 0, 1 << 20)
            offset = -1
            for distance in distances:
                offset += distance
                builder.append(offset, 1_000 + at, ABORT if control else None, b"%d" % (at + offset), [])
            raw = bytearray(builder.build())
            raw[:8] = at.to_bytes(8, "big")
            if control:
                raw = _controlling(raw)
            out += bytes(raw)
            at += offset + 1
    return out, aborted


def _controlling(raw: bytearray) -> bytearray:
    raw[22] |= 0x20  # attributes; the checksum after them is not looked at here
    return raw


def read(kinds: tuple[Any, Any], batches: Batches, begin: int, asked: list[int]) -> list[tuple[list[tuple[int, bytes]], int, bool]]:
    """Return what each call gives: records, the position after it, and whether there is more."""
    raw, aborted = fetched(batches)
    result_kind, records_kind = kinds
    records = records_kind(TOPIC, MemoryRecords(raw), aborted, begin, None, None, False, READ_COMMITTED)
    state = SimpleNamespace(paused=False, position=begin)
    state.consumed_to = lambda position: setattr(state, "position", position)
    assignment = SimpleNamespace(active=True, state_value=lambda _: state)
    result = result_kind(TOPIC, assignment=assignment, partition_records=records, backoff=0)
    out = []
    for n in [*asked, 1_000, 1_000]:
        got = result.getall(n) if result.has_more() else []
        out.append(([(record.offset, record.value) for record in got], state.position, result.has_more()))
    return out


OURS, THEIRS = (FetchResult, PartitionRecords), (FetchResult.__mro__[1], PartitionRecords.__mro__[1])


@given(
    batches=st.lists(st.tuples(st.lists(st.integers(1, 3), min_size=1, max_size=6), st.booleans(), st.booleans()), max_size=5),
    begin=st.integers(0, 12),
    asked=st.lists(st.integers(1, 7), max_size=6),
)
@example(batches=[([1, 1, 1], False, False), ([1], True, True), ([2, 1], False, False)], begin=1, asked=[1, 2])
def test_runs_are_what_single_records_are(batches: Batches, begin: int, asked: list[int]) -> None:
    ours, theirs = read(OURS, batches, begin, asked), read(THEIRS, batches, begin, asked)
    assert [records for records, *_ in ours if records] == [records for records, *_ in theirs if records]
    for (records, position, _), (own, known, _) in zip(ours, theirs, strict=True):
        assert (records, position) == (own, known)
    assert not ours[-1][2]


def test_a_seek_meanwhile_drops_what_was_left_over() -> None:
    raw, _ = fetched([([1] * 5, False, False)])
    records = PartitionRecords(TOPIC, MemoryRecords(raw), [], 0, None, None, True, READ_COMMITTED)
    state = SimpleNamespace(paused=False, position=0)
    state.consumed_to = lambda position: setattr(state, "position", position)
    assignment = SimpleNamespace(active=True, state_value=lambda _: state)
    result = FetchResult(TOPIC, assignment=assignment, partition_records=records, backoff=0)
    assert [record.offset for record in result.getall(2)] == [0, 1]
    assert state.position == 2
    state.position = 0  # another part of the program goes back
    assert result.getall(2) == []
    assert not result.has_more()
