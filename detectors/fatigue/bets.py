"""Kinds that watch a rate of each unit: bets against its own past, or against what the policy promises, within the model's budget."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from detectors.active import Active
from detectors.bets import UP, Bet, Family, Fit, enough_for
from detectors.budget import GROUPS, LABEL_FREE, Budget
from detectors.fatigue import Kind, Turn
from detectors.fatigue.ledger import LATE, Ledger
from detectors.fatigue.recent import Settled
from detectors.fixed import Floats, Ints
from detectors.ladder import HOUR_MS
from detectors.model_version import ModelVersion
from detectors.panel import Crossing, Panel
from detectors.panes import floor_to
from detectors.reading import BEFORE, Reading
from detectors.signals import Cleared, Estimate
from detectors.tracks import Track
from schemas.policy_models import ModelPolicy

PANE_MS = 3 * HOUR_MS
MOST_UNITS = 200  # watched
WEIGHT = 0.2  # of the model's budget, for all bets on its alerts
KINDS = 4
_MOST_EVIDENCE = math.log(1e300)
_NO_ROWS: Ints = np.zeros((0, 0), dtype=np.int64)


class UnitBudget(Budget):
    """A budget of units alone: each that stands gets the same; the whole of them, on which baselines lean, pages nobody."""

    def advance(self, due_ms: int, share: float = 1.0) -> None:
        """Let time pass up to ``due_ms``."""
        before = self.now, self.pots.copy()
        super().advance(due_ms, 0.0)
        if before[0] > BEFORE and self.standing[GROUPS]:
            self.pots[GROUPS] += self.rate * share * (due_ms - before[0]) / self.standing[GROUPS]


class UnitPanel(Panel):
    """Monitors by unit: slot 0 is all units together, and what is promised is promised to each unit."""

    def _promised(self, row: int) -> Fit | None:
        contract = self.tracks[0].contract
        return self.bet.contract(contract) if contract is not None and self.monitors.slot[row] else None

    def kinds(self, rows: Ints) -> Ints:
        """Return the class of the budget: units share one, all together draw on none."""
        return np.asarray(np.where(self.monitors.slot[rows] == 0, LABEL_FREE, GROUPS))


class BetKind(Kind):
    """A quantity of the alerts raised in three hours, read once they have all reached an age.

    On from the first disposition on. Evidence is spent once: what comes later corrects the report only.

    References
    ----------
    Shin, Ramdas & Rinaldo, NEJSDS 2 (2024): e-detectors.

    """

    bet: ClassVar[Bet]
    family: ClassVar[Family]  # of the quantity, for people

    def __init__(self, ledger: Ledger, policy: ModelPolicy) -> None:
        super().__init__(ledger, policy)
        self.units: list[int] = [0]  # by slot
        self.stepped = False
        self._start_anew()

    @cached_property
    def panel(self) -> UnitPanel:
        """The monitors; of models whose alerts nobody deals with, as most, none are made."""
        return self._new_panel()

    def _start_anew(self) -> None:
        vars(self).pop("panel", None)
        self.budget = UnitBudget(pages=self.policy.budget.pages, days=self.policy.budget.days)

    def _new_panel(self) -> UnitPanel:
        promised = self.promised()
        tolerance = self.family.tolerance if promised is None else 0.0
        track = Track(family=self.family, direction=UP, tolerance=tolerance, contract=promised)
        return UnitPanel(self.bet, [track], rung=0, rule=enough_for(self.policy, WEIGHT))

    @abstractmethod
    def promised(self) -> float | None:
        """Return the null that the policy declares; None: each unit's own past."""

    def declared(self) -> float | None:
        """Return the threshold that the policy sets; where it sets another, what was weighed before says nothing of it."""
        return self.promised()

    @abstractmethod
    def observe(self, start_ms: int, end_ms: int) -> tuple[Ints, Floats]:
        """Return units, ascending, and their observations, of the alerts raised in [start, end), shape (k, bet's width)."""

    @abstractmethod
    def told(self, turn: "Told") -> tuple[float, float, str]:
        """Return value and threshold in the kind's own terms, and the sentence."""

    def age(self) -> tuple[int, int] | None:
        """Return the age at which alerts are read, and from when on they are; None: it is not known yet."""
        return self.ledger.stale_ms, BEFORE

    def learn(self, versions: Mapping[str, ModelVersion]) -> None:
        """Hear of the model's versions, before a step."""

    def step(self, settled: Settled, until_ms: int) -> list[Turn]:
        """Read every pane that is due."""
        age, since = self.age(), self.ledger.disposed_ms
        if since is None or age is None or age[1] > until_ms:
            return []
        end = floor_to(until_ms - age[0], PANE_MS)
        if end <= self.read_to:
            return []
        turns: list[Turn] = []
        if self.policy.fatigue.enabled:
            hours, _, _, _ = self.ledger.read("made", max(self.read_to, since), end)
            for start in np.unique(floor_to(hours, PANE_MS)).tolist():
                turns += self._pane(max(start, self.read_to, since), start + PANE_MS, max(start + PANE_MS + age[0], age[1]))
        self.read_to = end
        return turns

    def _pane(self, start_ms: int, end_ms: int, due_ms: int) -> list[Turn]:
        self.stepped = True
        self.budget.advance(due_ms, WEIGHT / KINDS)
        units, obs = self.observe(start_ms, end_ms)
        slots = self._slots(units)
        units, obs, slots = units[slots > 0], obs[slots > 0], slots[slots > 0]
        if not len(units):
            return []
        if self.promised() is None:
            units, obs, slots = np.append(0, units), np.concatenate([obs.sum(axis=0, keepdims=True), obs]), np.append(0, slots)
        reading = Reading(
            rung=0,
            age_ms=due_ms - end_ms,
            start_ms=start_ms,
            end_ms=end_ms,
            due_ms=due_ms,
            mature=True,
            segments=units,
            made=_NO_ROWS,
            known=_NO_ROWS,
            made_bins=_NO_ROWS,
            known_bins=_NO_ROWS,
        )
        crossings, signals, _ = self.panel.step(reading, obs[np.newaxis], slots, self.budget, lambda slot: math.inf)
        cleared = [self._cleared(signal, reading) for signal in signals if isinstance(signal, Cleared)]
        opened = [turn for crossing in crossings if (turn := self._opened(crossing, reading)) is not None]
        return cleared + opened

    def reads_from(self, now_ms: int) -> int:
        """Return where it goes on; before the first disposition, nothing that lies in the past will be read."""
        since = self.ledger.disposed_ms
        return now_ms if since is None else max(self.read_to, since)

    def moved(self) -> bool:
        """Say whether a pane was read."""
        stepped, self.stepped = self.stepped, False
        return stepped

    def _slots(self, units: Ints) -> Ints:
        """Return the slots of units; beyond the cap -1: reported, but not watched."""
        for unit in sorted(set(units.tolist()) - set(self.units), key=self.ledger.units.names.__getitem__):
            if len(self.units) <= MOST_UNITS:
                self.units.append(unit)
        at = {unit: slot for slot, unit in enumerate(self.units)}
        return np.array([at.get(unit, -1) for unit in units.tolist()], dtype=np.int64)

    def _opened(self, crossing: Crossing, reading: Reading) -> Turn | None:
        m, row, bet, track = self.panel.monitors, crossing.row, self.bet, self.panel.tracks[0]
        sums = m.since[row, crossing.stake]
        n, x, expected = sums.tolist()
        if n <= 0 or not bet.gate(n, bet.effect(x / n, expected / n, UP), track.tolerance):
            return None
        value, lo, hi, size = m.base[row].tolist()
        fit, phi = Fit(null=m.null[row].copy(), value=value, lo=lo, hi=hi, n=size), float(m.phi[row])
        current = Estimate(x / n, *bet.spread(sums, phi, self.panel.tables[row]), n)
        baseline = Estimate(expected / n, *bet.interval(fit, expected / n, track.tolerance), size)
        unit, onset = self.units[int(m.slot[row])], int(m.onset[row, crossing.stake])
        key = self.panel.key(row, unit)
        active = Active.after(
            key,
            bet,
            fit,
            phi=phi,
            stake=crossing.stake,
            current=current,
            baseline=baseline,
            tolerance=track.tolerance,
            seen=m.recent[row].copy() if bet.shaped else None,
        )
        self.panel.raise_alarm(row, active, self.budget)
        told = Told(unit=unit, opened=True, start_ms=onset, end_ms=reading.end_ms, baseline=baseline, current=current)
        return self._turn(told, reading.due_ms, math.exp(min(crossing.log_evidence, _MOST_EVIDENCE)))

    def _cleared(self, signal: Cleared, reading: Reading) -> Turn:
        row = self.panel.rows[0, self.units.index(signal.key.segment)]
        value, lo, hi, size = self.panel.monitors.base[row].tolist()
        baseline = Estimate(value, lo, hi, size)
        told = Told(
            unit=signal.key.segment,
            opened=False,
            start_ms=reading.start_ms,
            end_ms=reading.end_ms,
            baseline=baseline,
            current=signal.current,
        )
        return self._turn(told, reading.due_ms, None)

    def _turn(self, told: "Told", due_ms: int, evidence: float | None) -> Turn:
        value, threshold, said = self.told(told)
        return Turn(
            time_ms=due_ms,
            kind=self.name,
            unit=told.unit,
            opened=told.opened,
            value=value,
            threshold=threshold,
            window=(told.start_ms, told.end_ms),
            said=said,
            evidence=evidence,
            baseline=self.shown(told.baseline),
            current=self.shown(told.current),
        )

    def shown(self, estimate: Estimate) -> Estimate:
        """Return an estimate of the bet's quantity as one of what people are told."""
        return estimate

    @property
    def learns(self) -> bool:
        """Whether what is normal is learnt from a unit's own past: unless the policy promises it."""
        return self.promised() is None

    def relearn(self, unit: int) -> bool:
        """Learn a unit's baseline anew; what the policy promises stays as it is."""
        if unit not in self.units or not self.learns:
            return False
        row = int(self.panel.rows[0, self.units.index(unit)])
        self.panel.forget(row, self.budget)
        return True

    def reset(self) -> bool:
        """Learn every unit's baseline anew; of what the policy promises only the evidence goes."""
        for row in range(self.panel.monitors.count):
            self.panel.forget(row, self.budget)
        return True

    def use(self, policy: ModelPolicy) -> bool:
        """Follow another policy; a new threshold starts the evidence anew."""
        old, on = self.declared(), self.policy.fatigue.enabled
        self.policy = policy
        self.budget.rate = UnitBudget(pages=policy.budget.pages, days=policy.budget.days).rate
        if self.declared() == old and policy.fatigue.enabled == on:
            state, self.panel = self.panel.to_state(), self._new_panel()
            self.budget.standing[:] = 0
            self.panel.load(state, self.budget)
            return False
        now = self.budget.now
        self._start_anew()
        self.budget.now = now
        return True

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes."""
        return super().to_state() | {"units": list(self.units), "budget": self.budget.to_state(), "panel": self.panel.to_state()}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        super().load(state)
        self.units = list(state["units"])
        self.budget.load(state["budget"])
        self.panel.load(state["panel"], self.budget)


class Told:
    """What a bet has found, to be put into words."""

    def __init__(self, *, unit: int, opened: bool, start_ms: int, end_ms: int, baseline: Estimate, current: Estimate) -> None:
        self.unit, self.opened, self.start_ms, self.end_ms = unit, opened, start_ms, end_ms
        self.baseline, self.current = baseline, current


def in_time(ledger: Ledger, name: str, start_ms: int, end_ms: int) -> tuple[Ints, Ints, Ints]:
    """Return unit, cell and sums of what was disposed of in time."""
    _, unit, cell, rows = ledger.read(name, start_ms, end_ms)
    early = cell < LATE
    return unit[early], cell[early], rows[early]


def by_unit(units: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Return the distinct units, ascending, and the sums of the rows of each."""
    distinct, inverse = np.unique(units, return_inverse=True)
    out = np.zeros((len(distinct), rows.shape[1]), dtype=np.int64)
    np.add.at(out, inverse, rows)
    return distinct, out


def rate_observations(n: Ints, x: Ints) -> Floats:
    """Return (events, failures), shape (k, 2), for a bet on a rate; what late corrections made impossible is cut off."""
    n = np.maximum(n, 0)
    return np.stack([n, np.clip(x, 0, n)], axis=1).astype(np.float64)
