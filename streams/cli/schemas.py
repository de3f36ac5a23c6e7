"""``gnomon schemas``: the JSON Schemas of all public records."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.output import TROUBLE, fail, write


def schemas(
    folder: Annotated[Path, typer.Argument(help="Where the files are, or are to be written.", metavar="[DIR]")] = Path("schemas/json"),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit with 1 if a file is missing or differs.")] = False,
) -> None:
    """Write the JSON Schema (2020-12) of every public record, one file each, or check that they are up to date."""
    from schemas.json_schemas import schemas as all_schemas
    from schemas.json_schemas import to_text

    texts = {name: to_text(schema) for name, schema in all_schemas().items()}
    if check:
        stale = [name for name, text in texts.items() if not (folder / name).is_file() or (folder / name).read_text() != text]
        if stale:
            fail(f"not up to date in {folder}: {', '.join(stale)}; write them: gnomon schemas {folder}", TROUBLE)
        typer.echo(f"{len(texts)} schemas in {folder} are up to date")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"cannot make the folder {folder}: {error.strerror}")
    for name, text in texts.items():
        write(folder / name, text.encode())
    typer.echo(f"{len(texts)} schemas written to {folder}")
