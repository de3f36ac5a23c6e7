"""The watch alone against River per event: the same joined rows, three subgroup dimensions, 200 monitors.

Run: ``python -m benchmarks.watch_alone [--pairs N] [--runs N]``. Both keep of the aggregate and each subgroup the same figures, and five
monitors each (error, false-positive and false-negative rate, calibration, cost): 40 segments, 200 monitors. River: its metrics, and ADWIN
for each monitor that an event belongs to, fed one event at a time; no decoding, no durability, no age of labels, no budget. Gnomon:
decoding the scored records, the sums, panes, rungs, evidence and the statistics events.
"""

import argparse
import statistics
import time

from river import drift

from benchmarks.peers.segments import FN, FP, Segment
from benchmarks.stage import heading
from benchmarks.throughput import pairs
from detectors.joiner import Joiner, SourceBatch
from detectors.pending import DictTable
from detectors.watch import Watch
from schemas.codec import decode_outcome, decode_prediction
from schemas.policy import Policy, parse_policy
from schemas.scored import Origin, Tick, decode, encode

GROUPS = 13  # in each of three dimensions: with the aggregate 40 segments
STEP = 16_000  # pairs, about a second's worth
FAR_MS = 1_800_000_000_000
POLICY = f"[defaults]\ncost = {{ fp = {FP}, fn = {FN} }}\nages = ['1m']\n"

Event = tuple[float, int, int, tuple[str, ...]]  # score, predicted, label, segments


def traffic(n: int) -> tuple[list[bytes], list[bytes]]:
    """Return predictions of one model with thirteen groups in each dimension, and their outcomes."""
    made, known = pairs(n, spacing_ms=1)
    groups = (b'"country":"', b'"channel":"', b'"age":"')
    for i, value in enumerate(made):
        value = value.replace(b'"model-%d"' % (i % 4), b'"model-0"')
        for d, name in enumerate(groups):
            value = value.replace(name, b"%sg%d-" % (name, (i * (7, 11, 17)[d] + i // 13) % GROUPS))
        made[i] = value
    return made, known
