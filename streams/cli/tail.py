"""``gnomon tail``: what goes on, as it happens."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.output import TROUBLE, clean, fail
from streams.cli.surroundings import read_settings

if TYPE_CHECKING:
    from schemas.findings import Event
    from streams.readers import Record

EVENTS = ("drift", "fatigue", "retrain", "statistics")
LONGEST = 300  # characters of a record shown to a person


def tail(
    topic: Annotated[
        str, typer.Argument(help="drift, fatigue, statistics, control, dead-letters ... (without prefix).", metavar="[TOPIC]")
    ] = "drift",
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Begin with the oldest that is kept.")] = False,
    no_follow: Annotated[bool, typer.Option("--no-follow", help="Stop at the end instead of waiting for more.")] = False,
    most: Annotated[int | None, typer.Option("--max", help="Stop after so many.", metavar="N", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one record a line; events as CloudEvents.")] = False,
) -> None:
    """Show what comes on a topic as it happens: by default drift events, a line each.

    Example: gnomon tail --from-beginning --no-follow

    Example: gnomon tail dead-letters --json --max 10

    Reading changes nothing: no offset is committed. Ctrl-C ends it, with exit status 0. Exit status: 1 if Kafka is away; 2 if there is no
    such topic.
    """
    settings = read_settings()
    _known(topic)
    from streams.readers import Reader, ReadError

    count = 0
    try:
        with Reader(settings, topic) as reader:
            for record in reader.read(beginning=from_beginning or no_follow, follow=not no_follow):
                typer.echo(as_line(topic, record) if as_json else clean(for_people(topic, record)))
                count += 1
                if count == most:
                    return
    except KeyboardInterrupt:
        return
    except ReadError as error:
        fail(str(error), TROUBLE)


def _known(topic: str) -> None:
    import difflib

    from streams.settings import Settings
    from streams.topics import topics

    names = list(topics(Settings()))
    if topic not in names:
        near = difflib.get_close_matches(topic, names, n=1)
        hint = f"did you mean: gnomon tail {near[0]}?" if near else f"there are {', '.join(names)}"
        fail(f"no topic {topic!r}; {hint}")


def as_line(topic: str, record: "Record") -> str:
    """Return a record as one line of JSON: an event in CloudEvents' format, any other as it is; bytes that are no JSON with their place."""
    if topic in EVENTS:
        event = _event(record)
        if event is not None:
            from schemas.findings import to_json

            return to_json(event).decode()
    if topic == "scored":
        return json.dumps({"partition": record.partition, "offset": record.offset, "record": _scored(record)})
    try:
        return json.dumps(json.loads(record.value or b"null"), ensure_ascii=False)
    except ValueError:
        return json.dumps({"partition": record.partition, "offset": record.offset, "bytes": (record.value or b"").hex()})


def for_people(topic: str, record: "Record") -> str:
    """Return a record as a line that a person reads."""
    from schemas.fields import rfc3339

    event = _event(record) if topic in EVENTS else None
    if event is not None:
        return event_line(event)
    text = _scored(record) if topic == "scored" else (record.value or b"(no value)").decode(errors="replace")
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]} ... ({len(text)} characters)"
    return f"{rfc3339(record.at_ms)[:19].replace('T', ' ')} {topic}[{record.partition}] {record.offset}: {text}"


def event_line(event: "Event") -> str:
    """Return an event as a line that a person reads: when, what, which incident, the sentence."""
    data: Any = event.data
    kind = event.type.value.removeprefix("gnomon.")
    severity = f" {data.severity}" if hasattr(data, "severity") else ""
    ident = f" [{data.incident_id}]" if hasattr(data, "incident_id") else ""
    if kind == "statistics":
        segment = ", ".join(f"{name} = {value}" for name, value in data.segment.items()) or "all"
        error = "" if data.accuracy is None else f", error {100 * (1 - data.accuracy):.1f} %"
        text = f"{segment}: {data.n_predictions:,} made, {data.n_labelled:,} labelled{error}"
    else:
        text = getattr(data, "message", "") or getattr(data, "reason", "")
    return f"{event.time[:19].replace('T', ' ')} {kind}{severity} {event.subject}{ident}: {text}"


def _event(record: "Record") -> "Event | None":
    import msgspec

    from schemas.findings import from_binary

    try:
        return from_binary(record.headers, record.value or b"")
    except (msgspec.DecodeError, ValueError):
        return None  # none of ours: shown as it is


def _scored(record: "Record") -> str:
    import msgspec

    from schemas.scored import Rows, Tick, decode

    try:
        found = decode(record.value or b"")
    except msgspec.DecodeError:
        return "expected a scored record, got something else"
    if isinstance(found, Rows):
        return f"{found.n} rows of {found.model_id or 'no model'} {', '.join(found.versions)}".rstrip()
    if isinstance(found, Tick):
        return f"tick: event time of {len(found.highs)} source partitions"
    return f"control: {found.record.decode(errors='replace')}"
