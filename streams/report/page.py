"""The report as one self-contained web page.

Names of models and groups come from whoever writes to Kafka, so they are never trusted: the template escapes everything that is not a
drawing of ours, drawings hold numbers only, and the page forbids scripts and any request by its content security policy.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from detectors.timeline import Timeline, timeline
from detectors.watch import Watch
from schemas.dead_letter import DeadLetter
from schemas.drift import DriftData
from schemas.fatigue import FatigueData
from schemas.findings import Event
from schemas.report import Decay, ModelReport, Report
from schemas.retrain import BudgetBreached, RetrainCancelled, RetrainRequested
from streams.report import charts
from streams.report.burden import HEADINGS, burdens
from streams.report.dots import METRICS, MOST_GROUPS, Panel, estimate, panels
from streams.report.stories import Story, stories
from streams.report.tables import Table, tables
from streams.report.words import NAMES, age, figure, interval, short, thousands, when

MOST_CHARTED = 12  # versions with charts: those with the most incidents, then the largest
MOST_MARKS = 8  # incidents marked in a chart that does not show their figure
FEWEST_POINTS = 3  # below that there is no course to see: the figures say it all
OVER_TIME = ("error", "fpr", "fnr", "ece", "base_rate", "alert_rate", "label_coverage", "abstention_rate")


@dataclass
class Chart:
    """A drawing with its title and what it says, for those who don't see it."""

    title: str
    drawing: Markup
    said: str


@dataclass
class Section:
    """What the page shows of one model version."""

    model: ModelReport
    anchor: str
    headline: str
    told: list[Story]
    tiles: list[tuple[str, str, str]]  # name, value, remark
    maturity: str
    calibration: list[Chart] = field(default_factory=list)
    over_time: list[Chart] = field(default_factory=list)
    decay: list[Chart] = field(default_factory=list)
    cost: Chart | None = None
    groups: list[Panel] = field(default_factory=list)
    more_groups: int = 0
    bucket: str = ""
    legend: list[tuple[str, str, str]] = field(default_factory=list)  # colour, which labels, dashes
    tables: list[Table] = field(default_factory=list)
    charted: bool = False
    blind: bool = False  # nothing could be watched


def render(
    report: Report,
    watches: Iterable[Watch],
    events: Sequence[Event],
    *,
    title: str = "Gnomon report",
    generated_at_ms: int,
    dead_letters: Sequence[DeadLetter] = (),
) -> str:
    """Return the page: HTML that needs nothing else, and is the same for the same arguments.

    Parameters
    ----------
    report
        Counts and figures.
    watches
        The folds that the report is of; a version that is in none of them has no charts over time.
    events
        What was found, in order.
    title
        Heading of the page.
    generated_at_ms
        Epoch ms; stands in the page.
    dead_letters
        Records that were refused; counted by reason.

    Examples
    --------
    >>> page = render(Report(), [], [], title="<script>alert(1)</script>", generated_at_ms=0)
    >>> "<script" in page, "&lt;script&gt;alert(1)&lt;/script&gt;" in page, page.startswith("<!doctype html>")
    (False, True, True)

    """
    versions = {(v.model_id, v.name): v for watch in watches for versions in watch.models.values() for v in versions.values()}
    told = {(m.model_id, m.model_version): _stories(m, events) for m in report.models}
    order = sorted(report.models, key=lambda m: (-len(told[m.model_id, m.model_version]), -_made(m)))
    charted = {(m.model_id, m.model_version) for m in order[:MOST_CHARTED]}
    sections = []
    with charts.style():
        for i, model in enumerate(report.models):
            key = (model.model_id, model.model_version)
            time = timeline(versions[key]) if key in versions else None
            section = _section(f"v{i}", model, told[key], time)
            if key in charted:
                _draw(section, time)
            sections.append(section)
    return _template().render(
        title=title,
        generated=when(generated_at_ms),
        join=[(name.replace("_", " "), thousands(getattr(report.join, name))) for name in _counts(report)],
        sections=sections,
        others=_stories(None, events),
        burdens=burdens(report),
        headings=HEADINGS,
        alarms=report.alarms,
        letters=sorted(Counter(letter.reason.value for letter in dead_letters).items()),
        most_charted=MOST_CHARTED,
        most_groups=MOST_GROUPS,
        names=NAMES,
        short=short,
        percent=figure,
    )


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files("streams.report").joinpath("page.html").read_text(encoding="utf-8"))


def _counts(report: Report) -> list[str]:
    always = ("predictions", "outcomes", "joined", "pending", "dead_letter")
    return [name for name in report.join.__struct_fields__ if name in always or getattr(report.join, name)]


def _made(model: ModelReport) -> int:
    return model.segments[0].n_predictions if model.segments else 0


def _stories(model: ModelReport | None, events: Sequence[Event]) -> list[Story]:
    """Return the stories of a version; None: those that are of a model as a whole."""
    mine, onsets = [], {}
    for event in events:
        data = event.data
        if not isinstance(data, DriftData | FatigueData | BudgetBreached | RetrainRequested | RetrainCancelled):
            continue
        version = getattr(data, "model_version", "")
        if (model is None and not version) or (model is not None and (data.model_id, version) == (model.model_id, model.model_version)):
            mine.append(event)
            if isinstance(data, DriftData) and data.onset is not None:
                onsets[data.incident_id] = charts.epoch_ms_of(data.onset)
    return stories(mine, onsets)


def _section(anchor: str, model: ModelReport, told: list[Story], time: Timeline | None) -> Section:
    return Section(
        model=model,
        anchor=anchor,
        headline=_headline(told, time),
        told=told,
        tiles=_tiles(model),
        maturity=_maturity_words(model),
        tables=tables(model),
        blind=not told and time is not None and not time.watching,
    )


def _headline(told: list[Story], time: Timeline | None) -> str:
    if not told:
        if time is not None and not time.watching:
            return "No incident, but nothing could be watched yet: no figure has a baseline. It takes more predictions and labels."
        watched = "" if time is None else f" of {time.watching} monitors"
        return f"No incident: none{watched} found evidence of a change."
    worst = min(told, key=lambda story: (story.cleared is not None, story.gravity))
    incidents, others = [story for story in told if story.incident], [story for story in told if not story.incident]
    count = f"{len(incidents)} incident{'' if len(incidents) == 1 else 's'}, {sum(story.cleared is None for story in incidents)} open"
    count += f"; {len(others)} more below" if others else ""
    severity = f" ({worst.severity})" if worst.severity else ""
    return f"{worst.sentence}{severity}. {count}."


def _tiles(model: ModelReport) -> list[tuple[str, str, str]]:
    if not model.segments:
        return []
    whole = model.segments[0]
    tiles = [("Predictions", thousands(whole.n_predictions), f"{thousands(whole.n_labelled)} labelled")]
    for metric in ("error", *METRICS):
        each = estimate(whole, metric)
        if each.value is not None:
            value, _, rest = interval(each, metric).partition(" (")
            tiles.append((NAMES[metric], value, f"95 %: {rest.rstrip(')')}" if rest else ""))
    if whole.expected_accuracy is not None:
        tiles.append(("Error by the scores", figure(1 - whole.expected_accuracy), "expected of all, if the scores are calibrated"))
    if whole.base_rate is not None:
        tiles.append(("Base rate", figure(whole.base_rate), "" if whole.mean_score is None else f"mean score {figure(whole.mean_score)}"))
    if whole.cost_total is not None:
        tiles.append(("Cost", short(whole.cost_total), f"{short(whole.cost_per_event)} a labelled prediction"))
    if whole.value_total is not None:
        tiles.append(("Value", short(whole.value_total), "reported by people"))
    if whole.net_value is not None:
        tiles.append(("Net value", short(whole.net_value), "a prediction: value less costs, computing, review"))
    if whole.mean_review_s is not None:
        saved = (
            ""
            if whole.review_saved_s is None
            else f"{age(abs(whole.review_saved_s))} {'less' if whole.review_saved_s >= 0 else 'more'} than before"
        )
        tiles.append(("Review", age(whole.mean_review_s), saved or "of a person's time for each"))
    return tiles


def _maturity_words(model: ModelReport) -> str:
    if not model.segments:
        return ""
    share = model.segments[0].label_coverage
    words = f"{figure(share)} of the predictions have a label." if share else "No prediction has a label."
    mature = next((rung for rung in model.ladder if rung.mature), None)
    if mature is not None:
        words += f" Labels count as complete at age {age(mature.age_s)}."
    elif share:
        words += " At which age labels are complete is not known yet: figures may still change."
    return words


def _draw(section: Section, time: Timeline | None) -> None:
    section.charted = True
    segments = section.model.segments
    section.groups, section.more_groups = panels(segments), max(len(segments) - 1 - MOST_GROUPS, 0)
    whole = segments[0] if segments else None
    if whole is not None and any(one.n for one in whole.reliability):
        said = "; ".join(
            f"score {figure(one.mean_score)}: {figure(one.positive_rate)} positive of {thousands(one.n)}"
            for one in whole.reliability
            if one.n
        )
        drawing = charts.reliability(whole.reliability, name=f"{section.anchor}-r")
        section.calibration.append(Chart("Reliability: what scores claim, what happened", drawing, said))
    for course in section.model.decay:
        if course.slope is not None:
            drawing = charts.decay(course, name=f"{section.anchor}-d-{course.metric}")
            section.decay.append(Chart((words := _decay_words(course))[0], drawing, words[1]))
    if time is None or not len(time.start_ms):
        return
    if any(share for _, share, _ in time.maturity):
        said = "; ".join(f"{figure(share)} by {age(at)}" for at, share, _ in time.maturity)
        drawing = charts.maturity(time.maturity, name=f"{section.anchor}-m")
        section.calibration.append(Chart("Label maturity: share labelled by age", drawing, said))
    if len(time.start_ms) < FEWEST_POINTS:
        return
    section.bucket = age(time.width_ms / 1000)
    colours = charts.colours_of(time)
    section.legend = [
        (colour, "all labels so far" if at is None else f"labels known within {age(at)}", "") for at, colour in colours.items()
    ]
    if "error" in time.lines and "expected_error" in time.lines:
        section.legend.append((charts.INK, "error rate by the scores, of all predictions, if they are calibrated", "3 4"))
    for metric in OVER_TIME:
        if metric in time.lines:
            onsets, said = _onsets(section.told, metric), charts.said(time.lines[metric][-1], time)
            [expected] = time.lines.get("expected_error", [None]) if metric == "error" else [None]
            if expected is not None:
                said += f". By the scores: {charts.said(expected, time)}"
            name = f"{section.anchor}-{metric}"
            drawing = charts.over_time(time.lines[metric], time, onsets, colours=colours, name=name, expected=expected)
            section.over_time.append(Chart(NAMES[metric], drawing, said))
    if "cost_per_day" in time.lines:
        line = time.lines["cost_per_day"][-1]
        drawing = charts.cost_bars(line, time, _onsets(section.told, "cost_per_day"), name=f"{section.anchor}-cost")
        section.cost = Chart(NAMES["cost_per_day"], drawing, charts.said(line, time, money=True))


def _decay_words(course: Decay) -> tuple[str, str]:
    """Return the name of a chart of decay, and what it says."""
    name = {"f1": "F1", "brier": "Brier score", "cost": "Cost"}.get(course.metric, NAMES.get(course.metric, course.metric))
    said = f"{interval(course.slope, course.metric)} in 30 days"
    if course.crosses is None:
        return name, said
    first, last = (None if at is None else when(at)[:10] for at in (course.crosses_from, course.crosses_to))
    between = f"{first} or later" if last is None else f"{first} to {last}"
    return name, f"{said}; crosses its limit on {when(course.crosses)[:10]} ({between}, by the slope's interval)"


def _onsets(told: list[Story], metric: str) -> list[charts.Onset]:
    marks = [(story.onset_ms, story.number, story.chart == metric) for story in told if story.onset_ms is not None]
    return [mark for mark in marks if mark[2] or len(marks) <= MOST_MARKS]
