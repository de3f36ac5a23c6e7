"""Lookups for tests of pending tables, and a machine that holds the one in Redis against the one in a dict."""

import asyncio
import itertools

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from detectors.pending import MAX_ENTRY, DictTable, Logs, Lookups, entries_of
from streams.pending import TAGS, RedisTable
from streams.redis_client import connect

Lookup = tuple[bytes, bytes, bytes, int]  # key, origin, entry, time to live in ms
Entries = list[list[bytes] | None]

_prefixes = itertools.count()


def lookup(key: bytes = b"k" * 16, n: int = 0, entry: bytes = b"entry", ttl_ms: int = 60_000) -> Lookup:
    """Make a lookup; ``n`` tells its origin from others."""
    return key, n.to_bytes(14, "big"), entry, ttl_ms


def asking(lookups: list[Lookup]) -> Lookups:
    """Return lookups as a table takes them."""
    out = Lookups()
    for each in lookups:
        out.add(*each)
    return out


def entries(logs: Logs) -> Entries:
    """Return answers as lists of entries."""
    return [None if log is None else entries_of(log) for log in logs]


async def exchange(table: RedisTable, lookups: list[Lookup]) -> Entries:
    """Return what a table in Redis answers."""
    return entries(await table.exchange(asking(lookups)))


def exchange_now(table: DictTable, lookups: list[Lookup]) -> Entries:
    """Return what a table in a dict answers."""
    return entries(table.exchange_now(asking(lookups)))


class Twins(RuleBasedStateMachine):
    """The same calls on both tables; any of them may be repeated, and scripts may vanish."""

    url = ""

    @initialize()
    def begin(self):
        self.runner = asyncio.Runner()
        self.client = connect(self.url)
        self.dict = DictTable(max_entries=4, max_bytes=150)
        self.redis = RedisTable(self.client, f"twins{next(_prefixes)}.", max_entries=4, max_bytes=150)
        self.calls = []

    lookups = st.tuples(
        st.sampled_from([bytes([n]) * 16 for n in (0, 1, TAGS, 255)]),
        st.integers(0, 5).map(lambda n: n.to_bytes(14, "big")),
        st.binary(max_size=40) | st.sampled_from([135, MAX_ENTRY, MAX_ENTRY + 1]),  # an entry, or the length of one
        st.sampled_from([0, 60_000, 90_000]),
    )

    @rule(lookups=st.lists(lookups, max_size=6))
    def exchange(self, lookups):
        self.calls.append(lookups)
        lookups = [(key, origin, b"x" * entry if isinstance(entry, int) else entry, ttl_ms) for key, origin, entry, ttl_ms in lookups]
        assert self.runner.run(exchange(self.redis, lookups)) == exchange_now(self.dict, lookups)

    @rule(data=st.data())
    def repeat(self, data):
        if self.calls:
            self.exchange(data.draw(st.sampled_from(self.calls)))

    @rule()
    def forget_scripts(self):
        self.runner.run(self.client.script_flush())

    def teardown(self):
        if hasattr(self, "runner"):
            self.runner.run(self.client.aclose())
            self.runner.close()
