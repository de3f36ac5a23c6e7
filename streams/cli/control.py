"""What people decide, from the command line: one record each on the control topic, confirmed by Kafka."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from streams.cli.output import TROUBLE, clean, fail
from streams.cli.surroundings import read_settings, who, with_redis

if TYPE_CHECKING:
    from streams.settings import Settings

By = Annotated[str | None, typer.Option("--by", help="Who decides; default: the user's name.", metavar="NAME")]
Force = Annotated[bool, typer.Option("--force", help="Send it without looking in the checkpoints whether the incident is open.")]
Json = Annotated[bool, typer.Option("--json", help="Print what was sent as JSON.")]
IncidentId = Annotated[str, typer.Argument(help="The incident_id of a drift or fatigue event.", metavar="INCIDENT")]

baseline = typer.Typer(help="Decide on baselines: what counts as normal.", no_args_is_help=True)


class Open(NamedTuple):
    """An open incident, as the checkpoints know it."""

    incident_id: str
    model_id: str
    model_version: str
    metric: str
    monitors: int


def ack(incident: IncidentId, by: By = None, force: Force = False, as_json: Json = False) -> None:
    """Say that someone has seen an incident.

    Example: gnomon ack 3f2a9c0d11e2b7aa --by ada

    Exit status: 0; 1 if Kafka does not take it; 2 if there is no such open incident.
    """
    _decide("ack", incident, by=by, force=force, as_json=as_json, then="It is noted who has seen it; it stays open, and its news go on.")


def snooze(
    incident: IncidentId,
    for_: Annotated[str, typer.Option("--for", help="How long: 4h, 7d.", metavar="DURATION")] = "1d",
    by: By = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Hear nothing more of an incident for a while, unless it becomes critical or clears; then the weightiest of what was kept back.

    Example: gnomon snooze 3f2a9c0d11e2b7aa --for 7d

    The time is event time, which follows the clock while predictions come. Exit status: as of ack.
    """
    from schemas.durations import parse_duration
    from schemas.fields import rfc3339

    try:
        until = int(time.time() * 1000) + parse_duration(for_)
    except ValueError as error:
        fail(f"--for: {error}")
    then = f"Nothing is said of it before {rfc3339(until)}, unless it becomes critical or clears."
    _decide("snooze", incident, by=by, force=force, as_json=as_json, body={"until": until}, then=then)


def verdict(
    incident: IncidentId,
    judged: Annotated[str, typer.Argument(help="true: the change was real; false: a false alarm.", metavar="true|false")],
    by: By = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Say whether an incident was real.

    Example: gnomon verdict 3f2a9c0d11e2b7aa false --by ada

    Exit status: as of ack.
    """
    if judged not in ("true", "false"):
        fail(f"expected true or false, got {judged!r}; try: gnomon verdict {incident} true")
    then = "The verdict is kept with the incident; it stays open until its monitors clear."
    _decide("verdict", incident, by=by, force=force, as_json=as_json, body={"verdict": judged}, then=then)


@baseline.command()
def accept(
    model: Annotated[str, typer.Argument(help="The model_id.", metavar="MODEL")],
    incident: Annotated[str | None, typer.Option("--incident", help="Of this incident only.", metavar="INCIDENT")] = None,
    by: By = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Take what a model's open incidents have found for the new normal: they are closed, and their monitors learn a new baseline.

    Example: gnomon baseline accept fraud --incident 3f2a9c0d11e2b7aa --by ada

    Until the new baseline stands those monitors page nobody. Monitors that are part of no open incident keep theirs, and
    values that the policy promises stay as they are: to begin anew with all that was learnt, gnomon baseline reset. Exit status: as of ack.
    """
    settings = read_settings()
    if not force:
        found = [each for each in _open(settings) if each.model_id == model]
        chosen = [each for each in found if incident in (None, each.incident_id)]
        if not chosen:
            if incident is not None and found:
                fail(f"{model} has no open incident {incident}; open: {', '.join(each.incident_id for each in found)}")
            fail(f"{model} has no open incident, so there is nothing to accept; incidents are shown by: gnomon tail --from-beginning")
        count = sum(each.monitors for each in chosen)
        then = f"{_count(len(chosen), 'incident')} will be closed, and {_count(count, 'monitor')} will learn a new baseline."
    else:
        then = "Its open incidents, if any, will be closed, and their monitors will learn a new baseline."
    record = {"type": "baseline", "model_id": model, "incident_id": incident, "body": {"decision": "accept"}}
    announce(settings, record, by=by, as_json=as_json, then=then)


@baseline.command()
def reset(
    model: Annotated[str, typer.Argument(help="The model_id.", metavar="MODEL")],
    by: By = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Forget all baselines of a model and learn them from scratch, where they were learnt from bad data: a broken feed, a load test.

    Example: gnomon baseline reset fraud --by ada

    All its open incidents are closed, but floods and other counts of alert fatigue, which have learnt nothing. Every monitor of every
    version learns a new baseline from predictions to come, and pages nobody until it stands: as at a version's first day. To take only what
    incidents have found for normal: gnomon baseline accept. Exit status: 0; 1 if Kafka does not take it; 2 if there is no such model.
    """
    settings = read_settings()
    if not force:
        known = _models(settings)
        if model not in known:
            fail(f"no model {model!r} is watched; watched: {', '.join(sorted(known)) or 'none'}. To send it anyway: --force")
    record = {"type": "baseline", "model_id": model, "body": {"decision": "reset"}}
    announce(settings, record, by=by, as_json=as_json, then="Its open incidents will be closed, and all its monitors will learn anew.")


@baseline.command()
def ship(  # noqa: PLR0917  typer passes them by name
    model: Annotated[str, typer.Argument(help="The model_id.", metavar="MODEL")],
    version: Annotated[str, typer.Argument(help="The model_version; it may be one that has not been seen yet.", metavar="VERSION")],
    table: Annotated[
        Path | None, typer.Argument(help="A table of predictions with their true_label: .jsonl, .jsonl.gz or .parquet.", metavar="[TABLE]")
    ] = None,
    predictions: Annotated[Path | None, typer.Option("--predictions", help="Instead: a log of predictions.", metavar="FILE")] = None,
    outcomes: Annotated[Path | None, typer.Option("--outcomes", help="And one of outcomes.", metavar="FILE")] = None,
    policy: Annotated[Path | None, typer.Option("--policy", help="Policy to count by; default: the one in force.", metavar="FILE")] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Give a version baselines from a reference set, such as its validation set: its monitors are armed from its first predictions on.

    Example: gnomon baseline ship fraud 1.5 validation.parquet --by ada

    What the file says is counted here and sent as a record with the file's hash, so that the watch needs no file. It holds for families
    that need no label as predictions are made, for the others at the oldest age; young ages learn, as the share of predictions with a
    label does. The set must be like production. What was shipped stays until it is shipped anew, accepted or reset; a monitor past an alarm
    keeps its own. Exit status: 0; 1 if Kafka does not take it; 2 if the file cannot be used.
    """
    both = predictions is not None and outcomes is not None
    if (table is None) != both or (predictions is None) != (outcomes is None):
        fail("expected one TABLE, or --predictions with --outcomes; try: gnomon baseline ship fraud 1.5 validation.parquet")
    files = (predictions, outcomes) if predictions is not None and outcomes is not None else (table,) if table is not None else ()
    settings = read_settings()
    import msgspec

    from schemas.policy import Policy, parse_policy
    from streams.cli.policies import read_policy
    from streams.cli.policy import in_force
    from streams.logs import ReplayError
    from streams.reference import count_reference

    if policy is not None:
        counted_by = read_policy(policy)
    else:
        found = None if settings.in_memory else in_force(settings)
        counted_by = Policy() if found is None else parse_policy(found.toml)
    try:
        [reference] = count_reference(files, counted_by, model, version)
    except ReplayError as error:
        fail(clean(str(error)))
    record = {"type": "baseline", "model_id": model, "body": {"decision": "reference"} | msgspec.to_builtins(reference)}
    families = ", ".join(each.family for each in reference.families)
    then = f"{reference.predictions:,} predictions, {reference.labelled:,} of them labelled: {families}."
    announce(settings, record, by=by, as_json=as_json, then=then)


def send(settings: "Settings", record: bytes) -> int:
    """Publish a control record and return its offset, or exit with what to do."""
    from streams.control_log import NotPublishedError, publish

    try:
        return publish(settings, record)
    except NotPublishedError as error:
        fail(
            f"{error}; nothing is decided until it is sent again. Is GNOMON_KAFKA right, and are the topics there? Try: gnomon doctor",
            TROUBLE,
        )


def _decide(kind: str, incident: str, *, by: str | None, force: bool, as_json: bool, then: str, body: dict[str, Any] | None = None) -> None:
    settings = read_settings()
    model = None
    if not force:
        found = _open(settings)
        one = next((each for each in found if each.incident_id == incident), None)
        if one is None:
            listed = ", ".join(f"{each.incident_id} ({' '.join(filter(None, each[1:3]))}, {each.metric})" for each in found[:5])
            more = f"open: {listed}" if found else "none is open"
            fail(f"no open incident {incident}; {more}. All that were: gnomon tail --from-beginning; to send it anyway: --force")
        model = one.model_id
    record = {"type": kind, "incident_id": incident, "model_id": model, "body": body or {}}
    announce(settings, record, by=by, as_json=as_json, then=then)


def announce(settings: "Settings", fields: dict[str, Any], *, by: str | None, as_json: bool, then: str) -> None:
    """Publish a decision and say what will come of it, or exit with what to do."""
    import msgspec

    from schemas.codec import encode
    from schemas.control import Control

    try:
        record = encode(msgspec.convert(fields | {"by": who(by), "at": int(time.time() * 1000)}, Control))
    except msgspec.ValidationError as error:
        fail(f"this is no control record: {error}")
    offset = send(settings, record)
    if as_json:
        typer.echo(msgspec.json.encode(msgspec.json.decode(record) | {"offset": offset}))
        return
    typer.echo(clean(f"Sent to {settings.topic('control')} at offset {offset}, confirmed by Kafka. {then}"))


def _models(settings: "Settings") -> set[str]:
    from streams.live_report import read_watches

    if settings.in_memory:
        fail("GNOMON_REDIS is memory://: there are no checkpoints to look for the model in; send it unseen with --force")

    async def read(client: Any) -> set[str]:
        return {model_id for watch in await read_watches(client, settings) for model_id in watch.models}

    return with_redis(settings, read)


def _open(settings: "Settings") -> list[Open]:
    from streams.live_report import read_watches

    if settings.in_memory:
        fail("GNOMON_REDIS is memory://: there are no checkpoints to look for the incident in; send it unseen with --force")

    async def read(client: Any) -> list[Open]:
        return [
            Open(each.incident_id, model_id, each.model_version, each.metric, each.monitors)
            for watch in await read_watches(client, settings)
            for model_id, versions in watch.models.items()
            for each in (
                *(one for version in versions.values() for one in version.incidents.listed()),
                *watch.companions[model_id].listed(),
            )
        ]

    return with_redis(settings, read)


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
