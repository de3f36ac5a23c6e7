"""``gnomon demo``: a first look, with nothing to install or to set up."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.output import TROUBLE, clean, fail

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.scenarios import Scenario


def demo(
    scenario: Annotated[
        str | None, typer.Option("--scenario", help="Play this one instead; gnomon scenario lists them.", metavar="NAME")
    ] = None,
) -> None:
    """Show Gnomon at work on one machine, within a minute: both workers, a broker in memory, and a clinic whose new camera blinds a model.

    Example: gnomon demo --scenario sanction

    Exit status: 0 if the change was found and every record is accounted for, else 1.
    """
    from streams.demo import run

    if scenario is not None:
        from streams.cli.scenario import known_scenario
        from streams.scenarios import discover

        _scenario(known_scenario(scenario, discover()))
        return
    told = _show(run, "gnomon demo")
    if told.found is None:
        fail("the change in the rural clinic was not found; try again: gnomon demo", TROUBLE)
    typer.echo(f"The change was found, and the clinic named, on {told.found.time[:10]} of event time; the demo took {told.seconds:.0f} s.")
    typer.echo(f"Next: {_command()} replay --help, to run your own logs through the same watch.")


def _command() -> str:
    """Return how this program is called from the shell: by its path where that is not on the search path, as after `make demo`."""
    import shutil
    import sys
    from pathlib import Path

    if shutil.which("gnomon"):
        return "gnomon"
    program = Path(sys.executable).parent / "gnomon"
    return str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program)


def _scenario(chosen: "Scenario") -> None:
    from streams.demo_scenario import run

    again = f"gnomon demo --scenario {chosen.name}"
    told = _show(lambda say, status: run(chosen, say, status), again)
    if told.missing:
        names = "; ".join(" ".join(filter(None, (one.type, one.kind, one.unit, *one.segment.values()))) for one in told.missing)
        fail(f"what the story asks for has not come: {names}; try again: {again}", TROUBLE)
    typer.echo(f"Every event that the story asks for has come; the demo took {told.seconds:.0f} s.")
    typer.echo(f"Next: gnomon scenario {chosen.name} --out {chosen.name}, to have its logs and its policy.")


def _show(play: "Callable[[Callable[[str], None], Callable[[str], None]], Any]", again: str) -> Any:
    """Play, print the report, and end with an error if the books do not balance; return what was told."""
    from rich.console import Console
    from rich.text import Text

    from streams.cli.summary import show_report
    from streams.demo import DemoError

    console = Console(highlight=False)
    try:
        with console.status("starting") as line:
            told = play(lambda text: console.print(Text(clean(text)), soft_wrap=True), lambda text: line.update(Text(clean(text))))
    except DemoError as error:
        fail(f"{error}; try again: {again}", TROUBLE)
    show_report(told.report)
    if told.faults:
        fail("the books do not balance:\n" + "\n".join(f"  {fault}" for fault in told.faults) + f"\ntry again: {again}", TROUBLE)
    typer.echo("Every record is accounted for: each one that was sent is counted once.")
    return told
