"""The report of alert fatigue: figures of each unit and of all of them, from the ledger's sums."""

import numpy as np

from detectors.baselines.wilson import wilson
from detectors.cells import Layout
from detectors.fatigue.durations import quantile
from detectors.fatigue.kinds.chatter import Chatter
from detectors.fatigue.kinds.flood import Flood
from detectors.fatigue.kinds.override import not_acted
from detectors.fatigue.ledger import DISPOSED, KNOWN, LATE, LAYOUTS, WEEK_MS, WEEKS, Ledger, parts_of
from detectors.fatigue.moments import MOMENTS, difference
from detectors.fatigue.units import ALL
from detectors.fixed import MONEY_UNIT, Ints
from detectors.ladder import DAY_MS, HOUR_MS
from detectors.panes import floor_to
from schemas.drift import Interval
from schemas.fatigue import AlertFigures, FatigueFigures
from schemas.policy_models import ModelPolicy

YEAR_MS = 365.25 * DAY_MS
_Z_95 = 1.959964
_FEWEST = 5  # responses that a week's median rests on
_FEWEST_WEEKS = 3


def fatigue_figures(
    ledger: Ledger, policy: ModelPolicy, flood: Flood, chatter: Chatter, *, now_ms: int, watermark_ms: int
) -> FatigueFigures | None:
    """Return the figures as of an event time; None where no unit, alert key or disposition ever came.

    The watermark is that time, or the end of time after the end of a log: labels that have not come then never will.

    >>> from schemas.policy_models import ModelPolicy
    >>> policy = ModelPolicy()
    >>> ledger = Ledger(policy)
    >>> fatigue_figures(ledger, policy, Flood(ledger, policy), Chatter(ledger, policy), now_ms=0, watermark_ms=0) is None
    True
    """
    told = _Told(ledger, policy, flood, chatter, (now_ms, watermark_ms))
    seen = told.alerts > 0
    if not (seen[ledger.units.named()].any() or told.shares or told.done.any()):
        return None
    units = [told.figures(unit) for unit in ledger.units.by_name() if seen[unit]]
    return FatigueFigures(overall=told.figures(ALL), units=units, late=max(ledger.recent.late, 0))


class _Told:
    """Sums by unit, row 0 that of all."""

    def __init__(self, ledger: Ledger, policy: ModelPolicy, flood: Flood, chatter: Chatter, times: tuple[int, int]) -> None:
        self.ledger, self.policy, self.flood, self.chatter = ledger, policy, flood, chatter
        self.now_ms, self.watermark_ms = times
        self.span_ms = ledger.span_ms()
        self.alerts = self._sum("made")[:, 0]
        self.done = self._sum("disposed")
        known = self._sum("known")
        self.right = KNOWN.count(known, "right")
        self.labelled = KNOWN.count(known, "labelled") + self._timed_out()
        self.stale = self._stale()
        self.shares = ledger.keys.shares()
        self.named = [unit for unit in ledger.units.named().tolist() if self.alerts[unit] > 0]

    def _sum(self, name: str, chosen: Ints | None = None) -> Ints:
        table = self.ledger.tables[name]
        keys, rows = (table.keys, table.rows) if chosen is None else (table.keys[chosen], table.rows[chosen])
        return self._dense(parts_of(keys)[1], rows, LAYOUTS[name])

    def _dense(self, unit: Ints, rows: Ints, layout: Layout) -> Ints:
        out = layout.zeros(len(self.ledger.units))
        np.add.at(out, unit, rows)
        out[ALL] = out.sum(axis=0)
        return np.asarray(out)

    def _older(self, name: str, age_ms: int, now_ms: int) -> Ints:
        """Return which sums are of hours that have all reached an age."""
        start, _, _ = parts_of(self.ledger.tables[name].keys)
        merged = self.ledger.merged_ms
        old = merged - WEEKS * WEEK_MS
        end = np.where(start < old, old, start + np.where(start < merged, WEEK_MS, HOUR_MS))
        return np.flatnonzero(end + age_ms <= now_ms)

    def _timed_out(self) -> Ints:
        """Return the alerts past the horizon without a label, where that means negative."""
        horizon = self.policy.horizon_ms
        if self.policy.on_timeout != "negative" or horizon is None:
            return np.zeros(len(self.alerts), dtype=np.int64)
        made, known = (self._sum(name, self._older(name, horizon, self.watermark_ms)) for name in ("made", "known"))
        return np.asarray(np.maximum(made[:, 0] - KNOWN.count(known, "labelled"), 0))

    def _stale(self) -> Ints:
        """Return the alerts that were not dealt with in time, where any ever were."""
        if not self.done[ALL, 0]:
            return np.zeros(len(self.alerts), dtype=np.int64)
        made, done = (self._older(name, self.ledger.stale_ms, self.now_ms) for name in ("made", "disposed"))
        early = self.ledger.tables["disposed"].keys[done] & LATE == 0
        return np.asarray(np.maximum(self._sum("made", made)[:, 0] - self._sum("disposed", done[early])[:, 0], 0))

    def figures(self, unit: int) -> AlertFigures:
        """Return one unit's figures."""
        alerts, labelled, right = int(self.alerts[unit]), int(self.labelled[unit]), int(self.right[unit])
        false, hours, weeks = labelled - right, self.span_ms / HOUR_MS, self.span_ms / WEEK_MS
        people = self.policy.fatigue.people * (max(len(self.named), 1) if unit == ALL else 1)
        done = self.done[unit]
        named, reviewed = int(DISPOSED.count(done, "named")), int(DISPOSED.count(done, "reviewed"))
        review_ms, limit = int(DISPOSED.count(done, "review_ms")), self.policy.fatigue.review_ms
        week_cells = self._responses(unit)
        over = self.named if unit == ALL else [unit] if self.ledger.units.names[unit] else []
        flooded = sum(self.flood.flooded_ms(each, self.now_ms) for each in over)
        counted = [unit] if unit != ALL else list(range(1, len(self.ledger.units)))
        return AlertFigures(
            unit=self.ledger.units.names[unit],
            alerts=alerts,
            alerts_per_hour=alerts / hours / people if hours else None,
            labelled=labelled,
            false_alerts=false,
            false_alerts_per_year=false * YEAR_MS / self.span_ms if hours and labelled else None,
            ppv=_share(right, labelled),
            nne=labelled / right if right else None,
            dispositions=int(DISPOSED.count(done, "disposed")),
            override_rate=int(not_acted(done)) / named if named else None,
            dismiss_rate=int(DISPOSED.count(done, "dismissed")) / named if named else None,
            ignore_rate=int(DISPOSED.count(done, "ignored")) / named if named else None,
            response_median_s=quantile(*week_cells[1:], 0.5),
            response_p90_s=quantile(*week_cells[1:], 0.9),
            response_trend=self._trend(*week_cells),
            mean_review_s=review_ms / reviewed / 1000 if reviewed else None,
            review_hours_per_week=review_ms / HOUR_MS / weeks if reviewed and weeks else None,
            review_delta_hours_per_week=(
                (review_ms - reviewed * limit) / HOUR_MS / weeks if reviewed and weeks and limit is not None else None
            ),
            top10_share=self.shares.get(unit),
            floods=sum(self.flood.count.get(each, 0) + (each in self.flood.open) for each in over),
            flood_share=min(flooded / self.span_ms / len(over), 1.0) if over and self.span_ms else None,
            chatter=sum(self.chatter.count.get(each, 0) for each in counted),
            stale=int(self.stale[unit]),
            value_difference=self._difference(unit),
        )

    def _responses(self, unit: int) -> tuple[Ints, Ints, Ints]:
        """Return week, cell and count of a unit's responses."""
        table = self.ledger.tables["responses"]
        start, by, cell = parts_of(table.keys)
        mine = (by == unit) | (unit == ALL)
        return floor_to(start[mine], WEEK_MS), cell[mine] & (LATE - 1), table.rows[mine, 0]

    def _trend(self, week: Ints, cell: Ints, count: Ints) -> float | None:
        """Return by which share the weekly median changes in a week: least squares on its logarithm, weeks weighted by responses."""
        first = floor_to(self.now_ms, WEEK_MS) - WEEKS * WEEK_MS
        points = []
        for each in np.unique(week).tolist():
            mine = week == each
            n, median = int(count[mine].sum()), quantile(cell[mine], count[mine], 0.5)
            if each >= first and each + WEEK_MS + self.ledger.stale_ms <= self.now_ms and n >= _FEWEST and median:
                points.append((each / WEEK_MS, np.log(median), n))
        if len(points) < _FEWEST_WEEKS:
            return None
        at, log, weight = np.array(points).T
        at = at - np.average(at, weights=weight)
        return float(np.expm1((weight * at * log).sum() / (weight * at * at).sum()))

    def _difference(self, unit: int) -> Interval:
        keys, rows = self.ledger.values.keys, self.ledger.values.rows
        mine = (keys >> 1 == unit) | (unit == ALL)
        acted, other = (rows[mine & (keys & 1 == side)].sum(axis=0, initial=0) for side in (1, 0))
        found = difference(acted, other) if len(rows) else None
        if found is None:
            return Interval(n=int(rows[mine, MOMENTS.at["n"]].sum()) if len(rows) else 0)
        value, lo, hi, _ = found
        return Interval(value=value * MONEY_UNIT, lo=lo * MONEY_UNIT, hi=hi * MONEY_UNIT, n=int(acted[0] + other[0]))


def _share(x: int, n: int) -> Interval:
    if n <= 0 or not 0 <= x <= n:
        return Interval()
    lo, hi = wilson(n, x, _Z_95)
    return Interval(value=x / n, lo=lo, hi=hi, n=n)
