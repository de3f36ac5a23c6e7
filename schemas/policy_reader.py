"""Reading a policy's tables: every fault is collected with the path of its key, and a mistyped key is told what was meant."""

import difflib
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from schemas.durations import parse_duration

Read = Callable[[Any], Any]  # raises ValueError that says what was expected and what came
Table = Mapping[str, tuple[str, "Read | Table | ByName"]]  # key -> field it sets, how to read it


class ByName(NamedTuple):
    """A table of tables of one form, each under a name that the policy's author chooses."""

    table: Table


class Faults(list[str]):
    """Faults found so far, each ``path: what was expected, what came``."""

    def add(self, path: str, message: str) -> None:
        """Note a fault at a key."""
        self.append(f"{path}: {message}")

    def unknown(self, path: str, key: str, known: Collection[str]) -> None:
        """Note a key that nobody knows."""
        self.add(join(path, key), unknown_key(key, known))


def join(path: str, key: str) -> str:
    """Return the dotted path of a key, quoted as TOML would where it has to be.

    >>> join("models", "fraud"), join("models", "a.b")
    ('models.fraud', 'models."a.b"')
    """
    bare = key.replace("_", "").replace("-", "").isalnum() and key.isascii()
    return f"{path}.{key}".lstrip(".") if bare else f'{path}."{key}"'.lstrip(".")


def unknown_key(key: str, known: Collection[str]) -> str:
    """Return what to say of an unknown word.

    >>> unknown_key("horizn", ["horizon", "ages"])
    "unknown key; did you mean 'horizon'?"
    """
    near = difflib.get_close_matches(key, known, n=1)
    return f"unknown key; did you mean {near[0]!r}?" if near else f"unknown key; expected one of {', '.join(sorted(known))}"


def read_table(given: Any, table: Table, path: str, faults: Faults) -> dict[str, Any]:
    """Return the fields that a table sets, nested tables as dicts; what cannot be read is noted and left out."""
    if not isinstance(given, dict):
        faults.add(path, f"expected a table, got {shown(given)}")
        return {}
    fields: dict[str, Any] = {}
    for key, value in given.items():
        if key not in table:
            faults.unknown(path, key, table)
            continue
        field, read = table[key]
        if isinstance(read, ByName):
            read = {inner: (inner, read.table) for inner in value} if isinstance(value, dict) else {}
        if isinstance(read, Mapping):
            fields[field] = read_table(value, read, join(path, key), faults)
            continue
        try:
            fields[field] = read(value)
        except ValueError as error:
            faults.add(join(path, key), str(error))
    return fields


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return two layers of fields as one; tables are merged key by key, everything else is replaced.

    >>> merge({"budget": {"pages": 1, "days": 30}}, {"budget": {"pages": 2}})
    {'budget': {'pages': 2, 'days': 30}}
    """
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def shown(value: Any) -> str:
    """Return a value as an error shows it; long ones cut short."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def number(least: float = -math.inf, most: float = math.inf, *, above: float | None = None) -> Read:
    """Return a reader of finite numbers in [least, most], or greater than ``above``.

    >>> number(0, 1)(0.25)
    0.25
    >>> number(0, 1)(2)
    Traceback (most recent call last):
    ValueError: expected a number from 0 to 1, got 2
    """
    floor = f"a number above {above:g}" if above is not None else f"a number from {least:g}"
    noun = "a finite number" if least == -math.inf and above is None else floor + (f" to {most:g}" if most < math.inf else "")

    def read(value: Any) -> float:
        good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not (good and least <= value <= most and (above is None or value > above)):
            raise ValueError(f"expected {noun}, got {shown(value)}")
        return float(value)

    return read


def whole(least: int) -> Read:
    """Return a reader of whole numbers from ``least`` on."""

    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 2**53:
            raise ValueError(f"expected a whole number, at least {least}, got {shown(value)}")
        return value

    return read


def duration(*, zero: bool = False) -> Read:
    """Return a reader of durations, in milliseconds."""

    def read(value: Any) -> int:
        if not isinstance(value, str):
            raise ValueError(f'expected a duration such as "90s", "5m", "1h" or "7d", got {shown(value)}')  # noqa: TRY004  # a fault of the text
        ms = parse_duration(value)
        if ms == 0 and not zero:
            raise ValueError(f"expected a duration above zero, got {value!r}")
        return ms

    return read


def one_of(*words: str) -> Read:
    """Return a reader of one of a few words."""

    def read(value: Any) -> str:
        if value not in words or not isinstance(value, str):
            near = difflib.get_close_matches(str(value), words, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"expected one of {', '.join(map(repr, words))}, got {shown(value)}{hint}")
        return value

    return read


def flag(value: Any) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {shown(value)}")  # noqa: TRY004  # a fault of the text
    return value


def name(value: Any) -> str:
    """Read a name, 1 to 256 characters."""
    if not isinstance(value, str) or not 1 <= len(value) <= 256:
        raise ValueError(f"expected text of 1 to 256 characters, got {shown(value)}")
    return value


def names(value: Any) -> tuple[str, ...]:
    """Read a list of distinct names."""
    if not isinstance(value, list):
        raise ValueError(f"expected a list of names, got {shown(value)}")  # noqa: TRY004  # a fault of the text
    read = tuple(name(item) for item in value)
    if len(set(read)) < len(read):
        raise ValueError(f"expected each name once, got {shown(value)}")
    return read
