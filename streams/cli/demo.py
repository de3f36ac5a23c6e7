"""``gnomon demo``: a first look, with nothing to install or to set up."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

import typer

from streams.cli.output import TROUBLE, clean, fail


def demo() -> None:
    """Show Gnomon at work on one machine, within a minute: both workers, a broker in memory, and a clinic whose new camera blinds a model.

    Exit status: 0 if the change was found and every record is accounted for, else 1.
    """
    from rich.console import Console
    from rich.text import Text

    from streams.cli.summary import show_report
    from streams.demo import DemoError, run

    console = Console(highlight=False)
    try:
        with console.status("starting") as line:
            told = run(lambda text: console.print(Text(clean(text)), soft_wrap=True), lambda text: line.update(Text(clean(text))))
    except DemoError as error:
        fail(f"{error}; try again: gnomon demo", TROUBLE)
    show_report(told.report)
    if told.faults:
        fail("the books do not balance:\n" + "\n".join(f"  {fault}" for fault in told.faults) + "\ntry again: gnomon demo", TROUBLE)
    typer.echo("Every record is accounted for: each one that was sent is counted once.")
    if told.found is None:
        fail("the change in the rural clinic was not found; try again: gnomon demo", TROUBLE)
    typer.echo(f"The change was found, and the clinic named, on {told.found.time[:10]} of event time; the demo took {told.seconds:.0f} s.")
    typer.echo("Next: gnomon replay --help, to run your own logs through the same watch.")
