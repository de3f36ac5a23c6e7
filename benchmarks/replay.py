"""Events a second of CPU of a replay over two files of JSON lines, against a loop of ``orjson.loads`` over the same lines.

Run: ``python -m benchmarks.replay [--pairs N] [--runs N]``.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import orjson

from benchmarks.stage import heading
from benchmarks.throughput import pairs
from streams.replay import replay

FAR_MS = 1_800_000_000_000


def measure(paths: tuple[Path, Path]) -> tuple[float, float]:
    """Return the seconds of CPU that a replay takes, and the bare loop."""
    at = [time.process_time()]
    replay(*paths, started_ms=FAR_MS)
    at.append(time.process_time())
    for path in paths:
        with path.open("rb") as lines:
            for line in lines:
                orjson.loads(line)
    at.append(time.process_time())
    return at[1] - at[0], at[2] - at[1]


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
        runs = [measure(paths) for _ in range(options.runs)]
    events = 2 * options.pairs
    print(heading(f"python -m benchmarks.replay --pairs {options.pairs} --runs {options.runs}"))
    for name, values in zip(("replay", "a loop of orjson.loads"), zip(*runs, strict=True), strict=True):
        median = statistics.median(values)
        print(f"{name:24} {events / median:12,.0f} events a second of CPU, {median / events * 1e6:6.2f} µs each")
    print(f"replay / loop {statistics.median(loop / ours for ours, loop in runs):.3f}")


if __name__ == "__main__":
    main()
