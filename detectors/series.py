"""Sums by bucket of time, of the monitors that keep them: those that learn. They would be half of the state of many groups."""

from typing import Any

import numpy as np
import numpy.typing as npt

from detectors.baselines.tempering import BUCKETS, halve
from detectors.fixed import Floats, Ints

_NONE = -1


class Series:
    """For each row a series of ``BUCKETS`` pairs (sum, weight), kept while it is not empty and as far as it has come.

    Examples
    --------
    >>> series = Series()
    >>> series.add(np.array([5, 2]), np.array([0, 3]), np.array([[1.0, 10.0], [2.0, 20.0]]))
    >>> series.of(2)[3].tolist(), series.of(7).any(), series.of(5).shape
    ([2.0, 20.0], np.False_, (128, 2))
    >>> series.clear(5)
    >>> series.rows().tolist()
    [2]

    """

    def __init__(self) -> None:
        self._place: Ints = np.zeros(0, dtype=np.int64)  # by row, in ``_data``
        self._data: Floats = np.zeros((0, 1, 2))
        self._free: list[int] = []

    def add(self, rows: Ints, buckets: Ints, values: Floats) -> None:
        """Add pairs, shape (k, 2), to a bucket of each of k distinct rows."""
        if not len(rows):
            return
        self._widen(int(buckets.max()) + 1)
        places = self._places(rows)
        self._data[places, buckets] += values

    def of(self, row: int) -> Floats:
        """Return the series of a row, shape (BUCKETS, 2)."""
        out: Floats = np.zeros((BUCKETS, 2))
        if row < len(self._place) and self._place[row] != _NONE:
            out[: self._data.shape[1]] = self._data[self._place[row]]
        return out

    def halve(self, rows: Ints) -> None:
        """Merge neighbouring buckets of rows."""
        places = self._places(rows)
        merged = halve(self._data[places])
        self._data[places] = 0.0
        self._data[places, : merged.shape[1]] = merged

    def clear(self, row: int) -> None:
        """Empty the series of a row."""
        if row < len(self._place) and self._place[row] != _NONE:
            self._data[self._place[row]] = 0.0
            self._free.append(int(self._place[row]))
            self._place[row] = _NONE

    def keep(self, rows: Ints) -> None:
        """Keep only these rows, in this order."""
        kept = Series()
        held = np.flatnonzero(np.isin(rows, self.rows()))
        kept._fill(held, self._data[self._place[rows[held]]])
        self._place, self._data, self._free = kept._place, kept._data, kept._free

    def rows(self) -> Ints:
        """Return the rows whose series are not empty, ascending."""
        held = np.flatnonzero(self._place != _NONE)
        return np.asarray(held[self._data[self._place[held]].any(axis=(1, 2))])

    def to_state(self) -> tuple[Ints, Floats]:
        """Return the rows that are not empty and their series, shape (k, BUCKETS, 2)."""
        rows = self.rows()
        out: Floats = np.zeros((len(rows), BUCKETS, 2))
        out[:, : self._data.shape[1]] = self._data[self._place[rows]]
        return rows, out

    @classmethod
    def from_state(cls, rows: Ints, data: npt.NDArray[Any]) -> "Series":
        """Return the series that ``to_state`` wrote."""
        series = cls()
        used = np.flatnonzero(data.any(axis=(0, 2)))
        series._widen(int(used[-1]) + 1 if len(used) else 1)
        series._fill(rows, data[:, : series._data.shape[1]])
        return series

    def _fill(self, rows: Ints, data: Floats) -> None:
        if len(rows):
            self._data = np.zeros((0, *data.shape[1:]))
            places = self._places(rows)
            self._data[places] = data

    def _widen(self, buckets: int) -> None:
        n, had, _ = self._data.shape
        if buckets > had:
            wide = np.zeros((n, min(1 << (buckets - 1).bit_length(), BUCKETS), 2))
            wide[:, :had] = self._data
            self._data = wide

    def _places(self, rows: Ints) -> Ints:
        """Return where the series of rows are, made where there is none."""
        missing = int(rows.max()) + 1 - len(self._place)
        if missing > 0:
            self._place = np.concatenate([self._place, np.full(missing, _NONE, dtype=np.int64)])
        places = self._place[rows]
        if np.count_nonzero(lost := places == _NONE):
            new = rows[lost]
            lacking = len(new) - len(self._free)
            if lacking > 0:
                n, width, _ = self._data.shape
                more = max(lacking, n // 4)
                self._data = np.concatenate([self._data, np.zeros((more, width, 2))])
                self._free += range(n + more - 1, n - 1, -1)
            self._place[new] = [self._free.pop() for _ in new]
            places = self._place[rows]
        return places
