"""Events a second of a replay over two files of JSON lines, against a loop of ``orjson.loads`` over the same lines.

Run: ``python -m benchmarks.replay [--pairs N] [--runs N]``. In this process, after a run of each that does not count: wall time, and CPU of
all processes together, of a replay in two processes, of one in one, and of the loop, which takes turns with them. ``others`` is how many
processors were taken by what else ran on the machine meanwhile: wall times mean something where that is none.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import orjson

from benchmarks.stage import TICKS, heading
from benchmarks.throughput import pairs
from streams.replay import replay

FAR_MS = 1_800_000_000_000


class Used(NamedTuple):
    """Seconds."""

    wall: float
    cpu: float  # of all processes of ours
    machine: float  # of all processes there are


def now() -> Used:
    """Return what has been used so far; children count once they have ended."""
    ours = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    user, nice, system, _, _, *more = map(int, Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:8])
    return Used(time.perf_counter(), ours, (user + nice + system + sum(more)) / TICKS)


def loop(paths: tuple[Path, Path]) -> None:
    """Decode all lines, and nothing else."""
    for path in paths:
        with path.open("rb") as lines:
            for line in lines:
                orjson.loads(line)


def measure(run: Callable[[], object]) -> Used:
    """Return what a run takes."""
    begun = now()
    run()
    return Used(*(end - begin for begin, end in zip(begun, now(), strict=True)))


def main() -> None:
    """Print the median of each figure, and of the ratios within runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "predictions.jsonl"), Path(folder, "outcomes.jsonl")
        for path, lines in zip(paths, pairs(options.pairs, spacing_ms=1), strict=True):
            path.write_bytes(b"\n".join(lines) + b"\n")
        contestants: dict[str, Callable[[], object]] = {
            "replay, two processes": lambda: replay(*paths, started_ms=FAR_MS, two=True),
            "replay, one process": lambda: replay(*paths, started_ms=FAR_MS, two=False),
            "a loop of orjson.loads": lambda: loop(paths),
        }
        for run in contestants.values():
            run()
        runs = [[measure(run) for run in contestants.values()] for _ in range(options.runs)]
    events = 2 * options.pairs
    print(heading(f"python -m benchmarks.replay --pairs {options.pairs} --runs {options.runs}"))
    for name, values in zip(contestants, zip(*runs, strict=True), strict=True):
        wall, cpu = (statistics.median(getattr(used, each) for used in values) for each in ("wall", "cpu"))
        others = statistics.median((used.machine - used.cpu) / used.wall for used in values)
        rates = [
            f"{events / each:12,.0f} events a second{of}, {each / events * 1e6:5.2f} µs each" for of, each in (("", wall), (" of CPU", cpu))
        ]
        print(f"{name:24}{'; '.join(rates)}; others {max(others, 0.0):.2f}")
    for number, name in enumerate(list(contestants)[:2]):
        ratios = [statistics.median(getattr(run[2], each) / getattr(run[number], each) for run in runs) for each in ("wall", "cpu")]
        print(f"{name} / loop: {ratios[0]:.3f}, by CPU {ratios[1]:.3f}")


if __name__ == "__main__":
    main()
