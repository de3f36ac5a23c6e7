"""The hour of the week: a rate that is always higher at night is no change each evening."""

import numpy as np

from detectors.fixed import Floats, Ints
from detectors.monitors import Packed, pack, unpack

HOUR_MS, DAY_MS, WEEK_MS = 3_600_000, 86_400_000, 604_800_000
HOURS = 168
WEEKS = 4  # before them there is no season
_KEPT, _NONE = 8, -(2**62)
_CLEAR = 2.5  # standard errors by which odd and even weeks must agree
_LEAST = 0.1
_ROUNDING = 1e-12


class Season:
    """Factors on a rate by hour of the week, UTC, of the aggregate of each track; groups take over those of the aggregate.

    Learnt from the panes of the baseline, odd and even weeks apart, in three layers: hour of the day, day of the week, and what is left
    of each hour of the week. A layer counts as far as the deviations of odd weeks are those of even weeks: their covariance is the
    variance of the season, and the deviations are shrunk to that share of what they vary; noise, bursts and slow swings do not repeat
    from week to week and leave nothing. Panes of more than a day have no hour.

    What is learnt anew begins another era of its track: its factors are those before until there are new ones. Monitors keep the era in
    which their baseline was made (``past`` holds those that are over and still in use): a group that nobody told to learn anew is held
    against the season it learnt with, not against that of the changed whole.

    The sums in ``counts`` add up over panes; the factors do not.

    References
    ----------
    Efron & Morris, JASA 70 (1975): shrinkage towards the mean.

    Examples
    --------
    >>> season = Season(1)
    >>> for hour in range(4 * HOURS):
    ...     season.add(np.array([0]), hour * HOUR_MS, (hour + 1) * HOUR_MS, np.array([[8.0 if hour % 24 < 12 else 4.0, 100.0]]))
    >>> season.fit(0)
    >>> season.over(np.array([0, 0]), np.array([0, 0]), 0, HOUR_MS).round(2).tolist()
    [1.33, 1.33]
    >>> season.over(np.array([0]), np.array([0]), 12 * HOUR_MS, DAY_MS).round(2).tolist()
    [0.67]

    """

    def __init__(self, tracks: int) -> None:
        self.counts = np.zeros((tracks, _KEPT, HOURS, 2))  # by week of the baseline, from the seventh on by odd and even: sum and weight
        self.first = np.full(tracks, _NONE, dtype=np.int64)  # week
        self.factors = np.ones((tracks, HOURS))
        self.era = np.zeros(tracks, dtype=np.int64)
        self.past: dict[tuple[int, int], Floats] = {}  # factors by track and era
        self.stands = False

    def add(self, tracks: Ints, start_ms: int, end_ms: int, series: Floats) -> None:
        """Add one pane of the aggregate to tracks: (sum, weight), shape (k, 2), spread evenly over its hours."""
        hours = _hours(start_ms, end_ms)
        if len(hours):
            week = start_ms // WEEK_MS
            first = self.first[tracks]
            if np.count_nonzero(begun := first == _NONE):
                self.first[tracks] = first = np.where(begun, week, first)
            number = np.maximum(week - first, 0)
            if np.count_nonzero(number >= _KEPT):
                number = np.where(number < _KEPT, number, _KEPT - 2 + number % 2)
            if len(hours) == 1:  # as it is where panes are short
                self.counts[tracks, number, hours[0]] += series
            else:
                self.counts[tracks[:, None], number[:, None], hours[None]] += series[:, None] / len(hours)

    def forget(self, tracks: Ints, used: set[tuple[int, int]]) -> None:
        """Learn tracks anew; ``used`` are the tracks and eras of baselines that stand."""
        for track in tracks[self.first[tracks] != _NONE].tolist():
            self.past[track, int(self.era[track])] = self.factors[track].copy()
            self.era[track] += 1
        self.past = {key: factors for key, factors in self.past.items() if key in used}
        self.counts[tracks], self.first[tracks] = 0.0, _NONE
        self._stand()

    def fit(self, track: int) -> None:
        """Work out the factors of a track; their mean over its events is one."""
        halves = self.counts[track].reshape(-1, 2, HOURS, 2).sum(axis=0)
        x, n = halves[..., 0], halves[..., 1]
        expected = n * (x.sum(axis=1) / np.maximum(n.sum(axis=1), 1e-9))[:, None]
        factors = np.ones(HOURS)
        for cell in (np.arange(HOURS) % 24, np.arange(HOURS) // 24, np.arange(HOURS)):
            sums = [np.stack([np.bincount(cell, half).astype(float) for half in both]) for both in (x, expected * factors)]
            factors = factors * _layer(sums[0], sums[1])[cell]
        total = n.sum(axis=0)
        self.factors[track] = factors * total.sum() / max(float(total @ factors), 1e-9) if total.any() else 1.0
        self._stand()

    def _stand(self) -> None:
        self.stands = any(bool((factors != 1.0).any()) for factors in (self.factors, *self.past.values()))

    def over(self, tracks: Ints, eras: Ints, start_ms: int, end_ms: int) -> Floats:
        """Return the mean factor of a pane for tracks in their eras, shape (k,)."""
        hours = _hours(start_ms, end_ms)
        if not len(hours):
            return np.ones(len(tracks))
        factors = self.factors[tracks]
        for i in np.flatnonzero(eras != self.era[tracks]) if self.past else ():
            factors[i] = self.past.get((int(tracks[i]), int(eras[i])), 1.0)
        return np.asarray(factors[:, hours].mean(axis=1))

    def series(self, track: int) -> Floats:
        """Return the hours of the first six weeks: sum, and weight times the season's factor; shape (1008, 2)."""
        return np.asarray((self.counts[track, : _KEPT - 2] * np.stack([np.ones(HOURS), self.factors[track]], axis=1)).reshape(-1, 2))

    def buckets(self, track: int, origin_ms: int, width_ms: int, count: int) -> Floats:
        """Return the mean factors of ``count`` neighbouring spans of whole hours, shape (count,)."""
        each = width_ms // HOUR_MS
        hours = (origin_ms // HOUR_MS + np.arange(count * each).reshape(count, each)) % HOURS
        return np.asarray(self.factors[track][hours].mean(axis=1))

    def to_state(self) -> list[Packed]:
        """Return the state as raw bytes."""
        keys = np.array(list(self.past), dtype=np.int64).reshape(-1, 2)
        past = np.array(list(self.past.values())).reshape(-1, HOURS)
        return [pack(each) for each in (self.counts, self.factors, self.first, self.era, keys, past)]

    def load(self, state: list[Packed], places: Ints, *, factors: bool = True) -> None:
        """Take back what ``to_state`` gave; ``places`` says which track each of its tracks is now, -1: none."""
        counts, known, first, era, keys, past = map(unpack, state)
        kept = places >= 0
        to = places[kept]
        self.counts[to], self.first[to], self.era[to] = counts[kept], first[kept], era[kept]
        if factors:
            self.factors[to] = known[kept]
            moved = [(int(places[track]), at) for track, at in keys.tolist()]
            self.past = {key: old for key, old in zip(moved, past, strict=True) if key[0] >= 0}
        self._stand()


def _hours(start_ms: int, end_ms: int) -> Ints:
    if end_ms - start_ms > DAY_MS:
        return np.zeros(0, dtype=np.int64)
    first, end = start_ms // HOUR_MS, -(-end_ms // HOUR_MS)
    return np.arange(first, end) % HOURS if end > first + 1 else np.array([first % HOURS])


def _layer(x: Floats, expected: Floats) -> Floats:
    """Return factors by cell from sums and expectations of both halves, shape (2, cells)."""
    seen = (expected > 0).all(axis=0)
    factors = np.ones(x.shape[1])
    if seen.sum() < 2:
        return factors
    first, second = x[:, seen] / expected[:, seen] - 1
    both = x[:, seen].sum(axis=0) / expected[:, seen].sum(axis=0) - 1
    weight = 1 / (1 / expected[:, seen]).sum(axis=0)
    weight /= weight.sum()
    shared, noise = float(weight @ (first * second)), float((weight @ np.square(first)) * (weight @ np.square(second))) ** 0.5
    if noise <= _ROUNDING or shared * float(1 / np.square(weight).sum()) ** 0.5 < _CLEAR * noise:
        return factors
    factors[seen] = np.maximum(1 + min(1.0, shared / max(float(weight @ np.square(both)), _ROUNDING)) * both, _LEAST)
    return factors
