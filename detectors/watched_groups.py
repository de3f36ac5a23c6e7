"""Which groups of a model version are watched, where there are more than may be."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from detectors.fixed import Ints
from detectors.reading import BEFORE

MOST_GROUPS = 200
_NOT_MET, _UNWATCHED = -2, -1
_SHARE = 0.005  # of the traffic ...
_MATURED = 200  # ... or so many matured events: with less a baseline cannot stand
_AGAIN_MS = 28 * 86_400_000

Name = Callable[[int], Mapping[str, str]]


class WatchedGroups:
    """Gives groups a slot among the monitors: all of them while there are at most 200, and then those of which most is known.

    Of a group with n matured events out of many groups with a common rate, the empirical-Bayes posterior (Beta, prior worth m events) has
    the variance ``rate * (1 - rate) / (n + m + 1)``. Groups are ranked by it: by their matured events, whatever m is. What is taken is the
    common rate, not the group's own: a group chosen for how it looks would learn its baseline from what it was chosen for, and then return
    to the mean. Groups with half a per cent of the traffic or 200 matured events go first; ties are broken by traffic, then by name.

    Who is ranked is known from panes that were read before, or from the sizes in this one; never from order of arrival or numbers. A
    group that comes while there is room is watched at once. Where there is none, all are ranked as the first that finds no room comes, then
    whenever the predictions have doubled, and every 28 days. Who enters learns from there on. Who has more than learnt stays: evidence is
    not thrown away.

    References
    ----------
    Efron & Morris, JASA 70 (1975): Data analysis using Stein's estimator and its generalizations.

    Examples
    --------
    >>> groups = WatchedGroups(most=2)
    >>> sizes = np.array([100, 20, 50, 30])
    >>> groups.count(np.arange(4), made=sizes)
    >>> groups.place(np.arange(4), 0, name=lambda group: {"city": str(group)}, kept=set)
    (array([ 0, -1,  1,  2]), [])

    """

    def __init__(self, most: int = MOST_GROUPS) -> None:
        self.most = most
        self.segments: list[int] = [0]  # by slot; 0 is the aggregate
        self._slot_of = np.zeros(1, dtype=np.int64)
        self._sizes = np.zeros((1, 2), dtype=np.int64)  # by segment: matured events, predictions
        self._ranked_ms, self._ranked_size = BEFORE, 0

    def count(self, segments: Ints, *, made: Ints | None = None, matured: Ints | None = None) -> None:
        """Add the sizes of a pane, by segment, ascending."""
        if not len(segments):
            return
        self._grow(int(segments[-1]))
        for column, sizes in enumerate((matured, made)):
            if sizes is not None:
                self._sizes[segments, column] += sizes

    def place(self, segments: Ints, due_ms: int, *, name: Name, kept: Callable[[], set[int]]) -> tuple[Ints, list[int]]:
        """Return the slots of a pane's segments, ascending; -1: not watched. And the slots that have changed hands.

        ``kept`` gives the slots that must not.
        """
        self._grow(int(segments[-1]))
        slots = self._slot_of[segments]
        changed: list[int] = []
        new = segments[slots == _NOT_MET].tolist()
        room = self.most + 1 - len(self.segments)
        if new:
            self._slot_of[new] = _UNWATCHED
            if len(new) <= room:
                self._seat(sorted(new, key=lambda segment: _text(name, segment)))
        full = len(new) > room or (room <= 0 and bool((self._slot_of == _UNWATCHED).any()))
        if full and ((new and room > 0) or self._due(due_ms)):
            changed = self._rank(name, kept())
            self._ranked_ms, self._ranked_size = due_ms, self._size()
        return np.asarray(self._slot_of[segments]), changed

    def _size(self) -> int:
        return int(self._sizes[0].max())

    def _due(self, due_ms: int) -> bool:
        return self._size() >= 2 * self._ranked_size or due_ms >= self._ranked_ms + _AGAIN_MS

    def _seat(self, segments: list[int]) -> None:
        for segment in segments:
            self._slot_of[segment] = len(self.segments)
            self.segments.append(segment)

    def _rank(self, name: Name, kept: set[int]) -> list[int]:
        """Let the first in rank take the places of those that must give way; return these places."""
        met = np.flatnonzero(self._slot_of != _NOT_MET)[1:]
        matured, made = self._sizes[met].T
        enough = (made >= _SHARE * self._sizes[0, 1]) | (matured >= _MATURED)
        standing = np.isin(self._slot_of[met], sorted(kept))
        ranks = zip((~standing).tolist(), (~enough).tolist(), (-matured).tolist(), (-made).tolist(), met.tolist(), strict=True)
        order = [rank[-1] for rank in sorted(ranks, key=lambda rank: (*rank[:-1], _text(name, rank[-1])))]
        chosen = set(order[: self.most])
        leaving = [slot for slot, segment in enumerate(self.segments) if slot and segment not in chosen]
        entering = [segment for segment in order[: self.most] if self._slot_of[segment] == _UNWATCHED]
        for slot, segment in zip(leaving, entering, strict=False):
            self._slot_of[self.segments[slot]] = _UNWATCHED
            self._slot_of[segment], self.segments[slot] = slot, segment
        self._seat(entering[len(leaving) :])
        return leaving

    def _grow(self, top: int) -> None:
        if top >= len(self._slot_of):
            more = max(top + 1, 2 * len(self._slot_of)) - len(self._slot_of)
            self._slot_of = np.append(self._slot_of, np.full(more, _NOT_MET, dtype=np.int64))
            self._sizes = np.concatenate([self._sizes, np.zeros((more, 2), dtype=np.int64)])

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values."""
        met = np.flatnonzero(self._slot_of != _NOT_MET)
        sized = np.flatnonzero(self._sizes.any(axis=1))
        return {
            "segments": list(self.segments),
            "met": met.tolist(),
            "sizes": [sized.tolist(), *self._sizes[sized].T.tolist()],
            "ranked": [self._ranked_ms, self._ranked_size],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        sized, *columns = state["sizes"]
        self._grow(max([*state["met"], *sized]))
        self.segments = list(state["segments"])
        self._slot_of[state["met"]] = _UNWATCHED
        self._slot_of[self.segments] = np.arange(len(self.segments))
        self._sizes[sized] = np.array(columns, dtype=np.int64).T.reshape(-1, 2)
        self._ranked_ms, self._ranked_size = state["ranked"]


def _text(name: Name, segment: int) -> list[tuple[str, str]]:
    return sorted(name(segment).items())
