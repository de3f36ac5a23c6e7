"""The pending table on a Redis Cluster of three nodes: the dict's twin there too, while slots move and nodes die."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test
from support.pending_twins import Lookup, Twins, exchange, exchange_now, lookup
from support.redis_cluster import RedisCluster

from detectors.pending import DictTable
from streams.pending import RedisTable
from streams.redis_check import check_redis
from streams.redis_client import PackingConnection, connect


@pytest.fixture
async def client(own_cluster: RedisCluster) -> AsyncIterator[Any]:
    client = connect(own_cluster.url, socket_timeout=5, socket_connect_timeout=5)
    yield client
    await client.aclose()


def many(n: int, keys: int = 40, first: int = 0) -> list[Lookup]:
    return [lookup(bytes([i % keys]) * 16, first + i, b"%d" % (first + i)) for i in range(n)]


def test_both_tables_answer_alike_over_three_nodes(own_cluster: RedisCluster) -> None:
    Twins.url = own_cluster.url
    run_state_machine_as_test(Twins, settings=settings(max_examples=25, stateful_step_count=12, deadline=None))


async def test_the_keys_lie_on_every_node(own_cluster: RedisCluster, client: Any) -> None:
    table, lookups = RedisTable(client), many(40)
    assert await exchange(table, lookups) == exchange_now(DictTable(), lookups)
    assert len({client.keyslot(table.key(key)) for key, *_ in lookups}) == 16
    held = [own_cluster.ask(server, "DBSIZE") for server in own_cluster.servers]
    assert sum(held) == 40
    assert all(held)
    assert {node.connection_class for node in client.get_nodes()} == {PackingConnection}
    assert await check_redis(client) == []
