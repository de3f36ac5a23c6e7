"""The watch's checkpoints: one Redis hash per scored partition, written by one script, so that a state is there whole or not at all.

Its fields are those of ``streams.checkpoint_pack``; ``epoch``, raised by every worker that takes the partition: a write under an older
one is refused; and ``at``, the offset of the checkpoint: a write that knows of another one is refused, since it leaves out what it takes to
be there. So what Redis has lost of what it confirmed costs a restart, and is folded again.
"""

import asyncio
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from streams.checkpoint_pack import GONE, Fields
from streams.errors import StoreReplyInvalid, StoreUnavailable, StreamsError
from streams.guard import REDIS_ERRORS
from streams.pending import _translated

SCRIPT = Path(__file__).with_suffix(".lua").read_text()
_EPOCH, _AT = b"epoch", b"at"


class Step(NamedTuple):
    """From which checkpoint to which a write leads: their offsets."""

    before: int | None  # None: there is none
    after: int

    def follows(self, at: bytes) -> bool:
        """Whether it may be written where the checkpoint at this offset is; no bytes: none is. It is itself one that it may be put upon."""
        return at in (b"" if self.before is None else b"%d" % self.before, b"%d" % self.after)


class FencedError(StreamsError):
    """Another worker has taken the partition since, or Redis has lost what it had confirmed. Not retriable."""


class Checkpoints(Protocol):
    """Where checkpoints are kept: see ``RedisCheckpoints``."""

    async def take(self, partition: int) -> int:
        """Become the partition's only writer; return the epoch to write under."""

    async def read(self, partition: int) -> Fields:
        """Return a checkpoint's fields; empty: there is none."""

    async def write(self, partition: int, epoch: int, step: Step, fields: Mapping[bytes, bytes]) -> None:
        """Write fields, all or none, those that are ``GONE`` away; raises ``FencedError`` where another has taken the partition.

        Likewise where another checkpoint is there than the one that the step begins with.
        """


class DictCheckpoints:
    """Checkpoints in this process alone."""

    def __init__(self) -> None:
        self.hashes: dict[int, Fields] = {}
        self.epochs: dict[int, int] = {}

    async def take(self, partition: int) -> int:
        """Become the partition's only writer; return the epoch to write under."""
        self.epochs[partition] = self.epochs.get(partition, 0) + 1
        return self.epochs[partition]

    async def read(self, partition: int) -> Fields:
        """Return a checkpoint's fields; empty: there is none."""
        return dict(self.hashes.get(partition, {}))

    async def write(self, partition: int, epoch: int, step: Step, fields: Mapping[bytes, bytes]) -> None:
        """Write fields, all or none, those that are ``GONE`` away; raises ``FencedError`` where another has taken the partition.

        Likewise where another checkpoint is there than the one that the step begins with.
        """
        if self.epochs.get(partition, 0) != epoch:
            raise _fenced(partition, epoch, self.epochs.get(partition, 0))
        held = self.hashes.get(partition, {})
        if not step.follows(held.get(_AT, b"")):
            raise _lost(partition, step, held.get(_AT, b""))
        held = held | dict(fields) | {_AT: b"%d" % step.after}
        self.hashes[partition] = {field: value for field, value in held.items() if value != GONE}


class RedisCheckpoints:
    """The checkpoints of a deployment, in Redis.

    Parameters
    ----------
    client
        ``redis.asyncio.Redis`` or ``RedisCluster``, with ``decode_responses`` off. It is not closed here.
    prefix
        What keys begin with.
    wait_replicas
        How many replicas must have a write before it counts; one server with replicas only, not a cluster.
    wait_ms
        How long to wait for them.

    """

    def __init__(self, client: Any, prefix: str, *, wait_replicas: int = 0, wait_ms: int = 5_000) -> None:
        self._client = client
        self._prefix = prefix
        self._wait = (wait_replicas, wait_ms)
        self._echoes = itertools.count(1)

    def key(self, partition: int) -> str:
        """Return the Redis key of a scored partition's checkpoint."""
        return f"{self._prefix}watch:{partition}"

    async def take(self, partition: int) -> int:
        """Become the partition's only writer; return the epoch to write under.

        Raises
        ------
        StoreUnavailable, StoreError
            If Redis is away, or refuses for good.

        """
        epoch: int = await self._call(self._client.hincrby(self.key(partition), _EPOCH, 1))
        return epoch

    async def read(self, partition: int) -> Fields:
        """Return a checkpoint's fields; empty: there is none. Take the partition first, or another may write on.

        Raises
        ------
        StoreUnavailable, StoreError
            If Redis is away, or refuses for good.

        """
        fields: Fields = await self._call(self._client.hgetall(self.key(partition)))
        return fields

    async def write(self, partition: int, epoch: int, step: Step, fields: Mapping[bytes, bytes]) -> None:
        """Write fields, all or none, those that are ``GONE`` away. May be repeated when it failed, and must be.

        Raises
        ------
        FencedError
            If another worker has taken the partition, or another checkpoint is there than the one that the step begins with; nothing is
            written.
        StoreUnavailable, StoreError
            If Redis is away, or refuses for good.

        """
        echo = b"%d" % next(self._echoes)
        before = b"" if step.before is None else step.before
        given = [echo, epoch, before, step.after, *(part for field in fields.items() for part in field)]
        replicas, wait_ms = self._wait
        if replicas:
            pipeline = self._client.pipeline(transaction=False)
            pipeline.eval(SCRIPT, 1, self.key(partition), *given)
            pipeline.execute_command("WAIT", replicas, wait_ms)
            reply, reached = await self._call(pipeline.execute())
            if reached < replicas:
                raise StoreUnavailable(f"expected {replicas} replicas to have the checkpoint within {wait_ms} ms, got {reached}")
        else:
            reply = await self._call(self._client.eval(SCRIPT, 1, self.key(partition), *given))
        if not isinstance(reply, list) or len(reply) != 3 or reply[0] != echo:
            raise StoreReplyInvalid(f"expected the reply to call {echo.decode()}, got another's")
        if reply[1] != b"%d" % epoch:
            raise _fenced(partition, epoch, int(reply[1]))
        if not step.follows(reply[2]):
            raise _lost(partition, step, reply[2])

    async def _call(self, call: Any) -> Any:
        # Whoever waits may be cancelled; a conversation cut in half would leave the connection one answer off.
        try:
            return await asyncio.shield(asyncio.ensure_future(call))
        except REDIS_ERRORS as error:
            raise _translated(error) from error


def _fenced(partition: int, ours: int, theirs: int) -> FencedError:
    return FencedError(
        f"the checkpoint of scored partition {partition} was taken by another worker (epoch {theirs}, ours is {ours}): "
        "nothing was written; this worker has been out of the group, and its state is out of date"
    )


def _lost(partition: int, step: Step, at: bytes) -> FencedError:
    before = "none" if step.before is None else step.before
    return FencedError(
        f"the checkpoint of scored partition {partition} is that of offset {at.decode() or 'none'}, and was {before} when it was "
        "confirmed: Redis has lost it since; nothing was written, and the next worker goes on from what is there"
    )
