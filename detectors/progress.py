"""How far a version's monitors have come: what is learnt, when it will be enough, and what change a day's events would show."""

import math
from collections.abc import Iterator

import numpy as np

from detectors.baselines.wilson import Z_90
from detectors.bets import UP
from detectors.bets.rates import RateBet
from detectors.budget import SHARES
from detectors.fixed import Floats
from detectors.incident_events import day
from detectors.ladder import DAY_MS
from detectors.model_version import ModelVersion
from detectors.monitors import ACTIVE, ARMED, LEARNING
from detectors.panel import Panel
from detectors.reading import BEFORE, Reading
from detectors.remarks import WARM_UP, WATCH
from detectors.signals import Note
from schemas.drift import Interval
from schemas.fields import LAST_MS, rfc3339
from schemas.report import MonitorState

STATES = {LEARNING: "learning", ARMED: "watching", ACTIVE: "alarm"}
_MOST_TIMES = 4_096  # how many times what is there may be too little, for a date to be told
_STEPS = 60


def monitor_states(version: ModelVersion, share: float) -> list[MonitorState]:
    """Return what each quantity of all predictions is at, by age and name; ``share`` is the version's part of the model's budget."""
    found = []
    for rung, panels in sorted(version.bank.panels.items()):
        lately = version.lately(rung)
        for panel in panels:
            found += list(_of_panel(version, panel, lately, share))
    return sorted(found, key=lambda each: (each.age_s, each.metric))


def _of_panel(version: ModelVersion, panel: Panel, lately: Reading | None, share: float) -> Iterator[MonitorState]:
    seen = lately is not None and len(lately.segments) > 0 and lately.segments[0] == 0
    obs = panel.bet.observe(lately, panel._families) if lately is not None and seen else None
    for i, family in enumerate(panel.families):
        there = [track for track in panel.tracks_of[i] if panel.rows[track, 0] >= 0]
        rows = [int(panel.rows[track, 0]) for track in sorted(there, key=lambda track: -panel.tracks[track].direction)]
        if not rows:
            continue
        m, row = panel.monitors, rows[0]  # of a rise, where rises are watched
        rises = panel.tracks[int(m.track[row])].direction == UP
        state = STATES[max(int(m.state[each]) for each in rows)]
        baseline = _baseline(panel, row)
        ready_ms = _armed_ms(version, panel, row) if m.state[row] == LEARNING else None
        level = None
        if lately is not None and obs is not None and isinstance(panel.bet, RateBet) and rises and baseline is not None:
            days = (lately.end_ms - max(lately.start_ms, version.schedule.first_ms or lately.start_ms)) / DAY_MS
            level = _shows(version, panel, row, float(obs[i, 0, 0]) / days if days > 0 else 0.0, share)
        yield MonitorState(
            metric=family,
            age_s=version.ladder.age_ms(panel.rung) / 1000,
            state=state,
            baseline=baseline,
            armed=None if ready_ms is None else rfc3339(ready_ms),
            detects=level,
            message=_message(state, ready_ms, baseline, level) + _remark(version, panel, row),
        )


def _baseline(panel: Panel, row: int) -> Interval | None:
    """Return what is normal; of one that is learning, what it would be if it were frozen now."""
    m = panel.monitors
    if m.state[row] != LEARNING:
        value, lo, hi, n = m.base[row].tolist()
    elif isinstance(panel.bet, RateBet) and panel.bet.size(m.total[row]) > 0:
        fit = panel.bet.fit(m.total[row], phi=1.0, tolerance=0.0, direction=UP, parent=None)
        value, lo, hi, n = fit.value, fit.lo, fit.hi, fit.n
    else:
        return None
    finite = [x if math.isfinite(x) else None for x in (value, lo, hi)]
    return Interval(value=finite[0], lo=finite[1], hi=finite[2], n=max(round(n), 0))


def _armed_ms(version: ModelVersion, panel: Panel, row: int) -> int | None:
    """Return when a baseline will stand, if all goes on as it has so far; None: there is nothing to go by."""
    m, rule, rung = panel.monitors, panel.learner.rule, panel.rung
    first, now = int(m.first[row]), version.schedule.read_to.get(rung, BEFORE)
    if first == BEFORE or now <= first:
        return None
    track = panel.tracks[int(m.track[row])]
    gone = now - first
    times = _times(panel, m.total[row], two_sided=track.two_sided)
    if times is None:
        return None
    ends = [first + rule.days * DAY_MS, first + times * gone]
    if track.family.needs_labels:
        due_ms = now + version.ladder.age_ms(rung)
        ends.append(now + max(rule.outcome_days - version.sums.outcome_days(0, due_ms), 0.0) * DAY_MS)
    ready_ms = round(max(*ends, float(now))) + version.ladder.age_ms(rung)
    return ready_ms if ready_ms <= LAST_MS else None


def _times(panel: Panel, total: Floats, *, two_sided: bool) -> float | None:
    """Return how many times what has been seen would be enough; None: no sensible number."""

    def enough(times: float) -> bool:
        grown = total * times
        return bool(panel.bet.size(grown) >= rule.labels and panel.bet.enough(grown, two_sided, True, rule))

    rule, high = panel.learner.rule, 1.0
    while not enough(high):
        high *= 2
        if high > _MOST_TIMES:
            return None
    low = high / 2 if high > 1 else 0.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _shows(version: ModelVersion, panel: Panel, row: int, n: float, share: float) -> float | None:
    """Return the least rate above what is normal whose evidence in ``n`` events outweighs what a monitor is given in a day."""
    m, budget = panel.monitors, version.bank.budget
    kind = int(panel.kinds(np.array([row]))[0])
    null = float(m.null[row, 0])
    if m.state[row] == LEARNING:
        null = float(panel.bet.fit(m.total[row], phi=1.0, tolerance=0.0, direction=UP, parent=None, bound=Z_90).null[0])
    given = budget.rate * DAY_MS * share * float(SHARES[kind]) / max(int(budget.standing[kind]), 1)
    needed = math.log(1 / given) * float(m.phi[row] or 1.0) if 0 < given < 1 else 0.0
    if n <= 0 or not 0 < null < 1 or n * _divergence(1.0, null) < needed:
        return None
    low, high = null, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if n * _divergence(middle, null) < needed else (low, middle)
    return high


def _divergence(p: float, q: float) -> float:
    """Return the mean log evidence of one event at a rate p against q.

    >>> round(_divergence(0.1, 0.05), 4), round(_divergence(1.0, 0.5), 4)
    (0.0207, 0.6931)
    """
    return (p * math.log(p / q) if p > 0 else 0.0) + ((1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0)


def _message(state: str, ready_ms: int | None, baseline: Interval | None, level: float | None) -> str:
    said = {"watching": "Watching", "alarm": "Past an alarm"}.get(state)
    if said is None:
        said = "Learning what is normal" if ready_ms is None else f"Armed on about {day(ready_ms)}"
    if level is None or baseline is None or baseline.value is None:
        return f"{said}."
    return f"{said}; a rise from {_percent(baseline.value)} to {_percent(level)} would show within a day."


def _remark(version: ModelVersion, panel: Panel, row: int) -> str:
    m = panel.monitors
    since_ms = int(m.first[row]) if m.state[row] == LEARNING else None
    return "".join(f" {_sentence(note)}." for note in version.bank.remarks.of(panel.key(row, 0), learning_since_ms=since_ms))


def _sentence(note: Note) -> str:
    if note.what == WARM_UP:
        return f"While it learns: a change was seen on {day(note.due_ms)}; it does not page"
    said = f"{note.text[0].upper()}{note.text[1:]}"
    return f"{said} (latest: {day(note.due_ms)})" if note.what == WATCH else said


def _percent(rate: float) -> str:
    return f"{100 * rate:.2g} %" if rate < 0.1 else f"{100 * rate:.0f} %"
