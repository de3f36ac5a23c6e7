"""From events to what is told of them: each incident once, as it was last seen, with its evidence and its history."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from markupsafe import Markup

from schemas.drift import DriftData, Kind, Scope, Severity
from schemas.fatigue import FatigueData
from schemas.findings import Event, EventType
from schemas.retrain import BudgetBreached, RetrainCancelled, RetrainRequested
from streams.report.dots import interval_drawing
from streams.report.words import age, group, interval, noun, short, thousands, when

_GRAVITY = {Severity.CRITICAL: 0, Severity.MAJOR: 1, Severity.MINOR: 2}
_CLEARED = (EventType.DRIFT_CLEARED, EventType.FATIGUE_CLEARED)
_CHART = {"prior": "base_rate", "calibration": "ece", "coverage": "label_coverage", "cost": "cost_per_day", "abstention": "abstention_rate"}
MOST_STEPS = 12  # of a history, the latest
MOST_AFFECTED = 40


@dataclass(frozen=True, kw_only=True)
class Story:
    """An incident, a request to retrain or a breached budget, ready to be shown."""

    number: str
    title: str
    message: str
    opened: str
    cleared: str | None
    severity: str = ""
    scope: str = ""
    sentence: str = ""  # in short
    gravity: int = 3
    incident: bool = True  # else a request or a breach, which is counted apart
    chart: str = ""  # the figure over time that shows it
    onset_ms: int | None = None
    facts: list[tuple[str, str]] = field(default_factory=list)
    compared: list[tuple[str, str, Markup]] = field(default_factory=list)  # what, value, drawing
    affected: list[str] = field(default_factory=list)
    history: list[tuple[str, str, str]] = field(default_factory=list)  # when, what, figure


def stories(events: Sequence[Event], onset_ms: dict[str, int]) -> list[Story]:
    """Return the stories of one model version in order of their first event; ``onset_ms`` is filled by incident id."""
    threads: dict[str, list[Event]] = {}
    for event in events:
        data = event.data
        if isinstance(data, DriftData | FatigueData | BudgetBreached):
            threads.setdefault(data.incident_id, []).append(event)
        elif isinstance(data, RetrainRequested | RetrainCancelled):
            threads.setdefault(data.request_id, []).append(event)
    order = sorted(threads.values(), key=lambda thread: thread[0].time_ms)
    return [_story(str(i), thread, onset_ms) for i, thread in enumerate(order, start=1)]


def _story(number: str, thread: list[Event], onset_ms: dict[str, int]) -> Story:
    last = next((event for event in reversed(thread) if event.type not in _CLEARED), thread[-1])
    ended = [event for event in thread if event.type in _CLEARED]
    cleared = when(ended[-1].time_ms) if ended and ended[-1] is thread[-1] else None
    if isinstance(last.data, DriftData):
        return _drift(number, thread, last.data, cleared, onset_ms)
    return replace(_other(number, thread, last, cleared), incident=isinstance(last.data, FatigueData))


def _drift(number: str, thread: list[Event], data: DriftData, cleared: str | None, onset_ms: dict[str, int]) -> Story:
    about = noun(data.metric)
    whom = "" if not data.segment else f" for {group(data.segment)}"
    ends = [end for one in (data.baseline, data.current) for end in (one.value, one.hi) if end is not None]
    top = max([1.05 * end for end in ends if end > 0], default=1.0)
    compared = [
        ("baseline", interval(data.baseline, data.metric), data.baseline, False),
        ("current", interval(data.current, data.metric), data.current, True),
    ]
    since = data.monitors[0].onset if data.monitors else data.onset  # of the monitor that the message speaks of
    change, among, _ = data.message.partition(" among predictions")
    facts = [
        ("Kind", _plain(data.kind)),
        ("Scope", "all predictions" if data.scope is Scope.ALL else "groups; the aggregate is silent"),
        ("Figure", f"{about} ({data.direction.value}){whom}"),
        ("Read", f"at age {age(data.age_s)}" if data.age_s else "as predictions were made, before any label"),
        ("Began", when(data.onset) + (" (estimated)" if data.onset else "")),
        *_monitors(data),
        ("Predictions", f"{when(data.window.from_)} to {when(data.window.to)}"),
        ("Evidence", f"{short(data.evidence)} against a threshold of {short(data.threshold)}"),
        *(("Source", where) for where in _origins(data)),
    ]
    if data.impact is not None:
        facts.append(("Impact", f"{short(data.impact.money_per_day)} a day"))
    if data.unconfirmed:
        facts.append(("Unconfirmed", "label delays are changing; a later age will tell"))
    if data.why:
        facts.append(("Why this kind", data.why))
    affected = [group(one) for one in data.affected[:MOST_AFFECTED]]
    if len(data.affected) > MOST_AFFECTED:
        affected.append(f"and {len(data.affected) - MOST_AFFECTED} more")
    return Story(
        number=number,
        title=f"{about}{whom}",
        message=data.message if cleared is None else f"{data.message} {getattr(thread[-1].data, 'message', '')}",
        opened=when(thread[0].time_ms),
        cleared=cleared,
        severity=data.severity.value,
        scope=data.scope.value,
        sentence=f"{change} since {when(since)[:10]}" if among and since else f"{about}{whom} changed",
        gravity=_GRAVITY[data.severity],
        chart=_CHART.get(data.metric, data.metric),
        onset_ms=onset_ms.get(data.incident_id),
        facts=facts,
        compared=[
            (what, f"{value}, n = {thousands(each.n)}", interval_drawing(each, top, alarm=alarm)) for what, value, each, alarm in compared
        ],
        affected=affected,
        history=_history(thread),
    )


def _history(thread: list[Event]) -> list[tuple[str, str, str]]:
    steps = []
    for event in thread:
        data = event.data
        what = event.type.value.rsplit(".", 1)[1]
        told = ""
        if isinstance(data, DriftData):
            told = f"{data.severity.value}: {noun(data.metric)} {interval(data.current, data.metric)}"
        steps.append((when(event.time_ms), what, told))
    if len(steps) > MOST_STEPS:
        hidden = len(steps) - MOST_STEPS
        steps = [steps[0], (f"{hidden} more", "", ""), *steps[1 - MOST_STEPS :]]
    return steps


def _other(number: str, thread: list[Event], last: Event, cleared: str | None) -> Story:
    data = last.data
    opened = when(thread[0].time_ms)
    history = _history(thread)
    if isinstance(data, FatigueData):
        facts = [
            ("Unit", data.unit or "alerts that name none"),
            ("Value", f"{short(data.value)} against a threshold of {short(data.threshold)}"),
            ("Window", f"{when(data.window.from_)} to {when(data.window.to)}"),
        ]
        if data.evidence is not None:
            facts.append(("Evidence", f"{short(data.evidence)} against a threshold of 1"))
        title = f"Alert fatigue of {data.model_id}: {_plain(data.kind)}" + (f", {data.unit}" if data.unit else "")
        return Story(
            number=number, title=title, message=data.message, opened=opened, cleared=cleared, sentence=title, facts=facts, history=history
        )
    if isinstance(data, BudgetBreached):
        facts = [
            ("False alarms", f"{data.false_alarms}; declared {short(data.pages)} in {short(data.days)} days"),
            ("Evidence", f"{short(data.evidence)} against a threshold of {short(data.threshold)}"),
            ("Window", f"{when(data.window.from_)} to {when(data.window.to)}"),
        ]
        title = "Budget of false alarms breached"
        return Story(
            number=number, title=title, message=data.message, opened=opened, cleared=None, sentence=title, facts=facts, history=history
        )
    if isinstance(data, RetrainRequested):
        facts = [
            ("Train on", f"{when(data.data.from_)} to {when(data.data.to)}, {thousands(data.data.n_labelled)} labelled"),
            ("Incidents", ", ".join(data.incidents) or "none"),
            ("Expected gain", "unknown" if data.expected_gain is None else f"{short(data.expected_gain)} a day"),
        ]
        title = "Retraining requested"
        return Story(
            number=number, title=title, message=data.reason, opened=opened, cleared=None, sentence=title, facts=facts, history=history
        )
    reason = getattr(data, "reason", "")
    title = "Retraining cancelled"
    return Story(number=number, title=title, message=reason, opened=opened, cleared=opened, sentence=title, history=history)


def _monitors(data: DriftData) -> Iterator[tuple[str, str]]:
    """Tell which other figures joined, each with its own onset."""
    others = [f"{_about(each.metric, each.segment)}, {when(each.onset)[:10]}" for each in data.monitors[1:]]
    if others:
        more = f" and {len(others) - MOST_AFFECTED} more" if len(others) > MOST_AFFECTED else ""
        yield "Joined by", "; ".join(others[:MOST_AFFECTED]) + more


def _about(metric: str, segment: dict[str, str]) -> str:
    return f"{noun(metric)} for {group(segment)}" if segment else noun(metric)


def _origins(data: DriftData) -> list[str]:
    return [
        f"{topic} partition {partition}, offsets {first:,} to {last:,}"
        for topic, partitions in data.origins.items()
        for partition, (first, last) in partitions.items()
    ]


def _plain(kind: Kind | str) -> str:
    return str(getattr(kind, "value", kind)).replace("_", " ")
