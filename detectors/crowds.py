"""Rows that lie in the same segments: sums are taken once for all of those, then given to each segment."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detectors.cells import BIN, GRID, PANE_GRID, Layout
from detectors.fixed import Ints
from detectors.panes import BIN_BITS, CLASS_BITS, FEW, MAX_CLASS, cell_key, distinct, sums_by
from detectors.sums import Part

NONE = -1  # no segment
_FEW_TERMS = 3  # to add them in four segments costs less than to look for crowds


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
        members = self.members.take(crowd, axis=0)
        if self.members.min(initial=0) > NONE:  # the rule
            most = members.shape[1]
            return np.arange(len(crowd) + 1) * most, np.repeat(np.arange(len(crowd)), most), members.reshape(-1)
        held = members != NONE
        count = held.sum(axis=1)
        return np.concatenate([[0], np.cumsum(count)]), np.repeat(np.arange(len(crowd)), count), members[held]

    def segments(self, at: Ints) -> Ints:
        """Return the segments of some of the rows, shape (rows, most)."""
        return self.members.take(self.of[at], axis=0)

    def aggregate(self) -> Ints:
        """Return the aggregate of each row, NONE where it does not lie in it; shape (n,)."""
        return self.members[:, 0].take(self.of)


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
    >>> keys, sums = cells.by_cell(Part(np.array([0]), 2, [(0, np.array([1, 1]))]), Layout(counts=("n",), sums={}))
    >>> [(int(key) >> CLASS_BITS, n) for key, n in zip(keys, sums[:, 0].tolist(), strict=True)] == [(5 << 20, 2), (5 << 20 | 7, 2)]
    True

    """

    def __init__(self, crowds: Crowds, segments: int, pane: Ints, age_class: Ints) -> None:
        self.crowds, self.segments = crowds, segments
        self._spans, self._span = distinct(pane << CLASS_BITS | age_class)

    def by_cell(self, part: Part, layout: Layout) -> tuple[Ints, Ints]:
        """Return the cells, ascending, and the sums of their rows, shape (cells, width)."""
        span, segment, sums = self._sums(self._span, len(self._spans), part, layout)
        return _sorted(self._keys(span, segment), sums)

    def by_bin(self, place: Ints, places: int, part: Part, layout: Layout, at: Ints) -> tuple[Ints, Ints]:
        """Return the same of some rows, by cell and by one of so many places in it, at most 32."""
        code, segment, sums = self._sums(self._span.take(at) * places + place, len(self._spans) * places, part, layout, at)
        return _sorted(self._keys(code // places, segment) << BIN_BITS | code % places, sums)

    def by_grid(self, cell: Ints, bits: int, part: Part, at: Ints) -> Iterator[tuple[Ints, Ints]]:
        """Yield the sums of some rows, of the layout ``BIN``, by their cell of the calibration grid: ``by_bin`` and ``by_segment``."""
        spans, wide = len(self._spans), GRID // PANE_GRID
        if not self._few_places(spans * GRID, part):
            yield self.by_bin(cell // wide, PANE_GRID, part, BIN, at)
            yield self.by_segment(cell, bits, part, BIN, at)
            return
        there, sums = self._in_place(self._span.take(at) * GRID + cell, spans * GRID, self.crowds.of.take(at), part)
        shape = spans, PANE_GRID, wide, self.segments
        there, sums = there.reshape(shape), sums.reshape(-1, *shape)
        code, segment, rows = self._found(np.logical_or.reduce(there, axis=2), sums.sum(axis=3), part, BIN)
        yield _sorted(self._keys(code // PANE_GRID, segment) << BIN_BITS | code % PANE_GRID, rows)
        code, segment, rows = self._found(np.logical_or.reduce(there, axis=0), sums.sum(axis=1), part, BIN)
        yield _sorted(segment << bits | code, rows)

    def by_segment(self, place: Ints, bits: int, part: Part, layout: Layout, at: Ints) -> tuple[Ints, Ints]:
        """Return the sums of some rows by segment and place, whatever the pane: keys segment << bits | place."""
        place, segment, sums = self._sums(place, 1 << bits, part, layout, at)
        return _sorted(segment << bits | place, sums)

    def by_time(self, time: Ints, bits: int, part: Part, layout: Layout, at: Ints) -> tuple[Ints, Ints]:
        """Return the sums of some rows by time and segment: keys time << bits | segment."""
        times, code = distinct(time)
        code, segment, sums = self._sums(code, len(times), part, layout, at)
        return times[code] << bits | segment, sums

    def _sums(self, code: Ints, codes: int, part: Part, layout: Layout, at: Ints | None = None) -> tuple[Ints, Ints, Ints]:
        """Return code, one of so many, and segment, ascending, and the sums of the rows of both."""
        crowd = self.crowds.of if at is None else self.crowds.of.take(at)
        crowds = len(self.crowds.members)
        if self._few_places(codes, part) and (part.n <= 2 * codes * crowds or len(part.terms) <= _FEW_TERMS):
            return self._found(*self._in_place(code, codes, crowd, part), part, layout)
        if 2 * crowds < part.n:
            both, which = distinct(code * crowds + crowd)
            code, crowd, rows = both // crowds, both % crowds, part.grouped(which, len(both))
        else:
            rows = part.grouped(np.arange(part.n), part.n)
        first, place, segment = self.crowds.spread(crowd)
        found, rows = sums_by(code.take(place) * self.segments + segment, first, rows)
        out = layout.zeros(len(rows))
        out[:, part.columns] = rows
        return found // self.segments, found % self.segments, out

    def _few_places(self, codes: int, part: Part) -> bool:
        """Say whether to have a place for each code and segment costs less than to look for those that are there."""
        return FEW < part.n >= codes * self.segments

    def _in_place(self, code: Ints, codes: int, crowd: Ints, part: Part) -> tuple[npt.NDArray[np.bool_], Ints]:
        """Return for each place code * segments + segment whether any row counts there, shape (places,), and the sums, (k, places)."""
        none = codes * self.segments
        out = np.zeros((len(part.columns), none + 1), dtype=np.int64)
        there = np.zeros(none + 1, dtype=np.bool_)
        code = code * self.segments
        for members in np.ascontiguousarray(self.crowds.members.T):
            place = members.take(crowd)
            nowhere = place == NONE if members.min() == NONE else None
            place += code
            if nowhere is not None:
                place[nowhere] = none
            there[place] = True
            part.add_to(out, place)
        return there[:none], out[:, :none]

    def _found(self, there: npt.NDArray[np.bool_], sums: Ints, part: Part, layout: Layout) -> tuple[Ints, Ints, Ints]:
        """Return code, segment and sums of the places that any row counts in, as ``_sums`` does; places as of ``_in_place``."""
        found = np.flatnonzero(there)
        rows = layout.zeros(len(found))
        rows[:, part.columns] = sums.reshape(len(sums), -1).take(found, axis=1).T
        return found // self.segments, found % self.segments, rows

    def _keys(self, span: Ints, segment: Ints) -> Ints:
        spans = self._spans[span]
        keys: Ints = cell_key(spans >> CLASS_BITS, segment, spans & MAX_CLASS)
        return keys


def _sorted(keys: Ints, sums: Ints) -> tuple[Ints, Ints]:
    if (keys[1:] > keys[:-1]).all():
        return keys, sums
    order = np.argsort(keys)
    return keys[order], sums.take(order, axis=0)
