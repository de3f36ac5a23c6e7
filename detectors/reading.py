"""What a rung sees of one pane."""

from dataclasses import dataclass, field

import numpy as np

from detectors.fixed import Ints

BEFORE = -(2**62)  # before every time, epoch ms: "not yet". Times before 1970 are below zero, so no small number will do


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The sums of one pane at one rung: the prediction side, and the labels known by the rung's age.

    ``segments`` holds the segments (indexes; 0 is the aggregate) with any prediction in the pane, ascending, shape (s,). ``made`` has the
    layout ``cells.MADE``, shape (s, width); ``known`` the layout ``cells.KNOWN``; ``made_bins`` and ``known_bins`` the layout
    ``cells.BIN``, shape (s, 20, width): predictions, and labels, by cell of the score. ``costs`` has the layout ``cost_cells.COST``, shape
    (s, 32, width), or is empty, and so ``errors`` has the layout ``error_cells.ERRORS``. At rungs from the horizon on with timeouts as
    negatives, ``known``, ``known_bins`` and ``costs`` hold the timed-out ones too, so no reader needs to know.
    """

    rung: int  # index into the ladder; 0 is age 0, before any label
    age_ms: int
    start_ms: int
    end_ms: int
    due_ms: int  # end + age: when the watermark reads it
    mature: bool  # the last rung of the ladder
    segments: Ints
    made: Ints
    known: Ints
    made_bins: Ints
    known_bins: Ints
    costs: Ints = field(default_factory=lambda: np.zeros((0, 0, 0), dtype=np.int64))
    errors: Ints = field(default_factory=lambda: np.zeros((0, 0, 0), dtype=np.int64))
