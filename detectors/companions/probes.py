"""Synthetic attacks and canaries: how many of each kind the model detects, by the amount at stake, apart from real traffic.

A probe is taken for an attack: it is detected if the model predicts it positive or alerts a person, as soon as the prediction is made. One
that turns out negative (a benign canary with a label of 0) is left out of the detection rate of the report and counted beside it. Where
labels are not 0 and 1, a probe is detected if the answer was right, and that takes its label.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from detectors.amount_bands import BANDS, NONE, band_of, ends, text
from detectors.baselines.wilson import wilson
from detectors.cells import Layout
from detectors.companions.checks import AGES_MS, ANY
from detectors.families import PROBE
from detectors.fixed import MONEY_UNIT
from detectors.incident_events import CLEARED
from detectors.ladder import DAY_MS
from detectors.named_rates import SHARE_BITS, NamedBank, named_track, standing
from detectors.panes import SEGMENT_BITS, SumTable
from detectors.rate_companion import RateCompanion
from detectors.rate_panes import series_of
from detectors.rate_watch import RateWatch
from detectors.reading import BEFORE
from detectors.statistics.clustered import Z_95
from schemas.drift import Interval
from schemas.policy_models import ModelPolicy, ProbePolicy
from schemas.report import ProbeBand, ProbeWatch
from schemas.scored import Kind

if TYPE_CHECKING:
    from collections.abc import Collection

    from detectors.fixed import Ints
    from detectors.incident_events import IncidentEvent
    from detectors.model_version import ModelVersion
    from detectors.tracks import Track
    from schemas.scored import Rows

DIMENSION = "amount"
STAKE_DAYS = 28  # before a change: what real traffic had at stake
_BAND_BITS = 5  # of the keys of totals (0 is the whole, then the bands) and of stakes (the bands)
PROBES = Layout(
    counts=("sent", "n", "detected", "benign", "benign_flagged"),
    sums={"amount": MONEY_UNIT, "missed": MONEY_UNIT},
)
STAKE = Layout(counts=(), sums={"stake": MONEY_UNIT})


def rule_of(policy: ModelPolicy, name: str) -> ProbePolicy:
    """Return what the policy says of a kind of probe.

    >>> rule_of(ModelPolicy(probes={"*": ProbePolicy(baseline=0.9)}), "card-testing").baseline
    0.9
    """
    return policy.probes.get(name, policy.probes.get(ANY, ProbePolicy()))


class ProbeBank(NamedBank):
    """The evidence on the detection of probes."""

    def track(self, name: str) -> Track | None:
        """Return how a kind of probe is watched."""
        rule = rule_of(self.policy, name.removeprefix(f"{PROBE}:"))
        return named_track(name, baseline=rule.baseline, tolerance=rule.tolerance) if rule.enabled else None


class VersionProbes(RateWatch):
    """The probes of one version: sums for the report, evidence, and what real traffic has at stake."""

    prefix = PROBE

    def __init__(self, model_id: str, name: str, policy: ModelPolicy, watermark_ms: int) -> None:
        super().__init__(model_id, name, policy, (0, *(policy.ages_ms or AGES_MS)), watermark_ms)
        for band in range(BANDS):
            self.segments.number(DIMENSION, text(band))  # band + 1
        self.totals = SumTable(PROBES)
        self.stakes = SumTable(STAKE)  # sum of score * amount of real traffic, by day and band

    def new_bank(self, policy: ModelPolicy) -> NamedBank:
        """Return the bank of a policy."""
        return ProbeBank(policy=policy)

    def declared(self) -> Collection[str]:
        """Return the names that the policy speaks of."""
        return self.policy.probes

    def add(self, rows: Rows, where: Ints) -> int:
        """Add rows of real traffic with an amount, and of probes; return when the first watched probe was sent."""
        if "probe" not in rows.columns:
            self._add_stakes(rows, where)
            return -BEFORE
        probe = rows.column("probe")[where] != 0
        self._add_stakes(rows, where[~probe])
        return self._add_probes(rows, where[probe]) if probe.any() else -BEFORE

    def _add_stakes(self, rows: Rows, where: Ints) -> None:
        score = rows.column("score")[where]
        if not np.isfinite(score).all():
            scored = np.isfinite(score)
            where, score = where[scored], score[scored]
        amount, sign = (rows.column(name)[where].astype(np.int64) for name in ("amount", "sign"))
        sums = STAKE.zeros(len(where))
        sums[:, 1] = np.rint(score * amount).astype(np.int64) * sign
        day = rows.column("predicted_at")[where] // DAY_MS
        self.stakes.add(day << _BAND_BITS | band_of(amount), sums)

    def _add_probes(self, rows: Rows, where: Ints) -> int:
        def column(name: str) -> Ints:
            return np.asarray(rows.column(name)[where].astype(np.int64))

        number = self.numbers(rows.texts, column("probe"))
        sign, made, known, amount = column("sign"), column("predicted_at"), column("known_at"), column("amount")
        sent, binary = column("kind") == Kind.PREDICTION, column("binary") != 0
        flagged = ((column("predicted") != 0) & (column("abstained") == 0)) | (column("alerted") != 0)
        right = (column("label") != 0) & (column("abstained") == 0)
        counted = np.where(binary, sent, ~sent)  # where the detection of the probe becomes known
        detected = np.where(binary, flagged, right)
        benign = ~sent & binary & (column("label") == 0)
        net = sign * (counted.astype(np.int64) - benign)
        sums = PROBES.zeros(len(where))
        for i, value in enumerate((sign * sent, net, net * detected, sign * benign, sign * (benign & flagged))):
            sums[:, i] = value
        sums[:, PROBES.at["amount"] + 1] = net * amount
        sums[:, PROBES.at["missed"] + 1] = net * ~detected.astype(bool) * amount
        band = band_of(amount)
        banded = np.flatnonzero(band != NONE)
        self.totals.add(number << _BAND_BITS, sums)
        self.totals.add(number[banded] << _BAND_BITS | band[banded] + 1, sums[banded])
        weighed = np.array([rule_of(self.policy, name).enabled for name in self.names])[number] & counted
        events = np.stack([sign, sign * ~detected.astype(bool) << SHARE_BITS], axis=1)
        known = np.where(sent, made, known)
        for of_side, at_once in ((sent, True), (~sent, False)):
            for kept, series in ((weighed, series_of(number, 0)), (weighed & (band != NONE), series_of(number, band + 1))):
                chosen = kept & of_side
                self.add_events(series[chosen], made[chosen], known[chosen], events[chosen], at_once=at_once)
        return int(known[weighed].min()) if weighed.any() else -BEFORE

    def signs_of_life(self) -> Ints:
        """Return the days on which events became known: they go on where there is no real traffic."""
        return np.unique(self.days.keys[self.days.rows[:, 0] != 0] >> SEGMENT_BITS)

    def at_stake(self, band: int, onset_ms: int, due_ms: int) -> float | None:
        """Return what real traffic had at stake a day in a band (-1: in all), by its scores; None: nothing is known.

        Over the four weeks before a change, or since then if there is nothing before; whole days.
        """
        onset, due = onset_ms // DAY_MS, due_ms // DAY_MS
        for first, last in ((onset - STAKE_DAYS, onset), (onset, due)):
            within = self.stakes.span(first << _BAND_BITS, last << _BAND_BITS)
            keys, rows = self.stakes.keys[within], self.stakes.rows[within]
            if len(keys):
                days = last - int(keys[0] >> _BAND_BITS)
                mine = (keys & ((1 << _BAND_BITS) - 1) == band) | (band == NONE)
                return float(STAKE.total(rows[mine], "stake").sum()) / days
        return None

    def worded(self, event: IncidentEvent) -> IncidentEvent:
        """Say what is at risk: the share of what real traffic has at stake that is detected no longer."""
        stake = self.at_stake(event.segment - 1, event.onset_ms, event.time_ms)
        if not stake or event.event == CLEARED:
            return event
        money = max(event.baseline.value - event.current.value, 0.0) * stake
        risk = f"If real attacks fare as the probes do, about {money:,.0f} a day is at risk."
        return replace(event, impact=money, message=f"{event.message} {risk}")

    def watches(self) -> list[ProbeWatch]:
        """Return what stands of each kind of probe, in the order of their names."""
        found = []
        for code, name in sorted(enumerate(self.names), key=lambda pair: pair[1]):
            within = self.totals.span(code << _BAND_BITS, (code + 1) << _BAND_BITS)
            rows = {
                int(key) & ((1 << _BAND_BITS) - 1): row for key, row in zip(self.totals.keys[within], self.totals.rows[within], strict=True)
            }
            whole = rows.get(0)
            if whole is None or not whole[PROBES.at["sent"]]:
                continue
            state, baseline = standing(self.bank, f"{PROBE}:{name}")
            shown = None if baseline is None else Interval(value=baseline.value, lo=baseline.lo, hi=baseline.hi, n=round(baseline.n))
            found.append(
                ProbeWatch(
                    name=name,
                    sent=int(whole[PROBES.at["sent"]]),
                    figures=_figures(whole, None),
                    bands=[_figures(row, key - 1) for key, row in sorted(rows.items()) if key and row[PROBES.at["n"]]],
                    benign=int(whole[PROBES.at["benign"]]),
                    benign_flagged=int(whole[PROBES.at["benign_flagged"]]),
                    state=state if rule_of(self.policy, name).enabled else "off",
                    baseline=shown,
                )
            )
        return found

    def to_state(self) -> dict[str, Any]:
        """Return the state as plain values and bytes."""
        return super().to_state() | {"totals": self.totals.to_state(), "stakes": self.stakes.to_state()}

    def load(self, state: dict[str, Any]) -> None:
        """Take back what ``to_state`` gave."""
        super().load(state)
        self.totals = SumTable.from_state(PROBES, state["totals"])
        self.stakes = SumTable.from_state(STAKE, state["stakes"])


class Probes(RateCompanion):
    """Probes of all versions of a model."""

    name = "probes"
    versions: dict[str, VersionProbes]

    def new(self, name: str) -> VersionProbes:
        """Return the probes of a version that has had none."""
        return VersionProbes(self.model_id, name, self.policy, self.watermark_ms)

    def may_pick(self, rows: Rows) -> bool:
        """Say, by the columns alone, whether it may be about rows of a message."""
        return "probe" in rows.columns or "amount" in rows.columns

    def picked(self, rows: Rows, where: Ints) -> Ints:
        """Return the predictions and labels of probes, and the predictions of real traffic that have an amount."""
        if not self.may_pick(rows):
            return where[:0]
        kind = rows.column("kind")[where]
        made = kind == Kind.PREDICTION
        kept = made & (rows.column("amount")[where] != 0) & (rows.column("abstained")[where] == 0)
        if "probe" in rows.columns:
            kept = np.where(rows.column("probe")[where] == 0, kept, made | (kind == Kind.LABEL))
        return np.asarray(where[kept])

    def report(self, version: ModelVersion) -> list[ProbeWatch] | None:
        """Return the probes of a version."""
        mine = self.versions.get(version.name)
        return None if mine is None else mine.watches()


def _figures(row: Ints, band: int | None) -> ProbeBand:
    n, detected = int(row[PROBES.at["n"]]), int(row[PROBES.at["detected"]])
    rate, lo, hi = (detected / n, *wilson(n, detected, Z_95)) if n > 0 and 0 <= detected <= n else (None, None, None)
    low, high = (None, None) if band is None else ends(band)
    return ProbeBand(
        amount_from=low,
        amount_to=high,
        n=max(n, 0),
        detected=max(detected, 0),
        rate=rate,
        lo=lo,
        hi=hi,
        amount=float(PROBES.total(row, "amount")),
        missed_amount=float(PROBES.total(row, "missed")),
    )


COMPANION = Probes
