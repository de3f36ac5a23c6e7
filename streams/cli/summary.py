"""What a person reads of a replay or a report: join counts, figures per model version, incidents as sentences."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from detectors.incident_events import span
from schemas.drift import DriftData
from schemas.fatigue import FatigueData, FatigueFigures
from schemas.figures import SegmentFigures
from schemas.findings import Event, EventType
from schemas.report import JoinCounts, ModelReport, Report
from schemas.retrain import BudgetBreached, RetrainRequested
from streams.cli.output import clean

if TYPE_CHECKING:
    from streams.replay import Replayed

WORST = 5  # groups shown per model version
FEWEST = 30  # labels that a group needs to be among them
LETTERS = 5  # dead letters shown
NARROWEST = 100  # columns where nobody watches: a file is not as narrow as a terminal


def show(replayed: "Replayed") -> None:
    """Print what a replay gave."""
    console = _console()
    show_report(replayed.report, console)
    show_events(replayed.events, console)
    for letter in replayed.dead_letters[:LETTERS]:
        place = f"{letter.topic} line {letter.offset + 1}" + (f", element {letter.index}" if letter.index else "")
        console.print(Text(clean(f"dead letter: {place}: {letter.reason}: {letter.detail}")), soft_wrap=True)
    if len(replayed.dead_letters) > LETTERS:
        console.print(f"... and {len(replayed.dead_letters) - LETTERS} more; all of them: --dead-letters FILE")


def show_report(report: Report, console: Console | None = None) -> None:
    """Print join counts and the figures of each model version with its worst groups."""
    console = console or _console()
    console.print(_join(report.join), soft_wrap=True)
    for model in report.models:
        console.print(_model(model))
    for model_id, fatigue in {model.model_id: model.fatigue for model in report.models if model.fatigue is not None}.items():
        console.print(Text(clean(_alerts(model_id, fatigue))), soft_wrap=True)
    if not report.models:
        console.print("No predictions.")


def show_events(events: Sequence[Event], console: Console) -> None:
    """Print each incident once, as it was last seen, and requests to retrain."""
    incidents: dict[str, list[Event]] = {}
    for event in events:
        if isinstance(event.data, DriftData | FatigueData | BudgetBreached):
            incidents.setdefault(event.data.incident_id, []).append(event)
        elif isinstance(event.data, RetrainRequested):
            line = f"Retrain {event.data.model_id} {event.data.model_version}: {event.data.reason}"
            console.print(Text(clean(line)), soft_wrap=True)
    console.print(f"{len(incidents)} incident{'' if len(incidents) == 1 else 's'}" + (":" if incidents else "."))
    for story in incidents.values():
        console.print(Text(clean(_sentence(story))), soft_wrap=True)


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=max(console.width, NARROWEST))


def _sentence(story: Sequence[Event]) -> str:
    """Return an incident in a line: when it was opened, what it came to, whether it still stands."""
    last = next((event for event in reversed(story) if event.type not in (EventType.DRIFT_CLEARED, EventType.FATIGUE_CLEARED)), story[-1])
    cleared = [event for event in story if event.type in (EventType.DRIFT_CLEARED, EventType.FATIGUE_CLEARED)]
    state = f", cleared {cleared[-1].time[:10]}" if cleared else ", open"
    severity = f" {last.data.severity}" if isinstance(last.data, DriftData) else ""
    message = getattr(last.data, "message", "")
    return f"- {story[0].time[:16].replace('T', ' ')}{severity}{state}: {message}"


def _join(join: JoinCounts) -> Text:
    """Return the counts: those that every run has, and those that are not 0."""
    always = ("predictions", "outcomes", "joined", "pending", "dead_letter")
    counts = [(name.replace("_", " "), getattr(join, name), name in always) for name in join.__struct_fields__]
    return Text("join: " + ", ".join(f"{count:,} {name}" for name, count, shown in counts if count or shown))


def _model(model: ModelReport) -> Table:
    title = Text(clean(f"{model.model_id} {model.model_version}"))
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("segment", overflow="fold", min_width=20)
    for heading in ("made", "labelled", "error", "FPR", "FNR", "alerts", "ECE", "bias", "cost"):
        table.add_column(heading, justify="right")
    if not model.segments:
        return table
    whole, *groups = model.segments
    table.add_row(*_row("all", whole))
    worst = worst_groups(whole, groups)
    for group in worst:
        table.add_row(*_row(", ".join(f"{dimension} = {value}" for dimension, value in group.segment.items()), group))
    if len(groups) > len(worst):
        table.add_row(Text(f"({len(groups) - len(worst)} more groups)", style="dim"))
    return table


def _alerts(model_id: str, fatigue: FatigueFigures) -> str:
    """Return in a line what a model's alerts ask of people, and where they ask the most."""
    whole = fatigue.overall
    parts = [f"{whole.alerts:,} alerts"]
    if whole.alerts_per_hour is not None:
        parts.append(f"{whole.alerts_per_hour:.3g} an hour and person")
    if whole.false_alerts_per_year is not None:
        parts.append(f"{whole.false_alerts_per_year:,.0f} false a year")
    for name, share in (("PPV", whole.ppv.value), ("not acted upon", whole.override_rate)):
        if share is not None:
            parts.append(f"{name} {100 * share:.3g} %")
    if whole.response_median_s is not None:
        parts.append(f"median response {span(round(1000 * whole.response_median_s))}")
    parts += [f"{n:,} {name}" for name, n in (("floods", whole.floods), ("chattering", whole.chatter), ("left open", whole.stale)) if n]
    named = [one for one in fatigue.units if one.unit]
    busiest = max(named, key=lambda one: one.alerts, default=None)
    where = "" if busiest is None or len(named) < 2 else f"; most at {busiest.unit}, {busiest.alerts:,}"
    return f"alerts of {model_id}: {', '.join(parts)}{where}"


def worst_groups(whole: SegmentFigures, groups: Iterable[SegmentFigures], most: int = WORST) -> list[SegmentFigures]:
    """Return the groups whose error rate lies furthest above that of all, in standard errors; small groups left out.

    >>> whole = SegmentFigures(n_labelled=1000, accuracy=0.9)
    >>> sizes = {"large": (500, 0.95), "bad": (40, 0.7), "tiny": (3, 0.0)}
    >>> groups = [SegmentFigures(segment={"size": name}, n_labelled=n, accuracy=a) for name, (n, a) in sizes.items()]
    >>> [group.segment for group in worst_groups(whole, groups)]
    [{'size': 'bad'}]
    """
    if whole.accuracy is None:
        return []
    error = 1 - whole.accuracy
    spread = math.sqrt(max(error * (1 - error), 1e-12))
    ranked = [
        ((1 - group.accuracy - error) * math.sqrt(group.n_labelled) / spread, group)
        for group in groups
        if group.accuracy is not None and group.n_labelled >= FEWEST
    ]
    ranked.sort(key=lambda pair: (-pair[0], msgspec.json.encode(pair[1].segment)))
    return [group for z, group in ranked[:most] if z > 0]


def _row(name: str, figures: SegmentFigures) -> list[Text]:
    error = None if figures.accuracy is None else 1 - figures.accuracy
    cells = [name, f"{figures.n_predictions:,}", f"{figures.n_labelled:,}"]
    cells += [_percent(value) for value in (error, figures.fpr, figures.fnr, figures.alert_rate)]
    cells += [_number(value) for value in (figures.ece_10, figures.bias, figures.cost_per_event)]
    return [Text(clean(cell)) for cell in cells]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
