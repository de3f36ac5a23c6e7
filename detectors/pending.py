"""The pending table: for each (request id, row) the short log of what arrived for it. Here its contract, and the table in a dict.

A log is one string of frames, each ``length of the entry (2 bytes, little endian), origin (14 bytes), entry``. It only ever grows at its
end, so what stood before an entry is the same whenever it is asked for: a source record that is read again finds its own origin in the
log and gets the very prefix, and the very entry, of the first time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol

import numpy as np

from detectors.fixed import Ints
from schemas.scored import Origin

ORIGIN_BYTES = 14
FRAME_BYTES = 2 + ORIGIN_BYTES  # before each entry
MAX_ENTRIES = 64
MAX_BYTES = 64 * 1024
MAX_ENTRY = 2**16 - 1  # bytes
LARGEST_FRAME = FRAME_BYTES + MAX_ENTRY
MAX_INDEX = 2**16 - 1  # of a record in its message

FULL, STORED = -1, -2  # in place of a size, see ``Logs``


@dataclass(slots=True)
class Lookups:
    """Append frames to the logs of their keys, unless a log holds a frame's origin already; the three lists have equal length.

    >>> lookups = Lookups()
    >>> lookups.add(b"key", b"origin-0000001", b"entry", 0)
    >>> len(lookups), entries_of(lookups.frames[0])
    (1, [b'entry'])
    """

    keys: list[bytes] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)  # see ``frame``
    ttls_ms: list[int] = field(default_factory=list)  # how long the log is kept at least; 0: for ever

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, key: bytes, origin: bytes, entry: bytes, ttl_ms: int) -> None:
        """Add one; an entry that no frame can hold makes one that every log refuses."""
        self.keys.append(key)
        self.frames.append(frame(origin, entry))
        self.ttls_ms.append(ttl_ms)


@dataclass(frozen=True)
class Logs:
    """What the table answers to n lookups: of each log what stood before the lookup's own frame, all in one text.

    As a sequence it is the logs up to and including each own frame, None where a log is full: it would pass its limit of entries or bytes,
    and was left as it was.

    >>> logs = Logs.before([b"", b"<before>", b"", b""], [b"<own>"] * 4, [2], {3: b"<made under another policy>"})
    >>> logs.text, logs.starts.tolist(), logs.sizes.tolist(), logs.stored
    (b'<before>', [0, 0, 8, 8], [0, 8, -1, -2], {3: b'<made under another policy>'})
    >>> list(logs)
    [b'<own>', b'<before><own>', None, b'<made under another policy>']
    """

    text: bytes
    starts: Ints  # in the text, shape (n,)
    sizes: Ints  # shape (n,); ``FULL``; ``STORED``: see there
    frames: Sequence[bytes]  # the lookups' own
    stored: Mapping[int, bytes] = field(default_factory=dict)  # logs whose own frame was there already, and is another than the lookup's

    @classmethod
    def before(cls, before: Sequence[bytes], frames: Sequence[bytes], full: Sequence[int], stored: Mapping[int, bytes]) -> "Logs":
        """Return answers by what stood before each own frame; no bytes where it is one of the full, or one that is stored otherwise."""
        sizes = np.fromiter(map(len, before), np.int64, len(before))
        starts = np.cumsum(sizes) - sizes
        sizes[np.array(full, dtype=np.int64)] = FULL
        sizes[np.array(list(stored), dtype=np.int64)] = STORED
        return cls(b"".join(before), starts, sizes, frames, stored)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, i: int) -> bytes | None:
        start, size = int(self.starts[i]), int(self.sizes[i])
        if size == STORED:
            return self.stored[i]
        return None if size == FULL else self.text[start : start + size] + self.frames[i]

    def __iter__(self) -> Iterator[bytes | None]:
        return map(self.__getitem__, range(len(self)))

    def part(self, begin: int, end: int) -> "Logs":
        """Return the answers to some lookups that follow each other."""
        stored = {i - begin: log for i, log in self.stored.items() if begin <= i < end}
        return Logs(self.text, self.starts[begin:end], self.sizes[begin:end], self.frames[begin:end], stored)


class PendingTable(Protocol):
    """Where the join keeps what arrived."""

    async def exchange(self, lookups: Lookups) -> Logs:
        """Answer lookups in their order; of an own frame that was there already the stored one counts."""


class DictTable:
    """The table in memory: for replay, embedded mode and tests. Nothing expires.

    Parameters
    ----------
    max_entries
        How many entries a log may hold.
    max_bytes
        How many bytes a log may hold, frames included.

    Examples
    --------
    >>> table, lookups = DictTable(), Lookups()
    >>> lookups.add(b"k", b"origin-0000001", b"made", 0)
    >>> lookups.add(b"k", b"origin-0000002", b"known", 0)
    >>> [entries_of(log) for log in table.exchange_now(lookups)]
    [[b'made'], [b'made', b'known']]
    >>> again = Lookups()
    >>> again.add(b"k", b"origin-0000001", b"made again, under another policy", 0)
    >>> [entries_of(log) for log in table.exchange_now(again)]
    [[b'made']]

    """

    def __init__(self, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._logs: dict[bytes, bytes] = {}

    async def exchange(self, lookups: Lookups) -> Logs:
        """Answer lookups, see ``PendingTable.exchange``."""
        return self.exchange_now(lookups)

    def exchange_now(self, lookups: Lookups) -> Logs:
        """Answer lookups without an event loop."""
        before: list[bytes] = []
        full: list[int] = []
        stored: dict[int, bytes] = {}
        logs, longest, most = self._logs, min(self._max_bytes, LARGEST_FRAME), self._max_bytes if self._max_entries > 1 else 0
        for key, new in zip(lookups.keys, lookups.frames, strict=True):
            log = logs.get(key)
            if log is None and len(new) <= longest and self._max_entries:
                logs[key] = new
                before.append(b"")
            elif (
                log is not None
                and FRAME_BYTES + (log[0] | log[1] << 8) == len(log) <= most - len(new)
                and len(new) <= LARGEST_FRAME
                and log[2:FRAME_BYTES] != new[2:FRAME_BYTES]
            ):  # one frame stood there, the usual case
                logs[key] = log + new
                before.append(log)
            else:
                answer = self._answer(key, log or b"", new)
                known = answer is not None and answer.endswith(new)
                if answer is None:
                    full.append(len(before))
                elif not known:
                    stored[len(before)] = answer
                before.append(answer[: len(answer) - len(new)] if answer is not None and known else b"")
        return Logs.before(before, lookups.frames, full, stored)

    def _answer(self, key: bytes, log: bytes, new: bytes) -> bytes | None:
        """Return the log up to and including the own frame; None: it is full."""
        end, entries, found = scan(log, new[2:FRAME_BYTES])
        if found:
            return log[:end]
        if entries >= self._max_entries or len(log) + len(new) > self._max_bytes or len(new) > LARGEST_FRAME:
            return None
        self._logs[key] = log + new
        return log + new


def origin_prefix(origin: Origin) -> bytes:
    """Return the 6 bytes that stand for a source partition; ``record_origin`` completes them."""
    topic = blake2b(f"{origin.topic}\0{origin.topic_id}".encode(), digest_size=4).digest()
    return topic + origin.partition.to_bytes(2, "big")


def record_origin(prefix: bytes, offset: int, index: int) -> bytes:
    """Return the 14 bytes that stand for one source record.

    >>> record_origin(origin_prefix(Origin("predictions", "x", 1)), 7, 2).hex()
    '477057f700010000000000070002'
    """
    return prefix + (offset << 16 | index).to_bytes(8, "big")


def frame(origin: bytes, entry: bytes) -> bytes:
    """Return what a log holds of one entry; of one that is too long, what none holds: a frame beyond ``LARGEST_FRAME``."""
    return min(len(entry), MAX_ENTRY).to_bytes(2, "little") + origin + entry


def entries_of(log: bytes) -> list[bytes]:
    """Return a log's entries.

    >>> entries_of(frame(b"origin-0000001", b"a") + frame(b"origin-0000002", b"b"))
    [b'a', b'b']
    """
    entries: list[bytes] = []
    at, end = 0, len(log)
    while at < end:
        start = at + FRAME_BYTES
        at = start + int.from_bytes(log[at : at + 2], "little")
        entries.append(log[start:at])
    return entries


def scan(log: bytes, origin: bytes) -> tuple[int, int, bool]:
    """Look for an origin in a log: return where its frame ends, how many frames there are so far, and whether it is there.

    >>> scan(frame(b"origin-0000001", b"a") + frame(b"origin-0000002", b"b"), b"origin-0000001")
    (17, 1, True)
    """
    at, entries, end = 0, 0, len(log)
    while at < end:
        stop = at + FRAME_BYTES + int.from_bytes(log[at : at + 2], "little")
        entries += 1
        if log[at + 2 : at + FRAME_BYTES] == origin:
            return stop, entries, True
        at = stop
    return at, entries, False
