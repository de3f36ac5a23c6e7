"""``gnomon schemas``: the JSON Schemas of all public records, and the AsyncAPI document of all topics."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from streams.cli.output import TROUBLE, check_writable, fail, write


def schemas(
    folder: Annotated[Path, typer.Argument(help="Where the files are, or are to be written.", metavar="[DIR]")] = Path("schemas/json"),
    asyncapi: Annotated[
        Path | None,
        typer.Option(
            "--asyncapi",
            help="Write the AsyncAPI 3 document of all topics there instead, with the names and brokers of the settings.",
            metavar="FILE",
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit with 1 if a file is missing or differs.")] = False,
) -> None:
    """Write the JSON Schema (2020-12) of every public record, a file each, or the AsyncAPI document; or check that they are up to date."""
    if asyncapi is not None:
        from streams.asyncapi import document, to_text
        from streams.cli.surroundings import read_settings

        if not check:
            check_writable(asyncapi, "--asyncapi")
        texts = {asyncapi: to_text(document(read_settings()))}
        remake = f"gnomon schemas --asyncapi {asyncapi}"
    else:
        from schemas import json_schemas

        texts = {folder / name: json_schemas.to_text(schema) for name, schema in json_schemas.schemas().items()}
        remake = f"gnomon schemas {folder}"
    if check:
        stale = [str(path) for path, text in texts.items() if _read(path) != text]
        if stale:
            fail(f"not up to date: {', '.join(stale)}; write anew: {remake}", TROUBLE)
        typer.echo(f"{_files(texts)} up to date")
        return
    if asyncapi is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            fail(f"cannot make the folder {folder}: {error.strerror}; name another: gnomon schemas DIR")
    for path, text in texts.items():
        write(path, text.encode())
    typer.echo(f"{_files(texts)} written")


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


def _files(texts: Mapping[Path, str]) -> str:
    [first, *others] = texts
    return f"{len(texts)} files in {first.parent}" if others else str(first)
