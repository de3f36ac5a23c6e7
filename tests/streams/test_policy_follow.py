"""A policy that is applied while the join runs: every worker follows it, and what is stored keeps its meaning."""

import json
from functools import partial

import numpy as np
import pytest
import redis.asyncio
from support.redis_server import RedisServer

from detectors.joiner import Joiner
from detectors.pending import DictTable
from schemas.codec import encode
from schemas.control import Control, ControlType
from schemas.policy import Policy
from schemas.scored import Forwarded, Kind, Origin, Rows, decode
from streams.batches import Batch
from streams.guard import Facts
from streams.joining import Joining
from streams.policy_follow import InForce, MemoryPolicies, PolicyFollower, RedisPolicies
from streams.producer import Message
from streams.settings import Settings

FACTS = {"predictions": Facts("p", 2), "outcomes": Facts("o", 1), "control": Facts("c", 1), "scored": Facts("s", 1)}
STRICT = "[defaults]\nthreshold = 0.8\n"


class Out:
    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def produce(self, messages) -> None:
        self.messages += messages

    def predicted(self) -> list[int]:
        rows = [decode(m.value or b"") for m in self.messages if m.topic == "gnomon.scored"]
        out = []
        for each in rows:
            if isinstance(each, Rows):
                out += each.column("predicted")[each.column("kind") == Kind.PREDICTION].tolist()
        return out


def worker(policies, table, partitions, clock=lambda: 0.0) -> tuple[Joining, Out]:
    out = Out()
    make = partial(Joiner, secret=b"k")
    joining = Joining(Settings(), make(Policy()), table, out, lambda point: None, policies=PolicyFollower(policies, make, clock=clock))
    joining.own(FACTS, partitions)
    return joining, out


def batch(topic: str, *records: object, first: int = 0, partition: int = 0) -> Batch:
    values = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    n = len(values)
    return Batch(f"gnomon.{topic}", partition, np.arange(first, first + n), np.full(n, 10**6), values, 0)


def claim(ident: str) -> dict[str, object]:
    return {"request_id": ident, "model_id": "m", "model_version": "1", "timestamp": 7, "score": 0.7}


def policy(toml: str, at: int = 5) -> bytes:
    return encode(Control(type=ControlType.POLICY, by="ada", at=at, body={"toml": toml}))


async def test_every_worker_follows_a_policy_that_one_has_read():
    policies, table, now = MemoryPolicies(), DictTable(), [0.0]
    owner, first = worker(policies, table, [("gnomon.predictions", 0), ("gnomon.control", 0)])
    other, second = worker(policies, table, [("gnomon.predictions", 1)], clock=lambda: now[0])
    await owner.step([batch("predictions", claim("a"))])
    await other.step([batch("predictions", claim("b"), partition=1)])
    await owner.step([batch("control", policy(STRICT))])
    await owner.step([batch("predictions", claim("c"), first=1)])
    await other.step([batch("predictions", claim("d"), first=1, partition=1)])  # it has asked within the second
    now[0] = 1.5
    await other.step([batch("predictions", claim("e"), first=2, partition=1)])
    assert first.predicted() == [1, 0]
    assert second.predicted() == [1, 1, 0]


async def test_what_is_stored_keeps_its_meaning():
    policies, table = MemoryPolicies(), DictTable()
    joining, out = worker(policies, table, [("gnomon.predictions", 0), ("gnomon.control", 0)])
    await joining.step([batch("predictions", claim("a"))])
    await joining.step([batch("control", policy(STRICT))])
    await joining.step([batch("predictions", claim("a"))])  # the same source record once more: after a crash
    assert out.predicted() == [1, 1]


@pytest.mark.parametrize("toml", ["[models.m", "[defaults]\nthreshold = 2", "[defaults.watch.error]\ndetector = 'adwim'"])
async def test_a_policy_with_a_fault_is_refused_whole(toml, caplog):
    policies, table = MemoryPolicies(), DictTable()
    joining, out = worker(policies, table, [("gnomon.predictions", 0), ("gnomon.control", 0)])
    await joining.step([batch("control", policy(STRICT), policy(toml + "\n"))])
    await joining.step([batch("predictions", claim("a"))])
    assert out.predicted() == [0]
    assert "the policy of ada, 1970-01-01T00:00:00.005Z, control offset 1, is refused whole" in caplog.text


async def test_who_put_a_policy_into_force_and_when_is_logged(caplog):
    policies, table = MemoryPolicies(), DictTable()
    joining, _ = worker(policies, table, [("gnomon.predictions", 0), ("gnomon.control", 0)])
    with caplog.at_level("INFO", logger="streams.policy_follow"):
        await joining.step([batch("control", policy(STRICT))])
        await joining.step([batch("predictions", claim("a"))])
    assert "the policy of ada, put into force at 1970-01-01T00:00:00.005Z, control offset 0" in caplog.text


async def test_other_control_records_are_not_policies():
    policies = MemoryPolicies()
    joining, _ = worker(policies, DictTable(), [("gnomon.control", 0)])
    await joining.step([batch("control", encode(Control(type=ControlType.ACK, incident_id="i", by="ada", at=0)))])
    assert await policies.read() is None


@pytest.fixture(params=["memory", "redis"])
async def policies(request):
    if request.param == "memory":
        yield MemoryPolicies()
        return
    server: RedisServer = request.getfixturevalue("shared_redis")
    async with redis.asyncio.Redis.from_url(server.url) as client:
        await client.flushall()
        yield RedisPolicies(client, "t.")


async def test_the_newest_by_its_place_is_kept_whoever_comes_last(policies):
    assert await policies.digest() is None
    assert await policies.read() is None
    new = InForce("c", 7 << 16 | 3, STRICT, "ada", 9)
    for place, text in ((5 << 16, "# old"), (new.place, STRICT), (7 << 16 | 2, "# before"), (5 << 16, "# old")):
        await policies.note(InForce("c", place, text, "ada" if text == STRICT else "bob", 9))
    assert await policies.read() == new
    assert await policies.digest() == new.digest
    await policies.note(InForce("again", 0, "# a control topic made anew", "eve", 10))
    assert (await policies.read()).by == "eve"


async def test_the_follower_makes_a_joiner_only_of_a_new_policy():
    policies, made = MemoryPolicies(), []
    follower = PolicyFollower(policies, lambda policy: made.append(policy.toml) or Joiner(policy, b"k"), every_s=0)
    assert await follower.joiner() is None
    await follower.note([Forwarded(Origin("control", "c", 0), 1, 0, policy(STRICT))])
    assert await follower.joiner() is not None
    await follower.note([Forwarded(Origin("control", "c", 0), 2, 0, policy(STRICT, at=6))])
    assert await follower.joiner() is None
    assert made == [STRICT]
