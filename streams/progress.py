"""Whether a worker gets on: how far each partition is committed, how much is left, and since when nothing has moved."""

from collections import deque
from collections.abc import Collection, Mapping
from typing import NamedTuple

Place = tuple[str, int]  # topic, partition
ENDS = 3_600  # samples that are kept of a partition that lags; a longer wait is told as that of the oldest of them


class Seen(NamedTuple):
    """What is known of a partition at a moment."""

    position: int | None  # the next offset to fetch
    end: int | None  # of the partition, as the broker last said
    fetched_at_ms: int | None  # when it did
    committed: int | None  # the offset before which all is done; None: nothing is in flight, and nothing was ever committed


class Progress:
    """Follows the partitions of a worker.

    A partition gets on while its commits move, or while it is known to be read and committed to its end. What the broker has not said for
    ``fresh_ms`` is not known: a consumer that has stopped to fetch believes to be at the end for ever.

    Examples
    --------
    >>> progress = Progress()
    >>> progress.sample({("predictions", 0): Seen(5, 9, 1_000, 3)}, set(), now_s=1.0, now_ms=1_000)
    >>> progress.lags, progress.age_s(61.0), progress.stalled(61.0, longest_s=60.0)
    ({('predictions', 0): 6}, 60.0, [])
    >>> progress.waits_s(31.0)
    {('predictions', 0): 30.0}
    >>> progress.stalled(61.1, longest_s=60.0)
    [('predictions', 0)]
    >>> progress.sample({("predictions", 0): Seen(9, 9, 61_000, 9)}, {("predictions", 0)}, now_s=61.2, now_ms=61_200)
    >>> progress.lags, progress.stalled(61.2, longest_s=60.0)
    ({('predictions', 0): 0}, [])

    """

    def __init__(self, fresh_ms: int = 10_000) -> None:
        self._fresh_ms = fresh_ms
        self._committed: dict[Place, int | None] = {}
        self._moved_at_s: dict[Place, float] = {}
        self.lags: dict[Place, int] = {}
        self._ends: dict[Place, deque[tuple[float, int]]] = {}  # when the end was first seen where it was, for records not committed

    def sample(self, seen: Mapping[Place, Seen], ended: Collection[Place], *, now_s: float, now_ms: int) -> None:
        """Take note of all partitions that the worker has.

        Parameters
        ----------
        seen
            Each partition's state.
        ended
            Those that are read to their end, with nothing in flight.
        now_s
            A clock that never goes back.
        now_ms
            The clock of ``fetched_at_ms``.

        """
        for place, at in seen.items():
            fresh = at.fetched_at_ms is not None and now_ms - at.fetched_at_ms <= self._fresh_ms
            if place not in self._moved_at_s or (place in ended and fresh) or at.committed != self._committed.get(place):
                self._moved_at_s[place] = now_s
            self._committed[place] = at.committed
            base = at.position if at.committed is None else at.committed
            if place in ended or at.end is None or base is None:
                self.lags[place] = 0
            else:
                self.lags[place] = max(0, at.end - base)
            self._note_end(place, at.end, now_s)
        for gone in self._moved_at_s.keys() - seen.keys():
            for of in (self._committed, self._moved_at_s, self.lags, self._ends):
                of.pop(gone, None)

    def _note_end(self, place: Place, end: int | None, now_s: float) -> None:
        ends = self._ends.setdefault(place, deque(maxlen=ENDS))
        if end is None or not self.lags[place]:
            ends.clear()
            return
        while ends and ends[0][1] <= end - self.lags[place]:
            ends.popleft()  # all that was there then is committed
        if not ends or end > ends[-1][1]:
            ends.append((now_s, end))

    def waits_s(self, now_s: float) -> dict[Place, float]:
        """Return for how long the oldest record that is not committed has been there, as far as samples tell; 0 where there is none."""
        return {place: now_s - ends[0][0] if ends else 0.0 for place, ends in self._ends.items()}

    def age_s(self, now_s: float) -> float:
        """Return for how long the slowest partition has not moved; 0 without partitions."""
        return max((now_s - at for at in self._moved_at_s.values()), default=0.0)

    def stalled(self, now_s: float, *, longest_s: float, since_s: float = float("-inf")) -> list[Place]:
        """Return the partitions that have not moved for longer than ``longest_s``, the time before ``since_s`` not counted."""
        return sorted(place for place, at in self._moved_at_s.items() if now_s - max(at, since_s) > longest_s)
