"""Stock Faust: two agents with ``take``, the pending table in Redis by pipelines, River's metrics per event.

Usage: faust_app.py BOOTSTRAP REDIS PREFIX PAIRS PARTITIONS
"""

import asyncio
import sys
from typing import Any

import faust
import orjson
from redis.asyncio import Redis

from benchmarks.peers.segments import Meter, Segments

BOOTSTRAP, REDIS, PREFIX, PAIRS = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
TTL_S = 3600
sys.argv = [sys.argv[0], "worker", "-l", "warn", "--without-web"]
app = faust.App(f"{PREFIX}faust", broker=f"kafka://{BOOTSTRAP}", consumer_auto_offset_reset="earliest", topic_disable_leader=True)
redis = Redis.from_url(REDIS)
segments, meter = Segments(), Meter(PAIRS)
lock = asyncio.Lock()  # both sides write before they look, so whoever comes second finds the first; one at a time, or both would


async def join(records: list[dict[str, Any]], mine: str, theirs: str) -> list[tuple[dict[str, Any], bytes]]:
    """Keep records and return those whose other side is there."""
    meter.begin()
    async with lock:
        pipeline = redis.pipeline(transaction=False)
        for record in records:
            pipeline.set(f"{PREFIX}{mine}{record['request_id']}", orjson.dumps(record), ex=TTL_S)
            pipeline.get(f"{PREFIX}{theirs}{record['request_id']}")
        replies = await pipeline.execute()
    return [(record, other) for record, other in zip(records, replies[1::2], strict=True) if other is not None]


@app.agent(app.topic(f"{PREFIX}predictions", value_type=bytes, value_serializer="raw"))
async def predictions(stream: Any) -> None:
    """Join predictions with outcomes that are there."""
    async for values in stream.take(1000, within=0.1):
        for made, known in await join([orjson.loads(value) for value in values], "p:", "o:"):
            segments.add(made, orjson.loads(known))
            meter.joined()


@app.agent(app.topic(f"{PREFIX}outcomes", value_type=bytes, value_serializer="raw"))
async def outcomes(stream: Any) -> None:
    """Join outcomes with predictions that are there."""
    async for values in stream.take(1000, within=0.1):
        for known, made in await join([orjson.loads(value) for value in values], "o:", "p:"):
            segments.add(orjson.loads(made), known)
            meter.joined()


if __name__ == "__main__":
    app.main()
