"""A setting as text: where it stands, what value it comes to, and back."""

from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

NEVER = "never"


class SettingsError(ValueError):
    """A setting that cannot be used; the message names its variable and what was expected."""


def text_of(name: str, metadata: Mapping[str, Any], environ: Mapping[str, str], secrets: Path | None) -> str | None:
    """Return the text of a field of ``Settings``, of a secret perhaps that of a file; None: it is not set. Raises ``SettingsError``."""
    env = metadata["env"]
    if not metadata["secret"]:
        return environ.get(env)
    given = environ.get(f"{env}_FILE")
    if given and env in environ:
        raise SettingsError(f"{env} and {env}_FILE are both set: keep one")
    path = Path(given) if given else secrets / name if secrets else None
    if path is None or env in environ:
        return environ.get(env)
    try:
        return path.read_text().rstrip("\r\n") if given or path.exists() else None
    except OSError as error:
        raise SettingsError(f"{env}: cannot read its file {path}: {error.strerror}") from error


def parse(env: str, text: str, kind: Any, choices: tuple[str, ...]) -> Any:
    """Return the value that a text stands for, of the type of the field; raises ``SettingsError``.

    >>> parse("GNOMON_IDLE_TIMEOUT_MS", "never", int | None, ()), parse("GNOMON_MOCK", "yes", bool, ())
    (None, True)
    """
    optional = get_origin(kind) is UnionType
    if optional:
        if text.lower() == NEVER or not text:
            return None
        kind = get_args(kind)[0]
    if kind is bool:
        return _boolean(env, text)
    if choices and text not in choices:
        raise SettingsError(f"{env}: expected one of {', '.join(choices)}, got {text!r}")
    try:
        return kind(text)
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise SettingsError(f"{env}: expected {what}{' or `never`' if optional else ''}, got {text!r}") from None


def _boolean(env: str, text: str) -> bool:
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off", ""}:
        return False
    raise SettingsError(f"{env}: expected true or false, got {text!r}")


def show(value: object) -> str:
    """Return a value as the text that stands for it.

    >>> show(None), show(True), show(8)
    ('never', 'true', '8')
    """
    return NEVER if value is None else str(value).lower() if isinstance(value, bool) else str(value)
