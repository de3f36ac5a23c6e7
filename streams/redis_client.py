"""Clients of Redis, of one server or of a cluster.

They pack their commands in C: a script with thousands of arguments costs a third.
"""

from typing import Any

import hiredis
from redis.asyncio import Connection, ConnectionPool, Redis, RedisCluster, SSLConnection
from redis.asyncio.cluster import ClusterNode, PipelineCommand
from redis.exceptions import ConnectionError

from streams.redis_url import read


class _Packing:
    """In place of redis-py's own packing, argument by argument in Python."""

    def pack_command(self, *args: Any) -> list[bytes]:
        """Return a command as it goes over the wire; a name of two words, such as CONFIG GET, is two arguments."""
        name = args[0]
        words = name.split() if isinstance(name, str | bytes) else [name]
        return [hiredis.pack_command((*words, *args[1:]))]

    def pack_commands(self, commands: Any) -> list[bytes]:
        """Return several."""
        return [b"".join(part for command in commands for part in self.pack_command(*command))]


class PackingConnection(_Packing, Connection):  # type: ignore[misc]  # redis is untyped here
    """A plain connection."""


class PackingSSLConnection(_Packing, SSLConnection):  # type: ignore[misc]  # redis is untyped here
    """A connection over TLS."""


class _Cut:
    """Of a connection to a cluster's node: redis-py closes them all when it is to learn the layout anew, those that others use included."""

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        """Send a command; one that was closed meanwhile has no writer any more."""
        try:
            await super().send_packed_command(*args, **options)  # type: ignore[misc]  # of redis-py
        except AttributeError as error:
            raise ConnectionError(_CLOSED) from error

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """Read an answer; one that was closed meanwhile has no reader any more."""
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc]  # of redis-py
        except AttributeError as error:
            raise ConnectionError(_CLOSED) from error


class NodeConnection(_Cut, PackingConnection):
    """A plain connection to a node."""


class NodeSSLConnection(_Cut, PackingSSLConnection):
    """A connection to a node over TLS."""


_CLOSED = "closed while it was in use"
_OF_SERVER = {Connection: PackingConnection, SSLConnection: PackingSSLConnection}
_OF_NODE = {Connection: NodeConnection, SSLConnection: NodeSSLConnection}


class _Asked:
    """The node that a slot is moving to, for one command that was sent on to it.

    ASKING holds for the connection's next command only, so both go together. redis-py takes a connection for each: with two of them the
    command never arrives, and the permission stays behind for some other command, which must not have it.
    """

    def __init__(self, node: Any) -> None:
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    async def execute_command(self, *args: Any, asking: bool = False, **options: Any) -> Any:
        """Run a command there; ASKING alone does nothing."""
        if args == ("ASKING",):
            return b"OK"
        command = PipelineCommand(1, *args, **options)
        await self._node.execute_pipeline([PipelineCommand(0, "ASKING"), command])
        if isinstance(command.result, Exception):
            raise command.result
        return command.result


class Cluster(RedisCluster):  # type: ignore[misc]  # redis is untyped here
    """redis-py's client of a cluster, which follows a slot that is moving, also to a node that has none yet."""

    RedisClusterRequestTTL = (
        6  # how often a command is sent on; a script with keys here and there is refused at both nodes, again and again
    )

    def get_node(self, host: str | None = None, port: int | None = None, node_name: str | None = None) -> Any:
        """Return a node that is known; by name, as redis-py asks when a slot is moving, any."""
        if node_name is None:
            return super().get_node(host, port)
        nodes = self.nodes_manager
        if node_name not in nodes.nodes_cache:
            host, _, number = node_name.rpartition(":")
            node = ClusterNode(host, int(number), "primary", **nodes.connection_kwargs)
            nodes.set_nodes(nodes.nodes_cache, {node_name: node})
        return _Asked(nodes.nodes_cache[node_name])

    async def _determine_slot(self, command: str, *args: Any) -> int:
        # redis-py looks at each key of a script, twice, and would cost twice as much. The server refuses keys of several slots.
        if command == "EVALSHA":
            return int(self.keyslot(args[2]))
        return int(await super()._determine_slot(command, *args))

    async def aclose(self) -> None:
        """Close all connections; redis-py keeps those of a client that is about to learn the layout anew."""
        await super().aclose()
        if self._lock is not None:
            async with self._lock:
                if self._initialize:
                    await self.nodes_manager.aclose()
                    await self.nodes_manager.aclose("startup_nodes")


def connect(url: str, **options: Any) -> Any:
    """Return a client of the Redis that a setting names, ``redis.asyncio.Redis`` or ``RedisCluster``; nothing is connected yet.

    >>> connect("rediss://redis:6379").connection_pool.connection_class.__name__
    'PackingSSLConnection'
    >>> connect("redis+cluster://a:6379,b:6379").startup_nodes
    [[host=a, port=6379, name=a:6379, server_type=None], [host=b, port=6379, name=b:6379, server_type=None]]
    """
    place = read(url)
    if place.nodes:
        nodes = [ClusterNode(*node) for node in place.nodes]
        # The layout is asked of the nodes of the setting, not of those found: these may all come back under other addresses.
        client = Cluster.from_url(place.url, startup_nodes=nodes, dynamic_startup_nodes=False, **options)
        kinds = client.nodes_manager.connection_kwargs
        kinds["connection_class"] = _OF_NODE[kinds["connection_class"]]
        return client
    pool = ConnectionPool.from_url(url, **options)
    pool.connection_class = _OF_SERVER.get(pool.connection_class, pool.connection_class)
    return Redis.from_pool(pool)
