"""How far labels have come, asked for between any two messages."""

import numpy as np
import pytest

from detectors.label_progress import label_progress
from detectors.watch import Watch
from schemas.policy import parse_policy
from schemas.scored import Kind, Origin, Rows, Tick

HOUR_MS = 3_600_000
POLICY = parse_policy('[defaults]\nages = ["1h"]\n')


def rows(kind, at_ms, offset, known_ms=0):
    types = {"kind": "u1", "status": "u1", "score": "<f8", "predicted_at": "<i8", "known_at": "<i8", "label": "i1", "offset": "<i8"}
    values = dict(zip(types, (kind, 1, 0.7, at_ms, known_ms, 1, offset), strict=True))
    packed = {name: np.array([value], dtype=types[name]).tobytes() for name, value in values.items()}
    return Rows("m", [Origin("predictions" if kind == Kind.PREDICTION else "outcomes", "x", 0)], 1, packed, versions=["1"])


@pytest.mark.parametrize("at_hour", [1, 3])
def test_a_label_may_come_a_message_before_its_prediction(at_hour):
    """As where a step of the join is long, and its rows are more than one message; in the middle of the panes, and after the last."""
    watch = Watch()
    watch.use(POLICY)
    for i in (0, 2):
        watch.apply(rows(Kind.PREDICTION, i * HOUR_MS, i))
        watch.apply(rows(Kind.LABEL, i * HOUR_MS, i, known_ms=i * HOUR_MS + 1))
    watch.apply(Tick({"predictions": 1, "outcomes": 1}, [(Origin(topic, "x", 0), 9 * HOUR_MS) for topic in ("predictions", "outcomes")], 0))
    before = label_progress(watch.models["m"]["1"])
    assert before.by_age == {HOUR_MS: (2, 2)}
    at_ms = at_hour * HOUR_MS
    watch.apply(rows(Kind.LABEL, at_ms, 7, known_ms=at_ms + 1))
    assert label_progress(watch.models["m"]["1"]) == before  # of what nobody has predicted yet, nothing is said
    watch.apply(rows(Kind.PREDICTION, at_ms, 7))
    after = label_progress(watch.models["m"]["1"])
    assert (after.by_age, after.oldest_ms) == ({HOUR_MS: (3, 3)}, None)
