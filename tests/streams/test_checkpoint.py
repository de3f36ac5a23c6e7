"""Checkpoints in Redis: whole or not at all, by the owner alone."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from support.redis_server import RedisServer

from streams.checkpoint import Checkpoints, DictCheckpoints, FencedError, RedisCheckpoints, Step
from streams.errors import StoreReplyInvalid, StoreUnavailable

pytestmark = pytest.mark.integration

STEP = Step(None, 1)  # the first one; it may be repeated


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis_url)
    yield client
    await client.aclose()


@pytest.fixture(params=["redis", "dict"])
async def checkpoints(request: pytest.FixtureRequest, client: Redis) -> Checkpoints:
    return RedisCheckpoints(client, "t.") if request.param == "redis" else DictCheckpoints()


async def test_what_is_written_is_read_and_fields_left_out_stay(checkpoints: Checkpoints) -> None:
    assert (await checkpoints.read(3)).get(b"head") is None
    epoch = await checkpoints.take(3)
    await checkpoints.write(3, epoch, STEP, {b"head": b"1", b"v:m\x001": b"a\x00b"})
    await checkpoints.write(3, epoch, STEP, {b"head": b"2"})
    fields = await checkpoints.read(3)
    assert {name: value for name, value in fields.items() if name not in (b"epoch", b"at")} == {b"head": b"2", b"v:m\x001": b"a\x00b"}
    assert (await checkpoints.read(4)).get(b"head") is None


async def test_a_write_under_an_older_epoch_is_refused_whole(checkpoints: Checkpoints) -> None:
    zombie = await checkpoints.take(0)
    await checkpoints.write(0, zombie, STEP, {b"head": b"old"})
    heir = await checkpoints.take(0)
    assert heir == zombie + 1
    with pytest.raises(FencedError, match=f"epoch {heir}, ours is {zombie}"):
        await checkpoints.write(0, zombie, STEP, {b"head": b"zombie", b"v:x\x001": b"zombie"})
    await checkpoints.write(0, heir, STEP, {b"head": b"new"})
    fields = await checkpoints.read(0)
    assert fields[b"head"] == b"new"
    assert b"v:x\x001" not in fields


async def test_a_write_that_knows_of_another_checkpoint_is_refused_whole(checkpoints: Checkpoints) -> None:
    """Redis may have lost what it confirmed: what is left out since would be missing."""
    epoch = await checkpoints.take(0)
    with pytest.raises(FencedError, match="that of offset none, and was 5"):
        await checkpoints.write(0, epoch, Step(5, 7), {b"head": b"7"})
    for step in (Step(None, 5), Step(None, 5), Step(5, 7)):
        await checkpoints.write(0, epoch, step, {b"head": b"%d" % step.after})
    with pytest.raises(FencedError, match="that of offset 7, and was 8"):
        await checkpoints.write(0, epoch, Step(8, 9), {b"head": b"9", b"v:x": b"9"})
    fields = await checkpoints.read(0)
    assert fields[b"head"] == b"7"
    assert b"v:x" not in fields


async def test_nobody_writes_without_taking(checkpoints: Checkpoints) -> None:
    with pytest.raises(FencedError):
        await checkpoints.write(0, 1, STEP, {b"head": b"x"})


async def test_ten_thousand_versions_at_once(client: Redis) -> None:
    checkpoints = RedisCheckpoints(client, "t.")
    epoch = await checkpoints.take(0)
    fields = {b"v:m\x00%d" % i: b"x" * 100 for i in range(10_000)} | {b"head": b"h"}
    await checkpoints.write(0, epoch, STEP, fields)
    assert (await checkpoints.read(0)).items() >= fields.items()


async def test_a_full_redis_refuses_and_keeps_what_was_there(own_redis: RedisServer) -> None:
    client = Redis.from_url(own_redis.url)
    checkpoints = RedisCheckpoints(client, "t.")
    epoch = await checkpoints.take(0)
    await checkpoints.write(0, epoch, STEP, {b"head": b"1", b"v:m\x001": b"1"})
    await client.config_set("maxmemory", "1mb")
    with pytest.raises(StoreUnavailable):
        await checkpoints.write(0, epoch, STEP, {b"v:m\x001": b"2", b"big": b"x" * 100, b"head": b"2"})
    await client.config_set("maxmemory", "0")
    fields = await checkpoints.read(0)
    assert (fields[b"head"], fields[b"v:m\x001"]) == (b"1", b"1")
    await client.aclose()


async def test_a_redis_that_is_away_is_weather(own_redis: RedisServer) -> None:
    client = Redis.from_url(own_redis.url)
    checkpoints = RedisCheckpoints(client, "t.")
    epoch = await checkpoints.take(0)
    own_redis.kill()
    with pytest.raises(StoreUnavailable):
        await checkpoints.write(0, epoch, STEP, {b"head": b"1"})
    own_redis.start()
    await checkpoints.write(0, epoch, STEP, {b"head": b"1"})
    assert (await checkpoints.read(0))[b"head"] == b"1"
    await client.aclose()


async def test_too_few_replicas_are_weather(client: Redis) -> None:
    checkpoints = RedisCheckpoints(client, "t.", wait_replicas=1, wait_ms=50)
    epoch = await checkpoints.take(0)
    with pytest.raises(StoreUnavailable, match="expected 1 replicas"):
        await checkpoints.write(0, epoch, STEP, {b"head": b"1"})


async def test_a_reply_to_another_question_is_not_taken_for_ours() -> None:
    class Crossed:
        async def eval(self, *_: object) -> list[bytes]:
            return [b"77", b"1", b""]

    with pytest.raises(StoreReplyInvalid):
        await RedisCheckpoints(Crossed(), "t.").write(0, 1, STEP, {b"head": b"1"})
