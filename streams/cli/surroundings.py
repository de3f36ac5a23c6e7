"""Reading the settings for a command: a mistake is told, a variable that is no setting is pointed out."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

from typing import TYPE_CHECKING

import typer

from streams.cli.output import fail

if TYPE_CHECKING:
    from streams.settings import Settings

ELSEWHERE = ("GNOMON_DATA", "GNOMON_REQUIRE_SERVICES")  # read by the tests


def read_settings() -> "Settings":
    """Return the settings, or exit with what is wrong with them."""
    from streams.settings import Settings, SettingsError, unknown

    try:
        settings = Settings.from_env()
    except SettingsError as error:
        fail(f"{error}\nThe settings are listed in docs/settings.md")
    for name, near in unknown(known=ELSEWHERE).items():
        hint = f"; did you mean {near}?" if near else ""
        typer.echo(f"gnomon: {name} is no setting{hint}", err=True)
    return settings
