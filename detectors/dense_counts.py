"""Labels per score of many segments in one array: to count there is a sum in place, where a table of keys is searched and merged."""

from typing import Self

import numpy as np
import numpy.typing as npt

from detectors.fixed import Floats, Ints

ID_BITS = 24  # of a key, below the segment
_MOST_ID = (1 << ID_BITS) - 1
MOST_PAIRS = 2.0**61  # a sum of ranks may be twice as many
_MOST = 1 << 20  # places, of 16 bytes
_FEW = 512  # keys: nothing is gained


class DenseCounts:
    """Counts of negatives and positives by segment and number of the score; made where it takes no more memory than a table of keys.

    >>> counts = DenseCounts.of(np.arange(1000), np.ones((1000, 2), dtype=np.int64), 1000)
    >>> counts.add(np.array([[0, -1]]), np.array([7]), np.array([True]), np.array([-1]))
    >>> keys, rows = counts.entries()
    >>> len(keys), rows[7].tolist(), float(counts.areas(np.array([0]), None)[0])
    (1000, [1, 0], 0.5004...)
    """

    def __init__(self, counts: Ints) -> None:
        self._counts = counts  # shape (segments, 2, width)

    @classmethod
    def of(cls, keys: Ints, rows: Ints, width: int) -> Self | None:
        """Return the counts of ascending keys segment << 24 | number, shapes (n,) and (n, 2), for so many numbers; None: better not."""
        if len(keys) <= _FEW or ((int(keys[-1]) >> ID_BITS) + 1) * width > _most(len(keys)):
            return None
        counts = np.zeros(((int(keys[-1]) >> ID_BITS) + 1, 2, width), dtype=np.int64)
        counts[keys >> ID_BITS, :, keys & _MOST_ID] = rows
        return cls(counts)

    def make_room(self, segment: int, numbers: int) -> bool:
        """Make room for a segment, and for so many numbers; say whether that may be."""
        segments, _, width = self._counts.shape
        if segment < segments and numbers <= width:
            return True
        segments, width = max(segment + 1, segments), width if numbers <= width else numbers + numbers // 8
        if segments * width > _most(len(self._places()[0])):
            return False
        grown = np.zeros((segments, 2, width), dtype=np.int64)
        grown[: len(self._counts), :, : self._counts.shape[2]] = self._counts
        self._counts = grown
        return True

    def add(self, segments: Ints, numbers: Ints, labels: npt.NDArray[np.bool_], signs: Ints) -> None:
        """Add n events, which there is room for; ``segments`` of shape (n, d), -1 for none."""
        width, flat = self._counts.shape[2], self._counts.reshape(-1)
        code = numbers + width * labels
        everywhere = int(segments.min(initial=0)) >= 0
        for column in segments.T:
            place = column * (2 * width) + code
            if not everywhere:
                inside = np.flatnonzero(column >= 0)
                np.add.at(flat, place[inside], signs[inside])
            else:
                np.add.at(flat, place, signs)

    def areas(self, segments: Ints, order: Ints | None) -> Floats:
        """Return the area under the ROC curve of some segments, as ``ScoreCounts.areas``; ``order``: numbers in that of their scores."""
        counts = self._counts.take(np.minimum(segments, len(self._counts) - 1), axis=0)
        counts[segments >= len(self._counts)] = 0
        if order is not None:
            counts = counts.take(order, axis=2)
        n0, n1 = counts[:, 0], counts[:, 1]
        below = 2 * np.cumsum(n0, axis=1) - n0
        pairs = n0.sum(axis=1).astype(np.float64) * n1.sum(axis=1)
        out = share_of_pairs((n1 * below).sum(axis=1), pairs)
        for i in np.flatnonzero(pairs > MOST_PAIRS).tolist():
            held = np.flatnonzero(n0[i] | n1[i])
            out[i] = share_of_many(n1[i, held], below[i, held], pairs[i])
        return out

    def entries(self) -> tuple[Ints, Ints]:
        """Return the keys that hold anything, ascending, and their counts, shape (n, 2)."""
        segments, numbers = self._places()
        return (segments << ID_BITS) | numbers, self._counts[segments, :, numbers]

    def _places(self) -> tuple[npt.NDArray[np.intp], ...]:
        return np.nonzero(self._counts[:, 0] | self._counts[:, 1])


def share_of_pairs(rank: Ints, pairs: Floats) -> Floats:
    """Return half a sum of ranks as a share of the pairs of a negative and a positive, shape (k,); NaN where there are none."""
    return np.asarray(np.divide(rank / 2, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0))


def share_of_many(n1: Ints, below: Ints, pairs: float) -> float:
    """Return the same of one segment with so many pairs that an integer may not hold the sum."""
    return float((n1 * (below / 2)).sum() / pairs)


def _most(held: int) -> int:
    """Return how many places there may be for so many keys: a place takes two numbers, a key of a table three."""
    return min(held * 3 // 2, _MOST)
