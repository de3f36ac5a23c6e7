"""How the CPU per pair grows with models, groups and source partitions.

Run: ``python -m benchmarks.growth [--pairs N]``. Each case has a process of its own; the pending table is a dict. Stages: ``join``,
messages to encoded scored records; ``known``, the same once more through the same joiner with an empty table: every combination of model,
version and subgroups has been met, while in ``join`` each is new once; ``rows``, those records into the watch's sums; ``tick``, the
watermark's steps and the statistics events.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from benchmarks.stage import heading
from benchmarks.throughput import pairs
from detectors.intake import SourceBatch
from detectors.joiner import Joiner
from detectors.pending import DictTable
from detectors.watch import Watch
from schemas.policy import Policy
from schemas.scored import Origin, Tick, decode, encode
from streams.engine import spare_collector

STEP = 16_000  # pairs, about a second's worth
FAR_MS = 1_800_000_000_000
CASES = ((1, 1, 4), (4, 1, 4), (100, 1, 4), (1_000, 1, 4), (4, 100, 4), (4, 1_000, 4), (4, 1, 1), (4, 1, 64))


def measure(n: int, models: int, groups: int, partitions: int) -> list[float]:
    """Return µs of CPU per pair of each stage."""
    predictions, outcomes = pairs(n, spacing_ms=1)
    predictions = [
        value.replace(b'"model-%d"' % (i % 4), b'"model-%d"' % (i % models)).replace(b'"age":"', b'"age":"g%d-' % (i % groups))
        for i, value in enumerate(predictions)
    ]
    joiner = Joiner(Policy(), b"s")
    join, *watched = once(joiner, predictions, outcomes, partitions)
    known, *_ = once(joiner, predictions, outcomes, partitions)
    return [join, known, *watched]


def once(joiner: Joiner, predictions: list[bytes], outcomes: list[bytes], partitions: int) -> list[float]:
    """Return µs of CPU per pair of the join, of rows and of ticks, with a table and a watch that are empty."""
    n, table, watch = len(predictions), DictTable(), Watch()
    stages = [0.0, 0.0, 0.0]
    for begin in range(0, n, STEP):
        highs: dict[Origin, int] = {}
        for topic, values in (("predictions", predictions), ("outcomes", outcomes)):
            parts = [values[begin + p : begin + STEP : partitions] for p in range(partitions)]
            first = begin // partitions
            batches = [
                SourceBatch(Origin(topic, topic, p), np.arange(first, first + len(part)), np.full(len(part), FAR_MS), part)
                for p, part in enumerate(parts)
            ]
            at = [time.process_time()]
            prepared = joiner.prepare(batches)
            joined = joiner.finish(prepared, table.exchange_now(prepared.lookups))
            scored = [encode(rows) for rows in joined.rows]
            at.append(time.process_time())
            for value in scored:
                watch.apply(decode(value))
            at.append(time.process_time())
            highs |= joined.highs
            stages = [stages[0] + at[1] - at[0], stages[1] + at[2] - at[1], stages[2]]
        at = [time.process_time()]
        watch.apply(Tick({"predictions": partitions, "outcomes": partitions}, list(highs.items()), begin // STEP * 1_000))
        stages[2] += time.process_time() - at[0]
    return [stage / n * 1e6 for stage in stages]


def alone(n: int, models: int, groups: int, partitions: int) -> list[float]:
    """Measure in a process that has done nothing else: what other cases leave of its memory makes the next one dearer by a quarter."""
    measure(2_000, 1, 1, 1)  # what is loaded on its first use
    spare_collector()  # as the workers do
    return measure(n, models, groups, partitions)


def main() -> None:
    """Print a line per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=32_000)
    options = parser.parse_args()
    print(heading(f"python -m benchmarks.growth --pairs {options.pairs}"))
    with ProcessPoolExecutor(1, max_tasks_per_child=1) as processes:
        for models, groups, partitions in CASES:
            join, known, rows, tick = processes.submit(alone, options.pairs, models, groups, partitions).result()
            case = f"{models:5} models, {groups:5} groups, {partitions:3} partitions"
            print(f"{case}: join {join:7.2f}, known {known:7.2f}, rows {rows:7.2f}, tick {tick:7.2f} µs of CPU a pair", flush=True)


if __name__ == "__main__":
    main()
