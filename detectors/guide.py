"""Where many values lie among edges that do not change: a table says nearly, where a binary search of each would miss the cache."""

import numpy as np

from detectors.fixed import Floats, Ints

_SHIFT = 42  # bits of a float that are left out: buckets of a thousandth of an octave
_BUCKETS = 1 << 15  # 32 octaves down from the greatest edge; what is less lies in the first one
_MOST = 6  # edges in a bucket: to step over more costs what a search does
_FEW = 512  # values: to search for them costs less than a table


class Guide:
    """Answers as ``np.searchsorted`` does of the same edges.

    Parameters
    ----------
    edges
        Ascending, 0 or above; shape (k,).

    Examples
    --------
    >>> Guide(np.array([0.25, 0.5])).places(np.array([0.5, 0.1, 0.9])).tolist()
    [1, 0, 2]

    """

    def __init__(self, edges: Floats) -> None:
        self.edges = edges
        self._first: Ints | None = None  # of each bucket, how many edges lie in those before it
        self._beyond = np.append(edges, np.inf)
        self._steps = 0  # edges in the fullest bucket
        self._base = 0

    def places(self, values: Floats) -> Ints:
        """Return how many edges are less than each value, 0 or above and not NaN; any shape."""
        if len(values) > _FEW and self._first is None and len(self.edges):
            self._base = int(_octaves(self.edges[-1:])[0]) - _BUCKETS + 1
            of_edges = self._buckets(self.edges)
            self._first = np.searchsorted(of_edges, np.arange(_BUCKETS))
            self._steps = int(np.bincount(of_edges).max())
        if len(values) <= _FEW or self._first is None or self._steps > _MOST:
            return np.searchsorted(self.edges, values)
        place = self._first.take(self._buckets(values))
        for _ in range(self._steps):
            place += self._beyond.take(place) < values
        return place

    def _buckets(self, values: Floats) -> Ints:
        """Return the bucket of each value: of two values, the greater one's is never the lesser one."""
        return np.clip(_octaves(values) - self._base, 0, _BUCKETS - 1)


def _octaves(values: Floats) -> Ints:
    """Return the exponent of each value and the first bits of its fraction, as one whole number: it rises with the value."""
    return np.ascontiguousarray(values).view(np.int64) >> _SHIFT
