"""Answers to requests to retrain, from the command line."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.control import By, Force, Json, announce
from streams.cli.output import fail
from streams.cli.surroundings import read_settings, with_redis

if TYPE_CHECKING:
    from detectors.companions.retrain import Request
    from streams.settings import Settings

Model = Annotated[str, typer.Argument(help="The model_id.", metavar="MODEL")]
RequestId = Annotated[
    str | None,
    typer.Option("--request", help="The request_id that is answered; another one that is open is left alone.", metavar="ID"),
]
Reason = Annotated[str, typer.Option("--reason", help="Why, for those who read the event.", metavar="TEXT")]

retrain = typer.Typer(help="Answer a model's open request to retrain.", no_args_is_help=True)


@retrain.command()
def ack(model: Model, request: RequestId = None, by: By = None, force: Force = False, as_json: Json = False) -> None:
    """Say that a retraining has begun: the request is no longer withdrawn when its incidents clear.

    Example: gnomon retrain ack fraud --by ada

    A pipeline answers as often as it likes with --request ID --force: that asks no Redis, and changes nothing unless this request is open.
    Exit status: 0; 1 if Kafka does not take it; 2 if the model has no open request.
    """
    _answer(model, "ack", request=request, by=by, force=force, as_json=as_json, then="It is noted who has taken it up.")


@retrain.command()
def done(model: Model, request: RequestId = None, by: By = None, force: Force = False, as_json: Json = False) -> None:
    """Say that a retraining is complete. A new version begins with a baseline of its own.

    Example: gnomon retrain done fraud --by pipeline

    Exit status: as of ack.
    """
    _answer(
        model,
        "done",
        request=request,
        by=by,
        force=force,
        as_json=as_json,
        then="The request is closed; the next may come after the cool-down.",
    )


@retrain.command()
def cancel(  # noqa: PLR0917  typer passes them by name
    model: Model, request: RequestId = None, reason: Reason = "", by: By = None, force: Force = False, as_json: Json = False
) -> None:
    """Say that there will be no retraining: the request is closed, and gnomon.retrain.cancelled goes out.

    Example: gnomon retrain cancel fraud --reason "the feed was repaired"

    The incidents that it names ask no more. Exit status: as of ack.
    """
    extra = {"reason": reason} if reason else {}
    _answer(model, "cancel", extra, request=request, by=by, force=force, as_json=as_json, then="The request will be cancelled.")


def _answer(
    model: str,
    decision: str,
    extra: dict[str, str] | None = None,
    *,
    request: str | None,
    by: str | None,
    force: bool,
    as_json: bool,
    then: str,
) -> None:
    settings, body = read_settings(), {"decision": decision} | (extra or {})
    if request is not None:
        body["request_id"] = request
    if not force:
        found = _open(settings)
        if model not in found:
            known = f"open: {', '.join(sorted(found))}" if found else "no model has one"
            fail(f"{model} has no open request to retrain; {known}. All that were: gnomon tail retrain --from-beginning")
        if request not in {None, found[model].request_id}:
            fail(f"the open request of {model} is {found[model].request_id}, not {request}")
        body["request_id"] = found[model].request_id
    else:
        then = f"Whether {request or 'a request'} is open was not looked up: if it is not, this changes nothing."
    announce(settings, {"type": "retrain", "model_id": model, "body": body}, by=by, as_json=as_json, then=then)


def _open(settings: "Settings") -> "dict[str, Request]":
    """Return the open request of each model that has one, as the checkpoints know it."""
    from detectors.companions.retrain import Retrain
    from streams.live_report import read_watches

    if settings.in_memory:
        fail("GNOMON_REDIS is memory://: there are no checkpoints to look for the request in; send it unseen with --force")

    async def read(client: Any) -> "dict[str, Request]":
        members = [
            (model_id, companions.members[Retrain.name])
            for watch in await read_watches(client, settings)
            for model_id, companions in watch.companions.items()
        ]
        requests = {model_id: one.requests[-1] for model_id, one in members if isinstance(one, Retrain) and one.requests}
        return {model_id: request for model_id, request in requests.items() if request.open}

    return with_redis(settings, read)
