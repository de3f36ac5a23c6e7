"""Named points at which a worker can be made to die, so that tests crash it everywhere a power cut could."""

import os
from collections import Counter

from streams.setting_text import SettingsError

KILLED = 137  # what a shell reports of a process that was killed


class CrashPoints:
    """Exits the process, with nothing tidied up, at the n-th passing of one named point.

    Parameters
    ----------
    at
        ``name:n``; empty: never.

    Examples
    --------
    >>> points = CrashPoints("")
    >>> points("before-produce")

    """

    def __init__(self, at: str) -> None:
        name, _, times = at.partition(":")
        if at and not (name and times.isdigit() and int(times) > 0):
            raise SettingsError(f"CRASH_AT: expected `name:n` with n from 1, got {at!r}")
        self._name = name
        self._times = int(times or 0)
        self._passed: Counter[str] = Counter()

    def __call__(self, name: str) -> None:
        """Pass the point ``name``."""
        if name != self._name:
            return
        self._passed[name] += 1
        if self._passed[name] == self._times:
            os._exit(KILLED)
