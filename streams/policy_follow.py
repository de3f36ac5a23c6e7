"""The join follows the policy in force: a record on the control topic changes it for every join worker, without a restart.

One worker reads the control topic. It notes each policy in Redis, the newest by its place in the topic; every worker, that one included,
asks there between steps, once a second at most, and goes on with another joiner when the policy is another. What was stored of earlier
records keeps its meaning: positive label, threshold and dimensions were decided when each was stored.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol

import msgspec

from detectors.joiner import Joiner
from detectors.policy_record import read_policy
from schemas.control import Control, ControlType
from schemas.fields import epoch_ms, rfc3339
from schemas.policy import Policy, PolicyError, parse_policy
from schemas.scored import Forwarded
from streams.guard import REDIS_ERRORS
from streams.pending import _translated
from streams.retrying import retry

log = logging.getLogger(__name__)

ASK_EVERY_S = 1.0
# A record that is read again, or by a worker that was frozen meanwhile, must not bring back an older policy.
_NOTE = """
local known = redis.call('HMGET', KEYS[1], 'topic_id', 'place')
if known[1] == ARGV[1] and tonumber(known[2]) >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], 'topic_id', ARGV[1], 'place', ARGV[2], 'digest', ARGV[3], 'toml', ARGV[4], 'by', ARGV[5], 'at', ARGV[6])
return 1
"""


class InForce(NamedTuple):
    """A policy in force, and who put it there."""

    topic_id: str  # of the control topic
    place: int  # offset and index in the message, as one number that grows
    toml: str
    by: str
    at: int  # epoch ms

    @property
    def digest(self) -> str:
        """What tells its text from others."""
        return digest(self.toml)

    @property
    def offset(self) -> int:
        """Its record's offset in the control topic."""
        return self.place >> 16


class Policies(Protocol):
    """Where the policy in force is noted."""

    async def note(self, policy: InForce) -> None:
        """Note a policy, unless one that came later is noted."""

    async def digest(self) -> str | None:
        """Return what tells the policy noted from others; None: none is."""

    async def read(self) -> InForce | None:
        """Return the policy noted."""


class MemoryPolicies:
    """The policy in force in this process alone."""

    def __init__(self) -> None:
        self._noted: InForce | None = None

    async def note(self, policy: InForce) -> None:
        """Note a policy, unless one that came later is noted."""
        old = self._noted
        if old is None or old.topic_id != policy.topic_id or old.place < policy.place:
            self._noted = policy

    async def digest(self) -> str | None:
        """Return what tells the policy noted from others; None: none is."""
        return self._noted.digest if self._noted else None

    async def read(self) -> InForce | None:
        """Return the policy noted."""
        return self._noted


class RedisPolicies:
    """The policy in force in a deployment, in one Redis hash.

    Parameters
    ----------
    client
        ``redis.asyncio.Redis`` or ``RedisCluster``, with ``decode_responses`` off.
    prefix
        What keys begin with.

    """

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._key = f"{prefix}policy:in-force"

    async def note(self, policy: InForce) -> None:
        """Note a policy, unless one that came later is noted; raises ``StoreError`` where Redis is away or refuses."""
        topic_id, place, toml, by, at = policy
        await self._call(self._client.eval(_NOTE, 1, self._key, topic_id, place, policy.digest, toml, by, at))

    async def digest(self) -> str | None:
        """Return what tells the policy noted from others; None: none is. Raises as ``note`` does."""
        found = await self._call(self._client.hget(self._key, "digest"))
        return found.decode() if found else None

    async def read(self) -> InForce | None:
        """Return the policy noted. Raises as ``note`` does."""
        found: Mapping[bytes, bytes] = await self._call(self._client.hgetall(self._key))
        if not found:
            return None
        text = {name.decode(): value.decode() for name, value in found.items()}
        return InForce(text["topic_id"], int(text["place"]), text["toml"], text["by"], int(text["at"]))

    async def _call(self, call: Any) -> Any:
        try:
            return await call
        except REDIS_ERRORS as error:
            raise _translated(error) from error


class PolicyFollower:
    """Gives the join worker its joiner, and takes note of the policies that it reads.

    Parameters
    ----------
    policies
        Where they are noted; retriable errors are waited out.
    joiner
        Makes a joiner of a policy.
    every_s
        How long a worker may go on without asking.
    clock
        Seconds that only grow.

    """

    def __init__(
        self,
        policies: Policies,
        joiner: Callable[[Policy], Joiner],
        *,
        every_s: float = ASK_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policies = policies
        self._make = joiner
        self._every_s = every_s
        self._clock = clock
        self._ask_at = -float("inf")
        self._digest: str | None = None

    async def joiner(self) -> Joiner | None:
        """Return a joiner for the policy in force where it has changed since the last call; None: go on as before."""
        if self._clock() < self._ask_at:
            return None
        found = await retry("the policy in force", self._policies.digest)
        self._ask_at = self._clock() + self._every_s
        if found is None or found == self._digest:
            return None
        policy = await retry("the policy in force", self._policies.read)
        if policy is None:
            return None
        self._digest = policy.digest
        log.info("the join follows the policy of %s, put into force at %s, control offset %d", policy.by, rfc3339(policy.at), policy.offset)
        return self._make(parse_policy(policy.toml))

    async def note(self, records: Iterable[Forwarded]) -> None:
        """Take note of the policies among control records that were forwarded; one that cannot be used changes nothing."""
        for forwarded in records:
            control = msgspec.json.decode(forwarded.record, type=Control)
            if control.type != ControlType.POLICY:
                continue
            try:
                policy = read_policy(control)
            except PolicyError as error:
                at = rfc3339(epoch_ms(control.at))
                log.warning("the policy of %s, %s, control offset %d, is refused whole: %s", control.by, at, forwarded.offset, error)
                continue
            noted = in_force(forwarded, policy.toml, by=control.by, at=epoch_ms(control.at))
            await retry("the policy in force", lambda noted=noted: self._policies.note(noted))  # type: ignore[misc]  # a lambda's default
            self._ask_at = -float("inf")


def in_force(forwarded: Forwarded, toml: str, *, by: str, at: int) -> InForce:
    """Return what is noted of a policy record."""
    return InForce(forwarded.origin.topic_id, forwarded.offset << 16 | forwarded.index, toml, by, at)


def digest(toml: str) -> str:
    """Return what tells a policy's text from others: 32 hexadecimal digits."""
    return blake2b(toml.encode(), digest_size=16).hexdigest()
