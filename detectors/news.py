"""Whose statistics are due: versions with rows since their last statistics, at a pace that any number of them can keep."""

from typing import Any

EVERY_MS = 500  # the least time between two statistics of a version
EACH_MS = 10  # time that a version's statistics take from the others': at most 100 versions a second
SAVED_MS = 1_000  # time that nobody needed is kept so long
_LONG_AGO = -(2**62)

Name = tuple[str, str]  # model, version


class News:
    """Versions that have news, and when each was told of last. Time is what ticks carry.

    Parameters
    ----------
    every_ms
        The least time between two statistics of a version; None: none are made.

    Examples
    --------
    >>> news = News()
    >>> news.add(("m", "1"))
    >>> news.due(0), news.due(0)
    ([('m', '1')], [])
    >>> news.add(("m", "1"))
    >>> news.due(499), news.due(500)
    ([], [('m', '1')])

    """

    def __init__(self, every_ms: int | None = EVERY_MS) -> None:
        self.every_ms = every_ms
        self._of: set[Name] = set()
        self._told: dict[Name, int] = {}
        self._spent_ms = _LONG_AGO

    def add(self, name: Name) -> None:
        """Take note of rows of a version."""
        self._of.add(name)

    def due(self, now_ms: int) -> list[Name]:
        """Return whose statistics are to be made now, by name; those that have waited longest where there is no time for all."""
        if self.every_ms is None:
            return []
        self._spent_ms = max(self._spent_ms, now_ms - SAVED_MS)
        ready = [name for name in self._of if now_ms - self._told.get(name, _LONG_AGO) >= self.every_ms]
        ready.sort(key=lambda name: (self._told.get(name, _LONG_AGO), name))
        chosen = ready[: max(0, now_ms - self._spent_ms) // EACH_MS]
        self._spent_ms += EACH_MS * len(chosen)
        self._told |= dict.fromkeys(chosen, now_ms)
        self._of -= set(chosen)
        return sorted(chosen)

    def to_state(self) -> list[Any]:
        """Return the state as plain values."""
        return [sorted(map(list, self._of)), [[*name, at] for name, at in sorted(self._told.items())], self._spent_ms]

    def load(self, state: list[Any]) -> None:
        """Take back what ``to_state`` gave."""
        names, told, self._spent_ms = state
        self._of = {(model, version) for model, version in names}
        self._told = {(model, version): at for model, version, at in told}
