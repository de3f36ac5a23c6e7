"""How far the labels of a model version have come: sums of its panes, cheap enough to be asked for every few seconds."""

from typing import NamedTuple

import numpy as np

from detectors.cells import CONFUSION, KNOWN, MADE
from detectors.fixed import Ints
from detectors.model_version import ModelVersion
from detectors.panes import CLASS_BITS, MAX_CLASS, PANE_MS, SEGMENT_BITS, SumTable, pane_of


class LabelProgress(NamedTuple):
    """Counts of real traffic, of all groups together.

    ``by_age`` gives of each age that is read (ms): the predictions that have reached it, and those of them that were labelled by it; both
    are additive over versions and can be taken back. ``oldest_ms`` is the start of the oldest pane in which a prediction waits for a label
    that the horizon has not cut off, epoch ms; None: none waits. ``overflow`` counts (prediction, dimension) pairs whose value is
    beyond the caps on groups, additive too.
    """

    by_age: dict[int, tuple[int, int]]
    oldest_ms: int | None
    overflow: int


def label_progress(version: ModelVersion) -> LabelProgress:
    """Return how far the labels of a version have come, by its watermark.

    >>> from schemas.policy_models import ModelPolicy
    >>> label_progress(ModelVersion("m", "1", ModelPolicy(), distinct_scores=4))
    LabelProgress(by_age={}, oldest_ms=None, overflow=0)
    """
    sums = version.sums
    keys, rows = _aggregate(sums.tables["made"])
    made = MADE.count(rows, "n")
    start = np.asarray(pane_of(keys) * PANE_MS)
    width = np.full(len(keys), PANE_MS, dtype=np.int64)
    for wide, frontier in sums.frontiers.items():
        width[start < frontier] = wide
    known_keys, known_rows = _aggregate(sums.tables["known"])
    met = np.isin(pane_of(known_keys), pane_of(keys))  # where a step is long, a label can come a message before its prediction
    known_keys, known_rows = known_keys[met], known_rows[met]
    labelled = np.asarray(sum(KNOWN.count(known_rows, name) for name in (*CONFUSION, "abstained")))
    pane, age_class = np.searchsorted(start, pane_of(known_keys) * PANE_MS), known_keys & MAX_CLASS
    by_age = {}
    for rung in version.ladder.rungs()[1:]:
        age_ms = version.ladder.age_ms(rung)
        reached = start + width + age_ms <= version.watermark_ms
        if made[reached].any():
            by_age[age_ms] = int(made[reached].sum()), int(labelled[reached[pane] & (age_class <= rung)].sum())
    waiting = made > np.bincount(pane, labelled, len(start))
    if version.horizon_ms is not None:
        waiting &= start + width + version.horizon_ms > version.watermark_ms
    total = sums.tables["total_made"].dense(len(sums.segments))[:, MADE.at["n"]]
    oldest = int(start[waiting][0]) if waiting.any() else None
    return LabelProgress(by_age, oldest, int(total[sums.segments.overflown()].sum()))


def _aggregate(table: SumTable) -> tuple[Ints, Ints]:
    of = table.keys >> CLASS_BITS & ((1 << SEGMENT_BITS) - 1) == 0
    return table.keys[of], table.rows[of]
