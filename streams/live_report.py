"""The report of a running deployment: every scored partition's checkpoint, read back and put together."""

import json
from typing import Any

from detectors.watch import Watch
from detectors.watch_report import report
from schemas.report import Report
from streams.checkpoint import RedisCheckpoints
from streams.checkpoint_pack import unpack
from streams.guard import RedisMemory
from streams.redis_client import connect
from streams.settings import Settings
from streams.topics import SCORED


async def read_watches(client: Any, settings: Settings) -> list[Watch]:
    """Return the fold of each scored partition as of its last checkpoint, in the order of the partitions; nothing is taken over.

    Each checkpoint is of one moment, but not the same for all.

    Parameters
    ----------
    client
        ``redis.asyncio.Redis`` or ``RedisCluster``, with ``decode_responses`` off.
    settings
        The prefix; and the number of scored partitions, where no worker has noted it.

    Raises
    ------
    CheckpointError
        If a checkpoint is of another version.
    StoreError
        If Redis is away (``StoreUnavailable``) or refuses.

    """
    known = (await RedisMemory(client, settings.prefix).recall()).get(SCORED)
    count = json.loads(known)["partitions"] if known else settings.scored_partitions
    checkpoints = RedisCheckpoints(client, settings.prefix)
    saved = [unpack(await checkpoints.read(partition)) for partition in range(count)]
    return [each.watch for each in saved if each is not None]


async def live_report(settings: Settings) -> Report:
    """Return the report of the deployment that the settings name; raises what ``read_watches`` does."""
    client = connect(settings.redis, socket_timeout=30, socket_connect_timeout=5)
    try:
        return report(await read_watches(client, settings))
    finally:
        await client.aclose()
