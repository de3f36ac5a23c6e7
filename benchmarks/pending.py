"""What a pending prediction and a joined pair take in Redis, and what the pending table costs: its client, the server, a pair.

Run: ``python -m benchmarks.pending [--pairs N]``. A Redis of its own, its append-only file synced at every write; the join's own frames.
"""

import argparse
import asyncio
import time
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
FAR_MS = 1_800_000_000_000
DAY_MS = 86_400_000


async def measure(n: int, server: RedisServer) -> None:
    """Print bytes and µs of CPU."""
    client: Any = connect(server.url)  # as workers do
    table, joiner = RedisTable(client), Joiner(Policy(), b"s", max_age_ms=DAY_MS)
    await client.ping()
    empty = (await client.info("memory"))["used_memory"]
    ours, theirs = 0.0, 0.0
    for side, topic in enumerate(("predictions", "outcomes")):
        for begin in range(0, n, STEP):
            part = pairs(min(STEP, n - begin), seed=begin, spacing_ms=1, first=begin)[side]
            batch = SourceBatch(Origin(topic, topic, 0), range(begin, begin + len(part)), [FAR_MS] * len(part), part)
            lookups: Lookups = joiner.prepare([batch]).lookups
            before = time.process_time(), cpu_s(server.pid)
            await table.exchange(lookups)
            ours, theirs = ours + time.process_time() - before[0], theirs + cpu_s(server.pid) - before[1]
        used = (await client.info("memory"))["used_memory"] - empty
        one = await client.memory_usage(await client.randomkey())
        name = "a pending prediction" if topic == "predictions" else "a joined pair"
        print(f"{name}: {used / n:.1f} bytes of memory used, {one} by MEMORY USAGE of one; the frame {len(lookups.frames[0])}", flush=True)
    print(f"the pending table: {ours / n * 1e6:.1f} µs of the client's CPU a pair, {theirs / n * 1e6:.1f} of Redis's")
    await client.aclose()


def main() -> None:
    """Start a server and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000)
    options = parser.parse_args()
    print(heading(f"python -m benchmarks.pending --pairs {options.pairs}"))
    server = RedisServer().start()
    try:
        asyncio.run(measure(options.pairs, server))
    finally:
        server.close()


if __name__ == "__main__":
    main()
