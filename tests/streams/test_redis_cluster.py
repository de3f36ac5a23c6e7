"""The pending table on a Redis Cluster of three nodes: the dict's twin there too, while slots move and nodes die."""

import asyncio
import itertools
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from conftest import missing
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from support.pending_twins import Lookup, Twins, exchange, exchange_now, lookup
from support.redis_cluster import WAIT_S, RedisCluster
from support.redis_server import RedisServer

from detectors.pending import DictTable
from streams.checkpoint import RedisCheckpoints, Step
from streams.doctor import Finding, Level, redis_findings
from streams.errors import StoreError, StoreUnavailable
from streams.guard import RedisMemory
from streams.pending import TAGS, RedisTable
from streams.policy_follow import InForce, RedisPolicies
from streams.redis_check import check_redis, silent
from streams.redis_client import NodeConnection, NodeSSLConnection, connect
from streams.settings import Settings


@pytest.fixture
async def client(own_cluster: RedisCluster) -> AsyncIterator[Any]:
    client = connect(own_cluster.url, socket_timeout=5, socket_connect_timeout=5)
    yield client
    await client.aclose()


HOUR_MS = 3_600_000  # longer than any test takes


def many(n: int, keys: int = 40, first: int = 0) -> list[Lookup]:
    return [lookup(bytes([i % keys]) * 16, first + i, b"%d" % (first + i)) for i in range(n)]


def test_both_tables_answer_alike_over_three_nodes(own_cluster: RedisCluster) -> None:
    Twins.url = own_cluster.url
    run_state_machine_as_test(Twins, settings=settings(max_examples=25, stateful_step_count=12, deadline=None))


async def test_the_keys_lie_on_every_node(own_cluster: RedisCluster, client: Any) -> None:
    """A node has a third of the tags, or one more."""
    table, lookups = RedisTable(client), many(TAGS, keys=TAGS)
    assert await exchange(table, lookups) == exchange_now(DictTable(), lookups)
    assert len({client.keyslot(table.key(key)) for key, *_ in lookups}) == TAGS
    held = [own_cluster.ask(server, "DBSIZE") for server in own_cluster.servers]
    assert sum(held) == TAGS
    assert max(held) <= TAGS // 3 + 1
    assert {node.connection_class for node in client.get_nodes()} == {NodeConnection}
    assert await check_redis(client) == []


class Pair:
    """A table on the cluster and its twin in a dict, which are told the same; every entry is another."""

    def __init__(self, client: Any, prefix: str = "gnomon.") -> None:
        self.table, self.twin = RedisTable(client, prefix, max_entries=10_000), DictTable(max_entries=10_000)
        self.count, self.keys = 0, set[bytes]()

    async def tell(self, *keys: bytes, patient: bool = False) -> None:
        """Append an entry to each log; whoever is patient asks until it is answered, as workers do."""
        lookups = [lookup(key, self.count + i, b"%d" % (self.count + i), HOUR_MS) for i, key in enumerate(keys)]
        self.count += len(keys)
        self.keys.update(keys)
        wanted = exchange_now(self.twin, lookups)
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    assert await exchange(self.table, lookups) == wanted
                except StoreUnavailable:
                    if not patient:
                        raise
                    await asyncio.sleep(0.02)
                else:
                    return


def of_one_tag(*numbers: int) -> list[bytes]:
    return [b"\0" * 14 + number.to_bytes(2, "big") for number in numbers]


async def test_a_slot_moves_while_lookups_go_on(own_cluster: RedisCluster, client: Any) -> None:
    """To a node that had none; between its keys, one at a time, come lookups of each kind: of keys moved, not moved, and new."""
    pair, old = Pair(client), of_one_tag(*range(6))
    await pair.tell(*old)
    late = connect(own_cluster.url)
    assert await exchange(RedisTable(late, "elsewhere."), many(40)) == exchange_now(DictTable(), many(40))
    target = own_cluster.add()
    for moved in own_cluster.moving(client.keyslot(pair.table.key(old[0])), target):
        for node in client.get_nodes():  # two connections to each: a command must not miss the one that is allowed to ask
            await asyncio.gather(*(client.ping(target_nodes=node) for _ in range(2)))
        for key in old:
            await pair.tell(key)
        await pair.tell(*of_one_tag(100 + moved))
        await pair.tell(*old)
        new, another = of_one_tag(200 + moved, 300 + moved)
        await pair.tell(*old, new, *reversed(old), another, new)
    await pair.tell(*old, *of_one_tag(400))
    assert own_cluster.ask(target, "DBSIZE") == len(pair.keys)
    assert sum(own_cluster.ask(server, "DBSIZE") for server in own_cluster.servers) == len(pair.keys) + 40
    pair.table = RedisTable(late, max_entries=10_000)  # this client has not heard of it
    await pair.tell(*old)
    await late.aclose()


async def test_slots_move_to_and_fro_and_nodes_die_under_several_workers(own_cluster: RedisCluster, client: Any) -> None:
    def keys(i: int) -> list[bytes]:  # one of each tag
        return [bytes([tag]) + i.to_bytes(15, "big") for tag in range(TAGS)]

    async def work(pair: Pair, moved: asyncio.Task[None]) -> None:
        for n in itertools.count():
            done = moved.done()
            old, new = keys(n % 5), keys(100 + n // 10)
            await pair.tell(*old, *new, *old, patient=True)
            if done:
                return
            await asyncio.sleep(0.02)  # whoever moves needs the interpreter too

    def move() -> None:
        slots = [client.keyslot(pair.table.key(key)) for pair in pairs[:2] for key in keys(0)[:: TAGS // 4]]
        for n, slot in enumerate(slots + slots):
            if n % 6 == 5:
                server = own_cluster.servers[n % 3]
                server.kill()
                server.start()
                own_cluster.wait()
            target = own_cluster.servers[(own_cluster.servers.index(own_cluster.owner(slot)) + 1) % 3]
            for _ in own_cluster.moving(slot, target, keys_at_once=5):
                pass

    async with aclosing(connect(own_cluster.url)) as second, aclosing(connect(own_cluster.url)) as third:
        pairs = [Pair((client, second, third)[i % 3], f"{i}.") for i in range(6)]
        await pairs[0].tell(*keys(0))
        moved = asyncio.create_task(asyncio.to_thread(move))
        await asyncio.gather(*(work(pair, moved) for pair in pairs))
        await moved
    assert sum(own_cluster.ask(server, "DBSIZE") for server in own_cluster.servers) == sum(len(pair.keys) for pair in pairs)


async def unavailable(call: Callable[[], Awaitable[object]]) -> str:
    """Call until it says that the store is away; returns what it says."""
    while True:
        try:
            await call()
        except StoreUnavailable as error:
            assert error.retriable
            return str(error)
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("dead", [1, 3])
async def test_nodes_that_die_and_return_lose_nothing(own_cluster: RedisCluster, client: Any, dead: int) -> None:
    pair, keys = Pair(client), [bytes([n]) * 16 for n in range(40)]
    checkpoints, policies, memory = RedisCheckpoints(client, "x."), RedisPolicies(client, "x."), RedisMemory(client, "x.")
    policy, partitions = InForce("t", 1, "", "ada", 0), range(8)
    await pair.tell(*keys)
    for partition in partitions:
        await checkpoints.write(partition, await checkpoints.take(partition), Step(None, 1), {b"f": b"%d" % partition})
    await policies.note(policy)
    await memory.remember({"scored": "fact"})
    for server in own_cluster.servers[-dead:]:
        server.kill()
    with pytest.raises(StoreUnavailable):
        await pair.tell(*keys)
    pair = Pair(client)
    for call in (
        lambda: exchange(RedisTable(client, "new."), many(40)),
        lambda: checkpoints.read(partitions[0]),
        policies.read,
        policies.digest,
        memory.recall,
        lambda: check_redis(client),
    ):
        await unavailable(call)  # where a node is silent for long, the others stop too
    async with aclosing(connect(own_cluster.url)) as late:
        await unavailable(lambda: check_redis(late))
    for server in own_cluster.servers[-dead:]:
        server.start()
    await asyncio.to_thread(own_cluster.wait)
    await pair.tell(*keys, patient=True)  # as at first
    await pair.tell(*keys)
    assert await policies.read() == policy
    assert await memory.recall() == {"scored": "fact"}
    assert [(await checkpoints.read(partition))[b"f"] for partition in partitions] == [b"%d" % partition for partition in partitions]
    assert await check_redis(client) == []


async def test_a_replica_takes_over(own_cluster: RedisCluster, client: Any) -> None:
    pair, keys, primary = Pair(client), [bytes([n]) * 16 for n in range(40)], own_cluster.servers[0]
    replica = await asyncio.to_thread(own_cluster.add_replica, primary)
    await pair.tell(*keys)
    await asyncio.to_thread(own_cluster.wait_for_replica, primary, replica)
    primary.kill()
    await pair.tell(*keys, patient=True)
    await pair.tell(*keys)
    assert {node.port for node in client.get_primaries()} == {server.port for server in own_cluster.servers} - {primary.port}
    assert await check_redis(client) == []


async def test_what_cannot_be_entered_is_for_good(own_redis: RedisServer) -> None:
    """As opposed to nodes that do not answer: a server that is in no cluster, and a wrong password."""
    for url in (own_redis.url.replace("redis:", "redis+cluster:"), f"redis+cluster://ada:hidden@127.0.0.1:{own_redis.port}"):
        client = connect(url)
        for call in (check_redis(client), exchange(RedisTable(client), many(1))):
            with pytest.raises(StoreError) as caught:
                await call
            assert not caught.value.retriable
            assert "hidden" not in str(caught.value)


def bad(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.level, finding.text) for finding in found if finding.level != Level.OK]


async def test_what_doctor_says_of_a_cluster(own_cluster: RedisCluster, client: Any) -> None:
    first, second, third = (f"127.0.0.1:{server.port}" for server in own_cluster.servers)
    await RedisMemory(client, "gnomon.").remember({"scored": "fact"})
    found, remembered = await redis_findings(client, Settings())
    assert bad(found) == []
    assert remembered == {"scored": "fact"}
    for name in (first, second, third):  # its settings, its memory, its clock
        assert [finding.about for finding in found if finding.text.startswith(f"{name}: ")] == ["redis", "redis", "clocks"]

    for server in own_cluster.servers[:2]:
        own_cluster.ask(server, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    own_cluster.ask(own_cluster.servers[2], "CONFIG", "SET", "appendfsync", "no")
    ((evicts, _), (fsync, _)) = both = [(str(finding), finding.fatal) for finding in await check_redis(client)]
    assert [fatal for _, fatal in both] == [True, False]
    assert evicts.endswith(f"(at {first}, {second})")
    assert fsync.endswith(f"(at {third})")
    found, _ = await redis_findings(client, Settings())
    assert [text.split(": ")[0] for _, text in bad(found)] == [first, second, third]

    assert await silent(client) == []
    own_cluster.servers[2].kill()
    await unavailable(lambda: check_redis(client))
    assert await silent(client) == [third]
    texts = ""
    while texts.count("got fail") < 2:  # until the others are sure
        found, _ = await redis_findings(client, Settings())
        texts = "\n".join(f"{level} {text}" for level, text in bad(found))
    assert f"error {third}: cannot be asked" in texts
    for name in (first, second):
        assert f"error {name}: expected cluster_state ok and 16384 slots served, got fail and 10922" in texts
    assert "what workers noted cannot be read" in texts


async def test_what_doctor_says_of_replicas(own_cluster: RedisCluster) -> None:
    primary = own_cluster.servers[0]
    replica = await asyncio.to_thread(own_cluster.add_replica, primary)
    name = f"127.0.0.1:{replica.port}"

    async def said() -> list[Finding]:
        async with aclosing(connect(own_cluster.url, socket_timeout=5, socket_connect_timeout=5)) as client:
            return (await redis_findings(client, Settings()))[0]

    async def until(*expected: str) -> list[Finding]:
        """Ask until nothing else is bad; nodes hear of each other in a while."""
        begun = time.monotonic()
        while True:
            texts = bad(found := await said())
            if len(texts) == len(expected) and all(
                level == "warning" and re.match(e, text) for (level, text), e in zip(texts, expected, strict=True)
            ):
                return found
            assert time.monotonic() < begun + WAIT_S, texts
            await asyncio.sleep(0.05)

    found = await until(f"{name}: expected cluster-replica-no-failover yes, got no: it may take over without the last writes")
    counts = {finding.text.partition(": ")[0]: finding.text.rpartition(", ")[2] for finding in found if " MiB used" in finding.text}
    assert counts == {f"127.0.0.1:{server.port}": f"replicas: {int(server is primary)}" for server in own_cluster.servers[:3]}
    own_cluster.ask(replica, "CONFIG", "SET", "cluster-replica-no-failover", "yes")
    await until()
    own_cluster.ask(replica, "CONFIG", "SET", "masterauth", "wrong")  # which a primary without a password refuses
    own_cluster.ask(primary, "CLIENT", "KILL", "TYPE", "replica")
    await until(f"{name}: expected a replica that follows its primary, got link down: it falls behind")
    replica.kill()
    await until(f"{name}: a replica that cannot be asked")


async def test_slots_that_are_nobodys_are_told(own_cluster: RedisCluster) -> None:
    for server in own_cluster.servers:
        own_cluster.ask(server, "CLUSTER", "DELSLOTS", 7)
    async with aclosing(connect(own_cluster.url)) as client:
        with pytest.raises(StoreUnavailable, match="16383 of 16384 covered"):
            await redis_findings(client, Settings())


async def test_a_replica_that_takes_over_by_hand_has_everything(own_cluster: RedisCluster, client: Any) -> None:
    pair, keys, primary = Pair(client), [bytes([n]) * 16 for n in range(40)], own_cluster.servers[0]
    replica = await asyncio.to_thread(own_cluster.add_replica, primary)
    await pair.tell(*keys)
    own_cluster.ask(replica, "CLUSTER", "FAILOVER")
    while own_cluster.ask(replica, "INFO")["role"] != "master":
        await pair.tell(*keys, patient=True)
    primary.kill()
    await pair.tell(*keys, patient=True)


async def test_a_connection_that_is_closed_under_its_user_is_weather(client: Any) -> None:
    """As redis-py does with all of them, whoever uses them, when one of several calls finds a node dead."""
    await client.initialize()
    (node, *_), told = client.get_primaries(), set[str]()
    for n in range(200):
        asked = asyncio.gather(*(node.execute_command("PING") for _ in range(2)), return_exceptions=True)
        for _ in range(n % 20):
            await asyncio.sleep(0)
        closed = asyncio.gather(*(node.disconnect() for _ in range(2)), return_exceptions=True)
        for _ in range(n % 7):
            await asyncio.sleep(0)
        asked_again = asyncio.gather(*(node.execute_command("PING") for _ in range(2)), return_exceptions=True)
        told |= {type(outcome).__name__ for outcome in [*await asked, *await asked_again]}
        await closed
    assert told == {"bool", "ConnectionError"}


@pytest.fixture
def tls_cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """A cluster that speaks TLS, with a user of its own."""
    if shutil.which("openssl") is None:
        missing("no openssl on the path: it makes the certificate")
    whole, command = tmp_path / "whole.pem", ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    made = [tmp_path / "key.pem", tmp_path / "cert.pem"]
    subjects = ["-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", made[0], "-out", made[1], *subjects], check=True, capture_output=True)
    whole.write_bytes(b"".join(path.read_bytes() for path in made))
    cluster = RedisCluster(certificate=whole)
    try:
        cluster.start()
        for server in cluster.servers:
            cluster.ask(server, "ACL", "SETUSER", "ada", "on", ">pass/w@rd", "~*", "&*", "+@all")
        yield cluster
    finally:
        cluster.close()


async def test_over_tls_with_a_user(tls_cluster: RedisCluster, tmp_path: Path) -> None:
    hosts = tls_cluster.url.removeprefix("rediss+cluster://")
    url = f"rediss+cluster://ada:pass%2Fw%40rd@{hosts}/0?ssl_ca_certs={tmp_path / 'cert.pem'}"
    Settings(redis=url).check()
    async with aclosing(connect(url, socket_timeout=5)) as client:
        await Pair(client).tell(*(bytes([n]) * 16 for n in range(40)))
        assert {node.connection_class for node in client.get_nodes()} == {NodeSSLConnection}
    for wrong in (url.replace("pass", "hidden"), f"rediss+cluster://ada:hidden@{hosts}"):  # a password, and a certificate that nobody knows
        async with aclosing(connect(wrong, socket_timeout=5)) as client:
            with pytest.raises(StoreError) as caught:
                await exchange(RedisTable(client), many(1))
            assert "hidden" not in str(caught.value)
