"""The pending table in Redis: the dict's twin, and what happens when Redis is slow, full, gone, restarted or answers something else."""

import asyncio
import os
import signal
from typing import Any

import pytest
import redis.asyncio as redis
import redis.exceptions as redis_errors
from conftest import started_redis
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test
from redis.cluster import REDIS_CLUSTER_HASH_SLOTS
from redis.crc import key_slot
from support.joins import run
from support.pending_twins import Twins, exchange, exchange_now, lookup

from detectors.pending import DictTable
from streams.errors import StoreError, StoreReplyInvalid, StoreUnavailable
from streams.pending import TAGS, RedisTable
from streams.redis_check import check_redis
from streams.settings import Settings


@pytest.fixture
async def client(redis_url):
    client = redis.Redis.from_url(redis_url)
    yield client
    await client.aclose()


def test_both_tables_answer_alike(redis_url):
    Twins.url = redis_url
    run_state_machine_as_test(Twins, settings=settings(max_examples=40, stateful_step_count=12, deadline=None))


def test_the_protocol_holds_over_redis(redis_url):
    with asyncio.Runner() as runner:
        client = redis.Redis.from_url(redis_url)
        for seed in range(12):
            table = RedisTable(client, f"protocol{seed}.")
            got, want, _ = run(seed, lambda lookups, table=table: runner.run(table.exchange(lookups)))
            assert got == want
        runner.run(client.aclose())


@given(prefix=st.text(st.characters(codec="utf-8", exclude_characters="{}"), max_size=40))
def test_each_part_of_a_cluster_has_one_tag(prefix):
    """So primaries with equal ranges of slots have equal shares, whatever the prefix is."""
    table = RedisTable(None, prefix)
    assert sorted(key_slot(table.key(bytes([n]) * 16)) * TAGS // REDIS_CLUSTER_HASH_SLOTS for n in range(TAGS)) == list(range(TAGS))


def test_a_key_fits_32_bytes():
    """With the prefix that is the default, and a byte of Redis's on either side: the next larger size of memory is 40 bytes."""
    assert len(RedisTable(None, Settings().prefix).key(b"k" * 16)) <= 30


async def test_large_batches_keep_their_order(client):
    """2,500 lookups of one hash tag are more than one script takes; those of a key are far apart."""
    lookups = [lookup(b"\0" * 14 + (n % 500).to_bytes(2, "big"), n, b"%d" % n) for n in range(2_500)]
    assert await exchange(RedisTable(client), lookups) == exchange_now(DictTable(), lookups)


async def test_an_empty_batch_asks_nothing(client):
    assert await exchange(RedisTable(client), []) == []


async def test_entries_that_no_frame_can_hold_are_refused_by_both(client):
    large = [lookup(entry=b"x" * 70_000), lookup(n=1)]
    limits = {"max_bytes": 1 << 20}
    assert await exchange(RedisTable(client, **limits), large) == exchange_now(DictTable(**limits), large) == [None, [b"entry"]]


async def test_an_entry_that_has_grown_too_long_since_is_the_stored_one(client):
    """As when a record is read again under another policy; others of its batch, before and behind it, keep their order."""
    table, twin = RedisTable(client), DictTable()
    for lookups, wanted in (
        ([lookup(n=0, entry=b"short"), lookup(n=1)], [[b"short"], [b"short", b"entry"]]),
        (
            [lookup(n=2), lookup(n=0, entry=b"x" * 70_000), lookup(n=3, entry=b"x" * 70_000), lookup(n=3)],
            [[b"short", b"entry", b"entry"], [b"short"], None, [b"short", b"entry", b"entry", b"entry"]],
        ),
    ):
        assert await exchange(table, lookups) == exchange_now(twin, lookups) == wanted


async def test_a_full_log_stays_full(client):
    table = RedisTable(client)
    lookups = [lookup(n=n) for n in range(65)]
    for _ in range(2):
        answers = await exchange(table, lookups)
        assert [answer and len(answer) for answer in answers] == [*range(1, 65), None]


async def test_only_an_append_moves_the_expiry_and_only_to_later(client):
    table, key = RedisTable(client), RedisTable(client).key(b"k" * 16)
    await exchange(table, [lookup(ttl_ms=50_000)])
    assert 40_000 < await client.pttl(key) <= 50_000
    await exchange(table, [lookup(ttl_ms=90_000)])  # read again, not appended
    assert await client.pttl(key) <= 50_000
    await exchange(table, [lookup(n=1, ttl_ms=10_000)])
    assert 40_000 < await client.pttl(key) <= 50_000
    await exchange(table, [lookup(n=2, ttl_ms=90_000)])
    assert 50_000 < await client.pttl(key) <= 90_000
    await exchange(table, [lookup(n=3, ttl_ms=0)])
    assert await client.pttl(key) == -1
    await exchange(table, [lookup(n=4, ttl_ms=10_000)])
    assert await client.pttl(key) == -1


async def test_logs_expire(client):
    table = RedisTable(client)
    await exchange(table, [lookup(ttl_ms=30)])
    await asyncio.sleep(0.1)
    assert await exchange(table, [lookup(n=1)]) == [[b"entry"]]


async def test_scripts_that_vanish_are_loaded_again(client):
    table = RedisTable(client)
    await exchange(table, [lookup()])
    await client.script_flush()
    assert await exchange(table, [lookup(n=1, entry=b"two")]) == [[b"entry", b"two"]]


async def test_a_crash_of_redis_loses_nothing(own_redis):
    client = redis.Redis.from_url(own_redis.url)
    table, lookups = RedisTable(client), [lookup(bytes([n]) * 16, n) for n in range(100)]
    first = await exchange(table, lookups)
    own_redis.kill()
    with pytest.raises(StoreUnavailable) as caught:
        await exchange(table, lookups)
    assert caught.value.retriable
    own_redis.start()
    assert await exchange(table, lookups) == first
    assert await exchange(table, [lookup(bytes([7]) * 16, 107, b"next")]) == [[b"entry", b"next"]]
    await client.aclose()


async def test_a_full_redis_refuses_and_evicts_nothing(own_redis):
    client = redis.Redis.from_url(own_redis.url)
    table = RedisTable(client)
    await exchange(table, [lookup()])
    used = (await client.info("memory"))["used_memory"]
    await client.config_set("maxmemory", used)
    with pytest.raises(StoreUnavailable, match="OutOfMemory"):
        await exchange(table, [lookup(bytes([n]) * 16, 1) for n in range(50)])
    await client.config_set("maxmemory", 0)
    assert await exchange(table, [lookup(n=2)]) == [[b"entry", b"entry"]]
    await client.aclose()


@pytest.mark.parametrize(("name", "value"), [("min-replicas-to-write", 1), ("replicaof", None)])
async def test_a_redis_that_takes_no_writes_is_weather(own_redis, name, value):
    client = redis.Redis.from_url(own_redis.url)
    table = RedisTable(client)
    await exchange(table, [lookup()])
    if value is None:
        await client.execute_command("REPLICAOF", "127.0.0.1", own_redis.port)
    else:
        await client.config_set(name, value)
    with pytest.raises(StoreUnavailable):
        await exchange(table, [lookup(n=1)])
    await client.aclose()


async def test_replicas_that_are_missing_are_waited_for_on_every_call(client):
    table = RedisTable(client, wait_replicas=1, wait_ms=10)
    for _ in range(2):  # the second appends nothing
        with pytest.raises(StoreUnavailable, match="expected 1 replicas"):
            await exchange(table, [lookup()])


async def test_a_repeated_call_waits_for_the_first_ones_writes():
    own_redis = started_redis(repl_diskless_sync_delay="0")
    replica = started_redis(replicaof=f"127.0.0.1 {own_redis.port}")
    try:
        clients = [redis.Redis.from_url(own_redis.url) for _ in range(3)]
        while not (await clients[0].info("replication"))["connected_slaves"]:
            await asyncio.sleep(0.02)
        patient = RedisTable(clients[0], wait_replicas=1, wait_ms=4_000)
        assert await exchange(patient, [lookup()]) == [[b"entry"]]
        os.kill(replica.pid, signal.SIGSTOP)
        for client in clients[1:]:  # each on a connection of its own: the second appends nothing
            with pytest.raises(StoreUnavailable, match="expected 1 replicas"):
                await exchange(RedisTable(client, wait_replicas=1, wait_ms=50), [lookup(n=1)])
        os.kill(replica.pid, signal.SIGCONT)
        assert await exchange(patient, [lookup(n=1)]) == [[b"entry", b"entry"]]
        for client in clients:
            await client.aclose()
    finally:
        replica.close()
        own_redis.close()


async def test_another_programs_key_is_an_error_for_good(client):
    table = RedisTable(client)
    await client.lpush(table.key(b"k" * 16), "x")
    with pytest.raises(StoreError, match="WRONGTYPE") as caught:
        await exchange(table, [lookup()])
    assert not caught.value.retriable


async def test_missing_rights_are_an_error_for_good(own_redis):
    client = redis.Redis.from_url(own_redis.url)
    await client.acl_setuser("reader", enabled=True, nopass=True, categories=["+@read"], keys=["*"])
    reader = redis.Redis.from_url(own_redis.url, username="reader", password="any")  # noqa: S106 - the account has none
    with pytest.raises(StoreError) as caught:
        await exchange(RedisTable(reader), [lookup()])
    assert not caught.value.retriable
    await reader.aclose()
    await client.aclose()


class Liar:
    """A client whose pipeline answers what it is told to."""

    connection_pool = None

    def __init__(self, *answers: Any) -> None:
        self.answers, self.closed = list(answers), False

    def pipeline(self, transaction: bool) -> "Liar":
        assert not transaction
        return self

    def execute_command(self, *arguments: Any) -> None: ...

    async def execute(self, raise_on_error: bool) -> list[Any]:
        assert not raise_on_error
        return self.answers

    async def aclose(self) -> None:
        self.closed = True


NONE = bytes(4)  # nothing stood before
WRONG: list[list[Any]] = [
    [],
    [b"OK"],
    [[b"2", NONE, b""]],
    [[b"1"]],
    [[b"1", NONE]],
    [[b"1", NONE * 2, b""]],
    [[b"1", NONE, b"x"]],
    [[b"1", (3 << 8).to_bytes(4, "little"), b"xx"]],
    [["1", "", ""]],
    [[b"1", NONE, 7]],
    [[b"1", NONE, b""]] * 2,
]


@pytest.mark.parametrize("answers", WRONG)
async def test_a_wrong_reply_is_never_taken(answers):
    client = Liar(*answers)
    with pytest.raises(StoreReplyInvalid) as caught:
        await exchange(RedisTable(client), [lookup()])
    assert caught.value.retriable
    assert client.closed
    assert await exchange(RedisTable(Liar([b"1", NONE, b""])), [lookup()]) == [[b"entry"]]


class Torn(Liar):
    """A cluster of which a slot moves: at first it refuses scripts of several keys, and those of one for another reason."""

    async def execute(self, raise_on_error: bool) -> list[Any]:
        asked, self.asked = self.asked, []
        self.rounds += 1
        if self.rounds == 1:
            return [redis_errors.ClusterError("TTL exhausted.") if n == 1 else redis_errors.TryAgainError("moving") for _, n in asked]
        return [[echo, NONE * n, b""] for echo, n in asked]

    def execute_command(self, *arguments: Any) -> None:
        n = arguments[2]
        self.asked.append((arguments[3 + n], n))

    def get_primaries(self) -> None: ...

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[bytes, int]] = []
        self.rounds = 0


async def test_what_redis_has_not_answered_is_never_a_full_log():
    lookups = [lookup(bytes(15) + bytes([n]), n) for n in range(3)]
    with pytest.raises(StoreUnavailable, match="TTL exhausted"):
        await exchange(RedisTable(Torn()), [*lookups, lookup(b"\1" * 16, 9)])
    assert await exchange(RedisTable(Torn()), lookups) == [[b"entry"]] * 3


async def test_who_gives_up_waiting_does_not_cut_the_conversation(redis_url):
    client = redis.Redis.from_url(redis_url, max_connections=1)
    table = RedisTable(client)
    await exchange(table, [lookup()])
    for n in range(1, 30):
        asked = [lookup(n=n, entry=b"%d" % n)]
        waiting = asyncio.ensure_future(exchange(table, asked))
        for _ in range(n % 6):
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        while table._running:
            await asyncio.sleep(0.001)
        assert await exchange(table, asked) == [[b"entry", *(b"%d" % i for i in range(1, n + 1))]]
    await client.aclose()


def test_a_prefix_must_not_hold_braces():
    with pytest.raises(ValueError, match="without braces"):
        RedisTable(None, "{x}")


async def test_what_is_shipped_is_found_in_order(client):
    assert await check_redis(client) == []


async def test_settings_that_lose_state_are_found(own_redis):
    client = redis.Redis.from_url(own_redis.url)
    await client.config_set("maxmemory-policy", "allkeys-lru")
    await client.config_set("appendfsync", "everysec")
    findings = await check_redis(client)
    assert [(finding.fatal, finding.text.split()[1]) for finding in findings] == [(True, "maxmemory-policy"), (False, "appendfsync")]
    await client.config_set("appendonly", "no")
    assert [finding.text.split()[1] for finding in await check_redis(client)] == ["maxmemory-policy", "appendonly"]
    own_redis.kill()
    with pytest.raises(StoreUnavailable):
        await check_redis(client)
    await client.aclose()
