"""``gnomon demo``."""

import typer


def demo() -> None:
    """Play."""
    raise typer.Exit(1)
