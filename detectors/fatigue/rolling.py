"""Sums over a window that slides by whole hours, for all units at once, in time proportional to the hours that hold something."""

from dataclasses import dataclass

import numpy as np

from detectors.fatigue import alternate
from detectors.fixed import Ints
from detectors.ladder import HOUR_MS

Switch = tuple[int, int, bool, int]  # unit, end of the window, turned on, the sum


@dataclass(frozen=True)
class Rolling:
    """Windows that end at ``ends`` (ms, ascending), and each unit's sum in them, shape (ends, units)."""

    ends: Ints
    units: Ints
    sums: Ints

    def switches(self, *, above: float, below: float, is_open: set[int]) -> list[Switch]:
        """Return where each unit rises above one level and, from there, falls below the other; of one that is open, where it is above."""
        out: list[Switch] = []
        moving = (self.sums > above).any(axis=0) | np.isin(self.units, list(is_open))
        for column in np.flatnonzero(moving).tolist():
            unit, sums = int(self.units[column]), self.sums[:, column]
            rises, falls = np.flatnonzero(sums > above), np.flatnonzero(sums < below)
            out += [(unit, int(self.ends[at]), on, int(sums[at])) for at, on in alternate(rises, falls, unit in is_open)]
        return out


def rolling(hours: Ints, units: Ints, counts: Ints, *, wanted: Ints, since_ms: int, until_ms: int, width_ms: int) -> Rolling:
    """Return the sums of counts, given by (start of the hour in ms, unit), over every window that ends in (since, until].

    Only windows whose sum may differ from the one before are looked at, and the first that is empty.

    >>> told = rolling(np.array([0, HOUR_MS]), np.array([1, 1]), np.array([2, 3]), wanted=np.array([1]), since_ms=0,
    ...     until_ms=9 * HOUR_MS, width_ms=2 * HOUR_MS)
    >>> (told.ends // HOUR_MS).tolist(), told.sums[:, 0].tolist()
    ([1, 2, 3, 4], [2, 5, 3, 0])
    """
    there, row = np.unique(hours, return_inverse=True)
    column = np.searchsorted(wanted, units)
    known = column < len(wanted)
    known[known] = wanted[column[known]] == units[known]
    table = np.zeros((len(there) + 1, len(wanted)), dtype=np.int64)
    np.add.at(table, (row[known] + 1, column[known]), counts[known])
    total = np.cumsum(table, axis=0)
    ends = np.unique(np.concatenate([there + HOUR_MS, there + HOUR_MS + width_ms]))
    ends = ends[(ends > since_ms) & (ends <= until_ms)]
    upto = np.searchsorted(there, ends)  # hours that begin before the end
    before = np.searchsorted(there, ends - width_ms)
    return Rolling(ends, wanted, total[upto] - total[before])
