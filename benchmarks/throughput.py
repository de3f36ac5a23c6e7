"""Pairs per second and worker CPU per pair: Gnomon and what a user would pick instead, in one run on the same Kafka and Redis.

Run: ``python -m benchmarks.throughput [--pairs N] [--runs N] [--spacing-ms X] [--only NAME ...]``. Topics are filled beforehand. The
contestants, by name: ``gnomon``, one join and one watch worker; ``faust``, stock agents with ``take``, a Redis pipeline and River;
``quix``, Quix Streams with its own state and River, in an environment of its own (``.cache/quix``); ``loop``, a bare loop of
confluent-kafka, orjson and a dict, which keeps nothing: join only; ``river``, the same loop with River's metrics per event.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from typing import Any

import orjson
from confluent_kafka import Consumer, TopicPartition

from benchmarks.peers.segments import Segments
from benchmarks.stage import ROOT, Process, Stage, consumed, cpu_s, heading, produce, stage, wait
from streams.settings import Settings

Figures = dict[str, float]

PARTITIONS = 4
QUIX = ROOT / ".cache" / "quix" / "bin" / "python"
START_MS = 1_700_000_000_000


def pairs(n: int, seed: int = 1, spacing_ms: float = 20, first: int = 0) -> tuple[list[bytes], list[bytes]]:
    """Return n predictions of about 243 bytes and their outcomes of about 92 bytes, four models, three subgroup dimensions.

    ``first`` is the number of the first one: of many millions, take some at a time.
    """
    r = random.Random(seed)
    predictions, outcomes = [], []
    for i in range(first, first + n):
        at = START_MS + int(i * spacing_ms)
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


def gnomon(place: Stage, started: list[Process], settings: Settings, n: int) -> Figures:
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
        "pairs/s": done / whole_s,
        "µs CPU per pair": sum(used.values()) / done * 1e6,
        "pairs/s, join": done / joined_s,
        "µs CPU per pair, join": used[join] / done * 1e6,
        "µs CPU per pair, watch": used[watch] / done * 1e6,
    }


def scored_end(settings: Settings) -> int:
    """Return how many scored messages there are now."""
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": "end"})
    topic = settings.topic("scored")
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in range(settings.scored_partitions)]
    consumer.close()
    return sum(ends)


def loop(place: Stage, started: list[Process], settings: Settings, n: int) -> Figures:
    """Consume both topics with confluent-kafka, decode with orjson, join in a dict."""
    return _loop(settings, n, None)


def river(place: Stage, started: list[Process], settings: Settings, n: int) -> Figures:
    """Do the same, with River's metrics per event."""
    return _loop(settings, n, Segments())


def _loop(settings: Settings, n: int, segments: Segments | None) -> Figures:
    consumer = Consumer({"bootstrap.servers": settings.kafka, "group.id": "bare", "enable.auto.commit": False})
    consumer.assign([TopicPartition(settings.topic(t), p, 0) for t in ("predictions", "outcomes") for p in range(PARTITIONS)])
    waiting: dict[str, dict[str, Any]] = {}
    joined, begun, cpu = 0, time.perf_counter(), time.process_time()
    while joined < n:
        for message in consumer.consume(10_000, 1.0):
            record = orjson.loads(message.value())
            other = waiting.pop(record["request_id"], None)
            if other is None:
                waiting[record["request_id"]] = record
                continue
            joined += 1
            if segments is not None:
                segments.add(*((record, other) if "score" in record else (other, record)))
    wall, used = time.perf_counter() - begun, time.process_time() - cpu
    consumer.close()
    return {"pairs/s": n / wall, "µs CPU per pair": used / n * 1e6}


def faust(place: Stage, started: list[Process], settings: Settings, n: int) -> Figures:
    """Run stock Faust."""
    return _peer([sys.executable, "-m", "benchmarks.peers.faust_app", settings.kafka, settings.redis, settings.prefix, str(n)], place, n)


def quix(place: Stage, started: list[Process], settings: Settings, n: int) -> Figures:
    """Run Quix Streams."""
    folder = place.folder / f"{settings.prefix}quix"
    return _peer([str(QUIX), "-m", "benchmarks.peers.quix_app", settings.kafka, settings.prefix, str(n), str(folder)], place, n)


def _peer(command: list[str], place: Stage, n: int) -> Figures:
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=1200, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2_000:]}")
    said = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"wall_s"')))
    return {"pairs/s": n / said["wall_s"], "µs CPU per pair": said["cpu_s"] / n * 1e6}


CONTESTANTS = {"gnomon": gnomon, "faust": faust, "quix": quix, "loop": loop, "river": river}


def main() -> None:
    """Print the median of each figure, all runs, and the ratios within runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=600_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--spacing-ms", type=float, default=1.0, help="event time between two predictions")
    parser.add_argument("--only", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    options = parser.parse_args()
    if "quix" in options.only and not QUIX.exists():
        print("without quix: `make bench-throughput` makes its environment")
        options.only.remove("quix")
    n = options.pairs
    predictions, outcomes = pairs(n, spacing_ms=options.spacing_ms)
    keys = [b"req-%012d" % i for i in range(n)]
    runs: list[dict[str, Figures]] = []
    with stage() as (place, started):
        for number in range(options.runs):
            settings = place.provision(f"bench{number}.", source_partitions=PARTITIONS, scored_partitions=2)
            produce(settings, "predictions", predictions, keys)
            produce(settings, "outcomes", outcomes, keys)
            runs.append({})
            for name in options.only:
                runs[-1][name] = CONTESTANTS[name](place, started, settings, n)
                print(f"run {number + 1}, {name}: { ({key: round(value, 1) for key, value in runs[-1][name].items()}) }", flush=True)
    print(heading(f"python -m benchmarks.throughput --pairs {n} --runs {options.runs} --spacing-ms {options.spacing_ms:g}"))
    for name in options.only:
        for figure in runs[0][name]:
            values = [run[name][figure] for run in runs]
            print(f"{name:8} {figure:24} {statistics.median(values):12,.1f}   ({', '.join(f'{value:,.1f}' for value in values)})")
    if "gnomon" in options.only:
        for other in options.only[1:]:
            for figure in ("pairs/s", "µs CPU per pair"):
                ratio = statistics.median(run["gnomon"][figure] / run[other][figure] for run in runs)
                print(f"gnomon / {other:6} {figure:24} {ratio:8.2f}")


if __name__ == "__main__":
    main()
