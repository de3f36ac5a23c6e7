"""Looking at the servers of a Redis, one or each primary of a cluster: what of their settings would lose state, and how they are."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import redis.exceptions as redis_errors

from streams.errors import StoreUnavailable
from streams.guard import REDIS_ERRORS
from streams.pending import _translated

SLOTS = 16_384
_BY_HAND = "cluster-replica-no-failover"


class Server(NamedTuple):
    """A server that holds state, and how commands are sent to it."""

    name: str  # host:port of a cluster's node; empty: there is one server only
    where: dict[str, Any]  # options of commands


class Finding(NamedTuple):
    """What is wrong with a Redis server's settings."""

    fatal: bool  # the workers must not start
    text: str
    at: str = ""  # which nodes of a cluster

    def __str__(self) -> str:
        """Return the text, with the nodes."""
        return f"{self.text} (at {self.at})" if self.at else self.text


async def servers(client: Any) -> list[Server]:
    """Return the one server, or each primary of a cluster.

    Raises
    ------
    StoreUnavailable, StoreError
        If no node of the cluster tells which there are, or slots are nobody's.

    """
    if not hasattr(client, "get_primaries"):
        return [Server("", {})]
    try:
        await client.initialize()
    except REDIS_ERRORS as error:
        raise _translated(error) from error
    return [Server(node.name, {"target_nodes": node}) for node in client.get_primaries()]


def replicas(client: Any) -> list[Server]:
    """Return the replicas of a cluster's primaries, as the layout that is known has them; of one server none."""
    nodes = client.get_replicas() if hasattr(client, "get_replicas") else []
    return [Server(node.name, {"target_nodes": node}) for node in nodes]


async def check_replica(client: Any, server: Server) -> list[str]:
    """Return how writes would be lost if a cluster's replica took over; raises as ``check_redis`` does."""
    try:
        info = await client.info("replication", **server.where)
        alone = (await client.config_get(_BY_HAND, **server.where)).get(_BY_HAND) == "no"
    except REDIS_ERRORS as error:
        raise _translated(error) from error
    found = []
    if (link := info.get("master_link_status")) != "up":
        found.append(f"expected a replica that follows its primary, got link {link}: it falls behind")
    if alone:
        found.append(f"expected {_BY_HAND} yes, got no: it may take over without the last writes, since nobody waits for it")
    return found


async def check_redis(client: Any) -> list[Finding]:
    """Return what would lose state on this server, or on a primary of this cluster: the worst first.

    Raises
    ------
    StoreUnavailable, StoreError
        If a server cannot be asked, or a node says that the cluster is not well.

    """
    found: dict[Finding, list[str]] = {}
    for server in await servers(client):
        for finding in await check_server(client, server):
            found.setdefault(finding, []).append(server.name)
        wrong = await cluster_state(client, server)
        if wrong is not None:
            raise StoreUnavailable(f"Redis: {server.name} says: {wrong}")
    return sorted((finding._replace(at=", ".join(names)) for finding, names in found.items()), key=lambda each: (not each.fatal, each.text))


async def check_server(client: Any, server: Server) -> list[Finding]:
    """Return what of a server's settings would lose state; raises as ``check_redis`` does."""
    try:
        info = await client.info(**server.where)
        found = list(_judge(info))
        try:
            fsync = (await client.config_get("appendfsync", **server.where)).get("appendfsync")
        except redis_errors.ResponseError:
            text = "appendfsync cannot be read here: make sure that it is `always`, or a power loss may lose joins"
            return [*found, Finding(False, text)]
    except REDIS_ERRORS as error:
        raise _translated(error) from error
    if fsync != "always" and info.get("aof_enabled"):
        text = f"expected appendfsync always, got {fsync}: a power loss may lose the last second's joins, for good"
        found.append(Finding(False, text))
    return found


async def cluster_state(client: Any, server: Server) -> str | None:
    """Return what a node says is wrong with its cluster; None: nothing, or it is in none. Raises as ``check_redis`` does."""
    if not server.name:
        return None
    try:
        info = await client.cluster_info(**server.where)
    except REDIS_ERRORS as error:
        raise _translated(error) from error
    state, served = info["cluster_state"], int(info["cluster_slots_ok"])
    if state == "ok" and served == SLOTS:
        return None
    return f"expected cluster_state ok and {SLOTS} slots served, got {state} and {served}: the others are nobody's, or their node is down"


async def silent(client: Any) -> list[str]:
    """Return the names of a cluster's primaries that do not answer, each asked by itself; of one server none."""
    nodes = client.get_primaries() if hasattr(client, "get_primaries") else []
    answered = await asyncio.gather(*map(_answers, nodes))
    return sorted(node.name for node, answers in zip(nodes, answered, strict=True) if not answers)


async def _answers(node: Any) -> bool:
    try:
        # not by way of the client, which would learn the layout anew, and close every node's connections for it
        await node.execute_command("PING")
    except REDIS_ERRORS:
        return False
    return True


async def clock_ahead_s(client: Any, server: Server) -> float:
    """Return by how much a server's clock is ahead of ours; raises as ``check_redis`` does."""
    begun = time.time()
    try:
        seconds, micros = await client.time(**server.where)
    except REDIS_ERRORS as error:
        raise _translated(error) from error
    return float(seconds + micros / 1e6 - (begun + time.time()) / 2)


def _judge(info: dict[str, Any]) -> Iterator[Finding]:
    policy, version = info.get("maxmemory_policy"), str(info.get("redis_version", "0"))
    if policy != "noeviction":
        yield Finding(True, f"expected maxmemory-policy noeviction, got {policy}: evicted logs are lost joins; set it and start again")
    if int(version.partition(".")[0]) < 7:
        yield Finding(True, f"expected Redis 7.0 or later, got {version}: PEXPIRE ... GT and SET ... NX GET are missing")
    if not info.get("aof_enabled"):
        yield Finding(False, "expected appendonly yes, got no: a restart of Redis loses every pending prediction since the last snapshot")
