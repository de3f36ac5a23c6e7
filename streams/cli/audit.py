"""``gnomon audit``: what was decided of a model, by whom, and what was found; and whether a line is missing."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.output import TROUBLE, clean, fail
from streams.cli.surroundings import read_settings, with_redis

if TYPE_CHECKING:
    from detectors.audit_chain import Chain
    from schemas.audit import AuditLine
    from streams.settings import Settings

MOST_SHOWN = 12  # baselines of one line
EVERY_MODEL = ""

Heads = dict[str, list[tuple[int, str]]]  # by model: lines so far and the hash of the last, as each checkpoint has it


def audit(
    model: Annotated[str, typer.Argument(help="The model_id; default: all models.", metavar="[MODEL]")] = "",
    source: Annotated[
        Path | None, typer.Option("--from", help="Read a file, as replay --audit writes it; default: the audit topic.", metavar="FILE")
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Only say whether the chains of lines are whole; exit with 1 if not.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the lines as they are, or what --verify has found, as JSON.")] = False,
) -> None:
    """Show the audit trail of a model: policies, baselines, alarms, acknowledgements, verdicts, in order, with who and when.

    Example: gnomon audit fraud

    Example: gnomon audit --verify

    Each line holds the hash of the one before it, so that one that was removed or changed shows. What was said to every model stands first,
    policies with their text. With --verify the last lines are held against the checkpoints in Redis, too. Keep the hashes that it prints
    elsewhere: whoever can write the whole topic anew can make a chain that fits. Exit status: 0; 1 if Kafka or Redis are away, or --verify
    has found a fault; 2 if there is no such model or file.
    """
    from detectors.audit_chain import chains

    heads: Heads = {}
    if source is not None:
        lines = _lines(source)
    else:
        settings = read_settings()
        heads = _heads(settings) if verify else heads
        lines = _topic(settings)
    try:
        found = chains(lines)
    except ValueError as error:
        fail(f"{source or 'the audit topic'}: {error}")
    if model and model not in found:
        known = ", ".join(name for name in found if name) or "none"
        fail(f"no line of a model {model!r}; there are lines of {known}")
    chosen = [chain for name, chain in found.items() if not model or name in (model, EVERY_MODEL)]
    faults = {chain.model_id: [*chain.faults, *_behind(chain, heads.get(chain.model_id, []))] for chain in chosen}
    faults |= {name: ["all lines are missing"] for name in heads if name not in found and (not model or name in (model, EVERY_MODEL))}
    if verify:
        _verdict(chosen, faults, as_json=as_json)
        return
    for chain in chosen:
        _show(chain, as_json=as_json)
    for name, each in faults.items():
        for fault in each:
            typer.echo(f"gnomon: {clean(_name(name))}: {clean(fault)}", err=True)


def _lines(source: Path) -> list[bytes]:
    import gzip

    try:
        data = source.read_bytes()
        lines = (gzip.decompress(data) if source.suffix == ".gz" else data).split(b"\n")
    except (OSError, EOFError) as error:
        fail(f"--from: cannot read {source}: {error}; gnomon replay --audit FILE writes one")
    return [line for line in lines if line.strip()]


def _topic(settings: "Settings") -> list[bytes]:
    from streams.readers import Reader, ReadError
    from streams.topics import AUDIT

    try:
        with Reader(settings, AUDIT) as reader:
            return [record.value or b"" for record in reader.read(beginning=True, follow=False)]
    except ReadError as error:
        fail(str(error), TROUBLE)


def _heads(settings: "Settings") -> Heads:
    """Return how far each checkpoint's chains have come: all of that must be on the topic, which is written first."""
    from streams.live_report import read_watches

    async def read(client: Any) -> Heads:
        heads: Heads = {}
        for watch in await read_watches(client, settings):
            for name, head in watch.ledger.heads.items():
                heads.setdefault(name, []).append(head)
        return heads

    return {} if settings.in_memory else with_redis(settings, read)


def _behind(chain: "Chain", heads: Iterable[tuple[int, str]]) -> list[str]:
    from schemas.audit import sha256

    hashes = {sha256(link.raw) for link in chain.links}
    return [f"the watch has written {count} lines, and its last is not among these" for count, last in heads if last not in hashes]


def _verdict(chosen: "Sequence[Chain]", faults: dict[str, list[str]], *, as_json: bool) -> None:
    broken = any(faults.values())
    heads = {chain.model_id: (len(chain.links), chain.head) for chain in chosen}
    if as_json:
        import json

        models = {
            name: {"lines": heads.get(name, (0, None))[0], "head": heads.get(name, (0, None))[1], "faults": each}
            for name, each in faults.items()
        }
        typer.echo(json.dumps({"whole": not broken, "chains": models}))
    else:
        for name, each in faults.items():
            count, head = heads.get(name, (0, "none"))
            state = "BROKEN" if each else "whole"
            typer.echo(clean(f"{state:<6} {_name(name)}: {count} line{'' if count == 1 else 's'}, the last has hash {head}"))
            for fault in each:
                typer.echo(clean(f"       {fault}"))
        if not faults:
            typer.echo("There is no line yet.")
    if broken:
        raise typer.Exit(TROUBLE)


def _show(chain: "Chain", *, as_json: bool) -> None:
    if as_json:
        for link in chain.links:
            typer.echo(link.raw.decode())
        return
    typer.echo(clean(f"{_name(chain.model_id)}: {len(chain.links)} lines, the last has hash {chain.head}"))
    for link in chain.links:
        line = link.line
        version = f" {line.model_version}" if line.model_version else ""
        when = line.time[:19].replace("T", " ")
        typer.echo(clean(f"{line.number:>6}  {when}  {line.type:<8}{version}  {line.text}  [by {line.by}; policy {line.policy[:12]}]"))
        for detail in _details(line):
            typer.echo(f"        {clean(detail)}")
    typer.echo()


def _details(line: "AuditLine") -> Iterable[str]:
    """Yield what a person must see of a line's body: the text of a policy, the values of baselines."""
    toml = line.body.get("body", {}).get("toml") if line.body.get("type") == "policy" else None
    if toml is not None:
        yield from toml.rstrip().split("\n")
    baselines = line.body.get("baselines", [])
    for each in baselines[:MOST_SHOWN]:
        segment = ", ".join(f"{name} = {value}" for name, value in each["segment"].items()) or "all"
        value, lo, hi = ("-" if each[name] is None else f"{each[name]:.4g}" for name in ("value", "lo", "hi"))
        way, days = each["direction"], each["age_s"] / 86_400
        yield f"{each['metric']} {way} of {segment} at age {days:g} d: {value} ({lo} to {hi}) from {each['n']} events"
    if len(baselines) > MOST_SHOWN:
        yield f"... and {len(baselines) - MOST_SHOWN} more: --json"


def _name(model_id: str) -> str:
    return model_id or "(every model)"
