"""``gnomon doctor``: whether everything is as it must be."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.output import TROUBLE, clean
from streams.cli.surroundings import read_settings

if TYPE_CHECKING:
    from streams.doctor import Finding
    from streams.settings import Settings


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON, one a line.")] = False,
) -> None:
    """Look at brokers, topics, Redis, clocks, lag and versions; each fault comes with what it means and what to do.

    Nothing is changed. Example: gnomon doctor

    Exit status: 0 if there is no error, warnings or not; 1 if there is one.
    """
    settings = read_settings()
    found = examine(settings)
    if as_json:
        import msgspec

        for finding in found:
            typer.echo(msgspec.json.encode(finding._asdict()))
    else:
        _show(found)
    if any(finding.level == "error" for finding in found):
        raise typer.Exit(TROUBLE)


def examine(settings: "Settings") -> list["Finding"]:
    """Return all findings, those about Kafka last: they take longest."""
    import asyncio

    from streams.doctor import Finding, Level, kafka_findings, own_findings, redis_findings
    from streams.errors import StreamsError
    from streams.redis_client import connect

    async def ask() -> tuple[list[Finding], dict[str, str]]:
        client = connect(settings.redis, socket_timeout=10, socket_connect_timeout=5)
        try:
            return await redis_findings(client, settings)
        finally:
            await client.aclose()

    found = own_findings(settings)
    remembered: dict[str, str] = {}
    if settings.in_memory:
        text = "memory://: all that a worker knows ends with it"
        found.append(Finding(Level.WARNING, "redis", text, "set GNOMON_REDIS to the URL of a Redis; fine for a look"))
    else:
        try:
            more, remembered = asyncio.run(ask())
            found += more
        except StreamsError as error:
            found.append(Finding(Level.ERROR, "redis", str(error), "see that Redis runs, and that GNOMON_REDIS is right"))
    return found + kafka_findings(settings, remembered)


def _show(found: list["Finding"]) -> None:
    marks = {"ok": ("ok     ", typer.colors.GREEN), "warning": ("warning", typer.colors.YELLOW), "error": ("error  ", typer.colors.RED)}
    for finding in found:
        mark, colour = marks[finding.level]
        typer.echo(f"{typer.style(mark, fg=colour)} {finding.about}: {clean(finding.text)}")
        if finding.fix:
            typer.echo(f"        -> {clean(finding.fix)}")
    errors, warnings = (sum(finding.level == level for finding in found) for level in ("error", "warning"))
    typer.echo(f"{errors} error{'' if errors == 1 else 's'}, {warnings} warning{'' if warnings == 1 else 's'}.")
