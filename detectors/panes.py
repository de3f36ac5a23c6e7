"""Sums by key, and the keys of panes.

A version's panes are one sorted table of integer sums, not an object each: adding a batch, reading a rung and merging panes are the same
operation on columns, a grouped sum. A key packs (pane, segment, age class), so that a span of time is a slice.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from detectors.cells import Layout
from detectors.fixed import Ints, carry
from detectors.stretches import DENSE

PANE_MS = 10_000  # panes are born this wide
WIDTHS_MS = tuple(s * 1000 for s in (10, 60, 300, 1800, 3600, 10_800, 43_200, 86_400, 604_800))  # each divides the next
BEGINNING = -(2**33) * PANE_MS  # the first time that a key can hold
END = -BEGINNING  # a watermark after everything
SEGMENT_BITS = 20
CLASS_BITS = 5
BIN_BITS = 5
FEW = 512  # codes: to sort them costs less than to make a sparse matrix
MAX_CLASS = (1 << CLASS_BITS) - 1
MOST_DEPOSITS = 64  # of a table; then they are merged, whether anybody looks or not
_NO_KEYS: Ints = np.zeros(0, dtype=np.int64)


class SumTable:
    """Integer sums by key, sorted; additive, mergeable, revertible.

    Parameters
    ----------
    layout
        The columns of a row.

    Examples
    --------
    >>> from detectors.cells import BIN
    >>> table = SumTable(BIN)
    >>> table.add(np.array([7, 3, 7]), np.array([[1, 0, 0, 5], [1, 1, 0, 5], [1, 1, 0, 2**40 - 1]]))
    >>> table.keys.tolist(), table.rows.tolist()
    ([3, 7], [[1, 1, 0, 5], [2, 1, 1, 4]])

    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._n = 0
        self._keys = _NO_KEYS  # with room for more, so that what is kept by time is not copied at every step
        self._rows = layout.nothing
        self._deposits: list[tuple[Ints, Ints]] = []

    @property
    def keys(self) -> Ints:
        """The keys, ascending, shape (n,); whoever assigns them assigns ``rows`` next."""
        if self._deposits:
            self._settle()
        return self._keys[: self._n]

    @keys.setter
    def keys(self, keys: Ints) -> None:
        self._keys, self._n = keys, len(keys)

    @property
    def rows(self) -> Ints:
        """The sums of each key, shape (n, width)."""
        if self._deposits:
            self._settle()
        return self._rows[: self._n]

    @rows.setter
    def rows(self, rows: Ints) -> None:
        self._rows = rows

    def add(self, keys: Ints, rows: Ints) -> None:
        """Add rows, shape (n, width), to the sums of their keys, shape (n,); low limbs need not be carried."""
        if len(keys):
            self.merge(*sums_by(keys, None, rows))

    def merge(self, keys: Ints, rows: Ints) -> None:
        """Add rows as ``add`` does; keys are distinct and ascending."""
        if not len(keys):
            return
        if self._deposits:
            self._settle()
        self._merge(keys, rows)

    def deposit(self, keys: Ints, rows: Ints) -> None:
        """Add rows as ``merge`` does, low limbs carried, when somebody looks; the arrays are kept as they are.

        >>> from detectors.cells import BIN
        >>> table = SumTable(BIN)
        >>> for keys in ([3], [1, 3]):
        ...     table.deposit(np.array(keys), np.ones((len(keys), BIN.width), dtype=np.int64))
        >>> table.keys.tolist(), table.rows[:, 0].tolist()
        ([1, 3], [1, 2])
        """
        self._deposits.append((keys, rows))
        if len(self._deposits) >= MOST_DEPOSITS:
            self._settle()

    def _settle(self) -> None:
        """Merge the deposits."""
        keys, rows = self._deposits[0]
        if len(self._deposits) > 1:
            keys, rows = grouped(*(np.concatenate(parts) for parts in zip(*self._deposits, strict=True)))
        self._deposits = []
        self._merge(keys, rows)

    def _merge(self, keys: Ints, rows: Ints) -> None:
        at = self._keys[: self._n].searchsorted(keys)
        if at[0] == self._n:  # the rule for what is kept by time
            self._insert(at, keys, rows)
            return
        known = self._keys[np.minimum(at, self._n - 1)] == keys
        count = np.count_nonzero(known)
        if count == len(keys) == int(at[-1]) - int(at[0]) + 1:  # one after another
            mine = self._rows[int(at[0]) : int(at[-1]) + 1]
            mine += rows
            carry(mine, self.layout.first_high)
            return
        if count:
            touched = at[known]
            self._rows[touched] = carry(self._rows[touched] + rows[known], self.layout.first_high)
        if count < len(keys):
            new = ~known
            self._insert(at[new], keys[new], rows[new])

    def _insert(self, at: Ints, keys: Ints, rows: Ints) -> None:
        """Insert new keys before the places ``at``, ascending, and their rows, low limbs yet to be carried."""
        first, n = int(at[0]), self._n + len(keys)
        if n > len(self._keys):
            room = n + n // 4
            for name in ("_keys", "_rows"):
                held = getattr(self, name)
                wide: Ints = np.empty((room, *held.shape[1:]), dtype=np.int64)
                wide[: self._n] = held[: self._n]
                setattr(self, name, wide)
        if first < self._n:  # what lies before stays where it is
            place = at - first + np.arange(len(keys))
            old = np.ones(n - first, dtype=np.bool_)
            old[place] = False
            for held in (self._keys, self._rows):
                held[first:n][old] = held[first : self._n].copy()
            place += first
            self._keys[place], self._rows[place] = keys, carry(rows, self.layout.first_high)
        else:
            self._keys[first:n], self._rows[first:n] = keys, rows
            carry(self._rows[first:n], self.layout.first_high)
        self._n = n

    def rekey(self, start: int, stop: int, keys: Ints) -> None:
        """Give the rows ``start:stop`` new keys, ascending within the slice's span, and add up those that now share one."""
        merged, rows = grouped(keys, self.rows[start:stop])
        parts = [self.rows[:start], carry(rows, self.layout.first_high), self.rows[stop:]]
        self.keys, self.rows = np.concatenate([self.keys[:start], merged, self.keys[stop:]]), np.concatenate(parts)

    def span(self, first: int, last: int) -> slice:
        """Return the slice of rows whose keys lie in [first, last)."""
        start, stop = np.searchsorted(self.keys, (first, last))
        return slice(int(start), int(stop))

    def within(self, first: int, last: int) -> tuple[Ints, Ints]:
        """Return the keys in [first, last), and their rows: views."""
        keys = self.keys
        start, stop = keys.searchsorted((first, last)).tolist()
        return keys[start:stop], self.rows[start:stop]

    def dense(self, n: int) -> Ints:
        """Return rows 0 … n-1 by key as an array, shape (n, width), empty ones included."""
        out = self.layout.zeros(n)
        within = self.span(0, n)
        out[self.keys[within]] = self.rows[within]
        return out

    def to_state(self) -> list[bytes]:
        """Return the table as bytes: keys and rows, little-endian int64."""
        return [self.keys.astype("<i8", copy=False).tobytes(), self.rows.astype("<i8", copy=False).tobytes()]

    @classmethod
    def from_state(cls, layout: Layout, state: Sequence[bytes]) -> "SumTable":
        """Return the table that ``to_state`` wrote."""
        table = cls(layout)
        table.keys = np.frombuffer(state[0], dtype="<i8").astype(np.int64)
        table.rows = np.frombuffer(state[1], dtype="<i8").astype(np.int64).reshape(-1, layout.width)
        return table


def grouped(keys: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Return the distinct keys, ascending, and the sum of the rows of each.

    >>> grouped(np.array([2, 1, 2]), np.array([[1], [10], [100]]))
    (array([1, 2]), array([[ 10],
           [101]]))
    """
    if not len(keys):
        return keys, rows
    order = np.argsort(keys)
    keys = keys[order]
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1])))
    return keys[starts], np.add.reduceat(rows.take(order, axis=0), starts, axis=0)


def distinct(codes: npt.NDArray[Any]) -> tuple[Ints, Ints]:
    """Return the distinct codes, ascending, and for each element which of them it is.

    >>> distinct(np.array([7, -3, 7]))
    (array([-3,  7]), array([1, 0, 1]))
    """
    if not len(codes):
        return _NO_KEYS, _NO_KEYS
    least, most = int(codes.min()), int(codes.max())
    if most == least:
        return np.array([least]), np.zeros(len(codes), dtype=np.int64)
    if most - least >= DENSE * len(codes):
        found, which = np.unique(codes, return_inverse=True)
        return found.astype(np.int64), which
    place = codes.astype(np.int64) - least
    there = np.zeros(most - least + 1, dtype=np.bool_)
    there[place] = True
    return np.flatnonzero(there) + least, (np.cumsum(there) - 1).take(place)


def sums_by(codes: Ints, first: Ints | None, rows: Ints) -> tuple[Ints, Ints]:
    """Return the distinct codes, ascending, and for each the sum of the rows that count there.

    An event counts in several segments, so a row is summed several times: as a product with a sparse matrix it is never copied.

    Parameters
    ----------
    codes
        Shape (m,): where the rows count, row by row.
    first
        Where the codes of each row begin, and m at the end, shape (n + 1,); None: each row has one.
    rows
        Shape (n, width).

    Examples
    --------
    >>> sums_by(np.array([2, 0, 2]), np.array([0, 2, 3]), np.array([[1, 10], [2, 20]]))
    (array([0, 2]), array([[ 1, 10],
           [ 3, 30]]))

    """
    if len(codes) <= FEW:
        return grouped(codes, rows if first is None else np.repeat(rows, np.diff(first), axis=0))
    found, which = distinct(codes)
    if first is None:
        sums: Ints = np.zeros((rows.shape[1], len(found)), dtype=np.int64)
        for column, summed in zip(rows.T, sums, strict=True):
            np.add.at(summed, which, column)
        return found, np.ascontiguousarray(sums.T)
    matrix = sparse.csc_array((np.ones(len(codes), dtype=np.int64), which, first), shape=(len(found), len(rows)))
    return found, matrix @ rows


def pane_index(ms: Any) -> Any:
    """Return the index of the 10 s pane that holds a time; scalar or array, before 1970 too.

    >>> pane_index(25_000), pane_index(-1)
    (2, -1)
    """
    return ms // PANE_MS


def cell_key(pane: Any, segment: Any, age_class: Any = 0) -> Any:
    """Pack (pane, segment, age class) into one sortable integer."""
    return ((pane << SEGMENT_BITS | segment) << CLASS_BITS) | age_class


def pane_of(key: Any, bits: int = 0) -> Any:
    """Return the pane of a key; ``bits`` = BIN_BITS for the key of a calibration cell."""
    return key >> (SEGMENT_BITS + CLASS_BITS + bits)


def floor_to(ms: Any, width_ms: int) -> Any:
    """Return the start of the aligned interval of this width that holds a time; scalar or array."""
    return ms // width_ms * width_ms


def next_end(watermark_ms: int, width_ms: int, age_ms: int = 0) -> int:
    """Return when the pane is due next that a watermark has not passed, of panes that are read at an age.

    >>> next_end(29_999, 10_000, 5_000), next_end(35_000, 10_000, 5_000)
    (35000, 45000)
    """
    return int(floor_to(watermark_ms - age_ms, width_ms)) + width_ms + age_ms


def widest(limit_ms: float) -> int:
    """Return the widest pane not over a limit, in ms; at least 10 s.

    >>> widest(0.12 * 86_400_000)
    3600000
    """
    return max((w for w in WIDTHS_MS if w <= limit_ms), default=PANE_MS)
