"""The evidence bank: all monitors of one model version, stepped together, within one budget of false pages."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from detectors.baselines.coverage import CoverageGuard
from detectors.bets import Fit, enough_for
from detectors.budget import Budget
from detectors.cells import CONFUSION, KNOWN, MADE
from detectors.crossings import raise_alarms
from detectors.fixed import Floats, Ints
from detectors.monitors import ACTIVE, LEARNING
from detectors.panel import Crossing, Panel
from detectors.reading import Reading
from detectors.reference import Shipped
from detectors.remarks import MISCALIBRATED, Remarks
from detectors.signals import REFINED, Key, Note, Signal
from detectors.state_version import expect_version
from detectors.tracks import check_detectors, tracks_of
from detectors.warmup import WarmUp
from detectors.watched_groups import WatchedGroups
from schemas.policy_models import ModelPolicy

STATE_VERSION = 8
Naming = Callable[[int], Mapping[str, str]]  # a segment's number -> {dimension: value}


def _nameless(segment: int) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, kw_only=True)
class StepContext:
    """What a step needs besides the reading.

    ``share`` is this version's part of the model's budget: one over the number of versions that share it. ``outcome_days`` gives, for a
    segment, the effective number of days on which its labels became known before the reading's due time: 1 / Σ share². ``name`` gives a
    segment as {dimension: value}.
    """

    share: float = 1.0
    outcome_days: Callable[[int], float] = field(default=lambda segment: math.inf)
    name: Naming = field(default=_nameless)


class Bank:
    """Monitors (family, direction, segment) at every rung of one model version.

    A pure fold: readings in due order go in, signals come out; no clock, no random number.

    Parameters
    ----------
    policy
        Of the model: budget, baseline, and what is watched.

    Raises
    ------
    ValueError
        If the policy names a River detector that there is not, or one for a quantity that it cannot take.
        From ``step``, if a count is impossible or a reading is due before the last one;
        the state is left as it was.

    References
    ----------
    Shin, Ramdas & Rinaldo, NEJSDS 2 (2024): e-detectors. Dandapanthula & Ramdas, arXiv:2501.04130: error metrics of many of them.

    Examples
    --------
    >>> bank = Bank(policy=ModelPolicy())
    >>> Bank.from_state(bank.to_state(), policy=ModelPolicy()).to_state() == bank.to_state()
    True

    """

    part: ClassVar[float] = 1.0  # of the model's budget: what its monitors may spend, by which their bounds are as strict

    def __init__(self, *, policy: ModelPolicy) -> None:
        check_detectors(policy)
        self.policy = policy
        self.rule = enough_for(policy, self.part)
        self.budget = Budget(pages=policy.budget.pages, days=policy.budget.days)
        self.panels: dict[int, list[Panel]] = {}
        self.mature: dict[int, bool] = {}
        self.guards: dict[int, CoverageGuard] = {}
        self.warm_up = WarmUp()
        self.remarks = Remarks()
        self.shipped: Shipped | None = None  # what a reference set has counted
        self._name: Naming = _nameless  # of segments, as the step or the shipment at hand has it
        self.groups = WatchedGroups()

    @property
    def segments(self) -> list[int]:
        """The segments that are watched, by slot; 0 is the aggregate."""
        return self.groups.segments

    def step(self, reading: Reading, context: StepContext) -> list[Signal]:
        """Step every monitor that the reading has events for; return alarms, what is new about old ones, and notes."""
        self._name = context.name
        panels = self._panels(reading)
        observed = [panel.observe(reading, context.name) for panel in panels]
        self.budget.advance(reading.due_ms, context.share)
        if not len(reading.segments):
            return []
        slots = self._slots(reading, context)
        guard = self._guard(reading)
        signals: list[Signal] = []
        for panel, obs in zip(panels, observed, strict=True):
            crossings, moved, news = panel.step(reading, obs, slots, self.budget, lambda slot: context.outcome_days(self.segments[slot]))
            signals += moved
            crossings += self._river(panel, obs, reading, signals)
            if crossings:
                signals += raise_alarms(
                    panel, crossings, reading, guard=guard, segments=self.segments, budget=self.budget, describe=self.describe
                )
            for row, fit, first in news:
                signals += self._armed(panel, row, fit, reading.due_ms, first=first)
        return signals

    def ship(self, shipped: Shipped, due_ms: int, name: Naming = _nameless) -> list[Signal]:
        """Take the baselines of a reference set, for the monitors there are and those to come; return notes on those that stand by it.

        It holds for families that need no label at age 0, for the others at the mature rung. A monitor past an alarm keeps its own.
        """
        self.shipped = shipped
        self._bind(self._all())
        return self._ship([panel for _, panels in sorted(self.panels.items()) for panel in panels], due_ms, name)

    def _ship(self, panels: Sequence[Panel], due_ms: int, name: Naming) -> list[Signal]:
        self._name = name
        fits = [(panel, row, fit) for panel in panels for row, fit in panel.ship(self.budget)]
        return [note for panel, row, fit in fits for note in self._armed(panel, row, fit, due_ms, first=True)]

    def ripen(self, rung: int, due_ms: int, name: Naming = _nameless) -> list[Signal]:
        """Hear that a rung is the mature one, which its first readings did not know: watch there what only mature labels can say.

        Monitors go on with what they have learnt, but where a contract or a reference set speaks of mature labels. Returns notes.
        """
        if self.mature.get(rung, True):
            return []
        saved = {panel.bet.name: panel.to_state() for panel in self.panels[rung]}
        for panel in self.panels[rung]:
            panel.draw(self.budget, -1)
        self._load_rung(rung, True, saved)
        self.warm_up.keep(self.panels)
        return [] if self.shipped is None else self._ship(self.panels[rung], due_ms, name)

    def _load_rung(self, rung: int, mature: bool, saved: Mapping[str, Any]) -> None:
        """Make the panels of a rung, with the states of those of the same name."""
        self.mature[rung], self.panels[rung] = mature, self._build(rung, mature, tuple(saved))
        self._bind(self.panels[rung])
        for panel in self.panels[rung]:
            if panel.bet.name in saved:
                panel.load(saved[panel.bet.name], self.budget)

    def _counted(self, family: str, slot: int) -> tuple[Floats, float] | None:
        return None if self.shipped is None else self.shipped.find(family, self._name(self.segments[slot]))

    def calm(self, keys: list[Key]) -> None:
        """Let monitors past an alarm that nothing comes for take part again, their evidence at zero and their baseline as it was."""
        for key in keys:
            for panel in self.panels.get(key.rung, []):
                row = self.row(panel, key)
                if row in panel.active:
                    panel.fall_silent(row, self.budget)

    def relearn(self, keys: list[Key]) -> None:
        """Let monitors learn a new baseline from the next pane on: what they see now was accepted as normal."""
        for key in keys:
            for panel in self.panels.get(key.rung, []):
                row = self.row(panel, key)
                if row >= 0:
                    panel.forget(row, self.budget)
                    if panel.tracks[int(panel.monitors.track[row])].family.kind == "label_delay":
                        self.guards.pop(key.rung, None)  # the pace of labels is normal now, to the rung's other monitors too

    def reset(self) -> None:
        """Let every monitor learn a new baseline from the next pane on."""
        self.guards.clear()
        self.shipped = None
        self._bind(self._all())
        for panel in self._all():
            for row in range(panel.monitors.count):
                panel.forget(row, self.budget)

    def active(self) -> set[Key]:
        """Return the monitors that are past an alarm and have not cleared."""
        return {key for panel in self._all() for key in self._keys(panel, panel.active)}

    def outlived(self) -> set[Key]:
        """Return those of claims whose alarm silence has ended: what refutes the claim stands."""
        return {key for panel in self._all() for key in self._keys(panel, panel.outlived)}

    def _all(self) -> list[Panel]:
        return [panel for panels in self.panels.values() for panel in panels]

    def _keys(self, panel: Panel, rows: Iterable[int]) -> list[Key]:
        return [panel.key(row, self.segments[int(panel.monitors.slot[row])]) for row in rows]

    def row(self, panel: Panel, key: Key) -> int:
        """Return a monitor's row in a panel; -1: it is not there."""
        slot = self.segments.index(key.segment) if key.segment in self.segments else -1
        for i, track in enumerate(panel.tracks):
            if (track.family.name, track.direction) == key[:2] and 0 <= slot < panel.rows.shape[1]:
                return int(panel.rows[i, slot])
        return -1

    def _panels(self, reading: Reading) -> list[Panel]:
        if reading.rung not in self.panels:
            self.panels[reading.rung] = self._build(reading.rung, reading.mature)
            self.mature[reading.rung] = reading.mature
            self._bind(self.panels[reading.rung])
        return self.panels[reading.rung]

    def _bind(self, panels: Sequence[Panel]) -> None:
        for panel in panels:
            panel.shipped = None if self.shipped is None else self._counted

    def _build(self, rung: int, mature: bool, names: Sequence[str] = ()) -> list[Panel]:
        """Return the panels of a rung; ``names`` are those of the panels that were saved."""
        found = tracks_of(self.policy, rung=rung, mature=mature)
        return [Panel(bet, tracks, rung=rung, rule=self.rule, mature=mature) for bet, tracks in found]

    def _slots(self, reading: Reading, context: StepContext) -> Ints:
        """Return the slots of a reading's segments; -1: not watched. Who takes over a slot learns from here on."""
        made, matured = self.sizes(reading)
        self.groups.count(reading.segments, made=made, matured=matured)
        slots, changed = self.groups.place(reading.segments, reading.due_ms, name=context.name, kept=self._kept)
        for panel in self._all() if changed else ():
            for row in np.flatnonzero(np.isin(panel.monitors.slot[: panel.monitors.count], changed)).tolist():
                panel.forget(row, self.budget)
        return slots

    def sizes(self, reading: Reading) -> tuple[Ints | None, Ints | None]:
        """Return by segment the predictions that a reading is the first to see, and the labels that are mature in it; None: it is not."""
        made = reading.made[:, MADE.at["n"]] if reading.rung == 0 else None
        labels = [KNOWN.at[cell] for cell in CONFUSION]
        return made, reading.known[:, labels].sum(axis=1) if reading.mature else None

    def _kept(self) -> set[int]:
        """Return the slots of groups that have more than learnt: a baseline of their own, evidence that once came half-way, an alarm."""
        slots: set[int] = set()
        for panel in self._all():
            m = panel.monitors
            n = m.count
            more = ((m.state[:n] != LEARNING) & (m.base[:n, 3] > 0)) | (m.hot[:n] == 1) | (m.state[:n] == ACTIVE)
            slots |= set(m.slot[:n][more].tolist())
        return slots

    def _guard(self, reading: Reading) -> CoverageGuard | None:
        if reading.rung == 0 or reading.segments[0] != 0:
            return None
        guard = self.guards.setdefault(reading.rung, CoverageGuard(days=self.policy.baseline.days))
        known = reading.known[0]
        labelled = sum(int(known[KNOWN.at[name]]) for name in ("tp", "fp", "tn", "fn", "abstained"))
        guard.step(reading.start_ms, int(reading.made[0, MADE.at["n"]]), labelled)
        return guard

    def _river(self, panel: Panel, obs: Floats, reading: Reading, signals: list[Signal]) -> list[Crossing]:
        """Feed River's detectors with the aggregate; return whom those that page have called out."""
        if reading.segments[0] != 0:
            return []
        crossings, notes = self.warm_up.listen(panel, obs[:, 0], reading.due_ms)
        signals += map(self.remarks.keep, notes)
        return crossings

    def _armed(self, panel: Panel, row: int, fit: Fit, due_ms: int, *, first: bool) -> list[Signal]:
        key = panel.key(row, self.segments[int(panel.monitors.slot[row])])
        track = panel.tracks[int(panel.monitors.track[row])]
        figures = {"value": fit.value, "lo": fit.lo, "hi": fit.hi, "n": fit.n, "phi": float(panel.monitors.phi[row])}
        if not first:
            text = f"the baseline of the {track.family.noun} was estimated anew, from more data"
            return [Note(what=REFINED, key=key, due_ms=due_ms, text=text, figures=figures)]
        if key.segment == 0:
            self.remarks.drop(key)
            if not track.river:
                self.warm_up.drop(key.family, panel.rung)
        text = f"the baseline of the {track.family.noun} stands"
        notes: list[Signal] = [Note(what="armed", key=key, due_ms=due_ms, text=text, figures=figures)]
        if fit.remark and key.segment == 0:
            notes.append(self.remarks.keep(Note(what=MISCALIBRATED, key=key, due_ms=due_ms, text=fit.remark, figures=figures)))
        return notes

    def describe(self, panel: Panel, row: int, stake: int, null: Floats) -> str:
        """Say which alternative has won."""
        return panel.bet.describe(stake, null)

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and raw bytes, ready for msgpack; versioned."""
        return {
            "version": STATE_VERSION,
            "budget": self.budget.to_state(),
            "groups": self.groups.to_state(),
            "panels": [[rung, self.mature[rung], [[p.bet.name, p.to_state()] for p in panels]] for rung, panels in self.panels.items()],
            "guards": [[rung, guard.to_state()] for rung, guard in self.guards.items()],
            "warm_up": self.warm_up.to_state(),
            "remarks": self.remarks.to_state(),
            "shipped": None if self.shipped is None else self.shipped.to_state(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], *, policy: ModelPolicy) -> Self:
        """Take back what ``to_state`` gave; the policy may have changed meanwhile.

        Raises
        ------
        ValueError
            If the state is of another version.

        """
        expect_version(state, STATE_VERSION, "a bank's state")
        bank = cls(policy=policy)
        bank.load(state)
        return bank

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave, into a bank that has seen nothing."""
        self.budget.load(state["budget"])
        self.groups.load(state["groups"])
        for rung, mature, saved in state["panels"]:
            self._load_rung(rung, mature, dict(saved))
        for rung, guard in state["guards"]:
            self.guards[rung] = CoverageGuard(days=self.policy.baseline.days)
            self.guards[rung].load(guard)
        self.warm_up.load(state["warm_up"])
        self.warm_up.keep(self.panels)
        self.remarks.load(state["remarks"])
        self.shipped = None if state["shipped"] is None else Shipped.from_state(state["shipped"], self.policy.cost)
        self._bind(self._all())
