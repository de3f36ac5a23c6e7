"""Which of many keys came before, and as which one: a hash table in columns, for keys that come by the thousand."""

from collections.abc import Sequence
from operator import eq

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from detectors.fixed import Ints

Hashes = npt.NDArray[np.uint64]


class FirstSeen:
    """Numbers keys in the order in which they come, from 0, and tells of each the number of the first one that is equal to it.

    A dict gives the same at more than twice the cost: it waits for memory at one key after the other.

    Parameters
    ----------
    room
        How many keys will come, about.

    Examples
    --------
    >>> seen = FirstSeen(room=4)
    >>> seen.add([b"a", b"b", b"a"]).tolist(), seen.add([b"c", b"b"]).tolist()
    ([0, 1, 0], [3, 1])

    """

    def __init__(self, room: int) -> None:
        self._keys: list[bytes] = []  # by number
        self._hashes = np.empty(max(room, 1), np.uint64)  # by number; room for more than there are
        self._slots = _slots(room)
        self._others: dict[bytes, int] = {}  # the first number of keys whose hash is that of another key before them

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, keys: Sequence[bytes]) -> Ints:
        """Return the number of the first of the keys so far that is equal to each, shape (n,); its own where it is that."""
        begin, end = len(self._keys), len(self._keys) + len(keys)
        self._keys += keys
        if end > len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.empty(max(end, 2 * len(self._hashes)) - len(self._hashes), np.uint64)])
        self._hashes[begin:end] = np.fromiter(map(xxh3_64_intdigest, keys), np.uint64, len(keys))
        if 2 * end > len(self._slots):
            placed = np.sort(self._slots[self._slots > 0]).astype(np.int64) - 1
            self._slots = _slots(2 * end)
            self._place(placed)
        first = self._place(np.arange(begin, end))
        again = np.flatnonzero(first != np.arange(begin, end))
        pairs = map(self._keys.__getitem__, first[again].tolist()), map(keys.__getitem__, again.tolist())
        equal = np.fromiter(map(eq, *pairs), np.bool_, len(again))
        for i in again[~equal].tolist():
            first[i] = self._others.setdefault(keys[i], begin + i)
        return first

    def _place(self, number: Ints) -> Ints:
        """Give each number the first free slot from that of its hash on, unless the same hash has one; return whose slot it is."""
        first, hashes, last = number.copy(), self._hashes[number], len(self._slots) - 1
        left, slot = np.arange(len(number)), (hashes & np.uint64(last)).astype(np.int64)
        while len(left):
            free = np.flatnonzero(self._slots[slot] == 0)[::-1]
            self._slots[slot[free]] = number[left[free]] + 1  # of several the last one counts: the earliest key
            held = self._slots[slot].astype(np.int64) - 1
            same = self._hashes[held] == hashes[left]
            first[left[same]] = held[same]
            left, slot = left[~same], slot[~same] + 1 & last
        return first


def _slots(room: int) -> npt.NDArray[np.uint32]:
    """Return free slots, at least two for each key: the number of the key in it and 1, 0 of none. Their count is a power of two."""
    slots = np.empty(1 << (2 * max(room, 8) - 1).bit_length(), np.uint32)  # filled here, it comes in large pages where the system has them
    slots.fill(0)
    return slots
