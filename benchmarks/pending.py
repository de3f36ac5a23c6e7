"""What a pending prediction and a joined pair take in Redis, and what the pending table costs: its client, the server, a pair.

Run: ``python -m benchmarks.pending [--pairs N]``. The ``redis-server`` on the path, its append-only file synced at every write; the join's
own frames. ``--plain`` asks for the memory of pending predictions alone, by SET: for servers before 7.0, which the join's script needs.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.stage import RedisServer, cpu_s, heading
from benchmarks.throughput import pairs
from detectors.intake import SourceBatch
from detectors.joiner import Joiner
from detectors.pending import Lookups
from schemas.policy import Policy
from schemas.scored import Origin
from streams.pending import RedisTable
from streams.redis_client import connect

STEP = 16_000  # lookups
TOPICS = "predictions", "outcomes"
FAR_MS = 1_800_000_000_000
DAY_MS = 86_400_000


def asked(joiner: Joiner, topic: str, n: int) -> Iterator[Lookups]:
    """Yield what the join asks the table for n records of a topic, step by step."""
    for begin in range(0, n, STEP):
        part = pairs(min(STEP, n - begin), seed=begin, spacing_ms=1, first=begin)[TOPICS.index(topic)]
        batch = SourceBatch(Origin(topic, topic, 0), range(begin, begin + len(part)), [FAR_MS] * len(part), part)
        yield joiner.prepare([batch]).lookups


async def measure_plain(n: int, server: RedisServer) -> None:
    """Print bytes, of keys that are set without the script."""
    client: Any = connect(server.url)
    table, joiner = RedisTable(client), Joiner(Policy(), b"s", max_age_ms=DAY_MS)
    empty = (await client.info("memory"))["used_memory"]
    for lookups in asked(joiner, TOPICS[0], n):
        async with client.pipeline(transaction=False) as pipe:
            for key, frame, ttl_ms in zip(lookups.keys, lookups.frames, lookups.ttls_ms, strict=True):
                pipe.set(table.key(key), frame, px=ttl_ms)
            await pipe.execute()
    about = await client.info("memory")
    print(f"a pending prediction: {(about['used_memory'] - empty) / n:.1f} bytes of memory used ({about['mem_allocator']})")
    await client.aclose()


async def measure(n: int, server: RedisServer) -> None:
    """Print bytes and µs of CPU."""
    client: Any = connect(server.url)  # as workers do
    table, joiner = RedisTable(client), Joiner(Policy(), b"s", max_age_ms=DAY_MS)
    await client.ping()
    empty = (await client.info("memory"))["used_memory"]
    ours, theirs = 0.0, 0.0
    for topic in TOPICS:
        for lookups in asked(joiner, topic, n):
            before = time.process_time(), cpu_s(server.pid)
            await table.exchange(lookups)
            ours, theirs = ours + time.process_time() - before[0], theirs + cpu_s(server.pid) - before[1]
        used = (await client.info("memory"))["used_memory"] - empty
        one = await client.memory_usage(await client.randomkey())
        name = "a joined pair" if topic == "outcomes" else "a pending prediction"
        print(f"{name}: {used / n:.1f} bytes of memory used, {one} by MEMORY USAGE of one; the frame {len(lookups.frames[0])}", flush=True)
    print(f"the pending table: {ours / n * 1e6:.1f} µs of the client's CPU a pair, {theirs / n * 1e6:.1f} of Redis's")
    await client.aclose()


def main() -> None:
    """Start a server and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--plain", action="store_true", help="by SET, without the script")
    options = parser.parse_args()
    print(heading(f"python -m benchmarks.pending --pairs {options.pairs}{' --plain' * options.plain}"))
    server = RedisServer().start()
    try:
        asyncio.run((measure_plain if options.plain else measure)(options.pairs, server))
    finally:
        server.close()


if __name__ == "__main__":
    main()
