"""Baselines in the making: what the earliest panes say, and when that is enough."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from detectors.baselines.season import WEEK_MS, WEEKS, Season
from detectors.baselines.tempering import BUCKETS, HOUR_MS, bursty, phi
from detectors.baselines.wilson import Z_90, stricter
from detectors.bets import Bet, Enough, Fit
from detectors.fixed import Floats, Ints
from detectors.monitors import LEARNING, Monitors
from detectors.reading import BEFORE, Reading
from detectors.tracks import Track

_DAY_MS = 86_400_000
_DAY = 24  # hours
_TRIPLE = 3.0


class Learner:
    """Adds panes to the baselines of monitors and freezes those that have enough.

    A baseline stands once it holds the labels and failures that the rule asks for, from enough days of predictions and from outcomes
    that became known on enough days (one bulk delivery of labels is one observation of whatever delayed them); a group's only after the
    aggregate's. It is estimated anew at every tripling of its events up to ``rule.plenty``, unless evidence has once come half-way to an
    alarm: then a change may be in it.

    The series behind the test of over-dispersion is kept in at most 128 buckets of an hour or more, from the first pane of all, of a
    monitor that learns anew from its own: else it would have a few wide buckets, in which days and nights look alike. That of a group is
    kept until its baseline stands.
    """

    def __init__(self, bet: Bet, tracks: Sequence[Track], monitors: Monitors, rule: Enough, *, season: Season | None, bound: float) -> None:
        self.bet, self.tracks, self.monitors, self.rule, self.season, self.bound = bet, tracks, monitors, rule, season, bound
        self.origin_ms = BEFORE
        self._aggregates: dict[int, int] = {}

    def step(self, rows: Ints, obs: Floats, reading: Reading, outcome_days: Callable[[int], float]) -> list[tuple[int, Fit]]:
        """Add one pane to the baselines of ``rows`` that still learn; return the rows that were fitted, with their fits."""
        m = self.monitors
        closed = m.frozen[rows]
        if frozen := np.count_nonzero(closed):  # of an array as short as these, five times as quick as to ask for any or all
            if frozen == len(rows):
                return []
            rows, obs = rows[closed == 0], obs[closed == 0]
        if self.season is not None:
            self._add_season(rows, obs, reading)
        m.total[rows] += obs
        first = m.first[rows]
        if np.count_nonzero(begun := first == BEFORE):
            m.first[rows] = first = np.where(begun, reading.start_ms, first)
        tested = (m.slot[rows] == 0) | (m.state[rows] == LEARNING)
        mine, seen = (rows, obs) if np.count_nonzero(tested) == len(rows) else (rows[tested], obs[tested])
        m.series.add(mine, self._buckets(mine, reading.start_ms), self.bet.series(seen))
        old = reading.end_ms - first >= self.rule.days * _DAY_MS
        if not np.count_nonzero(old):
            return []
        events = self.bet.size(m.total[rows])
        late = (events >= self.rule.labels) & old & (events >= m.next_fit[rows])
        fitted = []
        for row in rows[late].tolist():
            fit = self._fit(row, outcome_days, reading)
            if fit is not None:
                fitted.append((row, fit))
        return fitted

    def _buckets(self, rows: Ints, start_ms: int) -> Ints:
        m, begin = self.monitors, start_ms - start_ms % HOUR_MS
        if self.origin_ms == BEFORE:
            self.origin_ms = begin
        origin = m.origin[rows]
        if np.count_nonzero(begun := origin == BEFORE):
            m.origin[rows] = origin = np.where(begun, begin, origin)
        since = np.maximum(start_ms - origin, 0)
        buckets = since // m.bucket[rows]
        while np.count_nonzero(over := buckets >= BUCKETS):
            full = rows[over]
            m.series.halve(full)
            m.bucket[full] *= 2
            buckets = since // m.bucket[rows]
        return np.asarray(buckets)

    def _fit(self, row: int, outcome_days: Callable[[int], float], reading: Reading) -> Fit | None:
        m, slot = self.monitors, int(self.monitors.slot[row])
        track = self.tracks[int(m.track[row])]
        events = float(self.bet.size(m.total[row]))
        if m.state[row] != LEARNING and m.hot[row]:
            m.frozen[row] = 1
            return None
        parent = self._aggregate(row) if slot and not self.bet.relative else -1
        if slot and not self.bet.relative and (parent < 0 or m.state[parent] == LEARNING):
            return None
        if not self.bet.enough(m.total[row], track.two_sided, slot == 0, self.rule):
            return None
        if m.state[row] == LEARNING and track.family.needs_labels and outcome_days(slot) < self.rule.outcome_days:
            return None
        if self.season is not None and self.rule.seasonal and not slot and reading.end_ms - m.first[row] >= WEEKS * WEEK_MS:
            self.season.fit(int(m.track[row]))
        if not slot or m.state[row] == LEARNING:
            m.phi[row] = phi(self._in_season(row), self.bet.dispersion(m.total[row]))
            if self.season is not None and not slot:  # a short burst drowns in wide buckets
                m.phi[row] = max(float(m.phi[row]), phi(self.season.series(int(m.track[row])), self.bet.dispersion(m.total[row])))
        if parent >= 0:
            m.phi[row] = max(float(m.phi[row]), float(m.phi[parent]))
        if slot:
            m.series.clear(row)
        fit = self._bounded(m.total[row], track, float(m.phi[row]), m.null[parent] if parent >= 0 else None)
        self.freeze(row, fit)
        m.bursty[row] = m.bursty[parent] if parent >= 0 else self._bursty(row, fit, reading)
        m.next_fit[row] = min(_TRIPLE * events, self.rule.plenty)
        if events >= self.rule.plenty:
            m.frozen[row] = 1
            m.series.clear(row)
        return fit

    def _bursty(self, row: int, fit: Fit, reading: Reading) -> bool:
        """Say whether single hours of the aggregate's baseline, or panes if they are longer, would have passed for a change.

        In a pane of a day a bad hour does not show.
        """
        hours = max(1, (reading.end_ms - reading.start_ms) // HOUR_MS)
        if self.season is None or hours >= _DAY or _DAY % hours:
            return False
        m, track = self.monitors, int(self.monitors.track[row])
        blocks = self.season.series(track).reshape(-1, hours, 2).sum(axis=1)
        table = self.bet.table(fit.null, self.tracks[track].direction)
        return bursty(self.bet.log_factors(self.bet.unseries(blocks), table[None]) / m.phi[row])

    def counted(self, row: int, total: Floats, spread: float) -> Fit | None:
        """Return the baseline that a reference set gives a monitor, and note its over-dispersion; None: it does not hold enough.

        It is never estimated anew, so its bound is that of 95 % at every age; a group's asks for the aggregate's, whose hours may be
        rationed: a reference set has none.
        """
        m, slot = self.monitors, int(self.monitors.slot[row])
        track = self.tracks[int(m.track[row])]
        parent = self._aggregate(row) if slot else -1
        if slot and (parent < 0 or m.state[parent] == LEARNING):
            return None
        if not self.bet.enough(total, track.two_sided, slot == 0, self.rule):
            return None
        m.phi[row], m.bursty[row] = (max(spread, float(m.phi[parent])), m.bursty[parent]) if slot else (spread, 0)
        return self._bounded(total, track, float(m.phi[row]), m.null[parent] if slot else None, bound=Z_90)

    def _bounded(self, total: Floats, track: Track, phi: float, parent: Floats | None, *, bound: float | None = None) -> Fit:
        """Return the fit, whose null is bounded as strictly as the budget asks; what people see of it is an interval of 90 %."""
        bound = self.bound if bound is None else bound
        given: dict[str, Any] = {"tolerance": track.tolerance, "direction": track.direction, "parent": parent}
        if self.rule.share >= 1:
            return self.bet.fit(total, phi=phi, bound=bound, **given)
        # Fewer events count, for every bound that a bet may have; that which is given comes out as strict as it should.
        wide = stricter(Z_90, self.rule.share) / Z_90
        strict = self.bet.fit(total, phi=phi * wide * wide, bound=stricter(bound, self.rule.share) / wide, **given)
        return replace(self.bet.fit(total, phi=phi, bound=bound, **given), null=strict.null)

    def _add_season(self, rows: Ints, obs: Floats, reading: Reading) -> None:
        m, season = self.monitors, self.season
        whole = m.slot[rows] == 0
        if season is not None and np.count_nonzero(whole):
            tracks = m.track[rows[whole]]
            anew = m.first[rows[whole]] == BEFORE
            if np.count_nonzero(anew):
                stand = np.flatnonzero(m.state[: m.count] != LEARNING)
                season.forget(tracks[anew], set(zip(m.track[stand].tolist(), m.era[stand].tolist(), strict=True)))
            season.add(tracks, reading.start_ms, reading.end_ms, self.bet.series(obs[whole]))

    def _in_season(self, row: int) -> Floats:
        """Return the series with the weights that the season expects."""
        series = self.monitors.series.of(row)
        if self.season is None or not self.season.stands:
            return series
        m = self.monitors
        factors = self.season.buckets(int(m.track[row]), int(m.origin[row]), int(m.bucket[row]), BUCKETS)
        return series * np.stack([np.ones(BUCKETS), factors], axis=1)

    def freeze(self, row: int, fit: Fit) -> None:
        """Write a fit into a monitor; a group keeps to the season of its first."""
        m = self.monitors
        if self.season is not None and (m.state[row] == LEARNING or m.slot[row] == 0):
            m.era[row] = self.season.era[m.track[row]]
        m.null[row], m.base[row] = fit.null, (fit.value, fit.lo, fit.hi, fit.n)

    def _aggregate(self, row: int) -> int:
        m, track = self.monitors, int(self.monitors.track[row])
        if track not in self._aggregates:
            found = np.flatnonzero((m.track[: m.count] == track) & (m.slot[: m.count] == 0))
            if not len(found):
                return -1
            self._aggregates[track] = int(found[0])
        return self._aggregates[track]

    def to_state(self) -> int:
        """Return where the buckets begin, ms."""
        return self.origin_ms

    def load(self, state: int) -> None:
        """Take back what ``to_state`` gave."""
        self.origin_ms = state
        self._aggregates.clear()
