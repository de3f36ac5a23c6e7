"""What the mature rung of a version has read, for all time: the labels known by its age, of every prediction alike."""

from typing import Any

import numpy as np

from detectors.cells import BIN, KNOWN, MADE
from detectors.error_cells import ERRORS, ROWS
from detectors.fixed import Ints
from detectors.ladder import WEEK_MS
from detectors.panes import BIN_BITS, SumTable

NONE: Ints = np.zeros((0, 0, 0), dtype=np.int64)


class MatureSums:
    """Integer sums, additive and mergeable: ``made`` and ``known`` by segment, ``bins`` by segment and cell of the score, ``weeks`` by age.

    ``weeks`` are those of the version's age, ``known`` of all real traffic in each. ``errors``, of predicted numbers, are by segment and
    row of the error's size (``BIN_BITS`` of the key); empty for models that predict none.

    Examples
    --------
    >>> sums = MatureSums()
    >>> sums.add(0, np.array([0]), MADE.zeros(1), KNOWN.zeros(1) + 1, np.zeros((1, 20, BIN.width), dtype=np.int64), weeks_since_ms=-WEEK_MS)
    >>> sums.weeks.keys, len(sums.errors.keys)
    (array([1]), 0)

    """

    def __init__(self) -> None:
        self.made, self.known, self.bins, self.weeks = SumTable(MADE), SumTable(KNOWN), SumTable(BIN), SumTable(KNOWN)
        self.errors = SumTable(ERRORS)

    def add(
        self, start_ms: int, segments: Ints, made: Ints, known: Ints, known_bins: Ints, *, weeks_since_ms: int | None, errors: Ints = NONE
    ) -> None:
        """Add what the rung has read of a pane.

        Parameters
        ----------
        start_ms
            When the pane begins.
        segments
            Those in it, ascending, shape (k,).
        made, known, known_bins
            Their sums, shapes (k, width) and (k, cells, width).
        weeks_since_ms
            When the version's first week began; None: not known yet.
        errors
            Those of predicted numbers by row, layout ``error_cells.ERRORS``, shape (k, 32, width); empty where there are none.

        """
        self.made.merge(segments, made)
        self.known.merge(segments, known)
        if weeks_since_ms is not None and len(segments) and segments[0] == 0:
            self.weeks.merge(np.array([max(start_ms - weeks_since_ms, 0) // WEEK_MS]), known[:1])
        cells = known_bins.shape[1]
        self.bins.merge((segments[:, np.newaxis] * cells + np.arange(cells)).ravel(), known_bins.reshape(-1, BIN.width))
        if len(errors):
            keys, rows = (segments[:, np.newaxis] << BIN_BITS | np.arange(ROWS)).ravel(), errors.reshape(-1, ERRORS.width)
            held = rows.any(axis=1)  # errors of a model are of few sizes
            self.errors.merge(keys[held], rows[held])

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes."""
        return {name: table.to_state() for name, table in vars(self).items()}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "MatureSums":
        """Return the sums that ``to_state`` wrote."""
        sums = cls()
        for name, layout in (("made", MADE), ("known", KNOWN), ("bins", BIN), ("weeks", KNOWN), ("errors", ERRORS)):
            setattr(sums, name, SumTable.from_state(layout, state[name]))
        return sums
