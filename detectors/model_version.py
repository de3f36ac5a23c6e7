"""One model version: its sums, the rungs that read them, the evidence, the incidents."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import numpy as np

from detectors.bank import Bank, StepContext
from detectors.cost_cells import with_timeouts
from detectors.findings import drift_event, unsaid_event
from detectors.fixed import Ints
from detectors.incident import COST
from detectors.incidents import Incidents
from detectors.ladder import DAY_MS, Ladder
from detectors.mature_sums import MatureSums
from detectors.pane_reader import Pane, Step, read_ahead
from detectors.panes import BEGINNING, END, WIDTHS_MS, floor_to
from detectors.reading import Reading
from detectors.reference import Shipped
from detectors.schedule import Schedule
from detectors.signals import REFINED, Alarm, Key, Moved, Note, Signal
from detectors.silence import close_silent
from detectors.spans import Spans
from detectors.standing import Learnt
from detectors.state_version import expect_version
from detectors.timeouts import all_binary, time_out
from detectors.unit_costs import PRICED, unit_cost
from detectors.version_sums import VersionSums
from schemas.findings import Event
from schemas.policy_models import ModelPolicy
from schemas.reference import Reference
from schemas.scored import Rows

STATE_VERSION = 8
MAX_NOTES = 1_000

Share = Callable[[int], float]  # due time -> part of the model's budget
Trace = Callable[["ModelVersion", Reading, list[Signal]], None]  # what a rung has read, and what the bank said to it


class _Ready(NamedTuple):
    until_ms: int
    panes: list[tuple[Step, Pane]]


class ModelVersion:
    """A pure fold: rows add to sums; the watermark steps the rungs in due order, and each step may say something.

    Parameters
    ----------
    model_id, name
        Which version of which model.
    policy
        Of the model. The ladder, and the matrix that the evidence on costs goes by, are frozen by the first one; the rest follows the
        policy in force.
    distinct_scores
        How many distinct scores the AUC counts exactly.

    """

    def __init__(self, model_id: str, name: str, policy: ModelPolicy, distinct_scores: int) -> None:
        self.model_id, self.name, self.policy = model_id, name, policy
        self.schedule = Schedule(Ladder(policy.ages_ms, policy.horizon_ms))
        self.horizon_ms, self.on_timeout = policy.horizon_ms, policy.on_timeout
        self.sums = VersionSums(distinct_scores, policy.cost, timeouts=policy.on_timeout == "negative" and policy.horizon_ms is not None)
        self.bank = Bank(policy=policy)
        self.incidents = Incidents(model_id, name)
        self.notes: list[Note] = []
        self.learnt = Learnt(model_id, name)
        self.said = 0  # events so far
        self.unsaid: list[Event] = []  # what a snooze kept from people on the latest way; never part of the state
        self.watermark_ms = BEGINNING
        self.spans = Spans()
        self.stepped = False  # since it was last asked: more than the passing of time has changed the state; never part of it
        self.trace: Trace | None = None  # told of every step; never part of the state
        self.mature_sums = MatureSums()
        self._ready: _Ready | None = None  # panes that were read ahead of ``advance``

    @property
    def ladder(self) -> Ladder:
        """The rungs."""
        return self.schedule.ladder

    def add(self, rows: Rows, where: Ints) -> None:
        """Add the picked rows, all of this version."""
        self.sums.add(rows, where, self.ladder)
        self.spans.add(rows, where)

    def use(self, policy: ModelPolicy) -> list[Event]:
        """Follow another policy from here on; incidents of families that it drops are closed."""
        if policy == self.policy:
            return []
        self.bank = Bank.from_state(self.bank.to_state(), policy=policy)
        self.policy = policy
        events = self.incidents.keep(self.bank.active(), max(self.watermark_ms, BEGINNING), self.segment_text)
        return [drift_event(self, event) for event in events]

    def ship(self, reference: Reference, at_ms: int) -> None:
        """Take the baselines of a reference set; those of costs only where they go by the matrix that the evidence goes by."""
        if self.policy.cost != self.sums.cost:
            families = [each for each in reference.families if each.family != COST]
            reference = msgspec.structs.replace(reference, families=families)
        self._note(self.bank.ship(Shipped(reference, self.policy.cost), at_ms, self.sums.segments.name))

    def _note(self, signals: list[Signal]) -> None:
        notes = [signal for signal in signals if isinstance(signal, Note)]
        if not notes:
            return
        self.notes = (self.notes + [note for note in notes if note.what != REFINED])[-MAX_NOTES:]
        self.learnt.add(notes, self.sums.segments.name, self.ladder.age_ms)

    def advance(self, watermark_ms: int, share: Share) -> list[Event]:
        """Read every pane that is due by the watermark, in due order; return what the incidents say."""
        events: list[Event] = []
        self.unsaid = []
        self.watermark_ms = max(watermark_ms, self.watermark_ms)
        if not len(self.sums.tables["made"].keys):
            return events
        while True:
            decision = self.ladder.next_decision()
            until = watermark_ms if decision is None else min(watermark_ms, decision[0])
            if not self._step_until(until, share, events):
                continue  # the first predictions are complete: what is due next may have changed
            if decision is not None and decision[0] <= watermark_ms:
                now_ms, end_ms = decision
                now_ms = max(now_ms, self.bank.budget.now)  # at the end of a short log a declared rung may have been read before
                self.ladder.decide(self.sums.labelled_share(end_ms, len(self.ladder.coverage) + 1), now_ms)
                events += self._ripen(now_ms)
                self.stepped = True
            elif watermark_ms == END and self.schedule.count_no_more():
                self.stepped = True
            else:
                break
        self.sums.merge(self.schedule.close(watermark_ms))
        return events

    def _ripen(self, now_ms: int) -> list[Event]:
        """Let the bank know which rung is the mature one, once that is decided; return the events of incidents that this closes."""
        if self.ladder.mature is None:
            return []
        self._note(self.bank.ripen(self.ladder.mature, now_ms, self.sums.segments.name))
        why = "its age is the mature one now, where what was promised is the baseline"
        return [drift_event(self, event) for event in self.incidents.keep(self.bank.active(), now_ms, self.segment_text, why)]

    def next_ms(self, watermark_ms: int) -> int:
        """Return before which time ``advance`` would only let time pass, now that the watermark is here, whatever is added."""
        if not len(self.sums.tables["made"].keys):
            return BEGINNING
        return self.schedule.next_ms(watermark_ms, silence=bool(self.incidents.open))

    def take_back_time(self, watermark_ms: int) -> None:
        """Let the time pass that had passed when the state was taken: where nothing was due meanwhile, that is all that has changed."""
        self.watermark_ms = max(watermark_ms, self.watermark_ms)
        if watermark_ms > BEGINNING and len(self.sums.tables["made"].keys):
            self.sums.merge(self.schedule.close(watermark_ms))
            self.spans.fold_up(watermark_ms)

    def due_first(self, watermark_ms: int) -> tuple[int, list[Step]]:
        """Return the time that ``advance`` would first step up to, and what it would step."""
        if not len(self.sums.tables["made"].keys):
            return watermark_ms, []
        decision = self.ladder.next_decision()
        until_ms = watermark_ms if decision is None else min(watermark_ms, decision[0])
        return until_ms, self.schedule.due(until_ms, self.sums.starts)

    def expect(self, until_ms: int, panes: list[tuple[Step, Pane]]) -> None:
        """Take the panes of all that is due by a time, read by somebody else; ``advance`` must be the next thing that happens."""
        self._ready = _Ready(until_ms, panes)

    def _step_until(self, until_ms: int, share: Share, events: list[Event]) -> bool:
        """Step what is due; return False where the first predictions became complete on the way."""
        ready, self._ready = self._ready, None
        if ready and ready.until_ms == until_ms:
            ahead: Iterable[tuple[Step, Pane]] = ready.panes
        else:
            ahead = read_ahead(self.schedule.due(until_ms, self.sums.starts), self.schedule.span, self.sums.read)
        for step, pane in ahead:
            self._close_silent(step.due_ms, events)
            reading = self._reading(step, pane)
            self.stepped = True
            self.schedule.read_to[step.rung] = reading.end_ms
            context = StepContext(share=share(step.due_ms), outcome_days=self._outcome_days(step.due_ms), name=self.sums.segments.name)
            signals = self.bank.step(reading, context)
            signals = [self._priced(signal, reading) for signal in signals]
            if self.trace is not None:
                self.trace(self, reading, signals)
            self._note(signals)
            if signals or self.incidents.open:
                events += [drift_event(self, event) for event in self.incidents.apply(signals, step.due_ms, self.segment_text)]
                self.unsaid += [unsaid_event(self, event) for event in self.incidents.unsaid]
            if self.schedule.count(reading):
                return False
        self._close_silent(until_ms, events)
        return True

    def _close_silent(self, until_ms: int, events: list[Event]) -> None:
        if not self.incidents.open:
            return
        closed = close_silent(self.bank, self.incidents, self, until_ms=until_ms, naming=self.segment_text)
        self.stepped = self.stepped or bool(closed)
        events += [drift_event(self, event) for event in closed]

    def _priced(self, signal: Signal, reading: Reading) -> Signal:
        """Say what a change of costs or of mistakes amounts to: events a day since the alarm, and what one more mistake costs."""
        if isinstance(signal, Moved):
            _, member = self.incidents.standing(signal.key)
            if member is None or signal.key.family not in (COST, *PRICED):
                return signal
            per_day = signal.current.n / max(reading.end_ms - member.alarm.end_ms, 1) * DAY_MS
            return replace(signal, per_day=per_day, unit_cost=self._unit_cost(signal.key, member.alarm.onset_ms, reading))
        return replace(signal, unit_cost=self._unit_cost(signal.key, signal.onset_ms, reading)) if isinstance(signal, Alarm) else signal

    def _unit_cost(self, key: Key, onset_ms: int, reading: Reading) -> float | None:
        """Return the cost of one more mistake, by those since an onset; from the start of its week on, however panes have merged."""
        if self.policy.cost is None or key.family not in PRICED:
            return None
        [pane] = self.sums.read([(floor_to(onset_ms, WIDTHS_MS[-1]), reading.end_ms)], reading.rung)
        known = time_out(pane.made, pane.known, pane.made_bins, pane.known_bins)[0] if self._times_out(reading.rung) else pane.known
        mine = np.flatnonzero(pane.segments == key.segment)
        return unit_cost(key.family, known[mine[0]], self.policy.cost) if len(mine) else None

    def _times_out(self, rung: int) -> bool:
        return self.on_timeout == "negative" and self.horizon_ms is not None and rung > 0 and self.ladder.age_ms(rung) >= self.horizon_ms

    def _outcome_days(self, due_ms: int) -> Callable[[int], float]:
        return lambda segment: self.sums.outcome_days(segment, due_ms)

    def lately(self, rung: int) -> Reading | None:
        """Return what a rung has seen of late, in one: of the last one to two weeks that it has read; None: it has read nothing."""
        span = self.schedule.lately(rung)
        if span is None or not len(self.sums.tables["made"].keys):
            return None
        return self._seen(rung, span, span[1] + self.ladder.age_ms(rung), self.sums.read([span], rung)[0])

    def _reading(self, step: Step, pane: Pane) -> Reading:
        seen = self._seen(step.rung, self.schedule.span(step), step.due_ms, pane)
        if seen.mature:
            since_ms = self.ladder.weeks_since_ms(self.schedule.first_ms)
            sums = seen.segments, seen.made, seen.known, seen.known_bins
            self.mature_sums.add(seen.start_ms, *sums, weeks_since_ms=since_ms, errors=seen.errors)
        return seen

    def _seen(self, rung: int, span: tuple[int, int], due_ms: int, pane: Pane) -> Reading:
        segments, made, known, made_bins, known_bins, costs, twins, errors = pane
        if self._times_out(rung):
            known, known_bins = time_out(made, known, made_bins, known_bins)
            costs = with_timeouts(costs, twins, all_binary(made)) if len(costs) else costs
        return Reading(
            rung=rung,
            age_ms=self.ladder.age_ms(rung),
            start_ms=span[0],
            end_ms=span[1],
            due_ms=due_ms,
            mature=rung > 0 and rung == self.ladder.mature,
            segments=segments,
            made=made,
            known=known,
            made_bins=made_bins,
            known_bins=known_bins,
            costs=costs,
            errors=errors,
        )

    def segment_text(self, segment: int) -> str:
        """Return a segment as text for people."""
        return ", ".join(f"{dimension} = {value}" for dimension, value in self.sums.segments.name(segment).items()) or "all"

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes, ready for msgpack; versioned. How far its time has come is kept by the watch."""
        return {
            "version": STATE_VERSION,
            "schedule": self.schedule.to_state(),
            "horizon_ms": self.horizon_ms,
            "on_timeout": self.on_timeout,
            "sums": self.sums.to_state(),
            "bank": self.bank.to_state(),
            "incidents": self.incidents.to_state(),
            "notes": [[n.what, list(n.key), n.due_ms, n.text, n.figures] for n in self.notes],
            "said": self.said,
            "spans": self.spans.to_state(),
            "mature": self.mature_sums.to_state(),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any], model_id: str, name: str, policy: ModelPolicy, distinct_scores: int) -> "ModelVersion":
        """Return the version that ``to_state`` wrote.

        Raises
        ------
        ValueError
            If the state is of another version.

        """
        expect_version(state, STATE_VERSION, "a state")
        version = cls(model_id, name, policy, distinct_scores)
        version.schedule = Schedule.from_state(state["schedule"])
        version.horizon_ms, version.on_timeout = state["horizon_ms"], state["on_timeout"]
        version.sums = VersionSums.from_state(state["sums"], distinct_scores)
        version.bank = Bank.from_state(state["bank"], policy=policy)
        version.incidents = Incidents.from_state(state["incidents"], model_id, name)
        version.notes = [Note(what=what, key=Key(*key), due_ms=due, text=text, figures=f) for what, key, due, text, f in state["notes"]]
        version.said = state["said"]
        version.spans = Spans.from_state(state["spans"])
        version.mature_sums = MatureSums.from_state(state["mature"])
        return version
