"""``gnomon explain``: how an alarm came about; what is known of one request is told by ``explain_request``."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.output import TROUBLE, clean, fail, on_terminal
from streams.cli.surroundings import read_settings

if TYPE_CHECKING:
    from detectors.trail import PaneEvidence
    from schemas.drift import DriftData, Interval
    from schemas.fatigue import FatigueData
    from schemas.findings import Event
    from streams.explain import Replayed
    from streams.settings import Settings

PANES = 20


def explain(
    ident: Annotated[str | None, typer.Argument(help="An event's id, or an incident_id.", metavar="[ID]")] = None,
    request: Annotated[str | None, typer.Option("--request", help="Tell what is known of this request_id.", metavar="REQUEST_ID")] = None,
    row: Annotated[int, typer.Option("--row", help="Which row of the request.", metavar="N", min=0)] = 0,
    panes: Annotated[int, typer.Option("--panes", help="How many panes of evidence to show; 0: all.", metavar="N", min=0)] = PANES,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as one JSON object.")] = False,
) -> None:
    """Explain how an alarm came about, replayed from the log; or, with --request, tell what is known of one request.

    Of an alarm: baseline, what is seen now, since when, for whom, where the records lie, and what each pane of predictions added to the
    evidence. Of a request: its predictions, each label with its version and when it became known, and the findings whose cohorts it is in.

    Example: gnomon explain 3f2a9c0d11e2b7aa

    Example: gnomon explain --request loan-8812 --row 0

    Exit status: 0; 1 if Kafka or Redis are away; 2 if there is no such event, incident or request.
    """
    if (ident is None) == (request is None):
        fail("expected an event's id or an incident_id, or --request REQUEST_ID; ids are shown by: gnomon tail --from-beginning --json")
    settings = read_settings()
    if request is not None:
        from streams.cli.explain_request import explain_request

        explain_request(settings, request, row, as_json=as_json)
    else:
        _explain_event(settings, str(ident), panes, as_json=as_json)


def _explain_event(settings: "Settings", ident: str, panes: int, *, as_json: bool) -> None:
    from schemas.drift import DriftData
    from schemas.fatigue import FatigueData
    from streams.explain import replay, story
    from streams.readers import ReadError

    replayed = None
    try:
        events = story(settings, ident)
        if not events:
            fail(
                f"no event or incident {ident!r} is kept on drift, fatigue or retrain; those there are: gnomon tail --from-beginning --json"
            )
        if isinstance(events[0].data, DriftData | FatigueData):
            with _progress() as progress:
                replayed = replay(settings, events[0], progress)
    except ReadError as error:
        fail(str(error), TROUBLE)
    trail = [pane for pane in replayed.trail if pane.due_ms <= events[0].time_ms] if replayed else []
    if as_json:
        _print_json(events, replayed, trail)
        return
    for line in _told(events, replayed, trail, panes):
        typer.echo(clean(line))


def _told(events: "list[Event]", replayed: "Replayed | None", trail: "list[PaneEvidence]", panes: int) -> Iterator[str]:
    from schemas.drift import DriftData
    from schemas.fatigue import FatigueData
    from streams.cli.tail import event_line

    yield from (event_line(event) for event in events)
    data = events[0].data
    if not isinstance(data, DriftData | FatigueData) or replayed is None:
        return
    yield ""
    yield from _facts(events[0].id, data) if isinstance(data, DriftData) else _fatigue(events[0].id, data)
    yield ""
    if not replayed.same:
        yield f"Not replayed: {replayed.why_not}. The above is what the event holds."
        return
    yield "Replayed from the log: the same event, byte for byte."
    if isinstance(data, FatigueData):
        return
    if not trail:
        yield "Its monitor has no trail: another detector than the evidence bank called it out."
        return
    shown = trail[-panes:] if panes else trail
    yield _headline(data, trail) + (f" (the last {len(shown)} of {len(trail)})" if len(shown) < len(trail) else "")
    yield f"{'predictions of':<18} {'read at':<18} {'n':>9} {'seen':>11} {'expected':>11} {'evidence':>10}  "
    yield from map(_pane, shown)


def _headline(data: "DriftData", trail: "list[PaneEvidence]") -> str:
    if data.kind not in {"check", "probe"}:
        return f"What each pane did to the evidence of {data.metric}; 1 pages"
    name = data.metric.partition(":")[2]
    if all(pane.log_evidence is None and pane.state != "learning" for pane in trail):  # nothing is weighed: no failure is tolerated
        return f"Documents in which {name} was checked, and in which it failed, as they became known"
    return f"What each pane did to the evidence of failures of {name}; 1 pages"


def _facts(event_id: str, data: "DriftData") -> Iterator[str]:
    def segment(given: dict[str, str]) -> str:
        return ", ".join(f"{name} = {value}" for name, value in given.items()) or "all"

    pairs = {
        "event": f"{event_id}, incident {data.incident_id}",
        "what": f"{data.metric} of {data.model_id} {data.model_version} went {data.direction}; kind {data.kind}, severity {data.severity}",
        "whom": f"{segment(data.segment)}; affected: {'; '.join(map(segment, data.affected)) or 'no group stands out'}",
        "judged at age": f"{data.age_s / 86_400:g} day{'' if data.age_s == 86_400 else 's'}" if data.age_s else "before any label",
        "baseline": _interval(data.baseline),
        "now": _interval(data.current),
        "since": str(data.onset),
        "evidence": f"{data.evidence:.4g}, threshold {data.threshold:g}",
        "predictions": f"made from {data.window.from_} to {data.window.to}",
    }
    if data.impact is not None:
        pairs["impact"] = f"{data.impact.money_per_day:,.2f} a day"
    if data.why or data.unconfirmed:
        pairs["remark"] = ("unconfirmed: " if data.unconfirmed else "") + data.why
    for topic, partitions in data.origins.items():
        pairs[f"in {topic}"] = ", ".join(f"[{partition}] {first} to {last}" for partition, (first, last) in partitions.items())
    yield from (f"{name:<15} {text}" for name, text in pairs.items())


def _fatigue(event_id: str, data: "FatigueData") -> Iterator[str]:
    pairs = {
        "event": f"{event_id}, incident {data.incident_id}",
        "what": f"alert fatigue of {data.model_id}, kind {data.kind}",
        "whom": data.unit or "alerts that name no unit",
        "value": f"{data.value:.4g}, threshold {data.threshold:g}",
        "alerts": f"raised from {data.window.from_} to {data.window.to}",
    }
    if data.baseline is not None and data.current is not None:
        pairs |= {"baseline": _interval(data.baseline), "now": _interval(data.current)}
    if data.evidence is not None:
        pairs["evidence"] = f"{data.evidence:.4g}, threshold 1"
    yield from (f"{name:<15} {text}" for name, text in pairs.items())


def _interval(given: "Interval") -> str:
    value, lo, hi = ("-" if each is None else f"{each:.4g}" for each in (given.value, given.lo, given.hi))
    return f"{value} ({lo} to {hi}), n = {given.n:,}"


def _pane(pane: "PaneEvidence") -> str:
    start, due = (_time(at)[:16].replace("T", " ") for at in (pane.start_ms, pane.due_ms))
    evidence = "" if pane.log_evidence is None else f"{math.exp(min(pane.log_evidence, 690.0)):.3g}"
    told = "" if pane.state == "watching" else pane.state
    numbers = ("", "") if pane.state == "learning" else (f"{pane.x:.6g}", f"{pane.expected:.5g}")
    return f"{start:<18} {due:<18} {pane.n:>9.6g} {numbers[0]:>11} {numbers[1]:>11} {evidence:>10}  {told}".rstrip()


def _print_json(events: "list[Event]", replayed: "Replayed | None", trail: "list[PaneEvidence]") -> None:
    import msgspec

    from schemas.findings import to_json

    found: dict[str, Any] = {"events": [msgspec.Raw(to_json(event)) for event in events]}
    if replayed is not None:
        panes = [pane._asdict() | {name: _time(getattr(pane, f"{name}_ms")) for name in ("start", "end", "due")} for pane in trail]
        found |= {"same": replayed.same, "why_not": replayed.why_not, "trail": panes}
    typer.echo(msgspec.json.encode(found))


def _time(ms: int) -> str:
    from schemas.fields import rfc3339

    return rfc3339(ms)


@contextmanager
def _progress() -> "Iterator[Callable[[int, int], None]]":
    """Show a bar on standard error where a person watches it."""
    if not on_terminal():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("reading the log"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("replay", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
