"""Fixtures that every room's tests may ask for. Services that are missing are skipped loudly, or fail with GNOMON_REQUIRE_SERVICES=1."""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# ``support`` is a plain folder of helpers, not an installed package; the root comes first, or ``tests/schemas`` would pass for ``schemas``
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from support.asyncapi_parser import NoParserError, installed, parse
from support.chromium import NoBrowserError, browser
from support.kafka_broker import Broker, NoBrokerError, new_broker
from support.redis_cluster import RedisCluster
from support.redis_server import NoRedisError, RedisServer


def missing(reason: str) -> None:
    """Skip the test that asks for a service that is not here, or fail it where services are required."""
    if os.environ.get("GNOMON_REQUIRE_SERVICES") == "1":
        pytest.fail(f"GNOMON_REQUIRE_SERVICES=1, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """A real broker for the session; ``kafka.bootstrap`` is its address. Tests keep apart by ``prefix``."""
    try:
        broker = new_broker()
        broker.start()
    except NoBrokerError as error:
        missing(str(error))
        raise
    yield broker
    broker.close()


def started_redis(**options: str) -> RedisServer:
    """A running redis-server with options of its own, or a skipped test."""
    try:
        return RedisServer(**options).start()
    except NoRedisError as error:
        missing(str(error))
        raise


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One redis-server for the session. Ask for ``redis_url`` instead, unless the server itself matters."""
    server = started_redis()
    yield server
    server.close()


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> str:
    """The URL of a real, empty Redis with appendfsync always."""
    with socket.create_connection(("127.0.0.1", shared_redis.port)) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        assert connection.recv(64).startswith(b"+OK")
    return shared_redis.url


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A redis-server of this test alone, to be killed and started again."""
    server = started_redis()
    yield server
    server.close()


@pytest.fixture
def own_cluster() -> Iterator[RedisCluster]:
    """A Redis Cluster of three primaries, of this test alone."""
    try:
        cluster = RedisCluster()
    except NoRedisError as error:
        missing(str(error))
        raise
    try:
        yield cluster.start()
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A real browser for the module; closed before the next one, since Playwright keeps an event loop running meanwhile."""
    try:
        with browser() as context:
            yield context
    except NoBrowserError as error:
        missing(str(error))
        raise


@pytest.fixture(scope="session")
def asyncapi_parser() -> Callable[[str], dict[str, Any]]:
    """The official parser of AsyncAPI documents: text in, what it says of it out."""
    try:
        installed()
    except NoParserError as error:
        missing(str(error))
    return parse


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """A topic prefix of this test alone."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:40]
    return f"{name}-{time.time_ns() % 10**9:x}."
