"""Labels per distinct score and segment: what an exact AUC needs."""

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from detectors.cells import Layout
from detectors.dense_counts import ID_BITS, MOST_PAIRS, DenseCounts, share_of_many, share_of_pairs
from detectors.fixed import Floats, Ints
from detectors.guide import Guide
from detectors.panes import FEW, SumTable, sums_by
from detectors.statistics.exact import bounded, same_length

_MAGIC = b"SC01"
_HEAD = struct.Struct("<4sIIIqqq")
_MOST = (1 << ID_BITS) - 1
_LABELS = Layout(counts=("negatives", "positives"), sums={})


class Distribution(NamedTuple):
    """Labels per score of one segment, ascending, each shape (k,)."""

    scores: Floats | None  # None: ``n0`` and ``n1`` are of cells, not of distinct scores
    n0: Ints  # negatives
    n1: Ints  # positives


class ScoreCounts:
    """Counts of negatives and positives per distinct score in each segment; beyond a cap, per cell of equal mass.

    Additive, mergeable, revertible while scores are distinct. When an event brings one distinct score more than ``cap`` (those that were
    taken back do not count), the scores so far fix ``cells`` cells of equal mass (of segment 0, the aggregate), and these take over for all
    segments. The event that does it is the same however events are batched, and so is the result.

    Parameters
    ----------
    cap
        The most distinct scores that are counted exactly.
    cells
        How many cells take over.

    Examples
    --------
    >>> counts = ScoreCounts()
    >>> counts.update_many([0, 0, 0], [0.5, 0.25, 0.5], [1, 0, 0])
    >>> counts.distribution(0)
    Distribution(scores=array([0.25, 0.5 ]), n0=array([1, 1]), n1=array([0, 1]))

    """

    def __init__(self, cap: int = 65_536, cells: int = 1000) -> None:
        for name, value, least in (("cap", cap, 1), ("cells", cells, 2)):
            if not isinstance(value, int) or not least <= value <= _MOST:
                raise ValueError(f"expected {name} within [{least}, {_MOST}], got {value!r}")
        self.cap = cap
        self.cells = cells
        self.exact = True
        self._scores: Floats = np.zeros(0)  # sorted distinct scores; as cells: upper edges, all but the last
        self._ids: Ints = np.zeros(0, dtype=np.int64)  # of each sorted score: numbers in order of arrival, so that keys never move
        self._sums = SumTable(_LABELS)  # by segment << 24 | id
        self._dense: DenseCounts | None = None  # in place of ``_sums``, where most of the places are taken
        self._guide: Guide | None = None  # to the edges of cells
        self._waiting: list[tuple[Ints, Ints]] = []
        self._n_waiting = 0

    def update_many(self, segment: npt.ArrayLike, score: npt.ArrayLike, label: npt.ArrayLike, sign: npt.ArrayLike = 1) -> None:
        """Add labelled events in order.

        Parameters
        ----------
        segment
            Shape (n,), or (n, d) where an event belongs to several segments; -1 stands for none.
        score, label, sign
            Shape (n,): the score in [0, 1], the label 0 or 1, and -1 for an event that is taken back.

        Raises
        ------
        ValueError
            If a score is NaN, infinite or out of range, or lengths differ; nothing is changed.

        """
        scores = bounded(score, "a score", 0.0, 1.0) + 0.0  # -0.0 is 0.0
        labels = bounded(label, "a label", 0.0, 1.0) > 0.5
        segments = np.asarray(segment, dtype=np.int64)
        segments = segments.reshape(len(segments), segments.shape[1] if segments.ndim == 2 else 1)
        signs = np.broadcast_to(np.asarray(sign, dtype=np.int64), scores.shape)
        same_length([scores, labels, segments])
        if segments.size and not -1 <= int(segments.min()) <= int(segments.max()) < 1 << 38:
            raise ValueError(f"expected segments from -1 on, got {segments.min()} to {segments.max()}")
        start = 0
        while self.exact and start < len(scores):
            stop = start + self._meet(scores[start:])
            self._push(segments[start:stop], scores[start:stop], labels[start:stop], signs[start:stop])
            start = stop
            if start < len(scores) and self._prune() == self.cap:
                self._to_cells()
        self._push(segments[start:], scores[start:], labels[start:], signs[start:])

    def distribution(self, segment: int = 0) -> Distribution:
        """Return the counts of one segment, ascending by score; scores that no event holds any more are left out."""
        return self.distributions([segment])[0]

    def distributions(self, segments: Sequence[int]) -> list[Distribution]:
        """Return the counts of each of some segments."""
        keys, counts = self._held()
        place = self._places()
        found = []
        for segment in segments:
            start, stop = np.searchsorted(keys, (segment << ID_BITS, (segment + 1) << ID_BITS))
            ids, rows = keys[start:stop] & _MOST, counts[start:stop]
            if not self.exact:
                found.append(Distribution(None, rows[:, 0].copy(), rows[:, 1].copy()))
                continue
            places = place[ids]
            order = np.argsort(places)
            found.append(Distribution(self._scores[places[order]], rows[order, 0], rows[order, 1]))
        return found

    def areas(self, segments: Ints) -> Floats:
        """Return the area under the ROC curve of each of some segments, shape (k,); NaN where a class is missing.

        What ``statistics.auc`` says of their distributions, of all at once: twice the sums of ranks are whole numbers.

        >>> counts = ScoreCounts(cap=10)
        >>> counts.update_many([[0, 1], [0, 2], [0, 1]], [0.4, 0.4, 0.8], [0, 1, 1])
        >>> counts.areas(np.array([0, 1, 2])).tolist()
        [0.75, 1.0, nan]
        """
        self._settle()
        if self._dense is not None:
            return self._dense.areas(segments, self._ids if self.exact else None)
        keys, rows = self._sums.keys, self._sums.rows
        start, stop = np.searchsorted(keys, (segments << ID_BITS, (segments + 1) << ID_BITS))
        held = np.flatnonzero(stop > start)
        out = np.full(len(segments), np.nan)
        if not len(held):
            return out
        n = (stop - start)[held]
        first = np.cumsum(n) - n
        at = np.arange(int(n.sum())) + np.repeat(start[held] - first, n)
        if self.exact:
            place = self._places()[keys[at] & _MOST]
            at = at[np.argsort(np.repeat(np.arange(len(held)) << ID_BITS, n) | place, kind="stable")]  # in their order but for new ones
        n0, n1 = rows.take(at, axis=0).T
        upto = np.cumsum(n0)
        below = 2 * (upto - np.repeat(upto[first] - n0[first], n)) - n0
        rank, negative, positive = (np.add.reduceat(each, first) for each in (n1 * below, n0, n1))
        pairs = negative.astype(np.float64) * positive
        out[held] = share_of_pairs(rank, pairs)
        for i in np.flatnonzero(pairs > MOST_PAIRS).tolist():
            mine = slice(int(first[i]), int(first[i] + n[i]))
            out[held[i]] = share_of_many(n1[mine], below[mine], pairs[i])
        return out

    def _places(self) -> Ints:
        """Return the place of each id among the scores."""
        place = np.zeros(len(self._ids), dtype=np.int64)
        place[self._ids] = np.arange(len(self._ids))
        return place

    def segments(self) -> Ints:
        """Return the segments with any event, ascending."""
        return np.unique(self._held()[0] >> ID_BITS)

    def __iadd__(self, other: "ScoreCounts") -> Self:
        """Merge: add the other's counts.

        Exact counts merge exactly, and in any order. Cells merge exactly into the same cells; into other ones each goes to the cell
        of its upper edge.

        Raises
        ------
        ValueError
            If caps or cells differ.

        """
        if (other.cap, other.cells) != (self.cap, self.cells):
            raise ValueError(f"expected counts with cap {self.cap} and {self.cells} cells, got {other.cap} and {other.cells}")
        segments, scores, rows = other._events()
        if self.exact and not other.exact:
            mine = self._events()
            self.exact, self._scores, self._ids = False, other._scores.copy(), other._ids.copy()
            self._clear()
            self._push_rows(*mine)
        elif self.exact:
            union = np.union1d(self._scores, scores)
            self._learn(union[~np.isin(union, self._scores)])
            self._push_rows(segments, scores, rows)
            if len(self._scores) > self.cap and self._prune() > self.cap:
                self._to_cells()
            return self
        self._push_rows(segments, scores, rows)
        return self

    def to_bytes(self) -> bytes:
        """Return the state; the same counts give the same bytes, whatever the order they came in."""
        self._prune()
        keys, rows = self._held()
        head = _HEAD.pack(_MAGIC, self.cap, self.cells, self.exact, len(self._scores), len(keys), 0)
        body = self._scores.astype("<f8").tobytes() + np.diff(keys, prepend=0).astype("<i8").tobytes() + rows.astype("<i8").tobytes()
        return head + zlib.compress(body, 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the counts whose state ``to_bytes`` gave.

        Raises
        ------
        ValueError
            If it is no such state.

        """
        if data[:4] != _MAGIC or len(data) < _HEAD.size:
            raise ValueError(f"expected counts that start with {_MAGIC!r}, got {data[:4]!r}")
        _, cap, cells, exact, k, n, _ = _HEAD.unpack_from(data)
        body = zlib.decompress(data[_HEAD.size :])
        if len(body) != 8 * (k + 3 * n):
            raise ValueError(f"expected {8 * (k + 3 * n)} bytes of counts, got {len(body)}")
        out = cls(cap, cells)
        out.exact = bool(exact)
        out._scores = np.frombuffer(body, "<f8", k).astype(np.float64)
        out._ids = np.arange(k, dtype=np.int64)
        out._sums.keys = np.cumsum(np.frombuffer(body, "<i8", n, 8 * k).astype(np.int64))
        out._sums.rows = np.frombuffer(body, "<i8", 2 * n, 8 * (k + n)).reshape(n, 2).astype(np.int64)
        return out

    def _meet(self, scores: Floats) -> int:
        """Learn new scores as far as the cap allows; return how many events that covers."""
        fresh, first = np.unique(scores, return_index=True)
        new = ~_contains(self._scores, fresh)
        fresh, first = fresh[new], first[new]
        room = self.cap - len(self._scores)
        stop = len(scores)
        if len(fresh) > room:
            stop = int(np.partition(first, room)[room])
            fresh = fresh[first < stop]
        self._learn(fresh)
        return stop

    def _prune(self) -> int:
        """Forget scores that no event holds any more and number the others in their order; return how many there are."""
        if self.exact:
            self._settle()
            self._to_table()
            kept = np.isin(self._ids, self._sums.keys & _MOST)
            place = np.zeros(len(self._ids), dtype=np.int64)
            place[self._ids[kept]] = np.arange(kept.sum())
            keys = (self._sums.keys >> ID_BITS << ID_BITS) | place[self._sums.keys & _MOST]
            order = np.argsort(keys)
            self._sums.keys, self._sums.rows = keys[order], self._sums.rows[order]
            self._scores = self._scores[kept]
            self._ids = np.arange(len(self._scores), dtype=np.int64)
        return len(self._scores)

    def _learn(self, fresh: Floats) -> None:
        if len(fresh):
            at = np.searchsorted(self._scores, fresh)
            ids = np.arange(len(self._ids), len(self._ids) + len(fresh), dtype=np.int64)
            self._scores = np.insert(self._scores, at, fresh)
            self._ids = np.insert(self._ids, at, ids)

    def _numbers(self, scores: Floats) -> Ints:
        if self.exact:
            return self._ids[np.searchsorted(self._scores, scores)]
        if self._guide is None:
            self._guide = Guide(self._scores)
        return self._guide.places(scores)  # (lo, hi]

    def _push(self, segments: Ints, scores: Floats, labels: npt.NDArray[np.bool_], signs: Ints) -> None:
        if self._dense is not None:
            if self._dense.make_room(int(segments.max(initial=0)), len(self._ids) if self.exact else len(self._scores) + 1):
                self._dense.add(segments, self._numbers(scores), labels, signs)
                return
            self._to_table()
        rows = np.stack([signs * ~labels, signs * labels], axis=-1)
        inside = segments >= 0
        count = inside.sum(axis=1)
        flat = segments[inside]
        if len(flat) <= FEW:
            self._push_rows(flat, np.repeat(scores, count), np.repeat(rows, count, axis=0))
            return
        width = len(self._scores) + 1
        codes, sums = sums_by(flat * width + np.repeat(self._numbers(scores), count), np.concatenate([[0], np.cumsum(count)]), rows)
        self._wait((codes // width << ID_BITS) | codes % width, sums)

    def _push_rows(self, segments: Ints, scores: Floats, rows: Ints) -> None:
        if not len(segments):
            return
        self._wait((segments << ID_BITS) | self._numbers(scores), rows)

    def _wait(self, keys: Ints, rows: Ints) -> None:
        self._waiting.append((keys, rows))
        self._n_waiting += len(keys)
        if self._n_waiting > max(len(self._sums.keys) // 2, 1 << 16):
            self._settle()

    def _held(self) -> tuple[Ints, Ints]:
        """Return the keys that hold anything, ascending, and their counts."""
        self._settle()
        return (self._sums.keys, self._sums.rows) if self._dense is None else self._dense.entries()

    def _to_table(self) -> None:
        if self._dense is not None:
            (self._sums.keys, self._sums.rows), self._dense = self._dense.entries(), None

    def _settle(self) -> None:
        """Add what waits to the sums."""
        if not self._waiting:
            return
        self._to_table()
        if len(self._waiting) > 1:
            keys, rows = (np.concatenate(parts) for parts in zip(*self._waiting, strict=True))
        else:
            keys, rows = self._waiting[0]
        self._waiting, self._n_waiting = [], 0
        if (keys[1:] > keys[:-1]).all():  # as one update leaves them
            self._sums.merge(keys, rows)
        else:
            self._sums.add(keys, rows)
        kept = (self._sums.rows[:, 0] | self._sums.rows[:, 1]) != 0
        if not kept.all():
            self._sums.keys, self._sums.rows = self._sums.keys[kept], self._sums.rows[kept]
        width = len(self._ids) * 9 // 8 if self.exact else len(self._scores) + 1
        self._dense = DenseCounts.of(self._sums.keys, self._sums.rows, width)
        if self._dense is not None:
            self._sums = SumTable(_LABELS)

    def _clear(self) -> None:
        self._sums, self._dense, self._guide = SumTable(_LABELS), None, None

    def _events(self) -> tuple[Ints, Floats, Ints]:
        """Return segment, score and counts of every row; a cell's score is its upper edge."""
        keys, rows = self._held()
        values = np.append(self._scores, 1.0)
        if self.exact:
            values = np.zeros(len(self._ids))
            values[self._ids] = self._scores
        return keys >> ID_BITS, values[keys & _MOST], rows

    def _to_cells(self) -> None:
        segments, scores, rows = self._events()
        of_all = segments == 0 if (segments == 0).any() else np.ones(len(segments), dtype=bool)
        order = np.argsort(scores[of_all], kind="stable")
        mass = np.cumsum(np.maximum(rows[of_all].sum(axis=1), 0)[order])
        target = (np.arange(1, self.cells) * mass[-1] + self.cells - 1) // self.cells if len(mass) else np.zeros(0, dtype=np.int64)
        self._scores = np.unique(scores[of_all][order][np.searchsorted(mass, target)])
        self._ids = np.zeros(0, dtype=np.int64)
        self.exact = False
        self._clear()
        self._push_rows(segments, scores, rows)


def _contains(ordered: Floats, values: Floats) -> npt.NDArray[np.bool_]:
    if not len(ordered):
        return np.zeros(len(values), dtype=np.bool_)
    return np.asarray(ordered[np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)] == values)
