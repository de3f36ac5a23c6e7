"""From evidence that suffices to an alarm: what is said of it, and whether it is large enough to page."""

from collections.abc import Callable, Sequence

import numpy as np

from detectors.active import Active
from detectors.baselines.attribution import e_bh
from detectors.baselines.coverage import CoverageGuard
from detectors.bets import Fit
from detectors.budget import DAY_MS, Budget
from detectors.fixed import Floats
from detectors.kernel import mix
from detectors.monitors import ARMED
from detectors.panel import Crossing, Panel
from detectors.reading import Reading
from detectors.signals import Alarm, Estimate, Signal
from detectors.tracks import BANK

Describe = Callable[[Panel, int, int, Floats], str]  # panel, row, stake, null -> which alternative has won, in words


def raise_alarms(
    panel: Panel,
    crossings: Sequence[Crossing],
    reading: Reading,
    *,
    guard: CoverageGuard | None,
    segments: Sequence[int],
    budget: Budget,
    describe: Describe,
) -> list[Signal]:
    """Return the alarms of monitors whose evidence suffices and whose change is large enough to page; they are past their alarm then.

    ``segments`` gives the segment of each slot. All are made before the first is raised, so that they do not hang on each other's order.
    """
    alarms: list[tuple[Crossing, Alarm, Fit]] = []
    for crossing in crossings:
        found = _alarm(panel, crossing, reading, guard=guard, segments=segments, describe=describe)
        if found is not None:
            alarms.append((crossing, *found))
    for crossing, alarm, fit in alarms:
        track = panel.tracks[int(panel.monitors.track[crossing.row])]
        active = Active.after(
            alarm.key,
            panel.bet,
            fit,
            phi=float(panel.monitors.phi[crossing.row]),
            stake=crossing.stake,
            current=alarm.current,
            baseline=alarm.baseline,
            tolerance=track.tolerance,
            seen=panel.monitors.recent[crossing.row].copy() if panel.bet.shaped else None,
        )
        panel.raise_alarm(crossing.row, active, budget)
    return [alarm for _, alarm, _ in alarms]


def _alarm(
    panel: Panel,
    crossing: Crossing,
    reading: Reading,
    *,
    guard: CoverageGuard | None,
    segments: Sequence[int],
    describe: Describe,
) -> tuple[Alarm, Fit] | None:
    m, row, bet = panel.monitors, crossing.row, panel.bet
    track = panel.tracks[int(m.track[row])]
    sums = m.since[row, crossing.stake]
    n, x, expected = sums[:3].tolist()
    if n <= 0:
        return None
    mean, base = x / n, expected / n
    if not bet.gate(n, bet.effect(mean, base, track.direction), track.tolerance):
        return None
    value, lo, hi, size = m.base[row].tolist()
    fit = Fit(null=m.null[row].copy(), value=value, lo=lo, hi=hi, n=size)
    phi = float(m.phi[row])
    onset_ms = int(m.onset[row, crossing.stake])
    delayed = track.family.kind != "label_delay" and guard is not None and not reading.mature and guard.shifted(onset_ms)
    alarm = Alarm(
        key=panel.key(row, segments[int(m.slot[row])]),
        kind="label_delay" if delayed else track.family.kind,
        direction=bet.direction(track.direction, crossing.stake),
        how=describe(panel, row, crossing.stake, fit.null),
        needs_labels=track.family.needs_labels,
        age_ms=reading.age_ms,
        mature=reading.mature,
        due_ms=reading.due_ms,
        onset_ms=onset_ms,
        end_ms=reading.end_ms,
        baseline=Estimate(base, *bet.interval(fit, base, track.tolerance), size),
        current=Estimate(mean, *bet.spread(sums, phi, panel.tables[row]), n),
        log_evidence=crossing.log_evidence,
        detector=BANK if m.slot[row] else track.paged_by,
        unconfirmed=delayed,
        why="labels come at another pace than in the baseline; only the last rung can tell" if delayed else "",
        affected=_affected(panel, row, segments),
        per_day=n / (reading.end_ms - onset_ms) * DAY_MS,
        rates=bet.rates(sums),
    )
    return alarm, fit


def _affected(panel: Panel, row: int, segments: Sequence[int]) -> tuple[int, ...]:
    """Return the groups of the same family and direction that have evidence now, the alarming one included."""
    m = panel.monitors
    rows = np.flatnonzero((m.track[: m.count] == m.track[row]) & (m.slot[: m.count] > 0) & (m.state[: m.count] == ARMED))
    rows = rows[m.paid[rows] > 0]
    slots = set(m.slot[rows[e_bh(mix(m.log_r[rows]) - np.log(m.paid[rows]))]].tolist()) if len(rows) else set()
    if m.slot[row]:
        slots.add(int(m.slot[row]))
    return tuple(sorted(segments[slot] for slot in slots))
