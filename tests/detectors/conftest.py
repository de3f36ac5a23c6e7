"""Readings made by hand, for the tests of the evidence."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from detectors.cells import BIN, KNOWN, MADE, PANE_GRID
from detectors.fixed import SCORE_UNIT, carry, to_fixed
from detectors.reading import Reading

HOUR = 3_600_000


def _fill(layout: Any, n: int, counts: dict[str, Any]) -> Any:
    rows = layout.zeros(n)
    for name, values in counts.items():
        rows[:, layout.at[name]] = values
    return rows


@pytest.fixture
def reading() -> Callable[..., Reading]:
    """A reading of a pane that starts ``at`` hours after the epoch; ``fn``, ``tp``, ``fp``, ``tn`` are per segment."""

    def make(
        at: float,
        *,
        hours: float = 1,
        age_h: float = 24,
        rung: int = 1,
        mature: bool = True,
        segments: Any = (0,),
        made: dict[str, Any] | None = None,
        bins: Any = None,
        **known: Any,
    ) -> Reading:
        count = len(segments)
        cells = np.zeros((count, PANE_GRID, BIN.width), dtype=np.int64)
        if bins is not None:  # labels, positives, sum of scores; shape (segments, 20, 3)
            bins = np.asarray(bins, dtype=np.float64).reshape(count, PANE_GRID, 3)
            cells[..., :2] = bins[..., :2]
            cells[..., BIN.at["score"] + 1] = to_fixed(bins[..., 2], SCORE_UNIT)
            carry(cells, BIN.first_high)
        labelled = sum(
            (np.asarray(known[name]) for name in ("tp", "fp", "tn", "fn") if name in known), start=np.zeros(count, dtype=np.int64)
        )
        if bins is not None:
            labelled = labelled + bins[..., 0].sum(axis=1).astype(np.int64)
        start, end = int(at * HOUR), int((at + hours) * HOUR)
        return Reading(
            rung=rung,
            age_ms=int(age_h * HOUR),
            start_ms=start,
            end_ms=end,
            due_ms=end + int(age_h * HOUR),
            mature=mature,
            segments=np.asarray(segments, dtype=np.int64),
            made=_fill(MADE, count, {"n": labelled, "scored": labelled} | (made or {})),
            known=_fill(KNOWN, count, known),
            made_bins=np.zeros_like(cells),
            known_bins=cells,
        )

    return make
