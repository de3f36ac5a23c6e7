"""What the batch consumer would commit, without a broker."""

from collections import defaultdict, deque
from types import SimpleNamespace

import numpy as np
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streams.batches import Batch, Consumer

TOPIC = TP("t", 0)


def consumer(batches: list[tuple[int, int]]) -> Consumer:
    made = Consumer.__new__(Consumer)
    made._in_flight = defaultdict(deque, {TOPIC: deque(batches)})
    made._acked_index, made._acked = defaultdict(set), defaultdict(list)
    return made


def acknowledge(made: Consumer, last: int) -> None:
    made._acked_index[TOPIC].add(last)
    made._acked[TOPIC].append(last)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_commits_exactly_to_the_first_unfinished_batch(sizes: list[tuple[int, int]], r: object) -> None:
    """In whatever order batches are acknowledged, and whatever gaps transactions leave between them."""
    batches, at = [], 0
    for size, gap in sizes:
        batches.append((at + gap, at + gap + size - 1))
        at += gap + size
    made, finished, offset = consumer(batches), set(), None
    order = list(range(len(batches)))
    r.shuffle(order)  # type: ignore[attr-defined]
    for index in order:
        acknowledge(made, batches[index][1])
        finished.add(index)
        new = made._new_offset(TOPIC)
        done = next((i for i in range(len(batches)) if i not in finished), len(batches))
        truth = batches[done - 1][1] + 1 if done else None
        if truth == offset:
            assert new is None
        else:
            assert new == truth
            offset = new
    assert not made._in_flight[TOPIC]
    assert not made._acked[TOPIC]
    assert not made._acked_index[TOPIC]


def test_a_batch_keeps_what_kafka_says_of_each_record() -> None:
    def record(offset: int, value: bytes | None, **more: object) -> SimpleNamespace:
        return SimpleNamespace(**{"offset": offset, "timestamp": 5, "value": value, **more})

    batch = Batch.of("t", 1, [record(3, b"ab"), record(7, None, timestamp=None), record(8, b"c")])
    assert (batch.offsets.tolist(), batch.timestamps.tolist(), batch.values) == ([3, 7, 8], [5, -1, 5], [b"ab", None, b"c"])
    assert (batch.offsets.dtype, len(batch), batch.size) == (np.int64, 3, 3)
    assert Batch.of("t", 1, [record(3, b"ab"), record(4, b"c")]).offsets.tolist() == [3, 4]
