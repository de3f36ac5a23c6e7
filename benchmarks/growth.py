"""How the CPU per pair grows with models, groups and source partitions.

Run: ``python -m benchmarks.growth [--pairs N]``. Each case has a process of its own; the pending table is a dict. Stages: ``join``,
messages to encoded scored records; ``known``, the same once more through the same joiner with an empty table: every combination of model,
version and subgroups has been met, while in ``join`` each is new once; ``rows``, those records into the watch's sums; ``tick``, the
watermark's steps and the statistics events.

All models together have 1,000 predictions a second of event time. With ``--each RATE`` every model has as many as that, for two minutes of
event time: what models cost whose own traffic is the same, however many stand beside them.
"""

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

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
LONGEST_STEP_S = 10  # of event time
EACH_S = 120  # of event time
FAR_MS = 1_800_000_000_000


class Case(NamedTuple):
    """What is measured: so many pairs, at so many predictions a second of event time."""

    models: int
    groups: int
    partitions: int
    pairs: int
    rate: int

    def steps(self) -> Iterator[tuple[int, list[bytes], list[bytes]]]:
        """Yield the number of the first pair of each step, its predictions and its outcomes."""
        size = min(STEP, self.rate * LONGEST_STEP_S)
        for begin in range(0, self.pairs, size):
            predictions, outcomes = pairs(min(size, self.pairs - begin), seed=begin, spacing_ms=1_000 / self.rate, first=begin)
            for i, value in enumerate(predictions, begin):
                of_model = value.replace(b'"model-%d"' % (i % 4), b'"model-%d"' % (i % self.models))
                predictions[i - begin] = of_model.replace(b'"age":"', b'"age":"g%d-' % (i % self.groups))
            yield begin, predictions, outcomes


def measure(case: Case) -> list[float]:
    """Return µs of CPU per pair of each stage."""
    joiner = Joiner(Policy(), b"s")
    join, *watched = once(joiner, case)
    known, *_ = once(joiner, case)
    return [join, known, *watched]


def once(joiner: Joiner, case: Case) -> list[float]:
    """Return µs of CPU per pair of the join, of rows and of ticks, with a table and a watch that are empty."""
    partitions, table, watch = case.partitions, DictTable(), Watch()
    stages = [0.0, 0.0, 0.0]
    for step, (begin, predictions, outcomes) in enumerate(case.steps()):
        highs: dict[Origin, int] = {}
        for topic, values in (("predictions", predictions), ("outcomes", outcomes)):
            parts = [values[p::partitions] for p in range(partitions)]
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
        watch.apply(Tick({"predictions": partitions, "outcomes": partitions}, list(highs.items()), step * 1_000))
        stages[2] += time.process_time() - at[0]
    return [stage / case.pairs * 1e6 for stage in stages]


def alone(case: Case) -> list[float]:
    """Measure in a process that has done nothing else: what other cases leave of its memory makes the next one dearer by a quarter."""
    measure(Case(1, 1, 1, pairs=2_000, rate=1_000))  # what is loaded on its first use
    spare_collector()  # as the workers do
    return measure(case)


def cases(n: int, each: int) -> list[Case]:
    """Return what is measured."""
    if each:
        return [Case(models, 1, 4, each * models * EACH_S, each * models) for models in (1, 4, 100, 1_000)]
    sizes = ((1, 1, 4), (4, 1, 4), (100, 1, 4), (1_000, 1, 4), (4, 100, 4), (4, 1_000, 4), (4, 1, 1), (4, 1, 64))
    return [Case(*size, pairs=n, rate=1_000) for size in sizes]


def main() -> None:
    """Print a line per case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=32_000)
    parser.add_argument("--each", type=int, default=0, metavar="RATE", help="predictions a second of event time of each model")
    options = parser.parse_args()
    print(heading(f"python -m benchmarks.growth {f'--each {options.each}' if options.each else f'--pairs {options.pairs}'}"))
    with ProcessPoolExecutor(1, max_tasks_per_child=1) as processes:
        for case in cases(options.pairs, options.each):
            join, known, rows, tick = processes.submit(alone, case).result()
            told = f"{case.models:5} models, {case.groups:5} groups, {case.partitions:3} partitions, {case.pairs} pairs"
            print(f"{told}: join {join:7.2f}, known {known:7.2f}, rows {rows:7.2f}, tick {tick:7.2f} µs of CPU a pair", flush=True)


if __name__ == "__main__":
    main()
