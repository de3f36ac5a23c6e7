"""All monitors of one bet at one rung, stepped together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from detectors import budget as pots
from detectors.active import Active
from detectors.baselines.season import Season
from detectors.baselines.wilson import Z_90, Z_MATURE
from detectors.bets import Bet, Enough, Fit
from detectors.budget import Budget
from detectors.fixed import Floats, Ints
from detectors.kernel import crossed, follow, grow, mix
from detectors.learning import Learner
from detectors.monitors import ACTIVE, ARMED, LEARNING, Monitors
from detectors.reading import Reading
from detectors.signals import Cleared, Key, Signal
from detectors.tracks import BANK, Track

Find = Callable[[str, int], "tuple[Floats, float] | None"]
_HOT = np.log(0.5)  # evidence after which a baseline is not estimated again


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """A monitor whose evidence suffices: its row, the leading alternative, and the mean since its onset."""

    row: int
    stake: int
    log_evidence: float


class Panel:
    """Monitors (track x segment) of one bet at one rung.

    ``step`` returns the rows whose evidence crossed, and signals of monitors that are past their alarm. The caller decides what to do
    with a crossing and calls ``raise_alarm`` for it.
    """

    def __init__(self, bet: Bet, tracks: Sequence[Track], *, rung: int, rule: Enough, mature: bool = False) -> None:
        self.bet, self.tracks, self.rung, self.mature = bet, tuple(tracks), rung, mature
        self.families = tuple(dict.fromkeys(track.family.name for track in tracks))
        by_name = {track.family.name: track.family for track in tracks}
        self._families = [by_name[name] for name in self.families]
        self._family_of = np.array([self.families.index(track.family.name) for track in tracks])
        self.tracks_of = [np.flatnonzero(self._family_of == f).tolist() for f in range(len(self.families))]
        self._groups = np.array([track.family.groups for track in tracks])
        self._labels = np.array([track.family.needs_labels for track in tracks])
        self._dimensions = {dimension for track in tracks for dimension in track.dimensions}
        self._paging = np.array([track.paged_by == BANK for track in tracks])
        recent = bet.width if bet.shaped else 0
        spent = bet.stakes if bet.seasonal else 0
        self.monitors = Monitors(stakes=bet.stakes, width=bet.width, terms=bet.terms, recent=recent, spent=spent, tallied=bet.tallied)
        self.season = Season(len(tracks)) if bet.seasonal else None
        self.learner = Learner(bet, self.tracks, self.monitors, rule, season=self.season, bound=Z_MATURE if mature else Z_90)
        self.rows = np.full((len(tracks), 1), -1, dtype=np.int64)
        self.tables = np.zeros((0, 0))
        self.active: dict[int, Active] = {}
        self.outlived: dict[int, Active] = {}  # claims past an alarm that silence has ended: nothing has said otherwise yet
        self.shipped: Find | None = (
            None  # what a reference set says of a family in a slot, if there is one; of the bank, never part of the state
        )

    def observe(self, reading: Reading, name: Callable[[int], Mapping[str, str]]) -> Floats:
        """Return the observations, shape (families, segments, width); zeros where groups of other dimensions are meant.

        Raises
        ------
        ValueError
            If a count is impossible.

        """
        obs = self.bet.observe(reading, self._families)
        fault = self.bet.fault(obs)
        if fault:
            raise ValueError(f"{self.bet.name} at rung {self.rung}, pane [{reading.start_ms}, {reading.end_ms}): {fault}")
        if self._dimensions:
            obs[:, [self._dimensions.isdisjoint(name(segment)) for segment in reading.segments.tolist()]] = 0.0
        return obs

    def step(
        self, reading: Reading, obs: Floats, slots: Ints, budget: Budget, outcome_days: Callable[[int], float]
    ) -> tuple[list[Crossing], list[Signal], list[tuple[int, Fit, bool]]]:
        """Step every monitor that has events in a pane.

        ``slots`` maps the reading's segments to monitors' slots, -1 where a segment is not watched. Returns crossings, signals, and the
        rows whose baseline was estimated just now, with their fit and whether it is their first.
        """
        if not np.count_nonzero(obs):
            return [], [], []
        seen = (self.bet.size(obs) > 0)[self._family_of] & (slots >= 0) & (self._groups[:, None] | (slots == 0))
        tracks, places = np.nonzero(seen)
        if not len(tracks):
            return [], [], []
        fresh: list[tuple[int, Fit]] = []
        rows = self._rows(tracks, slots[places], budget, fresh)
        mine = obs[self._family_of[tracks], places]
        state = self.monitors.state[rows]
        crossings: list[Crossing] = []
        signals: list[Signal] = []
        armed = state == ARMED
        if np.count_nonzero(armed):
            crossings = self._evidence(rows[armed], mine[armed], reading, budget)
        for i in np.flatnonzero(state == ACTIVE) if self.active else ():
            row = int(rows[i])
            signal = self.active[row].step(mine[i], reading.due_ms, float(self._factors(rows[[i]], reading)[0]))
            if signal is not None:
                signals.append(signal)
                if isinstance(signal, Cleared):
                    self.lower_alarm(row, budget)
        for which, obs_of in zip(rows.tolist(), mine, strict=True) if self.outlived else ():
            if which in self.outlived and isinstance(self.outlived[which].step(obs_of, reading.due_ms), Cleared):
                del self.outlived[which]
        fitted = self.learner.step(rows, mine, reading, outcome_days)
        for row, fit in fitted:
            self._set_table(row, fit.null)
        news = [(row, fit, bool(self.monitors.state[row] == LEARNING)) for row, fit in fitted]
        for row, _, first in news:
            if first:
                self.arm(row, budget)
        return crossings, signals, [(row, fit, True) for row, fit in fresh] + news

    def _rows(self, tracks: Ints, slots: Ints, budget: Budget, fresh: list[tuple[int, Fit]]) -> Ints:
        top = int(slots.max())
        if top >= self.rows.shape[1]:
            grown = np.full((len(self.tracks), max(top + 1, 2 * self.rows.shape[1])), -1, dtype=np.int64)
            grown[:, : self.rows.shape[1]] = self.rows
            self.rows = grown
        rows = self.rows[tracks, slots]
        if np.count_nonzero(new := rows < 0):
            rows[new] = self._add(tracks[new], slots[new], budget, fresh)
        return np.asarray(rows)

    def _add(self, tracks: Ints, slots: Ints, budget: Budget, fresh: list[tuple[int, Fit]]) -> Ints:
        rows = self.monitors.add(tracks, slots)
        self.rows[tracks, slots], self.monitors.origin[rows] = rows, self.learner.origin_ms
        promised = any(track.contract is not None for track in self.tracks)
        for row in rows.tolist() if promised or self.shipped is not None else ():
            fit = self._promised(row)
            if fit is None and (fit := self._counted(row)) is not None:
                fresh.append((row, fit))
            if fit is not None:
                self._keep_to(row, fit, budget)
        return rows

    def _counted(self, row: int) -> Fit | None:
        """Return the baseline that a reference set gives a monitor; its over-dispersion is noted, and whether its hours are rationed."""
        m = self.monitors
        track = self.tracks[int(m.track[row])]
        if self.shipped is None or (track.family.needs_labels and not self.mature):
            return None
        found = self.shipped(track.family.name, int(m.slot[row]))
        return None if found is None else self.learner.counted(row, *found)

    def ship(self, budget: Budget) -> list[tuple[int, Fit]]:
        """Arm every monitor that a reference set speaks of and that is past no alarm, the whole before groups; return rows and fits."""
        fresh: list[tuple[int, Fit]] = []
        m = self.monitors
        for row in sorted(range(m.count), key=lambda row: (int(m.slot[row]), int(m.track[row]))):
            fit = self._counted(row) if m.state[row] != ACTIVE and self._promised(row) is None else None
            if fit is not None:
                noted = m.phi[row], m.bursty[row]
                if m.state[row] == ARMED:
                    self._stand(row, budget, -1)
                m.forget(row)
                m.phi[row], m.bursty[row] = noted
                self._keep_to(row, fit, budget)
                fresh.append((row, fit))
        return fresh

    def _promised(self, row: int) -> Fit | None:
        contract = self.tracks[int(self.monitors.track[row])].contract
        meant = self.bet.relative or self.monitors.slot[row] == 0
        return self.bet.contract(contract) if contract is not None and meant else None

    def _keep_to(self, row: int, fit: Fit, budget: Budget) -> None:
        """Arm a monitor with what was promised: there is nothing to learn."""
        self.learner.freeze(row, fit)
        self.monitors.frozen[row] = 1
        self._set_table(row, fit.null)
        self.arm(row, budget)

    def tables_at(self, rows: Ints, reading: Reading) -> Floats:
        """Return the tables of rows for a pane: those of their nulls, at the hour of the week."""
        if self.season is None or not self.season.stands:
            return self.tables[rows]
        return self.bet.seasoned(self.tables[rows], self._factors(rows, reading))

    def _factors(self, rows: Ints, reading: Reading) -> Floats:
        if self.season is None or not self.season.stands:
            return np.ones(len(rows))
        m = self.monitors
        return self.season.over(m.track[rows], m.era[rows], reading.start_ms, reading.end_ms)

    def _evidence(self, rows: Ints, obs: Floats, reading: Reading, budget: Budget) -> list[Crossing]:
        m = self.monitors
        table = self.tables_at(rows, reading)
        factors = self.bet.log_factors(obs, table) / m.phi[rows, None]
        if (bursty := np.flatnonzero(m.bursty[rows])).size:
            factors[bursty] = m.ration(rows[bursty], factors[bursty], reading.start_ms)
        log_c, onset, since = m.log_c[rows], m.onset[rows], m.since[rows]
        if self.bet.shaped:
            m.recent[rows] = m.recent[rows] * (log_c > 0).any(axis=1, keepdims=True) + obs
        follow(log_c, onset, since, log_factors=factors, start_ms=reading.start_ms, tally=self.bet.tally(obs, table))
        m.log_c[rows], m.onset[rows], m.since[rows] = log_c, onset, since
        kinds = self.kinds(rows)
        deposit = budget.owed(kinds, m.seen[rows], m.seen_pot[rows]) * self._pages(rows)
        m.seen[rows], m.seen_pot[rows] = budget.now, budget.pots[kinds]
        m.paid[rows] += deposit
        log_r = grow(m.log_r[rows], deposit, factors)
        m.log_r[rows] = log_r
        hot = crossed(log_r, _HOT)
        if not len(hot):
            return []
        m.hot[rows[hot]] = 1
        log_s = mix(log_r[hot])
        return [
            Crossing(row=int(rows[i]), stake=int(log_r[i].argmax()), log_evidence=float(s))
            for i, s in zip(hot.tolist(), log_s.tolist(), strict=True)
            if s >= 0
        ]

    def leading(self, row: int) -> Crossing:
        """Return what the CUSUM says of a monitor that another detector called out."""
        stake = int(self.monitors.log_c[row].argmax())
        return Crossing(row=row, stake=stake, log_evidence=max(float(self.monitors.log_c[row, stake]), 0.0))

    def kinds(self, rows: Ints) -> Ints:
        """Return the class of the budget that monitors draw on, shape (k,)."""
        grouped = np.where(self.monitors.slot[rows] == 0, pots.AGGREGATE, pots.GROUPS)
        return np.asarray(np.where(self._labels[self.monitors.track[rows]], grouped, pots.LABEL_FREE))

    def _pages(self, rows: Ints) -> npt.NDArray[np.bool_]:
        """Say which monitors draw on the budget: not those of the aggregate in whose place a River detector pages."""
        return np.asarray(self._paging[self.monitors.track[rows]] | (self.monitors.slot[rows] != 0))

    def key(self, row: int, segment: int) -> Key:
        """Return a monitor's key, given the segment of its slot."""
        track = self.tracks[int(self.monitors.track[row])]
        return Key(track.family.name, track.direction, segment, self.rung)

    def arm(self, row: int, budget: Budget) -> None:
        """Let a monitor whose baseline stands take part from now on."""
        m = self.monitors
        m.state[row] = ARMED
        m.quiet(row)
        self._stand(row, budget, 1)

    def raise_alarm(self, row: int, active: Active, budget: Budget) -> None:
        """Move a monitor past its alarm: no deposits and no pages until it has cleared."""
        m = self.monitors
        m.state[row], m.hot[row] = ACTIVE, 1
        m.quiet(row)
        self.active[row] = active
        self.outlived.pop(row, None)
        self._stand(row, budget, -1)

    def lower_alarm(self, row: int, budget: Budget) -> None:
        """Let a monitor take part again, its evidence at zero."""
        del self.active[row]
        self.arm(row, budget)

    def fall_silent(self, row: int, budget: Budget) -> None:
        """Lower the alarm of a monitor that nothing comes for; what refutes a claim stands until its clear test says otherwise."""
        if self.tracks[int(self.monitors.track[row])].family.kind == "claim":
            self.outlived[row] = self.active[row]
        self.lower_alarm(row, budget)

    def forget(self, row: int, budget: Budget) -> None:
        """Let a monitor learn its baseline anew, from the next pane on; of one that was promised its baseline only the evidence goes."""
        if self.monitors.state[row] == ARMED:
            self._stand(row, budget, -1)
        self.active.pop(row, None)
        self.outlived.pop(row, None)
        self.monitors.forget(row)
        fit = self._promised(row)
        if fit is not None:
            self._keep_to(row, fit, budget)

    def _stand(self, row: int, budget: Budget, sign: int) -> None:
        rows = np.array([row])
        kind = int(self.kinds(rows)[0])
        self.monitors.seen[row], self.monitors.seen_pot[row] = budget.now, budget.pots[kind]
        if self._pages(rows)[0]:
            budget.standing[kind] += sign

    def _set_table(self, row: int, null: Floats) -> None:
        table = self.bet.table(null, self.tracks[int(self.monitors.track[row])].direction)
        if len(self.tables) < len(self.monitors.track) or self.tables.shape[1] != len(table):
            tables = np.zeros((len(self.monitors.track), len(table)))
            if self.tables.shape[1] == len(table):
                tables[: len(self.tables)] = self.tables
            self.tables = tables
        self.tables[row] = table

    def _renegotiate(self, budget: Budget) -> None:
        """Follow a policy whose contract values are others than those that the monitors were made with; before ``standing`` is counted."""
        m, counted = self.monitors, budget.standing.copy()
        for row in range(m.count) if self.bet.relative else np.flatnonzero(m.slot[: m.count] == 0).tolist():
            fit = self._promised(row)
            held = m.frozen[row] == 1 and m.base[row, 3] == 0  # events behind the baseline: none, so it was a promise
            if (fit is None and held) or (fit is not None and not (held and np.array_equal(m.null[row], fit.null))):
                self.active.pop(row, None)
                self.outlived.pop(row, None)
                m.forget(row)
                if fit is not None:
                    self._keep_to(row, fit, budget)
        budget.standing[:] = counted

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and raw bytes."""
        return {
            "tracks": [[track.family.name, track.direction] for track in self.tracks],
            "monitors": self.monitors.to_state(),
            "learner": self.learner.to_state(),
            "season": self.season.to_state() if self.season is not None else None,
            "active": [[row, active.to_state()] for row, active in sorted(self.active.items())],
            "outlived": [[row, active.to_state()] for row, active in sorted(self.outlived.items())],
        }

    def load(self, state: dict[str, Any], budget: Budget) -> None:
        """Take back what ``to_state`` gave. Monitors that the policy no longer names are dropped; tables are worked out anew."""
        m, names = self.monitors, [[track.family.name, track.direction] for track in self.tracks]
        m.load(state["monitors"])
        self.learner.load(state["learner"])
        places = np.array([names.index(name) if name in names else -1 for name in state["tracks"]], dtype=np.int64)
        if self.season is not None and state["season"] is not None:
            self.season.load(state["season"], places, factors=self.learner.rule.seasonal)
        kept = np.flatnonzero(places[m.track[: m.count]] >= 0)
        moved = {int(row): i for i, row in enumerate(kept)}
        m.track[: m.count] = places[m.track[: m.count]]
        m.keep(kept)
        top = int(m.slot[: m.count].max()) + 1 if m.count else 1
        self.rows = np.full((len(self.tracks), top), -1, dtype=np.int64)
        self.rows[m.track[: m.count], m.slot[: m.count]] = np.arange(m.count)
        for row in np.flatnonzero(m.state[: m.count] != LEARNING).tolist():
            self._set_table(row, m.null[row])
        self.active, self.outlived = (
            {moved[row]: Active.from_state(saved, self.bet) for row, saved in state[name] if row in moved}
            for name in ("active", "outlived")
        )
        self._renegotiate(budget)
        silenced = np.flatnonzero((m.state[: m.count] == ARMED) & ~self._pages(np.arange(m.count)))
        m.log_r[silenced], m.paid[silenced] = -np.inf, 0.0  # from when the bank paged
        self.draw(budget, 1)

    def draw(self, budget: Budget, sign: int) -> None:
        """Count the monitors that draw on a budget to it, or off it."""
        armed = np.flatnonzero(self.monitors.state[: self.monitors.count] == ARMED)
        np.add.at(budget.standing, self.kinds(armed[self._pages(armed)]), sign)
