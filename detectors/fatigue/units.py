"""Who is alerted: the units of a model, numbered, and capped so that made-up names cannot fill the memory."""

import numpy as np
import numpy.typing as npt

from detectors.fixed import Ints
from detectors.panes import distinct
from detectors.segments import OTHER

MAX_UNITS = 1_000
ALL = 0  # stands for every alert; units are numbered from 1 on


class Units:
    """Numbers of units in the order of their first row. The empty name is that of alerts which name no unit.

    >>> units = Units()
    >>> units.numbers(np.array([0, 2, 0]), ["", "x", "icu"]).tolist(), units.names
    ([1, 2, 1], ['', '', 'icu'])
    """

    def __init__(self) -> None:
        self.names = [""]  # of ``ALL``, never asked for
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.names)

    def number(self, name: str) -> int:
        """Return a unit's number, new or known; units past the cap share one."""
        if name not in self._numbers and len(self._numbers) >= MAX_UNITS:
            name = OTHER
        if name not in self._numbers:
            self._numbers[name] = len(self.names)
            self.names.append(name)
        return self._numbers[name]

    def numbers(self, codes: npt.NDArray[np.integer], texts: list[str]) -> Ints:
        """Return the numbers of units given as indexes into texts, shape (n,)."""
        found, which = distinct(codes)
        return np.array([self.number(texts[code]) for code in found.tolist()], dtype=np.int64)[which]

    def named(self) -> Ints:
        """Return the numbers of the units that have a name."""
        return np.array([i for i, name in enumerate(self.names) if name], dtype=np.int64)

    def by_name(self) -> list[int]:
        """Return all numbers but ``ALL`` in the order of the names: the order of arrival must not show."""
        return sorted(range(1, len(self.names)), key=self.names.__getitem__)

    def to_state(self) -> list[str]:
        """Return the names."""
        return self.names[1:]

    @classmethod
    def from_state(cls, state: list[str]) -> "Units":
        """Return the units that ``to_state`` wrote."""
        units = cls()
        units.names += state
        units._numbers = {name: i for i, name in enumerate(state, start=1)}
        return units
