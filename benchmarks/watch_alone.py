"""The watch alone against River per event: the same joined rows, three subgroup dimensions, 200 monitors.

Run: ``python -m benchmarks.watch_alone [--pairs N] [--runs N] [--unasked]``. Both keep of the aggregate and each subgroup the same figures,
and five monitors each (error, false-positive and false-negative rate, calibration, cost): 40 segments, 200 monitors. River: its metrics,
and ADWIN for each monitor that an event belongs to, fed one event at a time; no decoding, no durability, no age of labels, no budget.
Gnomon: decoding the scored records, the sums, panes, rungs, evidence, what is watched beside the versions and the statistics events.
``--unasked``: with all that Gnomon watches where a policy names no family, 324 monitors at two rungs, against the 200 of River.
"""

import argparse
import statistics
import time
from collections import defaultdict

import orjson
from river import drift

from benchmarks.peers.segments import FN, FP, Segment
from benchmarks.stage import heading
from benchmarks.throughput import pairs
from detectors.intake import SourceBatch
from detectors.joiner import Joiner
from detectors.pending import DictTable
from detectors.watch import Watch
from schemas.policy import Policy, parse_policy
from schemas.scored import Origin, Tick, decode, encode

GROUPS = 13  # in each of three dimensions: with the aggregate 40 segments
STEP = 16_000  # pairs, about a second's worth
FAR_MS = 1_800_000_000_000
UNASKED = f"[defaults]\ncost = {{ fp = {FP}, fn = {FN} }}\nages = ['1m']\n"
POLICY = UNASKED + "".join(f"watch.{family}.enabled = false\n" for family in ("alert_rate", "score", "prior", "coverage"))

Event = tuple[float, int, tuple[str, ...]]  # score, label, segments


def traffic(n: int) -> tuple[list[bytes], list[bytes], list[Event]]:
    """Return predictions of one model with thirteen groups in each dimension, their outcomes, and both as River is given them."""
    made, known = pairs(n, spacing_ms=1)
    events = []
    for i, (prediction, outcome) in enumerate(zip(made, known, strict=True)):
        record = orjson.loads(prediction)
        record["model_id"] = "model"
        record["subgroups"] = {name: f"{name}-{(i * step + i // GROUPS) % GROUPS}" for name, step in (("a", 3), ("b", 5), ("c", 8))}
        made[i] = orjson.dumps(record)
        events.append((record["score"], orjson.loads(outcome)["true_label"], ("", *record["subgroups"].values())))
    return made, known, events


def scored(made: list[bytes], known: list[bytes]) -> list[tuple[list[bytes], Tick]]:
    """Return, step by step, the scored records and the tick after them."""
    joiner, table, steps = Joiner(Policy(), b"s"), DictTable(), []
    for begin in range(0, len(made), STEP):
        highs: dict[Origin, int] = {}
        records: list[bytes] = []
        for topic, values in (("predictions", made), ("outcomes", known)):
            part = values[begin : begin + STEP]
            batch = SourceBatch(Origin(topic, topic, 0), range(begin, begin + len(part)), [FAR_MS] * len(part), part)
            prepared = joiner.prepare([batch])
            joined = joiner.finish(prepared, table.exchange_now(prepared.lookups))
            records += [encode(rows) for rows in joined.rows]
            highs |= joined.highs
        steps.append((records, Tick({"predictions": 1, "outcomes": 1}, list(highs.items()), begin // STEP * 1_000)))
    return steps


def gnomon(steps: list[tuple[list[bytes], Tick]], policy: str = POLICY) -> tuple[float, int]:
    """Fold the steps; return the seconds of CPU and how many monitors there were in the end."""
    watch = Watch()
    watch.use(parse_policy(policy))
    begun = time.process_time()
    for records, tick in steps:
        for record in records:
            watch.apply(decode(record))
        watch.apply(tick)
    used = time.process_time() - begun
    [version] = watch.models["model"].values()
    return used, sum(panel.monitors.count for panels in version.bank.panels.values() for panel in panels)


def river(events: list[Event]) -> tuple[float, int]:
    """Give River one event after another; return the same."""
    segments: dict[str, Segment] = defaultdict(Segment)
    monitors: dict[tuple[str, str], drift.ADWIN] = defaultdict(drift.ADWIN)
    begun, drifts = time.process_time(), 0
    for score, label, names in events:
        predicted = int(score >= 0.5)
        error = int(predicted != label)
        fed = {
            "error": error,
            "fnr" if label else "fpr": error,
            "calibration": (score - label) ** 2,
            "cost": FP if predicted > label else FN if label > predicted else 0.0,
        }
        for name in names:
            segments[name].add(score, predicted, label)
            for metric, value in fed.items():
                monitor = monitors[name, metric]
                monitor.update(value)
                drifts += monitor.drift_detected
    return time.process_time() - begun, len(monitors)


def main() -> None:
    """Print µs of CPU per pair of both, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=160_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--unasked", action="store_true")
    options = parser.parse_args()
    made, known, events = traffic(options.pairs)
    steps = scored(made, known)
    said = " --unasked" if options.unasked else ""
    print(heading(f"python -m benchmarks.watch_alone --pairs {options.pairs} --runs {options.runs}{said}"))
    ratios = []
    for _ in range(options.runs):
        ours, mine = gnomon(steps, UNASKED if options.unasked else POLICY)
        theirs, others = river(events)
        ratios.append(ours / theirs)
        each = [f"{used / options.pairs * 1e6:.2f} µs of CPU a pair, {count} monitors" for used, count in ((ours, mine), (theirs, others))]
        print(f"watch {each[0]}; River {each[1]}; {ratios[-1]:.3f} times", flush=True)
    print(f"median {statistics.median(ratios):.3f} times")


if __name__ == "__main__":
    main()
