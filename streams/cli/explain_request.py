"""``gnomon explain --request``: what is known of one request, from the pending table and the findings whose cohorts it is in."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from streams.cli.output import TROUBLE, clean, fail
from streams.cli.surroundings import with_redis

if TYPE_CHECKING:
    from detectors.entries import OutcomeEntry, PredictionEntry
    from schemas.findings import Event
    from streams.explain import Request
    from streams.settings import Settings


def explain_request(settings: "Settings", request_id: str, row: int, *, as_json: bool) -> None:
    """Tell what is known of a request, or exit."""
    from streams.explain import fed, findings, request
    from streams.guard import RedisMemory, known
    from streams.readers import ReadError

    async def ask(client: Any) -> "Request | None":
        facts = known(await RedisMemory(client, settings.prefix).recall())
        return await request(client, settings, facts, request_id, row)

    found = with_redis(settings, ask)
    if found is None:
        fail(
            f"nothing is known of request {request_id!r}, row {row}: it has not come, its time is past (GNOMON_PENDING_MAX_AGE_DAYS, or "
            "the policy's horizon), or GNOMON_SECRET_KEY here is not that of the workers. Refused? gnomon tail dead-letters --no-follow"
        )
    try:
        mine = [made for _, made in found.predictions]
        about = {(made.model, made.version) for made in mine}
        events = findings(
            settings, lambda event: (getattr(event.data, "model_id", ""), getattr(event.data, "model_version", "")) in about, ("drift",)
        )
    except ReadError as error:
        fail(str(error), TROUBLE)
    stories = list({event.id: event for made in mine for event in fed(events, made)}.values())
    if as_json:
        import msgspec

        typer.echo(msgspec.json.encode(_as_plain(request_id, row, found, stories)))
        return
    for line in _told_request(request_id, row, found, stories):
        typer.echo(clean(line))


def _told_request(request_id: str, row: int, found: "Request", stories: "list[Event]") -> Iterator[str]:
    from streams.cli.tail import event_line

    plain = _as_plain(request_id, row, found, stories)
    kept = "for ever" if found.kept_ms is None else f"for {found.kept_ms / 86_400_000:.1f} days more"
    yield f"Request {request_id}, row {row}: {len(found.predictions)} predictions, {len(found.outcomes)} outcomes; kept {kept}."
    for part in ("predictions", "outcomes"):
        for each in plain[part]:
            place = each.pop("at_source")
            yield ""
            yield f"{part[:-1]} {place}"
            yield from (f"  {name:<14} {value}" for name, value in each.items() if value not in (None, "", {}, []))
    yield ""
    yield f"It lies in the cohorts of {len(stories)} findings{':' if stories else '.'}"
    yield from (event_line(event) for event in stories)


def _as_plain(request_id: str, row: int, found: "Request", stories: "list[Event]") -> dict[str, Any]:
    import msgspec

    from schemas.findings import to_json

    force = found.label_in_force()
    place = {each.raw: f"{each.topic or 'a topic that is gone'}[{each.partition}] {each.offset}" for each in found.arrivals}
    return {
        "request_id": request_id,
        "row": row,
        "kept_ms": found.kept_ms,
        "predictions": [{"at_source": place[each.raw]} | _prediction(entry) for each, entry in found.predictions],
        "outcomes": [
            {"at_source": place[each.raw]} | _outcome(entry) | ({} if entry.label is None else {"in_force": entry is force})
            for each, entry in found.outcomes
        ],
        "findings": [msgspec.Raw(to_json(event)) for event in stories],
    }


def _prediction(entry: "PredictionEntry") -> dict[str, Any]:
    from detectors.entries import ABSTAINED, ALERTED, BINARY, POSITIVE, subgroup_pairs
    from detectors.packing import MONEY
    from schemas.fields import rfc3339

    return {
        "model_id": entry.model,
        "model_version": entry.version,
        "predicted_at": rfc3339(entry.at),
        "score": entry.score,
        "predicted": (bool(entry.flags & POSITIVE) if entry.flags & BINARY else entry.label),
        "abstained": bool(entry.flags & ABSTAINED),
        "alerted": bool(entry.flags & ALERTED),
        "amount": entry.amount / MONEY or None,
        "subgroups": dict(subgroup_pairs(entry.subgroups)),
        "unit": entry.unit,
        "probe": entry.probe,
    }


def _outcome(entry: "OutcomeEntry") -> dict[str, Any]:
    from detectors.packing import MONEY
    from schemas.fields import rfc3339

    return {
        "known_at": rfc3339(entry.at),
        "label": entry.label,
        "version": entry.version,
        "of_model": entry.model,
        "cost": None if entry.cost is None else entry.cost / MONEY,
        "action_taken": entry.action,
        "review_seconds": None if entry.review_ms is None else entry.review_ms / 1000,
        "value": None if entry.value is None else entry.value / MONEY,
        "checks": {name: [passed, total] for name, passed, total in entry.checks or []},
    }
