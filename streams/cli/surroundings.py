"""Reading the settings for a command: a mistake is told, a variable that is no setting is pointed out."""
# ruff: noqa: PLC0415  heavy imports stand where they are used, so that ``gnomon --help`` is quick

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from streams.cli.output import TROUBLE, fail

if TYPE_CHECKING:
    from streams.settings import Settings

T = TypeVar("T")
LONGEST_NAME = 256
ELSEWHERE = ("GNOMON_DATA", "GNOMON_REQUIRE_SERVICES")  # read by the tests


def read_settings() -> "Settings":
    """Return the settings, or exit with what is wrong with them."""
    from streams.setting_text import SettingsError
    from streams.settings import Settings, unknown

    try:
        settings = Settings.from_env()
    except SettingsError as error:
        fail(f"{error}\nThe settings are listed in docs/settings.md")
    for name, near in unknown(known=ELSEWHERE).items():
        hint = f"; did you mean {near}?" if near else ""
        typer.echo(f"gnomon: {name} is no setting{hint}", err=True)
    return settings


def who(given: str | None) -> str:
    """Return who decides: the name given, or the user's."""
    import getpass

    try:
        name = given if given is not None else getpass.getuser()
    except (KeyError, OSError, ImportError):
        name = ""
    if not 1 <= len(name) <= LONGEST_NAME:
        fail(f"expected a name of 1 to {LONGEST_NAME} characters for who decides, got {name[:20]!r}; say it: --by NAME")
    return name


def with_redis(settings: "Settings", read: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    """Return what ``read`` makes of a client of the deployment's Redis, or exit where it is away."""
    import asyncio

    from streams.errors import StreamsError
    from streams.redis_client import connect

    if settings.in_memory:
        fail("GNOMON_REDIS is memory://: what a worker knows ends with it, and cannot be asked; give the URL of a Redis")

    async def run() -> T:
        client = connect(settings.redis, socket_timeout=30, socket_connect_timeout=5)
        try:
            return await read(client)
        finally:
            await client.aclose()

    try:
        return asyncio.run(run())
    except StreamsError as error:
        fail(f"{error}; is GNOMON_REDIS right, and does it run? Try: gnomon doctor", TROUBLE)
