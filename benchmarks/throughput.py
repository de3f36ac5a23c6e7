"""Pairs per second and worker CPU per pair through the whole path: topics filled beforehand, one join and one watch worker.

Run: ``python -m benchmarks.throughput [--pairs N] [--runs N]``. The bare loop in the same run is confluent-kafka, orjson and a dict, join
only: it keeps nothing, so it is the floor and not a contestant.
"""

import argparse
import random
import statistics
import time

import orjson
from confluent_kafka import Consumer, TopicPartition

from benchmarks.stage import Stage, consumed, cpu_s, heading, produce, stage, wait
from streams.settings import Settings

PARTITIONS = 4
START_MS = 1_700_000_000_000


def pairs(n: int, seed: int = 1) -> tuple[list[bytes], list[bytes]]:
    """Return n predictions of about 243 bytes and their outcomes of about 92 bytes, four models, three subgroup dimensions."""
    r = random.Random(seed)
    predictions, outcomes = [], []
    for i in range(n):
        at = START_MS + i * 20
        predictions.append(
            orjson.dumps(
                {
                    "request_id": f"req-{i:012d}",
                    "model_id": f"model-{i % 4}",
                    "model_version": "2024-11",
                    "timestamp": at,
                    "score": round(r.random(), 4),
                    "amount": r.randrange(10_000) / 100,
                    "subgroups": {"country": r.choice(["de", "fr", "nl"]), "channel": r.choice(["web", "app"]), "age": r.choice("abc")},
                }
            )
        )
        outcomes.append(orjson.dumps({"request_id": f"req-{i:012d}", "timestamp": at + 60_000, "true_label": r.randrange(2)}))
    return predictions, outcomes


def whole_path(place: Stage, started: list, settings: Settings, n: int) -> dict[str, float]:  # type: ignore[type-arg]
    """Run both workers over filled topics; CPU counts from when each has read its first records."""
    join = place.worker("join", settings)
    watch = place.worker("watch", settings)
    started += [join, watch]
    sources = {"predictions": PARTITIONS, "outcomes": PARTITIONS}
    wait(lambda: consumed(settings, "join", sources) > 0, join)
    begun, from_n = time.monotonic(), consumed(settings, "join", sources)
    cpu = {process: cpu_s(process.process.pid) for process in (join, watch)}
    wait(lambda: consumed(settings, "join", sources) >= 2 * n, join)
    joined_s = time.monotonic() - begun
    ends = scored_end(settings)
    wait(lambda: consumed(settings, "watch", {"scored": settings.scored_partitions}) >= ends, watch)
    whole_s = time.monotonic() - begun
    done = n - from_n / 2
    used = {process: cpu_s(process.process.pid) - cpu[process] for process in (join, watch)}
    for process in (join, watch):
        process.stop()
    return {
        "pairs/s, join": done / joined_s,
        "pairs/s, whole path": done / whole_s,
        "µs CPU per pair, join": used[join] / done * 1e6,
        "µs CPU per pair, watch": used[watch] / done * 1e6,
        "µs CPU per pair, both": sum(used.values()) / done * 1e6,
    }


def scored_end(settings: Settings) -> int:
    """Return how many scored messages there are now."""
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": "end"})
    topic = settings.topic("scored")
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in range(settings.scored_partitions)]
    consumer.close()
    return sum(ends)


def bare_loop(settings: Settings, n: int) -> dict[str, float]:
    """Consume both topics with confluent-kafka, decode with orjson, join in a dict."""
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": "bare", "enable.auto.commit": False})
    consumer.assign([TopicPartition(settings.topic(t), p, 0) for t in ("predictions", "outcomes") for p in range(PARTITIONS)])
    waiting: dict[str, dict] = {}  # type: ignore[type-arg]
    joined, begun, cpu = 0, time.monotonic(), time.process_time()
    while joined < n:
        for message in consumer.consume(10_000, 1.0):
            record = orjson.loads(message.value())
            other = waiting.pop(record["request_id"], None)
            if other is None:
                waiting[record["request_id"]] = record
            else:
                joined += 1
    wall, used = time.monotonic() - begun, time.process_time() - cpu
    consumer.close()
    return {"pairs/s, bare loop": n / wall, "µs CPU per pair, bare loop": used / n * 1e6}


def main() -> None:
    """Print the median of each figure and all runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    predictions, outcomes = pairs(options.pairs)
    runs: list[dict[str, float]] = []
    with stage() as (place, started):
        for run in range(options.runs):
            settings = place.provision(f"bench{run}.", source_partitions=PARTITIONS, scored_partitions=2)
            produce(settings, "predictions", predictions)
            produce(settings, "outcomes", outcomes)
            runs.append(whole_path(place, started, settings, options.pairs) | bare_loop(settings, options.pairs))
            print(f"run {run + 1} of {options.runs}: {runs[-1]['pairs/s, whole path']:,.0f} pairs/s", flush=True)
    print(heading(f"python -m benchmarks.throughput --pairs {options.pairs} --runs {options.runs}"))
    for name in runs[0]:
        values = [run[name] for run in runs]
        print(f"{name:32} {statistics.median(values):12,.1f}   ({', '.join(f'{value:,.1f}' for value in values)})")
    ratio = statistics.median(run["µs CPU per pair, both"] / run["µs CPU per pair, bare loop"] for run in runs)
    print(f"{'CPU, both / bare loop':32} {ratio:12,.2f}")


if __name__ == "__main__":
    main()
