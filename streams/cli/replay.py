"""``gnomon replay``: logs through join and watch, without a broker."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.output import FOUND, TROUBLE, check_writable, clean, fail, on_terminal, write
from streams.cli.policies import read_policy, read_references

if TYPE_CHECKING:
    from streams.replay import Replayed


def replay(  # noqa: PLR0917  typer passes them by name
    predictions: Annotated[
        Path, typer.Argument(help="Log of predictions: .jsonl, .jsonl.gz or .parquet, in any order.", metavar="PREDICTIONS")
    ],
    outcomes: Annotated[Path, typer.Argument(help="Log of outcomes, likewise.", metavar="OUTCOMES")],
    policy: Annotated[Path | None, typer.Option("--policy", help="Policy (TOML); default: the built-in one.", metavar="FILE")] = None,
    control: Annotated[
        Path | None, typer.Option("--control", help="Log of control records: policies, acks, verdicts, in their order.", metavar="FILE")
    ] = None,
    report: Annotated[Path | None, typer.Option("--report", help="Write the report here, JSON.", metavar="FILE")] = None,
    events: Annotated[
        Path | None, typer.Option("--events", help="Write the events here: CloudEvents, one JSON a line.", metavar="FILE")
    ] = None,
    dead_letters: Annotated[
        Path | None, typer.Option("--dead-letters", help="Write what could not be read here, one JSON a line.", metavar="FILE")
    ] = None,
    audit: Annotated[
        Path | None, typer.Option("--audit", help="Write the audit trail here, one JSON a line; see gnomon audit.", metavar="FILE")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write the report here as one self-contained web page.", metavar="FILE")
    ] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on", help="Exit with 3 if an event of this type, or a type below it, was raised; may be repeated.", metavar="TYPE"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON instead of the summary.")] = False,
) -> None:
    """Run logs through the same join and watch as in production: which alarms would there have been, and what are the figures.

    A line that cannot be read is a dead letter, counted once. Exit status: 0; 1 if a file cannot be written, or the
    process that reads and joins was killed; 3 if `--fail-on` has found its event; 2 for a mistake in use.

    Example: `gnomon replay predictions.jsonl.gz outcomes.jsonl.gz --policy policy.toml --fail-on gnomon.drift`
    """
    wanted = [_known_type(name) for name in fail_on or []]
    reads = (predictions, outcomes, policy, control)
    outputs = {"--report": report, "--events": events, "--dead-letters": dead_letters, "--audit": audit, "--html": html}
    for option, path in outputs.items():
        check_writable(path, option, apart_from=reads)
    given = [path.absolute() for path in outputs.values() if path is not None]
    if len(set(given)) < len(given):
        fail(f"{', '.join(outputs)}: expected a file each, got the same twice; name another for one of them")
    replayed = _run(predictions, outcomes, policy, control)
    _write(replayed, report, events, dead_letters)
    if audit is not None:
        write(audit, b"".join(line + b"\n" for line in replayed.audit))
    if html is not None:
        from streams.report import render

        now_ms = int(time.time() * 1000)
        page = render(
            replayed.report,
            [replayed.watch],
            replayed.events,
            title="Gnomon replay",
            generated_at_ms=now_ms,
            dead_letters=replayed.dead_letters,
        )
        write(html, page.encode())
    if as_json:
        from schemas.codec import encode

        typer.echo(encode(replayed.report))
    else:
        from streams.cli.summary import show

        show(replayed)
    raised = [event.type.value for event in replayed.events if any(f"{event.type.value}.".startswith(f"{name}.") for name in wanted)]
    if raised:
        typer.echo(f"gnomon: --fail-on: {len(raised)} events, the first of type {raised[0]}", err=True)
        raise typer.Exit(FOUND)


def _run(predictions: Path, outcomes: Path, policy: Path | None, control: Path | None) -> "Replayed":
    parsed = read_policy(policy) if policy is not None else None
    references = read_references(parsed, policy) if parsed is not None and policy is not None else []
    from streams.apart import ApartError
    from streams.logs import ReplayError
    from streams.replay import replay as run

    with _progress() as progress:
        try:
            return run(
                predictions,
                outcomes,
                started_ms=int(time.time() * 1000),
                policy=parsed,
                control=control,
                references=references,
                progress=progress,
            )
        except ReplayError as error:
            fail(clean(str(error)))
        except ApartError as error:
            fail(str(error), TROUBLE)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error where a person watches it, once the logs are read: its thread would keep the replay in one process."""
    if not on_terminal():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("replay"), BarColumn(), MofNCompleteColumn(), TextColumn("records"), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("replay", total=None)

    def tell(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield tell
    finally:
        bar.stop()


def _write(replayed: "Replayed", report: Path | None, events: Path | None, dead_letters: Path | None) -> None:
    import msgspec

    from schemas.codec import encode
    from schemas.findings import to_json

    if report is not None:
        write(report, msgspec.json.format(encode(replayed.report), indent=2) + b"\n")
    if events is not None:
        write(events, b"".join(to_json(event) + b"\n" for event in replayed.events))
    if dead_letters is not None:
        write(dead_letters, b"".join(encode(letter) + b"\n" for letter in replayed.dead_letters))


def _known_type(name: str) -> str:
    """Return the name of an event type, or of a family of them; exit if there is none."""
    import difflib

    from schemas.findings import EventType

    types = [kind.value for kind in EventType if kind is not EventType.STATISTICS]  # a replay gives figures once, in the report
    known = {"gnomon", *types, *(kind.rsplit(".", 1)[0] for kind in types)}
    for candidate in (name, f"gnomon.{name}"):
        if candidate in known:
            return candidate
    near = difflib.get_close_matches(name, sorted(known), n=1) or difflib.get_close_matches(f"gnomon.{name}", sorted(known), n=1)
    hint = f"did you mean --fail-on {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
    fail(f"--fail-on: no event type {name!r}; {hint}")
