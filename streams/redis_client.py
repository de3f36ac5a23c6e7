"""Clients of Redis that pack their commands in C: a script with thousands of arguments costs a third."""

from typing import Any

import hiredis
from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection


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


def connect(url: str, **options: Any) -> Any:
    """Return a client of one server, as ``redis.asyncio.Redis.from_url`` does; nothing is connected yet.

    >>> connect("rediss://redis:6379").connection_pool.connection_class.__name__
    'PackingSSLConnection'
    """
    pool = ConnectionPool.from_url(url, **options)
    if pool.connection_class in (Connection, SSLConnection):
        pool.connection_class = PackingSSLConnection if pool.connection_class is SSLConnection else PackingConnection
    return Redis.from_pool(pool)
