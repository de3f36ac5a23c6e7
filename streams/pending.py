"""The pending table in Redis: one script per batch and hash tag, all of them in one round trip.

The logs and their semantics are those of ``detectors.pending``; the script is ``pending.lua``. A call may be repeated at any time, and must
be when it failed: what was appended is found again. Works on one server and on a cluster, whose slots the tags share out.
"""

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import redis.exceptions as redis_errors

from detectors.pending import FRAME_BYTES, LARGEST_FRAME, MAX_BYTES, MAX_ENTRIES, Logs, Lookups, scan
from streams.errors import StoreError, StoreReplyInvalid, StoreUnavailable

SCRIPT = Path(__file__).with_suffix(".lua").read_text()
TAGS = 16  # never to be changed while there is state: it says where a key lies
_CHUNK = 1_000  # lookups per script: a script blocks the server while it runs

_WEATHER = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.OutOfMemoryError,
    redis_errors.ReadOnlyError,
    redis_errors.TryAgainError,
    redis_errors.AskError,  # and MovedError
    redis_errors.ClusterError,
    redis_errors.SlotNotCoveredError,
    OSError,
    TimeoutError,
)
_WEATHER_CODES = ("BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN")
_RIGHTS = (redis_errors.AuthenticationError, redis_errors.AuthorizationError, redis_errors.NoPermissionError)


class RedisTable:
    """The pending table in Redis; see ``detectors.pending.PendingTable``.

    Parameters
    ----------
    client
        ``redis.asyncio.Redis`` or ``RedisCluster``, with ``decode_responses`` off. It is not closed here.
    prefix
        What keys begin with, without braces.
    max_entries, max_bytes
        What one log may hold.
    wait_replicas
        How many replicas must have a write before it counts; one server with replicas only, not a cluster.
    wait_ms
        How long to wait for them; less than the client's socket timeout.

    """

    def __init__(
        self,
        client: Any,
        prefix: str = "gnomon.",
        *,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
        wait_replicas: int = 0,
        wait_ms: int = 1_000,
    ) -> None:
        if "{" in prefix or "}" in prefix:
            raise ValueError(f"expected a prefix without braces, got {prefix!r}: they delimit Redis's hash tags")
        self._client = client
        self._keys = [f"{{{prefix}p:{tag:x}}}".encode() for tag in range(TAGS)]
        self._limits = (max_entries, max_bytes)
        self._wait = (wait_replicas, wait_ms)
        self._sha = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()
        self._echoes = itertools.count(1)
        self._running: set[asyncio.Task[Logs]] = set()

    async def exchange(self, lookups: Lookups) -> Logs:
        """Answer lookups in their order, see ``detectors.pending.PendingTable.exchange``.

        Whoever waits may be cancelled; what was sent runs to its end, since half a conversation would leave the connection one answer off.

        Raises
        ------
        StoreUnavailable
            If the table cannot be written to just now: call again with the same lookups.
        StoreError
            If Redis refuses for good.

        """
        task = asyncio.ensure_future(self._exchange(lookups))
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def key(self, key: bytes) -> bytes:
        """Return the Redis key of a log."""
        return self._keys[key[0] % TAGS] + key

    def _ended(self, task: asyncio.Task[Logs]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # nobody may be waiting for it any more

    async def _exchange(self, lookups: Lookups) -> Logs:
        try:
            answers = await self._run(lookups)
            if answers is None:  # Redis has been restarted, or its scripts flushed
                await self._client.script_load(SCRIPT)
                answers = await self._run(lookups)
        except (redis_errors.RedisError, redis_errors.RedisClusterException, OSError, TimeoutError) as error:
            raise _translated(error) from error
        except StoreReplyInvalid:
            await self._drop_connections()
            raise
        if answers is None:
            raise StoreUnavailable("expected the script that was just loaded to be there, got NOSCRIPT; is something flushing scripts?")
        return answers

    async def _run(self, lookups: Lookups) -> Logs | None:
        """Return the answers, or None where the script has to be loaded first."""
        answers: Logs = [None] * len(lookups)
        calls: list[tuple[bytes, list[int]]] = []
        pipeline = self._client.pipeline(transaction=False)
        for tag, positions in _chunks(lookups):
            echo = b"%d" % next(self._echoes)
            calls.append((echo, positions))
            hash_tag = self._keys[tag]
            keys = [hash_tag + lookups.keys[i] for i in positions]
            ttls = _ttls([lookups.ttls_ms[i] for i in positions])
            frames = [lookups.frames[i] for i in positions]
            # the method evalsha is blocked in a cluster's pipeline, the command is not
            pipeline.execute_command("EVALSHA", self._sha, len(keys), *keys, echo, *self._limits, ttls, *frames)
        if not calls:
            return answers
        replicas, wait_ms = self._wait
        if replicas:
            # waits for all that was written before this connection's last command, by whomever: a repeated call waits for the first one's
            pipeline.execute_command("WAIT", replicas, wait_ms)
        replies = await pipeline.execute(raise_on_error=False)
        if any(isinstance(reply, redis_errors.NoScriptError) for reply in replies):
            return None
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        if replicas:
            *replies, reached = replies
            if reached < replicas:
                raise StoreUnavailable(f"expected {replicas} replicas to have the write within {wait_ms} ms, got {reached}")
        if len(replies) != len(calls):
            raise StoreReplyInvalid(f"expected {len(calls)} replies, got {len(replies)}")
        for (echo, positions), reply in zip(calls, replies, strict=True):
            _check(reply, echo, len(positions))
            frames = [lookups.frames[position] for position in positions]
            for position, answer in zip(positions, _answers(itertools.islice(reply, 1, None), frames), strict=True):
                answers[position] = answer
        return answers

    async def _drop_connections(self) -> None:
        pool = getattr(self._client, "connection_pool", None)
        if pool is not None:
            await pool.disconnect(inuse_connections=False)
        else:
            await self._client.aclose()  # a cluster's client connects anew by itself


class Finding(NamedTuple):
    """What is wrong with a Redis server's settings."""

    fatal: bool  # the join must not start
    text: str


async def check_redis(client: Any) -> list[Finding]:
    """Return what would lose state on this server, or each primary of this cluster: the worst first.

    Raises
    ------
    StoreUnavailable, StoreError
        If the server cannot be asked.

    """
    try:
        if hasattr(client, "get_primaries"):
            await client.initialize()
            infos = [await client.info(target_nodes=node) for node in client.get_primaries()]
        else:
            infos = [await client.info()]
    except (redis_errors.RedisError, redis_errors.RedisClusterException, OSError, TimeoutError) as error:
        raise _translated(error) from error
    found = {finding for info in infos for finding in _judge(info)}
    try:
        fsync = (await client.config_get("appendfsync")).get("appendfsync")
    except redis_errors.ResponseError:
        found.add(Finding(False, "appendfsync cannot be read here: make sure that it is `always`, or a power loss may lose joins"))
    else:
        if fsync != "always" and all(info.get("aof_enabled") for info in infos):
            text = f"expected appendfsync always, got {fsync}: a power loss may lose the last second's joins, for good"
            found.add(Finding(False, text))
    return sorted(found, key=lambda finding: (not finding.fatal, finding.text))


def _judge(info: dict[str, Any]) -> Iterator[Finding]:
    policy, version = info.get("maxmemory_policy"), str(info.get("redis_version", "0"))
    if policy != "noeviction":
        yield Finding(True, f"expected maxmemory-policy noeviction, got {policy}: evicted logs are lost joins; set it and start again")
    if int(version.partition(".")[0]) < 7:
        yield Finding(True, f"expected Redis 7.0 or later, got {version}: PEXPIRE ... GT is missing")
    if not info.get("aof_enabled"):
        yield Finding(False, "expected appendonly yes, got no: a restart of Redis loses every pending prediction since the last snapshot")


def _chunks(lookups: Lookups) -> Iterator[tuple[int, list[int]]]:
    """Yield tags, and positions of lookups that may share a script; those of one key stay in their order."""
    tags = np.fromiter((key[0] % TAGS for key in lookups.keys), np.int64, len(lookups))
    sizes = np.fromiter(map(len, lookups.frames), np.int64, len(lookups))
    tags[sizes > LARGEST_FRAME] = TAGS  # no log can hold it: as good as full
    order = np.argsort(tags, kind="stable")
    starts = np.searchsorted(tags[order], np.arange(TAGS + 1))
    for tag, (start, stop) in enumerate(itertools.pairwise(starts.tolist())):
        for begin in range(start, stop, _CHUNK):
            yield tag, order[begin : min(begin + _CHUNK, stop)].tolist()


def _ttls(ttls_ms: Sequence[int]) -> bytes:
    """Return times to live as the script takes them, 16 digits each: one for all where they are equal."""
    if ttls_ms.count(ttls_ms[0]) == len(ttls_ms):
        return b"%016d" % ttls_ms[0]
    return b"".join(b"%016d" % ttl_ms for ttl_ms in ttls_ms)


def _check(reply: Any, echo: bytes, n: int) -> None:
    if not isinstance(reply, list) or not reply or reply[0] != echo:
        raise StoreReplyInvalid(f"expected the reply to call {echo.decode()}, got another's; the connection is dropped")
    if len(reply) != n + 1 or not set(map(type, reply)) <= {bytes, type(None)}:
        raise StoreReplyInvalid(f"expected {n} logs as bytes, got {len(reply) - 1}; is the client made with decode_responses?")


def _answers(logs: Iterable[bytes | None], frames: Sequence[bytes]) -> Iterator[bytes | None]:
    """Yield the log up to and including each lookup's frame, of what the script says: that, or what stood before the frame."""
    for log, frame in zip(logs, frames, strict=True):
        if not log:
            yield None if log is None else frame
        elif FRAME_BYTES + (log[0] | log[1] << 8) == len(log):  # one frame, the usual case
            yield log if log[2:FRAME_BYTES] == frame[2:FRAME_BYTES] else log + frame
        else:
            yield log if scan(log, frame[2:FRAME_BYTES])[2] else log + frame


def _translated(error: Exception) -> StoreError:
    text = f"Redis: {type(error).__name__}: {error}"
    if not isinstance(error, _RIGHTS) and (isinstance(error, _WEATHER) or str(error).startswith(_WEATHER_CODES)):
        return StoreUnavailable(text)
    return StoreError(text)
