"""``gnomon report``: the figures of a running deployment."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.output import TROUBLE, check_writable, fail, write
from streams.cli.surroundings import read_settings


def report(
    out: Annotated[Path | None, typer.Option("--out", help="Write the report here, JSON.", metavar="FILE")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON instead of the summary.")] = False,
) -> None:
    """Report what the workers know so far, from their checkpoints in Redis: join counts, figures per model version and segment."""
    check_writable(out, "--out")
    settings = read_settings()
    import asyncio

    import msgspec

    from schemas.codec import encode
    from streams.errors import StreamsError
    from streams.live_report import live_report

    try:
        found = asyncio.run(live_report(settings))
    except StreamsError as error:
        fail(f"the checkpoints in Redis cannot be read: {error}; is GNOMON_REDIS right, and does it run? Try: gnomon doctor", TROUBLE)
    if out is not None:
        write(out, msgspec.json.format(encode(found), indent=2) + b"\n")
    if as_json:
        typer.echo(encode(found))
    elif out is None:
        from streams.cli.summary import show_report

        show_report(found)
