"""States that were saved by another version of this program are refused, in one place and in the same words."""

from collections.abc import Mapping
from typing import Any


def expect_version(state: Mapping[str, Any], version: int, what: str, *, then: str = "replay from the log") -> None:
    """Refuse a state of another version; ``what`` names it, ``then`` is what to do about it.

    Raises
    ------
    ValueError
        If it is of another version, or says none.

    Examples
    --------
    >>> expect_version({"version": 2}, 2, "a bank's state")
    >>> expect_version({}, 2, "a bank's state")
    Traceback (most recent call last):
    ValueError: expected a bank's state of version 2, got None; replay from the log

    """
    if state.get("version") != version:
        raise ValueError(f"expected {what} of version {version}, got {state.get('version')!r}; {then}")
