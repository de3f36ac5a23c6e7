"""Verification by name: citation accuracy, jurisdiction, adequacy. A rate for each, per segment; some of which no failure is tolerated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from detectors.families import CHECK
from detectors.named_rates import SHARE_BITS, NamedBank, named_track, standing
from detectors.panes import BEGINNING, SumTable
from detectors.rate_companion import RateCompanion
from detectors.rate_panes import series_of
from detectors.rate_watch import RateWatch
from detectors.reading import BEFORE
from detectors.statistics.clustered import CHECKS, check_sums, pass_rate
from detectors.zero_tolerance import ZeroTolerance
from schemas.drift import Interval
from schemas.figures import CheckFigures
from schemas.policy_models import CheckPolicy, ModelPolicy
from schemas.report import CheckWatch
from schemas.scored import Kind

if TYPE_CHECKING:
    from collections.abc import Collection

    from detectors.fixed import Ints
    from detectors.incident import Listed
    from detectors.incident_events import IncidentEvent
    from detectors.model_version import ModelVersion
    from detectors.signals import Key
    from detectors.tracks import Track
    from schemas.control import Control
    from schemas.findings import Event
    from schemas.scored import Rows

AGES_MS = (4_500_000, 93_600_000, 691_200_000, 2_764_800_000)  # 75 min, 26 h, 8 d, 32 d: where the policy declares none
ANY = "*"


def rule_of(policy: ModelPolicy, name: str) -> CheckPolicy:
    """Return what the policy says of a check.

    >>> policy = ModelPolicy(checks={"*": CheckPolicy(baseline=0.9), "fonts": CheckPolicy(enabled=False)})
    >>> rule_of(policy, "citation").baseline, rule_of(policy, "fonts").enabled
    (0.9, False)
    """
    return policy.checks.get(name, policy.checks.get(ANY, CheckPolicy()))


class CheckBank(NamedBank):
    """The evidence on checks of which some failures are tolerated."""

    def track(self, name: str) -> Track | None:
        """Return how a check is watched."""
        rule = rule_of(self.policy, name.removeprefix(f"{CHECK}:"))
        if not rule.enabled or rule.zero_tolerance:
            return None
        return named_track(name, baseline=rule.baseline, tolerance=rule.tolerance)


class VersionChecks(RateWatch):
    """The checks of one version: sums for the report, evidence at fixed ages, and those of zero tolerance."""

    prefix = CHECK

    def __init__(self, model_id: str, name: str, policy: ModelPolicy, watermark_ms: int) -> None:
        super().__init__(model_id, name, policy, policy.ages_ms or AGES_MS, watermark_ms)
        self.totals = SumTable(CHECKS)
        self.zero = ZeroTolerance(model_id, name)

    def new_bank(self, policy: ModelPolicy) -> NamedBank:
        """Return the bank of a policy."""
        return CheckBank(policy=policy)

    def declared(self) -> Collection[str]:
        """Return the names that the policy speaks of."""
        return self.policy.checks

    def add(self, rows: Rows, where: Ints) -> int:
        """Add CHECK rows of real traffic; return when the first one of a watched check became known."""
        number = self.numbers(rows.texts, rows.column("action")[where])
        sign, made, known = (rows.column(name)[where].astype(np.int64) for name in ("sign", "predicted_at", "known_at"))
        passed, total = (rows.column(name)[where].astype(np.int64) for name in ("passed", "total"))
        sums = check_sums(passed, total, sign)
        crowds = self.segments.crowds(rows, where)
        _, position, segment = crowds.spread(crowds.of)
        series = series_of(number[position], segment)
        self.totals.add(series, sums[position])
        rules = [rule_of(self.policy, name) for name in self.names]
        share = (((total - passed) << SHARE_BITS) + total // 2) // np.maximum(total, 1)
        events = np.stack([sums[:, 0], sign * share], axis=1)
        weighed = np.array([rule.enabled and not rule.zero_tolerance for rule in rules])[number] & (total > 0)
        kept = weighed[position]
        self.add_events(series[kept], made[position[kept]], known[position[kept]], events[position[kept]])
        strict = np.array([rule.enabled and rule.zero_tolerance for rule in rules])[number] & (total > 0)
        if strict.any():
            self.zero.add(known[strict], made[strict], number[strict], sums[strict, 0], sums[strict, 1])
        return int(known[weighed].min()) if weighed.any() else -BEFORE

    def _strict(self) -> dict[int, CheckPolicy]:
        rules = {number: rule_of(self.policy, name) for number, name in enumerate(self.names)}
        return {number: rule for number, rule in rules.items() if rule.enabled and rule.zero_tolerance}

    def beside(self, watermark_ms: int) -> list[IncidentEvent]:
        """Return what became known of checks of zero tolerance."""
        self.stepped = self.stepped or self.zero.is_due(watermark_ms)
        return self.zero.advance(watermark_ms, self.names, self._strict(), self.segment_text)

    def next_ms(self, watermark_ms: int) -> int:
        """Return before which time nothing will be due, whatever is added; of what no failure is tolerated of, anything may be."""
        return BEGINNING if self._strict() or len(self.zero.pending) else super().next_ms(watermark_ms)

    def passed(self, watermark_ms: int) -> None:
        """Close what the watermark has passed."""
        super().passed(watermark_ms)
        self.zero.watermark_ms = max(self.zero.watermark_ms, watermark_ms)

    def worded(self, event: IncidentEvent) -> IncidentEvent:
        """Let those of zero tolerance speak of failures, not of a rate."""
        return self.zero.worded(event) if _at_once(event.members) else event

    def decide(self, control: Control) -> list[Event]:
        """Apply what people decided."""
        return super().decide(control) + self.told(self.zero.decide(control, self.segment_text), None)

    def listed(self) -> list[Listed]:
        """Return its open incidents, those of zero tolerance included: these have no baseline to learn."""
        return super().listed() + [each._replace(monitors=0) for each in self.zero.incidents.listed()]

    def withheld(self) -> int:
        """Return how many events a snooze has kept back, those of zero tolerance included."""
        return super().withheld() + self.zero.incidents.withheld

    def use(self, policy: ModelPolicy, due_ms: int) -> list[Event]:
        """Follow another policy from here on."""
        events = super().use(policy, due_ms)
        return events + self.told(self.zero.keep(self._strict(), due_ms, self.segment_text), None)

    def figures(self, segment: dict[str, str]) -> dict[str, CheckFigures]:
        """Return the figures of each check in a segment, by name."""
        number = self.segments.find(segment)
        if number is None:
            return {}
        found = {}
        for code, name in enumerate(self.names):
            row = self._row(series_of(code, number))
            if row[CHECKS.at["total"]] > 0:
                found[name] = _figures(row)
        return dict(sorted(found.items()))

    def watches(self) -> list[CheckWatch]:
        """Return what stands of each check, in the order of their names."""
        found = []
        for code, name in sorted(enumerate(self.names), key=lambda pair: pair[1]):
            row = self._row(series_of(code, 0))
            if row[CHECKS.at["total"]] <= 0:
                continue
            rule = rule_of(self.policy, name)
            state, baseline = standing(self.bank, f"{CHECK}:{name}")
            if not rule.enabled:
                state = "off"
            elif rule.zero_tolerance:
                record = self.zero.records.get(code)
                state = "alarm" if record is not None and record.opened else "watching"
            shown = None if baseline is None else Interval(value=baseline.value, lo=baseline.lo, hi=baseline.hi, n=round(baseline.n))
            found.append(CheckWatch(name=name, figures=_figures(row), state=state, baseline=shown, zero_tolerance=rule.zero_tolerance))
        return found

    def _row(self, key: int) -> Ints:
        within = self.totals.span(key, key + 1)
        return np.asarray(self.totals.rows[within.start] if within.stop > within.start else CHECKS.zeros(1)[0])

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes."""
        return super().to_state() | {"totals": self.totals.to_state(), "zero": self.zero.to_state()}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        super().load(state)
        self.totals = SumTable.from_state(CHECKS, state["totals"])
        self.zero.load(state["zero"])


class Checks(RateCompanion):
    """Checks of all versions of a model."""

    name = "checks"
    versions: dict[str, VersionChecks]

    def new(self, name: str) -> VersionChecks:
        """Return the checks of a version that has had none."""
        return VersionChecks(self.model_id, name, self.policy, self.watermark_ms)

    def may_pick(self, rows: Rows) -> bool:
        """Say, by the columns alone, whether it may be about rows of a message."""
        return "total" in rows.columns

    def picked(self, rows: Rows, where: Ints) -> Ints:
        """Return the CHECK rows of real traffic."""
        return np.asarray(where[(rows.column("kind")[where] == Kind.CHECK) & (rows.column("probe")[where] == 0)])

    def figures(self, version: ModelVersion, segment: dict[str, str]) -> dict[str, Any]:
        """Return what a segment's figures are to say of it."""
        mine = self.versions.get(version.name)
        found = {} if mine is None else mine.figures(segment)
        return {"checks": found} if found else {}

    def report(self, version: ModelVersion) -> list[CheckWatch] | None:
        """Return the checks of a version."""
        mine = self.versions.get(version.name)
        return None if mine is None else mine.watches()


def _at_once(members: tuple[Key, ...]) -> bool:
    return any(key.rung < 0 for key in members)


def _figures(row: Ints) -> CheckFigures:
    rate, lo, hi = pass_rate(row)
    n = {name: int(row[CHECKS.at[name]]) for name in ("passed", "total", "documents", "documents_failed")}
    return CheckFigures(**n, rate=rate, lo=lo, hi=hi)


COMPANION = Checks
