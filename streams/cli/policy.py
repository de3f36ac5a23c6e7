"""``gnomon policy``: a policy to start from, one to put into force, and the one that is."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.output import TROUBLE, clean, fail
from streams.cli.policies import read_policy
from streams.cli.surroundings import read_settings, who

if TYPE_CHECKING:
    from streams.policy_follow import InForce
    from streams.settings import Settings

policy = typer.Typer(help="A policy to start from, one to put into force, and the one that is.", no_args_is_help=True)
DOMAINS = ("health", "fraud", "credit", "legal")
ASK_S = 0.2


@policy.command()
def init(
    domain: Annotated[str, typer.Option("--domain", help="health, fraud, credit or legal.", metavar="NAME")],
) -> None:
    """Print a commented policy to start from.

    Example: gnomon policy init --domain fraud > policy.toml
    """
    if domain not in DOMAINS:
        fail(f"--domain: expected one of {', '.join(DOMAINS)}, got {domain!r}; try: gnomon policy init --domain fraud")
    from streams.cli.starters import starter

    typer.echo(starter(domain), nl=False)


@policy.command()
def apply(
    file: Annotated[Path, typer.Argument(help="The policy file, TOML.", metavar="FILE")],
    by: Annotated[str | None, typer.Option("--by", help="Who puts it into force; default: the user's name.", metavar="NAME")] = None,
    wait: Annotated[float, typer.Option("--wait", help="Seconds to wait until the join has read it; 0: none.", metavar="SECONDS")] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Put a policy into force through the control topic; workers follow it without a restart.

    One that has a fault is refused whole, and all its faults are told. It is logged with who put it into force and when. The watch
    follows from its place in the log on; the join stores later records by it, and what is stored keeps its meaning. A version's ages stay
    as they were when its first prediction came. What the files of `baseline.file` say is counted here, and sent after it.

    Example: gnomon policy apply policy.toml --by ada

    Exit status: 0; 1 if Kafka does not take it, or no join worker reads it in time; 2 if the policy has a fault.
    """
    parsed = read_policy(file)
    settings, name = read_settings(), who(by)
    from schemas.codec import encode
    from schemas.control import ship
    from schemas.policy import encode_policy
    from streams.cli.control import send
    from streams.cli.policies import read_references

    references = read_references(parsed, file)
    at = int(time.time() * 1000)
    offset = send(settings, encode_policy(parsed, by=name, at=at))
    for model_id, reference in references:
        send(settings, encode(ship(model_id, reference, by=name, at_ms=at)))
    followed = _followed(settings, offset, wait) if wait > 0 and not settings.in_memory else None
    if as_json:
        import json

        typer.echo(json.dumps({"type": "policy", "by": name, "at": at, "offset": offset, "followed": followed}))
    else:
        typer.echo(clean(f"The policy {file} is on {settings.topic('control')} at offset {offset}, by {name}."))
        for model_id, reference in references:
            of = f"{model_id} {reference.model_version or '(every version)'}"
            typer.echo(clean(f"Its reference for {of} follows: {reference.predictions:,} predictions, {reference.labelled:,} labelled."))
        if followed:
            typer.echo("The join has read it: all join workers follow it within a second, the watch from this place in its log on.")
        typer.echo("Next: gnomon policy show")
    if followed is False:
        text = f"no join worker has read it within {wait:g} s; it comes into force when one does: gnomon worker, or see gnomon doctor"
        fail(text, TROUBLE)


@policy.command()
def show(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON, with who put it into force and when.")] = False,
) -> None:
    """Show the policy in force, who put it there and when.

    Example: gnomon policy show > policy.toml
    """
    settings = read_settings()
    found = in_force(settings)
    if as_json:
        import json

        typer.echo(json.dumps(found and {"by": found.by, "at": found.at, "offset": found.offset, "toml": found.toml}))
        return
    if found is None:
        typer.echo("# No policy has been put into force: the built-in one holds. Next: gnomon policy init --domain fraud > policy.toml")
        return
    from schemas.fields import rfc3339

    typer.echo(clean(f"# put into force by {found.by}, {rfc3339(found.at)}, control offset {found.offset}"))
    typer.echo(clean(found.toml, keep_lines=True), nl=not found.toml.endswith("\n"))


def _followed(settings: "Settings", offset: int, wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while True:
        found = in_force(settings)
        if found is not None and found.offset >= offset:
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(ASK_S)


def in_force(settings: "Settings") -> "InForce | None":
    """Return the policy that is in force; None: the built-in one."""
    from streams.cli.surroundings import with_redis
    from streams.policy_follow import RedisPolicies

    async def read(client: Any) -> "InForce | None":
        return await RedisPolicies(client, settings.prefix).read()

    return with_redis(settings, read)
