"""Rows that lie in the same segments: sums are taken once for all of those, then given to each segment."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detectors.cells import Layout
from detectors.fixed import Ints
from detectors.panes import BIN_BITS, CLASS_BITS, MAX_CLASS, cell_key, distinct, sums_by
from detectors.sums import Part, whole

NONE = -1  # no segment


class Crowds(NamedTuple):
    """The crowd of each row, and the segments of each crowd.

    Examples
    --------
    >>> crowds = Crowds(np.array([1, 0, 1]), np.array([[0, NONE], [0, 7]]))  # rows 0 and 2 lie in segments 0 and 7
    >>> crowds.spread(crowds.of)
    (array([0, 2, 3, 5]), array([0, 0, 1, 2, 2]), array([0, 7, 0, 0, 7]))

    """

    of: Ints  # shape (n,)
    members: Ints  # segments, the aggregate first if there, NONE where there are fewer; shape (crowds, most)

    def among(self, chosen: npt.NDArray[np.bool_]) -> "Crowds":
        """Return the crowds of some of the rows."""
        return self._replace(of=self.of[chosen])

    def spread(self, crowd: Ints) -> tuple[Ints, Ints, Ints]:
        """Return the segments of each of k crowds: where those of each begin, shape (k + 1,), which crowd each is of, and the segments."""
        members = self.members[crowd]
        held = members != NONE
        count = held.sum(axis=1)
        return np.concatenate([[0], np.cumsum(count)]), np.repeat(np.arange(len(crowd)), count), members[held]

    def segments(self, at: Ints) -> Ints:
        """Return the segments of some of the rows, shape (rows, most)."""
        return self.members[self.of[at]]

    def aggregate(self) -> Ints:
        """Return the aggregate of each row, NONE where it does not lie in it; shape (n,)."""
        return np.asarray(self.members[self.of, 0])


class Cells:
    """Which of n rows count in which cells (pane, segment, age class).

    Parameters
    ----------
    crowds
        Of the rows.
    segments
        How many segments there are.
    pane, age_class
        Of each row, shape (n,).

    Examples
    --------
    >>> crowds = Crowds(np.array([0, 0]), np.array([[0, 7]]))
    >>> cells = Cells(crowds, 8, np.array([5, 5]), np.array([0, 0]))
    >>> keys, sums = cells.by_cell(Part(np.array([0]), np.array([[1], [1]])), Layout(counts=("n",), sums={}))
    >>> [(int(key) >> CLASS_BITS, n) for key, n in zip(keys, sums[:, 0].tolist(), strict=True)] == [(5 << 20, 2), (5 << 20 | 7, 2)]
    True

    """

    def __init__(self, crowds: Crowds, segments: int, pane: Ints, age_class: Ints) -> None:
        self.crowds, self.segments = crowds, segments
        self._spans, self._span = distinct(pane << CLASS_BITS | age_class)

    def by_cell(self, part: Part, layout: Layout) -> tuple[Ints, Ints]:
        """Return the cells, ascending, and the sums of their rows, shape (cells, width)."""
        span, segment, sums = self._sums(self._span, part, layout)
        return _sorted(self._keys(span, segment), sums)

    def by_bin(self, place: Ints, places: int, part: Part, layout: Layout, at: Ints) -> tuple[Ints, Ints]:
        """Return the same of some rows, by cell and by one of so many places in it, at most 32."""
        code, segment, sums = self._sums(self._span[at] * places + place, part, layout, at)
        return _sorted(self._keys(code // places, segment) << BIN_BITS | code % places, sums)

    def by_segment(self, place: Ints, bits: int, part: Part, layout: Layout, at: Ints) -> tuple[Ints, Ints]:
        """Return the sums of some rows by segment and place, whatever the pane: keys segment << bits | place."""
        place, segment, sums = self._sums(place, part, layout, at)
        return _sorted(segment << bits | place, sums)

    def by_time(self, time: Ints, bits: int, counts: Ints, at: Ints) -> tuple[Ints, Ints]:
        """Return the sums of counts of some rows, shape (rows, 1), by time and segment: keys time << bits | segment."""
        times, code = distinct(time)
        code, segment, sums = self._sums(code, whole(counts), None, at)
        return times[code] << bits | segment, sums

    def _sums(self, code: Ints, part: Part, layout: Layout | None, at: Ints | None = None) -> tuple[Ints, Ints, Ints]:
        """Return code and segment, ascending, and the sums of the rows of both."""
        crowd, rows = self.crowds.of if at is None else self.crowds.of[at], part.rows
        crowds = len(self.crowds.members)
        if 2 * crowds < len(rows):
            codes, rows = sums_by(code * crowds + crowd, None, rows)
            code, crowd = codes // crowds, codes % crowds
        first, place, segment = self.crowds.spread(crowd)
        codes, rows = sums_by(code[place] * self.segments + segment, first, rows)
        return codes // self.segments, codes % self.segments, rows if layout is None else Part(part.columns, rows).full(layout)

    def _keys(self, span: Ints, segment: Ints) -> Ints:
        spans = self._spans[span]
        keys: Ints = cell_key(spans >> CLASS_BITS, segment, spans & MAX_CLASS)
        return keys


def _sorted(keys: Ints, sums: Ints) -> tuple[Ints, Ints]:
    order = np.argsort(keys)
    return keys[order], sums[order]
