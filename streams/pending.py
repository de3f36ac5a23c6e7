"""The pending table in Redis: a script for each thousand lookups, in a cluster for each hash tag, all of them in one round trip.

The logs and their semantics are those of ``detectors.pending``; the script is ``pending.lua``. A call may be repeated at any time, and must
be when it failed: what was appended is found again. Works on one server and on a cluster, whose slots the tags share out; while a slot
moves there, lookups of one key may be stored in another order than they were asked in, which the rule does not mind.
"""

import asyncio
import itertools
from collections.abc import Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import redis.exceptions as redis_errors

from detectors.fixed import Ints
from detectors.keys import KEY_BYTES
from detectors.pending import FRAME_BYTES, FULL, LARGEST_FRAME, MAX_BYTES, MAX_ENTRIES, STORED, Logs, Lookups
from streams.errors import StoreError, StoreReplyInvalid, StoreUnavailable

SCRIPT = Path(__file__).with_suffix(".lua").read_text()
# Never to be changed while there is state: they say where a key lies. Two characters which, by the sums that slots are, put one tag in each
# sixty-fourth of a cluster's slots, whatever the prefix is; no more, so that with the prefix gnomon. a key fits 32 bytes of memory.
_TAGS = [first + second for first in "01234567" for second in "defglmno"]
TAGS = len(_TAGS)
_CHUNK = 1_000  # lookups per script: a script blocks the server while it runs
_NOTHING = (0, 0)  # entries and bytes that a log may hold, so that it is only looked at
_FOUND, _FULL = 1, 2  # kinds of answers of the script

Answer = tuple[Ints, Ints, Ints, bytes]  # of one script: its lookups' positions, and what ``_read`` returns

_TORN = (redis_errors.TryAgainError, redis_errors.ClusterError)  # the latter says that redis-py has tried often enough
_WEATHER = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.OutOfMemoryError,
    redis_errors.ReadOnlyError,
    redis_errors.TryAgainError,
    redis_errors.AskError,  # and MovedError
    redis_errors.ClusterError,
    redis_errors.RedisClusterException,  # slots that nobody has, nodes that do not agree
    OSError,
    TimeoutError,
)
_WEATHER_CODES = ("BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "TRYAGAIN")
_FROM_REDIS = (redis_errors.RedisError, redis_errors.RedisClusterException)
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
        self._in_cluster = hasattr(client, "get_primaries")
        self._keys = [f"{{{prefix}p{tag}}}".encode() for tag in _TAGS]
        self._tags = np.frombuffer(b"".join(self._keys), np.uint8).reshape(TAGS, -1)
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
            answers = await self._run(lookups, *self._ordered(lookups))
            if answers is None:  # Redis has been restarted, or its scripts flushed
                await self._client.script_load(SCRIPT)
                answers = await self._run(lookups, *self._ordered(lookups))
        except (redis_errors.RedisError, redis_errors.RedisClusterException, OSError, TimeoutError) as error:
            raise _translated(error) from error
        except StoreReplyInvalid:
            await self._drop_connections()
            raise
        if answers is None:
            raise StoreUnavailable("expected the script that was just loaded to be there, got NOSCRIPT; is something flushing scripts?")
        return _answers(lookups, answers)

    async def _run(self, lookups: Lookups, order: Ints, chunks: list[slice]) -> list[Answer] | None:
        """Return the answers to parts of an order, or None where the script has to be loaded first."""
        calls: list[tuple[bytes, Ints]] = []
        pipeline = self._client.pipeline(transaction=False)
        keys, frames = self._named(lookups, order), [lookups.frames[i] for i in order.tolist()]
        ttls = lookups.ttls_ms if len(set(lookups.ttls_ms)) > 1 else []
        one = _ttls(lookups.ttls_ms[:1])
        for chunk in chunks:
            echo = b"%d" % next(self._echoes)
            calls.append((echo, order[chunk]))
            kept = _ttls([ttls[i] for i in order[chunk].tolist()]) if ttls else one
            limits, asked = self._limits, frames[chunk]
            if len(asked[0]) > LARGEST_FRAME:  # no log can hold these, but one may have their origins, with other entries
                limits, asked = _NOTHING, [b"\0\0" + frame[2:FRAME_BYTES] for frame in asked]
            # the method evalsha is blocked in a cluster's pipeline, the command is not
            pipeline.execute_command("EVALSHA", self._sha, chunk.stop - chunk.start, *keys[chunk], echo, *limits, kept, b"".join(asked))
        replicas, wait_ms = self._wait
        if replicas and calls:
            # waits for all that was written before this connection's last command, by whomever: a repeated call waits for the first one's
            pipeline.execute_command("WAIT", replicas, wait_ms)
        replies = await pipeline.execute(raise_on_error=False) if calls else []
        if any(isinstance(reply, redis_errors.NoScriptError) for reply in replies):
            return None
        reached = replies.pop() if replicas and calls else replicas
        if isinstance(reached, Exception):
            raise reached
        torn = []
        for (_, positions), reply in zip(calls, replies, strict=False):
            if _is_torn(lookups, positions, reply):
                torn.append(positions)
            elif isinstance(reply, Exception):
                raise reply
        if reached < replicas:
            raise StoreUnavailable(f"expected {replicas} replicas to have the write within {wait_ms} ms, got {reached}")
        if len(replies) != len(calls):
            raise StoreReplyInvalid(f"expected {len(calls)} replies, got {len(replies)}")
        whole = [(call, reply) for call, reply in zip(calls, replies, strict=True) if not isinstance(reply, Exception)]
        read = [(positions, *_read(reply, echo, len(positions))) for (echo, positions), reply in whole]
        if torn:
            apart = await self._run(lookups, *_by_key(lookups, np.concatenate(torn)))
            return None if apart is None else read + apart
        return read

    def _ordered(self, lookups: Lookups) -> tuple[Ints, list[slice]]:
        """Return an order of lookups, those of one key as they were, and parts that may share a script: in a cluster of one hash tag."""
        tags = _bytes(lookups)[:, 0] % TAGS if self._in_cluster else np.zeros(len(lookups), dtype=np.uint8)
        return _parts(lookups, np.arange(len(lookups)), tags)

    def _named(self, lookups: Lookups, order: Ints) -> list[bytes]:
        """Return the Redis keys of lookups, as of ``key``."""
        keys = _bytes(lookups)[order]
        names = np.hstack([self._tags[keys[:, 0] % TAGS], keys])
        named: list[bytes] = names.view(f"V{names.shape[1]}")[:, 0].tolist()
        return named

    async def _drop_connections(self) -> None:
        pool = getattr(self._client, "connection_pool", None)
        if pool is not None:
            await pool.disconnect(inuse_connections=False)
        else:
            await self._client.aclose()  # a cluster's client connects anew by itself


def _is_torn(lookups: Lookups, positions: Ints, reply: Any) -> bool:
    """Whether lookups of several keys were refused since their slot is on its way from one node of a cluster to another.

    Some keys are here then and some there, and new ones only there: each can be had by itself.
    """
    return type(reply) in _TORN and len({lookups.keys[i] for i in positions.tolist()}) > 1


def _by_key(lookups: Lookups, positions: Ints) -> tuple[Ints, list[slice]]:
    """Return an order of some lookups, those of one key as they were, and the part of each key."""
    _, keys = np.unique(_bytes(lookups)[positions], axis=0, return_inverse=True)
    return _parts(lookups, positions, keys.ravel())


def _parts(lookups: Lookups, positions: Ints, groups: npt.NDArray[Any]) -> tuple[Ints, list[slice]]:
    """Return an order of some lookups, those of one group as they were, and parts that may share a script: of one group and one length.

    Those that are too long for a log are a length of their own; the others have as many lookups in a part as a script takes.
    """
    order = np.argsort(groups, kind="stable")
    sizes = np.fromiter(map(len, lookups.frames), np.int64, len(lookups))[positions]
    kind = 2 * groups + (sizes > LARGEST_FRAME)
    bounds = [0, *(np.flatnonzero(np.diff(kind[order])) + 1).tolist(), len(order)]
    parts = itertools.pairwise(bounds)
    return positions[order], [slice(at, min(at + _CHUNK, stop)) for start, stop in parts for at in range(start, stop, _CHUNK)]


def _bytes(lookups: Lookups) -> npt.NDArray[np.uint8]:
    """Return the bytes of keys, shape (n, 16)."""
    return np.frombuffer(b"".join(lookups.keys), np.uint8).reshape(len(lookups), KEY_BYTES)


def _ttls(ttls_ms: Sequence[int]) -> bytes:
    """Return times to live as the script takes them, 16 digits each."""
    return b"".join(b"%016d" % ttl_ms for ttl_ms in ttls_ms)


def _read(reply: Any, echo: bytes, n: int) -> tuple[Ints, Ints, bytes]:
    """Return what a script answers of n lookups: of what kind each answer is, how many bytes it has, and those of all of them."""
    if not isinstance(reply, list) or not reply or reply[0] != echo:
        raise StoreReplyInvalid(f"expected the reply to call {echo.decode()}, got another's; the connection is dropped")
    if len(reply) != 3 or not all(isinstance(part, bytes) for part in reply) or len(reply[1]) != 4 * n:
        raise StoreReplyInvalid(f"expected {n} answers as bytes, got something else; is the client made with decode_responses?")
    told = np.frombuffer(reply[1], "<u4").astype(np.int64)
    sizes = told >> 8
    if sizes.sum() != len(reply[2]):
        raise StoreReplyInvalid(f"expected {sizes.sum()} bytes of logs, got {len(reply[2])}; the connection is dropped")
    return told & 0xFF, sizes, reply[2]


def _answers(lookups: Lookups, parts: Sequence[Answer]) -> Logs:
    """Return the answers to lookups: of each script its lookups' positions, and what ``_read`` returns."""
    text = b"".join([logs for *_, logs in parts])
    starts, sizes = np.zeros(len(lookups), dtype=np.int64), np.full(len(lookups), FULL)
    told = np.zeros(len(lookups), dtype=bool)
    stored: dict[int, bytes] = {}
    begin = 0
    for positions, kinds, lengths, logs in parts:
        starts[positions] = begin + np.cumsum(lengths) - lengths
        sizes[positions] = np.where(kinds == _FULL, FULL, lengths)
        told[positions] = True
        begin += len(logs)
        for i in positions[kinds == _FOUND].tolist():
            log, frame = text[starts[i] : starts[i] + sizes[i]], lookups.frames[i]
            if log.endswith(frame):
                sizes[i] -= len(frame)
            else:
                stored[i], sizes[i] = log, STORED
    if not told.all():
        raise StoreReplyInvalid(f"expected an answer to each of {len(lookups)} lookups, got none to {np.count_nonzero(~told)}")
    return Logs(text, starts, sizes, lookups.frames, stored)


def _translated(error: Exception) -> StoreError:
    said = error
    # of a cluster that cannot be entered, what its last node said
    while isinstance(said, redis_errors.RedisClusterException) and isinstance(cause := said.__cause__ or said.__context__, _FROM_REDIS):
        said = cause
    weather = isinstance(said, _WEATHER) or str(said).startswith(_WEATHER_CODES)
    text = f"Redis: {type(error).__name__}: {error}"
    return StoreUnavailable(text) if weather and not isinstance(said, _RIGHTS) else StoreError(text)
