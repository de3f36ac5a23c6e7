"""The pending table: for each (request id, row) the short log of what arrived for it. Here its contract, and the table in a dict.

A log is one string of frames, each ``length of the entry (2 bytes, little endian), origin (14 bytes), entry``. It only ever grows at its
end, so what stood before an entry is the same whenever it is asked for: a source record that is read again finds its own origin in the
log and gets the very prefix, and the very entry, of the first time.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol

from schemas.scored import Origin

ORIGIN_BYTES = 14
FRAME_BYTES = 2 + ORIGIN_BYTES  # before each entry
MAX_ENTRIES = 64
MAX_BYTES = 64 * 1024
MAX_INDEX = 2**16 - 1  # of a record in its message

Prefixes = list[list[bytes] | None]


class Lookup(NamedTuple):
    """Append an entry to the log of its key, unless the log holds its origin already."""

    key: bytes
    origin: bytes  # 14 bytes, see ``origin_prefix``
    entry: bytes
    ttl_ms: int  # how long the log is kept at least; 0: for ever


class PendingTable(Protocol):
    """Where the join keeps what arrived."""

    async def exchange(self, lookups: Sequence[Lookup]) -> Prefixes:
        """Answer lookups in their order: the entries up to and including the lookup's own, the stored one where it was there.

        None stands for a log that is full: it would pass its limit of entries or bytes, and was left as it was.
        """


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
    >>> table = DictTable()
    >>> first = Lookup(b"k", b"origin-0000001", b"made", 0)
    >>> table.exchange_now([first, Lookup(b"k", b"origin-0000002", b"known", 0)])
    [[b'made'], [b'made', b'known']]
    >>> table.exchange_now([first._replace(entry=b"made again, under another policy")])
    [[b'made']]

    """

    def __init__(self, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._logs: dict[bytes, bytes] = {}

    async def exchange(self, lookups: Sequence[Lookup]) -> Prefixes:
        """Answer lookups, see ``PendingTable.exchange``."""
        return self.exchange_now(lookups)

    def exchange_now(self, lookups: Sequence[Lookup]) -> Prefixes:
        """Answer lookups without an event loop."""
        out: Prefixes = []
        logs = self._logs
        for key, origin, entry, _ in lookups:
            log = logs.get(key, b"")
            entries, found = entries_until(log, origin)
            if found:
                out.append(entries)
                continue
            size = len(log) + FRAME_BYTES + len(entry)
            if len(entries) >= self._max_entries or size > self._max_bytes or len(entry) >= 2**16:
                out.append(None)
                continue
            logs[key] = log + frame(origin, entry)
            entries.append(entry)
            out.append(entries)
        return out


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
    """Return what a log holds of one entry."""
    return len(entry).to_bytes(2, "little") + origin + entry


def entries_until(log: bytes, origin: bytes) -> tuple[list[bytes], bool]:
    """Return a log's entries up to and including that of an origin, and whether it is there; all of them if not.

    >>> entries_until(frame(b"origin-0000001", b"a") + frame(b"origin-0000002", b"b"), b"origin-0000001")
    ([b'a'], True)
    """
    entries: list[bytes] = []
    at, end = 0, len(log)
    while at < end:
        start = at + FRAME_BYTES
        stop = start + int.from_bytes(log[at : at + 2], "little")
        entries.append(log[start:stop])
        if log[at + 2 : start] == origin:
            return entries, True
        at = stop
    return entries, False
