"""``gnomon scenario``: published stories of models that failed, as logs to replay."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.output import TROUBLE, fail, write

if TYPE_CHECKING:
    from streams.scenarios import Scenario


def scenario(  # noqa: PLR0917  typer passes them by name
    name: Annotated[str | None, typer.Argument(help="Which one; none: they are listed.", metavar="[NAME]")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The folder to write to; made if need be.", metavar="DIR")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the random numbers: the same seed gives the same records.", min=0)] = 1,
    calm: Annotated[bool, typer.Option("--calm", help="Write the calm twin: the same traffic, and nothing goes wrong.")] = False,
    scale: Annotated[float, typer.Option("--scale", help="Of the traffic; 1: as in the story.", min=0.001, max=100)] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what is listed, or was written, as JSON.")] = False,
) -> None:
    """Write a published story of a model that failed as logs and a policy, to be replayed.

    Example: gnomon scenario recession --out recession

    Example: gnomon replay recession/predictions.jsonl recession/outcomes.jsonl --policy recession/policy.toml

    Without a name the scenarios are listed. Exit status: 0; 2 for a mistake in use; 1 if a file cannot be written.
    """
    import msgspec

    from streams.scenarios import discover

    known = discover()
    if name is None:
        listed = [{"name": one.name, "title": one.title, "source": one.source} for one in known.values()]
        typer.echo(msgspec.json.encode(listed) if as_json else "\n".join(f"{one['name']:14} {one['title']}" for one in listed))
        return
    if out is None:
        fail(f"expected a folder to write to; try: gnomon scenario {name} --out {name}")
    written, counts = _write(known_scenario(name, known), out, seed=seed, calm=calm, scale=scale)
    if as_json:
        typer.echo(msgspec.json.encode({"scenario": name, "files": [str(path) for path in written]} | counts))
        return
    typer.echo(f"{counts['predictions']:,} predictions and {counts['outcomes']:,} outcomes in {out}. Next:")
    typer.echo(f"gnomon replay {out}/predictions.jsonl {out}/outcomes.jsonl --policy {out}/policy.toml")


def known_scenario(name: str, known: "dict[str, Scenario]") -> "Scenario":
    """Return a scenario by name; end with an error if there is none."""
    import difflib

    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
        fail(f"no scenario {name!r}; {hint}")
    return known[name]


def _write(chosen: "Scenario", out: Path, *, seed: int, calm: bool, scale: float) -> tuple[list[Path], dict[str, int]]:
    from streams.scenarios.files import files

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"--out: cannot make the folder {out}: {error.strerror}", TROUBLE)
    logs, made = files(chosen, seed=seed, calm=calm, scale=scale)
    for name, data in made.items():
        write(out / name, data)
    return [out / name for name in made], {"predictions": len(logs.predictions), "outcomes": len(logs.outcomes)}
